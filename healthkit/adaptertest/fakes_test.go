//go:build unix

package adaptertest

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// stream is the server's end of a Watch, in memory.
type stream struct {
	grpc.ServerStream
	ctx context.Context

	mu   sync.Mutex
	sent healthpb.HealthCheckResponse_ServingStatus
}

func (s *stream) Context() context.Context { return s.ctx }

func (s *stream) Send(resp *healthpb.HealthCheckResponse) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = resp.Status
	return nil
}

func (s *stream) last() healthpb.HealthCheckResponse_ServingStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent
}

// manager is a service manager on a real datagram socket. Its reader lives
// outside of every bubble.
type manager struct {
	t        *testing.T
	address  string
	messages chan string // what was read, up to and with each mark
	unit     unit
}

// unit is what systemd believes of a unit of Type=notify.
type unit struct {
	state     string // "" is activating
	started   bool
	status    string
	complaint string
}

// mark is sent by the test itself: all that came before it has been read.
const mark = "X_MARK=1"

func listen(t *testing.T) *manager {
	t.Helper()
	dir, err := os.MkdirTemp("", "notify") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	m := &manager{t: t, address: filepath.Join(dir, "s"), messages: make(chan string, 1000)}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: m.address, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	var reader sync.WaitGroup
	reader.Go(func() { m.read(conn) })
	t.Cleanup(func() {
		conn.Close()
		reader.Wait()
	})
	t.Setenv("NOTIFY_SOCKET", m.address)
	t.Setenv("WATCHDOG_USEC", "")
	return m
}

// read reads until the socket is closed. It gives every file back at once, which
// answers a barrier.
func (m *manager) read(conn *net.UnixConn) {
	for {
		data, rights := make([]byte, 65536), make([]byte, 1024)
		n, rn, _, _, err := conn.ReadMsgUnix(data, rights)
		if err != nil {
			return
		}
		controls, err := syscall.ParseSocketControlMessage(rights[:rn])
		if err != nil {
			m.t.Error(err)
		}
		for _, c := range controls {
			fds, err := syscall.ParseUnixRights(&c)
			if err != nil {
				m.t.Error(err)
			}
			for _, fd := range fds {
				syscall.Close(fd)
			}
		}
		m.messages <- string(data[:n])
	}
}

// believes reads all that was sent until now.
func (m *manager) believes() unit {
	conn, err := net.Dial("unixgram", m.address)
	if err != nil {
		m.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(mark)); err != nil {
		m.t.Fatal(err)
	}
	for message := range m.messages {
		if message == mark {
			break
		}
		m.unit.take(message)
	}
	return m.unit
}

// reset forgets the unit of the run before.
func (m *manager) reset() {
	m.believes()
	m.unit = unit{}
}

func (u *unit) take(message string) {
	var told string
	for line := range strings.SplitSeq(message, "\n") {
		switch key, value, _ := strings.Cut(line, "="); key {
		case "READY", "RELOADING", "STOPPING":
			told += key
		case "STATUS":
			u.status = value
		case "MONOTONIC_USEC", "EXTEND_TIMEOUT_USEC", "BARRIER":
		default:
			u.complaint = "unintended line " + line
		}
	}
	switch told {
	case "":
	case "READY":
		u.state, u.started = "running", true
	case "RELOADING":
		u.state = "reloading"
	case "STOPPING":
		u.state = "stopping"
	default:
		u.complaint = "several states in one message"
	}
}

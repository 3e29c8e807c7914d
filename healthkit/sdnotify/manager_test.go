//go:build unix

package sdnotify

import (
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// manager is a service manager's end of the notification socket.
type manager struct {
	t    *testing.T
	conn *net.UnixConn
	unit unit
	log  []string
}

// listen opens the socket and points NOTIFY_SOCKET to it.
func listen(t *testing.T) *manager {
	t.Helper()
	dir, err := os.MkdirTemp("", "notify") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return listenAt(t, filepath.Join(dir, "s"))
}

func listenAt(t *testing.T, address string) *manager {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", address)
	t.Setenv("WATCHDOG_USEC", "")
	t.Setenv("WATCHDOG_PID", "")
	return &manager{t: t, conn: conn}
}

// drain takes in what has arrived, without waiting, and returns it.
func (m *manager) drain() []string {
	m.t.Helper()
	raw, err := m.conn.SyscallConn()
	if err != nil {
		m.t.Fatal(err)
	}
	from := len(m.log)
	err = raw.Read(func(fd uintptr) bool {
		for {
			data, rights := make([]byte, 65536), make([]byte, 1024)
			n, rn, _, _, err := syscall.Recvmsg(int(fd), data, rights, syscall.MSG_DONTWAIT)
			if err != nil {
				return true
			}
			m.take(data[:n], rights[:rn])
		}
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return m.log[from:]
}

// next waits for one message, not for ever.
func (m *manager) next() string {
	m.t.Helper()
	if err := m.conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		m.t.Fatal(err)
	}
	data, rights := make([]byte, 65536), make([]byte, 1024)
	n, rn, _, _, err := m.conn.ReadMsgUnix(data, rights)
	if err != nil {
		m.t.Fatal(err)
	}
	m.take(data[:n], rights[:rn])
	return m.log[len(m.log)-1]
}

func (m *manager) take(data, rights []byte) {
	m.log = append(m.log, string(data))
	if err := m.unit.take(data); err != "" {
		m.t.Errorf("systemd would not take %q: %s", data, err)
	}
	if len(rights) == 0 {
		return
	}
	messages, err := syscall.ParseSocketControlMessage(rights)
	if err != nil {
		m.t.Error(err)
		return
	}
	for _, c := range messages {
		fds, err := syscall.ParseUnixRights(&c)
		if err != nil {
			m.t.Error(err)
		}
		for _, fd := range fds {
			syscall.Close(fd)
		}
	}
}

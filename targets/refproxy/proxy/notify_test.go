//go:build unix

package proxy

import (
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/healthkit/sdnotify"
)

// serviceManager listens as systemd does.
type serviceManager struct {
	t        *testing.T
	messages chan string
	told     string // what until has read
}

func newServiceManager(t *testing.T) (*serviceManager, *sdnotify.Notifier) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "100000")
	t.Setenv("WATCHDOG_PID", "")
	notifier, err := sdnotify.New(sdnotify.Options{})
	if err != nil {
		t.Fatal(err)
	}
	m := &serviceManager{t: t, messages: make(chan string, 10_000)}
	go func() {
		defer close(m.messages)
		// What comes along with a barrier is dropped unread, which is how it is answered.
		for buf := make([]byte, 8192); ; {
			n, err := conn.Read(buf)
			if err != nil {
				return // closed
			}
			m.messages <- string(buf[:n])
		}
	}()
	return m, notifier
}

// until reads messages until one of them holds the text.
func (m *serviceManager) until(text string) {
	m.t.Helper()
	late := time.After(patience)
	for {
		select {
		case message := <-m.messages:
			m.told += message + "\n"
			if strings.Contains(message, text) {
				return
			}
		case <-late:
			m.t.Fatalf("never told %q; told:\n%s", text, m.told)
		}
	}
}

func TestServiceManagerIsToldWhatTheModeKnows(t *testing.T) {
	for _, tt := range []struct {
		mode   Mode
		honest bool // READY=1 waits until everything has synced
	}{{None, false}, {Naive, false}, {Pull, true}, {StackAware, true}} {
		t.Run(string(tt.mode), func(t *testing.T) {
			m, notifier := newServiceManager(t)
			k := start(t, func(s *setup) {
				s.options.Health, s.options.Notifier, s.stalled = tt.mode, notifier, true
			})
			if tt.honest {
				m.until("STATUS=not ready")
				if strings.Contains(m.told, "READY=1") {
					t.Errorf("ready before anything has synced:\n%s", m.told)
				}
				k.plane.Stall(false)
			}
			m.until("READY=1")
			m.until("WATCHDOG=1")
			if err := k.stop(); err != nil {
				t.Error(err)
			}
			m.until("STOPPING=1")
		})
	}
}

// TestListenerOfSomebodyElse: the data port may have been opened before the proxy was.
func TestListenerOfSomebodyElse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k := start(t, func(s *setup) { s.options.Listener, s.options.Listen = l, "127.0.0.1:1" })
	k.ready()
	if got, want := k.proxy.Addr().String(), l.Addr().String(); got != want {
		t.Errorf("the data port is %s, want %s", got, want)
	}
	k.get("/app/1", 1).expect(t, "at the listener that was handed over", http.StatusOK, "")
}

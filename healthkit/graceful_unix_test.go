//go:build unix

package healthkit

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// arrived returns once the kernel holds something for a connection.
func arrived(t *testing.T, conn net.Conn) {
	t.Helper()
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err == nil {
		err = raw.Read(func(fd uintptr) bool {
			n, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK)
			return err != syscall.EAGAIN && err != syscall.EINTR && n > 0
		})
	}
	if err != nil {
		t.Error(err)
	}
}

// TestGracefulAnswersWhatTheKernelHolds: a connection is ended while its reader does not run and
// the kernel holds a request.
func TestGracefulAnswersWhatTheKernelHolds(t *testing.T) {
	serverTLS, clientTLS := certified(t)
	plain := func(t *testing.T, l net.Listener) net.Conn {
		conn, err := net.Dial(l.Addr().Network(), l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	tests := []struct {
		name   string
		listen func(*testing.T) net.Listener
		secure bool
	}{
		{"TCP", loopback, false},
		{"TLS", loopback, true},
		{"a Unix socket", func(t *testing.T) net.Listener {
			l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
			if err != nil {
				t.Fatal(err)
			}
			return l
		}, false},
		{"connections of another type", func(t *testing.T) net.Listener {
			return recordedListener{loopback(t), make(chan *recordedConn, 1)}
		}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			answered, sent := make(chan struct{}), make(chan struct{})
			var s *GracefulServer
			first := true
			s = Graceful(&http.Server{
				ReadHeaderTimeout: time.Minute, TLSConfig: serverTLS.Clone(),
				Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }),
				ConnState: func(conn net.Conn, state http.ConnState) {
					if state != http.StateIdle || !first {
						return
					}
					// From here on nothing is read until the connection has been ended.
					first = false
					close(answered)
					<-sent
					if secure, ok := conn.(*tls.Conn); ok {
						conn = secure.NetConn()
					}
					arrived(t, conn)
					s.closing.Store(true)
					s.mu.Lock()
					defer s.mu.Unlock()
					for c := range s.conns {
						c.end()
					}
				},
			})
			l := tt.listen(t)
			served := make(chan error, 1)
			var client net.Conn
			if tt.secure {
				go func() { served <- s.ServeTLS(l, "", "") }()
				client = tls.Client(plain(t, l), clientTLS)
			} else {
				go func() { served <- s.Serve(l) }()
				client = plain(t, l)
			}
			defer client.Close()
			answers := bufio.NewReader(client)
			for i := range 2 {
				if _, err := io.WriteString(client, oneRequest); err != nil {
					t.Fatal(err)
				}
				if i == 1 {
					close(sent)
				}
				resp, err := http.ReadResponse(answers, nil)
				if err != nil {
					t.Fatalf("answer %d: %v", i+1, err)
				}
				if _, err := io.Copy(io.Discard, resp.Body); err != nil {
					t.Fatal(err)
				}
				if last := i == 1; resp.Close != last {
					t.Errorf("answer %d says Connection: close: %t, want %t", i+1, resp.Close, last)
				}
				<-answered
			}
			if err := s.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
			<-served
		})
	}
}

// TestReadNowDoesNotWait: nothing, something and the end.
func TestReadNowDoesNotWait(t *testing.T) {
	l := loopback(t)
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	p := make([]byte, 8)
	if n, err := readNow(conn, p); n != 0 || !isTimeout(err) {
		t.Errorf("nothing there: %d, %v; want a timeout", n, err)
	}
	if _, err := io.WriteString(client, "hi"); err != nil {
		t.Fatal(err)
	}
	arrived(t, conn)
	if err := conn.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if n, err := readNow(conn, p); string(p[:n]) != "hi" || err != nil {
		t.Errorf("something there: %q, %v", p[:n], err)
	}
	client.Close()
	for err = error(nil); err == nil || isTimeout(err); _, err = readNow(conn, p) {
	}
	if err != io.EOF {
		t.Errorf("after the end: %v, want io.EOF", err)
	}
}

package healthkit

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

const oneRequest = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"

func certified(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	donor := httptest.NewTLSServer(nil)
	defer donor.Close()
	roots := x509.NewCertPool()
	roots.AddCert(donor.Certificate())
	return &tls.Config{Certificates: donor.TLS.Certificates}, &tls.Config{RootCAs: roots, ServerName: "example.com"}
}

func loopback(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// recordedListener gives connections that tell what becomes of them.
type recordedListener struct {
	net.Listener
	conns chan *recordedConn
}

func (l recordedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &recordedConn{TCPConn: conn.(*net.TCPConn)}
	l.conns <- c
	return c, nil
}

type recordedConn struct {
	*net.TCPConn
	mu     sync.Mutex
	events []string
}

func (c *recordedConn) record(event string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = append(c.events, event)
}

func (c *recordedConn) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	if errors.Is(err, io.EOF) {
		c.record("the client has closed")
	}
	return n, err
}

// WriteTo would hide who reads.
func (c *recordedConn) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{c})
}

func (c *recordedConn) CloseWrite() error {
	c.record("half closed")
	return c.TCPConn.CloseWrite()
}

func (c *recordedConn) Close() error {
	c.record("closed")
	return c.TCPConn.Close()
}

// TestGracefulClosesTheSilentInTwoSteps: what a client sends in the instant of the close is not
// answered by a reset, for which the system would throw away what the client has not read.
func TestGracefulClosesTheSilentInTwoSteps(t *testing.T) {
	l := recordedListener{loopback(t), make(chan *recordedConn, 1)}
	s := Graceful(&http.Server{ReadHeaderTimeout: time.Minute})
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	conn := <-l.conns
	down := make(chan error, 1)
	go func() { down <- s.Shutdown(t.Context()) }()
	if n, err := client.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("the client reads %d, %v; want the end", n, err)
	}
	client.Close()
	if err := <-down; err != nil {
		t.Error(err)
	}
	<-served
	want := []string{"half closed", "the client has closed", "closed"}
	if !reflect.DeepEqual(conn.events, want) {
		t.Errorf("the server's side: %v, want %v", conn.events, want)
	}
}

// TestGracefulShowsTheConnectionsOfTheListener: to hooks that ask a Unix socket for its peer, and
// to handlers that take a connection over.
func TestGracefulShowsTheConnectionsOfTheListener(t *testing.T) {
	serverTLS, clientTLS := certified(t)
	for name, secure := range map[string]bool{"plain": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			seen := map[string]bool{}
			see := func(where string, conn net.Conn) {
				mu.Lock()
				defer mu.Unlock()
				seen[where+" "+reflect.TypeOf(conn).String()] = true
			}
			s := Graceful(&http.Server{
				TLSConfig:   serverTLS.Clone(),
				ConnState:   func(conn net.Conn, _ http.ConnState) { see("ConnState", conn) },
				ConnContext: func(ctx context.Context, conn net.Conn) context.Context { see("ConnContext", conn); return ctx },
				Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					conn, _, err := http.NewResponseController(w).Hijack()
					if err != nil {
						t.Error(err)
						return
					}
					defer conn.Close()
					for below, ok := conn.(interface{ NetConn() net.Conn }); ok; below, ok = conn.(interface{ NetConn() net.Conn }) {
						conn = below.NetConn()
					}
					see("below a hijacked one", conn)
					_, _ = io.WriteString(conn, "")
				}),
			})
			l, want := loopback(t), "*net.TCPConn"
			served := make(chan error, 1)
			var client net.Conn
			var err error
			if secure {
				want = "*tls.Conn"
				go func() { served <- s.ServeTLS(l, "", "") }()
				client, err = tls.Dial("tcp", l.Addr().String(), clientTLS)
			} else {
				go func() { served <- s.Serve(l) }()
				client, err = net.Dial("tcp", l.Addr().String())
			}
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			if _, err := io.WriteString(client, oneRequest); err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, client) // until the handler closes it, by whatever way
			if err := s.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
			<-served
			mu.Lock()
			defer mu.Unlock()
			wanted := map[string]bool{"ConnState " + want: true, "ConnContext " + want: true, "below a hijacked one *net.TCPConn": true}
			if !reflect.DeepEqual(seen, wanted) {
				t.Errorf("seen %v, want %v", seen, wanted)
			}
		})
	}
}

// TestGracefulPassesFilesOn: what net/http gives to the connection as a whole arrives.
func TestGracefulPassesFilesOn(t *testing.T) {
	want := strings.Repeat("0123456789abcdef", 1<<14)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte(want), 0o600); err != nil {
		t.Fatal(err)
	}
	l := loopback(t)
	s := Graceful(&http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, file) })})
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || string(got) != want {
		t.Errorf("%d bytes, %v; want the %d of the file", len(got), err, len(want))
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	<-served
}

// TestRunDoesNotPutTLSOnTLS: a TLS listener and certificates of the server.
func TestRunDoesNotPutTLSOnTLS(t *testing.T) {
	serverTLS, clientTLS := certified(t)
	plan := func(l net.Listener) RunPlan {
		return RunPlan{LameDuck: -1, CloseWait: -1, Endpoints: []Endpoint{{Listener: l, Server: &http.Server{
			ReadHeaderTimeout: time.Minute,
			TLSConfig:         serverTLS.Clone(),
			Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }),
		}}}}
	}
	run := func(ctx context.Context, plan RunPlan) <-chan error {
		ended := make(chan error, 1)
		go func() {
			_, err := New(Config{AllowEmpty: true}).Run(ctx, plan)
			ended <- err
		}()
		return ended
	}
	t.Run("a listener of tls.NewListener is served as it is", func(t *testing.T) {
		inner := loopback(t)
		ctx, cancel := context.WithCancel(t.Context())
		ended := run(ctx, plan(tls.NewListener(inner, serverTLS)))
		conn, err := tls.Dial("tcp", inner.Addr().String(), clientTLS)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, oneRequest); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("got %v, %v", resp, err)
		}
		cancel() // with a connection kept alive that has no look
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Run("another whose connections are TLS is refused", func(t *testing.T) {
		inner := loopback(t)
		wrapped := struct{ net.Listener }{tls.NewListener(inner, serverTLS)}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		ended := run(ctx, plan(wrapped))
		conn, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := <-ended; !errors.Is(err, ErrOptions) || !strings.Contains(err.Error(), "TLS already") {
			t.Errorf("run: %v, want one that says that the listener is TLS already", err)
		}
	})
}

// BenchmarkKeptAlive is one request on a connection kept alive, over loopback.
func BenchmarkKeptAlive(b *testing.B) {
	for name, kind := range map[string]func(*http.Server) Server{
		"http.Server": func(s *http.Server) Server { return s },
		"Graceful":    func(s *http.Server) Server { return Graceful(s) },
	} {
		b.Run(name, func(b *testing.B) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			s := kind(&http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })})
			served := make(chan error, 1)
			go func() { served <- s.Serve(l) }()
			conn, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			answers := bufio.NewReader(conn)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := io.WriteString(conn, oneRequest); err != nil {
					b.Fatal(err)
				}
				resp, err := http.ReadResponse(answers, nil)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, resp.Body); err != nil {
					b.Fatal(err)
				}
			}
			conn.Close()
			if err := s.Shutdown(b.Context()); err != nil {
				b.Error(err)
			}
			<-served
		})
	}
}

// TestGracefulKeepsTheLimitsOfItsServer: a request that stays incomplete, of which net/http has
// some in its buffer while the connection is idle.
func TestGracefulKeepsTheLimitsOfItsServer(t *testing.T) {
	l := loopback(t)
	s := Graceful(&http.Server{
		ReadHeaderTimeout: 50 * time.Millisecond, IdleTimeout: 50 * time.Millisecond,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }),
	})
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	for name, more := range map[string]string{"nothing": "", "a byte": "P", "half of a header": "POST / HTTP/1.1\r\nHost: x\r\n"} {
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if err := client.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(client, oneRequest+more); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, client); isTimeout(err) {
			t.Errorf("%s after a request: the connection is kept", name)
		}
		client.Close()
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	<-served
}

// TestGracefulTellsHTTP2ByGOAWAY: a connection of HTTP/2 is idle without having been answered, and
// is not to be waited for, nor ended by a deadline.
func TestGracefulTellsHTTP2ByGOAWAY(t *testing.T) {
	serverTLS, clientTLS := certified(t)
	for name, secure := range map[string]bool{"plain": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			protocols := new(http.Protocols)
			protocols.SetHTTP2(secure)
			protocols.SetUnencryptedHTTP2(!secure)
			s := Graceful(&http.Server{
				ReadHeaderTimeout: time.Minute, TLSConfig: serverTLS.Clone(), Protocols: protocols,
				Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }),
			})
			l, scheme := loopback(t), "http"
			served := make(chan error, 1)
			if secure {
				scheme = "https"
				go func() { served <- s.ServeTLS(l, "", "") }()
			} else {
				go func() { served <- s.Serve(l) }()
			}
			client := &http.Client{Transport: &http.Transport{Protocols: protocols, TLSClientConfig: clientTLS}}
			resp, err := client.Get(scheme + "://" + l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if string(got) != "HTTP/2.0" || err != nil {
				t.Errorf("got %q, %v; want HTTP/2.0", got, err)
			}
			s.mu.Lock()
			if len(s.conns) > 0 {
				t.Errorf("%d connections of HTTP/2 are waited for as if they were of HTTP/1.1", len(s.conns))
			}
			s.mu.Unlock()
			if err := s.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
			<-served
		})
	}
}

func isTimeout(err error) bool {
	timeout := net.Error(nil)
	return errors.As(err, &timeout) && timeout.Timeout()
}

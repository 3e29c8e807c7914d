package healthkit_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/healthkit"
)

// lateListener gives its one connection when it is closed: the moment at which a shutdown
// and an Accept meet.
type lateListener struct {
	net.Listener
	closed chan struct{}
	conn   chan net.Conn
}

func (l *lateListener) Accept() (net.Conn, error) {
	<-l.closed
	if c, ok := <-l.conn; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (l *lateListener) Close() error {
	select {
	case <-l.closed:
		return net.ErrClosed
	default:
		close(l.closed)
		return nil
	}
}

func TestGracefulLosesNoConnectionThatItAccepts(t *testing.T) {
	for range 50 { // what is looked for is a race
		inner, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		client, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conn, err := inner.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		late := &lateListener{Listener: inner, closed: make(chan struct{}), conn: make(chan net.Conn, 1)}
		late.conn <- conn
		close(late.conn)

		answered := false // only read once Shutdown has returned, which is after the handler
		s := healthkit.Graceful(&http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { answered = true })})
		ended := make(chan error, 1)
		begun := make(chan struct{})
		go func() {
			close(begun)
			ended <- s.Serve(late)
		}()
		<-begun
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		cancel()
		served := <-ended
		if !errors.Is(served, http.ErrServerClosed) {
			t.Errorf("serve: %v, want http.ErrServerClosed", served)
		}
		select {
		case <-late.closed:
		default:
			t.Error("the listener was not closed")
		}
		if _, taken := <-late.conn; !taken && !answered {
			t.Fatal("a connection that was accepted as the shutdown began got no answer")
		}
		client.Close()
		inner.Close()
	}
}

// toldListener tells when it is closed, which is how a shutdown begins.
type toldListener struct {
	net.Listener
	closed chan struct{}
	once   sync.Once
}

func (l *toldListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// TestGracefulAwaitsTheFirstRequest: a client that had connected before the end is served
// although it asks after that has begun, and is told not to ask again.
func TestGracefulAwaitsTheFirstRequest(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &toldListener{Listener: inner, closed: make(chan struct{})}
	accepted := make(chan struct{}, 1)
	s := healthkit.Graceful(&http.Server{
		ReadHeaderTimeout: time.Second,
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				accepted <- struct{}{}
			}
		},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }),
	})
	ended := make(chan error, 2)
	go func() { ended <- s.Serve(l) }()
	client, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	<-accepted
	go func() { ended <- s.Shutdown(t.Context()) }()
	<-l.closed
	if _, err := io.WriteString(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(client), nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusTeapot || !resp.Close {
		t.Errorf("status %d, connection closes: %t; want an answer of the handler on a connection that closes", resp.StatusCode, resp.Close)
	}
	for range 2 {
		if err := <-ended; err != nil && !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}
}

// TestGracefulEndsWithItsContext: somebody who connects and asks nothing holds up nobody
// who has no time.
func TestGracefulEndsWithItsContext(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan struct{}, 1)
	s := healthkit.Graceful(&http.Server{ReadHeaderTimeout: time.Minute, ConnState: func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			accepted <- struct{}{}
		}
	}})
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	<-accepted
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Shutdown(over); !errors.Is(err, context.Canceled) {
		t.Errorf("shutdown with somebody silent and no time: %v, want context.Canceled", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("serve: %v", err)
	}
}

func TestGracefulDoesNotServeAfterItsEnd(t *testing.T) {
	s := healthkit.Graceful(&http.Server{ReadHeaderTimeout: time.Second})
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("serve: %v, want http.ErrServerClosed", err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept: %v, want a closed listener", err)
	}
}

// ownListener is what multiplexers hand out: its errors are its own, closing it twice is a
// panic, and it cannot be compared.
type ownListener struct {
	net.Listener
	closed chan struct{}
	_      []string
}

func (l ownListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, errors.New("mux: listener closed")
	}
	return conn, nil
}

func (l ownListener) Close() error {
	close(l.closed)
	return l.Listener.Close()
}

func TestGracefulTakesTheListenersThatHTTPServerTakes(t *testing.T) {
	for name, end := range map[string]func(*healthkit.GracefulServer) error{
		"shutdown": func(s *healthkit.GracefulServer) error { return s.Shutdown(t.Context()) },
		"shutdown, twice": func(s *healthkit.GracefulServer) error {
			return errors.Join(s.Shutdown(t.Context()), s.Shutdown(t.Context()))
		},
		"shutdown, closed": func(s *healthkit.GracefulServer) error { return errors.Join(s.Shutdown(t.Context()), s.Close()) },
	} {
		t.Run(name, func(t *testing.T) {
			inner, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			l := ownListener{Listener: inner, closed: make(chan struct{})}
			s := healthkit.Graceful(&http.Server{ReadHeaderTimeout: time.Second, Handler: http.NotFoundHandler()})
			ended := make(chan error, 1)
			go func() { ended <- s.Serve(l) }()
			resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get("http://" + inner.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if err := end(s); err != nil {
				t.Error(err)
			}
			if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
				t.Errorf("serve: %v, want http.ErrServerClosed", err)
			}
		})
	}
}

// An error of a listener that nobody has closed is one.
func TestGracefulReportsAListenerThatFails(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	inner.Close()
	s := healthkit.Graceful(&http.Server{ReadHeaderTimeout: time.Second})
	if err := s.Serve(ownListener{Listener: inner, closed: make(chan struct{})}); err == nil || errors.Is(err, http.ErrServerClosed) {
		t.Errorf("serve: %v, want the listener's error", err)
	}
}

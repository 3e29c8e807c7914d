package load

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// rawServer accepts connections and gives each one to serve, with the reader that it
// must read from. It closes the connection when serve returns.
func rawServer(t *testing.T, serve func(net.Conn, *bufio.Reader)) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	open := make(map[net.Conn]bool)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[conn] = true
			mu.Unlock()
			serving.Go(func() {
				serve(conn, bufio.NewReader(conn))
				conn.Close()
				mu.Lock()
				delete(open, conn)
				mu.Unlock()
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for conn := range open {
			conn.Close()
		}
		mu.Unlock()
		serving.Wait()
	})
	return ln.Addr().String()
}

// readRequest reads one request with its body; false when there is none.
func readRequest(in *bufio.Reader) bool {
	req, err := http.ReadRequest(in)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, req.Body)
	return err == nil
}

// answering serves one request with raw bytes and then calls after.
func answering(answer string, after func(net.Conn, *bufio.Reader)) func(net.Conn, *bufio.Reader) {
	return func(conn net.Conn, in *bufio.Reader) {
		if !readRequest(in) {
			return
		}
		if _, err := io.WriteString(conn, answer); err != nil {
			return
		}
		after(conn, in)
	}
}

func hangUp(net.Conn, *bufio.Reader) {}

// reset ends the connection with a RST.
func reset(conn net.Conn, _ *bufio.Reader) {
	// The test may be over by now, and have closed it.
	if err := conn.(*net.TCPConn).SetLinger(0); err != nil && !errors.Is(err, net.ErrClosed) {
		panic(err)
	}
}

// stall waits until the client gives up.
func stall(_ net.Conn, in *bufio.Reader) {
	_, err := io.Copy(io.Discard, in)
	_ = err // any end will do
}

// hintForEver sends one informational answer after the other.
func hintForEver(conn net.Conn, _ *bufio.Reader) {
	for {
		if _, err := io.WriteString(conn, "HTTP/1.1 103 Early Hints\r\n\r\n"); err != nil {
			return
		}
	}
}

// refusing returns an address that nobody listens on.
func refusing(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	return addr
}

// httpServer serves with Go's server.
func httpServer(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// soon is a timeout for requests that must run into it, ample one for those that must not.
const (
	soon  = time.Second
	ample = 30 * time.Second
)

// plain is the transport of HTTP/1.1 without TLS.
func plain(reuse bool, idle int, timeout time.Duration) *http.Transport {
	dial, err := newDialing(drivers.Wire{}, nil, timeout)
	if err != nil {
		panic(err) // there is nothing in it to be wrong
	}
	return newTransport(dial, reuse, idle)
}

package edge

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
)

// wire is a backend on bare connections.
type wire struct {
	addr string

	mu       sync.Mutex
	seen     map[string]int // requests that arrived whole, by path
	accepted int            // connections
}

// serveWire starts one. The reply gets each request as it arrived, its number on its
// connection, counted from 1, and the connection to answer on; false closes it.
func serveWire(t testing.TB, reply func(conn net.Conn, n int, r *http.Request) bool) *wire {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{addr: listener.Addr().String(), seen: make(map[string]int)}
	conns := make(map[net.Conn]bool)
	var wg sync.WaitGroup
	handle := func(conn net.Conn) {
		defer conn.Close()
		in := bufio.NewReader(conn)
		for n := 1; ; n++ {
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			w.mu.Lock()
			w.seen[r.URL.Path]++
			w.mu.Unlock()
			if !reply(conn, n, r) {
				return
			}
		}
	}
	wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			w.mu.Lock()
			conns[conn] = true
			w.accepted++
			w.mu.Unlock()
			wg.Go(func() { handle(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		w.mu.Lock()
		for conn := range conns {
			conn.Close()
		}
		w.mu.Unlock()
		wg.Wait()
	})
	return w
}

// arrived returns how many requests arrived, and how many of them more than once.
func (w *wire) arrived() (requests, repeated int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range w.seen {
		requests += n
		if n > 1 {
			repeated++
		}
	}
	return requests, repeated
}

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nContent-Type: text/plain\r\n\r\nserved\n"

// hangUp makes the end of a connection a reset instead of an orderly close.
func hangUp(conn net.Conn) { conn.(*net.TCPConn).SetLinger(0) }

// dyingBackends answer, but each connection dies under its fifth request, by turns with
// an orderly close and a reset.
func dyingBackends(t testing.TB, n int) []*wire {
	backends := make([]*wire, n)
	for i := range backends {
		backends[i] = serveWire(t, func(conn net.Conn, n int, r *http.Request) bool {
			if n == 5 {
				if i%2 == 0 {
					hangUp(conn)
				}
				return false
			}
			io.WriteString(conn, okAnswer)
			return true
		})
	}
	return backends
}

// The same keep-alive GETs go to backends whose connections die under them, once through
// a plain reverse proxy and once through the balancer. The former shows that net/http's
// silent retry is really provoked here: without it the second half would prove nothing.
func TestNoSilentRetry(t *testing.T) {
	const clients, each = 8, 60
	load := func(t *testing.T, base string) (ok, bad int) {
		var mu sync.Mutex
		var wg sync.WaitGroup
		for c := range clients {
			client := newClient(t)
			wg.Go(func() {
				for k := range each {
					res, err := client.Get(fmt.Sprintf("%s/%d/%d", base, c, k))
					if err != nil {
						t.Errorf("client %d, request %d: %v", c, k, err)
						continue
					}
					io.Copy(io.Discard, res.Body)
					res.Body.Close()
					mu.Lock()
					switch res.StatusCode {
					case 200:
						ok++
					case 502:
						bad++
					default:
						t.Errorf("client %d, request %d: status %d", c, k, res.StatusCode)
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		return ok, bad
	}

	t.Run("a plain reverse proxy retries", func(t *testing.T) {
		backend := dyingBackends(t, 1)[0]
		transport := &http.Transport{MaxIdleConnsPerHost: 100}
		defer transport.CloseIdleConnections()
		target := &url.URL{Scheme: "http", Host: backend.addr}
		server := httptest.NewServer(&httputil.ReverseProxy{
			Transport: transport,
			Rewrite:   func(pr *httputil.ProxyRequest) { pr.SetURL(target) },
		})
		defer server.Close()
		load(t, server.URL)
		if _, repeated := backend.arrived(); repeated == 0 {
			t.Error("got no repeated request, so these backends provoke no retry")
		}
	})

	t.Run("the balancer does not", func(t *testing.T) {
		backends := dyingBackends(t, 2)
		b := start(t, Config{})
		for i, backend := range backends {
			b.Route(Endpoint{ID: fmt.Sprint(i), Addr: backend.addr})
		}
		ok, bad := load(t, b.URL())
		if ok+bad != clients*each || bad == 0 {
			t.Errorf("got %d served and %d failed of %d, want all answered and some failed", ok, bad, clients*each)
		}
		arrivals := 0
		for i, backend := range backends {
			requests, repeated := backend.arrived()
			arrivals += requests
			if repeated > 0 {
				t.Errorf("backend %d: %d requests arrived more than once", i, repeated)
			}
		}
		if arrivals != clients*each {
			t.Errorf("got %d requests at the backends, want each of %d once", arrivals, clients*each)
		}
		var failed uint64
		for _, c := range countersOf(b) {
			failed += c.Resets + c.EOFs
			if c.SecondConns != 0 {
				t.Errorf("endpoint %s: got %d second connections, want the transport not even to try", c.Endpoint.ID, c.SecondConns)
			}
		}
		if failed != uint64(bad) {
			t.Errorf("counters: got %d resets and ends, want %d", failed, bad)
		}
	})
}

// Where a request could be sent again after all, because a change of net/http makes it
// replayable, the second connection is closed before the request is written to it.
func TestSecondConnectionIsClosed(t *testing.T) {
	backend := serveWire(t, func(conn net.Conn, n int, r *http.Request) bool {
		io.WriteString(conn, okAnswer)
		return true
	})
	dying := serveWire(t, func(conn net.Conn, n int, r *http.Request) bool {
		if n > 1 {
			return false
		}
		io.WriteString(conn, okAnswer)
		return true
	})
	b := start(t, Config{})
	for _, tt := range []struct {
		name    string
		backend *wire
		fails   bool
	}{
		{"live connection", backend, false},
		{"dead connection", dying, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b.Route(Endpoint{ID: tt.name, Addr: tt.backend.addr})
			defer b.Unroute(tt.name)
			try := func(path string) (*attempt, error) {
				ctx, cancel := context.WithCancelCause(context.Background())
				defer cancel(nil)
				a := &attempt{backend: b.begin(), cancel: cancel}
				defer b.end(a)
				out := httptest.NewRequest(http.MethodGet, "http://"+tt.backend.addr+path, nil)
				out.RequestURI = ""
				out.Body = nil // what withoutReplay prevents
				a.in = out.WithContext(context.WithValue(ctx, attemptKey{}, a))
				res, err := roundTripper{}.RoundTrip(a.in)
				if err != nil {
					a.fault = classify(err, a)
					return a, err
				}
				a.status = res.StatusCode
				_, err = io.Copy(io.Discard, res.Body)
				res.Body.Close()
				return a, err
			}
			if _, err := try("/first"); err != nil {
				t.Fatal(err)
			}
			a, err := try("/second")
			if got := err != nil; got != tt.fails {
				t.Errorf("got error %v, want one: %v", err, tt.fails)
			}
			if tt.fails && a.fault != faultSecondConn {
				t.Errorf("got fault %q, want %q", a.fault, faultSecondConn)
			}
			if _, repeated := tt.backend.arrived(); repeated != 0 {
				t.Error("a request arrived twice")
			}
			for _, c := range countersOf(b) {
				if c.Endpoint.ID == tt.name && (c.SecondConns == 1) != tt.fails {
					t.Errorf("got %d second connections", c.SecondConns)
				}
			}
		})
	}
}

// Cancelling alone would be a race against the write, so the connection itself must be
// unusable once the guard has seen it.
func TestGuardClosesBeforeTheWrite(t *testing.T) {
	_, cancel := context.WithCancelCause(t.Context())
	a := &attempt{cancel: cancel}
	for i, usable := range []bool{true, false} {
		near, far := net.Pipe()
		defer near.Close()
		go func() {
			io.Copy(io.Discard, far)
			far.Close()
		}()
		a.gotConn(httptrace.GotConnInfo{Conn: near})
		if _, err := io.WriteString(near, "GET"); (err == nil) != usable {
			t.Errorf("connection %d: got %v, want it usable: %v", i+1, err, usable)
		}
	}
}

package edge

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// counterOf returns the counter of the endpoint once nothing is in flight there, which
// is a moment after the client has its answer.
func counterOf(t testing.TB, b *Balancer, id string) counter {
	t.Helper()
	b.Unroute(id)
	awaitDrained(t, b, id)
	for _, c := range countersOf(b) {
		if c.Endpoint.ID == id {
			checkSum(t, c)
			return c
		}
	}
	t.Fatalf("no counter for %s", id)
	return counter{}
}

// checkSum holds a counter against its invariant.
func checkSum(t testing.TB, c counter) {
	t.Helper()
	sum := uint64(c.InFlight) + c.ConnectFailures + c.Resets + c.EOFs + c.Timeouts + c.SecondConns + c.Canceled + c.Harness + c.Others
	for _, n := range c.Answers {
		sum += n
	}
	if sum != c.Requests {
		t.Errorf("counter does not add up: got %d, want %d requests: %+v", sum, c.Requests, c)
	}
}

func TestFailureBeforeAnswer(t *testing.T) {
	tests := []struct {
		name   string
		reply  func(conn net.Conn) // then the connection ends
		reason string
		count  func(counter) uint64
	}{
		{"closed", func(conn net.Conn) {}, "eof", func(c counter) uint64 { return c.EOFs }},
		{"reset", hangUp, "reset", func(c counter) uint64 { return c.Resets }},
		{"closed in the head", func(conn net.Conn) { io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n") },
			"eof", func(c counter) uint64 { return c.EOFs }},
		{"silent", func(conn net.Conn) { io.Copy(io.Discard, conn) }, "timeout", func(c counter) uint64 { return c.Timeouts }},
		{"no HTTP", func(conn net.Conn) { io.WriteString(conn, "220 mail.example ESMTP\r\n\r\n") },
			"malformed answer", func(c counter) uint64 { return c.Others }},
		{"bad length", func(conn net.Conn) { io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n") },
			"malformed answer", func(c counter) uint64 { return c.Others }},
		{"status below 100", func(conn net.Conn) { io.WriteString(conn, "HTTP/1.1 042 OK\r\nContent-Length: 0\r\n\r\n") },
			"malformed answer", func(c counter) uint64 { return c.Others }},
		{"endless head", func(conn net.Conn) {
			io.WriteString(conn, "HTTP/1.1 200 OK\r\n"+strings.Repeat("X: "+strings.Repeat("y", 1000)+"\r\n", 2000))
		}, "malformed answer", func(c counter) uint64 { return c.Others }},
		{"upgrade that nobody asked for", func(conn net.Conn) {
			io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
		}, "malformed answer", func(c counter) uint64 { return c.Others }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			backend := serveWire(t, func(conn net.Conn, n int, r *http.Request) bool {
				tt.reply(conn)
				return false
			})
			config := Config{}
			if tt.reason == "timeout" {
				config.ResponseTimeout = 200 * time.Millisecond // the others answer, on a busy machine later than that
			}
			b := start(t, config)
			b.Route(Endpoint{ID: "a", Addr: backend.addr})
			client := newClient(t)
			for try := 1; try <= 2; try++ {
				res, body := get(t, client, b.URL())
				if res.StatusCode != 502 || body != tt.reason+"\n" || res.Header.Get(drivers.ReasonHeader) != tt.reason {
					t.Errorf("got %d %q %q, want 502 %q", res.StatusCode, body, res.Header.Get(drivers.ReasonHeader), tt.reason)
				}
				if got := res.Header.Get(drivers.EndpointHeader); got != "a" {
					t.Errorf("endpoint: got %q, want a", got)
				}
			}
			if requests, _ := backend.arrived(); requests != 2 {
				t.Errorf("got %d requests at the endpoint, want 2", requests)
			}
			if c := counterOf(t, b, "a"); tt.count(c) != 2 || c.Requests != 2 {
				t.Errorf("got counter %+v, want 2 of that kind", c)
			}
		})
	}
}

// What the balancer itself has run out of is not held against the endpoint.
func TestOwnTroubleIsTheHarness(t *testing.T) {
	const harness = "harness: no descriptor, port or buffer left to connect with"
	tests := []struct {
		err    error
		reason string
	}{
		{syscall.EMFILE, harness}, {syscall.ENFILE, harness}, {syscall.EADDRNOTAVAIL, harness}, {syscall.ENOBUFS, harness}, {syscall.ENOMEM, harness},
		{syscall.ECONNREFUSED, "connect refused"}, {syscall.ETIMEDOUT, "connect timeout"}, {syscall.EHOSTUNREACH, "connect failed"},
	}
	for _, tt := range tests {
		t.Run(tt.err.Error(), func(t *testing.T) {
			b := start(t, Config{})
			b.Route(Endpoint{ID: "a", Addr: deadAddr(t)})
			b.order[0].transport.DialContext = func(context.Context, string, string) (net.Conn, error) {
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("socket", tt.err)}
			}
			res, _ := get(t, newClient(t), b.URL())
			if got := res.Header.Get(drivers.ReasonHeader); res.StatusCode != 502 || got != tt.reason {
				t.Errorf("got %d %q, want 502 %q", res.StatusCode, got, tt.reason)
			}
			want := counter{Requests: 1, ConnectFailures: 1}
			if tt.reason == harness {
				want = counter{Requests: 1, Harness: 1}
			}
			if c := counterOf(t, b, "a"); c.Harness != want.Harness || c.ConnectFailures != want.ConnectFailures {
				t.Errorf("got %d of the harness and %d failures to connect, want %d and %d", c.Harness, c.ConnectFailures, want.Harness, want.ConnectFailures)
			}
		})
	}
}

// An answer that breaks off reaches the client as one that broke off, whatever it was
// delimited by, and never as a complete one or as none at all.
func TestAnswerBreaksOff(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
	tests := []struct {
		name, request, answer string
		reset                 bool
		body                  string
	}{
		{"length", "GET / HTTP/1.1\r\nHost: lab\r\n\r\n", head + "Content-Length: 10\r\n\r\nhalf", false, "half"},
		{"length, before the body", "GET / HTTP/1.1\r\nHost: lab\r\n\r\n", head + "Content-Length: 10\r\n\r\n", false, ""},
		{"chunks", "GET / HTTP/1.1\r\nHost: lab\r\n\r\n", head + "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", false, "half"},
		{"in a chunk", "GET / HTTP/1.1\r\nHost: lab\r\n\r\n", head + "Transfer-Encoding: chunked\r\n\r\n8\r\nhalf", false, "half"},
		{"large", "GET / HTTP/1.1\r\nHost: lab\r\n\r\n", head + "Content-Length: 200000\r\n\r\n" + strings.Repeat("x", 100000), false, strings.Repeat("x", 100000)},
		{"reset", "GET / HTTP/1.1\r\nHost: lab\r\n\r\n", head + "Content-Length: 10\r\n\r\n", true, ""},
		{"chunks to an old client", "GET / HTTP/1.0\r\n\r\n", head + "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", false, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			headRead := make(chan struct{})
			backend := serveWire(t, func(conn net.Conn, n int, r *http.Request) bool {
				io.WriteString(conn, tt.answer)
				if tt.reset {
					<-headRead // a reset would overtake the head
					hangUp(conn)
				}
				return false
			})
			b := start(t, Config{})
			b.Route(Endpoint{ID: "a", Addr: backend.addr})
			conn := dial(t, b, tt.request)
			in := bufio.NewReader(conn)
			var res *http.Response
			var err error
			if tt.reset {
				// The client must see nothing before the backend goes on, so the balancer's
				// own view of the head is what is waited for.
				waitFor(t, func() bool { c := countersOf(b); return len(c) == 1 && c[0].InFlight == 1 })
				close(headRead)
			}
			res, err = http.ReadResponse(in, nil)
			if err != nil && strings.HasPrefix(tt.request, "GET / HTTP/1.0") && errors.Is(err, syscall.ECONNRESET) {
				return // the reset overtook the head: noticed all the same
			}
			if err != nil {
				t.Fatalf("got %v, want the head of an answer", err)
			}
			body, err := io.ReadAll(res.Body)
			if err == nil {
				t.Fatalf("got a complete answer %q, want an error", body)
			}
			if res.StatusCode != 200 || tt.body != "" && string(body) != tt.body {
				t.Errorf("got %d and %d bytes, want 200 and %d", res.StatusCode, len(body), len(tt.body))
			}
			if c := counterOf(t, b, "a"); c.Truncated != 1 || c.Answers[2] != 1 || c.Aborted != 0 {
				t.Errorf("got counter %+v, want 1 truncated", c)
			}
			if got := loggedBy(b); got != "" {
				t.Errorf("got %q for the log, want nothing", got)
			}
		})
	}
}

// A client that goes away is not an endpoint's failure.
func TestClientGoesAway(t *testing.T) {
	arrived, release := make(chan struct{}, 1), make(chan struct{})
	addr := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/body" {
			io.WriteString(w, "half")
			http.NewResponseController(w).Flush()
		}
		arrived <- struct{}{}
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	t.Cleanup(func() { close(release) })
	tests := []struct {
		name, request string
		count         func(counter) uint64
	}{
		{"before the answer", "GET / HTTP/1.1\r\nHost: lab\r\n\r\n", func(c counter) uint64 { return c.Canceled }},
		{"in its request", "POST / HTTP/1.1\r\nHost: lab\r\nContent-Length: 10\r\n\r\nhalf", func(c counter) uint64 { return c.Canceled }},
		{"in the answer", "GET /body HTTP/1.1\r\nHost: lab\r\n\r\n", func(c counter) uint64 { return c.Aborted }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := start(t, Config{})
			b.Route(Endpoint{ID: "a", Addr: addr})
			conn := dial(t, b, tt.request)
			<-arrived
			if tt.name == "in the answer" {
				if _, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil {
					t.Fatal(err)
				}
			}
			conn.Close()
			if c := counterOf(t, b, "a"); tt.count(c) != 1 {
				t.Errorf("got counter %+v, want 1 of that kind", c)
			}
		})
	}
}

// Neither an endpoint that dies nor one that closes its connection costs the client its own.
func TestClientConnectionStays(t *testing.T) {
	backend := serveWire(t, func(conn net.Conn, n int, r *http.Request) bool {
		switch r.URL.Path {
		case "/close":
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
			return false
		case "/die":
			return false
		}
		io.WriteString(conn, okAnswer)
		return true
	})
	b := start(t, Config{})
	b.Route(Endpoint{ID: "a", Addr: backend.addr})
	client := newClient(t)
	for i, path := range []string{"/", "/close", "/die", "/", "/close", "/"} {
		reused := false
		trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { reused = info.Reused }}
		r, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), http.MethodGet, b.URL()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if reused != (i > 0) {
			t.Errorf("request %d to %s: got reused %v, want %v", i, path, reused, i > 0)
		}
	}
}

// waitFor polls for something that nothing signals.
func waitFor(t testing.TB, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatal("waited 20 s in vain")
		}
		time.Sleep(time.Millisecond)
	}
}

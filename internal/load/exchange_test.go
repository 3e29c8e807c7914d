package load

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

// What keeps the transport from sending a request again must not change what it sends.
// exchanged is what exchange says of a request.
func exchanged(t *testing.T, rt http.RoundTripper, c *call, names *headerNames, deadline time.Time) (s record.Sample) {
	exchange(t.Context(), rt, c, names, deadline, false, &s)
	return s
}

func TestRequestOnTheWire(t *testing.T) {
	tests := []struct {
		name    string
		request Request
		reuse   bool
		want    string
	}{
		{"get", Request{Path: "/a?b=c"}, true,
			"GET /a?b=c HTTP/1.1\r\nHost: HOST\r\nUser-Agent: rollout-lab\r\n\r\n"},
		{"get on a connection of its own", Request{Path: "/"}, false,
			"GET / HTTP/1.1\r\nHost: HOST\r\nUser-Agent: rollout-lab\r\nConnection: close\r\n\r\n"},
		{"headers and host", Request{Path: "/", Header: map[string]string{"host": "name", "token": "t", "User-Agent": "u"}}, true,
			"GET / HTTP/1.1\r\nHost: name\r\nUser-Agent: u\r\nToken: t\r\n\r\n"},
		{"post", Request{Method: "POST", Path: "/", Body: []byte("body")}, true,
			"POST / HTTP/1.1\r\nHost: HOST\r\nUser-Agent: rollout-lab\r\nContent-Length: 4\r\n\r\nbody"},
		{"post without a body", Request{Method: "POST", Path: "/"}, true,
			"POST / HTTP/1.1\r\nHost: HOST\r\nUser-Agent: rollout-lab\r\nContent-Length: 0\r\n\r\n"},
		{"head", Request{Method: "HEAD", Path: "/"}, true,
			"HEAD / HTTP/1.1\r\nHost: HOST\r\nUser-Agent: rollout-lab\r\n\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := make(chan string, 1)
			addr := rawServer(t, func(conn net.Conn, _ *bufio.Reader) {
				buf := make([]byte, len(tt.want)+100)
				n := 0
				// The client says nothing more until it is answered: all is there when
				// both the headers and as many bytes of body as are wanted have come.
				for !strings.Contains(string(buf[:n]), "\r\n\r\n") || !strings.HasSuffix(string(buf[:n]), string(tt.request.Body)) {
					m, err := conn.Read(buf[n:])
					if err != nil {
						break
					}
					n += m
				}
				got <- string(buf[:n])
				io.WriteString(conn, okHead+"Content-Length: 0\r\n\r\n")
			})
			c, err := newCall(&url.URL{Scheme: "http", Host: addr}, &tt.request, record.Serve)
			if err != nil {
				t.Fatal(err)
			}
			transport := plain(tt.reuse, 1, ample)
			defer transport.CloseIdleConnections()
			names := newHeaderNames(nil, "", "")
			if f := exchanged(t, transport, c, &names, time.Now().Add(ample)); f.Class != record.OK {
				t.Errorf("class %s (%s), want ok", f.Class, f.Reason)
			}
			if sent, want := <-got, strings.ReplaceAll(tt.want, "HOST", addr); sent != want {
				t.Errorf("sent\n%q, want\n%q", sent, want)
			}
		})
	}
}

// An answer names its instance in the first header of the list that it has.
func TestInstanceHeaders(t *testing.T) {
	tests := []struct {
		name, headers, want string
		names               headerNames
	}{
		{"instance", "Rollout-Lab-Instance: i\r\nRollout-Lab-Endpoint: e\r\n", "i", newHeaderNames(nil, "", "")},
		{"only the balancer", "Rollout-Lab-Endpoint: e\r\n", "e", newHeaderNames(nil, "", "")},
		{"nobody", "", "", newHeaderNames(nil, "", "")},
		{"own names", "Rollout-Lab-Instance: i\r\nServed-By: s\r\n", "s", newHeaderNames([]string{"X", "Served-By"}, "", "")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			addr := rawServer(t, answering(okHead+tt.headers+"Content-Length: 0\r\n\r\n", hangUp))
			c, err := newCall(&url.URL{Scheme: "http", Host: addr}, &Request{Path: "/"}, record.Serve)
			if err != nil {
				t.Fatal(err)
			}
			transport := plain(false, 1, ample)
			f := exchanged(t, transport, c, &tt.names, time.Now().Add(ample))
			if f.Class != record.OK || f.Instance != tt.want {
				t.Errorf("class %s, instance %q; want ok, %q", f.Class, f.Instance, tt.want)
			}
		})
	}
}

// A reused connection has received bytes before: those are not part of an answer to the
// request under which it ended.
func TestEndOfReusedConnectionIsNotTruncation(t *testing.T) {
	addr := rawServer(t, func(conn net.Conn, in *bufio.Reader) {
		if readRequest(in) {
			io.WriteString(conn, okHead+"Content-Length: 0\r\n\r\n")
		}
		readRequest(in)
	})
	c, err := newCall(&url.URL{Scheme: "http", Host: addr}, &Request{Path: "/"}, record.Serve)
	if err != nil {
		t.Fatal(err)
	}
	transport := plain(true, 1, ample)
	defer transport.CloseIdleConnections()
	names := newHeaderNames(nil, "", "")
	for i, want := range []record.Class{record.OK, record.EOF} {
		if f := exchanged(t, transport, c, &names, time.Now().Add(ample)); f.Class != want {
			t.Errorf("request %d: class %s, want %s", i, f.Class, want)
		}
	}
}

// roundTripper is a function that is a transport.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// An answer that is complete an instant after the deadline is too late all the same.
func TestCompleteAfterTheDeadline(t *testing.T) {
	c, err := newCall(&url.URL{Scheme: "http", Host: "host"}, &Request{Path: "/"}, record.Serve)
	if err != nil {
		t.Fatal(err)
	}
	names := newHeaderNames(nil, "", "")
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			took time.Duration
			want record.Class
		}{{time.Second - 1, record.OK}, {time.Second + 1, record.Timeout}} {
			transport := roundTripper(func(*http.Request) (*http.Response, error) {
				time.Sleep(tt.took)
				return &http.Response{StatusCode: 200, Body: http.NoBody}, nil
			})
			if f := exchanged(t, transport, c, &names, time.Now().Add(time.Second)); f.Class != tt.want {
				t.Errorf("complete after %v of 1s: class %s, want %s", tt.took, f.Class, tt.want)
			}
		}
	})
}

func TestSecondConnectionIsGivenUp(t *testing.T) {
	cancelled := 0
	taken := takenConns{again: func() { cancelled++ }}
	for i := range 3 {
		ours, theirs := net.Pipe()
		taken.got(httptrace.GotConnInfo{Conn: ours})
		// A pipe accepts a deadline as long as neither end was closed.
		closed := ours.SetDeadline(time.Time{}) != nil
		if want := i > 0; closed != want {
			t.Errorf("connection %d: closed %v, want %v", i, closed, want)
		}
		ours.Close()
		theirs.Close()
	}
	if cancelled != 2 || taken.count.Load() != 3 {
		t.Errorf("cancelled %d times, counted %d connections; want 2 and 3", cancelled, taken.count.Load())
	}
}

// A burst opens many connections; all of them are kept, or the next burst would measure
// the dialling.
// No proxy of the environment stands between load and target (Go's default leaves only
// loopback alone, and the nodes of a cluster are elsewhere), and nothing multiplexes requests
// on one connection.
func TestTransportGoesStraight(t *testing.T) {
	transport := plain(true, 1, ample)
	if transport.Proxy != nil {
		t.Error("it asks somebody for a proxy")
	}
	if p := transport.Protocols; p == nil || !p.HTTP1() || p.HTTP2() || p.UnencryptedHTTP2() {
		t.Errorf("it speaks %v, want HTTP/1 alone", p)
	}
}

func TestIdleConnectionsAreKept(t *testing.T) {
	const burst = 20
	var opened atomic.Int64
	var arrived sync.WaitGroup
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		arrived.Done()
		arrived.Wait() // for the whole burst, so that each request needs a connection
	}))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			opened.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	c, err := newCall(&url.URL{Scheme: "http", Host: server.Listener.Addr().String()}, &Request{Path: "/"}, record.Serve)
	if err != nil {
		t.Fatal(err)
	}
	transport := plain(true, burst, ample)
	defer transport.CloseIdleConnections()
	names := newHeaderNames(nil, "", "")
	for range 3 {
		var sending sync.WaitGroup
		arrived.Add(burst)
		for range burst {
			sending.Go(func() {
				if f := exchanged(t, transport, c, &names, time.Now().Add(ample)); f.Class != record.OK {
					t.Errorf("class %s (%s), want ok", f.Class, f.Reason)
				}
			})
		}
		sending.Wait()
	}
	if got := opened.Load(); got != burst {
		t.Errorf("three bursts of %d requests opened %d connections, want %d", burst, got, burst)
	}
}

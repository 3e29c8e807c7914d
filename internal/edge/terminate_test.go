package edge

import (
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/certtest"
)

// front is a balancer that TLS ends at, and how to speak to it.
type front struct {
	*Balancer
	trust *drivers.TLS
}

func startFront(t testing.TB, endpoints drivers.Wire) *front {
	t.Helper()
	authority := certtest.New(t)
	pair := authority.Issue(certtest.Options{}).TLS(t)
	return &front{start(t, Config{Wire: endpoints, Certificate: &pair}), &drivers.TLS{CA: authority.PEM, ServerName: "localhost"}}
}

// client has connections of its own.
func (f *front) client(t testing.TB, protocol drivers.Protocol) *http.Client {
	t.Helper()
	transport := &http.Transport{}
	if err := (drivers.Wire{Protocol: protocol, TLS: f.trust}).Configure(transport); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

// serveProtocol starts an endpoint that speaks a protocol, and says how it is spoken to.
func serveProtocol(t testing.TB, name string, protocol drivers.Protocol, secure bool, authority *certtest.Authority) (addr string, wire drivers.Wire) {
	t.Helper()
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			fmt.Fprintf(w, "%s %s %s %s%s", name, r.Proto, r.Method, r.Header.Get("X-Forwarded-Proto"), body)
		}),
		Protocols: new(http.Protocols),
	}
	wire = drivers.Wire{Protocol: protocol}
	switch protocol {
	case drivers.H1:
		server.Protocols.SetHTTP1(true)
	case drivers.H2:
		server.Protocols.SetHTTP2(true)
	case drivers.H2C:
		server.Protocols.SetUnencryptedHTTP2(true)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serve := server.Serve
	if secure {
		wire.TLS = &drivers.TLS{CA: authority.PEM, ServerName: "localhost"}
		server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{authority.Issue(certtest.Options{}).TLS(t)}}
		serve = func(l net.Listener) error { return server.ServeTLS(l, "", "") }
	}
	ended := make(chan struct{})
	go func() { defer close(ended); serve(listener) }()
	t.Cleanup(func() { server.Close(); <-ended })
	return listener.Addr().String(), wire
}

// TLS ends at the balancer: it speaks with each client as that chooses, with the endpoints as
// they do, and each request goes where its turn is, also those of one connection.
func TestTerminate(t *testing.T) {
	authority := certtest.New(t)
	for _, endpoints := range []struct {
		protocol drivers.Protocol
		secure   bool
		proto    string
	}{
		{drivers.H1, false, "HTTP/1.1"}, {drivers.H1, true, "HTTP/1.1"}, {drivers.H2, true, "HTTP/2.0"}, {drivers.H2C, false, "HTTP/2.0"},
	} {
		for _, protocol := range []drivers.Protocol{drivers.H1, drivers.H2} {
			t.Run(fmt.Sprintf("%s to %s, secure %t", protocol, endpoints.protocol, endpoints.secure), func(t *testing.T) {
				one, wire := serveProtocol(t, "one", endpoints.protocol, endpoints.secure, authority)
				two, _ := serveProtocol(t, "two", endpoints.protocol, endpoints.secure, authority)
				f := startFront(t, wire)
				if !strings.HasPrefix(f.URL(), "https://") {
					t.Errorf("URL %s, want https", f.URL())
				}
				client := f.client(t, protocol)
				res, body := get(t, client, f.URL())
				if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get(drivers.ReasonHeader) != drivers.NoInstanceReason {
					t.Errorf("with nothing routed to: got %d %q", res.StatusCode, body)
				}
				f.Route(Endpoint{ID: "a", Addr: one})
				f.Route(Endpoint{ID: "b", Addr: two})
				for i, name := range []string{"one", "two", "one", "two"} {
					res, body := get(t, client, f.URL())
					if want := name + " " + endpoints.proto + " GET https"; body != want || res.Header.Get(drivers.EndpointHeader) != string("ab"[i%2]) {
						t.Errorf("got %q from %q, want %q", body, res.Header.Get(drivers.EndpointHeader), want)
					}
					if (res.ProtoMajor == 2) != (protocol == drivers.H2) {
						t.Errorf("answered in %s", res.Proto)
					}
				}
				res, err := client.Post(f.URL(), "text/plain", strings.NewReader(" hello"))
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				if body, err := io.ReadAll(res.Body); err != nil || string(body) != "one "+endpoints.proto+" POST https hello" {
					t.Errorf("got %q, %v", body, err)
				}
			})
		}
	}
}

// An endpoint whose certificate is not to be trusted is told from one that is down.
func TestTerminateTrustsWhomItIsTold(t *testing.T) {
	addr, wire := serveProtocol(t, "one", drivers.H1, true, certtest.New(t))
	wire.TLS.CA = certtest.New(t).PEM
	f := startFront(t, wire)
	f.Route(Endpoint{ID: "a", Addr: addr})
	res, body := get(t, f.client(t, drivers.H1), f.URL())
	if res.StatusCode != http.StatusBadGateway || res.Header.Get(drivers.ReasonHeader) != "certificate not trusted" {
		t.Errorf("got %d %q", res.StatusCode, body)
	}
}

// refuser is an endpoint of HTTP/2 without TLS that turns every request away unprocessed, and
// counts the requests that reached it.
type refuser struct {
	addr     string
	requests atomic.Int32
}

const (
	frameHeaders  = 1
	framePreface  = 24
	frameHead     = 9
	emptySettings = "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	// goAway says that no stream was processed: last stream 0, no error.
	goAway = "\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
)

func serveRefuser(t testing.TB) *refuser {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &refuser{addr: listener.Addr().String()}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { r.refuse(conn) })
		}
	})
	t.Cleanup(func() { listener.Close(); serving.Wait() })
	return r
}

func (r *refuser) refuse(conn net.Conn) {
	defer conn.Close()
	io.WriteString(conn, emptySettings)
	if _, err := io.CopyN(io.Discard, conn, framePreface); err != nil {
		return
	}
	for {
		head := make([]byte, frameHead)
		if _, err := io.ReadFull(conn, head); err != nil {
			return
		}
		length := int64(binary.BigEndian.Uint32(append([]byte{0}, head[:3]...)))
		if _, err := io.CopyN(io.Discard, conn, length); err != nil {
			return
		}
		if head[3] == frameHeaders {
			r.requests.Add(1)
			io.WriteString(conn, goAway)
		}
	}
}

// A request that an endpoint of HTTP/2 has turned away unprocessed is not sent again, though
// net/http would, and the client is told why it failed.
func TestTerminateSendsNothingTwice(t *testing.T) {
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		t.Run(method, func(t *testing.T) {
			endpoint := serveRefuser(t)
			f := startFront(t, drivers.Wire{Protocol: drivers.H2C})
			f.Route(Endpoint{ID: "a", Addr: endpoint.addr})
			var body io.Reader
			if method == http.MethodPost {
				body = strings.NewReader("hello")
			}
			req, err := http.NewRequestWithContext(t.Context(), method, f.URL(), body)
			if err != nil {
				t.Fatal(err)
			}
			res, err := f.client(t, drivers.H2).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if res.StatusCode != http.StatusBadGateway || res.Header.Get(drivers.ReasonHeader) != "refused unprocessed" {
				t.Errorf("got %d %q", res.StatusCode, res.Header.Get(drivers.ReasonHeader))
			}
			if n := endpoint.requests.Load(); n != 1 {
				t.Errorf("the endpoint got %d requests, want 1", n)
			}
		})
	}
}

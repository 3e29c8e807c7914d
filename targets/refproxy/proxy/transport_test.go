package proxy

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/targets/refproxy/credential"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/upstream"
)

// dyingUpstream answers the first request of each connection and dies of the second one,
// after it has read it. It counts the requests that it read, but for the proxy's own.
type dyingUpstream struct {
	url  string
	read atomic.Int32
}

func newDyingUpstream(t *testing.T) *dyingUpstream {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := &dyingUpstream{url: "http://" + l.Addr().String()}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			u.serve(conn)
		}
	}()
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		<-ended
	})
	return u
}

func (u *dyingUpstream) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	r := bufio.NewReader(conn)
	for n := range 2 {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return
		}
		u.read.Add(1)
		if n == 0 {
			text := "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
			if _, err := conn.Write([]byte(text)); err != nil {
				return
			}
		}
	}
}

func TestTransportSendsNothingTwice(t *testing.T) {
	for _, tt := range []struct {
		name, method, body, idempotency string
		plainRetries                    bool // net/http on its own sends it again
	}{
		{"GET", "GET", "", "", true},
		{"HEAD", "HEAD", "", "", true},
		{"OPTIONS", "OPTIONS", "", "", true},
		{"DELETE", "DELETE", "", "", false},
		{"POST", "POST", "body", "", false},
		{"POST without a body", "POST", "", "", false},
		{"POST that calls itself idempotent", "POST", "", "key", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			attempt := func(transport http.RoundTripper, kept *http.Transport) int32 {
				u := newDyingUpstream(t)
				defer kept.CloseIdleConnections()
				send := func() (int, error) {
					req := httptest.NewRequestWithContext(t.Context(), tt.method, u.url, strings.NewReader(tt.body))
					req.RequestURI = ""
					if tt.body == "" {
						req.Body = http.NoBody
					}
					if tt.idempotency != "" {
						req.Header.Set("Idempotency-Key", tt.idempotency)
					}
					resp, err := transport.RoundTrip(req)
					if err != nil {
						return 0, err
					}
					return resp.StatusCode, resp.Body.Close()
				}
				if status, err := send(); err != nil || status != 200 {
					t.Fatalf("first request: %d, %v", status, err)
				}
				_, err := send()
				got := u.read.Load()
				if (got == 3) == (err != nil) {
					t.Errorf("%d requests read and error %v", got, err)
				}
				return got
			}
			plain := newTransport()
			want := int32(2)
			if tt.plainRetries {
				want = 3
			}
			// The control: without it a server that counts wrongly would prove anything.
			if got := attempt(plain, plain); got != want {
				t.Errorf("plain transport: %d requests read, want %d", got, want)
			}
			kept := newTransport()
			if got := attempt(onceTransport{kept}, kept); got != 2 {
				t.Errorf("%d requests read, want 2: each one once", got)
			}
		})
	}
}

func TestUpstreamTroubleIsSeen(t *testing.T) {
	t.Run("dies after it read the request", func(t *testing.T) {
		k := start(t, func(s *setup) {
			inner := s.upstream
			s.upstream = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/app/die" {
					panic(http.ErrAbortHandler)
				}
				inner.ServeHTTP(w, r)
			})
		})
		k.synced()
		k.get("/app/x", 1).expect(t, "before", 200, "")
		k.get("/app/die", 1).expect(t, "during", 502, "proxy: upstream: ")
		k.get("/app/x", 1).expect(t, "after", 200, "")
	})
	t.Run("breaks off its answer", func(t *testing.T) {
		k := start(t, func(s *setup) {
			inner := s.upstream
			s.upstream = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/app/half" {
					inner.ServeHTTP(w, r)
					return
				}
				w.Header().Set("Content-Length", "100")
				if _, err := w.Write([]byte("half")); err != nil {
					t.Error(err)
				}
				if err := http.NewResponseController(w).Flush(); err != nil {
					t.Error(err)
				}
				panic(http.ErrAbortHandler)
			})
		})
		k.synced()
		if got := k.get("/app/half", 1); got.err == nil {
			t.Errorf("half an answer arrives as %d %q, want an error", got.status, got.body)
		}
	})
	t.Run("is not there", func(t *testing.T) {
		gone := httptest.NewServer(http.NotFoundHandler())
		gone.Close()
		k := start(t, func(s *setup) { s.options.Upstream = gone.URL })
		k.await("storage", "ready", func(now status) bool { return now.phase == ready })
		k.await("authorize", "ready", func(now status) bool { return now.phase == ready })
		k.await("authenticate", "ready", func(now status) bool { return now.phase == ready })
		k.await("proxy", "in trouble", func(now status) bool {
			return now.phase == starting && strings.HasPrefix(now.reason, "upstream: ")
		})
		k.get("/app/x", 1).expect(t, "request", 502, "proxy: upstream: ")
		if got := k.probe("/readyz").status; got != 503 {
			t.Errorf("/readyz answers %d, want 503", got)
		}
	})
}

func TestUpstreamOutageDoesNotEvict(t *testing.T) {
	var down atomic.Bool
	k := start(t, func(s *setup) {
		s.upstream = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			if down.Load() {
				panic(http.ErrAbortHandler)
			}
		})
	})
	k.ready()
	down.Store(true)
	k.await("proxy", "degraded", func(now status) bool { return now.phase == degraded })
	if got := k.probe("/readyz").status; got != 200 {
		t.Errorf("/readyz answers %d while the shared upstream is down, want 200", got)
	}
	down.Store(false)
	k.await("proxy", "ready", func(now status) bool { return now.phase == ready })
}

func TestCanonical(t *testing.T) {
	for path, want := range map[string]bool{
		"/": true, "/app/": true, "/app/x": true, "/app/x.y/..z/": true, "/app/é ?": true,
		"": false, "*": false, "app/": false, "//": false, "/app//x": false, "/app//": false,
		"/.": false, "/app/.": false, "/app/./": false, "/app/../x": false, "/..": false,
		"/app/%41": false, "/app/%": false, "/app/;": false, `/app\x`: false, "/app/\x7f": false, "/app/\xff": false,
	} {
		if got := canonical(&url.URL{Path: path}); got != want {
			t.Errorf("canonical(%q) = %v, want %v", path, got, want)
		}
	}
}

func TestReasonIsOneLine(t *testing.T) {
	w := httptest.NewRecorder()
	refuse(w, refusal{http.StatusBadGateway, "upstream: a\r\nSet-Cookie: b\x7f" + strings.Repeat("é", 300)})
	got := w.Header().Get(ReasonHeader)
	if strings.ContainsAny(got, "\r\n\x7f") || len(got) > 300 || !strings.HasPrefix(got, "upstream: a  Set-Cookie") {
		t.Errorf("reason is %q", got)
	}
}

// benched returns a synced data plane before an upstream, and a request header that it
// lets through.
func benched(b *testing.B, upstream string, transport http.RoundTripper) (*dataPlane, http.Header) {
	b.Helper()
	target, err := url.Parse(upstream)
	if err != nil {
		b.Fatal(err)
	}
	issuer, err := credential.NewIssuer(seed)
	if err != nil {
		b.Fatal(err)
	}
	p := parts{storage: newStorage(), authorize: newAuthorize(), authenticate: newAuthenticate(nil, "", 0)}
	verifier, err := credential.NewVerifier(issuer.Keys(), time.Now)
	if err != nil {
		b.Fatal(err)
	}
	p.authenticate.verifier.Store(verifier)
	p.storage.sessions = map[string]session{credential.SessionID(1): {group: "staff"}}
	if err := p.authorize.compile(configuration(1000)); err != nil {
		b.Fatal(err)
	}
	text, err := issuer.Token(credential.SessionID(1), time.Now(), time.Hour)
	if err != nil {
		b.Fatal(err)
	}
	header := http.Header{"Authorization": {"Bearer " + text}}
	return newDataPlane(Options{Instance: "a", Revision: "r"}, target, transport, &p), header
}

// BenchmarkRequest measures one request through the proxy: token, session, policy and
// upstream, with the client's side of it.
func BenchmarkRequest(b *testing.B) {
	behind := httptest.NewServer(upstream.Handler(0))
	defer behind.Close()
	transport := newTransport()
	defer transport.CloseIdleConnections()
	d, header := benched(b, behind.URL, transport)
	server := httptest.NewServer(d)
	defer server.Close()
	want := upstream.Answer("GET", "/app/items/7", nil)
	b.ReportAllocs()
	for b.Loop() {
		req, err := http.NewRequestWithContext(b.Context(), "GET", server.URL+"/app/items/7", nil)
		if err != nil {
			b.Fatal(err)
		}
		req.Header = header
		resp, err := server.Client().Do(req)
		if err != nil {
			b.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		if err := errors.Join(err, resp.Body.Close()); err != nil || string(got) != want {
			b.Fatalf("answer %q, %v; want %q", got, err, want)
		}
	}
}

// BenchmarkDecide measures the decision about a request alone.
func BenchmarkDecide(b *testing.B) {
	d, header := benched(b, "", nil)
	r := httptest.NewRequest("GET", "/app/items/7", nil)
	r.Header = header
	b.ReportAllocs()
	for b.Loop() {
		if _, no := d.decide(r); no.status != 0 {
			b.Fatal(no)
		}
	}
}

func TestConnectionsToTheUpstreamAreGivenUpFirst(t *testing.T) {
	// The side that closes an idle connection first must be the one that sends requests,
	// or now and then one is lost to the close.
	least := limits{}.withDefaults().header // as an upstream that does as the proxy does
	if got := newTransport().IdleConnTimeout; got <= 0 || got >= least {
		t.Errorf("the proxy keeps idle connections for %v, want less than %v", got, least)
	}
}

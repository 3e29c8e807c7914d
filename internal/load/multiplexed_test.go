package load

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/certtest"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

// h2Server is a server of HTTP/2 without TLS that is written by hand: it can do what no
// decent one does. serve is given each request, with the number of its connection from 0, and
// returns whether the connection goes on.
func h2Server(t *testing.T, serve func(c *h2ServerConn, conn int, stream uint32) bool) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	serving.Go(func() {
		for n := 0; ; n++ {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, conn)
			mu.Unlock()
			serving.Go(func() {
				defer conn.Close()
				(&h2ServerConn{Conn: conn}).run(func(c *h2ServerConn, stream uint32) bool { return serve(c, n, stream) })
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for _, conn := range open {
			conn.Close()
		}
		mu.Unlock()
		serving.Wait()
	})
	return ln.Addr().String()
}

type h2ServerConn struct {
	net.Conn
	*http2.Framer
	block  bytes.Buffer
	encode *hpack.Encoder
}

func (c *h2ServerConn) run(serve func(c *h2ServerConn, stream uint32) bool) {
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(c.Conn, preface); err != nil || string(preface) != http2.ClientPreface {
		return
	}
	c.Framer = http2.NewFramer(c.Conn, c.Conn)
	c.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.encode = hpack.NewEncoder(&c.block)
	if c.WriteSettings() != nil {
		return
	}
	for {
		f, err := c.ReadFrame()
		if err != nil {
			return
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				_ = c.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !f.IsAck() {
				_ = c.WritePing(true, f.Data)
			}
		case *http2.MetaHeadersFrame:
			if !serve(c, f.StreamID) {
				return
			}
		}
	}
}

// head begins an answer.
func (c *h2ServerConn) head(stream uint32, end bool) {
	c.block.Reset()
	_ = c.encode.WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
	_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: c.block.Bytes(), EndHeaders: true, EndStream: end})
}

// answer is a whole answer.
func (c *h2ServerConn) answer(stream uint32) bool {
	c.head(stream, false)
	_ = c.WriteData(stream, true, []byte("hello"))
	return true
}

// drain reads until the client goes away.
func (c *h2ServerConn) drain() bool {
	_, _ = io.Copy(io.Discard, c.Conn)
	return false
}

var textHello = Request{Path: "/", WantBody: "hello"}

// What a server of HTTP/2 does to a request, as the load and the reference client see it, on
// a connection that has answered one request and on a new one: nothing is repeated, and what
// the server says that it has not processed is told from what it may have.
func TestEndsOfStreams(t *testing.T) {
	for _, tt := range []struct {
		name   string
		serve  func(c *h2ServerConn, stream uint32) bool
		want   record.Class
		reason string
	}{
		{"served", (*h2ServerConn).answer, record.OK, ""},
		{"refused by a leave", func(c *h2ServerConn, stream uint32) bool {
			_ = c.WriteGoAway(stream-1, http2.ErrCodeNo, nil)
			return c.drain()
		}, record.RefusedRetryable, "GOAWAY, NO_ERROR"},
		{"refused by a leave for a reason", func(c *h2ServerConn, stream uint32) bool {
			_ = c.WriteGoAway(stream-1, http2.ErrCodeEnhanceYourCalm, nil)
			return c.drain()
		}, record.RefusedRetryable, "GOAWAY, ENHANCE_YOUR_CALM"},
		{"refused by a leave and the connection's end", func(c *h2ServerConn, stream uint32) bool {
			_ = c.WriteGoAway(stream-1, http2.ErrCodeNo, nil)
			return false
		}, record.RefusedRetryable, ""},
		{"refused as a stream", func(c *h2ServerConn, stream uint32) bool {
			_ = c.WriteRSTStream(stream, http2.ErrCodeRefusedStream)
			return true
		}, record.RefusedRetryable, "REFUSED_STREAM"},
		{"served after a leave that lets it", func(c *h2ServerConn, stream uint32) bool {
			_ = c.WriteGoAway(stream, http2.ErrCodeNo, nil)
			c.answer(stream)
			return false
		}, record.OK, ""},
		{"served after a first warning", func(c *h2ServerConn, stream uint32) bool {
			_ = c.WriteGoAway(1<<31-1, http2.ErrCodeNo, nil)
			_ = c.WriteGoAway(stream, http2.ErrCodeNo, nil)
			c.answer(stream)
			return false
		}, record.OK, ""},
		{"left alone after a leave that lets it", func(c *h2ServerConn, stream uint32) bool {
			_ = c.WriteGoAway(stream, http2.ErrCodeNo, nil)
			return false
		}, record.EOF, "GOAWAY, NO_ERROR"},
		{"reset", func(c *h2ServerConn, stream uint32) bool {
			_ = c.WriteRSTStream(stream, http2.ErrCodeInternal)
			return true
		}, record.Reset, "INTERNAL_ERROR"},
		{"reset within the answer", func(c *h2ServerConn, stream uint32) bool {
			c.head(stream, false)
			_ = c.WriteData(stream, false, []byte("he"))
			_ = c.WriteRSTStream(stream, http2.ErrCodeInternal)
			return true
		}, record.Reset, "INTERNAL_ERROR"},
		{"refused within the answer", func(c *h2ServerConn, stream uint32) bool {
			c.head(stream, false)
			_ = c.WriteData(stream, false, []byte("he"))
			_ = c.WriteRSTStream(stream, http2.ErrCodeRefusedStream)
			return true
		}, record.Reset, "REFUSED_STREAM"},
		{"closed", func(*h2ServerConn, uint32) bool { return false }, record.EOF, ""},
		{"closed within the answer", func(c *h2ServerConn, stream uint32) bool {
			c.head(stream, false)
			_ = c.WriteData(stream, false, []byte("he"))
			return false
		}, record.Truncated, "after the answer had begun"},
		{"another body", func(c *h2ServerConn, stream uint32) bool {
			c.head(stream, true)
			return true
		}, record.WrongBody, ""},
		{"no answer", func(c *h2ServerConn, _ uint32) bool { return c.drain() }, record.Timeout, ""},
	} {
		for _, used := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, used %t", tt.name, used), func(t *testing.T) {
				var requests atomic.Int32
				addr := h2Server(t, func(c *h2ServerConn, conn int, stream uint32) bool {
					requests.Add(1)
					if used && stream != 3 || !used && stream != 1 || conn > 0 {
						return c.answer(stream)
					}
					return tt.serve(c, stream)
				})
				timeout := ample
				if tt.want == record.Timeout {
					timeout = soon
				}
				wire := drivers.Wire{Protocol: drivers.H2C}
				load := newExchanger(t, addr, wire, true)
				sent := int32(1)
				if used {
					sent = 2
					if s := load(textHello, ample); s.Class != record.OK {
						t.Fatalf("the first request: %s (%s)", s.Class, s.Reason)
					}
				}
				s := load(textHello, timeout)
				if s.Class != tt.want || !strings.Contains(s.Reason, tt.reason) || s.Attempts != 1 {
					t.Errorf("got %s (%s) in %d attempts, want %s (%s) in one", s.Class, s.Reason, s.Attempts, tt.want, tt.reason)
				}
				if n := requests.Load(); n != sent {
					t.Errorf("the server got %d requests, want %d", n, sent)
				}
				// A plain client goes on with a connection that is silent.
				if s := load(textHello, soon); s.Class != record.OK && tt.want != record.Timeout {
					t.Errorf("the one behind it: %s (%s), want ok", s.Class, s.Reason)
				}
			})
		}
	}
}

// newExchanger returns what sends requests to addr as the load does.
func newExchanger(t *testing.T, addr string, wire drivers.Wire, reuse bool) func(r Request, timeout time.Duration) record.Sample {
	t.Helper()
	return newTracedExchanger(t, addr, wire, nil, reuse)
}

// newTracedExchanger is told where connections went.
func newTracedExchanger(t *testing.T, addr string, wire drivers.Wire, trace tracing, reuse bool) func(r Request, timeout time.Duration) record.Sample {
	t.Helper()
	transport, err := transportFor(wire, trace, reuse, 1, ample)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(transport.CloseIdleConnections)
	return func(r Request, timeout time.Duration) record.Sample {
		c, err := newDirectCall(addr, wire, &r)
		if err != nil {
			t.Fatal(err)
		}
		names := newHeaderNames(nil, "", "")
		return exchanged(t, transport, c, &names, time.Now().Add(timeout))
	}
}

// The reference client sees the same ends, in fewer words.
func TestReferenceSeesEndsOfStreams(t *testing.T) {
	for _, tt := range []struct {
		name  string
		serve func(c *h2ServerConn, stream uint32) bool
		want  record.Class
	}{
		{"served", (*h2ServerConn).answer, record.OK},
		{"refused by a leave", func(c *h2ServerConn, stream uint32) bool {
			_ = c.WriteGoAway(stream-1, http2.ErrCodeNo, nil)
			return c.drain()
		}, record.RefusedRetryable},
		{"refused as a stream", func(c *h2ServerConn, stream uint32) bool {
			_ = c.WriteRSTStream(stream, http2.ErrCodeRefusedStream)
			return true
		}, record.RefusedRetryable},
		{"served after a leave that lets it", func(c *h2ServerConn, stream uint32) bool {
			_ = c.WriteGoAway(stream, http2.ErrCodeNo, nil)
			c.answer(stream)
			return false
		}, record.OK},
		{"reset", func(c *h2ServerConn, stream uint32) bool {
			_ = c.WriteRSTStream(stream, http2.ErrCodeInternal)
			return true
		}, record.Other},
		{"closed within the answer", func(c *h2ServerConn, stream uint32) bool {
			c.head(stream, false)
			_ = c.WriteData(stream, false, []byte("he"))
			return false
		}, record.Other},
		{"another body", func(c *h2ServerConn, stream uint32) bool { c.head(stream, true); return true }, record.WrongBody},
		{"no answer", func(c *h2ServerConn, _ uint32) bool { return c.drain() }, record.Other},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var requests atomic.Int32
			addr := h2Server(t, func(c *h2ServerConn, conn int, stream uint32) bool {
				requests.Add(1)
				if stream != 3 || conn > 0 {
					return c.answer(stream)
				}
				return tt.serve(c, stream)
			})
			v := newReference(addr)
			v.plan.Wire, v.plan.Timeout, v.plan.Base, v.plan.Connections = drivers.Wire{Protocol: drivers.H2C}, ample, time.Now(), 1
			v.plan.Streams = []Stream{streamOf("get", 1, true, textHello)}
			v.schedule = newSchedule(&Plan{Rate: 1, Streams: v.plan.Streams})
			defer v.closeKept()
			if s := v.send(0, time.Now()); s.Class != record.OK {
				t.Fatalf("the first request: %s (%s)", s.Class, s.Reason)
			}
			if tt.name == "no answer" {
				v.plan.Timeout = soon
			}
			got := v.send(1, time.Now())
			if got.Class != tt.want {
				t.Errorf("got %s (%s), want %s", got.Class, got.Reason, tt.want)
			}
			if n := requests.Load(); n != 2 {
				t.Errorf("the server got %d requests, want 2", n)
			}
			v.plan.Timeout = ample
			if s := v.send(2, time.Now()); s.Class != record.OK {
				t.Errorf("the one behind it: %s (%s), want ok", s.Class, s.Reason)
			}
		})
	}
}

// A leave that comes while nothing is under way costs nothing: the next request goes to
// another connection.
func TestLeaveBetweenRequests(t *testing.T) {
	var conns atomic.Int32
	gone := make(chan struct{}, 10)
	addr := h2Server(t, func(c *h2ServerConn, conn int, stream uint32) bool {
		conns.Store(int32(conn) + 1)
		c.answer(stream)
		_ = c.WriteGoAway(stream, http2.ErrCodeNo, nil)
		gone <- struct{}{}
		return true // it stays open: only the leave says that it is over
	})
	wire := drivers.Wire{Protocol: drivers.H2C}
	transport, err := transportFor(wire, nil, true, 1, ample)
	if err != nil {
		t.Fatal(err)
	}
	defer transport.CloseIdleConnections()
	c, err := newDirectCall(addr, wire, &textHello)
	if err != nil {
		t.Fatal(err)
	}
	names := newHeaderNames(nil, "", "")
	for i := range 3 {
		if s := exchanged(t, transport, c, &names, time.Now().Add(ample)); s.Class != record.OK || s.Attempts != 1 {
			t.Errorf("request %d: %s (%s) in %d attempts", i, s.Class, s.Reason, s.Attempts)
		}
		<-gone
	}
	if n := conns.Load(); n < 2 {
		t.Errorf("%d connections: a left one was used again", n)
	}
}

// Requests at the same time share a connection, as many as the server allows; more get one of
// their own.
func TestStreamsShareAConnection(t *testing.T) {
	const limit, all = 4, 10
	var conns atomic.Int32
	release := make(chan struct{})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		<-release
		io.WriteString(w, "hello")
	}))
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Config.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: limit}
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	load := newExchanger(t, server.Listener.Addr().String(), drivers.Wire{Protocol: drivers.H2C}, true)
	// The first one waits for the settings, so that the others know the limit.
	var under sync.WaitGroup
	classes := make(chan record.Class, all+1)
	under.Go(func() { classes <- load(textHello, ample).Class })
	release <- struct{}{}
	under.Wait()
	for range all {
		under.Go(func() { classes <- load(textHello, ample).Class })
	}
	close(release)
	under.Wait()
	for range all + 1 {
		if class := <-classes; class != record.OK {
			t.Errorf("a request: %s", class)
		}
	}
	if n := conns.Load(); n > (all+limit-1)/limit+1 {
		t.Errorf("%d connections for %d requests at once, want about %d", n, all, all/limit)
	}
}

// secureServer serves with Go's server over TLS, in the protocols of the wire.
func secureServer(t *testing.T, config *tls.Config, protocol drivers.Protocol, h http.HandlerFunc) (addr string, conns *atomic.Int32) {
	t.Helper()
	conns = new(atomic.Int32)
	server := httptest.NewUnstartedServer(h)
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(protocol == drivers.H1)
	server.Config.Protocols.SetHTTP2(protocol == drivers.H2)
	server.Config.Protocols.SetUnencryptedHTTP2(protocol == drivers.H2C)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns.Add(1)
		}
	}
	server.TLS = config
	server.EnableHTTP2 = protocol == drivers.H2
	if config == nil {
		server.Start()
	} else {
		server.StartTLS()
	}
	t.Cleanup(server.Close)
	return server.Listener.Addr().String(), conns
}

// wires are all the ways to speak to a server, and what it needs for each.
func wires(t *testing.T) map[string]struct {
	wire   drivers.Wire
	server *tls.Config
} {
	authority := certtest.New(t)
	client := authority.Issue(certtest.Options{})
	server := &tls.Config{
		Certificates: []tls.Certificate{authority.Issue(certtest.Options{}).TLS(t)},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: authority.Pool(),
	}
	own := &drivers.TLS{CA: authority.PEM, ServerName: "localhost", Certificate: client.PEM, Key: client.Key}
	return map[string]struct {
		wire   drivers.Wire
		server *tls.Config
	}{
		"h1":          {drivers.Wire{}, nil},
		"h1 over TLS": {drivers.Wire{TLS: own}, server},
		"h2":          {drivers.Wire{Protocol: drivers.H2, TLS: own}, server},
		"h2c":         {drivers.Wire{Protocol: drivers.H2C}, nil},
	}
}

// The same requests are answered alike in every protocol, by kept connections and by new
// ones, to the load, to a direct probe and to the reference client.
func TestEveryWire(t *testing.T) {
	echoAll := func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.Header().Set("X-Length", r.Header.Get("Content-Length"))
		w.Header().Set("X-Host", r.Host)
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprintf(w, "%s %s %d", r.Method, r.URL.RequestURI(), len(body))
	}
	large := bytes.Repeat([]byte("x"), 300_000) // more than a window
	requests := []Request{
		{Path: "/a?b=c", Header: map[string]string{"Host": "shop.example"}, Statuses: []int{202}, WantHeader: map[string]string{"X-Host": "shop.example"}, WantBody: "GET /a?b=c 0"},
		{Method: "POST", Path: "/", Body: large, Statuses: []int{202}, WantBody: "POST / 300000"},
		{Method: "POST", Path: "/", Statuses: []int{202}, WantHeader: map[string]string{"X-Length": "0"}, WantBody: "POST / 0"},
		{Method: "DELETE", Path: "/x", Statuses: []int{202}, Match: regexp.MustCompile(`^DELETE /x \d$`)},
		{Method: "PROPFIND", Path: "/x", Body: []byte("y"), Statuses: []int{202}, WantBody: "PROPFIND /x 1"},
		{Method: "HEAD", Path: "/x", Statuses: []int{202}},
	}
	for name, tt := range wires(t) {
		for _, reuse := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, kept %t", name, reuse), func(t *testing.T) {
				addr, conns := secureServer(t, tt.server, tt.wire.Protocol, echoAll)
				if tt.wire.Protocol == "" {
					addr, conns = secureServer(t, tt.server, drivers.H1, echoAll)
				}
				load := newExchanger(t, addr, tt.wire, reuse)
				streams := []Stream{{Name: "s", Weight: 1, Reuse: reuse, Requests: requests}}
				for _, r := range requests {
					if s := load(r, ample); s.Class != record.OK || s.Attempts != 1 {
						t.Errorf("%s: %s (%s) in %d attempts", r.Method, s.Class, s.Reason, s.Attempts)
					}
					if class, _, reason := ProbeOnce(t.Context(), addr, tt.wire, r, ample); class != record.OK {
						t.Errorf("%s of a probe: %s (%s)", r.Method, class, reason)
					}
				}
				want := int32(len(requests) + 1)
				if !reuse {
					want = int32(2 * len(requests))
				}
				if n := conns.Load(); n != want {
					t.Errorf("%d connections, want %d", n, want)
				}
				got := sampleReference(t, 2*len(requests), ReferencePlan{URL: tt.wire.Scheme() + "://" + addr, Wire: tt.wire, Timeout: ample, Connections: 1, Streams: streams})
				for _, s := range got {
					if s.Class != record.OK {
						t.Errorf("the reference client's %d: %s, %d bytes (%s)", s.Seq, s.Class, s.Bytes, s.Reason)
					}
				}
				if n := conns.Load() - want; !reuse && int(n) != len(got) {
					t.Errorf("the reference client took %d connections for %d requests", n, len(got))
				}
			})
		}
	}
}

// What an answer lacks is told from what it has too much of, in every protocol.
func TestAnswersThatAreNotAsExpected(t *testing.T) {
	for name, tt := range wires(t) {
		t.Run(name, func(t *testing.T) {
			protocol := tt.wire.Protocol
			if protocol == "" {
				protocol = drivers.H1
			}
			addr, _ := secureServer(t, tt.server, protocol, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("X-A", "1")
				io.WriteString(w, "hello")
			})
			load := newExchanger(t, addr, tt.wire, true)
			for _, r := range []struct {
				request Request
				want    record.Class
			}{
				{Request{Path: "/", AnyBody: true, WantHeader: map[string]string{"x-a": "1"}}, record.OK},
				{Request{Path: "/", AnyBody: true, WantHeader: map[string]string{"X-A": "2"}}, record.WrongHeader},
				{Request{Path: "/", AnyBody: true, WantHeader: map[string]string{"X-B": "1"}}, record.WrongHeader},
				{Request{Path: "/", Match: regexp.MustCompile("^hel")}, record.OK},
				{Request{Path: "/", Match: regexp.MustCompile("^ello")}, record.WrongBody},
				{Request{Path: "/", Statuses: []int{204}, AnyBody: true}, record.HTTPStatus(200)},
			} {
				if s := load(r.request, ample); s.Class != r.want {
					t.Errorf("%+v: %s (%s), want %s", r.request, s.Class, s.Reason, r.want)
				}
				streams := []Stream{{Name: "s", Weight: 1, Reuse: true, Requests: []Request{r.request}}}
				for _, s := range sampleReference(t, 10, ReferencePlan{URL: tt.wire.Scheme() + "://" + addr, Wire: tt.wire, Timeout: ample, Streams: streams}) {
					if s.Class != r.want {
						t.Errorf("%+v to the reference client: %s (%s), want %s", r.request, s.Class, s.Reason, r.want)
					}
				}
			}
		})
	}
}

// A certificate that is not to be trusted, or a server that wants another protocol or a
// certificate, is a class of its own; a connection that ends in the handshake is not.
func TestHandshakes(t *testing.T) {
	authority, stranger := certtest.New(t), certtest.New(t)
	hello := func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }
	server := func(o certtest.Options, more func(*tls.Config)) *tls.Config {
		config := &tls.Config{Certificates: []tls.Certificate{authority.Issue(o).TLS(t)}}
		if more != nil {
			more(config)
		}
		return config
	}
	trusting := func() *drivers.TLS { return &drivers.TLS{CA: authority.PEM, ServerName: "localhost"} }
	hangsUp := rawServer(t, hangUp)
	for _, tt := range []struct {
		name     string
		server   *tls.Config
		protocol drivers.Protocol // that the server speaks
		addr     string           // instead of a server
		wire     drivers.Wire
		want     record.Class
		reason   string
	}{
		{"unknown authority", server(certtest.Options{}, nil), drivers.H1, "", drivers.Wire{TLS: &drivers.TLS{CA: stranger.PEM, ServerName: "localhost"}}, record.TLS, "unknown authority"},
		{"nobody verifies", server(certtest.Options{}, nil), drivers.H1, "", drivers.Wire{TLS: &drivers.TLS{Insecure: true}}, record.OK, ""},
		{"another name", server(certtest.Options{Names: []string{"shop.example"}}, nil), drivers.H1, "", drivers.Wire{TLS: trusting()}, record.TLS, "not localhost"},
		{"expired", server(certtest.Options{From: time.Now().Add(-2 * time.Hour), Until: time.Now().Add(-time.Hour)}, nil), drivers.H1, "", drivers.Wire{TLS: trusting()}, record.TLS, "expired"},
		{"a certificate is wanted", server(certtest.Options{}, func(c *tls.Config) { c.ClientAuth = tls.RequireAnyClientCert }), drivers.H1, "", drivers.Wire{TLS: trusting()}, record.TLS, "certificate required"},
		{"a certificate is wanted, over h2", server(certtest.Options{}, func(c *tls.Config) { c.ClientAuth = tls.RequireAnyClientCert }), drivers.H2, "", drivers.Wire{Protocol: drivers.H2, TLS: trusting()}, record.TLS, "certificate required"},
		{"no HTTP/2", server(certtest.Options{}, nil), drivers.H1, "", drivers.Wire{Protocol: drivers.H2, TLS: trusting()}, record.TLS, ""},
		{"no TLS", nil, drivers.H1, "", drivers.Wire{TLS: trusting()}, record.TLS, "first record does not look like a TLS handshake"},
		{"closed in the handshake", nil, "", hangsUp, drivers.Wire{TLS: trusting()}, record.EOF, "in the handshake of TLS"},
		{"nobody listens", nil, "", refusing(t), drivers.Wire{TLS: trusting()}, record.Refused, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			addr := tt.addr
			if addr == "" {
				addr, _ = secureServer(t, tt.server, tt.protocol, hello)
			}
			for _, reuse := range []bool{true, false} {
				s := newExchanger(t, addr, tt.wire, reuse)(textHello, ample)
				if s.Class != tt.want && !(tt.want == record.EOF && s.Class == record.Reset) || !strings.Contains(s.Reason, tt.reason) {
					t.Errorf("kept %t: %s (%s), want %s (%s)", reuse, s.Class, s.Reason, tt.want, tt.reason)
				}
			}
			streams := []Stream{{Name: "s", Weight: 1, Reuse: true, Requests: []Request{textHello}}}
			for _, s := range sampleReference(t, 10, ReferencePlan{URL: "https://" + addr, Wire: tt.wire, Timeout: ample, Streams: streams}) {
				if (s.Class == record.OK) != (tt.want == record.OK) {
					t.Errorf("the reference client: %s (%s), want %s", s.Class, s.Reason, tt.want)
				}
			}
		})
	}
}

// A request that an abrupt end of its connection or stream cost is not sent again, in any
// protocol, with a body or without one.
func TestNothingIsSentTwice(t *testing.T) {
	for name, tt := range wires(t) {
		for _, r := range []Request{{Path: "/", AnyBody: true}, {Method: "POST", Path: "/", AnyBody: true}, {Method: "PUT", Path: "/", Body: []byte("x"), AnyBody: true}} {
			t.Run(name+" "+r.Method, func(t *testing.T) {
				protocol := tt.wire.Protocol
				if protocol == "" {
					protocol = drivers.H1
				}
				var requests atomic.Int32
				addr, _ := secureServer(t, tt.server, protocol, func(http.ResponseWriter, *http.Request) {
					if requests.Add(1) == 2 {
						panic(http.ErrAbortHandler)
					}
				})
				load := newExchanger(t, addr, tt.wire, true)
				for i := range int32(3) {
					s := load(r, ample)
					if failed := s.Class != record.OK; failed != (i == 1) || s.Attempts != 1 {
						t.Errorf("request %d: %s (%s) in %d attempts", i, s.Class, s.Reason, s.Attempts)
					}
					if n := requests.Load(); n != i+1 {
						t.Errorf("the server got %d requests, want %d", n, i+1)
					}
				}
			})
		}
	}
}

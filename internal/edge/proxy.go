package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// attempt is the one and only try of a request.
type attempt struct {
	backend *backend
	wire    drivers.Wire // that the endpoint is spoken to in
	in      *http.Request
	rw      http.ResponseWriter
	cancel  context.CancelCauseFunc

	conns     atomic.Int32                 // connections that the transport took
	conn      atomic.Pointer[upstreamConn] // the first of them
	bodyBroke atomic.Bool                  // the client did not send the whole request

	status int // of the answer, 0 until its head was there
	fault  fault
}

type attemptKey struct{}

func attemptOf(ctx context.Context) *attempt { return ctx.Value(attemptKey{}).(*attempt) }

// serve is the handler of every request.
func (b *Balancer) serve(rw http.ResponseWriter, in *http.Request) {
	if in.Method == http.MethodConnect {
		// A tunnel would go past the balancer, not through it.
		answer(rw, http.StatusNotImplemented, reasonConnect)
		return
	}
	chosen := b.begin()
	if chosen == nil {
		defer b.end(nil)
		answer(rw, http.StatusServiceUnavailable, drivers.NoInstanceReason)
		return
	}
	ctx, cancel := context.WithCancelCause(in.Context())
	a := &attempt{backend: chosen, wire: b.config.Wire, rw: rw, cancel: cancel}
	a.in = in.WithContext(context.WithValue(ctx, attemptKey{}, a))
	defer func() {
		broken := recover()
		if broken != nil {
			a.breakOff(in)
		}
		cancel(nil)
		b.end(a)
		if broken != nil {
			panic(broken)
		}
	}()
	if in.ContentLength != 0 {
		// An answer may begin before the request's body is there: net/http's server would
		// read the rest of that first. Where it cannot, it says so and nothing is lost.
		_ = http.NewResponseController(rw).EnableFullDuplex()
	}
	b.proxy.ServeHTTP(rw, a.in)
}

// breakOff sees to it that a client whose answer broke off notices.
func (a *attempt) breakOff(in *http.Request) {
	if a.fault != faultNone || a.status == 0 {
		return
	}
	a.fault = faultTruncated
	if in.Context().Err() != nil {
		a.fault = faultAborted
	}
	// The head and the part of the body that came must go out: without them it would look
	// as if no answer had begun, which a client may take as leave to try again.
	_ = http.NewResponseController(a.rw).Flush() // the client may be gone; nothing else can be done then
	if !in.ProtoAtLeast(1, 1) {
		// The end of the connection is the only end of the body that HTTP/1.0 has, so an
		// orderly one would make it look complete.
		if conn, ok := in.Context().Value(clientConnKey{}).(*net.TCPConn); ok {
			_ = conn.SetLinger(0)
		}
	}
}

type clientConnKey struct{}

func withClientConn(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, clientConnKey{}, conn)
}

// answer is an answer of the balancer's own.
func answer(rw http.ResponseWriter, status int, reason string) {
	header := rw.Header()
	header[drivers.ReasonHeader] = []string{reason}
	header["Content-Type"] = []string{"text/plain; charset=utf-8"}
	header["Content-Length"] = []string{strconv.Itoa(len(reason) + 1)}
	rw.WriteHeader(status)
	_, _ = io.WriteString(rw, reason+"\n") // a client that went away is no news
}

func (b *Balancer) newProxy() *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite:        rewrite,
		Transport:      roundTripper{},
		ModifyResponse: adopt,
		ErrorHandler: func(_ http.ResponseWriter, out *http.Request, err error) {
			a := attemptOf(out.Context())
			a.fault = classify(err, a)
			if a.fault == faultCanceled {
				// Nobody is there to be answered. A plain return would send an empty 200.
				panic(http.ErrAbortHandler)
			}
			a.rw.Header()[drivers.EndpointHeader] = []string{a.backend.label}
			answer(a.rw, http.StatusBadGateway, string(a.fault))
		},
		BufferPool:    bufferPool{},
		FlushInterval: -1,                         // what came goes out: a balancer must not add a delay of its own to a slow body
		ErrorLog:      log.New(io.Discard, "", 0), // bodies that broke off, which the client is told
	}
}

// rewrite makes the outgoing request: the same one, for the chosen endpoint.
func rewrite(pr *httputil.ProxyRequest) {
	a, in, out := attemptOf(pr.In.Context()), pr.In, pr.Out
	out.URL.Scheme = a.wire.Scheme()
	out.URL.Host = a.backend.endpoint.Addr
	out.URL.RawQuery = in.URL.RawQuery // ReverseProxy drops what it cannot parse

	if forwarded := in.Header["Forwarded"]; len(forwarded) > 0 {
		out.Header["Forwarded"] = forwarded
	}
	if client, _, err := net.SplitHostPort(in.RemoteAddr); err == nil {
		if prior := in.Header["X-Forwarded-For"]; len(prior) > 0 {
			client = strings.Join(prior, ", ") + ", " + client
		}
		out.Header["X-Forwarded-For"] = []string{client}
	}
	out.Header["X-Forwarded-Host"] = in.Header["X-Forwarded-Host"]
	if len(out.Header["X-Forwarded-Host"]) == 0 {
		out.Header["X-Forwarded-Host"] = []string{in.Host}
	}
	out.Header["X-Forwarded-Proto"] = in.Header["X-Forwarded-Proto"]
	if len(out.Header["X-Forwarded-Proto"]) == 0 {
		out.Header["X-Forwarded-Proto"] = []string{"http"}
		if in.TLS != nil {
			out.Header["X-Forwarded-Proto"] = []string{"https"}
		}
	}
	switch {
	case out.Body != nil:
		out.Body = &clientBody{ReadCloser: out.Body, attempt: a}
		if a.wire.Multiplexed() {
			out.GetBody = unprocessed
		}
	case !a.wire.Multiplexed():
		withoutReplay(out)
	}
}

// unprocessed is asked for a request's body again where a server of HTTP/2 has let it be known
// that it did not process the request. It is not sent again, and the error says why it failed.
func unprocessed() (io.ReadCloser, error) { return nil, errUnprocessed }

// clientBody is a request's body as the client sends it. It notes where that fails, which
// must not be held against the endpoint. Like any body that comes from a client it cannot
// be rewound.
type clientBody struct {
	io.ReadCloser
	attempt *attempt
	closed  atomic.Bool // by the transport, which may still be reading
}

func (c *clientBody) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) && !c.closed.Load() {
		c.attempt.bodyBroke.Store(true)
	}
	return n, err
}

func (c *clientBody) Close() error {
	c.closed.Store(true)
	return c.ReadCloser.Close()
}

// withoutReplay gives a request without a body one that is empty and cannot be rewound.
// net/http sends a request again when the connection that it reused turns out to be dead
// and there is no body, or one that GetBody can give again; both would hide a failure.
//
// To the transport the length is unknown now. Left to itself it would read ahead in a
// goroutine (GET and its like) or send an empty chunked body (POST and its like); identity
// forbids both, so that the length has to be said here, where the client has said it. The
// key's spelling gets it past the transport, which takes the canonical one for its own.
func withoutReplay(out *http.Request) {
	out.Body = emptyBody{}
	out.GetBody = nil
	out.ContentLength = 0
	out.TransferEncoding = []string{"identity"}
	if lengths, said := out.Header["Content-Length"]; said {
		out.Header["content-length"] = lengths[:1]
	}
}

// emptyBody is a body that ends at once, and is not http.NoBody.
type emptyBody struct{}

func (emptyBody) Read([]byte) (int, error)         { return 0, io.EOF }
func (emptyBody) WriteTo(io.Writer) (int64, error) { return 0, nil }
func (emptyBody) Close() error                     { return nil }

// adopt marks an endpoint's answer as its own. It may give a reason, but none that the
// balancer gives: with one of those an endpoint could blame the harness for its failure.
func adopt(res *http.Response) error {
	if res.StatusCode < 100 {
		return errBadStatus
	}
	a := attemptOf(res.Request.Context())
	a.status = res.StatusCode
	res.Header[drivers.EndpointHeader] = []string{a.backend.label}
	if slices.ContainsFunc(res.Header[drivers.ReasonHeader], isOwnReason) {
		delete(res.Header, drivers.ReasonHeader)
	}
	if _, said := res.Header["Content-Type"]; !said {
		// Present and empty keeps net/http from guessing one.
		a.rw.Header()["Content-Type"] = nil
	}
	return nil
}

// isOwnReason reports whether only the balancer gives that reason.
func isOwnReason(reason string) bool {
	return reason == drivers.NoInstanceReason || reason == reasonConnect ||
		strings.HasPrefix(reason, drivers.HarnessReason) || slices.Contains(faults, fault(reason))
}

// roundTripper sends a request to its endpoint once.
type roundTripper struct{}

func (roundTripper) RoundTrip(out *http.Request) (*http.Response, error) {
	a := attemptOf(out.Context())
	trace := &httptrace.ClientTrace{GotConn: a.gotConn}
	return a.backend.transport.RoundTrip(out.WithContext(httptrace.WithClientTrace(out.Context(), trace)))
}

// gotConn sees each connection that the transport takes for the request, before a byte
// of it is written there. The second one is closed on the spot, unless other requests share
// it: whatever made the transport try again, now or in a future version of it, the endpoint
// does not see it. HTTP/2 writes nothing of a request whose context has ended.
func (a *attempt) gotConn(info httptrace.GotConnInfo) {
	if a.conns.Add(1) > 1 {
		a.cancel(errSecondConn)
		if !a.wire.Multiplexed() {
			info.Conn.Close()
		}
		return
	}
	conn := info.Conn
	if over, ok := conn.(*tls.Conn); ok {
		conn = over.NetConn()
	}
	if conn, ok := conn.(*upstreamConn); ok {
		a.conn.Store(conn)
	}
}

func (b *Balancer) newTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: b.config.DialTimeout}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &upstreamConn{Conn: conn}, nil
		},
		DisableCompression:     true, // the client's business
		MaxIdleConnsPerHost:    b.config.MaxIdle,
		IdleConnTimeout:        b.config.IdleTimeout,
		ResponseHeaderTimeout:  b.config.ResponseTimeout,
		ExpectContinueTimeout:  b.config.ContinueTimeout,
		TLSHandshakeTimeout:    b.config.DialTimeout,
		MaxResponseHeaderBytes: 1 << 20,
	}
	if err := b.config.Wire.Configure(transport); err != nil {
		panic("edge: a wire that New has validated: " + err.Error())
	}
	return transport
}

// upstreamConn remembers how reading from it ended, which the transport does not always tell.
type upstreamConn struct {
	net.Conn
	end atomic.Pointer[error]
}

func (c *upstreamConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		c.end.Store(&err)
	}
	return n, err
}

// bufferPool lends the buffers that bodies are copied through.
type bufferPool struct{}

const bufferSize = 32 << 10

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

func (bufferPool) Get() []byte  { return buffers.Get().(*[bufferSize]byte)[:] }
func (bufferPool) Put(p []byte) { buffers.Put((*[bufferSize]byte)(p)) }

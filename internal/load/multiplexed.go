package load

import (
	"context"
	"encoding/binary"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
)

// multiplexed sends requests over HTTP/2, many at once on a connection, and each of them
// once: Go's transport would send one again that a server has refused (GOAWAY with a lower
// last stream ID, REFUSED_STREAM) or whose connection is gone, so what is used of it is
// the connections alone (http.ClientConn), and which one is taken is decided here.
//
// A kept connection that the server has taken its leave of, or that has ended, is not taken
// any more; a request of which nothing was sent when that came to be known takes another one,
// which is no repetition. One that was opened for a request is that request's last. A
// connection that has as many streams as the server allows gets company.
type multiplexed struct {
	transport *http.Transport
	reuse     bool
	timeout   time.Duration // of opening a connection

	ctx     context.Context // of connections that are being opened
	cancel  context.CancelFunc
	opening sync.WaitGroup

	mu    sync.Mutex
	conns []*muxConn
	next  *muxOpening // that others wait for as well; nil when there is none
}

// muxConn is a connection, and what was seen on it.
type muxConn struct {
	*http.ClientConn
	watch *frameWatch
}

// muxOpening is a connection that is being opened.
type muxOpening struct {
	done chan struct{}
	conn *muxConn
	err  error
}

func newMultiplexed(dial dialing, reuse bool, timeout time.Duration) *multiplexed {
	// To net/http it is HTTP/2 without TLS either way: TLS is below, so that what comes over
	// the connection can be seen.
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	m := &multiplexed{reuse: reuse, timeout: timeout}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.transport = &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			watch := &frameWatch{watchedConn: conn, settled: make(chan struct{})}
			watch.out.skip = len(http2.ClientPreface)
			*ctx.Value(watchKey{}).(**frameWatch) = watch
			return watch, nil
		},
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeader,
		Protocols:              &protocols,
	}
	return m
}

// watchKey is where the one who dials leaves the watch of the connection.
type watchKey struct{}

// RoundTrip implements http.RoundTripper. The trace in the request's context is told of the
// connection, which is a muxStream; nothing of it but that can be used.
func (m *multiplexed) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	trace := httptrace.ContextClientTrace(ctx)
	for {
		conn, fresh, err := m.take(ctx, req.URL)
		if err != nil {
			return nil, err
		}
		s := &muxStream{watch: conn.watch}
		resp, err := conn.RoundTrip(req.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
			WroteHeaders:         s.wroteHeaders,
			GotFirstResponseByte: s.gotFirstByte,
		})))
		if err != nil && !fresh && !s.sent() && ctx.Err() == nil && conn.ends() {
			m.drop(conn)
			continue
		}
		if trace != nil && trace.GotConn != nil {
			trace.GotConn(httptrace.GotConnInfo{Conn: s})
		}
		if !m.reuse {
			end := func() { _ = conn.Close() } // it is given up
			if err != nil {
				end()
				return nil, err
			}
			resp.Body = &closing{resp.Body, end}
		}
		return resp, err
	}
}

// CloseIdleConnections closes all connections: it is called when nothing is under way.
func (m *multiplexed) CloseIdleConnections() {
	m.cancel()
	m.opening.Wait()
	m.mu.Lock()
	conns := m.conns
	m.conns = nil
	m.mu.Unlock()
	for _, c := range conns {
		_ = c.Close() // nothing is lost with it
	}
	m.transport.CloseIdleConnections()
}

// take returns a connection that has room for a stream, and has it reserved; fresh says that
// it was opened for this request, or for others that came at the same time.
func (m *multiplexed) take(ctx context.Context, u *url.URL) (conn *muxConn, fresh bool, err error) {
	if !m.reuse {
		conn, err := m.dial(ctx, u)
		return conn, true, err
	}
	for {
		m.mu.Lock()
		m.conns = slices.DeleteFunc(m.conns, (*muxConn).over)
		for _, c := range m.conns {
			if c.Reserve() == nil {
				m.mu.Unlock()
				return c, fresh, nil
			}
		}
		if m.next == nil {
			m.open(u)
		}
		next := m.next
		m.mu.Unlock()
		select {
		case <-next.done:
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
		if next.err != nil {
			return nil, false, next.err
		}
		// Where it has ended before anybody could use it, the one who tries is told why.
		fresh = true
		if next.conn.Reserve() == nil || next.conn.ends() {
			return next.conn, fresh, nil
		}
	}
}

// open begins to open a connection. m.mu is held.
func (m *multiplexed) open(u *url.URL) {
	o := &muxOpening{done: make(chan struct{})}
	m.next = o
	m.opening.Go(func() {
		defer close(o.done)
		ctx, cancel := context.WithTimeout(m.ctx, m.timeout)
		defer cancel()
		if o.conn, o.err = m.dial(ctx, u); o.err == nil {
			o.err = o.conn.settle(ctx)
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		m.next = nil
		if o.err == nil {
			m.conns = append(m.conns, o.conn)
		}
	})
}

// dial opens a connection.
func (m *multiplexed) dial(ctx context.Context, u *url.URL) (*muxConn, error) {
	var watch *frameWatch
	conn, err := m.transport.NewClientConn(context.WithValue(ctx, watchKey{}, &watch), "http", hostPort(u))
	if err != nil {
		return nil, err
	}
	return &muxConn{conn, watch}, nil
}

// settle waits until it is known how many streams the server allows: until then so many
// could be sent at once that it has to refuse some. The end of the connection is no error
// here: the one who tries to use it is told why.
func (c *muxConn) settle(ctx context.Context) error {
	select {
	case <-c.watch.settled:
		return nil
	case <-ctx.Done():
		_ = c.Close() // nothing is on it
		return ctx.Err()
	}
}

// over says whether the connection takes no more requests, and closes it where none is under
// way: else net/http does behind the last one.
func (c *muxConn) over() bool {
	over := c.ends()
	if over && c.InFlight() == 0 {
		_ = c.Close() // nothing is lost with it
	}
	return over
}

// drop forgets a connection, which closes when what is under way on it has ended.
func (m *multiplexed) drop(conn *muxConn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.conns = slices.DeleteFunc(m.conns, func(c *muxConn) bool { return c == conn })
}

// ends says whether the connection takes no more requests.
func (c *muxConn) ends() bool { return c.Err() != nil || c.watch.leaving() }

// hostPort is the address that a URL leads to.
func hostPort(u *url.URL) string {
	port := u.Port()
	switch {
	case port != "":
	case u.Scheme == "https":
		port = "443"
	default:
		port = "80"
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// muxStream is a request on a connection. It is a net.Conn to net/http's trace alone.
type muxStream struct {
	net.Conn
	watch *frameWatch
	id    atomic.Uint32 // 0 while nothing was sent
	began atomic.Bool
}

// wroteHeaders is called while nothing else can be written: the last header was this one's.
func (s *muxStream) wroteHeaders() { s.id.Store(s.watch.headers.Load()) }

func (s *muxStream) gotFirstByte() { s.began.Store(true) }

func (s *muxStream) sent() bool { return s.id.Load() != 0 }

// refused says whether the server has said that it did not process the request (RFC 9113,
// 6.8): its leave names an earlier stream as the last that it did.
func (s *muxStream) refused() bool {
	return !s.began.Load() && s.watch.leaving() && (!s.sent() || s.id.Load() > s.watch.last.Load())
}

// frameWatch sees which frames go over a connection: the stream of the last header that was
// written, and what the server says of its leave.
type frameWatch struct {
	*watchedConn
	in, out frameReader

	settled chan struct{} // closed when the server's settings are in force, or the connection has ended
	once    sync.Once
	headers atomic.Uint32
	away    atomic.Bool
	last    atomic.Uint32 // of the streams that the server has processed or will, once away
	code    atomic.Uint32 // why
}

func (w *frameWatch) leaving() bool { return w.away.Load() }

func (w *frameWatch) Read(p []byte) (int, error) {
	n, err := w.watchedConn.Read(p)
	w.in.read(p[:n], func(head http2.FrameHeader, body []byte) {
		if head.Type == http2.FrameGoAway {
			w.last.Store(binary.BigEndian.Uint32(body) &^ (1 << 31))
			w.code.Store(binary.BigEndian.Uint32(body[4:]))
			w.away.Store(true)
		}
	})
	if err != nil {
		w.settle()
	}
	return n, err
}

func (w *frameWatch) settle() { w.once.Do(func() { close(w.settled) }) }

func (w *frameWatch) Write(p []byte) (int, error) {
	acknowledged := false
	w.out.read(p, func(head http2.FrameHeader, _ []byte) {
		switch {
		case head.Type == http2.FrameHeaders:
			w.headers.Store(head.StreamID)
		case head.Type == http2.FrameSettings && head.Flags.Has(http2.FlagSettingsAck):
			acknowledged = true
		}
	})
	n, err := w.watchedConn.Write(p)
	if acknowledged || err != nil {
		w.settle()
	}
	return n, err
}

// frameReader reads the heads of frames (RFC 9113, 4.1), and the first bytes of a GOAWAY.
type frameReader struct {
	skip int // bytes until the next head
	head [frameHead + goAwayBody]byte
	have int
}

const (
	frameHead  = 9
	goAwayBody = 8 // without debug data
)

func (r *frameReader) read(p []byte, see func(head http2.FrameHeader, body []byte)) {
	for len(p) > 0 {
		if n := min(r.skip, len(p)); n > 0 {
			r.skip, p = r.skip-n, p[n:]
			continue
		}
		want := frameHead
		if r.have >= frameHead {
			want += goAwayBody
		}
		n := copy(r.head[r.have:want], p)
		r.have, p = r.have+n, p[n:]
		if r.have < want {
			continue
		}
		head := http2.FrameHeader{
			Length: uint32(r.head[0])<<16 | uint32(r.head[1])<<8 | uint32(r.head[2]),
			Type:   http2.FrameType(r.head[3]), Flags: http2.Flags(r.head[4]),
			StreamID: binary.BigEndian.Uint32(r.head[5:]) &^ (1 << 31),
		}
		if head.Type == http2.FrameGoAway && head.Length >= goAwayBody && r.have == frameHead {
			continue // for its body
		}
		see(head, r.head[frameHead:])
		r.skip, r.have = int(head.Length)-(r.have-frameHead), 0
	}
}

package load

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// dialing opens a connection to an address, and speaks TLS on it where that is spoken.
type dialing func(ctx context.Context, network, addr string) (*watchedConn, error)

// handshakeError says that it was the handshake of TLS that failed, and where the connection
// had gone.
type handshakeError struct {
	error
	way drivers.Way
}

func (e *handshakeError) Unwrap() error { return e.error }

// tracing says where a balancer that passes connections on has sent one, see drivers.Tracer. It
// is nil where answers tell by themselves.
type tracing func(client netip.AddrPort) (drivers.Way, bool)

// newDialing returns how connections are opened for a wire. Every one has a full handshake:
// no session is resumed. One that takes longer than the timeout is given up.
func newDialing(wire drivers.Wire, trace tracing, timeout time.Duration) (dialing, error) {
	config, err := wire.ClientConfig()
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: timeout}
	return func(ctx context.Context, network, addr string) (*watchedConn, error) {
		watched := &watchedConn{trace: trace, dialled: time.Now()}
		conn, err := dialer.DialContext(ctx, network, addr)
		watched.Conn = conn
		if err != nil || config == nil {
			return watched, err
		}
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		secured, err := handshake(ctx, conn, config, addr)
		if err != nil {
			err = &handshakeError{err, watched.way()}
			_ = conn.Close() // why it failed says more
			return nil, err
		}
		watched.Conn = secured
		return watched, nil
	}, nil
}

// handshake speaks TLS on a connection, which the caller closes when that fails.
func handshake(ctx context.Context, conn net.Conn, config *tls.Config, addr string) (*tls.Conn, error) {
	if config.ServerName == "" {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		config = config.Clone()
		config.ServerName = host
	}
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return secured, nil
}

// watchedConn remembers how much came over its connection and what it ended with: the
// transport turns that into errors of its own that cannot be told apart.
type watchedConn struct {
	net.Conn
	trace   tracing
	dialled time.Time // when that began

	reading sync.Mutex // held while something is read; before mu
	left    []byte     // read already, and nobody has it yet

	mu       sync.Mutex
	received int64
	err      error // the first one
	went     drivers.Way
	settled  bool // nothing more will be known of went
}

// way is where a balancer has sent the connection, as far as that is known.
func (c *watchedConn) way() drivers.Way {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.trace == nil || c.settled {
		return c.went
	}
	addr, ok := c.LocalAddr().(*net.TCPAddr)
	if !ok {
		return c.went
	}
	// One that was taken before this was dialled is another one, from the same address.
	if way, ok := c.trace(addr.AddrPort()); ok && !way.At.Before(c.dialled) {
		c.went, c.settled = way, c.received > 0 || c.err != nil
	}
	return c.went
}

// Close asks once more where the connection went: its address may be another one's soon.
func (c *watchedConn) Close() error {
	c.way()
	c.mu.Lock()
	c.settled = true
	c.mu.Unlock()
	return c.Conn.Close()
}

func (c *watchedConn) Read(p []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	if len(c.left) > 0 {
		n := copy(p, c.left)
		c.left = c.left[n:]
		return n, nil
	}
	n, err := c.Conn.Read(p)
	c.note(n, err)
	return n, err
}

func (c *watchedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err != nil {
		if alert := c.alert(err); alert != nil {
			err = alert
		}
		c.note(0, err)
	}
	return n, err
}

// alert is what the server said in TLS before it reset a connection that cannot be written
// to any more, nil when it said nothing. In TLS 1.3 it refuses a client's certificate when
// the handshake has ended for the client, which may be writing by then: that its write
// fails is then not what happened. After a reset, what came before it can still be read,
// and no read waits.
func (c *watchedConn) alert(write error) error {
	if _, ok := c.Conn.(*tls.Conn); !ok || !isAny(write, resetErrors) {
		return nil
	}
	c.reading.Lock()
	defer c.reading.Unlock()
	received, ended := c.seen()
	if received == 0 && ended == nil {
		buffer := make([]byte, 4096)
		var n int
		n, ended = c.Conn.Read(buffer)
		c.left = buffer[:n]
		c.note(n, nil) // an end that is no alert is the reset's
	}
	if ended == nil || !distrust(ended) {
		return nil
	}
	return ended
}

func (c *watchedConn) note(received int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.received += int64(received)
	// Closing from this side is no news.
	if err != nil && c.err == nil && !errors.Is(err, net.ErrClosed) {
		c.err = err
	}
}

func (c *watchedConn) seen() (received int64, ended error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.received, c.err
}

// transport sends requests in one way, each once.
type transport interface {
	http.RoundTripper
	CloseIdleConnections()
}

// transportFor returns a transport for one stream, or for one turn of it. It keeps as many
// idle connections as there can be requests in flight, for as long as it lives: one that
// dropped some would measure its own dialling.
func transportFor(wire drivers.Wire, trace tracing, reuse bool, idle int, timeout time.Duration) (transport, error) {
	dial, err := newDialing(wire, trace, timeout)
	if err != nil {
		return nil, err
	}
	if wire.Multiplexed() {
		return newMultiplexed(dial, reuse, timeout), nil
	}
	return newTransport(dial, reuse, idle), nil
}

// newTransport returns a transport of HTTP/1.1.
func newTransport(dial dialing, reuse bool, idle int) *http.Transport {
	conn := func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return c, nil
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Transport{
		DialContext:            conn,
		DialTLSContext:         conn, // it is called for https
		DisableKeepAlives:      !reuse,
		DisableCompression:     true, // the body is compared as it was sent
		MaxIdleConnsPerHost:    idle,
		MaxResponseHeaderBytes: maxHeader,
		Protocols:              &protocols,
	}
}

// maxHeader is how large the header of an answer may be, in bytes: as much as the lab's
// balancer passes on.
const maxHeader = 1 << 20

// closing is a body that has more to close.
type closing struct {
	io.ReadCloser
	after func()
}

func (b *closing) Close() error {
	err := b.ReadCloser.Close()
	b.after()
	return err
}

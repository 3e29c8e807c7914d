package load

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// dialing opens a connection to an address, and speaks TLS on it where that is spoken.
type dialing func(ctx context.Context, network, addr string) (*watchedConn, error)

// handshakeError says that it was the handshake of TLS that failed.
type handshakeError struct{ error }

func (e *handshakeError) Unwrap() error { return e.error }

// newDialing returns how connections are opened for a wire. Every one has a full handshake:
// no session is resumed. One that takes longer than the timeout is given up.
func newDialing(wire drivers.Wire, timeout time.Duration) (dialing, error) {
	config, err := wire.ClientConfig()
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: timeout}
	return func(ctx context.Context, network, addr string) (*watchedConn, error) {
		conn, err := dialer.DialContext(ctx, network, addr)
		if err != nil || config == nil {
			return &watchedConn{Conn: conn}, err
		}
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		secured, err := handshake(ctx, conn, config, addr)
		return &watchedConn{Conn: secured}, err
	}, nil
}

// handshake speaks TLS on a connection, which it closes when that fails.
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
		_ = conn.Close() // why it failed says more
		return nil, &handshakeError{err}
	}
	return secured, nil
}

// watchedConn remembers how much came over its connection and what it ended with: the
// transport turns that into errors of its own that cannot be told apart.
type watchedConn struct {
	net.Conn

	mu       sync.Mutex
	received int64
	err      error // the first one
}

func (c *watchedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.note(n, err)
	return n, err
}

func (c *watchedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err != nil {
		c.note(0, err)
	}
	return n, err
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
func transportFor(wire drivers.Wire, reuse bool, idle int, timeout time.Duration) (transport, error) {
	dial, err := newDialing(wire, timeout)
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

package healthkit

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"
)

// lingering is how long a connection that was closed for its silence waits for the client
// to do the same: what arrives meanwhile would be answered by a reset.
const lingering = 250 * time.Millisecond

// watchedListener gives connections that its server knows. It closes its listener once, as
// http.Server does, and is a key of a map whatever the listener is.
type watchedListener struct {
	net.Listener
	server *GracefulServer
	tls    bool // what it gives becomes TLS
	once   sync.Once
	err    error
}

func (l *watchedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	g := l.server
	c := &watchedConn{Conn: conn, server: g, since: time.Now()}
	already, ok := conn.(*tls.Conn)
	if ok && l.tls {
		return nil, errors.Join(fmt.Errorf("%w: the listener %s is TLS already, and the server has certificates too", ErrOptions, l.Addr()), conn.Close())
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.conns[c] = struct{}{}
	if ok {
		// net/http has to see its type.
		g.foreign[already], c.foreign = c, true
		return conn, nil
	}
	return c, nil
}

func (l *watchedListener) Close() error {
	l.once.Do(func() { l.err = l.Listener.Close() })
	return l.err
}

// connPhase is where a connection of HTTP/1.1 is between two requests.
type connPhase int

const (
	connFresh   connPhase = iota // no request has been read
	connReading                  // of a request something has, and no handler knows of it
	connServing                  // a handler had it; whatever is not HTTP/1.1 stays here
	connIdle                     // it was answered
	connEnding                   // silent for long enough: closed, if there is nothing to read
	connClosed
)

var longAgo = time.Unix(1, 0)

// watchedConn is a connection that a GracefulServer can end without losing what the client
// has sent. The one that ends it cannot know whether something has arrived of which the
// reader has not heard yet, or has just heard. The reader can: it is woken by a deadline,
// and what it reads after that is either a request or the end.
type watchedConn struct {
	net.Conn
	server  *GracefulServer
	foreign bool // net/http does not read by it

	mu       sync.Mutex
	phase    connPhase
	since    time.Time // when it was accepted, or last answered
	looks    int
	http1    bool
	told     bool      // that it will be closed
	deadline time.Time // for reading, as net/http wants it
	held     bool      // the deadline is another one
}

// watched returns what is known of a connection that net/http speaks of, or nil.
func (g *GracefulServer) watched(conn net.Conn) *watchedConn {
	switch conn := conn.(type) {
	case *watchedConn:
		return conn
	case *tls.Conn:
		if c, ok := conn.NetConn().(*watchedConn); ok {
			return c
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.foreign[conn]
	}
	return nil
}

// given returns the connection that the listener gave, or the TLS on it.
func given(conn net.Conn) net.Conn {
	if c, ok := conn.(*watchedConn); ok {
		return c.Conn
	}
	return conn
}

// forget leaves a connection to net/http.
func (c *watchedConn) forget() {
	g := c.server
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, c)
	if c.foreign {
		delete(g.foreign, c.Conn.(*tls.Conn))
	}
}

// enters heeds what net/http says of the connection.
func (c *watchedConn) enters(state http.ConnState) {
	c.mu.Lock()
	switch {
	case state == http.StateActive:
		// All of a header has come, or what came was none.
		c.phase = connReading
		c.release()
		c.mu.Unlock()
	case state == http.StateIdle && c.http1:
		c.phase, c.since = connIdle, time.Now()
		c.mu.Unlock()
	case state == http.StateNew:
		c.mu.Unlock()
	case state == http.StateClosed:
		c.mu.Unlock()
		c.forget()
	default: // hijacked, or HTTP/2, which is idle without a request and is told by GOAWAY
		c.phase = connServing
		c.release()
		c.mu.Unlock()
		c.forget()
	}
}

// serves takes note that a handler has a request, and tells whether the client has to be
// told that the connection will be closed.
func (c *watchedConn) serves(r *http.Request) (last bool) {
	last = c.server.closing.Load()
	if r.ProtoMajor > 1 {
		return last
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.phase, c.http1, c.told = connServing, true, last
	return last
}

// waits tells whether the server has to wait for this connection, and whether it has been
// silent for long enough to be ended.
func (c *watchedConn) waits(now, over time.Time) (waits, silent bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch c.phase {
	case connFresh:
		return true, now.After(over) || now.Sub(c.since) >= firstRequest
	case connIdle:
		return true, now.After(over) || now.Sub(c.since) >= quiet
	case connServing:
		return !c.told && now.Before(over), false
	}
	// What is being read or closed is so soon, but for a header that comes slowly. Looks are
	// counted, not time: a process that stood still has to get on first.
	if now.After(over) {
		c.looks++
	}
	return c.looks <= int(firstRequest/settleEvery), false
}

// end closes the connection unless there is something to read on it.
func (c *watchedConn) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase != connIdle && c.phase != connFresh {
		return
	}
	c.phase = connEnding
	if c.foreign || c.hold(longAgo) != nil {
		_ = c.Conn.Close() // nobody has asked anything on it
	}
}

// hold makes another deadline for reading than net/http wants.
func (c *watchedConn) hold(t time.Time) error {
	c.held = true
	return c.Conn.SetReadDeadline(t)
}

// release ends that.
func (c *watchedConn) release() {
	if c.held {
		c.held = false
		_ = c.Conn.SetReadDeadline(c.deadline) // if it fails, so does the next Read
	}
}

func (c *watchedConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	if c.phase == connEnding {
		return nil
	}
	c.held = false
	return c.Conn.SetReadDeadline(t)
}

func (c *watchedConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *watchedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	if n == 0 && (c.phase == connIdle || c.phase == connEnding) && errors.Is(err, os.ErrDeadlineExceeded) {
		// The end of the server, or of its patience (http.Server.IdleTimeout).
		c.phase = connEnding
		c.mu.Unlock()
		n, err = readNow(c.Conn, p)
		c.mu.Lock()
		if n == 0 {
			_ = c.hold(longAgo) // net/http may ask once more
		}
	}
	if n > 0 && c.phase == connEnding {
		_ = c.hold(time.Now().Add(firstRequest)) // for the rest of the header
	}
	if n > 0 && (c.phase == connIdle || c.phase == connEnding) {
		c.phase = connReading
	}
	return n, err
}

func (c *watchedConn) Close() error {
	c.mu.Lock()
	lingers := c.phase == connEnding
	c.phase = connClosed
	c.mu.Unlock()
	if lingers {
		c.linger()
	}
	return c.Conn.Close()
}

// linger tells the client that nothing more will come, and waits for it to say the same.
func (c *watchedConn) linger() {
	half, ok := c.Conn.(closeWriter)
	if !ok || half.CloseWrite() != nil || c.Conn.SetReadDeadline(time.Now().Add(lingering)) != nil {
		return
	}
	_, _ = io.Copy(io.Discard, c.Conn) // nothing that comes now can be answered
}

type closeWriter interface{ CloseWrite() error }

// CloseWrite, ReadFrom, WriteTo and SyscallConn are those of the connection below: net/http
// and handlers that hijack a connection ask for them.
func (c *watchedConn) CloseWrite() error {
	if half, ok := c.Conn.(closeWriter); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

func (c *watchedConn) ReadFrom(r io.Reader) (int64, error) { return io.Copy(c.Conn, r) }

func (c *watchedConn) WriteTo(w io.Writer) (int64, error) { return io.Copy(w, c.Conn) }

func (c *watchedConn) SyscallConn() (syscall.RawConn, error) {
	if conn, ok := c.Conn.(syscall.Conn); ok {
		return conn.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// NetConn returns the connection that the listener gave.
func (c *watchedConn) NetConn() net.Conn { return c.Conn }

// readSoon reads what a connection of any kind holds.
func readSoon(conn net.Conn, p []byte) (int, error) {
	// Long enough for a process that is not let run to have asked before it is over.
	if err := conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		return 0, err
	}
	return conn.Read(p)
}

package healthkit

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"reflect"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// firstRequest is how long a connection may have been open before a server that
	// is shut down gives up waiting for its first request.
	firstRequest = time.Second
	// quiet is how long a connection kept alive has had no request when it is closed.
	quiet = 500 * time.Millisecond
	// settleEvery is how often a server that is shut down looks at its connections.
	settleEvery = 5 * time.Millisecond
	// settleSteps is in how many of these looks all connections are closed that may be.
	settleSteps = 40
)

// GracefulServer is an http.Server that, when it is shut down, answers every request
// of HTTP/1.1 that has reached it: on every connection that it has accepted, and on
// those kept alive. By itself http.Server drops what it has just accepted, as it
// does not answer the requests that it reads after Shutdown was called, and closes
// connections kept alive with a request unread on them. This one
//
//   - closes its listeners, and goes on to serve what it has accepted, with
//     Connection: close;
//   - waits on each connection for one more request, until half a second has gone
//     by without any since the last answer, or a second since it was accepted; a
//     second in all at most, and not above half of what the context leaves. Time
//     that had gone by before Shutdown counts;
//   - closes those that stay silent, one after the other, each after a last look at
//     what the system holds for it. A request that is found is answered;
//   - then shuts down the http.Server.
//
// What is lost all the same:
//
//   - connections that the system has completed and nobody has accepted: it resets
//     them when the listener closes;
//   - a request that is on its way at the instant in which its connection is closed,
//     after more than half a second of silence: HTTP/1.1 has no way to tell the
//     client in time;
//   - a request after an answer that lasted longer than the second, if its header
//     was sent before the end began: it did not say Connection: close;
//   - on HTTP/2, requests that are on their way when the client is told to go away,
//     of clients that cannot send them again, such as http.Client with a body and no
//     Request.GetBody. RFC 9113 6.8 has a server send GOAWAY twice, first without
//     refusing anything; net/http sends it once, with the last request that it has
//     seen. Servers of healthkit/grpc/grpcserve send it twice;
//   - connections that a TLS listener of the caller's hands out are closed without
//     the look. Leave TLS to the server: ServeTLS, or TLSConfig and Run.
//
// ShutdownPlan.LameDuck and CloseWait are there so that nothing of this meets a
// request. Run makes every *http.Server graceful.
type GracefulServer struct {
	http    *http.Server
	handler http.Handler // before which Graceful has put its own; Run puts more before it, but behind that

	closing atomic.Bool

	mu        sync.Mutex
	listeners map[*watchedListener]chan struct{} // closed when all is known that it gave
	conns     map[*watchedConn]struct{}          // of HTTP/1.1, or of which nothing is known yet
	foreign   map[*tls.Conn]*watchedConn         // those of conns that are TLS already
}

// Graceful returns a GracefulServer of s, whose own methods are not to be called
// any more. It puts something of its own before the Handler, ConnState and
// ConnContext of s. A connection that a handler hijacks, and what NetConn of a
// tls.Conn returns, is of a type of this package; its method NetConn returns the
// one that the listener gave.
func Graceful(s *http.Server) *GracefulServer {
	g := &GracefulServer{
		http: s, listeners: map[*watchedListener]chan struct{}{},
		conns: map[*watchedConn]struct{}{}, foreign: map[*tls.Conn]*watchedConn{},
	}
	handler, state, base := s.Handler, s.ConnState, s.ConnContext
	if handler == nil {
		handler = http.DefaultServeMux
	}
	g.handler = handler
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(connKey{g}).(*watchedConn); ok && c.serves(r) {
			w.Header().Set("Connection", "close") // it is going to be
		}
		g.handler.ServeHTTP(w, r)
	})
	s.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		if base != nil {
			ctx = base(ctx, given(conn))
		}
		if c := g.watched(conn); c != nil {
			ctx = context.WithValue(ctx, connKey{g}, c)
		}
		return ctx
	}
	s.ConnState = func(conn net.Conn, now http.ConnState) {
		if c := g.watched(conn); c != nil {
			c.enters(now)
		}
		if state != nil {
			state(given(conn), now)
		}
	}
	return g
}

type connKey struct{ server *GracefulServer }

// Serve implements Server.
func (g *GracefulServer) Serve(l net.Listener) error {
	return g.serve(&watchedListener{Listener: l, server: g}, g.http.Serve)
}

// ServeTLS is as that of http.Server, but that a listener of tls.NewListener is served
// as it is. One whose connections turn out to be TLS already ends with an error
// wrapping ErrOptions.
func (g *GracefulServer) ServeTLS(l net.Listener, certFile, keyFile string) error {
	if reflect.TypeOf(l) == tlsListener {
		return g.Serve(l)
	}
	return g.serve(&watchedListener{Listener: l, server: g, tls: true}, func(l net.Listener) error {
		return g.http.ServeTLS(l, certFile, keyFile)
	})
}

var tlsListener = reflect.TypeOf(tls.NewListener(nil, nil))

func (g *GracefulServer) serve(l *watchedListener, serve func(net.Listener) error) error {
	g.mu.Lock()
	if g.closing.Load() {
		g.mu.Unlock()
		return errors.Join(http.ErrServerClosed, l.Close())
	}
	done := make(chan struct{})
	g.listeners[l] = done
	g.mu.Unlock()
	err := serve(l)
	close(done)
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.listeners, l)
	if g.closing.Load() {
		return http.ErrServerClosed // as http.Server does, whatever a listener says that was closed
	}
	return err
}

// Shutdown implements Server.
func (g *GracefulServer) Shutdown(ctx context.Context) error {
	g.mu.Lock()
	g.closing.Store(true)
	var errs []error
	var ends []chan struct{}
	for l, done := range g.listeners {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
		ends = append(ends, done)
	}
	g.mu.Unlock()
	// The last Shutdown is told of the end of ctx too, and says so.
	for _, done := range ends {
		select {
		case <-done:
		case <-ctx.Done():
		}
	}
	g.settle(ctx)
	return errors.Join(append(errs, g.http.Shutdown(ctx))...)
}

// settle returns when no connection is left that http.Server would close, or on which it
// would drop a request, unless ctx ends before.
func (g *GracefulServer) settle(ctx context.Context) {
	patience := firstRequest
	if deadline, ok := ctx.Deadline(); ok {
		patience = min(patience, time.Until(deadline)/2)
	}
	over := time.Now().Add(patience)
	g.mu.Lock()
	each := 1 + len(g.conns)/settleSteps
	g.mu.Unlock()
	again := time.NewTicker(settleEvery)
	defer again.Stop()
	for g.endSilent(time.Now(), over, each) {
		select {
		case <-again.C:
		case <-ctx.Done():
			return
		}
	}
}

// endSilent ends connections that have been silent for long enough, that many at most
// while there is time, and tells whether there is something left to wait for.
func (g *GracefulServer) endSilent(now, over time.Time, most int) (left bool) {
	var due []*watchedConn
	g.mu.Lock()
	for c := range g.conns {
		waits, silent := c.waits(now, over)
		left = left || waits
		if silent && (len(due) < most || now.After(over)) {
			due = append(due, c)
		}
	}
	g.mu.Unlock()
	for _, c := range due {
		c.end()
	}
	return left
}

// Close cuts what is in flight.
func (g *GracefulServer) Close() error {
	err := g.http.Close()
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.conns {
		_ = c.Conn.Close() // one that waits for its client to close it as well
	}
	return err
}

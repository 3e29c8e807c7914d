package healthkit

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"
)

// firstRequest is how long a GracefulServer that is shut down waits for the
// first request of a connection that it has accepted.
const firstRequest = time.Second

// GracefulServer is an http.Server that loses no new connection when it is shut
// down. By itself http.Server drops what it has just accepted: the requests that
// it reads after Shutdown was called it does not answer, and their clients get
// an EOF. This one closes its listeners, waits until nothing more comes from
// them and for the first request of each connection that came, for a second at
// most, and only then shuts down. Run does so with every *http.Server.
//
// A request that comes on a connection kept alive just as that is closed is
// lost all the same: HTTP/1.1 knows no way to tell the client in time. That is
// what ShutdownPlan.CloseWait is for.
type GracefulServer struct {
	http *http.Server

	mu       sync.Mutex
	closing  bool
	accepted map[net.Listener]chan struct{} // closed when all is known that it gave
	fresh    map[net.Conn]struct{}          // whose first request has not been read
	changed  chan struct{}                  // closed and replaced when fresh shrinks
}

// Graceful returns a GracefulServer of s, whose own methods are not to be called
// any more. It puts something of its own before the Handler, ConnState and
// ConnContext of s.
func Graceful(s *http.Server) *GracefulServer {
	g := &GracefulServer{
		http: s, accepted: map[net.Listener]chan struct{}{}, fresh: map[net.Conn]struct{}{}, changed: make(chan struct{}),
	}
	handler, state, base := s.Handler, s.ConnState, s.ConnContext
	if handler == nil {
		handler = http.DefaultServeMux
	}
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if conn, ok := r.Context().Value(connKey{g}).(net.Conn); ok && g.known(conn) {
			w.Header().Set("Connection", "close") // it is going to be
		}
		handler.ServeHTTP(w, r)
	})
	s.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		if base != nil {
			ctx = base(ctx, conn)
		}
		return context.WithValue(ctx, connKey{g}, conn)
	}
	s.ConnState = func(conn net.Conn, now http.ConnState) {
		switch now {
		case http.StateNew:
			g.mu.Lock()
			g.fresh[conn] = struct{}{}
			g.mu.Unlock()
		case http.StateIdle, http.StateHijacked, http.StateClosed:
			g.known(conn) // idle without a request is one of HTTP/2, which is told
		}
		if state != nil {
			state(conn, now)
		}
	}
	return g
}

type connKey struct{ server *GracefulServer }

// known takes note that a connection is one that Shutdown of http.Server heeds, and
// says whether that has been asked for.
func (g *GracefulServer) known(conn net.Conn) (closing bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, ok := g.fresh[conn]; ok {
		delete(g.fresh, conn)
		close(g.changed)
		g.changed = make(chan struct{})
	}
	return g.closing
}

// Serve implements Server.
func (g *GracefulServer) Serve(l net.Listener) error {
	return g.serve(l, g.http.Serve)
}

// ServeTLS is as that of http.Server.
func (g *GracefulServer) ServeTLS(l net.Listener, certFile, keyFile string) error {
	return g.serve(l, func(l net.Listener) error { return g.http.ServeTLS(l, certFile, keyFile) })
}

func (g *GracefulServer) serve(l net.Listener, serve func(net.Listener) error) error {
	g.mu.Lock()
	if g.closing {
		g.mu.Unlock()
		return errors.Join(http.ErrServerClosed, l.Close())
	}
	done := make(chan struct{})
	g.accepted[l] = done
	g.mu.Unlock()
	err := serve(l)
	close(done)
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.accepted, l)
	if g.closing && errors.Is(err, net.ErrClosed) {
		return http.ErrServerClosed // the listener was closed here, before the server knew
	}
	return err
}

// Shutdown implements Server.
func (g *GracefulServer) Shutdown(ctx context.Context) error {
	g.mu.Lock()
	g.closing = true
	var errs []error
	var ends []chan struct{}
	for l, done := range g.accepted {
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
	g.awaitFirstRequests(ctx)
	return errors.Join(append(errs, g.http.Shutdown(ctx))...)
}

func (g *GracefulServer) awaitFirstRequests(ctx context.Context) {
	patience := time.NewTimer(firstRequest)
	defer patience.Stop()
	for {
		g.mu.Lock()
		left, changed := len(g.fresh), g.changed
		g.mu.Unlock()
		if left == 0 {
			return
		}
		select {
		case <-changed:
		case <-patience.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// Close cuts what is in flight.
func (g *GracefulServer) Close() error { return g.http.Close() }

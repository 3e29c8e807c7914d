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

// GracefulServer is an http.Server that, when it is shut down, answers every new
// connection that it has accepted. By itself http.Server drops what it has just
// accepted: the requests that it reads after Shutdown was called it does not
// answer, and their clients get an EOF. This one closes its listeners, waits until
// nothing more comes from them and for the first request of each connection that
// came, for a second at most, closes those that asked nothing, and only then shuts
// down. Run does so with every *http.Server.
//
// A request that comes on a connection kept alive just as that is closed is
// lost all the same: HTTP/1.1 knows no way to tell the client in time. That is
// what ShutdownPlan.CloseWait is for.
type GracefulServer struct {
	http    *http.Server
	handler http.Handler // before which Graceful has put its own

	mu       sync.Mutex
	closing  bool
	accepted map[*onceListener]chan struct{} // closed when all is known that it gave
	fresh    map[net.Conn]bool               // whose first request has not been read, and whether any of it has
	changed  chan struct{}                   // closed and replaced when fresh shrinks
}

// Graceful returns a GracefulServer of s, whose own methods are not to be called
// any more. It puts something of its own before the Handler, ConnState and
// ConnContext of s.
func Graceful(s *http.Server) *GracefulServer {
	g := &GracefulServer{
		http: s, accepted: map[*onceListener]chan struct{}{}, fresh: map[net.Conn]bool{}, changed: make(chan struct{}),
	}
	handler, state, base := s.Handler, s.ConnState, s.ConnContext
	if handler == nil {
		handler = http.DefaultServeMux
	}
	g.handler = handler
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
			g.fresh[conn] = false
			g.mu.Unlock()
		case http.StateActive:
			g.mu.Lock()
			if _, ok := g.fresh[conn]; ok {
				g.fresh[conn] = true
			}
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

func (g *GracefulServer) serve(listener net.Listener, serve func(net.Listener) error) error {
	l := &onceListener{Listener: listener}
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
	if g.closing {
		return http.ErrServerClosed // as http.Server does, whatever a listener says that was closed
	}
	return err
}

// onceListener closes its listener once, as http.Server does, and is a key of a map
// whatever the listener is.
type onceListener struct {
	net.Listener
	once sync.Once
	err  error
}

func (l *onceListener) Close() error {
	l.once.Do(func() { l.err = l.Listener.Close() })
	return l.err
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
			g.closeSilent()
			return
		case <-ctx.Done():
			return
		}
	}
}

// closeSilent closes the connections on which nothing has come, such as those that browsers
// open to have one more: http.Server would wait for them for five seconds.
func (g *GracefulServer) closeSilent() {
	g.mu.Lock()
	var silent []net.Conn
	for conn, begun := range g.fresh {
		if !begun {
			silent = append(silent, conn)
		}
	}
	g.mu.Unlock()
	for _, conn := range silent {
		_ = conn.Close() // nobody has asked anything on it
	}
}

// Close cuts what is in flight.
func (g *GracefulServer) Close() error { return g.http.Close() }

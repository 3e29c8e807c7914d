package healthkit

import (
	"context"
	"net/http"
	"sync"
)

// Middleware counts the requests in flight and, once the process drains, sets
// Connection: close on every answer. Wrap the handler of every server that
// takes requests, outermost. An answer to a request that came before the drain
// carries the header only once the server itself is shutting down.
//
// HTTP/2 without TLS is for http.Server.Protocols: h2c.NewHandler of golang.org/x/net
// stays inside for as long as the connection is open, also while nothing is asked on
// it, and so the whole connection would be one request in flight.
//
// Requests for the paths of Handler are not counted, so that the probes may be
// inside. Others that come when the servers of a Shutdown have been shut down are
// answered with 503.
func (r *Registry) Middleware(next http.Handler) http.Handler { return &counted{r, next} }

// counted is a type of its own so that Run sees what is wrapped already.
type counted struct {
	r    *Registry
	next http.Handler
}

func (c *counted) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if c.r.Phase() >= PhaseDraining {
		w.Header().Set("Connection", "close")
	}
	if isProbe(req.URL.Path) {
		c.next.ServeHTTP(w, req)
		return
	}
	c.r.enter()
	defer c.r.left()
	// Asked last: who counts those in flight after it was set has seen this one.
	if c.r.refusing.Load() {
		w.Header().Set("Connection", "close")
		http.Error(w, "the process is stopping", http.StatusServiceUnavailable)
		return
	}
	c.next.ServeHTTP(w, req)
}

// probing answers the probes in front of another handler.
type probing struct {
	probes, next http.Handler
}

func (p probing) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if isProbe(req.URL.Path) {
		p.probes.ServeHTTP(w, req)
		return
	}
	p.next.ServeHTTP(w, req)
}

// Hold counts one piece of work as in flight until release is called, for work
// that does not come through Middleware: a job from a queue, a call of another
// protocol. Shutdown waits for it as for a request. Releasing twice is
// releasing once.
//
// A loop that takes its work itself holds once, for as long as it goes round,
// and leaves when Stopping closes: between taking a job and holding for it,
// nobody would wait for it.
func (r *Registry) Hold() (release func()) {
	r.enter()
	return sync.OnceFunc(r.left)
}

// enter counts a request in.
func (r *Registry) enter() {
	r.inflight.Add(1)
	if !r.asked.Load() {
		r.asked.Store(true)
	}
}

// unrouted tells whether nobody routes to the process. That it was never ready is not
// enough: there are balancers that ask something else, such as /readyz?exclude=, or
// nothing.
func (r *Registry) unrouted() bool { return !r.Started() && !r.asked.Load() }

// left counts a request out and tells a Shutdown that waits for the last one.
func (r *Registry) left() {
	if r.inflight.Add(-1) == 0 && r.Phase() >= PhaseDraining {
		select {
		case r.empty <- struct{}{}:
		default:
		}
	}
}

// waitInFlight waits until no request is inside Middleware or Hold.
func (r *Registry) waitInFlight(ctx context.Context) error {
	for r.inflight.Load() > 0 {
		select {
		case <-r.empty:
		case <-ctx.Done():
			if r.inflight.Load() == 0 {
				return nil
			}
			return context.Cause(ctx)
		}
	}
	return nil
}

package healthkit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// ShutdownPlan says how Shutdown ends the process.
type ShutdownPlan struct {
	// Reason is shown as the reason of the phase, for example "SIGTERM".
	Reason string
	// LameDuck is how long to serve unready, so that every balancer has turned
	// away. Time already spent as a lame duck counts.
	LameDuck time.Duration
	// CloseWait is how long to answer with Connection: close (see Middleware)
	// before the listeners close, so that clients give up the connections they
	// keep alive instead of losing a request to the close.
	CloseWait time.Duration
	// Finish is the part of the budget kept for requests in flight: LameDuck
	// and CloseWait are cut short, and the report says so, rather than use it.
	Finish time.Duration
	// Stop is the part of the budget kept for the stop hooks of components
	// (Component.OnStop): requests in flight are aborted rather than use it.
	Stop time.Duration
	// StopEach is how long one stop hook may take before what it depends on is
	// stopped all the same. Zero leaves it all that is left of the budget.
	StopEach time.Duration
	// Servers take requests, and so do Others, of another kind or Graceful. They
	// are shut down together.
	Servers []*http.Server
	Others  []Server
	// Health serves the probes. It closes last.
	Health *http.Server
	// HealthLinger is how long Health stays after the process has stopped, so
	// that someone who polls /drainz sees the 200.
	HealthLinger time.Duration
}

// ShutdownReport says what a Shutdown did.
type ShutdownReport struct {
	// LameDuck, CloseWait, Finish and Stop are how long the steps took.
	LameDuck, CloseWait, Finish, Stop time.Duration
	// CutShort tells whether LameDuck, CloseWait or HealthLinger was shortened.
	CutShort bool
	// Aborted is the number of requests inside Middleware or Hold that were in
	// flight when their part of the budget ran out, whether or not their handlers
	// heeded that.
	Aborted int
	// Overran names the components of which a hook (OnDrain, OnStop) had not done
	// its work when its time was over, NotStopped those whose stop hook was not
	// even begun. Sorted.
	Overran, NotStopped []string
}

// Server takes requests from a listener until it is shut down. *http.Server is
// one; healthkit/grpc/grpcserve makes one of a *grpc.Server.
type Server interface {
	// Serve accepts connections until Shutdown, and then returns nil or
	// http.ErrServerClosed at once.
	Serve(net.Listener) error
	// Shutdown stops accepting, lets requests in flight finish and returns.
	// When ctx ends first it returns an error; what is in flight is then cut
	// by Shutdown itself or, if the server has one, by a Close method.
	Shutdown(ctx context.Context) error
}

// Shutdown ends the process in order, within the time that ctx leaves: lame
// duck, then answers with Connection: close while the drain hooks run
// (Component.OnDrain), then the servers are shut down and requests in flight
// finished (those inside Middleware too, also when their connection was
// hijacked), then components are stopped (Component.OnStop) and checks end, then
// the health server closes.
// It blocks until then. Call it once, for example when SIGTERM arrives; a
// registry that is a lame duck already is taken on from there. A second call
// waits for the first and returns an error wrapping ErrPhase.
//
// When ctx ends first, servers are closed hard, the phases are still walked to
// the end, and the error says what was cut: the caller can always exit after.
// A ctx without a deadline is no budget at all; then requests in flight are
// waited for without end.
func (r *Registry) Shutdown(ctx context.Context, plan ShutdownPlan) (ShutdownReport, error) {
	var report ShutdownReport
	select {
	case r.shutting <- struct{}{}:
		defer func() { <-r.shutting }()
	case <-ctx.Done():
		return report, fmt.Errorf("shutdown: another one is under way: %w", context.Cause(ctx))
	}
	if err := r.Advance(PhaseLameDuck, plan.Reason); err != nil && r.Phase() != PhaseDraining {
		return report, fmt.Errorf("shutdown: %w", err)
	}
	requests, cancel := before(ctx, plan.Stop)
	defer cancel()
	waits, cancel := before(requests, plan.Finish)
	defer cancel()

	spent := time.Since(r.Snapshot().PhaseSince)
	if r.Phase() == PhaseLameDuck {
		begun := time.Now()
		report.CutShort = !pause(waits, plan.LameDuck-spent)
		report.LameDuck = time.Since(begun)
	}
	if err := r.Advance(PhaseDraining, plan.Reason); err != nil {
		return report, fmt.Errorf("shutdown: %w", err)
	}
	drained := r.drainComponents(requests)
	begun := time.Now()
	if !pause(waits, plan.CloseWait) {
		report.CutShort = true
	}
	report.CloseWait = time.Since(begun)

	begun = time.Now()
	servers := slices.Clone(plan.Others)
	for _, s := range plan.Servers {
		servers = append(servers, s)
	}
	errs := shutdownServers(requests, servers, func() { report.Aborted = r.InFlight() })
	if err := r.waitInFlight(requests); err != nil {
		report.Aborted = max(report.Aborted, r.InFlight())
	}
	if report.Aborted > 0 {
		errs = append(errs, fmt.Errorf("%d requests in flight were aborted: %w", report.Aborted, context.Cause(requests)))
	}
	late, failed := drained()
	errs = append(errs, failed...)
	report.Finish = time.Since(begun)

	begun = time.Now()
	overran, notStopped, failed := r.stopComponents(ctx, plan.StopEach)
	report.Stop, report.NotStopped = time.Since(begun), notStopped
	report.Overran = slices.Compact(slices.Sorted(slices.Values(slices.Concat(late, overran))))
	errs = append(errs, failed...)
	if err := r.Advance(PhaseStopped, ""); err != nil {
		errs = append(errs, err)
	}
	if plan.Health != nil && !pause(ctx, plan.HealthLinger) {
		report.CutShort = true
	}
	if err := r.Close(ctx); err != nil {
		errs = append(errs, err)
	}
	if plan.Health != nil {
		errs = append(errs, shutdownServers(ctx, []Server{plan.Health}, nil)...)
	}
	if err := errors.Join(errs...); err != nil {
		return report, fmt.Errorf("shutdown: %w", err)
	}
	return report, nil
}

// before returns a context that ends earlier by what is kept for later. One
// without a deadline has nothing to keep from.
func before(ctx context.Context, kept time.Duration) (context.Context, context.CancelFunc) {
	if deadline, ok := ctx.Deadline(); ok {
		return context.WithDeadline(ctx, deadline.Add(-kept))
	}
	return context.WithCancel(ctx)
}

// shutdownServers shuts the servers down together and closes hard those that
// are not done when ctx ends. It calls cut, if there is one, before the first of
// these is closed: handlers that heed their context are gone after that.
func shutdownServers(ctx context.Context, servers []Server, cut func()) []error {
	results := make(chan error, len(servers))
	var once sync.Once
	for _, s := range servers {
		go func() {
			err := s.Shutdown(ctx)
			if err != nil {
				err = fmt.Errorf("shut down %s: %w", serverName(s), err)
				if cut != nil && ctx.Err() != nil {
					once.Do(cut)
				}
				if c, ok := s.(io.Closer); ok {
					err = errors.Join(err, c.Close())
				}
			}
			results <- err
		}()
	}
	var errs []error
	for range servers {
		if err := <-results; err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

func serverName(s Server) string {
	switch s := s.(type) {
	case *http.Server:
		return "server " + s.Addr
	case *GracefulServer:
		return "server " + s.http.Addr
	}
	return fmt.Sprintf("%T", s)
}

// pause waits and tells whether it could wait to the end.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Middleware counts the requests in flight and, once the process drains, sets
// Connection: close on every answer. Wrap the handler of every server that
// takes requests, outermost; do not wrap the probes. An answer to a request
// that came before the drain carries the header only once the server itself is
// shutting down.
func (r *Registry) Middleware(next http.Handler) http.Handler { return &counted{r, next} }

// counted is a type of its own so that Run sees what is wrapped already.
type counted struct {
	r    *Registry
	next http.Handler
}

func (c *counted) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	c.r.inflight.Add(1)
	defer c.r.left()
	if c.r.Phase() >= PhaseDraining {
		w.Header().Set("Connection", "close")
	}
	c.next.ServeHTTP(w, req)
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
	r.inflight.Add(1)
	return sync.OnceFunc(r.left)
}

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

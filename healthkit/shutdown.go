package healthkit

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// ShutdownPlan says how Shutdown ends the process.
type ShutdownPlan struct {
	// Reason is shown as the reason of the phase, for example "SIGTERM".
	Reason string
	// LameDuck is how long to serve unready, so that every balancer has turned
	// away. Time already spent as a lame duck counts. A process that was never
	// ready and has had no request waits neither for this nor for CloseWait:
	// nobody routes to it.
	LameDuck time.Duration
	// CloseWait is how long to answer with Connection: close (see Middleware)
	// before the listeners close, so that clients give up the connections they
	// keep alive one by one. Graceful does the same for half a second, unless a
	// connection has been silent for as long before.
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
	// Servers take requests, and are shut down together: what Graceful or
	// grpcserve.New has returned, or a Server of your own. An *http.Server has to
	// be made Graceful before it serves. One that was not is shut down too, and
	// the error wraps ErrOptions: it has dropped what it had just accepted.
	Servers []Server
	// Health answers the probes and is closed last: an *http.Server will do. In a
	// service with one port it is the server of that port, made Graceful, and
	// Servers are none; once it would have been shut down as one of these, requests
	// inside Middleware are answered with 503.
	Health []Server
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

// Shutdown ends the process in order, within the time that ctx leaves: lame
// duck, then answers with Connection: close while the drain hooks run
// (Component.OnDrain), then the servers are shut down and requests in flight
// finished (those inside Middleware too, also when their connection was
// hijacked), then components are stopped (Component.OnStop) and checks end, then
// the health servers close, which waits for no answer longer than two seconds.
// It blocks until then. Call it once, for example when SIGTERM arrives; a
// registry that is a lame duck already is taken on from there. A second call
// waits for the first and returns an error wrapping ErrPhase.
//
// When ctx ends first, servers are closed hard, the phases are still walked to
// the end, and the error says what was cut: the caller can always exit after.
// A ctx without a deadline is no budget at all; then requests in flight are
// waited for without end.
func (r *Registry) Shutdown(ctx context.Context, plan ShutdownPlan) (ShutdownReport, error) {
	select {
	case r.shutting <- struct{}{}:
		defer func() { <-r.shutting }()
	case <-ctx.Done():
		return ShutdownReport{}, fmt.Errorf("shutdown: another one is under way: %w", context.Cause(ctx))
	}
	if err := r.Advance(PhaseLameDuck, plan.Reason); err != nil && r.Phase() != PhaseDraining {
		return ShutdownReport{}, fmt.Errorf("shutdown: %w", err)
	}
	requests, cancel := before(ctx, plan.Stop)
	defer cancel()
	waits, cancel := before(requests, plan.Finish)
	defer cancel()

	s := shutdown{r: r, plan: plan}
	s.lameDuck(waits)
	if err := r.Advance(PhaseDraining, plan.Reason); err != nil {
		return s.report, fmt.Errorf("shutdown: %w", err)
	}
	drained := r.drainComponents(requests)
	s.closeWait(waits)
	s.finish(requests, drained)
	s.stop(ctx)
	s.end(ctx)
	if err := errors.Join(s.errs...); err != nil {
		return s.report, fmt.Errorf("shutdown: %w", err)
	}
	return s.report, nil
}

// before returns a context that ends earlier by what is kept for later. One
// without a deadline has nothing to keep from.
func before(ctx context.Context, kept time.Duration) (context.Context, context.CancelFunc) {
	if deadline, ok := ctx.Deadline(); ok {
		return context.WithDeadline(ctx, deadline.Add(-kept))
	}
	return context.WithCancel(ctx)
}

// shutdown is one Shutdown, step by step.
type shutdown struct {
	r      *Registry
	plan   ShutdownPlan
	report ShutdownReport
	errs   []error
}

// pause waits, unless nobody routes here, and returns how long it took.
func (s *shutdown) pause(ctx context.Context, d time.Duration) time.Duration {
	if d <= 0 || s.r.unrouted() {
		return 0
	}
	begun := time.Now()
	if !pause(ctx, d) {
		s.report.CutShort = true
	}
	return time.Since(begun)
}

func (s *shutdown) lameDuck(ctx context.Context) {
	if s.r.Phase() != PhaseLameDuck {
		return
	}
	spent := time.Since(s.r.Snapshot().PhaseSince)
	s.report.LameDuck = s.pause(ctx, s.plan.LameDuck-spent)
}

func (s *shutdown) closeWait(ctx context.Context) {
	s.report.CloseWait = s.pause(ctx, s.plan.CloseWait)
}

// finish shuts the servers down and waits for what is in flight.
func (s *shutdown) finish(ctx context.Context, drained func() (overran []string, errs []error)) {
	begun := time.Now()
	s.errs = append(s.errs, ungraceful(s.plan.Servers)...)
	cut := func() { s.report.Aborted = s.r.InFlight() }
	s.errs = append(s.errs, shutdownServers(ctx, s.plan.Servers, cut)...)
	// Whatever comes through Middleware now comes from a server that stays open.
	s.r.refusing.Store(true)
	if err := s.r.waitInFlight(ctx); err != nil {
		s.report.Aborted = max(s.report.Aborted, s.r.InFlight())
	}
	if s.report.Aborted > 0 {
		s.errs = append(s.errs, fmt.Errorf("%d requests in flight were aborted: %w", s.report.Aborted, context.Cause(ctx)))
	}
	overran, errs := drained()
	s.report.Overran = overran
	s.errs = append(s.errs, errs...)
	s.report.Finish = time.Since(begun)
}

func ungraceful(servers []Server) (errs []error) {
	for _, s := range servers {
		if h, ok := s.(*http.Server); ok {
			errs = append(errs, fmt.Errorf("%w: %s was not made Graceful before it served", ErrOptions, serverName(h)))
		}
	}
	return errs
}

// stop stops the components.
func (s *shutdown) stop(ctx context.Context) {
	begun := time.Now()
	overran, notStopped, errs := s.r.stopComponents(ctx, s.plan.StopEach)
	s.report.Stop, s.report.NotStopped = time.Since(begun), notStopped
	s.report.Overran = slices.Compact(slices.Sorted(slices.Values(append(s.report.Overran, overran...))))
	s.errs = append(s.errs, errs...)
}

// end has the probes tell of the end, and ends them and the checks.
func (s *shutdown) end(ctx context.Context) {
	if err := s.r.Advance(PhaseStopped, ""); err != nil {
		s.errs = append(s.errs, err)
	}
	if len(s.plan.Health) > 0 && !pause(ctx, s.plan.HealthLinger) {
		s.report.CutShort = true
	}
	if err := s.r.Close(ctx); err != nil {
		s.errs = append(s.errs, err)
	}
	s.errs = append(s.errs, endHealth(ctx, s.plan.Health)...)
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

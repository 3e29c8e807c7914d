package healthkit

import (
	"context"
	"errors"
	"fmt"
	"net/http"
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
	// Servers take requests. They are shut down together.
	Servers []*http.Server
	// Health serves the probes. It closes last.
	Health *http.Server
	// HealthLinger is how long Health stays after the process has stopped, so
	// that someone who polls /drainz sees the 200.
	HealthLinger time.Duration
}

// ShutdownReport says what a Shutdown did.
type ShutdownReport struct {
	// LameDuck, CloseWait and Finish are how long the steps took.
	LameDuck, CloseWait, Finish time.Duration
	// CutShort tells whether LameDuck, CloseWait or HealthLinger was shortened.
	CutShort bool
	// Aborted is the number of requests inside Middleware that were in flight
	// when the budget ran out.
	Aborted int
}

// Shutdown ends the process in order, within the time that ctx leaves: lame
// duck, then answers with Connection: close, then the servers are shut down
// and requests in flight finished (those inside Middleware too, also when their
// connection was hijacked), then checks end, then the health server closes.
// It blocks until then. Call it once, for example when SIGTERM arrives; a
// registry that is a lame duck already is taken on from there.
//
// When ctx ends first, servers are closed hard, the phases are still walked to
// the end, and the error says what was cut: the caller can always exit after.
// A ctx without a deadline is no budget at all; then requests in flight are
// waited for without end.
func (r *Registry) Shutdown(ctx context.Context, plan ShutdownPlan) (ShutdownReport, error) {
	var report ShutdownReport
	if err := r.LameDuck(plan.Reason); err != nil && r.Phase() != PhaseDraining {
		return report, fmt.Errorf("shutdown: %w", err)
	}
	waits, cancel := ctx, context.CancelFunc(func() {})
	if deadline, ok := ctx.Deadline(); ok {
		waits, cancel = context.WithDeadline(ctx, deadline.Add(-plan.Finish))
	}
	defer cancel()

	spent := time.Since(r.Snapshot().PhaseSince)
	if r.Phase() == PhaseLameDuck {
		begun := time.Now()
		report.CutShort = !pause(waits, plan.LameDuck-spent)
		report.LameDuck = time.Since(begun)
	}
	if err := r.BeginDrain(plan.Reason); err != nil {
		return report, fmt.Errorf("shutdown: %w", err)
	}
	begun := time.Now()
	if !pause(waits, plan.CloseWait) {
		report.CutShort = true
	}
	report.CloseWait = time.Since(begun)

	begun = time.Now()
	errs := shutdownServers(ctx, plan.Servers)
	if err := r.waitInFlight(ctx); err != nil {
		report.Aborted = r.InFlight()
		errs = append(errs, fmt.Errorf("%d requests in flight were aborted: %w", report.Aborted, err))
	}
	report.Finish = time.Since(begun)
	if err := r.MarkStopped(); err != nil {
		errs = append(errs, err)
	}
	if plan.Health != nil && !pause(ctx, plan.HealthLinger) {
		report.CutShort = true
	}
	if err := r.Close(ctx); err != nil {
		errs = append(errs, err)
	}
	if plan.Health != nil {
		errs = append(errs, shutdownServers(ctx, []*http.Server{plan.Health})...)
	}
	if err := errors.Join(errs...); err != nil {
		return report, fmt.Errorf("shutdown: %w", err)
	}
	return report, nil
}

// shutdownServers shuts the servers down together and closes hard those that
// are not done when ctx ends.
func shutdownServers(ctx context.Context, servers []*http.Server) []error {
	results := make(chan error, len(servers))
	for _, s := range servers {
		go func() {
			err := s.Shutdown(ctx)
			if err != nil {
				err = errors.Join(fmt.Errorf("shut down server %s: %w", s.Addr, err), s.Close())
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
func (r *Registry) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.inflight.Add(1)
		defer r.left()
		if r.Phase() >= PhaseDraining {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, req)
	})
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

// waitInFlight waits until no request is inside Middleware.
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

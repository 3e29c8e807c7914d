package healthkit

import (
	"context"
	"errors"
	"fmt"
)

// ErrStopping is the cause of a context of WithStopping that ended because the
// process has been told to stop.
var ErrStopping = errors.New("the process has been told to stop")

// Stopping returns a channel that is closed when the process has been told to
// stop, which makes it a lame duck. Requests still come and are served; a loop
// that takes its work itself, such as jobs from a queue, takes no more.
func (r *Registry) Stopping() <-chan struct{} { return r.stopping }

// WithStopping returns a copy of parent that ends, with the cause ErrStopping, when
// Stopping closes: who sees that closed sees this ended. Like those of package context
// it has to be cancelled when it is not needed any more. What a job needs to be
// finished should not come from it.
func (r *Registry) WithStopping(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	t := &taking{cancel}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.taking == nil {
		cancel(ErrStopping)
		return ctx, func() {}
	}
	r.taking[t] = struct{}{}
	return ctx, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.taking, t)
		cancel(context.Canceled)
	}
}

// taking is a context of WithStopping.
type taking struct{ cancel context.CancelCauseFunc }

// stop closes Stopping, once. The caller holds the lock.
func (r *Registry) stop() {
	if r.taking == nil {
		return
	}
	for t := range r.taking {
		t.cancel(ErrStopping)
	}
	r.taking = nil
	close(r.stopping)
}

// OnDrain registers what Shutdown calls when the drain begins, before it waits for
// what is in flight: after the lame duck, so that a client that is sent away finds
// another instance. It is for what would not end by itself, such as event streams and
// WebSockets. It is called once, those of all components at the same time, while the
// process serves on; requests in flight and these hooks are then waited for together.
// drain should return soon after ctx ends; one that does not is named in
// ShutdownReport.Overran and left behind. A second OnDrain replaces the first, nil
// removes it. Close, Advance and Retract do not call it.
func (c *Component) OnDrain(drain func(ctx context.Context) error) {
	c.r.mu.Lock()
	defer c.r.mu.Unlock()
	c.drain = drain
}

// drainComponents begins all drain hooks. What it returns waits for them and
// says, as stopComponents does, which overran and what went wrong.
func (r *Registry) drainComponents(ctx context.Context) (wait func() (overran []string, errs []error)) {
	type result struct {
		name    string
		err     error
		overran bool
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	results := make(chan result, len(r.components))
	begun := 0
	for _, c := range r.components {
		drain := c.drain
		if drain == nil {
			continue
		}
		c.drain = nil
		begun++
		go func() {
			overran, err := attend(ctx, drain)
			results <- result{c.name, err, overran}
		}()
	}
	return func() (overran []string, errs []error) {
		for range begun {
			res := <-results
			if res.overran {
				overran = append(overran, res.name)
			}
			if res.err != nil {
				errs = append(errs, fmt.Errorf("drain %s: %w", res.name, res.err))
			}
		}
		return overran, errs
	}
}

// attend calls a hook and waits for it, but no longer than ctx lasts. One that gives up
// because its time is over has overrun as well.
func attend(ctx context.Context, hook func(context.Context) error) (overran bool, err error) {
	result := make(chan error, 1)
	go func() {
		err := errors.New("hook ended its goroutine")
		// Deferred, because runtime.Goexit in the hook skips all but defers.
		defer func() { result <- err }()
		err = guarded(ctx, hook)
	}()
	select {
	case err := <-result:
		if err == nil || ctx.Err() == nil {
			return false, err
		}
	case <-ctx.Done():
	}
	return true, context.Cause(ctx)
}

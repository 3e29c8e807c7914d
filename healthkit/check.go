package healthkit

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// ErrDegraded, wrapped in the error of a check, makes the result Degraded
// instead of Failed.
var ErrDegraded = errors.New("degraded")

// Defaults of CheckOptions.
const (
	DefaultInterval = 5 * time.Second
	DefaultTimeout  = 2 * time.Second
)

// CheckFunc looks at one thing once. It should return soon after ctx ends. Nil
// means ready, an error that wraps ErrDegraded means degraded, any other error
// means failed. A panic is a failure of this check and of nothing else.
type CheckFunc func(ctx context.Context) error

// CheckOptions configure a component that is checked by a function.
type CheckOptions struct {
	Options
	// Interval is the pause between the end of one run and the start of the
	// next, less Jitter. Zero means DefaultInterval.
	Interval time.Duration
	// Timeout is how long a run may take before the check counts as failed.
	// Zero means DefaultTimeout.
	Timeout time.Duration
	// Jitter is by how much a pause may be shorter than Interval: a random part of
	// it is taken off each, so that instances that were started together do not ask
	// what they share all at the same time for ever. Zero means a tenth of Interval,
	// a negative one none.
	Jitter time.Duration
}

// RegisterCheck registers a component and runs check for it in the background, the
// first time at once. There is never more than one run at a time: a run that
// does not return after its timeout is reported as failed, again every
// Interval, and no other is started until it has returned. Component.CheckNow
// asks for a run before its time. The caller retracts the component to end the check. The time to live, unless set, is two
// intervals and a timeout, so a check that is no longer run is not believed.
//
// Errors are those of Register.
func (r *Registry) RegisterCheck(name string, check CheckFunc, opts CheckOptions) (*Component, error) {
	if check == nil {
		return nil, fmt.Errorf("register check %q: %w: no function", name, ErrOptions)
	}
	if opts.Interval < 0 || opts.Timeout < 0 {
		return nil, fmt.Errorf("register check %q: %w: negative interval or timeout", name, ErrOptions)
	}
	if opts.Interval == 0 {
		opts.Interval = DefaultInterval
	}
	if opts.Timeout == 0 {
		opts.Timeout = DefaultTimeout
	}
	if opts.Jitter == 0 {
		opts.Jitter = opts.Interval / 10
	}
	if opts.Jitter > opts.Interval {
		return nil, fmt.Errorf("register check %q: %w: jitter %v is above the interval of %v", name, ErrOptions, opts.Jitter, opts.Interval)
	}
	if opts.TTL == 0 {
		opts.TTL = 2*opts.Interval + opts.Timeout
	}
	if opts.TTL <= opts.Interval+opts.Timeout {
		return nil, fmt.Errorf("register check %q: %w: time to live %v is not above interval and timeout, so a check in order would go stale", name, ErrOptions, opts.TTL)
	}
	c, err := r.Register(name, opts.Options)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || c.retracted {
		cancel()
		return nil, fmt.Errorf("register check %q: %w", name, ErrClosed)
	}
	c.cancel = cancel
	c.again = make(chan struct{}, 1)
	r.runners.Add(1)
	go func() {
		defer r.runners.Done()
		defer cancel()
		c.runChecks(ctx, check, opts)
	}()
	return c, nil
}

// CheckNow asks for a run of the component's check before its pause is over, for example
// because a request that needs the same thing has just failed. It does not wait. A run
// that is under way may have looked too early, so another follows it at once; that is one,
// however often it was asked for meanwhile. Without a check, and after Retract, it does
// nothing.
func (c *Component) CheckNow() {
	select {
	case c.again <- struct{}{}:
	default:
	}
}

// pauseBefore is how long to wait for the next run.
func (o CheckOptions) pauseBefore() time.Duration {
	if o.Jitter <= 0 {
		return o.Interval
	}
	return o.Interval - rand.N(o.Jitter)
}

// runChecks runs the check until the component is retracted or the registry
// closed.
func (c *Component) runChecks(ctx context.Context, check CheckFunc, opts CheckOptions) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.r.done:
			return
		case <-pause.C:
		case <-c.again:
		}
		select {
		case <-c.again: // this run will do
		default:
		}
		c.runOnce(ctx, check, opts.Interval, opts.Timeout)
		pause.Reset(opts.pauseBefore())
	}
}

// runOnce runs the check in a goroutine of its own, so that a run that hangs
// is reported, and one that ends its goroutine does not end the runner. It
// returns when the check has returned.
func (c *Component) runOnce(ctx context.Context, check CheckFunc, interval, timeout time.Duration) {
	runCtx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	result := make(chan error, 1)
	c.setRunning(true)
	defer c.setRunning(false)
	go func() {
		err := error(&checkError{text: "check ended its goroutine"})
		// Deferred, because runtime.Goexit in the check skips all but defers.
		defer func() { result <- err }()
		err = guarded(runCtx, check)
	}()

	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	late := false
	for {
		select {
		case err := <-result:
			// After a time-out, that is the result of this run: what it found in
			// the end is old by now, and the next run will tell.
			if !late && ctx.Err() == nil {
				c.take(err)
			}
			return
		case <-deadline.C:
			late = true
			c.Failed(fmt.Errorf("check timed out after %v", timeout))
			deadline.Reset(interval)
		case <-c.r.done:
			// Nobody asks any more; what remains is to wait for the function.
			cancel()
			<-result
			return
		}
	}
}

func (c *Component) take(err error) {
	switch {
	case err == nil:
		c.Ready()
	case errors.Is(err, ErrDegraded):
		c.Degraded(err.Error())
	default:
		c.Failed(err)
	}
}

func (c *Component) setRunning(on bool) {
	c.r.mu.Lock()
	defer c.r.mu.Unlock()
	if on {
		c.r.running[c] = struct{}{}
	} else {
		delete(c.r.running, c)
	}
}

// checkError is what guarded hands over: an error whose text was taken inside
// the guard, because Error and Is are the service's code and can panic too.
type checkError struct {
	text     string
	degraded bool
}

func (e *checkError) Error() string        { return e.text }
func (e *checkError) Is(target error) bool { return e.degraded && target == ErrDegraded }

// guarded runs a function of the service and turns a panic into an error.
func guarded(ctx context.Context, do func(context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			// fmt guards against a String method that panics in turn.
			err = &checkError{text: fmt.Sprintf("panic: %v", p)}
		}
	}()
	if e := do(ctx); e != nil {
		return &checkError{text: e.Error(), degraded: errors.Is(e, ErrDegraded)}
	}
	return nil
}

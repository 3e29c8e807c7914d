// Package lifecycle is the life of a deployed stack as every drivers.Env lives it: deployed
// within a limit, changed by one caller at a time, broken by faults of which none outlives it, and
// closed once, with a grace that a caller of Close who runs out of time takes back. It knows no instance and no runtime.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
)

const (
	// DeployLimit bounds a deployment whose caller has set no deadline.
	DeployLimit = 10 * time.Minute
	// CrashesAtDeploy is how often in a row an instance may end before a deployment gives
	// up.
	CrashesAtDeploy = 5
	// servesInterval is how often AwaitServing asks, unless Service.Serves says otherwise.
	servesInterval = 50 * time.Millisecond
)

// Life is the life of one environment. Its methods may be called concurrently.
type Life struct {
	shutdown func(context.Context) error

	changing chan struct{} // holds one element during a deployment, a change, and from the shutdown on
	closing  chan struct{} // closed when Close begins
	forced   chan struct{} // closed when no instance gets any more grace
	closed   chan struct{} // closed when Close is done
	end      error         // what shutdown returned; valid once closed

	begin, force sync.Once // of closing and of forced

	faults faults
}

// New returns the life of an environment that shutdown removes. It is called once, by
// Close, when the deployment and the change that were under way have ended; its context has
// no end, so it must bound what it waits for, and heed Forced.
func New(shutdown func(context.Context) error) *Life {
	return &Life{
		shutdown: shutdown, changing: make(chan struct{}, 1),
		closing: make(chan struct{}), forced: make(chan struct{}), closed: make(chan struct{}),
	}
}

// Closing is closed when Close begins.
func (l *Life) Closing() <-chan struct{} { return l.closing }

// Forced is closed when no instance gets any more grace.
func (l *Life) Forced() <-chan struct{} { return l.forced }

// Err is drivers.ErrClosed from the beginning of Close on, and nil before.
func (l *Life) Err() error {
	select {
	case <-l.closing:
		return drivers.ErrClosed
	default:
		return nil
	}
}

// Deploy runs deploy with a context that ends after DeployLimit, and when Close begins.
// When it fails the environment is closed, by force: nothing that does not serve deserves a
// grace.
func (l *Life) Deploy(ctx context.Context, deploy func(context.Context) error) error {
	err := l.exclusively(ctx, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeoutCause(ctx, DeployLimit, fmt.Errorf("not deployed within %v", DeployLimit))
		defer cancel()
		return deploy(ctx)
	})
	if err == nil {
		return nil
	}
	l.endGrace()
	if closeErr := l.Close(context.WithoutCancel(ctx)); closeErr != nil {
		err = fmt.Errorf("%w; and cleaning up: %w", err, closeErr)
	}
	return err
}

// Change runs do, one change at a time: another one meanwhile is refused with
// drivers.ErrBusy, and one after Close with drivers.ErrClosed. The context of do ends when
// Close begins, with that cause. Errors begin with what.
func (l *Life) Change(ctx context.Context, what string, do func(context.Context) error) error {
	if err := l.exclusively(ctx, do); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

func (l *Life) exclusively(ctx context.Context, do func(context.Context) error) error {
	select {
	case l.changing <- struct{}{}:
	default:
		if err := l.Err(); err != nil {
			return err // it is the shutdown that is under way, or waits
		}
		return drivers.ErrBusy
	}
	defer func() { <-l.changing }()
	if err := l.Err(); err != nil {
		return err
	}
	ctx, done := Until(ctx, l.closing, drivers.ErrClosed)
	defer done()
	return do(ctx)
}

// Close ends the environment and returns what its shutdown did, to every caller. When ctx
// ends first it goes on, by force.
func (l *Life) Close(ctx context.Context) error {
	if ctx.Err() != nil {
		l.endGrace()
	}
	stop := context.AfterFunc(ctx, l.endGrace)
	defer stop()
	first := false
	l.begin.Do(func() { first = true; close(l.closing) })
	if first {
		l.changing <- struct{}{}
		l.end = l.shutdown(context.WithoutCancel(ctx))
		close(l.closed)
	}
	<-l.closed
	return l.end
}

func (l *Life) endGrace() { l.force.Do(func() { close(l.forced) }) }

// Until returns a context that also ends, with that cause, when c is closed. done ends it
// too and must be called.
func Until(parent context.Context, c <-chan struct{}, cause error) (ctx context.Context, done func()) {
	ctx, cancel := context.WithCancelCause(parent)
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case <-c:
			cancel(cause)
		case <-ctx.Done():
		}
	})
	return ctx, func() {
		cancel(nil)
		watching.Wait()
	}
}

// AwaitServing asks an instance of a service, directly, until it serves as Service.Serves
// describes it or, where that says nothing, accepts connections at its first port. It gives
// up when hopeless says why no more answers are worth waiting for, at a handshake that no
// second one will change (drivers.NotTrusted), and when ctx ends. Its error has the last
// answer, and wraps drivers.ErrNotServing unless ctx ended because the environment was closed.
func AwaitServing(ctx context.Context, s drivers.Service, ask func(context.Context, drivers.Probe) error, hopeless func() error) error {
	probe := s.Serves
	if probe.Kind == "" || probe.Kind == drivers.ProbeNone {
		probe = drivers.Probe{Kind: drivers.ProbeTCP, Port: s.Ports[0]}
	}
	if probe.Interval == 0 {
		probe.Interval = servesInterval
	}
	ticker := time.NewTicker(probe.Interval)
	defer ticker.Stop()
	var last error
	for {
		answer := ask(ctx, probe)
		if answer == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil { // else it is no answer, but the end of the question
			last = answer
		}
		if drivers.NotTrusted(answer) {
			return fmt.Errorf("%w: %w", drivers.ErrNotServing, distrust(answer))
		}
		var why error
		select {
		case <-ticker.C:
			why = hopeless()
		case <-ctx.Done():
			why = context.Cause(ctx)
		}
		if why == nil {
			continue
		}
		if !errors.Is(why, drivers.ErrClosed) {
			why = fmt.Errorf("%w: %w", drivers.ErrNotServing, why)
		}
		return fmt.Errorf("%w; last answer: %w", why, last)
	}
}

// distrust says what can be done about a handshake that fails on this side.
func distrust(err error) error {
	hint := "see target.tls: whom to trust (ca), under which name (server_name), or that nobody is verified (insecure)"
	if errors.Is(err, drivers.ErrProtocol) {
		hint = "see target.protocol: what the target speaks, h1, h2 or h2c"
	}
	return &drivers.HintError{Err: err, Hint: hint}
}

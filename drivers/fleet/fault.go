package fleet

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/lifecycle"
)

// Breaker is an optional capability of a Runtime: it does faults to instances. The driver is
// then a drivers.Faulter that says which ones.
type Breaker interface {
	// Break is the Inject of a drivers.Injector, for an instance that is not gone. The fleet
	// sees to it that the fault is healed once at most, and before the instances are stopped by
	// Close. The error wraps drivers.ErrUnsupported for a kind that the runtime cannot do.
	Break(ctx context.Context, i *Instance, f drivers.Fault) (drivers.Injection, error)
}

// Inject implements drivers.Injector by the runtime's Breaker. Without one every fault is refused.
func (e *Environment) Inject(ctx context.Context, f drivers.Fault) (drivers.Injection, error) {
	breaker, ok := e.runtime.(Breaker)
	if !ok {
		return nil, fmt.Errorf("%s: %w", f.Kind, drivers.ErrUnsupported)
	}
	done, err := e.beginInjection()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Kind, err)
	}
	defer done()
	i, err := e.Find(f.Instance)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Kind, err)
	}
	ctx, end := lifecycle.Until(ctx, e.life.Closing(), drivers.ErrClosed)
	defer end()
	injected, err := breaker.Break(ctx, i, f)
	if err != nil {
		return nil, fmt.Errorf("%s of %s: %w", f.Kind, i.ID, err)
	}
	out := &injection{Injection: injected, env: e, what: fmt.Sprintf("%s of %s", f.Kind, i.ID), over: !f.Kind.Lasting()}
	if f.Kind.Lasting() {
		e.mu.Lock()
		e.injections = append(e.injections, out)
		e.mu.Unlock()
	}
	return out, nil
}

// beginInjection keeps the environment from being taken down until done is called.
func (e *Environment) beginInjection() (done func(), err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.life.Err(); err != nil {
		return nil, err
	}
	e.injecting.Add(1)
	return e.injecting.Done, nil
}

// injection is a fault that Close heals unless somebody has before.
type injection struct {
	drivers.Injection
	env  *Environment
	what string

	mu   sync.Mutex
	over bool // there is nothing to heal, or it is healed
}

// Heal implements drivers.Injection.
func (i *injection) Heal(ctx context.Context) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.over {
		return nil
	}
	if err := i.Injection.Heal(ctx); err != nil {
		return fmt.Errorf("heal %s: %w", i.what, err)
	}
	i.over = true
	i.env.mu.Lock()
	defer i.env.mu.Unlock()
	i.env.injections = slices.DeleteFunc(i.env.injections, func(other *injection) bool { return other == i })
	return nil
}

// healAll heals what is still there once no fault can be injected any more, so that instances
// hear that they are to stop, and nothing of a fault outlives them.
func (e *Environment) healAll(ctx context.Context) []error {
	e.mu.Lock() // whoever holds it may have begun an injection
	e.mu.Unlock()
	e.injecting.Wait()
	e.mu.Lock()
	left := slices.Clone(e.injections)
	e.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, cleanGrace)
	defer cancel()
	var errs []error
	for _, i := range left {
		errs = append(errs, i.Heal(ctx))
	}
	return errs
}

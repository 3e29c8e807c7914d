package lifecycle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// faults are those of an environment that last and are there, or are being injected.
type faults struct {
	mu     sync.Mutex
	closed bool           // no more are begun
	begun  sync.WaitGroup // injections that are under way
	there  []*injection   // by their beginning
}

// Inject is the Inject of a drivers.Injector: inject does the fault, with a context that also ends
// when Close begins, with that cause. A fault that is there already is refused with an error,
// whatever its degree, and any after Close with drivers.ErrClosed. What is returned heals once,
// though it is asked again; HealAll heals what nobody has. Errors begin with the fault.
func (l *Life) Inject(ctx context.Context, f drivers.Fault, inject func(context.Context) (drivers.Injection, error)) (drivers.Injection, error) {
	i := &injection{fault: f, of: &l.faults}
	if err := l.inject(ctx, i, inject); err != nil {
		return nil, fmt.Errorf("%s: %w", i, err)
	}
	return i, nil
}

func (l *Life) inject(ctx context.Context, i *injection, inject func(context.Context) (drivers.Injection, error)) error {
	if err := l.beginFault(i); err != nil {
		return err
	}
	defer l.faults.begun.Done()
	ctx, done := Until(ctx, l.closing, drivers.ErrClosed)
	defer done()
	err := context.Cause(ctx)
	if err == nil {
		i.Injection, err = inject(ctx)
	}
	if err != nil || !i.fault.Kind.Lasting() {
		i.end()
	}
	return err
}

// beginFault is followed by begun.Done.
func (l *Life) beginFault(i *injection) error {
	l.faults.mu.Lock()
	defer l.faults.mu.Unlock()
	if l.faults.closed || l.Err() != nil {
		return drivers.ErrClosed
	}
	if slices.ContainsFunc(l.faults.there, i.same) {
		return errors.New("that fault is there already")
	}
	l.faults.there = append(l.faults.there, i)
	l.faults.begun.Add(1)
	return nil
}

// HealAll is for the shutdown that New was given: it waits for the injections that are under way,
// and heals what is there still, the last one first.
func (l *Life) HealAll(ctx context.Context) error {
	l.faults.mu.Lock()
	l.faults.closed = true
	l.faults.mu.Unlock()
	l.faults.begun.Wait()
	l.faults.mu.Lock()
	left := slices.Clone(l.faults.there)
	l.faults.mu.Unlock()
	var errs []error
	for _, i := range slices.Backward(left) {
		errs = append(errs, i.Heal(ctx))
	}
	return errors.Join(errs...)
}

// injection is a fault that is healed once.
type injection struct {
	drivers.Injection
	fault drivers.Fault
	of    *faults

	mu   sync.Mutex // held while it is healed
	over bool       // there is nothing to heal, or it is healed
}

func (i *injection) String() string {
	return fmt.Sprintf("%s of %s", i.fault.Kind, cmp.Or(i.fault.Instance, i.fault.Service))
}

// same says whether another one is the same fault, of whatever degree.
func (i *injection) same(other *injection) bool {
	return i.fault.Kind == other.fault.Kind && i.fault.Instance == other.fault.Instance && i.fault.Service == other.fault.Service
}

// Heal implements drivers.Injection.
func (i *injection) Heal(ctx context.Context) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.over {
		return nil
	}
	if err := i.Injection.Heal(ctx); err != nil {
		return fmt.Errorf("heal %s: %w", i, err)
	}
	i.end()
	return nil
}

// end takes in that there is nothing to heal. It is called before anybody else has the injection,
// or with i.mu held.
func (i *injection) end() {
	i.over = true
	i.of.mu.Lock()
	defer i.of.mu.Unlock()
	i.of.there = slices.DeleteFunc(i.of.there, func(other *injection) bool { return other == i })
}

package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/lifecycle"
)

// leastCPUs is the smallest share of a processor that kernels know.
const leastCPUs = 0.01

// dialLimit is how long a connection to a dependency may take that is said to be away.
const dialLimit = time.Second

// Breaker is an optional capability of a Runtime: it does faults to instances. The driver is
// then a drivers.Faulter that says which ones.
type Breaker interface {
	// Break is the Inject of a drivers.Injector, for an instance that is not gone. The fleet
	// sees to it that it is asked for no fault that is there already, that each is healed once at
	// most, and before the instances are stopped by Close. The error wraps
	// drivers.ErrUnsupported for a kind that the runtime cannot do.
	//
	// An instance that drivers.FaultStop has ended stays the same one: neither Ended nor Gone
	// is reported of it, and to heal it is to have it started again at the same addresses and
	// with the same arguments, for which the fleet waits. Stop may find it ended; it is not
	// healed before.
	Break(ctx context.Context, i *Instance, f drivers.Fault) (drivers.Injection, error)
}

// Inject implements drivers.Injector by the runtime's Breaker. Without one every fault is refused.
func (e *Environment) Inject(ctx context.Context, f drivers.Fault) (drivers.Injection, error) {
	injected, err := e.inject(ctx, f)
	if err != nil {
		return nil, fmt.Errorf("%s of %s: %w", f.Kind, cmp.Or(f.Instance, f.Service), err)
	}
	return injected, nil
}

func (e *Environment) inject(ctx context.Context, f drivers.Fault) (drivers.Injection, error) {
	breaker, ok := e.runtime.(Breaker)
	if !ok {
		return nil, drivers.ErrUnsupported
	}
	if f.Kind == drivers.FaultCPU && f.CPUs < leastCPUs {
		return nil, fmt.Errorf("a share of %g of a processor: want at least %g", f.CPUs, leastCPUs)
	}
	i, out, err := e.beginInjection(f)
	if err != nil {
		return nil, err
	}
	defer e.injecting.Done()
	ctx, done := lifecycle.Until(ctx, e.life.Closing(), drivers.ErrClosed)
	defer done()
	out.mu.Lock()
	defer out.mu.Unlock()
	if err = context.Cause(ctx); err == nil {
		out.Injection, err = breaker.Break(ctx, i, f)
	}
	if err != nil || !f.Kind.Lasting() {
		out.end()
	}
	if err != nil {
		return nil, err
	}
	if f.Kind == drivers.FaultStop {
		out.Injection = away{out.Injection, i}
	}
	return out, nil
}

// victim is the instance that a fault is done to; the caller holds e.mu.
func (e *Environment) victim(f drivers.Fault) (*Instance, error) {
	if f.Kind != drivers.FaultStop {
		return e.find(f.Instance)
	}
	for _, i := range e.deps {
		if i.Service.Name == f.Service {
			return i, nil
		}
	}
	return nil, fmt.Errorf("%w: there is no dependency of that name", ErrNoInstance)
}

// beginInjection finds what a fault is done to, and keeps the environment from being taken down
// until injecting is done.
func (e *Environment) beginInjection(f drivers.Fault) (*Instance, *injection, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.life.Err(); err != nil {
		return nil, nil, err
	}
	i, err := e.victim(f)
	if err != nil {
		return nil, nil, err
	}
	if slices.ContainsFunc(e.injections, func(other *injection) bool { return other.same(f) }) {
		return nil, nil, errors.New("that fault is there already")
	}
	out := &injection{fault: f, env: e}
	e.injections = append(e.injections, out)
	e.injecting.Add(1)
	return i, out, nil
}

// injection is a fault that Close heals unless somebody has before.
type injection struct {
	drivers.Injection
	fault drivers.Fault
	env   *Environment

	mu   sync.Mutex
	over bool // there is nothing to heal, or it is healed
}

// same says whether another fault would be the same one.
func (i *injection) same(f drivers.Fault) bool {
	return i.fault.Kind == f.Kind && i.fault.Instance == f.Instance && i.fault.Service == f.Service
}

// Heal implements drivers.Injection.
func (i *injection) Heal(ctx context.Context) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.over {
		return nil
	}
	if err := i.Injection.Heal(ctx); err != nil {
		return fmt.Errorf("heal %s of %s: %w", i.fault.Kind, cmp.Or(i.fault.Instance, i.fault.Service), err)
	}
	i.end()
	return nil
}

// end takes note that there is nothing to heal any more; the caller holds i.mu.
func (i *injection) end() {
	i.over = true
	i.env.mu.Lock()
	defer i.env.mu.Unlock()
	i.env.injections = slices.DeleteFunc(i.env.injections, func(other *injection) bool { return other == i })
}

// healAll heals what is still there once no fault can be injected any more, so that instances
// hear that they are to stop, and nothing of a fault outlives them. What is away stays so: it is
// about to be removed.
func (e *Environment) healAll(ctx context.Context) []error {
	e.mu.Lock()
	left := slices.Clone(e.injections) // those that are under way included: none is begun any more
	e.mu.Unlock()
	e.injecting.Wait()
	ctx, cancel := context.WithTimeout(ctx, cleanGrace)
	defer cancel()
	var errs []error
	for _, i := range left {
		if i.fault.Kind == drivers.FaultStop {
			i.mu.Lock()
			i.end()
			i.mu.Unlock()
			continue
		}
		errs = append(errs, i.Heal(ctx))
	}
	return errs
}

// away is a dependency that was ended and stays so.
type away struct {
	drivers.Injection
	instance *Instance
}

// Proof is what the runtime says, and what becomes of a connection to each of its ports.
func (a away) Proof(ctx context.Context) (seen string, there bool, err error) {
	seen, there, err = a.Injection.Proof(ctx)
	if err != nil {
		return "", false, err
	}
	for _, port := range a.instance.Service.Ports {
		dialer := net.Dialer{Timeout: dialLimit}
		conn, err := dialer.DialContext(ctx, "tcp", a.instance.addr(port))
		if err == nil {
			there = false
			seen += fmt.Sprintf("; port %s accepts a connection", port)
			conn.Close()
			continue
		}
		there = there && errors.Is(err, syscall.ECONNREFUSED)
		seen += fmt.Sprintf("; port %s: %v", port, errors.Unwrap(err))
	}
	return seen, there, nil
}

// Heal has the dependency started again and returns once it serves.
func (a away) Heal(ctx context.Context) error {
	if err := a.Injection.Heal(ctx); err != nil {
		return err
	}
	if err := a.instance.env.awaitServing(ctx, a.instance); err != nil {
		return err
	}
	a.instance.env.mu.Lock()
	defer a.instance.env.mu.Unlock()
	a.instance.crashes = 0 // it did not end by itself
	return nil
}

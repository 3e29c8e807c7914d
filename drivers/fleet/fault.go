package fleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
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
	return e.life.Inject(ctx, f, func(ctx context.Context) (drivers.Injection, error) {
		breaker, ok := e.runtime.(Breaker)
		if !ok {
			return nil, drivers.ErrUnsupported
		}
		if f.Kind == drivers.FaultCPU && f.CPUs < leastCPUs {
			return nil, fmt.Errorf("a share of %g of a processor: want at least %g", f.CPUs, leastCPUs)
		}
		i, err := e.victim(f)
		if err != nil {
			return nil, err
		}
		injected, err := breaker.Break(ctx, i, f)
		if err == nil && f.Kind == drivers.FaultStop {
			injected = away{injected, i}
		}
		return injected, err
	})
}

// victim is the instance that a fault is done to.
func (e *Environment) victim(f drivers.Fault) (*Instance, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
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

// Heal has the dependency started again and returns once it serves. One that is about to be
// removed with everything else stays away.
func (a away) Heal(ctx context.Context) error {
	if a.instance.env.life.Err() != nil {
		return nil
	}
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

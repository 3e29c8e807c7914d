package kubernetes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/lifecycle"
)

const (
	// faultPoll is how often it is asked again what nobody tells by itself.
	faultPoll = 250 * time.Millisecond
	// faultLimit bounds an injection whose caller has set no deadline.
	faultLimit = time.Minute
)

// injection is a fault that was injected.
type injection struct {
	proof func(context.Context) (seen string, there bool, err error)
	heal  func(context.Context) error // nil for one that does not last

	fault  drivers.Fault
	all    *injections
	mu     sync.Mutex // held while it is healed
	healed bool
}

// Proof implements drivers.Injection.
func (i *injection) Proof(ctx context.Context) (string, bool, error) { return i.proof(ctx) }

// Heal implements drivers.Injection.
func (i *injection) Heal(ctx context.Context) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.heal == nil || i.healed {
		return nil
	}
	if err := i.heal(ctx); err != nil {
		return fmt.Errorf("heal %s of %s: %w", i.fault.Kind, cmp.Or(i.fault.Instance, i.fault.Service), err)
	}
	i.healed = true
	i.all.end(i.fault)
	return nil
}

// injections are the faults of an environment: begun until it closes, and healed then.
type injections struct {
	mu     sync.Mutex
	closed bool
	begun  sync.WaitGroup  // injections that are under way
	there  []drivers.Fault // that last, those included that are under way
	all    []*injection    // that last, the healed ones included
}

// begin refuses a fault that is there already. It is followed by begun.Done.
func (f *injections) begin(fault drivers.Fault) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
		return drivers.ErrClosed
	case slices.ContainsFunc(f.there, sameAs(fault)):
		return errors.New("that fault is there already")
	}
	if fault.Kind.Lasting() {
		f.there = append(f.there, fault)
	}
	f.begun.Add(1)
	return nil
}

// sameAs says of a fault whether it is the same one, of whatever degree.
func sameAs(one drivers.Fault) func(drivers.Fault) bool {
	return func(other drivers.Fault) bool {
		return one.Kind == other.Kind && one.Instance == other.Instance && one.Service == other.Service
	}
}

// end takes in that a fault is not there any more.
func (f *injections) end(fault drivers.Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.there = slices.DeleteFunc(f.there, sameAs(fault))
}

func (f *injections) add(i *injection) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(f.all, i)
}

// close refuses any more and heals what there is, the last one first.
func (f *injections) close(ctx context.Context) error {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.begun.Wait()
	var errs []error
	for _, i := range slices.Backward(f.all) {
		errs = append(errs, i.Heal(ctx))
	}
	return errors.Join(errs...)
}

// Inject implements drivers.Injector.
func (e *environment) Inject(ctx context.Context, f drivers.Fault) (drivers.Injection, error) {
	i, err := e.begin(ctx, f)
	if err != nil {
		return nil, fmt.Errorf("%s of %s: %w", f.Kind, cmp.Or(f.Instance, f.Service), err)
	}
	return i, nil
}

func (e *environment) begin(ctx context.Context, f drivers.Fault) (*injection, error) {
	if err := e.faults.begin(f); err != nil {
		return nil, err
	}
	defer e.faults.begun.Done()
	ctx, done := lifecycle.Until(ctx, e.life.Closing(), drivers.ErrClosed)
	defer done()
	ctx, cancel := context.WithTimeoutCause(ctx, faultLimit, fmt.Errorf("not in effect within %v", faultLimit))
	defer cancel()
	i, err := e.inject(ctx, f)
	if err != nil {
		e.faults.end(f)
		return nil, err
	}
	if i.fault, i.all = f, &e.faults; i.heal != nil {
		e.faults.add(i)
	}
	return i, nil
}

func (e *environment) inject(ctx context.Context, f drivers.Fault) (*injection, error) {
	if f.Kind == drivers.FaultStop {
		return e.stop(ctx, f.Service)
	}
	pod := e.view.pod(f.Instance)
	if pod == nil {
		return nil, errors.New("there is no such instance")
	}
	switch f.Kind {
	case drivers.FaultKill:
		return e.kill(ctx, pod)
	case drivers.FaultEvict:
		return e.evict(ctx, pod)
	case drivers.FaultPause:
		return e.freeze(ctx, pod)
	case drivers.FaultCPU:
		return e.throttle(ctx, pod, f.CPUs)
	case drivers.FaultNodeDrain:
		return e.drain(ctx, pod)
	}
	return nil, fmt.Errorf("%w: it is no fault that Kubernetes is known to do", drivers.ErrUnsupported)
}

// target is a container on its node.
type target struct{ node, container string }

// container is that of the instance in a pod, where it can be reached and runs.
func (e *environment) container(pod *corev1.Pod) (target, error) {
	if e.driver.config.Containers == nil {
		return target{}, noContainers()
	}
	id, runs := running(pod, e.view.container())
	if !runs {
		return target{}, errors.New("it does not run")
	}
	return target{pod.Spec.NodeName, id}, nil
}

// noContainers is why what is done to a container from its node cannot be done.
func noContainers() error {
	return &drivers.HintError{
		Err:  fmt.Errorf("%w: no API of Kubernetes offers it, and the nodes are not the lab's", drivers.ErrUnsupported),
		Hint: "run it with --driver kind, whose nodes can be reached",
	}
}

package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/rollout-lab/rollout-lab/drivers"
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
}

// Proof implements drivers.Injection.
func (i *injection) Proof(ctx context.Context) (string, bool, error) { return i.proof(ctx) }

// Heal implements drivers.Injection.
func (i *injection) Heal(ctx context.Context) error {
	if i.heal == nil {
		return nil
	}
	return i.heal(ctx)
}

// Inject implements drivers.Injector.
func (e *environment) Inject(ctx context.Context, f drivers.Fault) (drivers.Injection, error) {
	return e.life.Inject(ctx, f, func(ctx context.Context) (drivers.Injection, error) {
		ctx, cancel := context.WithTimeoutCause(ctx, faultLimit, fmt.Errorf("not in effect within %v", faultLimit))
		defer cancel()
		i, err := e.inject(ctx, f)
		if err != nil {
			return nil, err // and no injection that is nil and says that it is one
		}
		return i, nil
	})
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

package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// Containers acts on containers from their nodes, which no API of Kubernetes offers. A
// container's ID is as the container runtime gave it, without a scheme.
type Containers interface {
	// Kill ends the main process of a container without any warning.
	Kill(ctx context.Context, node, container string) error
	// Freeze stops every process of a container where it is, and Thaw lets them go on. Both
	// do nothing where it is so already, and Thaw none where the container has ended.
	Freeze(ctx context.Context, node, container string) error
	Thaw(ctx context.Context, node, container string) error
	// Freezer asks the kernel of a node about a container.
	Freezer(ctx context.Context, node, container string) (Freezer, error)
	// Throttle gives a pod, named by its UID, so much of one processor and no more, also when
	// its containers are started again; 0 is as much as it wants. It does nothing where there
	// is no such pod any more and cpus takes a bound back.
	Throttle(ctx context.Context, node, pod string, cpus float64) error
	// Quota asks the kernel of a node about a pod.
	Quota(ctx context.Context, node, pod string) (Quota, error)
}

// Freezer is what the kernel of a node says of whether a container goes on.
type Freezer struct {
	Ended     bool // there is no such container on the node any more
	Frozen    bool
	Processes string // their states as /proc has them, such as "S" or "DD"
}

// Quota is what the kernel of a node says of how much a pod may compute.
type Quota struct {
	Ended     bool          // there is no such pod on the node any more
	CPUs      float64       // of one processor; 0 means no bound
	Throttled time.Duration // how long it had to wait for the sake of that bound, ever
}

// annotationFault is on pods whose containers are not as they were: for whoever finds the pod
// after the lab was killed. Its value is the kind of the fault.
const annotationFault = "rollout-lab/fault"

// freeze freezes an instance.
func (e *environment) freeze(ctx context.Context, pod *corev1.Pod) (*injection, error) {
	on, err := e.container(pod)
	if err != nil {
		return nil, err
	}
	containers := e.driver.config.Containers
	heal := func(ctx context.Context) error {
		if err := containers.Thaw(ctx, on.node, on.container); err != nil {
			return err
		}
		return e.markFault(ctx, pod, "")
	}
	if err := e.markFault(ctx, pod, drivers.FaultPause); err != nil {
		return nil, err
	}
	if err := containers.Freeze(ctx, on.node, on.container); err != nil {
		return nil, errors.Join(err, undo(ctx, heal))
	}
	return &injection{heal: heal, proof: func(ctx context.Context) (string, bool, error) {
		is, err := containers.Freezer(ctx, on.node, on.container)
		switch {
		case err != nil:
			return "", false, err
		case is.Ended:
			return fmt.Sprintf("container %.12s is not on its node any more", on.container), false, nil
		}
		return fmt.Sprintf("the freezer of container %.12s: frozen %t; its processes' states: %s", on.container, is.Frozen, is.Processes), is.Frozen, nil
	}}, nil
}

// leastCPUs is the smallest share of a processor that kernels know.
const leastCPUs = 0.01

// throttle gives an instance a share of one processor. That it has hit its bound is the proof.
func (e *environment) throttle(ctx context.Context, pod *corev1.Pod, cpus float64) (*injection, error) {
	containers := e.driver.config.Containers
	switch {
	case containers == nil:
		return nil, noContainers()
	case cpus < leastCPUs:
		return nil, fmt.Errorf("a share of %g of a processor: want at least %g", cpus, leastCPUs)
	}
	node, id := pod.Spec.NodeName, string(pod.UID)
	was, err := containers.Quota(ctx, node, id)
	switch {
	case err != nil:
		return nil, err
	case was.Ended:
		return nil, errors.New("it does not run")
	case was.CPUs > 0 && was.CPUs <= cpus:
		return nil, &drivers.HintError{
			Err:  fmt.Errorf("it has no more than %g of a processor anyway", was.CPUs),
			Hint: "give the fault a smaller share, or the target a larger limits.cpus",
		}
	}
	heal := func(ctx context.Context) error {
		if err := containers.Throttle(ctx, node, id, was.CPUs); err != nil {
			return err
		}
		return e.markFault(ctx, pod, "")
	}
	if err := e.markFault(ctx, pod, drivers.FaultCPU); err != nil {
		return nil, err
	}
	if err := containers.Throttle(ctx, node, id, cpus); err != nil {
		return nil, errors.Join(err, undo(ctx, heal))
	}
	return &injection{heal: heal, proof: func(ctx context.Context) (string, bool, error) {
		is, err := containers.Quota(ctx, node, id)
		switch {
		case err != nil:
			return "", false, err
		case is.Ended:
			return "pod " + pod.Name + " is not on its node any more", false, nil
		}
		may, waited := "all that it wants", is.Throttled-was.Throttled
		if is.CPUs > 0 {
			may = fmt.Sprintf("%g", is.CPUs)
		}
		return fmt.Sprintf("pod %s may use %s of a processor and has waited %v for it", pod.Name, may, waited.Round(time.Millisecond)),
			is.CPUs > 0 && is.CPUs != was.CPUs && waited > 0, nil
	}}, nil
}

// undo heals what could not be injected as a whole, also when ctx has ended.
func undo(ctx context.Context, heal func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), pauseLimit, fmt.Errorf("not undone within %v", pauseLimit))
	defer cancel()
	return heal(ctx)
}

// markFault marks a pod as one whose container is not as it was; "" takes the mark back. A pod
// that is gone needs none.
func (s *site) markFault(ctx context.Context, pod *corev1.Pod, kind drivers.FaultKind) error {
	var value any // nil removes it
	if kind != "" {
		value = string(kind)
	}
	change, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": pod.UID, "annotations": map[string]any{annotationFault: value}}})
	if err != nil {
		return err
	}
	_, err = s.cluster.client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.MergePatchType, change, metav1.PatchOptions{FieldManager: fieldManager})
	if kind == "" {
		err = gone(err)
	}
	if err != nil {
		return fmt.Errorf("mark pod %s: %w", pod.Name, err)
	}
	return nil
}

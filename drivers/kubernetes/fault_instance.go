package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// statusKilled is the exit status of a process that SIGKILL has ended, as container runtimes
// write it.
const statusKilled = 128 + 9

// kill ends an instance: by SIGKILL from its node, after which the kubelet starts it again, or
// else by deleting its pod with no grace. The API server forgets such a pod at once; its
// kubelet sends SIGTERM all the same, and SIGKILL two seconds later.
func (e *environment) kill(ctx context.Context, pod *corev1.Pod) (*injection, error) {
	if e.driver.config.Containers == nil {
		return e.deleteNow(ctx, pod)
	}
	on, err := e.container(pod)
	if err != nil {
		return nil, err
	}
	if err := e.driver.config.Containers.Kill(ctx, on.node, on.container); err != nil {
		return nil, err
	}
	return &injection{proof: func(context.Context) (string, bool, error) {
		end := e.view.end(on.container)
		if end == nil {
			return fmt.Sprintf("the kubelet does not say yet that container %.12s has ended", on.container), false, nil
		}
		return fmt.Sprintf("the kubelet says that container %.12s has ended with status %d (%s)", on.container, end.ExitCode, end.Reason), end.ExitCode == statusKilled, nil
	}}, nil
}

func (e *environment) deleteNow(ctx context.Context, pod *corev1.Pod) (*injection, error) {
	api, none := e.cluster.client.CoreV1().Pods(pod.Namespace), int64(0)
	if err := api.Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &none, Preconditions: metav1.NewUIDPreconditions(string(pod.UID))}); err != nil {
		return nil, err
	}
	return &injection{proof: func(ctx context.Context) (string, bool, error) {
		is, err := api.Get(ctx, pod.Name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err) || err == nil && is.UID != pod.UID:
			return "the API server knows pod " + pod.Name + " no more; its node gives it two seconds", true, nil
		case err != nil:
			return "", false, err
		}
		return "pod " + pod.Name + " is there still", false, nil
	}}, nil
}

// evictions asks for pods to be evicted, and keeps what came of it.
type evictions struct {
	environment *environment
	evicted     []*corev1.Pod
	refused     int    // how often a disruption budget has said no
	why         string // the last time
}

// ask asks once. A disruption budget may refuse, which is no error; a pod that has gone by
// itself needs no eviction.
func (v *evictions) ask(ctx context.Context, pod *corev1.Pod) (done bool, err error) {
	err = v.environment.cluster.client.PolicyV1().Evictions(pod.Namespace).Evict(ctx, &policyv1.Eviction{
		ObjectMeta:    metav1.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace},
		DeleteOptions: &metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(pod.UID))},
	})
	switch {
	case err == nil:
		v.evicted = append(v.evicted, pod)
		return true, nil
	case apierrors.IsTooManyRequests(err):
		v.refused, v.why = v.refused+1, oneLine(err.Error())
		return false, nil
	case apierrors.IsNotFound(err) || apierrors.IsConflict(err): // there is another pod of that name
		return true, nil
	}
	return false, fmt.Errorf("evict pod %s: %w", pod.Name, err)
}

// refusals says how often there was a no, for people.
func (v *evictions) refusals() string {
	if v.refused == 0 {
		return ""
	}
	return fmt.Sprintf("; refused %d times before: %s", v.refused, v.why)
}

// evict asks until no disruption budget refuses.
func (e *environment) evict(ctx context.Context, pod *corev1.Pod) (*injection, error) {
	v := &evictions{environment: e}
	ticker := time.NewTicker(faultPoll)
	defer ticker.Stop()
	for {
		done, err := v.ask(ctx, pod)
		if err != nil {
			return nil, err
		}
		if done {
			break
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w%s", context.Cause(ctx), v.refusals())
		}
	}
	if len(v.evicted) == 0 {
		return nil, errors.New("its pod has gone by itself")
	}
	return &injection{proof: func(context.Context) (string, bool, error) {
		seen, there := e.view.disrupted(pod)
		return seen + v.refusals(), there, nil
	}}, nil
}

// disrupted says what the API server has said of a pod's disruption, and whether it was by
// the API for evictions.
func (v *view) disrupted(pod *corev1.Pod) (seen string, evicted bool) {
	last := v.last(pod)
	for _, c := range last.Status.Conditions {
		if c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue {
			return fmt.Sprintf("pod %s is a disruption target: %s", pod.Name, c.Reason), c.Reason == reasonEvicted
		}
	}
	return "pod " + pod.Name + " is no disruption target", false
}

// reasonEvicted is why a pod is a disruption target that was evicted by the API.
const reasonEvicted = "EvictionByEvictionAPI"

// stop ends a dependency and keeps it away. Its Deployment has no replicas until it is healed.
func (e *environment) stop(ctx context.Context, service string) (*injection, error) {
	s, ok := e.dependency(service)
	if !ok {
		return nil, errors.New("there is no such dependency")
	}
	heal := func(ctx context.Context) error { return e.startAgain(ctx, s) }
	if err := e.stopDependency(ctx, s); err != nil {
		ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), faultLimit, fmt.Errorf("not back within %v", faultLimit))
		defer cancel()
		return nil, errors.Join(err, heal(ctx))
	}
	return &injection{proof: func(ctx context.Context) (string, bool, error) { return e.absent(ctx, s) }, heal: heal}, nil
}

func (s *site) dependency(name string) (drivers.Service, bool) {
	for _, d := range s.stack.Dependencies {
		if d.Name == name {
			return d, true
		}
	}
	return drivers.Service{}, false
}

// stopDependency kills its container first, where that can be: what comes after it are
// warnings to nobody. Where it cannot, the pod has a second, and is waited for until its kubelet
// says that it has ended.
func (e *environment) stopDependency(ctx context.Context, s drivers.Service) error {
	e.view.mu.Lock()
	pod := e.view.paths.dependency(s.Name).pod
	e.view.mu.Unlock()
	if pod == nil {
		return errors.New("no pod of it runs")
	}
	if containers := e.driver.config.Containers; containers != nil {
		if id, runs := running(pod, containerName); runs {
			if err := containers.Kill(ctx, pod.Spec.NodeName, id); err != nil {
				return err
			}
		}
	}
	if err := e.scaleService(ctx, s, 0); err != nil {
		return err
	}
	api, grace := e.cluster.client.CoreV1().Pods(pod.Namespace), int64(0)
	if e.driver.config.Containers == nil {
		grace = noGrace
	}
	if err := api.Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &grace}); gone(err) != nil {
		return err
	}
	return awaitRemoval(ctx, func() (left string, err error) {
		if _, err := api.Get(ctx, pod.Name, metav1.GetOptions{}); err == nil {
			return "pod " + pod.Name, nil
		} else if gone(err) != nil {
			return "", err
		}
		seen, absent, err := e.absent(ctx, s)
		if absent {
			seen = ""
		}
		return seen, err
	})
}

func (e *environment) scaleService(ctx context.Context, s drivers.Service, replicas int32) error {
	name := e.layout.names[s.Name]
	_, err := e.deployments().UpdateScale(ctx, name, scaleOf(name, e.layout.namespace, replicas), metav1.UpdateOptions{FieldManager: fieldManager})
	return err
}

// absent asks what requests to a dependency could reach.
func (e *environment) absent(ctx context.Context, s drivers.Service) (seen string, absent bool, err error) {
	options := metav1.ListOptions{LabelSelector: ofService(e.layout.names[s.Name]).Labels}
	list, err := e.cluster.client.DiscoveryV1().EndpointSlices(e.layout.namespace).List(ctx, options)
	if err != nil {
		return "", false, fmt.Errorf("list the endpoints of %s: %w", s.Name, err)
	}
	endpoints := 0
	for _, slice := range list.Items {
		for _, p := range slice.Endpoints {
			if isTrue(p.Conditions.Ready, true) || isTrue(p.Conditions.Serving, false) {
				endpoints++
			}
		}
	}
	return fmt.Sprintf("its Service has %d endpoints that serve", endpoints), endpoints == 0, nil
}

// startAgain returns once a dependency serves again.
func (e *environment) startAgain(ctx context.Context, s drivers.Service) error {
	if e.life.Err() != nil {
		return nil // it is to go with everything else
	}
	if err := e.scaleService(ctx, s, 1); err != nil {
		return err
	}
	return e.awaitDependency(ctx, s)
}

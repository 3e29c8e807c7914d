package kubernetes

import (
	"context"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/kubernetes/portforward"
	"github.com/rollout-lab/rollout-lab/drivers/kubernetes/watch"
)

// follow begins to follow the namespace and returns once everything was listed.
func (e *environment) follow(ctx context.Context) error {
	following, stop := context.WithCancel(context.WithoutCancel(ctx))
	e.stop = stop
	core, name := e.cluster.client.CoreV1(), e.layout.names[e.stack.Subject.Name]
	ours := labels.Set{labelDeployment: e.layout.labels[labelDeployment]}.String()
	ofSubject := watch.Selection{Labels: labels.Set(e.layout.selector(e.stack.Subject.Name)).String()}
	if f := e.foreign; f != nil {
		name, ours = f.entry, f.pods.String()
		ofSubject = watch.Selection{Fields: fields.OneTermEqualSelector(metav1.ObjectNameField, f.objects.Deployment).String()}
	}
	var firsts []chan struct{}
	begin := func(follow func(context.Context, chan<- struct{})) {
		first := make(chan struct{})
		firsts = append(firsts, first)
		e.following.Go(func() { follow(following, first) })
	}
	client, namespace := e.cluster.client, e.layout.namespace
	begin(func(ctx context.Context, first chan<- struct{}) {
		watch.Follow(ctx, core.Pods(namespace), watch.Selection{Labels: ours}, watch.Handler[*corev1.Pod]{
			Replaced: e.podsReplaced, Seen: e.podSeen, Gone: e.podGone, Lost: e.lost("pods"),
		}, first)
	})
	begin(func(ctx context.Context, first chan<- struct{}) {
		ofService := labels.Set{discoveryv1.LabelServiceName: name}.String()
		watch.Follow(ctx, client.DiscoveryV1().EndpointSlices(namespace), watch.Selection{Labels: ofService}, watch.Handler[*discoveryv1.EndpointSlice]{
			Replaced: folded(e, (*tracker).slicesReplaced), Seen: folded(e, (*tracker).sliceSeen), Gone: folded(e, (*tracker).sliceGone),
			Lost: e.lost("endpoint slices"),
		}, first)
	})
	begin(func(ctx context.Context, first chan<- struct{}) {
		watch.Follow(ctx, client.AppsV1().Deployments(namespace), ofSubject, watch.Handler[*appsv1.Deployment]{
			Replaced: func(at time.Time, all []*appsv1.Deployment) {
				for _, d := range all {
					e.deploymentSeen(at, d)
				}
			},
			Seen: e.deploymentSeen, Lost: e.lost("the deployment"),
		}, first)
	})
	begin(func(ctx context.Context, first chan<- struct{}) {
		// What they tell is in details only, so a gap in them is none in the record.
		watch.Follow(ctx, core.Events(namespace), watch.Selection{}, watch.Handler[*corev1.Event]{Seen: e.warned}, first)
	})
	for _, first := range firsts {
		select {
		case <-first:
		case <-ctx.Done():
			return fmt.Errorf("list what is in namespace %s: %w", e.layout.namespace, context.Cause(ctx))
		}
	}
	return nil
}

// folded lets the tracker take in a change.
func folded[T any](e *environment, take func(*tracker, time.Time, T)) func(time.Time, T) {
	return func(at time.Time, one T) {
		e.mu.Lock()
		defer e.mu.Unlock()
		take(e.tracker, at, one)
		e.wake()
	}
}

func (e *environment) lost(what string) func(time.Time, error) {
	return func(at time.Time, err error) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.tracker.lost(at, what, err)
	}
}

func (e *environment) deploymentSeen(_ time.Time, d *appsv1.Deployment) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.deployment = d
	e.wake()
}

func (e *environment) warned(_ time.Time, one *corev1.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.tracker.warned(one)
}

// podsReplaced, podSeen and podGone tell the subject's pods from those of dependencies.
func (e *environment) podsReplaced(at time.Time, all []*corev1.Pod) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.tracker.podsReplaced(at, slices.DeleteFunc(slices.Clone(all), func(p *corev1.Pod) bool { return !e.isSubject(p) }))
	for _, p := range all {
		if !e.isSubject(p) {
			e.dependencySeen(p)
		}
	}
	e.dropForwards()
	e.wake()
}

func (e *environment) podSeen(at time.Time, p *corev1.Pod) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.isSubject(p) {
		e.tracker.podSeen(at, p)
	} else {
		e.dependencySeen(p)
	}
	e.wake()
}

func (e *environment) podGone(at time.Time, p *corev1.Pod) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.isSubject(p) {
		e.tracker.podGone(at, p)
		e.dropForwards()
	}
	e.wake()
}

func (e *environment) isSubject(p *corev1.Pod) bool {
	if e.foreign != nil {
		return podOf(p, e.foreign.objects.Deployment)
	}
	return p.Labels[labelService] == e.layout.names[e.stack.Subject.Name]
}

// openForward listens for the ports of a pod of the subject. Without a listener there is
// no address, which whoever asks for the instance sees. e.mu is held.
func (e *environment) openForward(pod *corev1.Pod) map[string]string {
	f, err := portforward.Listen(e.cluster.dial, e.layout.namespace, pod.Name, portNumbers(e.stack.Subject))
	if err != nil {
		e.events.Append(drivers.Event{Kind: drivers.Lost, Detail: err.Error()})
		return nil
	}
	e.forwards[string(pod.UID)] = f
	return f.Addrs()
}

// dropForwards ends the listeners of pods that are gone. e.mu is held.
func (e *environment) dropForwards() {
	for uid, f := range e.forwards {
		if !slices.ContainsFunc(e.tracker.pods, func(r *podRecord) bool { return string(r.pod.UID) == uid }) {
			delete(e.forwards, uid)
			e.following.Go(f.Close)
		}
	}
}

// dependencySeen makes the listeners of a dependency lead to its newest pod. e.mu is held.
func (e *environment) dependencySeen(pod *corev1.Pod) {
	for _, s := range e.stack.Dependencies {
		if pod.Labels[labelService] != e.layout.names[s.Name] || pod.DeletionTimestamp != nil {
			continue
		}
		if old := e.depPods[s.Name]; old != nil && pod.CreationTimestamp.Before(&old.CreationTimestamp) {
			continue
		}
		e.depPods[s.Name] = pod
		if f := e.deps[s.Name]; f != nil {
			f.Retarget(pod.Name)
		}
	}
}

package kubernetes

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	kube "k8s.io/client-go/kubernetes"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/kubernetes/portforward"
	"github.com/rollout-lab/rollout-lab/drivers/kubernetes/watch"
)

// view is what the lab knows of a deployment from watching the cluster, and what it wants
// of it. It changes nothing in the cluster.
type view struct {
	namespace string
	scope     scope // set by follow
	following sync.WaitGroup
	stop      context.CancelFunc // ends what follows the cluster; set by follow
	changed   drivers.Broadcast  // of what is below

	mu         sync.Mutex
	want       wanted
	tracker    *tracker
	deployment *appsv1.Deployment // of the subject, as last seen
	paths      paths
	past       past
}

// scope says which objects of a namespace are those of a deployment.
type scope struct {
	pods       watch.Selection
	deployment watch.Selection // the subject's
	service    string          // the Service whose endpoints say where requests go
	subject    string          // the name of the subject
	ports      map[string]int32
	notes      []string // for the first event
	// serviceOf names the service of the stack that a pod belongs to, "" for none of it.
	serviceOf func(*corev1.Pod) string
}

func newView(dial portforward.Dialer, namespace string, stack drivers.Stack, emit func(drivers.Event)) *view {
	v := &view{
		namespace: namespace, stop: func() {},
		want:  wanted{revision: stack.Revision, replicas: stack.Replicas},
		paths: newPaths(dial, namespace), past: newPast(),
	}
	open := func(p *corev1.Pod) map[string]string { // v.mu is held
		addrs, err := v.paths.open(p, v.scope.ports)
		if err != nil { // whoever asks for the instance sees that it has no address
			emit(drivers.Event{Kind: drivers.Lost, Detail: err.Error()})
		}
		return addrs
	}
	v.tracker = newTracker(stack.Subject.Ports[0], open, emit)
	return v
}

// follow begins to follow the namespace and returns once everything was listed.
func (v *view) follow(ctx context.Context, client kube.Interface, s scope) error {
	following, stop := context.WithCancel(context.WithoutCancel(ctx))
	v.scope, v.stop, v.tracker.notes = s, stop, s.notes
	core := client.CoreV1()
	firsts := []<-chan struct{}{
		follow(following, v, core.Pods(v.namespace), s.pods, watch.Handler[*corev1.Pod]{
			Replaced: v.podsReplaced, Seen: v.podSeen, Gone: v.podGone, Lost: v.lost("pods"),
		}),
		follow(following, v, client.DiscoveryV1().EndpointSlices(v.namespace), ofService(s.service), watch.Handler[*discoveryv1.EndpointSlice]{
			Replaced: tracked(v, (*tracker).slicesReplaced), Seen: tracked(v, (*tracker).sliceSeen), Gone: tracked(v, (*tracker).sliceGone),
			Lost: v.lost("endpoint slices"),
		}),
		follow(following, v, client.AppsV1().Deployments(v.namespace), s.deployment, watch.Handler[*appsv1.Deployment]{
			Replaced: func(at time.Time, all []*appsv1.Deployment) {
				for _, d := range all {
					v.deploymentSeen(at, d)
				}
			},
			Seen: v.deploymentSeen, Lost: v.lost("the deployment"),
		}),
		// What these tell is in details only, so a gap in them is none in the record.
		follow(following, v, core.Events(v.namespace), watch.Selection{}, watch.Handler[*corev1.Event]{Seen: v.warned}),
	}
	for _, first := range firsts {
		select {
		case <-first:
		case <-ctx.Done():
			return fmt.Errorf("list what is in namespace %s: %w", v.namespace, context.Cause(ctx))
		}
	}
	return nil
}

func ofService(name string) watch.Selection {
	return watch.Selection{Labels: labels.Set{discoveryv1.LabelServiceName: name}.String()}
}

// named selects the one object of that name.
func named(name string) watch.Selection {
	return watch.Selection{Fields: fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()}
}

// follow follows one kind of objects; what it returns is closed after the first list.
func follow[P metav1.Object, L runtime.Object](ctx context.Context, v *view, api watch.API[L], which watch.Selection, h watch.Handler[P]) <-chan struct{} {
	first := make(chan struct{})
	v.following.Go(func() { watch.Follow(ctx, api, which, h, first) })
	return first
}

// tracked lets the tracker take in a change.
func tracked[T any](v *view, take func(*tracker, time.Time, T)) func(time.Time, T) {
	return func(at time.Time, one T) {
		v.mu.Lock()
		defer v.mu.Unlock()
		take(v.tracker, at, one)
		v.changed.Send()
	}
}

// close ends the following and every path to a pod, and waits for it.
func (v *view) close() {
	v.stop()
	v.following.Wait()
	v.mu.Lock()
	all := v.paths.all()
	v.mu.Unlock()
	for _, f := range all {
		f.Close()
	}
}

func (v *view) lost(what string) func(time.Time, error) {
	return func(at time.Time, err error) {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.tracker.lost(at, what, err)
	}
}

func (v *view) deploymentSeen(_ time.Time, d *appsv1.Deployment) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.deployment = d
	v.changed.Send()
}

func (v *view) warned(_ time.Time, one *corev1.Event) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.tracker.warned(one)
}

// podsReplaced, podSeen and podGone tell the subject's pods from those of dependencies.
func (v *view) podsReplaced(at time.Time, all []*corev1.Pod) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, p := range all {
		v.past.seen(p)
	}
	v.tracker.podsReplaced(at, slices.DeleteFunc(slices.Clone(all), func(p *corev1.Pod) bool { return v.scope.serviceOf(p) != v.scope.subject }))
	for _, p := range all {
		if name := v.scope.serviceOf(p); name != v.scope.subject {
			v.paths.dependencySeen(name, p)
		}
	}
	v.dropPaths()
	v.changed.Send()
}

func (v *view) podSeen(at time.Time, p *corev1.Pod) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.past.seen(p)
	if name := v.scope.serviceOf(p); name == v.scope.subject {
		v.tracker.podSeen(at, p)
	} else {
		v.paths.dependencySeen(name, p)
	}
	v.changed.Send()
}

func (v *view) podGone(at time.Time, p *corev1.Pod) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.past.seen(p)
	if v.scope.serviceOf(p) == v.scope.subject {
		v.tracker.podGone(at, p)
		v.dropPaths()
	}
	v.changed.Send()
}

// dropPaths ends the paths to pods that are gone. v.mu is held.
func (v *view) dropPaths() {
	for _, f := range v.paths.drop(func(uid string) bool {
		return slices.ContainsFunc(v.tracker.pods, func(r *podRecord) bool { return string(r.pod.UID) == uid })
	}) {
		v.following.Go(f.Close)
	}
}

// wait waits until missing, which is called with v.mu held at every change, names nothing
// any more. When ctx ends first it returns what is missing still and the cause.
func (v *view) wait(ctx context.Context, missing func() string) (still string, err error) {
	err = v.changed.Wait(ctx, func() bool {
		v.mu.Lock()
		defer v.mu.Unlock()
		still = missing()
		return still == ""
	})
	return still, err
}

// missing names what is not yet as wanted, "" when everything is. v.mu is held.
func (v *view) missing(generation int64) string {
	return v.want.missing(v.tracker.pods, v.deployment, generation)
}

func (v *view) wanted() wanted {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.want
}

func (v *view) setWanted(w wanted) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.want = w
	v.changed.Send()
}

// describe says what is known of a Deployment that somebody else has described: the
// container that is the instance, the revision of pods that bear no mark of one, and when it
// was restarted last.
func (v *view) describe(container, revision, restarted string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.tracker.container, v.tracker.initial, v.want.restarted = container, revision, restarted
}

// container is the name of the container that is the instance.
func (v *view) container() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.tracker.container
}

// instances are the subject's, oldest first.
func (v *view) instances() []drivers.Instance {
	v.mu.Lock()
	defer v.mu.Unlock()
	records := slices.Clone(v.tracker.pods)
	slices.SortStableFunc(records, func(a, b *podRecord) int {
		return a.pod.CreationTimestamp.Compare(b.pod.CreationTimestamp.Time)
	})
	var out []drivers.Instance
	for _, r := range records {
		out = append(out, drivers.Instance{
			ID: r.pod.Name, Revision: r.revision(), State: r.state(),
			Addr: r.ports[v.tracker.first], Ports: maps.Clone(r.ports),
		})
	}
	return out
}

// pod is that of an instance, nil if there is none.
func (v *view) pod(instance string) *corev1.Pod {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, r := range v.tracker.pods {
		if r.pod.Name == instance {
			return r.pod
		}
	}
	return nil
}

package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/owner"
)

// node is a node in memory: its kernel, and the containers and pods that it knows by being asked.
type node struct {
	mu       sync.Mutex
	freezers map[string]*Freezer // by container
	quotas   map[string]*Quota   // by pod
	killed   func(container string)
	fails    error // of whatever is done
}

func newNode() *node {
	return &node{freezers: map[string]*Freezer{}, quotas: map[string]*Quota{}, killed: func(string) {}}
}

// with does something to what a node knows by that ID.
func with[T any](n *node, known map[string]*T, id string, do func(*T)) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fails != nil {
		return n.fails
	}
	if known[id] == nil {
		known[id] = new(T)
	}
	do(known[id])
	return nil
}

func (n *node) Kill(_ context.Context, _, container string) error {
	n.killed(container)
	return with(n, n.freezers, container, func(f *Freezer) { *f = Freezer{Ended: true} })
}

func (n *node) Freeze(_ context.Context, _, container string) error {
	return with(n, n.freezers, container, func(f *Freezer) { f.Frozen, f.Processes = true, "D" })
}

func (n *node) Thaw(_ context.Context, _, container string) error {
	return with(n, n.freezers, container, func(f *Freezer) { f.Frozen, f.Processes = false, "S" })
}

func (n *node) Freezer(_ context.Context, _, container string) (is Freezer, err error) {
	err = with(n, n.freezers, container, func(f *Freezer) { is = *f })
	return is, err
}

func (n *node) Throttle(_ context.Context, _, pod string, cpus float64) error {
	return with(n, n.quotas, pod, func(q *Quota) { q.CPUs = cpus })
}

func (n *node) Quota(_ context.Context, _, pod string) (is Quota, err error) {
	err = with(n, n.quotas, pod, func(q *Quota) { is = *q })
	return is, err
}

// faulty is an API server in memory with one instance, "web", that runs on node "worker".
func faulty(t *testing.T) (*control, *node) {
	t.Helper()
	c, n := newControl(t), newNode()
	c.env.driver.config.Containers = n
	c.env.layout.labels[labelOwner] = "somebody"
	for _, name := range []string{"worker", "worker2"} {
		must[*corev1.Node](t)(c.client.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}))
	}
	c.makes("web", "v1", runs("1"), readyPod, on("worker"))
	c.eventually("the pod", func() bool { return len(c.env.view.tracker.pods) == 1 })
	return c, n
}

func on(node string) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Spec.NodeName = node } }

func (c *control) inject(f drivers.Fault) drivers.Injection {
	c.Helper()
	return must[drivers.Injection](c.T)(c.env.Inject(c.Context(), f))
}

// proves demands what is said of a fault.
func (c *control) proves(i drivers.Injection, there bool, want string) {
	c.Helper()
	seen, is, err := i.Proof(c.Context())
	if err != nil || is != there || !strings.Contains(seen, want) {
		c.Errorf("proof: %q, there %t, %v; want %q, there %t", seen, is, err, want, there)
	}
}

// changes a pod as the API server has it, and waits until that was seen.
func (c *control) changes(name string, change func(*corev1.Pod)) {
	c.Helper()
	api := c.client.CoreV1().Pods(testSpace)
	p := must[*corev1.Pod](c.T)(api.Get(c.Context(), name, metav1.GetOptions{}))
	change(p)
	p.Labels["changed"] = fmt.Sprint(len(c.client.Actions()))
	must[*corev1.Pod](c.T)(api.Update(c.Context(), p, metav1.UpdateOptions{}))
	c.eventually("the change of "+name, func() bool { return c.env.view.past.pods[p.UID].Labels["changed"] == p.Labels["changed"] })
}

func (c *control) mark(pod string) string {
	c.Helper()
	return must[*corev1.Pod](c.T)(c.client.CoreV1().Pods(testSpace).Get(c.Context(), pod, metav1.GetOptions{})).Annotations[annotationFault]
}

func TestKilledContainerIsProvenByItsKubelet(t *testing.T) {
	c, _ := faulty(t)
	i := c.inject(drivers.Fault{Kind: drivers.FaultKill, Instance: "web"})
	c.proves(i, false, "does not say yet")
	c.changes("web", crashed("1"))
	c.proves(i, false, "status 3") // it ended by itself at the same moment
	c.changes("web", func(p *corev1.Pod) {
		p.Status.ContainerStatuses[0].LastTerminationState.Terminated.ExitCode = statusKilled
	})
	c.changes("web", runs("2")) // what its status remembers is soon another end
	c.proves(i, true, "status 137")
	if err := i.Heal(t.Context()); err != nil {
		t.Errorf("heal what does not last: %v", err)
	}
}

func TestKillWithoutNodesDeletesWithoutGrace(t *testing.T) {
	c, _ := faulty(t)
	c.env.driver.config.Containers = nil
	var grace *int64
	c.client.PrependReactor("delete", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
		grace = a.(clienttesting.DeleteActionImpl).DeleteOptions.GracePeriodSeconds
		return false, nil, nil
	})
	i := c.inject(drivers.Fault{Kind: drivers.FaultKill, Instance: "web"})
	if grace == nil || *grace != 0 {
		t.Errorf("deleted with a grace of %v, want 0", grace)
	}
	c.proves(i, true, "knows pod web no more")
	c.makes("next", "v1", runs("2"), on("worker"))
	c.eventually("the pod", func() bool { return c.env.view.past.pods["uid-next"] != nil })
	for _, kind := range []drivers.FaultKind{drivers.FaultPause, drivers.FaultCPU} {
		c.refuses(drivers.Fault{Kind: kind, Instance: "next", CPUs: 0.1}, drivers.ErrUnsupported, "no API of Kubernetes")
	}
}

func (c *control) refuses(f drivers.Fault, target error, want string) {
	c.Helper()
	i, err := c.env.Inject(c.Context(), f)
	if i != nil || err == nil || target != nil && !errors.Is(err, target) || !strings.Contains(fmt.Sprint(err), want) {
		c.Errorf("%s: got %v, %v; want an error that says %q and wraps %v", f.Kind, i, err, want, target)
	}
}

// A frozen pod is marked for as long as it may be frozen.
func TestFrozenContainerIsMarkedAndThawed(t *testing.T) {
	c, n := faulty(t)
	f := drivers.Fault{Kind: drivers.FaultPause, Instance: "web"}
	i := c.inject(f)
	c.proves(i, true, "frozen true; its processes' states: D")
	c.refuses(f, nil, "there already")
	if c.mark("web") != "pause" {
		t.Error("the pod is not marked: nobody would find it after the lab was killed")
	}
	for range 2 {
		if err := i.Heal(t.Context()); err != nil {
			t.Error(err)
		}
	}
	c.proves(i, false, "frozen false")
	if m := c.mark("web"); m != "" {
		t.Errorf("the pod is still marked: %q", m)
	}
	n.fails = errors.New("no such node")
	c.refuses(f, n.fails, "pause of web")
	n.fails = nil
	i = c.inject(f)
	_ = n.Kill(t.Context(), "worker", "1") // its kubelet has replaced what was frozen
	c.deletes("web")
	if err := i.Heal(t.Context()); err != nil {
		t.Errorf("heal what is gone: %v", err)
	}
}

// A share of the processor is proven by the time that was waited for it, and what was there
// before is put back.
func TestThrottledContainer(t *testing.T) {
	c, n := faulty(t)
	_ = n.Throttle(t.Context(), "worker", "uid-web", 0.5)
	c.refuses(drivers.Fault{Kind: drivers.FaultCPU, Instance: "web"}, nil, "0 of a processor: want at least 0.01")
	c.refuses(drivers.Fault{Kind: drivers.FaultCPU, Instance: "web", CPUs: 0.5}, nil, "no more than 0.5 of a processor anyway")
	i := c.inject(drivers.Fault{Kind: drivers.FaultCPU, Instance: "web", CPUs: 0.1})
	c.proves(i, false, "may use 0.1 of a processor and has waited 0s")
	_ = with(n, n.quotas, "uid-web", func(q *Quota) { q.Throttled += time.Second })
	c.proves(i, true, "has waited 1s")
	if err := i.Heal(t.Context()); err != nil {
		t.Error(err)
	}
	c.proves(i, false, "may use 0.5")
	if c.mark("web") != "" {
		t.Error("the pod is still marked")
	}
}

// Close heals what is there still before it removes anything: what is frozen cannot end.
func TestCloseHeals(t *testing.T) {
	c, n := faulty(t)
	i := c.inject(drivers.Fault{Kind: drivers.FaultPause, Instance: "web"})
	c.client.PrependReactor("delete", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		if is, _ := n.Freezer(t.Context(), "worker", "1"); is.Frozen {
			t.Error("the pod is deleted while it is frozen")
		}
		return false, nil, nil
	})
	if err := c.env.Close(t.Context()); err != nil {
		t.Errorf("close: %v", err)
	}
	if is, _ := n.Freezer(t.Context(), "worker", "1"); is.Frozen {
		t.Error("it is still frozen")
	}
	if err := i.Heal(t.Context()); err != nil {
		t.Errorf("heal after Close: %v", err)
	}
	c.refuses(drivers.Fault{Kind: drivers.FaultPause, Instance: "web"}, drivers.ErrClosed, "closed")
}

// Sweep thaws what a killed lab has frozen, before the pod is deleted.
func TestRemovalReleasesWhatIsMarked(t *testing.T) {
	n := newNode()
	_, _ = n.Freeze(t.Context(), "worker", "1"), n.Throttle(t.Context(), "worker", "uid-web", 0.1)
	frozen := pod("web", runs("1"), on("worker"))
	frozen.Namespace, frozen.Labels, frozen.Annotations[annotationFault] = "there", map[string]string{"x": "y"}, "pause"
	client := fake.NewClientset(frozen)
	client.PrependReactor("delete", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		freezer, _ := n.Freezer(t.Context(), "worker", "1")
		quota, _ := n.Quota(t.Context(), "worker", "uid-web")
		if freezer.Frozen || quota.CPUs != 0 {
			t.Errorf("the pod is deleted while it is %+v %+v", freezer, quota)
		}
		return false, nil, nil
	})
	if err := (removal{&cluster{client: client}, "there", "x=y", n}).pods(t.Context(), "x=y", nil); err != nil {
		t.Error(err)
	}
}

// evictions plays the API for evictions: refused as often as told, then the pod is a
// disruption target.
func (c *control) evicts(refusals int) {
	c.client.PrependReactor("create", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
		if a.GetSubresource() != "eviction" {
			return false, nil, nil
		}
		if refusals--; refusals >= 0 {
			return true, nil, apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", 0)
		}
		e := a.(clienttesting.CreateAction).GetObject().(*policyv1.Eviction)
		pods := corev1.SchemeGroupVersion.WithResource("pods")
		o, err := c.client.Tracker().Get(pods, e.Namespace, e.Name)
		if err != nil {
			return true, nil, err
		}
		p := o.(*corev1.Pod).DeepCopy()
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: reasonEvicted})
		p.DeletionTimestamp = &metav1.Time{Time: time.Now()}
		return true, nil, c.client.Tracker().Update(pods, p, e.Namespace)
	})
}

func (c *control) disrupted(name string) {
	c.Helper()
	c.eventually(name+" to be a disruption target", func() bool {
		p := c.env.view.past.pods[pod(name).UID]
		return p != nil && p.DeletionTimestamp != nil
	})
}

// An eviction that a disruption budget refuses is asked for again, and the refusals are told.
func TestEvictionWaitsForTheBudget(t *testing.T) {
	c, _ := faulty(t)
	c.evicts(2)
	i := c.inject(drivers.Fault{Kind: drivers.FaultEvict, Instance: "web"})
	c.disrupted("web")
	c.deletes("web") // the proof outlives the pod
	c.eventually("it to be gone", func() bool { return len(c.env.view.tracker.pods) == 0 })
	c.proves(i, true, "pod web is a disruption target: EvictionByEvictionAPI; refused 2 times before: Cannot evict pod")

	c.makes("other", "v1", runs("2"), on("worker"))
	c.eventually("the pod", func() bool { return len(c.env.view.tracker.pods) == 1 })
	c.evicts(1 << 30)
	ctx, cancel := context.WithTimeout(t.Context(), 2*faultPoll)
	defer cancel()
	if _, err := c.env.Inject(ctx, drivers.Fault{Kind: drivers.FaultEvict, Instance: "other"}); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "disruption budget") {
		t.Errorf("got %v, want the end of the context and who has refused", err)
	}
}

func (c *control) cordoned(node string) (mark string, unschedulable bool) {
	c.Helper()
	n := must[*corev1.Node](c.T)(c.client.CoreV1().Nodes().Get(c.Context(), node, metav1.GetOptions{}))
	return n.Annotations[annotationCordoned], n.Spec.Unschedulable
}

// A drain evicts what is the run's on the node, again and again where a budget refuses, and
// leaves the pods of others alone; the end of it uncordons the node.
func TestDrainOfANodeOfOthers(t *testing.T) {
	c, _ := faulty(t)
	c.refuses(drivers.Fault{Kind: drivers.FaultNodeDrain, Instance: "web"}, drivers.ErrUnsupported, "none that may be drained")
	c.env.driver.config.Drain = []string{"worker"}
	others := pod("others", on("worker"))
	others.Namespace = "others"
	must[*corev1.Pod](t)(c.client.CoreV1().Pods("others").Create(t.Context(), others, metav1.CreateOptions{}))
	c.evicts(3)
	i := c.inject(drivers.Fault{Kind: drivers.FaultNodeDrain, Instance: "web"})
	if mark, is := c.cordoned("worker"); !is || !strings.Contains(mark, `"run":"run"`) {
		t.Errorf("the node is unschedulable: %t, marked %q", is, mark)
	}
	c.disrupted("web")
	c.proves(i, true, "node worker is unschedulable: true; 1 pods evicted, 0 to go; refused 3 times before")
	if o := must[*corev1.Pod](t)(c.client.CoreV1().Pods("others").Get(t.Context(), "others", metav1.GetOptions{})); o.DeletionTimestamp != nil {
		t.Error("somebody else's pod was evicted")
	}
	if err := c.env.life.HealAll(t.Context()); err != nil { // as Close does
		t.Error(err)
	}
	if mark, is := c.cordoned("worker"); is || mark != "" {
		t.Errorf("after the end the node is unschedulable: %t, marked %q", is, mark)
	}
	c.proves(i, false, "unschedulable: false")
}

// Two instances of one node are two faults and one drain, which the last of them ends.
func TestDrainOfANodeWithTwoInstances(t *testing.T) {
	c, _ := faulty(t)
	c.env.driver.config.Drain = []string{"worker"}
	c.makes("web2", "v1", runs("2"), on("worker"))
	c.eventually("the pods", func() bool { return len(c.env.view.tracker.pods) == 2 })
	c.evicts(0)
	first := c.inject(drivers.Fault{Kind: drivers.FaultNodeDrain, Instance: "web"})
	second := c.inject(drivers.Fault{Kind: drivers.FaultNodeDrain, Instance: "web2"})
	c.disrupted("web")
	c.disrupted("web2")
	c.proves(second, true, "2 pods evicted, 0 to go")
	for _, left := range []struct {
		fault  drivers.Injection
		drains bool
	}{{second, true}, {second, true}, {first, false}} {
		if err := left.fault.Heal(t.Context()); err != nil {
			t.Error(err)
		}
		if _, is := c.cordoned("worker"); is != left.drains {
			t.Errorf("the node is cordoned: %t, want %t", is, left.drains)
		}
	}
	c.proves(c.inject(drivers.Fault{Kind: drivers.FaultNodeDrain, Instance: "web"}), false, "unschedulable: true; 0 pods evicted") // again, from the beginning
}

// In a cluster of the lab's own a drain takes all but daemon sets and what is the node's own,
// and nothing at all where another run is.
func TestDrainOfANodeOfTheLab(t *testing.T) {
	c, _ := faulty(t)
	c.env.driver.config.Drain, c.env.driver.config.Own = []string{"worker"}, true
	add := func(name, namespace string, changes ...func(*corev1.Pod)) {
		p := pod(name, append(changes, on("worker"))...)
		p.Namespace = namespace
		must[*corev1.Pod](t)(c.client.CoreV1().Pods(namespace).Create(t.Context(), p, metav1.CreateOptions{}))
	}
	yes := true
	add("dns", "kube-system")
	add("proxy", "kube-system", func(p *corev1.Pod) {
		p.OwnerReferences = []metav1.OwnerReference{{Kind: "DaemonSet", Name: "proxy", Controller: &yes}}
	})
	add("etcd", "kube-system", func(p *corev1.Pod) { p.Annotations[corev1.MirrorPodAnnotationKey] = "x" })
	got := must[[]*corev1.Pod](t)(c.env.evictable(t.Context(), "worker"))
	var names []string
	for _, p := range got {
		names = append(names, p.Name)
	}
	slices.Sort(names)
	if fmt.Sprint(names) != "[dns web]" {
		t.Errorf("it would evict %v, want dns and web", names)
	}
	space := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "lab-other", Labels: map[string]string{labelDeployment: "other"}}}
	must[*corev1.Namespace](t)(c.client.CoreV1().Namespaces().Create(t.Context(), space, metav1.CreateOptions{}))
	add("theirs", "lab-other")
	c.refuses(drivers.Fault{Kind: drivers.FaultNodeDrain, Instance: "web"}, nil, "pod lab-other/theirs of another run")
	if mark, is := c.cordoned("worker"); is || mark != "" {
		t.Error("the node was cordoned all the same")
	}
}

// A node that somebody has cordoned is left as it is, and what could not be begun is undone.
func TestDrainThatFails(t *testing.T) {
	c, _ := faulty(t)
	c.env.driver.config.Drain = []string{"worker", "worker2"}
	n := must[*corev1.Node](t)(c.client.CoreV1().Nodes().Get(t.Context(), "worker", metav1.GetOptions{}))
	n.Spec.Unschedulable = true
	must[*corev1.Node](t)(c.client.CoreV1().Nodes().Update(t.Context(), n, metav1.UpdateOptions{}))
	c.refuses(drivers.Fault{Kind: drivers.FaultNodeDrain, Instance: "web"}, nil, "cordoned already")
	if _, is := c.cordoned("worker"); !is {
		t.Error("somebody else's cordon was taken back")
	}
	c.makes("web2", "v1", runs("2"), on("worker2"))
	c.eventually("the pod", func() bool { return len(c.env.view.tracker.pods) == 2 })
	forbidden := errors.New("forbidden")
	c.client.PrependReactor("create", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
		return a.GetSubresource() == "eviction", nil, forbidden
	})
	c.refuses(drivers.Fault{Kind: drivers.FaultNodeDrain, Instance: "web2"}, forbidden, "node-drain of web2: evict pod")
	if mark, is := c.cordoned("worker2"); is || mark != "" {
		t.Error("the node is left cordoned")
	}
}

// TestSweepUncordons: what a lab has cordoned that has certainly ended, or the named run, and
// nothing else.
func TestSweepUncordons(t *testing.T) {
	self := must[owner.Owner](t)(owner.Self())
	parts := strings.Split(self.String(), "-")
	dead := strings.Join(append([]string{parts[0], "1"}, parts[2:]...), "-")
	node := func(name, mark string) *corev1.Node {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.NodeSpec{Unschedulable: true}}
		if mark != "" {
			n.Annotations = map[string]string{annotationCordoned: mark}
		}
		return n
	}
	by := func(run, owner string) string {
		return fmt.Sprintf(`{"run":%q,"owner":%q,"deployment":"1"}`, run, owner)
	}
	for runID, want := range map[string]string{
		"":     "[cordon of node dead (run one)]",
		"two":  "[cordon of node living (run two)]",
		"nope": "[]",
	} {
		client := fake.NewClientset(node("dead", by("one", dead)), node("living", by("two", self.String())), node("somebody", ""), node("garbled", "{"))
		removed, err := uncordon(t.Context(), &cluster{client: client}, runID)
		if err == nil || !strings.Contains(err.Error(), "node garbled") {
			t.Errorf("run %q: got %v, want an error about the mark that cannot be read", runID, err)
		}
		if fmt.Sprint(removed) != want {
			t.Errorf("run %q: %v, want %s", runID, removed, want)
		}
		left := 0
		for _, n := range must[*corev1.NodeList](t)(client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})).Items {
			if n.Spec.Unschedulable {
				left++
			}
		}
		if want := 4 - len(removed); left != want {
			t.Errorf("run %q: %d nodes are cordoned, want %d", runID, left, want)
		}
	}
}

// TestStopKeepsADependencyAway until it is healed.
func TestStopKeepsADependencyAway(t *testing.T) {
	c, n := faulty(t)
	s := drivers.Service{Name: "upstream", Ports: []string{"data"}}
	c.env.stack.Dependencies, c.env.layout.names["upstream"] = []drivers.Service{s}, "upstream"
	api := c.client.AppsV1().Deployments(testSpace)
	one := int32(1)
	must[*appsv1.Deployment](t)(api.Create(t.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "upstream", Namespace: testSpace}, Spec: appsv1.DeploymentSpec{Replicas: &one},
	}, metav1.CreateOptions{}))
	p := pod("upstream-1", runs("5"), on("worker2"))
	p.Namespace = testSpace
	must[*corev1.Pod](t)(c.client.CoreV1().Pods(testSpace).Create(t.Context(), p, metav1.CreateOptions{}))
	c.env.view.mu.Lock()
	c.env.view.paths.dependencySeen("upstream", p)
	c.env.view.mu.Unlock()
	var killed []string
	n.killed = func(container string) { killed = append(killed, container) }
	scaled := make(chan int32, 4)
	c.client.PrependReactor("update", "deployments", func(a clienttesting.Action) (bool, runtime.Object, error) {
		if a.GetSubresource() != "scale" {
			return false, nil, nil
		}
		scaled <- scaleIn(a)
		return true, nil, nil
	})
	c.refuses(drivers.Fault{Kind: drivers.FaultStop, Service: "nobody"}, nil, "no such dependency")
	i := c.inject(drivers.Fault{Kind: drivers.FaultStop, Service: "upstream"})
	if fmt.Sprint(killed) != "[5]" || <-scaled != 0 {
		t.Errorf("killed %v, want its container, and no replicas", killed)
	}
	c.proves(i, true, "0 endpoints")
	c.refuses(drivers.Fault{Kind: drivers.FaultStop, Service: "upstream"}, nil, "there already")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- i.Heal(ctx) }()
	if got := <-scaled; got != 1 {
		t.Errorf("healed with %d replicas, want 1", got)
	}
	cancel()
	if err := <-done; err == nil { // nobody plays the pod that serves
		t.Error("healed, though nothing serves")
	}
}

// scaleIn is how many replicas an update of the scale subresource asks for.
func scaleIn(a clienttesting.Action) int32 {
	return a.(clienttesting.UpdateAction).GetObject().(*autoscalingv1.Scale).Spec.Replicas
}

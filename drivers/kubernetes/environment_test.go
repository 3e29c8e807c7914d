package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/apimachinery/pkg/watch"
	applycore "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/rollout-lab/rollout-lab/drivers"
)

const (
	testLimit = 10 * time.Second // waited for only when something is broken
	testSpace = "lab"
)

// control is an API server in memory without any controller: the test plays them.
type control struct {
	*testing.T
	client *fake.Clientset
	env    *environment
}

func newControl(t *testing.T) *control {
	t.Helper()
	client := fake.NewClientset()
	watched := make(chan struct{}, 16)
	client.PrependWatchReactor("*", func(a clienttesting.Action) (bool, watch.Interface, error) {
		w, err := client.Tracker().Watch(a.GetResource(), a.GetNamespace())
		watched <- struct{}{}
		return true, w, err
	})
	refuse := func(string, string) (httpstream.Connection, error) { return nil, errors.New("no pods here") }
	stack := drivers.Stack{
		RunID: "run", Name: "test", Replicas: 1, Revision: "v1", Rolling: drivers.Rolling{MaxSurge: 1},
		Subject: drivers.Service{Name: "proxy", Ports: []string{"data"}, StopGrace: time.Second},
	}
	l := layout{namespace: testSpace, rolling: stack.Rolling, names: map[string]string{"proxy": "proxy"},
		labels: map[string]string{labelRun: "run", labelDeployment: "id"}}
	env, err := newEnvironment(New(Config{Image: "image", Namespace: testSpace}), &cluster{client: client, dial: refuse}, stack, l)
	if err != nil {
		t.Fatal(err)
	}
	c := &control{t, client, env}
	if err := env.view.follow(t.Context(), client, env.subject.(*generated).scope()); err != nil {
		t.Fatal(err)
	}
	for range 4 { // an object that is made between list and watch would be missed by this server
		<-watched
	}
	t.Cleanup(env.view.close)
	return c
}

// begin makes one change in the background.
func (c *control) begin(ctx context.Context, change func(context.Context) error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- change(ctx) }()
	return done
}

// eventually waits for the environment to be told.
func (c *control) eventually(what string, is func() bool) {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), testLimit)
	defer cancel()
	if _, err := c.env.view.wait(ctx, func() string {
		if is() {
			return ""
		}
		return what
	}); err != nil {
		c.Fatalf("waited in vain for %s", what)
	}
}

func (c *control) applied(is func(*appsv1.Deployment) bool) {
	c.Helper()
	c.eventually("the Deployment to be applied", func() bool { return c.env.view.deployment != nil && is(c.env.view.deployment) })
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// says sets what the deployment controller says about n replicas.
func (c *control) says(updated, available int32) {
	c.Helper()
	api := c.client.AppsV1().Deployments(testSpace)
	d := must[*appsv1.Deployment](c.T)(api.Get(c.Context(), "proxy", metav1.GetOptions{}))
	d.Status = appsv1.DeploymentStatus{ObservedGeneration: d.Generation, Replicas: updated, UpdatedReplicas: updated, AvailableReplicas: available}
	must[*appsv1.Deployment](c.T)(api.UpdateStatus(c.Context(), d, metav1.UpdateOptions{}))
}

func (c *control) makes(name, revision string, changes ...func(*corev1.Pod)) {
	c.Helper()
	p := pod(name, changes...)
	p.Namespace, p.Labels, p.Annotations[annotationRevision] = testSpace, map[string]string{labelService: "proxy", labelDeployment: "id"}, revision
	must[*corev1.Pod](c.T)(c.client.CoreV1().Pods(testSpace).Create(c.Context(), p, metav1.CreateOptions{}))
}

func (c *control) deletes(name string) {
	c.Helper()
	if err := c.client.CoreV1().Pods(testSpace).Delete(c.Context(), name, metav1.DeleteOptions{}); err != nil {
		c.Fatal(err)
	}
}

func (c *control) routes(pods ...string) {
	c.Helper()
	s := endpoints("slice", pods...)
	s.Namespace = testSpace
	api := c.client.DiscoveryV1().EndpointSlices(testSpace)
	if _, err := api.Update(c.Context(), s, metav1.UpdateOptions{}); err == nil {
		return
	}
	must[*discoveryv1.EndpointSlice](c.T)(api.Create(c.Context(), s, metav1.CreateOptions{}))
}

// waits demands that a change is waiting for something.
func (c *control) waits(done <-chan error, generation int64, want string) {
	c.Helper()
	c.eventually("the change to wait for "+want, func() bool { return strings.Contains(c.env.view.missing(generation), want) })
	select {
	case err := <-done:
		c.Fatalf("it ended with %v while it had to wait for %s", err, want)
	default:
	}
}

func TestRolloutWaitsForEverything(t *testing.T) {
	c := newControl(t)
	ctx, cancel := context.WithTimeout(t.Context(), testLimit)
	defer cancel()
	c.makes("old", "v1", runs("1"), readyPod)
	c.routes("+old")
	done := c.begin(ctx, func(ctx context.Context) error { return c.env.Rollout(ctx, "v2") })
	c.applied(func(d *appsv1.Deployment) bool { return d.Spec.Template.Annotations[annotationRevision] == "v2" })
	c.waits(done, 0, "1 ready instances of revision v2, there are 0")
	c.makes("new", "v2", runs("2"), readyPod)
	c.routes("+old", "+new")
	c.waits(done, 0, "old instance old to be replaced")
	c.deletes("old")
	c.routes("+new")
	c.waits(done, 0, "the Deployment to say so")
	c.says(1, 0)
	c.waits(done, 0, "0 available")
	c.says(1, 1)
	if err := <-done; err != nil {
		t.Errorf("rollout: %v", err)
	}
}

func TestCancelledRolloutIsPausedAndExplained(t *testing.T) {
	c := newControl(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := c.begin(ctx, func(ctx context.Context) error { return c.env.Rollout(ctx, "v2") })
	c.applied(func(d *appsv1.Deployment) bool { return !d.Spec.Paused })
	c.makes("stuck", "v2", crashed("1"))
	c.eventually("the pod", func() bool { return len(c.env.view.tracker.pods) == 1 })
	cancel()
	err := <-done
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	for _, want := range []string{"rollout to v2", "waited for 1 ready instances of revision v2", "pod stuck", "CrashLoopBackOff", "ended: exit status 3", "last output: fake logs"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q: %v", want, err)
		}
	}
	c.applied(func(d *appsv1.Deployment) bool { return d.Spec.Paused })

	// Whatever comes next resumes it.
	ctx, cancel = context.WithTimeout(t.Context(), testLimit)
	defer cancel()
	done = c.begin(ctx, func(ctx context.Context) error { return c.env.Scale(ctx, 0) })
	c.applied(func(d *appsv1.Deployment) bool { return !d.Spec.Paused && *d.Spec.Replicas == 0 })
	c.deletes("stuck")
	c.says(0, 0)
	if err := <-done; err != nil {
		t.Errorf("scale to 0: %v", err)
	}
}

func TestOneChangeAtATime(t *testing.T) {
	c := newControl(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := c.begin(ctx, c.env.Restart)
	c.applied(func(d *appsv1.Deployment) bool { return d.Spec.Template.Annotations[annotationRestart] != "" })
	if err := c.env.Scale(t.Context(), 2); !errors.Is(err, drivers.ErrBusy) {
		t.Errorf("scale while a restart is under way: got %v, want %v", err, drivers.ErrBusy)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("restart: got %v, want context.Canceled", err)
	}
}

func TestCloseEndsAChange(t *testing.T) {
	c := newControl(t)
	done := c.begin(t.Context(), c.env.Restart)
	c.applied(func(d *appsv1.Deployment) bool { return d.Spec.Template.Annotations[annotationRestart] != "" })
	if err := c.env.Close(t.Context()); err != nil {
		t.Errorf("close: %v", err)
	}
	if err := <-done; !errors.Is(err, drivers.ErrClosed) {
		t.Errorf("a restart that was under way: got %v, want ErrClosed", err)
	}
	left := must[*appsv1.DeploymentList](t)(c.client.AppsV1().Deployments(testSpace).List(t.Context(), metav1.ListOptions{}))
	if len(left.Items) > 0 {
		t.Errorf("after Close there is still %s", left.Items[0].Name)
	}
	for _, a := range c.client.Actions() {
		if d, ok := a.(clienttesting.DeleteActionImpl); ok && a.Matches("delete", "deployments") {
			if p := d.DeleteOptions.PropagationPolicy; p == nil || *p != metav1.DeletePropagationOrphan {
				t.Errorf("the deployment takes its pods along, with their own grace: %v", p)
			}
		}
	}
}

// When the context of Close ends, instances that have a long grace lose it.
func TestCloseByForce(t *testing.T) {
	c := newControl(t)
	c.makes("slow", "v1", runs("1"))
	killed := make(kills, 10)
	c.env.driver.config.Containers = killed.containers()
	asked := make(chan int64, 10)
	c.client.PrependReactor("delete", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
		grace := int64(-1)
		if g := a.(clienttesting.DeleteActionImpl).DeleteOptions.GracePeriodSeconds; g != nil {
			grace = *g
		}
		asked <- grace
		return grace < 0, nil, nil // with its grace it does not go
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := c.begin(ctx, c.env.Close)
	if got := <-asked; got != -1 {
		t.Errorf("first asked to go with a grace of %d s, want its own", got)
	}
	cancel()
	if got := <-asked; got != noGrace {
		t.Errorf("then asked with a grace of %d s, want %d", got, noGrace)
	}
	if err := <-done; err != nil {
		t.Errorf("close: %v", err)
	}
	select {
	case got := <-killed:
		if got != "1" {
			t.Errorf("container %s was killed, want 1", got)
		}
	default:
		t.Error("the container that has begun its grace was not killed: its kubelet lets it have all of it")
	}
}

// kills are the containers that were killed.
type kills chan string

// containers is a node on which they can be.
func (k kills) containers() *node {
	n := newNode()
	n.killed = func(container string) { k <- container }
	return n
}

func TestUnrecoverable(t *testing.T) {
	waits := func(reason string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}}}
		}
	}
	for _, c := range []struct {
		pod  *corev1.Pod
		want bool
	}{
		{nil, false}, {pod("a"), false}, {pod("a", runs("1")), false}, {pod("a", waits("ContainerCreating")), false},
		{pod("a", waits("ImagePullBackOff")), false}, // a registry may come back
		{pod("a", waits("ErrImageNeverPull")), true}, {pod("a", waits("InvalidImageName")), true}, {pod("a", crashed("1")), true},
	} {
		if err := unrecoverable(c.pod); (err != nil) != c.want {
			t.Errorf("%v: got %v, want an error: %t", c.pod, err, c.want)
		}
	}
}

func TestOrphans(t *testing.T) {
	space := func(name string, labels map[string]string) runtime.Object {
		return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	}
	// None of these owners is of this machine, so of none it is certain that it has ended.
	client := fake.NewClientset(
		space("kube-system", nil),
		space("one", map[string]string{labelDeployment: "1", labelRun: "run-1", labelOwner: "1-1-aaaaaaa-aaaaaaa-aaaaaaa"}),
		space("two", map[string]string{labelDeployment: "2", labelRun: "run-2", labelOwner: "who knows"}),
	)
	d := New(Config{})
	for runID, want := range map[string]string{"run-1": "[namespace one (run run-1)]", "": "[]", "run-3": "[]"} {
		got, err := d.orphans(t.Context(), &cluster{client: client}, runID)
		if err != nil || fmt.Sprint(got) != want {
			t.Errorf("left of run %q: %v, %v; want %s", runID, got, err, want)
		}
	}
}

// A port of this machine behind which nobody is any more is not given to a subject, and one
// that dies under the load is reported.
func TestDeadEntry(t *testing.T) {
	c := newControl(t)
	alive, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	c.env.driver.config.NodePorts = map[int32]string{30080: dead.Addr().String(), 30081: alive.Addr().String()}
	s, err := c.env.entry.expose(t.Context(), func(nodePort int32) *applycore.ServiceApplyConfiguration {
		return c.env.layout.service(c.env.stack.Subject, nodePort)
	})
	if err != nil || s.Spec.Ports[0].NodePort != 30081 {
		t.Fatalf("got %+v, %v, want the port that is alive, 30081", s, err)
	}
	if got, want := c.env.URL(), "http://"+alive.Addr().String(); got != want {
		t.Errorf("the load goes to %s, want %s", got, want)
	}
	if err := c.env.entry.check(t.Context()); err != nil {
		t.Errorf("a port that is alive: %v", err)
	}
	alive.Close()
	if err := c.env.Close(t.Context()); err != nil {
		t.Errorf("close: %v", err)
	}
	var kinds []drivers.EventKind
	for e := range c.env.Watch() {
		kinds = append(kinds, e.Kind)
	}
	if len(kinds) != 1 || kinds[0] != drivers.Lost {
		t.Errorf("events %v, want one, that something is lost", kinds)
	}
}

func TestNodeAddress(t *testing.T) {
	node := func(kind corev1.NodeAddressType, at string) corev1.Node {
		return corev1.Node{Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: kind, Address: at}}}}
	}
	if got := nodeAddress([]corev1.Node{node(corev1.NodeInternalIP, "10.0.0.1"), node(corev1.NodeExternalIP, "192.0.2.1")}); got != "192.0.2.1" {
		t.Errorf("got %q, want the external one", got)
	}
	if got := nodeAddress([]corev1.Node{node(corev1.NodeHostName, "n"), node(corev1.NodeInternalIP, "10.0.0.1")}); got != "10.0.0.1" {
		t.Errorf("got %q, want the internal one", got)
	}
}

func TestBlockingComponents(t *testing.T) {
	for body, want := range map[string]string{
		`{"ready":false,"reason":"storage: 10 of 100 records"}`: "storage: 10 of 100 records",
		`{"ready":true,"reason":"ready"}`:                       "",
		`ok`:                                                    "",
	} {
		if got := blockingComponents([]byte(body)); got != want {
			t.Errorf("%s: got %q, want %q", body, got, want)
		}
	}
}

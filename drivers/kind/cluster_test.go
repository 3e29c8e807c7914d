package kind_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kube "k8s.io/client-go/kubernetes"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/drivertest"
	"github.com/rollout-lab/rollout-lab/drivers/kind"
)

// deployed is a stack of the suite's in a real cluster, looked at through its API.
type deployed struct {
	*testing.T
	env    drivers.Env
	client kube.Interface
	space  string
}

func deploy(t *testing.T, d *kind.Driver, mutate ...func(*drivers.Stack)) *deployed {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	c, err := client(ctx, d)
	if err != nil {
		t.Fatal(err)
	}
	stack := drivertest.NewStack(mutate...)
	env, err := d.Deploy(ctx, stack)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := env.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	spaces, err := c.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range spaces.Items {
		if labelled(n.Labels, stack.RunID) {
			return &deployed{t, env, c, n.Name}
		}
	}
	t.Fatalf("no namespace is labelled %s", stack.RunID)
	return nil
}

// within bounds what is waited for, which is only when something is broken.
func (d *deployed) within() (context.Context, context.CancelFunc) {
	return context.WithTimeout(d.Context(), time.Minute)
}

// pods are those of the subject, by name.
func (d *deployed) pods() map[string]corev1.Pod {
	d.Helper()
	instances, err := d.env.Instances(d.Context())
	if err != nil {
		d.Fatal(err)
	}
	out := map[string]corev1.Pod{}
	for _, i := range instances {
		p, err := d.client.CoreV1().Pods(d.space).Get(d.Context(), i.ID, metav1.GetOptions{})
		if err != nil {
			d.Fatal(err)
		}
		out[i.ID] = *p
	}
	return out
}

func (d *deployed) evict(pod string) error {
	return d.client.PolicyV1().Evictions(d.space).Evict(d.Context(), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: pod, Namespace: d.space}})
}

// awaitAllowed waits until the budget allows so many evictions.
func (d *deployed) awaitAllowed(want int32) {
	d.Helper()
	ctx, cancel := d.within()
	defer cancel()
	w, err := d.client.PolicyV1().PodDisruptionBudgets(d.space).Watch(ctx, metav1.ListOptions{})
	if err != nil {
		d.Fatal(err)
	}
	defer w.Stop()
	last := "no budget"
	for e := range w.ResultChan() { // begins with what is there
		if b, ok := e.Object.(*policyv1.PodDisruptionBudget); ok {
			if b.Status.ObservedGeneration == b.Generation && b.Status.DisruptionsAllowed == want {
				return
			}
			last = fmt.Sprintf("%+v", b.Status)
		}
	}
	d.Fatalf("waited for the budget to allow %d evictions: %s", want, last)
}

func setReady(t *testing.T, i drivers.Instance, ready bool) {
	t.Helper()
	resp, err := http.Post(fmt.Sprintf("http://%s/set?ready=%t", i.Ports["health"], ready), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("tell %s: %s", i.ID, resp.Status)
	}
}

// TestDisruptionBudget: the API server refuses to evict more instances than the rolling
// bounds leave out.
func TestDisruptionBudget(t *testing.T) {
	beside(t)
	d := deploy(t, newDriver(t), func(s *drivers.Stack) { s.Rolling = drivers.Rolling{MaxSurge: 1, MaxUnavailable: 1} })
	d.awaitAllowed(1)
	instances, err := d.env.Instances(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	setReady(t, instances[0], false)
	d.awaitAllowed(0)
	if err := d.evict(instances[1].ID); !apierrors.IsTooManyRequests(err) {
		t.Errorf("evict the only instance that is ready: got %v, want it refused", err)
	}
	if p := d.pods()[instances[1].ID]; p.DeletionTimestamp != nil {
		t.Errorf("pod %s is terminating", p.Name)
	}
	setReady(t, instances[0], true)
	d.awaitAllowed(1)
	if err := d.evict(instances[1].ID); err != nil {
		t.Errorf("evict one of two that are ready: %v", err)
	}
}

// ownImages begin the names of node images whose pod network is the lab's.
var ownImages = []string{"rollout-lab/kindnode:", "kindest/node:v1.34.4-lab"}

// TestGoneInstanceIsUnreachable: what is sent to a pod that is gone is refused at once and
// does not follow the way out of the machine. It is the lab's own node image that sees to
// this.
func TestGoneInstanceIsUnreachable(t *testing.T) {
	beside(t)
	goneInstanceIsUnreachable(t, newDriver(t), 1)
}

func goneInstanceIsUnreachable(t *testing.T, driver *kind.Driver, nodes int) {
	d := deploy(t, driver)
	list, err := d.client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Items) != nodes {
		t.Fatalf("%d nodes, want %d", len(list.Items), nodes)
	}
	var addresses []string // of the nodes
	for _, n := range list.Items {
		image := run(t, "docker", "inspect", "--format", "{{.Config.Image}}", n.Name)
		if !slices.ContainsFunc(ownImages, func(own string) bool { return strings.HasPrefix(image, own) }) {
			t.Skipf("node %s is of %s, whose pod network is not the lab's", n.Name, image)
		}
		for _, a := range n.Status.Addresses {
			if a.Type == corev1.NodeInternalIP {
				addresses = append(addresses, a.Address)
			}
		}
	}
	before := d.pods()
	for name, p := range before {
		for _, n := range list.Items {
			if out, err := connect(n.Name, p.Status.PodIP); err != nil {
				t.Fatalf("%s cannot reach the living pod %s, so the test would show nothing: %v: %s", n.Name, name, err, out)
			}
		}
	}
	ctx, cancel := d.within()
	defer cancel()
	if err := d.env.Scale(ctx, 1); err != nil {
		t.Fatal(err)
	}
	after := d.pods()
	if len(before) != 2 || len(after) != 1 {
		t.Fatalf("%d pods, then %d, want 2 and 1", len(before), len(after))
	}
	for name, p := range before {
		if _, lives := after[name]; lives {
			continue
		}
		for _, n := range list.Items {
			began := time.Now()
			out, err := connect(n.Name, p.Status.PodIP)
			t.Logf("%s to %s, which was on %s: %v after %v: %s", n.Name, p.Status.PodIP, p.Spec.NodeName, err, time.Since(began).Round(time.Millisecond), out)
			if err == nil || !strings.Contains(out, "No route to host") {
				t.Errorf("%s to a pod that is gone: %v: %s, want no route to host", n.Name, err, out)
			}
			route, err := exec.Command("docker", "exec", n.Name, "ip", "route", "get", p.Status.PodIP).CombinedOutput()
			if n.Name == p.Spec.NodeName {
				if err == nil || !strings.Contains(string(route), "No route to host") {
					t.Errorf("%s has a route to a pod of its own that is gone: %v: %s", n.Name, err, route)
				}
				continue
			}
			// The other node is where it ends.
			_, via, _ := strings.Cut(string(route), " via ")
			via, _, _ = strings.Cut(via, " ")
			if err != nil || !slices.Contains(addresses, via) {
				t.Errorf("%s sends to a pod of another node by %q, want a node of %v: %v: %s", n.Name, via, addresses, err, route)
			}
		}
	}
}

// connect tries a TCP connection from a node to the first port of a pod. One that gets no
// answer at all ends with the status 124.
func connect(node, pod string) (string, error) {
	out, err := exec.Command("docker", "exec", node, "timeout", "5", "bash", "-c", "exec 3<>/dev/tcp/"+pod+"/8080").CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			out = exit.Stderr
		}
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

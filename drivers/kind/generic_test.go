package kind_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/drivertest"
	"github.com/rollout-lab/rollout-lab/drivers/kubernetes"
)

// commonSpace is a namespace that is somebody else's.
const commonSpace = "not-the-labs"

// generic is the configuration of the driver for any cluster, of which it knows no more
// than a kubeconfig and an image that the nodes have.
var generic = sync.OnceValues(func() (kubernetes.Config, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	path, err := one.driver.Kubeconfig(ctx)
	if err != nil {
		return kubernetes.Config{}, err
	}
	c, err := client(ctx, one.driver)
	if err != nil {
		return kubernetes.Config{}, err
	}
	// The driver of kind gives its program an image, which what it deploys names.
	stack := drivertest.NewStack(func(s *drivers.Stack) { s.Replicas = 1 })
	env, err := one.driver.Deploy(ctx, stack)
	if err != nil {
		return kubernetes.Config{}, err
	}
	pods, err := c.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return kubernetes.Config{}, err
	}
	image := ""
	for _, p := range pods.Items {
		if labelled(p.Labels, stack.RunID) {
			image = p.Spec.Containers[0].Image
		}
	}
	if image == "" {
		return kubernetes.Config{}, fmt.Errorf("no pod is labelled %s", stack.RunID)
	}
	if err := env.Close(ctx); err != nil {
		return kubernetes.Config{}, err
	}
	_, err = c.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: commonSpace}}, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) { // in a cluster that was kept
		err = nil
	}
	return kubernetes.Config{Kubeconfig: path, Image: image}, err
})

func genericConfig(t testing.TB) kubernetes.Config {
	t.Helper()
	newDriver(t)
	config, err := generic()
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// leftInCommon finds objects in the namespace that stays.
func leftInCommon(ctx context.Context, runID string) ([]string, error) {
	c, err := client(ctx, one.driver)
	if err != nil {
		return nil, err
	}
	var out []string
	add := func(kind string, o metav1.ObjectMeta) {
		if labelled(o.Labels, runID) {
			out = append(out, kind+" "+o.Name)
		}
	}
	deployments, err := c.AppsV1().Deployments(commonSpace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for _, o := range deployments.Items {
		add("deployment", o.ObjectMeta)
	}
	sets, err := c.AppsV1().ReplicaSets(commonSpace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for _, o := range sets.Items {
		add("replica set", o.ObjectMeta)
	}
	pods, err := c.CoreV1().Pods(commonSpace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for _, o := range pods.Items {
		add("pod", o.ObjectMeta)
	}
	services, err := c.CoreV1().Services(commonSpace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for _, o := range services.Items {
		add("service", o.ObjectMeta)
	}
	budgets, err := c.PolicyV1().PodDisruptionBudgets(commonSpace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for _, o := range budgets.Items {
		add("budget", o.ObjectMeta)
	}
	return out, nil
}

// TestConformanceOfAnyCluster: the driver for any kubeconfig, in a namespace that was there
// before and stays, reached at the address of a node. What a common namespace cannot change
// is left to TestConformance; here it would take four minutes more. DeployRefuses does not
// hold: a driver with a namespace borrows what is there.
func TestConformanceOfAnyCluster(t *testing.T) {
	mayMakeCluster(t)
	drivertest.Run(t, drivertest.Harness{
		Driver: func(t testing.TB) drivers.Driver {
			config := genericConfig(t)
			config.Namespace = commonSpace
			d := kubernetes.New(config)
			if err := d.Check(t.Context()); err != nil {
				t.Fatal(err)
			}
			return d
		},
		Left:    leftInCommon,
		Timeout: 2 * time.Minute, FailsWithin: 15 * time.Second,
		AlwaysRestarts: true, SurgeExcludesTerminating: true, AsyncRouting: true, TerminatingFallback: true,
	}, "Deploy", "Rollout", "Close", "CloseWithoutGrace", "Sweep", "Apart")
}

// TestAnyClusterWithNamespacesOfItsOwn: without a namespace each deployment has one that
// ends with it.
func TestAnyClusterWithNamespacesOfItsOwn(t *testing.T) {
	mayMakeCluster(t)
	d := kubernetes.New(genericConfig(t))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := d.Check(ctx); err != nil {
		t.Fatal(err)
	}
	stack := drivertest.NewStack()
	env, err := d.Deploy(ctx, stack)
	if err != nil {
		t.Fatal(err)
	}
	defer env.Close(ctx) //nolint:errcheck // the one below is looked at
	c, err := client(ctx, one.driver)
	if err != nil {
		t.Fatal(err)
	}
	nodes, err := c.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var addresses []string
	for _, n := range nodes.Items {
		for _, a := range n.Status.Addresses {
			addresses = append(addresses, a.Address)
		}
	}
	if at := host(t, env.URL()); !slices.Contains(addresses, at) {
		t.Errorf("the load goes to %s, want an address of a node: %v", at, addresses)
	}
	const revision = "another"
	if err := env.Rollout(ctx, revision); err != nil {
		t.Errorf("rollout: %v", err)
	}
	// kube-proxy acts on it a little later than the endpoints say so.
	for tick := time.NewTicker(50 * time.Millisecond); ; {
		answer, err := get(ctx, env.URL()+"/")
		if err == nil && strings.Contains(answer, revision) {
			break
		}
		select {
		case <-tick.C:
			continue
		case <-ctx.Done():
		}
		t.Fatalf("after the rollout the answer is %q, %v", answer, err)
	}
	if was, err := left(ctx, stack.RunID); err != nil || len(was) != 1 {
		t.Errorf("while it lives there are %v, %v, want one namespace", was, err)
	}
	if err := env.Close(ctx); err != nil {
		t.Errorf("close: %v", err)
	}
	if still, err := left(ctx, stack.RunID); err != nil || len(still) != 0 {
		t.Errorf("after Close there are %v, %v", still, err)
	}
}

func get(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

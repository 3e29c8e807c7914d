package kind_test

import (
	"context"
	"fmt"
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
// before and stays, reached at the address of a node.
func TestConformanceOfAnyCluster(t *testing.T) {
	mayMakeCluster(t)
	beside(t)
	lanes(t, harnessOfAnyCluster(), lanesOfAnyCluster)
}

func harnessOfAnyCluster() drivertest.Harness {
	return drivertest.Harness{
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
	}
}

// TestNothingGoesOn is a case of the suite that no other test may run beside: it counts
// goroutines.
func TestNothingGoesOn(t *testing.T) {
	mayMakeCluster(t)
	drivertest.Run(t, harnessOfAnyCluster(), "NothingGoesOn")
}

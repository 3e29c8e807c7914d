package kind_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kube "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/drivertest"
	"github.com/rollout-lab/rollout-lab/drivers/kind"
	"github.com/rollout-lab/rollout-lab/drivers/owner"
)

const targetPackage = "github.com/rollout-lab/rollout-lab/drivers/kind/testdata/target"

const (
	// keepEnv names a cluster to use and to keep, for whoever runs the tests again and again.
	keepEnv = "ROLLOUT_LAB_KIND_CLUSTER"
	// sharedPrefix begins the name of the cluster that the tests share otherwise; the owner
	// follows. It is no name of a lab's own cluster, so that labs which the tests start may
	// use it, see sharedEnv.
	sharedPrefix = "lab-test-"
	sharedEnv    = "ROLLOUT_LAB_KIND_TEST_CLUSTER"
)

// one is the cluster that the tests of this package share, made by the first that needs it
// and removed by TestMain.
var one struct {
	sync.Once
	driver *kind.Driver
	err    error
}

func TestMain(m *testing.M) {
	if os.Getenv(adoptEnv) != "" {
		if err := runAdoptingLab(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	// Where only two may run beside each other, they wait for each other.
	if err := flag.Set("test.parallel", "4"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if imageBuilt {
		if out, err := exec.Command("docker", "image", "rm", imageTag).CombinedOutput(); err != nil {
			fmt.Fprintln(os.Stderr, err, string(out))
			code = 1
		}
	}
	if one.driver != nil {
		if err := one.driver.Close(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// newDriver returns the driver with the common cluster, or skips.
func newDriver(t testing.TB) *kind.Driver {
	t.Helper()
	mayMakeCluster(t)
	one.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		c := config()
		if c.Cluster, c.Keep, one.err = sharedCluster(ctx); one.err != nil {
			return
		}
		d := kind.New(c)
		if one.err = d.Check(ctx); one.err != nil {
			return
		}
		if _, one.err = d.Kubeconfig(ctx); one.err == nil || !errors.Is(one.err, drivers.ErrUnavailable) {
			one.driver = d
		}
	})
	if errors.Is(one.err, drivers.ErrUnavailable) && !required() {
		t.Skip(one.err)
	}
	if one.err != nil {
		t.Fatal(one.err)
	}
	return one.driver
}

// sharedCluster names the cluster that the tests share: the one that somebody keeps for
// them, that of the tests which have started this process, or one that ends with it.
func sharedCluster(ctx context.Context) (name string, keep bool, err error) {
	for _, env := range []string{keepEnv, sharedEnv} {
		if name := os.Getenv(env); name != "" {
			return name, true, nil
		}
	}
	if err := removeOrphans(ctx); err != nil {
		return "", false, err
	}
	self, err := owner.Self()
	if err != nil {
		return "", false, err
	}
	name = sharedPrefix + self.String()
	return name, false, os.Setenv(sharedEnv, name)
}

// removeOrphans removes the shared clusters of tests that were killed.
func removeOrphans(ctx context.Context) error {
	const label = "io.x-k8s.kind.cluster"
	out, err := exec.CommandContext(ctx, "docker", "ps", "--all", "--filter", "label="+label, "--format", `{{.ID}} {{.Label "`+label+`"}}`).Output()
	if err != nil {
		return fmt.Errorf("look for nodes of tests that were killed: %w", err)
	}
	for line := range strings.Lines(string(out)) {
		id, cluster, _ := strings.Cut(strings.TrimSpace(line), " ")
		lab, shared := strings.CutPrefix(cluster, sharedPrefix)
		if by, err := owner.Parse(lab); !shared || err != nil || !by.Dead() {
			continue
		}
		if out, err := exec.CommandContext(ctx, "docker", "rm", "--force", "--volumes", id).CombinedOutput(); err != nil {
			return fmt.Errorf("remove a node of tests that were killed: %w: %s", err, out)
		}
	}
	return nil
}

func config() kind.Config {
	return kind.Config{
		Program: filepath.Join("testdata", "target", "main.go"), Package: targetPackage,
		Progress: func(line string) { fmt.Fprintln(os.Stderr, "kind:", line) },
	}
}

// mayMakeCluster skips a test that makes a cluster unless somebody wants that.
func mayMakeCluster(t testing.TB) {
	t.Helper()
	if !required() && !long {
		t.Skip("ROLLOUT_LAB_REQUIRE does not name kind: this makes a cluster and takes minutes")
	}
}

// required says whether the tests must not be skipped.
func required() bool {
	return slices.Contains(strings.Split(os.Getenv("ROLLOUT_LAB_REQUIRE"), ","), "kind")
}

// client is a way to the common cluster with nothing of the driver's but its address.
func client(ctx context.Context, d *kind.Driver) (kube.Interface, error) {
	path, err := d.Kubeconfig(ctx)
	if err != nil {
		return nil, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		return nil, err
	}
	return kube.NewForConfig(config)
}

// left finds what is left of a run in the common cluster.
func left(ctx context.Context, runID string) ([]string, error) { return leftIn(ctx, one.driver, runID) }

// leftIn finds namespaces by any of their labels, and nodes by any of their annotations.
func leftIn(ctx context.Context, d *kind.Driver, runID string) ([]string, error) {
	c, err := client(ctx, d)
	if err != nil {
		return nil, err
	}
	list, err := c.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	var out []string
	for _, n := range list.Items {
		if labelled(n.Labels, runID) {
			out = append(out, "namespace "+n.Name)
		}
	}
	nodes, err := c.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for _, n := range nodes.Items {
		if strings.Contains(fmt.Sprint(n.Annotations), runID) {
			out = append(out, fmt.Sprintf("node %s, unschedulable: %t", n.Name, n.Spec.Unschedulable))
		}
	}
	return out, nil
}

// labelled says whether any label has that value.
func labelled(labels map[string]string, value string) bool {
	return slices.Contains(slices.Collect(maps.Values(labels)), value)
}

// lanes runs the suite in parts beside each other.
func lanes(t *testing.T, h drivertest.Harness, lanes [][]string) {
	t.Helper()
	for n, cases := range lanes {
		t.Run(fmt.Sprintf("lane %d", n+1), func(t *testing.T) {
			beside(t)
			drivertest.Run(t, h, cases...)
		})
	}
}

func TestConformance(t *testing.T) {
	mayMakeCluster(t)
	beside(t)
	lanes(t, drivertest.Harness{
		Driver: func(t testing.TB) drivers.Driver { return newDriver(t) },
		Shared: true,
		Left:   left, Foreign: somebodysNamespace,
		Timeout: 2 * time.Minute, FailsWithin: 15 * time.Second,
		AlwaysRestarts: true, SurgeExcludesTerminating: true, AsyncRouting: true, TerminatingFallback: true,
		SomebodyElses: func(t testing.TB, s *drivers.Service) {
			image, err := targetImage()
			if err != nil {
				t.Fatal(err)
			}
			s.Image = image
		},
	}, lanesOfKind)
}

// somebodysNamespace makes a namespace with labels like the lab's, of an owner of whom
// nothing is certain.
func somebodysNamespace(t testing.TB) (untouched func(context.Context) error) {
	t.Helper()
	c, err := client(t.Context(), newDriver(t))
	if err != nil {
		t.Fatal(err)
	}
	api := c.CoreV1().Namespaces()
	made, err := api.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "lab-somebody-", Labels: map[string]string{
		"rollout-lab/run": "somebody", "rollout-lab/deployment": "somebody", "rollout-lab/owner": "somebody",
	}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := api.Delete(context.Background(), made.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	return func(ctx context.Context) error {
		is, err := api.Get(ctx, made.Name, metav1.GetOptions{})
		if err == nil && (is.UID != made.UID || is.DeletionTimestamp != nil || !maps.Equal(is.Labels, made.Labels)) {
			err = fmt.Errorf("namespace %s was changed: %+v", made.Name, is)
		}
		return err
	}
}

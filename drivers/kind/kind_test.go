package kind_test

import (
	"context"
	"errors"
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

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kube "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/drivertest"
	"github.com/rollout-lab/rollout-lab/drivers/kind"
)

const targetPackage = "github.com/rollout-lab/rollout-lab/drivers/kind/testdata/target"

// keepEnv names a cluster to use and to keep, for whoever runs the tests again and again.
const keepEnv = "ROLLOUT_LAB_KIND_CLUSTER"

// one is the cluster that all tests of this package use.
var one struct {
	sync.Once
	driver *kind.Driver
	err    error
}

func TestMain(m *testing.M) {
	if os.Getenv(labEnv) != "" {
		if err := runLab(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
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
		d := kind.New(config())
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		if one.err = d.Check(ctx); one.err != nil {
			return
		}
		if _, one.err = d.Kubeconfig(ctx); one.err == nil || !errors.Is(one.err, drivers.ErrUnavailable) {
			one.driver = d
		}
	})
	if one.err != nil {
		t.Fatal(one.err)
	}
	return one.driver
}

func config() kind.Config {
	return kind.Config{
		Cluster: os.Getenv(keepEnv), Keep: os.Getenv(keepEnv) != "",
		Program: filepath.Join("testdata", "target", "main.go"), Package: targetPackage,
		Progress: func(line string) { fmt.Fprintln(os.Stderr, "kind:", line) },
	}
}

// mayMakeCluster skips a test that makes a cluster unless somebody wants that.
func mayMakeCluster(t testing.TB) {
	t.Helper()
	if !required() {
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

// left finds namespaces by any of their labels.
func left(ctx context.Context, runID string) ([]string, error) {
	c, err := client(ctx, one.driver)
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
	return out, nil
}

// labelled says whether any label has that value.
func labelled(labels map[string]string, value string) bool {
	return slices.Contains(slices.Collect(maps.Values(labels)), value)
}

func TestConformance(t *testing.T) {
	drivertest.Run(t, drivertest.Harness{
		Driver:  func(t testing.TB) drivers.Driver { return newDriver(t) },
		Left:    left,
		Timeout: 2 * time.Minute, FailsWithin: 15 * time.Second,
		AlwaysRestarts: true, SurgeExcludesTerminating: true, AsyncRouting: true, TerminatingFallback: true,
		SomebodyElses: func(t testing.TB, s *drivers.Service) {
			image, err := targetImage()
			if err != nil {
				t.Fatal(err)
			}
			s.Image = image
		},
	})
}

//go:build e2e

package kind_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/drivertest"
	"github.com/rollout-lab/rollout-lab/drivers/kind"
)

// What is here makes clusters of its own, or repeats at length what the other tests show
// once: minutes each.

// haveEngine skips a test where there is no engine to make a cluster in.
func haveEngine(t *testing.T) {
	t.Helper()
	err := kind.New(config()).Check(t.Context())
	if errors.Is(err, drivers.ErrUnavailable) && !required() {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestGoneInstanceIsUnreachableOnTwoNodes: also from a node that the instance was not on.
func TestGoneInstanceIsUnreachableOnTwoNodes(t *testing.T) {
	haveEngine(t)
	c := config()
	c.Cluster, c.Workers = "rollout-lab-test-workers", 1
	d := kind.New(c)
	t.Cleanup(func() {
		if err := d.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	defer refusesOtherNumbers(t, c) // once it is there
	goneInstanceIsUnreachable(t, d, 2)
}

// TestNodeDrain is the part of the suite that takes a cluster with two workers.
func TestNodeDrain(t *testing.T) {
	haveEngine(t)
	c := config()
	c.Cluster, c.Workers = cmp.Or(os.Getenv(keepEnv+"_WORKERS"), "rollout-lab-test-drain"), 2 // one that is there stays
	d := kind.New(c)
	t.Cleanup(func() {
		if err := d.Close(context.Background()); err != nil { // the cluster is that of the test which has made it
			t.Error(err)
		}
	})
	if _, err := d.Kubeconfig(t.Context()); err != nil {
		t.Fatal(err)
	}
	if why := d.Faults(t.Context())[drivers.FaultNodeDrain]; why != nil {
		t.Fatalf("no node can be drained: %v", why)
	}
	drivertest.Run(t, drivertest.Harness{
		Driver: func(testing.TB) drivers.Driver { return d }, Shared: true,
		Left:    func(ctx context.Context, runID string) ([]string, error) { return leftIn(ctx, d, runID) },
		Timeout: 2 * time.Minute, FailsWithin: 15 * time.Second,
		AlwaysRestarts: true, SurgeExcludesTerminating: true, AsyncRouting: true, TerminatingFallback: true,
	}, "NodeDrain", "KilledDrain")
}

// refusesOtherNumbers: a cluster that is there is used as it is or not at all.
func refusesOtherNumbers(t *testing.T, of kind.Config) {
	of.Workers += 2
	d := kind.New(of)
	defer d.Close(context.Background()) //nolint:errcheck // it has opened nothing
	want := fmt.Sprintf("%d workers, not %d", of.Workers-2, of.Workers)
	if _, err := d.Kubeconfig(t.Context()); !errors.Is(err, drivers.ErrUnavailable) || !strings.Contains(fmt.Sprint(err), want) {
		t.Errorf("got %v, want the cluster refused: %s", err, want)
	}
}

// TestClusterThatCannotBeMade: the error says how far a node came, and no node is left.
func TestClusterThatCannotBeMade(t *testing.T) {
	haveEngine(t)
	const image = "rollout-lab-test/broken-node:1"
	imported := exec.Command("docker", "import", "--change", `ENTRYPOINT ["/nothing"]`, "-", image)
	imported.Stdin = bytes.NewReader(make([]byte, 1024)) // an archive of nothing
	if out, err := imported.CombinedOutput(); err != nil {
		t.Fatalf("docker import: %v: %s", err, out)
	}
	t.Cleanup(func() { run(t, "docker", "rmi", image) })
	c := config()
	c.Cluster, c.NodeImage = "rollout-lab-test-broken", image
	d := kind.New(c)
	_, err := d.Kubeconfig(t.Context())
	for _, want := range []string{"make cluster rollout-lab-test-broken", "node rollout-lab-test-broken-control-plane is created, exit code 127"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if err := d.Close(context.Background()); err != nil {
		t.Error(err)
	}
	if slices.Contains(clusters(t), c.Cluster) {
		t.Errorf("cluster %s is left", c.Cluster)
	}
}

// clusters are the clusters that Docker knows of, found without the driver's help.
func clusters(t *testing.T) []string {
	t.Helper()
	out, err := exec.Command("docker", "ps", "--all", "--filter", "label=io.x-k8s.kind.cluster", "--format", `{{.Label "io.x-k8s.kind.cluster"}}`).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(out))
}

// TestClusterOfAKilledLab: the cluster of a lab that was killed is found and removed by the
// next one, and that of a living lab is left alone.
func TestClusterOfAKilledLab(t *testing.T) {
	haveEngine(t)
	before := clusters(t)
	lab := drivertest.Harness{
		Driver:  func(testing.TB) drivers.Driver { return kind.New(config()) },
		Timeout: 4 * time.Minute,
	}.StartLab(t)
	var made string
	for _, name := range clusters(t) {
		if !slices.Contains(before, name) && strings.HasPrefix(name, "rollout-lab-") {
			made = name
		}
	}
	d := kind.New(config())
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	if _, err := d.Sweep(ctx, ""); err != nil {
		t.Errorf("sweep: %v", err)
	}
	if made == "" || !slices.Contains(clusters(t), made) {
		t.Errorf("cluster %q of a living lab was removed", made)
	}
	lab.Kill()
	removed, err := d.Sweep(ctx, "")
	if err != nil {
		t.Errorf("sweep: %v", err)
	}
	if !slices.Contains(removed, "cluster "+made) || slices.Contains(clusters(t), made) {
		t.Errorf("the cluster %s of a killed lab is still there; removed: %v", made, removed)
	}
	if again, err := d.Sweep(ctx, ""); err != nil || slices.Contains(again, "cluster "+made) {
		t.Errorf("a second sweep removed %v, %v", again, err)
	}
}

// TestCancelledCreation: a deployment that is cancelled while its cluster is made leaves
// no node.
func TestCancelledCreation(t *testing.T) {
	haveEngine(t)
	before := clusters(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	d := kind.New(kind.Config{Cluster: "rollout-lab-test-cancelled", Program: config().Program, Package: targetPackage, Progress: func(line string) {
		if strings.HasPrefix(line, "Starting control-plane") {
			cancel()
		}
	}})
	if _, err := d.Deploy(ctx, drivertest.NewStack()); err == nil || ctx.Err() == nil {
		t.Errorf("deployed, %v, though it was cancelled: %v", err, ctx.Err())
	}
	if err := d.Close(context.Background()); err != nil {
		t.Errorf("close: %v", err)
	}
	for _, name := range clusters(t) {
		if !slices.Contains(before, name) && strings.HasPrefix(name, "rollout-lab-") {
			t.Errorf("cluster %s is left", name)
		}
	}
}

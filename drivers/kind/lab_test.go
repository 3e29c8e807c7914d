package kind_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers/drivertest"
	"github.com/rollout-lab/rollout-lab/drivers/kind"
	"github.com/rollout-lab/rollout-lab/drivers/kubernetes"
)

// labEnv makes this test binary a lab that makes a cluster, deploys into it and then
// waits for its end.
const labEnv = "ROLLOUT_LAB_KIND_TEST_LAB"

// labReady is what it says when it has.
const labReady = "deployed"

// foreignEnv, beside labEnv, makes it one that borrows a target instead: the kubeconfig and
// the namespace that it is in.
const foreignEnv = "ROLLOUT_LAB_KIND_TEST_FOREIGN"

// runForeignLab borrows a target, changes everything that can be changed, and is then to be
// killed.
func runForeignLab(kubeconfig, namespace string) error {
	ctx := context.Background()
	env, err := kubernetes.New(kubernetes.Config{Kubeconfig: kubeconfig, Namespace: namespace}).Deploy(ctx, foreignStack(""))
	if err != nil {
		return err
	}
	if err := errors.Join(env.Scale(ctx, 3), env.Rollout(ctx, "v2"), env.Restart(ctx)); err != nil {
		return err
	}
	fmt.Println(labReady)
	select {}
}

func startForeignLab(t *testing.T, config kubernetes.Config) *exec.Cmd {
	t.Helper()
	t.Setenv(foreignEnv, config.Kubeconfig+"\n"+config.Namespace)
	return startLab(t, labReady)
}

func runLab() error {
	if kubeconfig, namespace, foreign := strings.Cut(os.Getenv(foreignEnv), "\n"); foreign {
		return runForeignLab(kubeconfig, namespace)
	}
	d := kind.New(kind.Config{Program: config().Program, Package: targetPackage, Progress: func(line string) { fmt.Println("kind:", line) }})
	if _, err := d.Deploy(context.Background(), drivertest.NewStack()); err != nil {
		return err
	}
	fmt.Println(labReady)
	select {}
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

// startLab starts a lab and waits until it has said a line that begins so.
func startLab(t *testing.T, until string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), labEnv+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	hang := time.AfterFunc(4*time.Minute, func() { cmd.Process.Kill() })
	defer hang.Stop()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), until) {
			return cmd
		}
	}
	t.Fatalf("the lab ended without %q: %v", until, cmd.Wait())
	return nil
}

// TestKilledLab: the cluster of a lab that was killed is found and removed by the next
// one, and that of a living lab is left alone.
func TestKilledLab(t *testing.T) {
	d := newDriver(t)
	before := clusters(t)
	lab := startLab(t, labReady)
	var made string
	for _, name := range clusters(t) {
		if !slices.Contains(before, name) && strings.HasPrefix(name, "rollout-lab-") {
			made = name
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	if _, err := d.Sweep(ctx, ""); err != nil {
		t.Errorf("sweep: %v", err)
	}
	if made == "" || !slices.Contains(clusters(t), made) {
		t.Errorf("cluster %q of a living lab was removed", made)
	}
	if err := lab.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	lab.Wait() //nolint:errcheck // it was killed
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
	newDriver(t)
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

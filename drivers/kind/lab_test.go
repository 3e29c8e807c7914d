package kind_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers/kubernetes"
)

// adoptEnv makes this test binary a lab that adopts a target, changes everything that can be
// changed and then waits for its end. It holds the kubeconfig and the namespace of the target.
const adoptEnv = "ROLLOUT_LAB_KIND_TEST_ADOPT"

// labReady is what it says when it has.
const labReady = "deployed"

func runAdoptingLab() error {
	kubeconfig, namespace, _ := strings.Cut(os.Getenv(adoptEnv), "\n")
	ctx := context.Background()
	env, err := kubernetes.New(kubernetes.Config{Kubeconfig: kubeconfig, Namespace: namespace}).Deploy(ctx, objectsStack(""))
	if err != nil {
		return err
	}
	if err := errors.Join(env.Scale(ctx, 3), env.Rollout(ctx, "v2"), env.Restart(ctx)); err != nil {
		return err
	}
	fmt.Println(labReady)
	select {}
}

// startAdoptingLab starts such a lab and waits until it is ready.
func startAdoptingLab(t *testing.T, config kubernetes.Config) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), adoptEnv+"="+config.Kubeconfig+"\n"+config.Namespace)
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
		if lines.Text() == labReady {
			return cmd
		}
	}
	t.Fatalf("the lab ended without %q: %v", labReady, cmd.Wait())
	return nil
}

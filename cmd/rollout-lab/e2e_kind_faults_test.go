//go:build e2e && linux

package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// kindWorkers is a cluster with two workers, of which one can be drained.
var kindWorkers = kindCluster + "-workers"

// faultInTheMiddle lasts until long after the lab was killed.
const faultInTheMiddle = `name: middle
about: A fault that is there when the lab is killed.
target: {refproxy: {sessions: 1000, sync_rate: 2000, routes: 10, upstream_latency: 2ms}}
replicas: 2
load: {rate: 50, timeout: 2s, saturation: allowed}
phases:
  baseline: {from: 1s, to: 2s}
  window: {from: 2s, to: 62s}
action: {kind: none}
faults: [%s]
trials: 1
designs: [stack-aware]
gates:
  - {design: stack-aware, metric: failed, op: <=, limit: 0}
`

// inNodes counts, with nothing of the lab's, what is not as it should be in the nodes of a
// cluster: those that are cordoned, and the containers that are frozen or have the quota of
// 7 % of a processor, which nobody else gives.
func inNodes(t *testing.T, cluster string) map[string]int {
	t.Helper()
	out := map[string]int{}
	unschedulable := dockerCommand(t, "exec", cluster+"-control-plane", "kubectl", "--kubeconfig", "/etc/kubernetes/admin.conf",
		"get", "nodes", "--output", "jsonpath={range .items[*]}{.spec.unschedulable}{\"\\n\"}{end}")
	out["cordoned"] = strings.Count(unschedulable, "true")
	const look = `cd /sys/fs/cgroup
if [ -e cgroup.controllers ]; then
	find . -name cgroup.events -exec grep -h '^frozen 1' {} +
	find . -name cpu.max -exec grep -h '^7000 100000' {} +
else
	find freezer/ -name freezer.self_freezing -exec grep -h '^1' {} + | sed 's/.*/frozen 1/'
	find cpu/ -name cpu.cfs_quota_us -exec grep -hx 7000 {} + | sed 's/$/ 100000/'
fi; true`
	nodes := strings.Fields(dockerCommand(t, "ps", "--format", "{{.Names}}", "--filter", "label=io.x-k8s.kind.cluster="+cluster))
	for _, node := range nodes {
		said := dockerCommand(t, "exec", node, "sh", "-c", look)
		out["frozen"] += strings.Count(said, "frozen 1")
		out["throttled"] += strings.Count(said, "7000 100000")
	}
	return out
}

// TestE2EKindKilledLabLeavesNoFault: a lab that is killed in the middle of a fault leaves it,
// and clean takes it back.
func TestE2EKindKilledLabLeavesNoFault(t *testing.T) {
	needDriver(t, "kind")
	bin := labBinary(t)
	for _, c := range []struct{ left, fault string }{
		{"frozen", "{kind: pause, at: 0s, for: 50s, instances: 1}"},
		{"throttled", "{kind: cpu, at: 0s, for: 50s, share: 7%, instances: 1}"},
		{"cordoned", "{kind: node-drain, at: 0s, for: 50s}"},
	} {
		t.Run(c.left, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, "middle.yaml")
			if err := os.WriteFile(file, fmt.Appendf(nil, faultInTheMiddle, c.fault), 0o644); err != nil {
				t.Fatal(err)
			}
			flags := []string{"--driver", "kind", "--kind-cluster", kindWorkers}
			cmd := exec.Command(bin, append([]string{"run", file, "--out", filepath.Join(dir, "run"), "--kind-keep", "--kind-workers", "2"}, flags...)...)
			stderr, err := cmd.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			said := make(chan string, 1) // all of it, once the lab has ended
			go func() {
				text, _ := io.ReadAll(stderr) // it ends with the lab
				said <- string(text)
			}()
			killed := false
			kill := func() {
				if !killed {
					killed = true
					_ = cmd.Process.Kill() // it may have ended
					t.Logf("%s; %v", <-said, cmd.Wait())
				}
			}
			defer kill()
			await(t, func() error {
				if len(said) > 0 {
					t.Fatal("the lab has ended")
				}
				if !strings.Contains(dockerCommand(t, "ps", "--format", "{{.Names}}"), kindWorkers+"-control-plane") {
					return fmt.Errorf("there is no cluster %s", kindWorkers)
				}
				if n := inNodes(t, kindWorkers)[c.left]; n != 1 {
					return fmt.Errorf("%d %s, want 1", n, c.left)
				}
				return nil
			})
			kill()
			if n := inNodes(t, kindWorkers)[c.left]; n != 1 {
				t.Fatalf("a killed lab has left %d %s: the test shows nothing", n, c.left)
			}
			out, err := exec.Command(bin, append([]string{"clean"}, flags...)...).CombinedOutput()
			if err != nil || !strings.Contains(string(out), "removed kind") {
				t.Errorf("clean: %v\n%s", err, out)
			}
			t.Logf("clean: %s", out)
			for what, n := range inNodes(t, kindWorkers) {
				if n != 0 {
					t.Errorf("after clean there is still %d %s", n, what)
				}
			}
		})
	}
}

// await asks until there is no error any more.
func await(t *testing.T, ask func() error) {
	t.Helper()
	limit := time.After(4 * time.Minute) // a cluster may have to be made
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ask()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatal(err)
		}
	}
}

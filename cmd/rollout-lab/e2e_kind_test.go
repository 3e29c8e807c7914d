//go:build e2e && linux

package main

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rollout-lab/rollout-lab/internal/metric"
)

// kindCluster is used by all of the tests on kind but those that look at what is left. As
// in the driver's own tests, ROLLOUT_LAB_KIND_CLUSTER names another one.
var kindCluster = cmp.Or(os.Getenv("ROLLOUT_LAB_KIND_CLUSTER"), "rollout-lab-e2e")

// usedKind: a test of this process has asked for kind.
var usedKind bool

func init() { atEnd = append(atEnd, removeClusters) }

// removeClusters removes a cluster of the tests' own: it would take its share of the machine from
// whatever is measured next. Where none of them used it, it is another process's.
func removeClusters() {
	if !usedKind || os.Getenv("ROLLOUT_LAB_KIND_CLUSTER") != "" {
		return
	}
	for _, cluster := range []string{kindCluster, kindWorkers} {
		nodes, err := exec.Command("docker", "ps", "--all", "--quiet", "--filter", "label=io.x-k8s.kind.cluster="+cluster).Output()
		if err != nil || len(nodes) == 0 {
			continue // no engine, or no such cluster was made
		}
		if out, err := exec.Command("docker", append([]string{"rm", "--force", "--volumes"}, strings.Fields(string(nodes))...)...).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "remove cluster %s: %v: %s", cluster, err, out)
		}
	}
}

func TestE2EKindActions(t *testing.T) { actions(t, "kind") }

func TestE2EKindOrigin(t *testing.T) {
	needDriver(t, "kind")
	_, _, doc := runLabBinary(t, labBinary(t), "run", "origin", "--driver", "kind", "--design", "naive", "--kind-cluster", kindCluster, "--kind-keep")
	for _, c := range doc.Cells {
		for _, tr := range validTrials(t, c, 1) {
			t.Logf("%s: success rate %.5f", c.Design, value(t, tr, metric.SuccessRate))
			if value(t, tr, metric.SuccessRate) > 0.1 {
				t.Errorf("%s: success rate %.5f, want next to nothing while nobody has synced", c.Design, value(t, tr, metric.SuccessRate))
			}
			for _, s := range tr.Streams {
				t.Logf("  %s: %d of %d", s.Name, s.OK, s.Planned)
			}
		}
	}
}

func TestE2EKindInterruptLeavesNothing(t *testing.T) { interruptLeavesNothing(t, "kind") }

func TestE2EKindKilledLabIsCleanedUp(t *testing.T) { killedIsCleanedUp(t, "kind") }

const drainRace = `name: drain-race
about: Honest readiness with and without a drain, on a runtime that tells everybody of a stop at once.
target: {refproxy: {sessions: 20000, sync_rate: 10000, routes: 10, upstream_latency: 2ms}}
replicas: 3
load: {rate: 1000, timeout: 2s, deny: 2%}
phases:
  baseline: {from: 1s, to: 4s}
  window: {from: 4s, to: 24s}
action: {kind: restart, timeout: 60s}
trials: 1
designs:
  - {name: no-drain, from: stack-aware, lame_duck: 0s, close_wait: 0s}
  - stack-aware
gates:
  - {design: stack-aware, metric: failed, op: <=, limit: 0}
positive_controls: [no-drain]
`

// TestE2EKindDrainRace: without a drain requests fail, and the report says on which stream.
func TestE2EKindDrainRace(t *testing.T) {
	needDriver(t, "kind")
	file := filepath.Join(t.TempDir(), "drain-race.yaml")
	if err := os.WriteFile(file, []byte(drainRace), 0o644); err != nil {
		t.Fatal(err)
	}
	_, _, doc := runLabBinary(t, labBinary(t), "run", file, "--driver", "kind", "--kind-cluster", kindCluster, "--kind-keep")
	for _, c := range doc.Cells {
		for _, tr := range validTrials(t, c, 1) {
			t.Logf("%s: %d of %d failed, %v", c.Design, failures(t, tr), tr.Planned, tr.Errors)
			for _, s := range tr.Streams {
				t.Logf("  %s: %d of %d failed", s.Name, s.Planned-s.OK, s.Planned)
			}
			if c.Design == "stack-aware" && failures(t, tr) != 0 {
				t.Errorf("stack-aware lost %d", failures(t, tr))
			}
			if c.Design == "no-drain" && failures(t, tr) == 0 {
				t.Error("no-drain lost nothing: the experiment shows nothing")
			}
		}
	}
}

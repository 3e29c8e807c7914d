//go:build e2e && linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/reports"
)

// regression is a small rollout that is held against earlier ones. With no drain an instance
// closes its port two checks before the balancer has noticed, which loses half of the requests
// for some 200 ms, twice: about 100 ms of downtime in all, and as much again.
const regression = `name: regression
about: A small rollout, held against earlier ones.
vars: {drain: 500ms}
target: {refproxy: {sessions: 200, sync_rate: 2000, routes: 2}}
replicas: 2
load: {rate: 50, timeout: 1s, deny: 0}
phases:
  baseline: {from: 200ms, to: 1s}
  window: {from: 1s, to: 5s}
action: {kind: rollout, timeout: 20s}
rolling: {max_surge: 1, max_unavailable: 0}
trials: 3
designs:
  - name: svc
    from: stack-aware
    lame_duck: ${drain}
    close_wait: ${drain}
    signal: {interval: 130ms, fall: 2}
gates:
  - {design: svc, metric: downtime, against: baseline}
`

// What is the same is not called worse, and what drops some 100 ms more in each rollout is: 20
// runs against earlier ones of the same, and 10 of a service that does not drain. In four parts,
// each with a history of its own, so that none takes long.
func TestE2ERegressions(t *testing.T) {
	bin := labBinary(t)
	file := filepath.Join(t.TempDir(), "regression.yaml")
	if err := os.WriteFile(file, []byte(regression), 0o600); err != nil {
		t.Fatal(err)
	}
	for part, worse := range []int{3, 3, 2, 2} {
		t.Run(fmt.Sprint(part+1), func(t *testing.T) {
			base := filepath.Join(t.TempDir(), "base.json")
			for range 2 { // twice three trials
				_, dir, _ := runLabBinary(t, bin, "run", file, "--baseline", base)
				if out, err := exec.Command(bin, "baseline", "add", base, dir).CombinedOutput(); err != nil && !strings.Contains(string(out), "no valid trial") {
					t.Fatalf("%v\n%s", err, out)
				}
			}
			verdicts := map[string]map[judge.Verdict]int{"same": {}, "worse": {}}
			for range 5 {
				_, _, doc := runLabBinary(t, bin, "run", file, "--baseline", base)
				verdicts["same"][gateAgainst(t, doc, "same")]++
			}
			for range worse {
				_, _, doc := runLabBinary(t, bin, "run", file, "--baseline", base, "--var", "drain=1ms")
				verdicts["worse"][gateAgainst(t, doc, "worse")]++
			}
			t.Logf("the same: %v; worse: %v", verdicts["same"], verdicts["worse"])
			if n := verdicts["same"][judge.Fail]; n > 0 {
				t.Errorf("%d of 5 runs of the same are called worse", n)
			}
			if n := verdicts["worse"][judge.Pass]; n > 0 {
				t.Errorf("%d of %d runs that lose 100 ms more are called no worse", n, worse)
			}
		})
	}
}

// gateAgainst is the verdict of the gate against earlier runs.
func gateAgainst(t *testing.T, doc reports.Document, name string) judge.Verdict {
	t.Helper()
	for _, g := range doc.Gates {
		if g.Against == "baseline" {
			t.Logf("figures: %s %s, %s", name, g.Verdict, g.Why)
			return judge.Verdict(g.Verdict)
		}
	}
	t.Fatalf("no gate against the baseline: %+v", doc.Gates)
	return ""
}

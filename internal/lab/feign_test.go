package lab

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/process"
	"github.com/rollout-lab/rollout-lab/internal/fault"
	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/reports"
	"github.com/rollout-lab/rollout-lab/scenarios"
	"github.com/rollout-lab/rollout-lab/targets/refproxy"
)

// itself is the argument that makes this program the reference target.
const itself = "refproxy"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == itself {
		os.Exit(refproxy.Main(context.Background(), os.Args[2:], os.Getenv, os.Stdout, os.Stderr))
	}
	// A trial waits most of its time, so that there is room for one more than there are processors.
	if err := flag.Set("test.parallel", "3"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := enoughWasTested(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// feigned are a fault of each kind that there is without a cluster.
var feigned = map[scenarios.FaultKind]string{
	scenarios.Kill: "", scenarios.Revoke: "", scenarios.BadRevision: "mode: wrong-answers",
	scenarios.Pause: lasting, scenarios.CPU: lasting + ", share: 5%",
	scenarios.Outage: lasting + ", service: upstream", scenarios.Network: lasting + ", service: upstream, toxic: latency, latency: 1s",
	scenarios.Stall: lasting, scenarios.BadConfig: lasting, scenarios.SlowCheck: lasting, scenarios.Deadlock: lasting, scenarios.DataDead: lasting, scenarios.Flap: lasting,
	scenarios.CommandFault: lasting + ", inject: [touch, FILE], heal: [rm, -f, FILE], proof: [test, -e, FILE]",
}

const lasting = "at: 200ms, for: 1500ms"

// TestATrialWithAFeignedFaultIsInvalid: where a fault of any kind was not injected, and nobody was
// told, the trial is invalid and says so. What a trial lost without the fault would be called a
// design's merit.
func TestATrialWithAFeignedFaultIsInvalid(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	driver := process.New(process.Config{Program: []string{self, itself}})
	if err := driver.Check(t.Context()); err != nil {
		t.Skip(err)
	}
	for kind, keys := range feigned {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			action := scenarios.None
			if kind == scenarios.BadRevision {
				action = scenarios.Rollout
			}
			keys := strings.ReplaceAll(keys, "FILE", filepath.Join(t.TempDir(), "broken"))
			s, err := scenarios.Parse("feigned.yaml", []byte(fmt.Sprintf(`
name: feigned
target: {refproxy: {sessions: 100, sync_rate: 10000}}
replicas: 2
load: {rate: 20}
phases: {baseline: {from: 200ms, to: 700ms}, window: {from: 700ms, to: 3s}}
action: {kind: %s}
faults: [{kind: %s, %s}]
designs: [naive]
gates: [{design: naive, metric: breaches, op: <=, limit: 0}]
`, action, kind, keys)), scenarios.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if err := fault.Available(t.Context(), driver, &s.Faults[0]); err != nil {
				t.Skip(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			dir := filepath.Join(t.TempDir(), "run")
			_ = Run(ctx, Config{RunID: fmt.Sprintf("feigned-%s-%d", kind, os.Getpid()), Dir: dir, Scenarios: []*scenarios.Scenario{s}, Drivers: []drivers.Driver{driver}, feignFaults: true,
				Progress: func(u Update) {
					if u.Phase == PhaseDone {
						cancel() // it would be repeated
					}
				}})
			r := mustJudge(t, dir)
			trial := &r.Cells[0].Trials[0]
			i := slices.IndexFunc(trial.InvalidReasons, func(r judge.Reason) bool { return r.Kind == judge.FaultNotProven })
			if i < 0 {
				skipIfBusy(t, trial)
			}
			if trial.Valid || i < 0 {
				t.Fatalf("valid %v, %v: want it invalid for a fault that nothing proves", trial.Valid, trial.InvalidReasons)
			}
			if says := reports.Sentence(trial.InvalidReasons[i]); !strings.Contains(says, "the fault "+string(kind)) || !strings.Contains(says, "nothing but what injected it says that it was there") {
				t.Errorf("it says %q", says)
			}
			if r.Verdict == judge.Pass {
				t.Error("a pass")
			}
		})
	}
}

package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"runtime"
	"slices"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/scenarios"
)

// describeEnvironment says where the run runs. Two runs are comparable when their
// fingerprints are equal.
func describeEnvironment(ctx context.Context, ds []drivers.Driver) record.Environment {
	e := record.Environment{
		OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.GOMAXPROCS(0),
		Kernel: kernel(), Go: runtime.Version(), Runtimes: map[string]string{},
	}
	for _, d := range ds {
		e.Runtimes[d.Name()] = "embedded"
		if v, ok := d.(drivers.Versioner); ok {
			e.Runtimes[d.Name()] = v.Version(ctx)
		}
	}
	text, err := json.Marshal(e) // maps are marshalled in the order of their keys
	if err != nil {
		panic("lab: environment: " + err.Error()) // strings and ints only
	}
	sum := sha256.Sum256(text)
	e.Fingerprint = hex.EncodeToString(sum[:8])
	return e
}

func describeRun(ctx context.Context, cfg Config, began time.Time, ds []drivers.Driver, trials []plannedTrial) record.Run {
	run := record.Run{
		Schema: record.RunSchema, Tool: cfg.Tool, ID: cfg.RunID,
		Started: began.UTC().Format(time.RFC3339), Command: cfg.Command, MaxTime: cfg.MaxTime, Preflight: cfg.Preflight, LeftOut: cfg.LeftOut, Labels: cfg.Labels,
		Environment: describeEnvironment(ctx, ds),
	}
	for _, s := range cfg.Scenarios {
		run.Scenarios = append(run.Scenarios, describeScenario(s))
	}
	for _, t := range trials {
		run.Trials = append(run.Trials, t.folder())
	}
	if cfg.Baseline != nil {
		run.Baseline = cfg.Baseline(run)
	}
	return run
}

func describeScenario(s *scenarios.Scenario) record.Scenario {
	out := record.Scenario{
		Name: s.Name, Suite: s.Suite, About: s.About, SHA256: s.SHA256(), Source: s.Source, Vars: s.Vars,
		Rate: s.Load.Rate, Window: s.Phases.Window.To - s.Phases.Window.From,
		Action: s.ActionName(), Replicas: s.Replicas, Trials: s.Trials, Conditions: s.Conditions(),
	}
	for _, d := range s.Designs {
		out.Designs = append(out.Designs, d.Name)
	}
	// Those of designs that were not chosen are part of what the scenario asks for: judge
	// finds that they were not run.
	for _, g := range slices.Concat(s.Gates, s.NotChosen.Gates) {
		out.Gates = append(out.Gates, g.Recorded())
	}
	for _, c := range slices.Concat(s.PositiveControls, s.NotChosen.PositiveControls) {
		out.Positive = append(out.Positive, c.Design)
		if len(c.On) > 0 {
			if out.PositiveOn == nil {
				out.PositiveOn = map[string][]string{}
			}
			out.PositiveOn[c.Design] = c.On
		}
	}
	return out
}

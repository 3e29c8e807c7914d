package reports

import (
	"github.com/rollout-lab/rollout-lab/internal/judge"
)

// GateVerdict is a verdict, or warn.
type GateVerdict judge.Verdict

// Gate is a gate held against the cell that it names.
type Gate struct {
	// The cell, as scenario/driver/design; scenario/design where no such cell was run.
	Cell string `json:"cell"`
	// The name of the metric, as in scenarios.
	Metric string `json:"metric"`
	// The operator, >= or <=. Empty: it is held against something else than a limit.
	Op string `json:"op"`
	// The limit, in the metric's unit, or as unit says. Null: the scenario has no number there.
	Limit *float64 `json:"limit"`
	// What limit, observed, lo and hi are counted in: share (0..1), count or duration (milliseconds). It is the metric's own unit, but for a limit on a count that is a share of the requests.
	Unit string `json:"unit"`
	// The stream of the load whose requests alone are meant. Empty: all.
	Stream string `json:"stream"`
	// What the design is held against instead of a limit: another design, or baseline, which are earlier runs. Empty: a limit.
	Against string `json:"against"`
	// How much more than there is no matter. Null: it is a limit, or there was nothing to compare.
	MarginMS *float64 `json:"margin_ms"`
	// The one-sided p of the exact test that the design is worse than there, 0..1. Null: it is a limit, or there was nothing to compare.
	P *float64 `json:"p"`
	// fail or warn. With warn the verdict of a missed gate is warn, and the run's does not change.
	Level string `json:"level"`
	// Whether the scenario did not ask for it: that the action was completed is a gate of each design that is not known to fail.
	Implicit bool `json:"implicit"`
	// What was observed, in the metric's unit, or as unit says: the pooled success rate, the worst valid trial, or the shift from what it is held against. Null: there are no data, or the thing never happened; why says which.
	Observed *float64 `json:"observed"`
	// The one-sided lower bound of a success rate or a shift, in the metric's unit. Null: neither, or no data.
	Lo *float64 `json:"lo"`
	// The one-sided upper bound, likewise, in the metric's unit. Null: neither, or no data.
	Hi *float64 `json:"hi"`
	// The confidence of each bound, 0..1: 0.95, or more where the number of trials is open and there might be more. Null: no bounds.
	Confidence *float64 `json:"confidence"`
	// Whether the limit was met, or the design is no worse. Warn: it was missed, and only warns. Inconclusive: the data do not say, or not every planned trial is valid.
	Verdict GateVerdict `json:"verdict"`
	// The design that the gate is for.
	Design string `json:"design"`
	// Why it was judged so, in one sentence.
	Why string `json:"why"`
}

// Comparison holds two designs, or a design and what earlier runs showed of it, against each
// other on one metric.
type Comparison struct {
	// The name of the scenario.
	Scenario string `json:"scenario"`
	// The name of the driver.
	Driver string `json:"driver"`
	// The action, as in scenarios.
	Action string `json:"action"`
	// The design that is compared with; baseline for earlier runs.
	A string `json:"a"`
	// The design that is compared.
	B string `json:"b"`
	// The name of the metric, as in scenarios.
	Metric string `json:"metric"`
	// The stream of the load whose requests alone are meant. Empty: all.
	Stream string `json:"stream"`
	// How many valid trials there are of a.
	TrialsA uint64 `json:"trials_a"`
	// How many valid trials there are of b.
	TrialsB uint64 `json:"trials_b"`
	// The Hodges-Lehmann shift from a to b, in the metric's unit. Null: not known.
	Shift *float64 `json:"shift"`
	// Its one-sided 95 % lower bound, in the metric's unit. Null: not known.
	Lo *float64 `json:"lo"`
	// Its one-sided 95 % upper bound, in the metric's unit. Both bounds together hold at 90 %. Null: not known.
	Hi *float64 `json:"hi"`
	// The two-sided p of the exact permutation test over the trials, 0..1: how likely trials that are all alike would be dealt so, or further apart. Null: not known.
	P *float64 `json:"p"`
	// The one-sided p of the same test, 0..1: that b is worse. Null: not known.
	PWorse *float64 `json:"p_worse"`
	// How much worse is no matter. Null: not known.
	MarginMS *float64 `json:"margin_ms"`
	// Whether a gate asks for it. Else it informs, and its verdict decides nothing.
	Gated bool `json:"gated"`
	// Fail: b is worse than a by more than the margin. Pass: it is not. Inconclusive: the trials do not say.
	Verdict judge.Verdict `json:"verdict"`
	// Why it was judged so, in one sentence.
	Why string `json:"why"`
}

// Control is a check that the experiment can tell good from bad.
type Control struct {
	// The cell, as scenario/driver/design.
	Cell string `json:"cell"`
	// negative: nothing is done, so nothing may fail. positive: the design is known to fail, so it must.
	Kind string `json:"kind"`
	// Whether it came out as it had to.
	Held bool `json:"held"`
	// Why it is said to have held or not, in one sentence.
	Why string `json:"why"`
}

// LeftOut is a scenario of a suite that was not run on a driver. A verdict says nothing of it.
type LeftOut struct {
	// The name of the scenario.
	Scenario string `json:"scenario"`
	// The name of the driver.
	Driver string `json:"driver"`
	// What the driver cannot do, and why.
	Why string `json:"why"`
}

// SkippedDesign is a cell of which a trial could not be run.
type SkippedDesign struct {
	// The name of the scenario.
	Scenario string `json:"scenario"`
	// The name of the driver.
	Driver string `json:"driver"`
	// The name of the design.
	Design string `json:"design"`
	// Why it was not run.
	Why string `json:"why"`
	// Whether it was deployed and did not serve, which is a fail. Else the runtime or the lab is to blame.
	ByTarget bool `json:"by_target"`
}

// Suite says which design survives which of a suite's scenarios on one driver.
type Suite struct {
	// The name of the suite.
	Name string `json:"name"`
	// The name of the driver.
	Driver string `json:"driver"`
	// The designs, what survives the most first.
	Designs []string `json:"designs"`
	// The scenarios, what most designs survive first.
	Scenarios []SuiteScenario `json:"scenarios"`
}

// SuiteScenario is how the designs of a suite fared in one of its scenarios.
type SuiteScenario struct {
	// The name of the scenario.
	Scenario string `json:"scenario"`
	// One for each of the suite's designs, in their order.
	Cells []SuiteCell `json:"cells"`
}

// SuiteCell is how one design fared in one scenario.
type SuiteCell struct {
	// The name of the design.
	Design string `json:"design"`
	// survives: it holds every limit that is set on it, or where none is, those that are set on others. breaks: it misses one, or the target failed. unknown: no data, or a planned trial does not count. not_tested: it is none of the scenario's designs.
	Survival judge.Survival `json:"survival"`
	// Why it breaks, or why that is not known, in one sentence. Empty: it survives, or was not tested.
	Why string `json:"why"`
	// How many trials are valid: what the numbers rest on.
	ValidTrials int `json:"valid_trials"`
	// Requests planned in the windows of the valid trials.
	Planned uint64 `json:"planned"`
	// Those of them that were not ok. Null: no valid trial.
	Lost *uint64 `json:"lost"`
	// The median of detection_ms, over the valid trials in which every instance that a fault was done to was noticed. Null: there is none.
	DetectionMS *float64 `json:"detection_ms"`
	// Valid trials in which the runtime did not notice every instance that a fault was done to.
	Undetected int `json:"undetected"`
	// false_evictions of the valid trials added up. Null: not known.
	FalseEvictions *uint64 `json:"false_evictions"`
	// Breaches of the valid trials added up. Null: no valid trial, or no request had to be denied.
	Breaches *uint64 `json:"breaches"`
}

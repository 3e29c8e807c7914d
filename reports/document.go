package reports

import (
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/reports/format"
)

// Milliseconds is a duration that JSON has as a number of milliseconds, to the nanosecond.
type Milliseconds time.Duration

// MarshalJSON writes the number exactly, without going through a float.
func (m Milliseconds) MarshalJSON() ([]byte, error) {
	return appendMillis(time.Duration(m)), nil
}

// UnmarshalJSON reads a number of milliseconds, rounded to the nanosecond.
func (m *Milliseconds) UnmarshalJSON(b []byte) error {
	var f float64
	if err := json.Unmarshal(b, &f); err != nil {
		return fmt.Errorf("milliseconds: %w", err)
	}
	*m = Milliseconds(math.Round(f * 1e6))
	return nil
}

func appendMillis(d time.Duration) []byte {
	whole, rest := int64(d)/1e6, int64(d)%1e6
	if rest == 0 {
		return fmt.Appendf(nil, "%d", whole)
	}
	sign := ""
	if d < 0 {
		sign, whole, rest = "-", -whole, -rest
	}
	return []byte(format.TrimZeros(fmt.Sprintf("%s%d.%06d", sign, whole, rest)))
}

// The comment of each field below is its description in results.schema.json and in
// docs/results.md; a test fails for a field without one. Durations are milliseconds, rates
// 0..1. Every field is always there: what did not happen, or is not known, is null.

// Document is results.json: the result of a run.
type Document struct {
	// The name and version of this layout. Programs should refuse another one.
	Schema string `json:"schema"`
	// The program that made the record.
	Tool Tool `json:"tool"`
	// What names the run, in its folder as well.
	RunID string `json:"run_id"`
	// When the run began, in RFC 3339 and UTC.
	Started string `json:"started"`
	// How long the run took. Null: it was cut short.
	DurationMS *Milliseconds `json:"duration_ms"`
	// The command line that makes the same run again.
	Command string `json:"command"`
	// What was run, in the words of whoever ran it: --label k=v.
	Labels map[string]string `json:"labels"`
	// How long the run might take: --max-time. Null: as long as it took.
	MaxTimeMS *Milliseconds `json:"max_time_ms"`
	// Which rate the machine held. Null: nobody asked, because nothing gave a reason to.
	Preflight *Preflight `json:"preflight"`
	// Scenarios of a suite that were not run on a driver, because it cannot do their faults here.
	LeftOut []LeftOut `json:"left_out"`
	// Why there were no more trials of a scenario on a driver, where their number is open or the time was up.
	Stopped []Stopped `json:"stopped"`
	// Whether the run was cut short, or a planned trial is missing or damaged.
	Partial bool `json:"partial"`
	// The machine that the run ran on.
	Environment Environment `json:"environment"`
	// What earlier runs showed, against which the run is held. Null: none was named.
	Baseline *PastRuns `json:"baseline"`
	// The first of scenarios. Null: there is none.
	Scenario *Scenario `json:"scenario"`
	// What was asked for.
	Scenarios []Scenario `json:"scenarios"`
	// Fail when a gate was missed or the target failed; else inconclusive when anything stands in the way of a pass; else pass. The exit code says the same.
	Verdict judge.Verdict `json:"verdict"`
	// The verdict in one sentence: where the target failed, which gate was missed, if one was, and what each design lost. Where it is inconclusive, why.
	Headline string `json:"headline"`
	// Why it came out so, in a sentence or two: the cause of what was lost, or what held. Empty where the headline says it.
	Why string `json:"why"`
	// What to do about it. Empty where there is nothing.
	Do string `json:"do"`
	// What stands in the way of a pass: first why, and what to do about it; then one sentence each. Empty only where the verdict is pass.
	Reasons []string `json:"reasons"`
	// What a reader must know whatever the verdict is, one sentence each: gates that warn and were missed, what is surely worse by less than its margin, a baseline from another environment.
	Warnings []string `json:"warnings"`
	// What was measured: each scenario on each driver with each design.
	Cells []Cell `json:"cells"`
	// The gates, each held against the cells of its design; behind a scenario's own the implicit ones.
	Gates []Gate `json:"gates"`
	// The designs of a scenario held against each other or against earlier runs. One that no gate asks for informs and decides nothing.
	Comparisons []Comparison `json:"comparisons"`
	// The checks that the experiment can tell good from bad.
	Controls []Control `json:"controls"`
	// The cells of which a trial could not be run.
	Skipped []SkippedDesign `json:"skipped"`
	// Which design survives which scenario of a suite, for each suite on each driver. Empty: no scenario is of a suite.
	Suites []Suite `json:"suites"`
}

// Tool is the program that made the record.
type Tool struct {
	// The version of rollout-lab.
	Version string `json:"version"`
	// The commit that it was built from. Empty: not known.
	Commit string `json:"commit"`
}

// Environment is the machine that the run ran on.
type Environment struct {
	// The operating system, as Go calls it.
	OS string `json:"os"`
	// The architecture, as Go calls it.
	Arch string `json:"arch"`
	// The number of processors that the lab could use.
	CPUs int `json:"cpus"`
	// The release of the kernel. Empty: not known.
	Kernel string `json:"kernel"`
	// The version of Go that the lab was built with.
	Go string `json:"go"`
	// The version of each runtime that was used, by the driver's name.
	Runtimes map[string]string `json:"runtimes"`
	// A hash of all of the above. Runs of different fingerprints must not be compared.
	Fingerprint string `json:"fingerprint"`
}

// Scenario is what was asked for.
type Scenario struct {
	// The name of the scenario.
	Name string `json:"name"`
	// The SHA-256 of the scenario as it was run, with its variables filled in, in hexadecimal.
	SHA256 string `json:"sha256"`
	// The requests per second of the load.
	Rate float64 `json:"rate"`
	// The length of the window that is judged.
	WindowMS Milliseconds `json:"window_ms"`
	// The action: none, rollout, rollout-rollback, restart, scale-out, scale-in or command.
	Action string `json:"action"`
	// The number of instances before the action; 0 where it is not known.
	Replicas int `json:"replicas"`
	// How many trials of each cell there were to be, repeats of invalid ones not among them.
	Trials TrialRange `json:"trials"`
	// What the scenario is about, in its author's words.
	About string `json:"about"`
	// The designs, in the order in which the scenario has them.
	Designs []string `json:"designs"`
	// What its trials are measured under, by key: runs that differ in one of them are not compared. What is under test, its program and its designs, is none of it.
	Conditions map[string]string `json:"conditions"`
}

// PastRuns is what earlier runs showed, against which a run is held.
type PastRuns struct {
	// The file, as it was named.
	File string `json:"file"`
	// Why there is none. Empty: there is one.
	Missing string `json:"missing"`
	// The commit of its newest trial. Empty: not known.
	Commit string `json:"commit"`
	// How old its newest trial was when the run began, in days of 24 hours; 1 is all of one. Null: it has none.
	AgeDays *float64 `json:"age_days"`
	// How many of its trials the run is held against, over all cells.
	Trials int `json:"trials"`
	// The fingerprint of the environment of its newest trial. Empty: it has none.
	Fingerprint string `json:"fingerprint"`
	// The names of what is not as it was, such as load.rate or environment.kernel. Unless different_environment allows it, what differs so is not compared.
	Differs []string `json:"differs"`
	// Whether what was measured in another environment is compared all the same, as was asked for.
	DifferentEnvironment bool `json:"different_environment"`
}

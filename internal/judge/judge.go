// Package judge turns records into metrics, and metrics and gates into a verdict. It
// holds the statistics. Every function is pure: the same record gives the same verdict,
// on any machine, at any time.
package judge

import (
	"time"

	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/internal/timeline"
)

// Verdict is the outcome of a gate, a comparison or a run.
type Verdict string

// The verdicts. No data is Inconclusive, never Pass.
const (
	Pass         Verdict = "pass"
	Fail         Verdict = "fail"
	Inconclusive Verdict = "inconclusive"
	// Warned is that of a gate that was missed and only warns; no run has it.
	Warned Verdict = "warn"
)

// Run is a judged run.
type Run struct {
	Record      record.Run
	End         *record.RunEnd // nil: the run was cut short
	Partial     bool           // cut short, or a planned trial is missing or damaged
	Verdict     Verdict
	Reasons     []Reason // never empty unless Pass
	Cells       []Cell
	Gates       []GateResult
	Comparisons []Comparison
	Warnings    []Reason // what a reader must know beside the verdict, and what does not change it
	Controls    []Control
}

// Cell is a scenario on a driver with a design.
type Cell struct {
	Scenario, Driver, Action, Design string
	Trials                           []Trial // every one that was run, invalid ones too, in order
	Decides                          bool    // a pass rests on the design's losing little
	// Unfinished: there was no time for all the trials that there have to be at least.
	Unfinished bool
	// Alpha is one minus the confidence that its gates take: more where the number of trials
	// depends on what they show, see metric.AlphaAt.
	Alpha float64

	// Estimates are those of the metrics that are pooled as a median or a rate, by their
	// name, over the valid trials.
	Estimates map[string]Estimate
	// Bounds are those of the success rate of all valid trials together.
	Bounds Bounds
}

// Key names the cell within its run: scenario/driver/design.
func (c *Cell) Key() string { return c.Scenario + "/" + c.Driver + "/" + c.Design }

// Estimate is a median over trials with their range, in the metric's unit. N is the number
// of valid trials that it rests on; with N 0 the other fields mean nothing.
type Estimate struct {
	Median, Lo, Hi float64
	N              int
}

// Bounds are the one-sided 95 % Clopper-Pearson bounds of a pooled count, each for itself.
type Bounds struct{ Lo, Hi float64 }

// Trial holds the metrics of one trial, over the window. A nil duration means that the
// thing did not happen (no failure, no recovery) or could not be known.
type Trial struct {
	Meta    record.Trial
	Folder  string
	Partial bool
	// Valid: its numbers count.
	Valid          bool
	InvalidReasons []Reason
	// Failures are what the target did wrong, whatever the numbers say.
	Failures []Reason
	// Remarks are what a reader of its numbers must know, and what makes it no less valid.
	Remarks []Reason
	// Stands: it is invalid for something that the target did or did not do, so a valid
	// repeat does not make up for it.
	Stands bool
	// Unexcused are the lost requests for which the harness does not answer, of all: see unexcused.
	Unexcused Tally
	// Allowed: a fault was planned, and as it is the trial meets every limit on its design.
	Allowed bool
	// Sound: the harness did its part. The load was the one planned, all of it is on record,
	// and nothing of the lab itself failed, so what failed was the target.
	Sound bool

	Window timeline.Span // from the moment that the action really started, as long as planned

	Planned, Sent, OK, Failed uint64 // in the window, and those that the action cut under way
	SuccessRate               float64
	Downtime                  time.Duration
	LongestOutage             timeline.Outage // the zero Outage when there was none
	WarmUp                    uint64          // failures before the baseline phase
	Early                     uint64          // failures between the baseline phase and the window that are not the action's
	Outages                   int
	Intermittent              timeline.Intermittent
	Down, Degraded            map[time.Duration]time.Duration // by bin width: 10 ms, 100 ms, 1 s
	DisruptionLag             *time.Duration
	Recovery                  *time.Duration
	Convergence               *time.Duration
	FalseReady, FalseUnready  time.Duration
	// Sync is the median time from the start of an instance to its first successful
	// direct probe, over the instances that the action started.
	Sync          *time.Duration
	Breaches      uint64
	HiddenRetries uint64
	Denials       uint64 // requests that had to be denied, over the whole load as Breaches are
	// SentToUnready counts requests that an instance was sent while its direct probe failed.
	SentToUnready uint64
	Faults        []Fault // the planned ones, with what the runtime did about each
	// FalseEvictions are the instances that the runtime took out or restarted unasked, which no
	// fault was done to or which could serve, each once, by time.
	FalseEvictions []Eviction
	NoneRouted     []timeline.Span // within the window, when the runtime called no instance ready
	Restarts       int             // starts that no action asked for, from the first fault on
	// Values are the metrics that have no field here, by their name; see Value.
	Values map[string]float64

	ScheduleLag        Percentiles // Sent - Intended, over the whole load
	Latency            Percentiles // Done - Intended, requests that were ok in the window
	LatencyUncorrected Percentiles // Done - Sent, the same requests

	Streams   []StreamCount
	Errors    []ErrorCount
	Instances []InstanceCount
	Causes    []CauseCount // of the failures, the most frequent first; they add up to all of them
	// Revisions are how the requests fared by the revision that they were sent to, and by which
	// revisions ran then; none of an action that leads to no other one. They add up to all.
	Revisions []RevisionCount
	// NewAnswers are how the new revision answered each request that the record names.
	NewAnswers []RequestCount

	Baseline  BaselinePhase
	Reference Reference
	Cost      record.Cost
	Idle      *float64 // the share of the CPUs that the baseline phase left idle; nil where unknown
	Pressure  *float64 // the largest share of a second of the window in which tasks waited for a CPU; nil where unknown

	Timeline timeline.Timeline
}

// Outcome is what a trial comes to.
type Outcome string

// The outcomes. What the target did wrong counts, also where the numbers do not.
const (
	OutcomeValid   Outcome = "valid"
	OutcomeFailed  Outcome = "failed_by_target"
	OutcomeInvalid Outcome = "invalid"
)

// Outcome is what the trial comes to.
func (t *Trial) Outcome() Outcome {
	switch {
	case len(t.Failures) > 0:
		return OutcomeFailed
	case t.Valid:
		return OutcomeValid
	}
	return OutcomeInvalid
}

// Percentiles of a duration. N is the number of values that they rest on.
type Percentiles struct {
	N                        uint64
	P50, P90, P99, P999, Max time.Duration
}

// StreamCount is how one stream fared in the window.
type StreamCount struct {
	Name        string
	Connections int // kept ones that took turns; 0 where none are kept
	Planned, OK uint64
}

// ErrorCount is how often a class of failure occurred in the window.
type ErrorCount struct {
	Class  record.Class
	Reason string // the most frequent reason given with it, "" when none was
	Count  uint64
}

// InstanceCount is how one instance answered in the window; ID is "" for requests that
// no instance answered.
type InstanceCount struct {
	ID, Revision string
	OK, Failed   uint64
}

// BaselinePhase is the negative control inside every trial: nothing happens, so nothing may fail.
type BaselinePhase struct {
	Planned, Failed uint64
	Instances       int // distinct instances that served
	P99             time.Duration
}

// Reference is the independent client's view of the window.
type Reference struct {
	Planned, OK uint64
	Lo, Hi      float64           // two-sided 99.9 % Clopper-Pearson interval of its success rate
	Agrees      bool              // the intervals of reference and load overlap, of all requests and of each stream
	Streams     []StreamReference // those that can be compared
}

// GateResult is a gate held against the cells that it names.
type GateResult struct {
	Cell             string
	Gate             record.Gate
	Observed, Lo, Hi float64
	HasInterval      bool
	Alpha            float64 // one minus the confidence of Lo and Hi
	// NoValue: Observed means nothing, because there is no data or the thing never
	// happened; Why says which.
	NoValue bool
	Verdict Verdict
	Why     Reason
	// Implicit: the scenario did not ask for it. What it says is among the run's reasons by
	// another name, and only there.
	Implicit bool

	// Of a gate against another design or earlier runs Observed is the shift. These are of
	// such a one alone; see Comparison.
	PWorse float64
	Margin float64
}

// Comparison holds two designs, or a design and what earlier runs showed of it, against each
// other on one metric.
type Comparison struct {
	Scenario, Driver, Action string
	A, B                     string // A may be record.PastRuns
	Metric, Stream           string
	Trials                   Tally   // valid ones of A, and of B
	Shift, Lo, Hi            float64 // Hodges-Lehmann shift B - A and its one-sided 95 % bounds, in the metric's unit
	P                        float64 // exact permutation test over the trials: that they differ
	PWorse                   float64 // the same, one-sided: that B is worse
	Margin                   float64 // how much worse is no matter, in the metric's unit
	Gated                    bool    // a gate asks for it
	Verdict                  Verdict
	Why                      Reason
}

// Control is a check that the experiment can tell good from bad.
type Control struct {
	Cell string
	Kind string // "negative": nothing happens, nothing may fail; "positive": known to fail, must fail
	Held bool
	Why  Reason
}

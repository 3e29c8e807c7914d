package judge

import (
	"fmt"
	"strings"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

// Reason is one thing that judge has found, as facts: what is the case, of which cell and
// trial, and the values that it rests on. The sentence is made by package reports.
type Reason struct {
	Kind  Kind
	Cell  string // key of the cell that it is about, where that is not clear from its place
	Trial int    // number of the trial that it is about, or 0

	Tally                 // how many, of how many
	Repeats uint64        // of invalid trials
	Load    Tally         // the load's own count, where another one differs from it
	Lossy   Tally         // valid trials that lost anything, of all
	Time    time.Duration // how long, or how long after
	Limit   time.Duration // what Time is held against

	Value, Lo, Hi float64      // of a metric, in its unit, with its bounds
	P             float64      // of a test
	Alpha         float64      // one minus the confidence of the bounds
	Gate          *record.Gate // the limit that it is about
	Names         []string     // of what Kind says
	Text          string       // words from outside: the runtime's, the system's

	Differs []record.Difference // what is not as it was

	Because []Reason // what it follows from
}

// Tally is how many of how many.
type Tally struct{ N, Of uint64 }

// String is the reason for a log or a failing test. What a person reads is reports'.
func (r Reason) String() string {
	var b strings.Builder
	b.WriteString(string(r.Kind))
	part := func(shown bool, format string, args ...any) {
		if shown {
			fmt.Fprintf(&b, " "+format, args...)
		}
	}
	part(r.Cell != "", "%s", r.Cell)
	part(r.Trial != 0, "trial %d", r.Trial)
	if r.Gate != nil {
		part(r.Gate.Against == "", "%s %s %v", r.Gate.Metric, r.Gate.Op, r.Gate.Limit)
		part(r.Gate.Against != "", "%s against %s", r.Gate.Metric, r.Gate.Against)
	}
	part(r.Tally != Tally{}, "%d of %d", r.N, r.Of)
	part(r.Load != Tally{}, "load %d of %d", r.Load.N, r.Load.Of)
	part(r.Lossy != Tally{}, "lossy %d of %d", r.Lossy.N, r.Lossy.Of)
	part(r.Time != 0, "%v", r.Time)
	part(r.Limit != 0, "limit %v", r.Limit)
	part(r.Value != 0, "value %.6g", r.Value)
	part(r.P != 0, "p %.4g", r.P)
	part(r.Lo != 0 || r.Hi != 0, "from %.6g to %.6g", r.Lo, r.Hi)
	part(len(r.Names) > 0, "%s", strings.Join(r.Names, ","))
	part(r.Text != "", "%q", r.Text)
	for _, d := range r.Differs {
		part(true, "%s %q %q", d.Field, d.Was, d.Is)
	}
	part(len(r.Because) > 0, "because %v", r.Because)
	return b.String()
}

// Kind is what a reason says. Behind each is what else it holds.
type Kind string

// What stands in the way of a run's pass.
const (
	GateMissed     Kind = "gate-missed"     // Cell, Gate, Because
	GateUnclear    Kind = "gate-unclear"    // Cell, Gate, Because
	ControlFailed  Kind = "control-failed"  // Cell, Names: the kind of control, Because
	DeployFailed   Kind = "deploy-failed"   // Cell, Text
	TargetFailed   Kind = "target-failed"   // Cell, Trial, Because
	TrialInvalid   Kind = "trial-invalid"   // Cell, Trial, Because
	RunCutShort    Kind = "run-cut-short"   //
	RunInterrupted Kind = "run-interrupted" //
	TrialsMissing  Kind = "trials-missing"  // Tally: missing of planned; Names: their folders
	CellNotRun     Kind = "cell-not-run"    // Cell, Text
	NoTimeLeft     Kind = "no-time-left"    // Tally: trials that were not begun, of those planned; Repeats that were not; Limit: of the run; Time: that it would have taken
	NoTrials       Kind = "no-trials"       //
	NoGates        Kind = "no-gates"        //
)

// Why a trial is invalid.
const (
	TrialCutShort      Kind = "trial-cut-short"      //
	TrialError         Kind = "trial-error"          // Text
	TrialInterrupted   Kind = "trial-interrupted"    // Time: after the start
	RecordDamaged      Kind = "record-damaged"       // Text
	EventsLost         Kind = "events-lost"          // Time: after the start; Text
	ActionFailed       Kind = "action-failed"        // Text; the target's failure, and no reason but where the lab did not see all of it
	ActionError        Kind = "action-error"         // Text
	ActionNotStarted   Kind = "action-not-started"   //
	ActionWithheld     Kind = "action-withheld"      // Tally: failed of planned in the baseline phase
	NeverCalm          Kind = "never-calm"           // Time: from the end of the action to that of the load; the target's failure
	NeverQuiet         Kind = "never-quiet"          // the same where nothing failed, and the runtime was still changing something
	ActionNotCompleted Kind = "action-not-completed" //
	ActionOutlasted    Kind = "action-outlasted"     // Time: behind the window
	NoLoadPlanned      Kind = "no-load-planned"      //
	NoRequests         Kind = "no-requests"          //
	LoadIncomplete     Kind = "load-incomplete"      // Tally: sent of planned; Value: a rate that may do
	RecordIncomplete   Kind = "record-incomplete"    // Tally: recorded of sent
	LoadLate           Kind = "load-late"            // Time: p99 of the schedule's lag; Limit; Value: a rate that may do
	HarnessFailed      Kind = "harness-failed"       // N: requests
	MachineSaturated   Kind = "machine-saturated"    // Tally: lost by it of failed; Time: how long; Value: a rate that would do
	NotMadeUp          Kind = "not-made-up"          // in Because of TrialInvalid. Tally: losses that are not the harness's, of all
	PhaseEmpty         Kind = "phase-empty"          // Names: the phase
	PhaseUncovered     Kind = "phase-uncovered"      // Names: the phase; Time: covered; Limit: its length
	EarlyFailures      Kind = "early-failures"       // N: requests between the baseline phase and the action
	BaselineFailures   Kind = "baseline-failures"    // Tally: failed of planned
	BaselineServers    Kind = "baseline-servers"     // Tally: instances that served, of those asked for
	BaselineUnnamed    Kind = "baseline-unnamed"     // the same where no answer names an instance
	FinalServers       Kind = "final-servers"        // Tally: instances that were sent requests, of those asked for; Time: how long
	FinalUnnamed       Kind = "final-unnamed"        // the same, ready ones, where no answer names an instance
	ProbesSparse       Kind = "probes-sparse"        // Names: the instance; Time: unknown; Limit: called ready
	NoneReady          Kind = "none-ready"           //
	ReferenceSilent    Kind = "reference-silent"     //
	ReferenceDisagrees Kind = "reference-disagrees"  // Tally: its ok of planned; Lo, Hi; Load; Names: the stream, where it is about one
	ReferenceSawMore   Kind = "reference-saw-more"   // Tally: failures that it alone saw, of its requests
	FaultNotProven     Kind = "fault-not-proven"     // Names: the fault, what it was done to; Tally: proven of injected; Text: what was seen or went wrong
	FaultOutlived      Kind = "fault-outlived"       // Names; Time: from its planned end to that of the window, or to its healing behind it; Text
	FaultError         Kind = "fault-error"          // Names; Text
)

// What a reader of a valid trial's numbers must know.
const (
	WarmUpFailures   Kind = "warm-up-failures"  // N: requests
	NobodyWatched    Kind = "nobody-watched"    // Time: from the end of the command to that of the load
	SaturatedBesides Kind = "saturated-besides" // as MachineSaturated, where the others miss a gate by themselves
	LittleIdle       Kind = "little-idle"       // Lo: the share of the CPUs that was idle; Hi: what must be; Value: a rate that would do
	ReferenceDiffers Kind = "reference-differs" // as ReferenceDisagrees, where both saw too many failures
)

// Why a gate was judged as it was.
const (
	NoSuchDesign      Kind = "no-such-design"      //
	NoSuchMetric      Kind = "no-such-metric"      //
	BadOperator       Kind = "bad-operator"        // Names: the operator
	BadLimit          Kind = "bad-limit"           //
	NoValidTrial      Kind = "no-valid-trial"      //
	NothingPlanned    Kind = "nothing-planned"     //
	NothingToComplete Kind = "nothing-to-complete" //
	NothingToDeny     Kind = "nothing-to-deny"     //
	NoFault           Kind = "no-fault"            //
	RateAtLeast       Kind = "rate-at-least"       // Tally: ok of planned; Lo, Alpha; Lossy; Value: the share of trials up to which an event would not have been seen
	RateAtMost        Kind = "rate-at-most"        // Tally; Hi, Alpha; Lossy
	RateUnclear       Kind = "rate-unclear"        // Tally; Lo, Hi, Alpha; Lossy
	WorstTrial        Kind = "worst-trial"         // Gate, Value, Trial; Of: how many trials
	WorstWithout      Kind = "worst-without"       // the same where the worst trial has no value
	InvalidBreached   Kind = "invalid-breached"    // Trial; N: breaches
	CompletedEach     Kind = "completed-each"      // Of: trials
	NotCompleted      Kind = "not-completed"       // Trial; Because: what the target did wrong
	CompletionUnknown Kind = "completion-unknown"  // Trial
	NotComparable     Kind = "not-comparable"      // no time of which less is better
	NothingToCompare  Kind = "nothing-to-compare"  // Names: the design that has no trial
	TrialsNotValid    Kind = "trials-not-valid"    // in Because of a reason that would be a pass
	TrialsNotRun      Kind = "trials-not-run"      // likewise: there was no time for all of them
)

// Why a control held or did not.
const (
	UnprovokedFailures Kind = "unprovoked-failures" // N: requests
	NothingFailed      Kind = "nothing-failed"      // Of: requests
	CannotTell         Kind = "cannot-tell"         // Of: requests
	LostTooLittle      Kind = "lost-too-little"     // Tally: failed of planned; Time: median downtime; Limit
	SomeFailed         Kind = "some-failed"         // Tally: failed of planned
	MissesLimit        Kind = "misses-limit"        // Gate: of another design; Because: why it is missed
	MeetsLimits        Kind = "meets-limits"        // Of: limits that are set on other designs
	DidHarm            Kind = "did-harm"            // Tally: breaches, and false evictions
	ActionsFailed      Kind = "actions-failed"      // Tally: trials in which the target failed, of all
	NeverRun           Kind = "never-run"           //
)

// Why a comparison came out as it did. Names are B, A and the metric; Value is the margin, P the
// one-sided p that B is worse.
const (
	TooFewTrials  Kind = "too-few-trials"  // Tally: valid trials of A and of B
	TooManyTrials Kind = "too-many-trials" // Tally: trials, and how many can be compared
	NeverSure     Kind = "never-sure"      // Tally: trials of A and of B; Value: the least p that they can give
	Worse         Kind = "worse"           // Lo, P
	NoWorse       Kind = "no-worse"        //
	WorseWithin   Kind = "worse-within"    // Lo, Hi, P: surely worse, and surely by no more than the margin
	MayBeWorse    Kind = "may-be-worse"    // Lo, Hi, P
)

// Why there is nothing that a gate against earlier runs can be held against. Names: the file.
const (
	NoBaseline      Kind = "no-baseline"       // none was named
	BaselineMissing Kind = "baseline-missing"  // Text: why
	NotInBaseline   Kind = "not-in-baseline"   //
	BaselineDiffers Kind = "baseline-differs"  // Differs
	NotMeasuredNow  Kind = "not-measured-now"  // Text: what
	NotMeasuredThen Kind = "not-measured-then" // Text: what
)

// What a reader must know beside the verdict.
const (
	GateWarns          Kind = "gate-warns"            // Cell, Gate, Because
	WorseWithinMargin  Kind = "worse-within-margin"   // Cell, Gate, Because: a gate that is met
	BaselineUnasked    Kind = "baseline-unasked"      // Names: the file; no gate is against it
	ComparedAllTheSame Kind = "compared-all-the-same" // Cell, Differs: with --allow-different-environment
)

package record

import (
	"fmt"
	"strconv"
	"time"
)

// Run describes a run: what was asked for and where it ran. It is written before the
// first trial, so that a run that was cut short can still be judged.
type Run struct {
	Schema  string `json:"schema"` // RunSchema
	Tool    Tool   `json:"tool"`
	ID      string `json:"run_id"`
	Started string `json:"started"` // RFC 3339, UTC
	Command string `json:"command"` // what reproduces the run, as typed
	// Labels say what was run, in the words of whoever ran it.
	Labels map[string]string `json:"labels,omitempty"`

	Environment Environment `json:"environment"`
	Scenarios   []Scenario  `json:"scenarios"`
	Baseline    *Baseline   `json:"baseline,omitempty"` // nil: none was named
	Trials      []string    `json:"trials"`             // folders of the planned trials, in order, as many as there may be; repeats of invalid ones are added behind

	// LeftOut are the scenarios of a suite that were not run, by driver.
	LeftOut []LeftOut `json:"left_out,omitempty"`

	Preflight *Preflight    `json:"preflight,omitempty"`   // nil: nobody asked which rate the machine holds
	MaxTime   time.Duration `json:"max_time_ns,omitempty"` // that the run may take; 0 means as long as it takes
}

// RunSchema names the layout of a run's files and the words in them. Readers refuse any
// other: the record is no interface.
const RunSchema = "rollout-lab.run/v3"

// FormatError says that a file of a record is not of the layout that this program reads.
type FormatError struct {
	File string // its path
	What string // what is different
}

func (e *FormatError) Error() string { return e.File + " " + e.What }

// Hint says what to do about it.
func (e *FormatError) Hint() string {
	return "another version of rollout-lab made this record, with other words and perhaps other definitions: record the run again, or read it with that version"
}

// Tool is the program that made the record.
type Tool struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
}

// Environment is the machine that the run ran on.
type Environment struct {
	OS          string            `json:"os"`
	Arch        string            `json:"arch"`
	CPUs        int               `json:"cpus"`
	Kernel      string            `json:"kernel"`
	Go          string            `json:"go"`
	Runtimes    map[string]string `json:"runtimes"`    // driver name -> version of its runtime
	Fingerprint string            `json:"fingerprint"` // hash of the fields above: runs with different ones are not compared
}

// Scenario is what a scenario asked for, with everything that judging it needs.
type Scenario struct {
	Name     string            `json:"name"`
	Suite    string            `json:"suite,omitempty"` // that it is reported with
	About    string            `json:"about"`
	SHA256   string            `json:"sha256"` // of Source after variables were filled in
	Source   string            `json:"source"`
	Vars     map[string]string `json:"vars"`
	Rate     float64           `json:"rate"`
	Window   time.Duration     `json:"window_ns"`
	Action   string            `json:"action"`
	Replicas int               `json:"replicas"`
	Trials   TrialRange        `json:"trials"`
	// Conditions are what its trials are measured under, by key: see scenarios.
	Conditions map[string]string `json:"conditions,omitempty"`
	Designs    []string          `json:"designs"`
	Gates      []Gate            `json:"gates"`
	// Positive names the designs that are known to fail here: where one shows no
	// failure, the experiment cannot tell good from bad and is inconclusive.
	Positive []string `json:"positive_controls"`
	// PositiveOn names the drivers on which one of them must, by its design; none means on
	// every one.
	PositiveOn map[string][]string `json:"positive_controls_on,omitempty"`
}

// Preflight is which rate the machine held, before anything was deployed, against an echo.
type Preflight struct {
	Asked float64       `json:"asked"`        // requests a second: the most that a scenario asks for
	Held  float64       `json:"held"`         // the most that was held, no more than Asked; 0: nothing that was tried
	Lag   time.Duration `json:"lag_p99_ns"`   // of the schedule, at Held, or at the lowest rate that was tried
	Limit time.Duration `json:"lag_limit_ns"` // up to which a rate is held
	Auto  bool          `json:"auto"`         // the rate was to be chosen by it
	// Instead is what scenarios asked for, by their name, whose rate was chosen lower.
	Instead map[string]float64 `json:"instead,omitempty"`
}

// TrialRange is how many trials there are of each cell, repeats of invalid ones not among them:
// always as many where both are the same, and else until every gate is decided.
type TrialRange struct {
	Least int `json:"least"`
	Most  int `json:"most"`
}

// Open says whether the number of trials depends on what they show.
func (r TrialRange) Open() bool { return r.Least < r.Most }

// String is how a scenario writes it: 3, or 3..8.
func (r TrialRange) String() string {
	if !r.Open() {
		return strconv.Itoa(r.Most)
	}
	return fmt.Sprintf("%d..%d", r.Least, r.Most)
}

// Gate is a limit on a metric of a design's cells, or, with Against, that the metric is not
// worse there than elsewhere.
type Gate struct {
	Design string `json:"design"`
	Metric string `json:"metric"` // a name in package metric
	// Op is >= or <=.
	Op string `json:"op,omitempty"`
	// Limit is a rate 0..1, a count, or milliseconds, as the metric has it; with Share it is a
	// share, 0..1, of the requests planned.
	Limit float64 `json:"limit"`
	Share bool    `json:"share,omitempty"`
	// Stream is the stream whose requests alone are meant, "" for all.
	Stream string `json:"stream,omitempty"`

	// Against is what the design is held against: another design of the scenario, or PastRuns.
	Against string `json:"against,omitempty"`
	// Margin is how much more does not matter; 0 leaves it to judge.
	Margin time.Duration `json:"margin_ns,omitempty"`

	// Warn: a miss is a warning and no failure.
	Warn bool `json:"warn,omitempty"`
}

// PastRuns is what a gate is against that holds a design against what earlier runs showed of it.
const PastRuns = "baseline"

// RunEnd closes a run; a run without one was cut short.
type RunEnd struct {
	Ended       string        `json:"ended"`
	Duration    time.Duration `json:"duration_ns"`
	Interrupted bool          `json:"interrupted"`
	// Skipped says which cells could not be run, and why (a driver that is not there).
	Skipped []Skipped `json:"skipped,omitempty"`
	// Stopped says why there are no more trials, of scenarios whose number of trials is open or
	// for which there was no more time.
	Stopped []Stopped `json:"stopped,omitempty"`
}

// StopReason is why there are no more trials of a scenario on a driver.
type StopReason string

// The reasons.
const (
	GatesDecided StopReason = "gates_decided" // no gate is left that more trials could decide
	VerdictFinal StopReason = "verdict_final" // it fails, whatever the rest would have shown
	MostTrials   StopReason = "most_trials"   // as many as there may be were run
	OutOfTime    StopReason = "out_of_time"   // the rest would not have ended within the run's MaxTime
)

// Stopped is where the trials of a scenario on a driver ended.
type Stopped struct {
	Scenario string     `json:"scenario"`
	Driver   string     `json:"driver"`
	Why      StopReason `json:"why"`
	Rounds   int        `json:"rounds"` // begun: one is a trial of every design
	// NotRun are the folders of planned trials that were not begun.
	NotRun []string `json:"not_run,omitempty"`
	// Repeats are how many repeats of invalid trials there was no time for, and Needs how long
	// the trials that were not run would have taken, by what the others took.
	Repeats int           `json:"repeats_not_run,omitempty"`
	Needs   time.Duration `json:"needs_ns,omitempty"`
}

// LeftOut is a scenario of a suite that a driver cannot run here: nobody asked for it by name,
// so the run is complete without it, and says so.
type LeftOut struct {
	Scenario string `json:"scenario"`
	Driver   string `json:"driver"`
	Why      string `json:"why"`
}

// Skipped is a cell of which a trial could not be run.
type Skipped struct {
	Scenario string `json:"scenario"`
	Driver   string `json:"driver"`
	Design   string `json:"design"`
	Why      string `json:"why"`
	// ByTarget: it was deployed and did not serve. Else the runtime, or the lab, is to blame.
	ByTarget bool `json:"by_target,omitempty"`
	// Hint is the way out that the error carries, empty where it has none.
	Hint string `json:"hint,omitempty"`
	// Unavailable: the driver cannot run here.
	Unavailable bool `json:"unavailable,omitempty"`
}

// TrialData is a whole trial read back from its folder.
type TrialData struct {
	Trial     Trial
	Gates     []Gate   // those that its scenario sets on its design
	Folder    string   // relative to the run's folder, slashes
	Samples   []Sample // by Seq, no Seq twice
	Reference []Sample // requests of the independent client, by Seq
	Events    []Event  // by At
	Probes    []ProbeResult
	Pressure  []Pressure // by At; empty where the system does not tell
	End       *End       // nil when the trial was cut short
	Damage    []string   // what could not be read, for people: a torn last line, a Seq twice
}

// Waits are the readings of the CPUs where the system tells how long tasks wait for one, and none
// where it does not.
func (d *TrialData) Waits() []Pressure {
	if d.Trial.Pressure.Waited == "" {
		return nil
	}
	return d.Pressure
}

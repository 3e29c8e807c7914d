package reports

import (
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/record"
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

// Document is results.json, schema SchemaName. Durations are milliseconds, rates 0..1,
// and null means that the thing did not happen or that there is no data. Offsets
// (from_ms, to_ms, last_ok_ms) count from the start of the action.
type Document struct {
	Schema      string          `json:"schema"`
	Tool        Tool            `json:"tool"`
	RunID       string          `json:"run_id"`
	Started     string          `json:"started"`
	DurationMS  *Milliseconds   `json:"duration_ms"` // null: the run was cut short
	Command     string          `json:"command"`
	Partial     bool            `json:"partial"`
	Environment Environment     `json:"environment"`
	Scenario    *Scenario       `json:"scenario"` // the first of Scenarios
	Scenarios   []Scenario      `json:"scenarios"`
	Verdict     judge.Verdict   `json:"verdict"`
	Headline    string          `json:"headline"`
	Reasons     []string        `json:"reasons"`
	Cells       []Cell          `json:"cells"`
	Gates       []Gate          `json:"gates"`
	Comparisons []Comparison    `json:"comparisons"`
	Controls    []Control       `json:"controls"`
	Skipped     []SkippedDesign `json:"skipped"`
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
	Runtimes    map[string]string `json:"runtimes"`
	Fingerprint string            `json:"fingerprint"`
}

// Scenario is what was asked for.
type Scenario struct {
	Name     string       `json:"name"`
	SHA256   string       `json:"sha256"`
	Rate     float64      `json:"rate"`
	WindowMS Milliseconds `json:"window_ms"`
	Action   string       `json:"action"`
	Replicas int          `json:"replicas"`
	About    string       `json:"about"`
	Designs  []string     `json:"designs"`
}

// Cell is a scenario on a driver with a design.
type Cell struct {
	Scenario string  `json:"scenario"`
	Driver   string  `json:"driver"`
	Action   string  `json:"action"`
	Design   string  `json:"design"`
	Trials   []Trial `json:"trials"`
	Summary  Summary `json:"summary"`
}

// Summary is the estimates over the valid trials of a cell.
type Summary struct {
	SuccessRate     Estimate     `json:"success_rate"`
	Pooled          Pooled       `json:"pooled"`
	DowntimeMS      Estimate     `json:"downtime_ms"`
	LongestOutageMS Estimate     `json:"longest_outage_ms"`
	RecoveryMS      Estimate     `json:"recovery_ms"`
	Planned         uint64       `json:"planned"`
	Failed          uint64       `json:"failed"`
	Breaches        uint64       `json:"breaches"`
	ValidTrials     int          `json:"valid_trials"`
	InvalidTrials   int          `json:"invalid_trials"`
	ErrorBudget     *ErrorBudget `json:"error_budget"` // null without a valid trial
}

// Pooled is the success rate of all the valid trials' requests together. Lo and Hi are its
// one-sided 95 % Clopper-Pearson bounds, each for itself; they assume that requests fail
// independently of each other. Rates are null when nothing was planned.
type Pooled struct {
	OK      uint64   `json:"ok"`
	Planned uint64   `json:"planned"`
	Rate    *float64 `json:"rate"`
	Lo      *float64 `json:"lo"`
	Hi      *float64 `json:"hi"`
}

// Estimate is a median over the valid trials with their range; all null when N is 0.
type Estimate struct {
	Median *float64 `json:"median"`
	Lo     *float64 `json:"lo"`
	Hi     *float64 `json:"hi"`
	N      int      `json:"n"`
}

// ErrorBudget holds the mean downtime against 99.9 % over 30 days.
type ErrorBudget struct {
	Share   float64 `json:"share"`   // of the budget, that one action takes
	Affords *uint64 `json:"affords"` // such actions in 30 days; null: no limit, nothing was lost
}

// Trial is the metrics of one trial.
type Trial struct {
	N              int      `json:"n"`
	Repeats        int      `json:"repeats"`
	Partial        bool     `json:"partial"`
	Valid          bool     `json:"valid"`
	InvalidReasons []string `json:"invalid_reasons"`
	Notes          []string `json:"notes"` // where the runtime deployed something else than was asked for

	Planned         uint64        `json:"planned"`
	Sent            uint64        `json:"sent"`
	OK              uint64        `json:"ok"`
	Failed          uint64        `json:"failed"`
	SuccessRate     *float64      `json:"success_rate"` // null: nothing was planned in the window
	DowntimeMS      Milliseconds  `json:"downtime_ms"`
	LongestOutageMS *Milliseconds `json:"longest_outage_ms"`
	LongestOutage   *Outage       `json:"longest_outage"`
	Outages         int           `json:"outages"`
	BinsDownMS      *Milliseconds `json:"bins_down_ms"`
	BinsDegradedMS  *Milliseconds `json:"bins_degraded_ms"`
	Bins            []BinTimes    `json:"bins"`
	DisruptionLagMS *Milliseconds `json:"disruption_lag_ms"`
	RecoveryMS      *Milliseconds `json:"recovery_ms"`
	ConvergenceMS   *Milliseconds `json:"convergence_ms"`
	FalseReadyMS    Milliseconds  `json:"false_ready_ms"`
	FalseUnreadyMS  Milliseconds  `json:"false_unready_ms"`
	SyncMS          *Milliseconds `json:"sync_ms"`
	Breaches        uint64        `json:"breaches"`
	Denials         uint64        `json:"denials"`
	HiddenRetries   uint64        `json:"hidden_retries"`
	SentToUnready   uint64        `json:"sent_to_unready"`

	ScheduleLagP99MS     *Milliseconds `json:"schedule_lag_p99_ms"`
	ScheduleLagMS        *Percentiles  `json:"schedule_lag_ms"`
	LatencyMS            *Percentiles  `json:"latency_ms"`
	LatencyUncorrectedMS *Percentiles  `json:"latency_uncorrected_ms"`

	Streams   []Stream   `json:"streams"`
	Errors    []Failure  `json:"errors"`
	Instances []Instance `json:"instances"`
	Baseline  Baseline   `json:"baseline"`
	Reference *Reference `json:"reference"` // null: it sent nothing
	Cost      Cost       `json:"cost"`
	Files     string     `json:"files"`
}

// Outage is the longest outage with its bracket.
type Outage struct {
	FromMS       Milliseconds  `json:"from_ms"`
	ToMS         Milliseconds  `json:"to_ms"`
	LastOKMS     *Milliseconds `json:"last_ok_ms"`
	Failures     int           `json:"failures"`
	Open         bool          `json:"open"`
	ResolutionMS *float64      `json:"resolution_ms"` // 1/rate
}

// BinTimes is down and degraded time at one width of the bins.
type BinTimes struct {
	BinMS      Milliseconds `json:"bin_ms"`
	DownMS     Milliseconds `json:"down_ms"`
	DegradedMS Milliseconds `json:"degraded_ms"`
}

// Percentiles of a duration.
type Percentiles struct {
	P50  Milliseconds `json:"p50"`
	P90  Milliseconds `json:"p90"`
	P99  Milliseconds `json:"p99"`
	P999 Milliseconds `json:"p999"`
	Max  Milliseconds `json:"max"`
	N    uint64       `json:"n"`
}

// Stream is how one stream fared in the window.
type Stream struct {
	Name    string `json:"name"`
	Planned uint64 `json:"planned"`
	OK      uint64 `json:"ok"`
}

// Failure is how often a class of failure occurred in the window.
type Failure struct {
	Class  record.Class `json:"class"`
	Count  uint64       `json:"count"`
	Reason string       `json:"reason"`
}

// Instance is how one instance answered in the window; an empty id stands for requests
// that no instance answered.
type Instance struct {
	ID       string `json:"id"`
	Revision string `json:"revision"`
	OK       uint64 `json:"ok"`
	Failed   uint64 `json:"failed"`
}

// Baseline is the stretch of the trial in which nothing happened.
type Baseline struct {
	Planned   uint64       `json:"planned"`
	Failed    uint64       `json:"failed"`
	Instances int          `json:"instances"`
	P99MS     Milliseconds `json:"p99_ms"`
}

// Reference is the independent client's view of the window.
type Reference struct {
	Planned uint64   `json:"planned"`
	OK      uint64   `json:"ok"`
	Lo      *float64 `json:"lo"`
	Hi      *float64 `json:"hi"`
	Agrees  bool     `json:"agrees"`
}

// Cost is what the trial cost the machine.
type Cost struct {
	CPUMS       Milliseconds `json:"cpu_ms"`
	ChildrenMS  Milliseconds `json:"children_cpu_ms"`
	MaxRSSBytes int64        `json:"max_rss_bytes"`
}

// Gate is a gate held against the cell that it names.
type Gate struct {
	Cell     string        `json:"cell"`
	Metric   string        `json:"metric"`
	Op       string        `json:"op"`
	Limit    *float64      `json:"limit"`
	Observed *float64      `json:"observed"`
	Lo       *float64      `json:"lo"`
	Hi       *float64      `json:"hi"`
	Verdict  judge.Verdict `json:"verdict"`
	Design   string        `json:"design"`
	Why      string        `json:"why"`
}

// Comparison holds two designs against each other on one metric.
type Comparison struct {
	Scenario string        `json:"scenario"`
	Driver   string        `json:"driver"`
	Action   string        `json:"action"`
	A        string        `json:"a"`
	B        string        `json:"b"`
	Metric   string        `json:"metric"`
	Shift    *float64      `json:"shift"`
	Lo       *float64      `json:"lo"`
	Hi       *float64      `json:"hi"`
	P        *float64      `json:"p"`
	Verdict  judge.Verdict `json:"verdict"`
	Why      string        `json:"why"`
}

// Control is a check that the experiment can tell good from bad.
type Control struct {
	Cell string `json:"cell"`
	Kind string `json:"kind"`
	Held bool   `json:"held"`
	Why  string `json:"why"`
}

// SkippedDesign is a cell that could not be run.
type SkippedDesign struct {
	Scenario string `json:"scenario"`
	Driver   string `json:"driver"`
	Design   string `json:"design"`
	Why      string `json:"why"`
}

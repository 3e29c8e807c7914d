package reports

import (
	"encoding/json"
	"errors"

	"github.com/rollout-lab/rollout-lab/internal/metric"
)

// Cell is a scenario on a driver with a design.
type Cell struct {
	// The name of the scenario.
	Scenario string `json:"scenario"`
	// The name of the driver.
	Driver string `json:"driver"`
	// The action, as in scenarios.
	Action string `json:"action"`
	// The name of the design.
	Design string `json:"design"`
	// Every trial that was run, invalid ones too, in the order in which they were run.
	Trials []Trial `json:"trials"`
	// The valid trials together.
	Summary Summary `json:"summary"`
}

// Summary is the valid trials of a cell together. It also has the metrics that are pooled:
// see MarshalJSON.
type Summary struct {
	// The requests of the valid trials added up.
	Pooled Pooled `json:"pooled"`
	// Requests planned in the windows of the valid trials.
	Planned uint64 `json:"planned"`
	// How many trials are valid.
	ValidTrials int `json:"valid_trials"`
	// How many trials are invalid. They are in no other number of the summary.
	InvalidTrials int `json:"invalid_trials"`
	// Why the requests of failed were lost, in the valid trials together, the most frequent cause first. The counts add up to failed.
	Causes []Cause `json:"causes"`
	// How the requests of the valid trials fared by revision, as in trials. The lost ones add up to failed. Empty: the action leads to no other revision.
	Revisions []RevisionLosses `json:"revisions"`
	// The mean downtime held against what 99.9 % over 30 days allow, which is 43.2 minutes. Null: no valid trial.
	ErrorBudget *ErrorBudget `json:"error_budget"`

	// By the metric's name.
	Estimates map[string]Estimate `json:"-"`
	Sums      map[string]uint64   `json:"-"`
}

// Pooled is the success rate of all valid trials together.
type Pooled struct {
	// Requests that were ok.
	OK uint64 `json:"ok"`
	// Requests that were planned.
	Planned uint64 `json:"planned"`
	// ok divided by planned, 0..1. Null: nothing was planned.
	Rate *float64 `json:"rate"`
	// The one-sided 95 % Clopper-Pearson lower bound of rate, 0..1; it assumes that requests fail independently of each other. Null: nothing was planned.
	Lo *float64 `json:"lo"`
	// The one-sided 95 % upper bound, likewise, 0..1. Both bounds together hold at 90 %. Null: nothing was planned.
	Hi *float64 `json:"hi"`
}

// Estimate is a metric over the valid trials, in the metric's own unit.
type Estimate struct {
	// The median over the trials, in the metric's unit. Null: n is 0.
	Median *float64 `json:"median"`
	// The least of the trials, in the metric's unit. Null: n is 0.
	Lo *float64 `json:"lo"`
	// The greatest of the trials, in the metric's unit. Null: n is 0.
	Hi *float64 `json:"hi"`
	// The number of trials that have a value.
	N int `json:"n"`
}

// ErrorBudget holds the mean downtime against 99.9 % over 30 days.
type ErrorBudget struct {
	// The share of the budget that one action takes; 1 is all of it.
	Share float64 `json:"share"`
	// How many such actions the budget affords in 30 days. Null: any number, nothing was lost.
	Affords *uint64 `json:"affords"`
}

// MarshalJSON writes the fields and, by its key, every metric that is pooled: an estimate,
// or a sum.
func (s Summary) MarshalJSON() ([]byte, error) {
	type fields Summary
	b, err := json.Marshal(fields(s))
	for _, m := range metric.All() {
		switch {
		case estimated(m):
			b = appendMember(b, m.Key, s.Estimates[m.Name], &err)
		case m.Pooling == metric.Sum:
			b = appendMember(b, m.Key, s.Sums[m.Name], &err)
		}
	}
	return b, err
}

// UnmarshalJSON reads what MarshalJSON has written.
func (s *Summary) UnmarshalJSON(b []byte) error {
	type fields Summary
	values := make(map[string]json.RawMessage)
	err := errors.Join(json.Unmarshal(b, (*fields)(s)), json.Unmarshal(b, &values))
	s.Estimates, s.Sums = make(map[string]Estimate), make(map[string]uint64)
	for _, m := range metric.All() {
		raw, ok := values[m.Key]
		switch {
		case !ok:
		case estimated(m):
			var e Estimate
			err = errors.Join(err, json.Unmarshal(raw, &e))
			s.Estimates[m.Name] = e
		case m.Pooling == metric.Sum:
			var n uint64
			err = errors.Join(err, json.Unmarshal(raw, &n))
			s.Sums[m.Name] = n
		}
	}
	return err
}

// estimated reports whether the trials of a cell give an estimate of a metric.
func estimated(m metric.Metric) bool {
	return m.Pooling == metric.Median || m.Pooling == metric.Rate
}

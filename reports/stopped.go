package reports

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/metric"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/reports/format"
)

// TrialRange is how many trials of each cell there were to be: always as many where both are the
// same, and else until every gate was decided.
type TrialRange struct {
	// At least.
	Least int `json:"least"`
	// At most.
	Most int `json:"most"`
}

// Stopped says where the trials of a scenario on a driver ended, and why.
type Stopped struct {
	// The name of the scenario.
	Scenario string `json:"scenario"`
	// The name of the driver.
	Driver string `json:"driver"`
	// gates_decided: no gate is left that more trials could decide. verdict_final: it fails, whatever the rest would have shown. most_trials: there may be no more. out_of_time: the rest would not have ended within max_time_ms.
	Why record.StopReason `json:"why"`
	// How many rounds were begun: one is a trial of every design.
	Rounds int `json:"rounds"`
	// How many trials were not run that there might have been.
	NotRun int `json:"not_run"`
	// How many repeats of invalid trials there was no time for.
	RepeatsNotRun int `json:"repeats_not_run"`
	// The same in a sentence.
	Text string `json:"text"`
}

// stopped are the scenarios of which the record says why they have no more trials.
func stopped(run *judge.Run) []record.Stopped {
	if run.End == nil {
		return nil
	}
	return run.End.Stopped
}

func newStopped(run *judge.Run) []Stopped {
	all := []Stopped{}
	for _, s := range stopped(run) {
		all = append(all, Stopped{Scenario: s.Scenario, Driver: s.Driver, Why: s.Why, Rounds: s.Rounds,
			NotRun: len(s.NotRun), RepeatsNotRun: s.Repeats, Text: stoppedText(run, s)})
	}
	return all
}

// stoppedText says why a scenario has no more trials on a driver.
func stoppedText(run *judge.Run, s record.Stopped) string {
	var limits record.TrialRange
	for _, of := range run.Record.Scenarios {
		if of.Name == s.Scenario {
			limits = of.Trials
		}
	}
	where := s.Scenario + " on " + s.Driver
	after := fmt.Sprintf("%s after %d of up to %d trials of each design: ", where, s.Rounds, limits.Most)
	switch s.Why {
	case record.GatesDecided:
		if undecided(run, s) {
			return after + "no gate is left that more trials could decide"
		}
		return after + "every gate is decided"
	case record.VerdictFinal:
		return after + "it fails, whatever more of them would show"
	case record.MostTrials:
		return fmt.Sprintf("%s after all %d trials of each design that there may be", where, limits.Most)
	case record.OutOfTime:
		return fmt.Sprintf("%s: --max-time %s left no time for %s", where, flagTime(run.Record.MaxTime), unfitText(s))
	}
	return after + string(s.Why)
}

// unfitText is what there was no time for.
func unfitText(s record.Stopped) string {
	return noTimeFor(len(s.NotRun), s.Repeats)
}

func noTimeFor(trials, repeats int) string {
	var what []string
	if trials > 0 {
		what = append(what, format.Plural(trials, "trial", "trials"))
	}
	if repeats > 0 {
		what = append(what, format.Plural(repeats, "repeat", "repeats")+" of invalid trials")
	}
	return strings.Join(what, " and ")
}

// undecided says whether a gate of a scenario on a driver is not decided.
func undecided(run *judge.Run, s record.Stopped) bool {
	return slices.ContainsFunc(run.Gates, func(g judge.GateResult) bool {
		return g.Verdict == judge.Inconclusive && (strings.HasPrefix(g.Cell, s.Scenario+"/"+s.Driver+"/") || strings.HasPrefix(g.Cell, s.Scenario+"/") && strings.Count(g.Cell, "/") == 1)
	})
}

// adviseOnTime says how much time would have been enough.
func adviseOnTime(_ *judge.Run, r judge.Reason) advice {
	needs := max(r.Time, r.Limit)
	return advice{Sentence(r), "Give it --max-time " + flagTime(needs+needs/10) + ", or ask for fewer --trials."}
}

// flagTime is a time as a flag takes it, in whole seconds, rounded up.
func flagTime(d time.Duration) string {
	s := int64(math.Ceil(d.Seconds()))
	if s < 60 || s%60 != 0 && s < 600 {
		return strconv.FormatInt(s, 10) + "s"
	}
	return strconv.FormatInt((s+59)/60, 10) + "m"
}

// confidence is how sure a bound is, rounded down.
func confidence(alpha float64) string {
	if alpha == 0 {
		alpha = metric.Alpha
	}
	return format.TrimZeros(fmt.Sprintf("%.2f", math.Floor(1e4*(1-alpha)+1e-6)/100)) + " %"
}

package reports

import (
	"fmt"
	"slices"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

// remedy is the flag, with its number, by which a trial is not invalid again for the same; "" where
// none is known.
func remedy(r judge.Reason, m *record.Trial) string {
	window := m.WindowTo - m.WindowFrom
	switch r.Kind {
	case judge.LoadLate, judge.LoadIncomplete, judge.RecordIncomplete, judge.HarnessFailed, judge.MachineSaturated, judge.PhaseEmpty, judge.PhaseUncovered,
		judge.ReferenceDisagrees, judge.ReferenceSawMore, judge.ReferenceSilent, judge.ProbesSparse:
		rate := r.Value
		if rate < 1 && m.Rate >= 100 { // below, it is not the rate that keeps the machine busy
			rate = m.Rate / 2
		}
		if rate >= 1 {
			return "--rate " + roundRate(rate)
		}
	case judge.ActionOutlasted, judge.FaultOutlived:
		return longerWindow(m, r.Time)
	case judge.ActionNotCompleted, judge.FinalServers, judge.FinalUnnamed:
		return longerWindow(m, window)
	case judge.NeverQuiet:
		if m.UntilCalm.Max > 0 {
			return "--max " + flagTime(2*m.UntilCalm.Max)
		}
	}
	return ""
}

// roundRate is a rate as people would choose one, no higher.
func roundRate(rate float64) string {
	unit := 1.0
	for rate/unit >= 100 {
		unit *= 10
	}
	return FlagRate(float64(int(rate/unit)) * unit)
}

// remedies are those of a trial, each once.
func remedies(reasons []judge.Reason, m *record.Trial) []string {
	all := []string{}
	for _, r := range reasons {
		if way := remedy(r, m); way != "" && !slices.Contains(all, way) {
			all = append(all, way)
		}
	}
	return all
}

// longerWindow is the flag for a window that has room for so much more. The window of a command
// ends by calm, and has none.
func longerWindow(m *record.Trial, more time.Duration) string {
	const room = 500 * time.Millisecond
	if m.Address != "" {
		return ""
	}
	long := m.WindowTo - m.WindowFrom + more + room
	return fmt.Sprintf("--window %ds", (long+time.Second-1)/time.Second)
}

// try turns a flag into a sentence, with another way where there is one.
func try(flag, otherwise string) string {
	switch {
	case flag == "" && otherwise == "":
		return "Give it more time."
	case flag == "":
		return capital(otherwise) + "."
	case otherwise == "":
		return "Try " + flag + "."
	}
	return "Try " + flag + ", or " + otherwise + "."
}

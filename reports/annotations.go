package reports

import (
	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/metric"
	"github.com/rollout-lab/rollout-lab/reports/format"
)

// Annotation is a line that a pipeline shows beside a job.
type Annotation struct {
	Level Level
	Title string // one line
	Text  string // one line
}

// Level is how much an annotation matters.
type Level string

// The levels, by the names that GitHub has for them.
const (
	Notice  Level = "notice"
	Warning Level = "warning"
	Error   Level = "error"
)

// MaxAnnotations is how many GitHub shows of a step.
const MaxAnnotations = 10

// Annotations are the verdict with why and what to do, and every gate that was not passed, the
// missed ones first. Where the run ends its job, what ended it is an error.
func Annotations(run *judge.Run, ends bool) []Annotation {
	level := Warning
	switch {
	case ends:
		level = Error
	case run.Verdict == judge.Pass:
		level = Notice
	}
	all := []Annotation{{level, "rollout-lab: " + verdictWord(run.Verdict), format.Clean(messageOf(run))}}
	for _, verdict := range []judge.Verdict{judge.Fail, judge.Inconclusive} {
		for _, g := range shownGates(run) {
			if verdictClass(g.Verdict) != verdict || len(all) == MaxAnnotations {
				continue
			}
			gate := Annotation{Warning, gateWord(g.Verdict) + ": " + format.Clean(g.Cell), gateText(g)}
			if ends && verdict == run.Verdict {
				gate.Level = Error
			}
			all = append(all, gate)
		}
	}
	return all
}

// Worst is the most that a valid run cost of what a gate is set on: the highest median of the
// downtime, and the lowest success rate of all valid trials together. ok is false where there is
// no valid trial.
func Worst(run *judge.Run) (downtimeMS, successRate float64, ok bool) {
	successRate = 1
	for i := range run.Cells {
		c := &run.Cells[i]
		sum := c.Totals()
		if !c.Decides || sum.Planned == 0 {
			continue
		}
		ok = true
		downtimeMS = max(downtimeMS, c.Estimates[metric.Downtime].Median)
		successRate = min(successRate, float64(sum.OK)/float64(sum.Planned))
	}
	return downtimeMS, successRate, ok
}

// Package reports turns a judged run into what people and machines read: results.json,
// the terminal's matrix, junit.xml, the report page, Markdown and the lines and numbers that
// pipelines show, and the timeline picture. It
// computes no metric and passes no judgement; every number comes from package judge.
// Output is a pure function of its input: the same run gives the same bytes.
//
// results.go makes the document behind results.json. report.html is the judged run and
// what page.go works out beside it, put into words by the functions of words.go, matrix.go
// and trials.go where the templates in page/ ask for them. What judge found becomes a
// sentence in sentences.go; why requests were lost, and what to do about it, in causes.go;
// which of that a reader is told right after the verdict, in why.go, of a target that
// failed in target.go and of a pass in pass.go. Every number is written by package format,
// every picture is drawn by package picture and written by package svg.
package reports

import (
	"slices"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

// group is what the matrix shows as one row: the designs of a scenario on a driver.
type group struct {
	Scenario, Driver, Action string
	Cells                    []*judge.Cell // one per design, as the run has them
	limits                   []record.Gate // those of the scenario
}

// groups collects the cells by scenario and driver, in the order of the run.
func groups(run *judge.Run) []group {
	var gs []group
	for i := range run.Cells {
		c := &run.Cells[i]
		at := slices.IndexFunc(gs, func(g group) bool {
			return g.Scenario == c.Scenario && g.Driver == c.Driver && g.Action == c.Action
		})
		if at < 0 {
			gs = append(gs, group{Scenario: c.Scenario, Driver: c.Driver, Action: c.Action, limits: limitsOf(run, c.Scenario)})
			at = len(gs) - 1
		}
		gs[at].Cells = append(gs[at].Cells, c)
	}
	return gs
}

// limitsOf are the gates of a scenario.
func limitsOf(run *judge.Run, scenario string) (all []record.Gate) {
	for _, s := range run.Record.Scenarios {
		if s.Name == scenario {
			all = append(all, s.Gates...)
		}
	}
	return all
}

// gated reports whether a gate is set on a metric.
func (g group) gated(name string) bool {
	return slices.ContainsFunc(g.limits, func(l record.Gate) bool { return l.Metric == name })
}

// any reports whether something is true of a trial.
func (g group) any(is func(*judge.Trial) bool) bool {
	for _, c := range g.Cells {
		for i := range c.Trials {
			if is(&c.Trials[i]) {
				return true
			}
		}
	}
	return false
}

// ranks names the designs of a group with the least and the most time lost, by the
// mean over the valid trials; both are empty when there is nothing to tell apart.
func ranks(g group) (best, worst string) {
	var lo, hi float64
	for _, c := range g.Cells {
		p := c.Totals()
		if p.Valid == 0 {
			continue
		}
		mean := p.MeanDowntime()
		if best == "" || mean < lo {
			best, lo = c.Design, mean
		}
		if worst == "" || mean > hi {
			worst, hi = c.Design, mean
		}
	}
	if lo == hi {
		return "", ""
	}
	return best, worst
}

// summed reports whether a cell has more than one valid trial, so that a sum and a median
// differ.
func (g group) summed() bool {
	return slices.ContainsFunc(g.Cells, func(c *judge.Cell) bool { return c.Totals().Valid > 1 })
}

// Package reports turns a judged run into what people and machines read: results.json,
// the terminal's matrix, junit.xml, the report page and the timeline picture. It
// computes no metric and passes no judgement; every number comes from package judge.
// Output is a pure function of its input: the same run gives the same bytes.
package reports

import (
	"slices"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/reports/format"
)

// group is what the matrix shows as one row: the designs of a scenario on a driver.
type group struct {
	Scenario, Driver, Action string
	Cells                    []*judge.Cell // one per design, as the run has them
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
			gs = append(gs, group{Scenario: c.Scenario, Driver: c.Driver, Action: c.Action})
			at = len(gs) - 1
		}
		gs[at].Cells = append(gs[at].Cells, c)
	}
	return gs
}

// pooled adds up what the valid trials of a cell planned and lost, and apart from it what
// the others did.
type pooled struct {
	Valid, Invalid                   int
	VoidPlanned, VoidFailed          uint64 // of the invalid trials
	Planned, OK, Failed              uint64
	Breaches, Denials, SentToUnready uint64
	Downtime                         time.Duration // sum
	Outages                          int           // valid trials with an outage
	OpenOutages                      int           // of them, those whose longest outage had not ended with the record
	Recovered                        int           // valid trials with a recovery
	Unrecovered                      int           // valid trials without one in their record
}

func pool(c *judge.Cell) pooled {
	var p pooled
	for i := range c.Trials {
		t := &c.Trials[i]
		if !t.Valid {
			p.Invalid++
			p.VoidPlanned += t.Planned
			p.VoidFailed += t.Failed
			continue
		}
		p.Valid++
		p.Planned += t.Planned
		p.OK += t.OK
		p.Failed += t.Failed
		p.Breaches += t.Breaches
		p.Denials += t.Denials
		p.Downtime += t.Downtime
		p.SentToUnready += t.SentToUnready
		if t.LongestOutage.Failures > 0 {
			p.Outages++
			if t.LongestOutage.Open {
				p.OpenOutages++
			}
		}
		if t.Recovery != nil {
			p.Recovered++
		} else {
			p.Unrecovered++
		}
	}
	return p
}

// meanLost is the mean downtime of the valid trials, in milliseconds.
func (p pooled) meanLost() float64 { return format.InMillis(p.Downtime) / float64(max(p.Valid, 1)) }

// ranks names the designs of a group with the least and the most time lost, by the
// mean over the valid trials; both are empty when there is nothing to tell apart.
func ranks(g group) (best, worst string) {
	var lo, hi float64
	for _, c := range g.Cells {
		p := pool(c)
		if p.Valid == 0 {
			continue
		}
		mean := p.meanLost()
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

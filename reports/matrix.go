package reports

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/metric"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/internal/timeline"
	"github.com/rollout-lab/rollout-lab/reports/format"
)

// entry is one number of the matrix with what qualifies it.
type entry struct {
	Value string
	Note  string
	Bad   bool // something was lost, or let in
}

func (e entry) text() string {
	if e.Note == "" {
		return e.Value
	}
	return e.Value + " (" + e.Note + ")"
}

// matrixRow is one number about a cell.
type matrixRow struct {
	def   string // ID of its definition, whose name it has
	label string // another name, of a row that belongs to the one above
	of    func(c *judge.Cell, p judge.Totals) entry
	when  func(g group) bool // nil: always; else where it has something to say
}

func (r matrixRow) name() string {
	if r.label != "" {
		return r.label
	}
	return definitions[slices.IndexFunc(definitions, func(d definition) bool { return d.ID == r.def })].Name
}

// rows are the rows of a group's matrix, the same for every cell, and in the terminal as in
// junit.xml, in Markdown and on the page: no other place decides what is shown of a cell.
//
// The causes follow what they add up to.
func (g group) rows() []matrixRow {
	rows := slices.DeleteFunc(slices.Concat(matrix, faultRows, trialRows), func(r matrixRow) bool { return r.when != nil && !r.when(g) })
	lost := slices.IndexFunc(rows, func(r matrixRow) bool { return r.def == "lost_requests" })
	return slices.Insert(rows, lost+1, g.causeRows()...)
}

// causeRows are a row for each cause that a cell lost requests to, the most frequent first.
func (g group) causeRows() (rows []matrixRow) {
	var all []judge.CauseCount
	for _, c := range g.Cells {
		for _, of := range c.Causes() {
			i := slices.IndexFunc(all, func(sum judge.CauseCount) bool { return sum.Cause == of.Cause })
			if i < 0 {
				i, all = len(all), append(all, judge.CauseCount{Cause: of.Cause})
			}
			all[i].Count += of.Count
		}
	}
	slices.SortStableFunc(all, func(a, b judge.CauseCount) int { return cmp.Compare(b.Count, a.Count) })
	for _, cause := range all {
		rows = append(rows, matrixRow{def: "cause", label: "  " + g.causeLabel(cause.Cause), of: func(c *judge.Cell, p judge.Totals) entry {
			for _, of := range c.Causes() {
				if of.Cause == cause.Cause {
					return entry{Value: format.Count(of.Count), Bad: true}
				}
			}
			if p.Planned == 0 {
				return entry{Value: "no data"}
			}
			return entry{Value: "0"}
		}})
	}
	return rows
}

// causeLabel is a cause in a word or two: what broke while it was ready has the name of the fault
// that it broke by, where that is one.
func (g group) causeLabel(cause judge.Cause) string {
	fault := ""
	for _, c := range g.Cells {
		for _, of := range c.Causes() {
			switch {
			case of.Cause != cause:
			case cause != judge.BrokenWhileReady, of.Fault == nil, fault != "" && fault != of.Fault.Name:
				return causeLabel(cause)
			default:
				fault = of.Fault.Name
			}
		}
	}
	if fault == "" {
		return causeLabel(cause)
	}
	return "broke: " + format.Shorten(format.Clean(fault), labelWidth-2-len("broke: "))
}

// denies reports whether a request had to be denied in any trial.
func (g group) denies() bool {
	return g.any(func(t *judge.Trial) bool { return t.Denials > 0 || t.Breaches > 0 })
}

var matrix = []matrixRow{
	{def: metric.SuccessRate, of: func(_ *judge.Cell, p judge.Totals) entry {
		return entry{Value: format.Share(p.OK, p.Planned), Bad: p.Failed > 0}
	}},
	{def: metric.SuccessRate, label: "  95 % bounds, each", of: bounds},
	{def: "lost_requests", of: func(_ *judge.Cell, p judge.Totals) entry {
		return entry{Value: format.Lost(p.Failed, p.Planned), Bad: p.Failed > 0}
	}},
	{def: metric.Downtime, of: func(c *judge.Cell, p judge.Totals) entry { return times(c.Estimates[metric.Downtime], p, "none") }},
	{def: metric.LongestOutage, of: longestOutage},
	{def: metric.Intermittent, of: intermittentTime, when: group.fails},
	{def: metric.Intermittent, label: "  lost meanwhile", of: lostMeanwhile, when: group.fails},
	{def: metric.Intermittent, label: "  from", of: failingInstances, when: group.fails},
	{def: metric.Recovery, of: recovery},
	{def: metric.Standstill, of: wait(metric.Standstill), when: waits(metric.Standstill)},
	{def: metric.SlowestRequest, of: wait(metric.SlowestRequest), when: waits(metric.SlowestRequest)},
	{def: metric.LateFailures, of: lateFailures, when: group.failsLate},
	{def: metric.Breaches, of: breaches, when: group.denies},
}

// trialRows are what the others rest on.
var trialRows = []matrixRow{
	{def: "trials", of: func(_ *judge.Cell, p judge.Totals) entry {
		return entry{Value: format.Plural(p.Valid, "trial", "trials")}
	}},
	{def: "trials", label: "  failed", of: failedTrials, when: group.targetFails},
	{def: "trials", label: "  discarded", of: discarded},
}

func bounds(c *judge.Cell, p judge.Totals) entry {
	if p.Planned == 0 {
		return entry{Value: "no data"}
	}
	return entry{Value: format.Rates(c.Bounds.Lo, c.Bounds.Hi)}
}

func longestOutage(c *judge.Cell, p judge.Totals) entry {
	e := times(c.Estimates[metric.LongestOutage], p, "none")
	if p.OpenOutages > 0 { // the record ended before the outage did
		e.Value = "at least " + e.Value
	}
	return e
}

// fails reports whether something failed again and again for longer than any outage was: then
// the longest outage alone would tell of too little.
func (g group) fails() bool {
	return g.gated(metric.Intermittent) ||
		g.any(func(t *judge.Trial) bool { return t.Valid && t.Intermittent.Total > t.LongestOutage.Len() })
}

// intermittentTime is how long requests failed again and again.
func intermittentTime(c *judge.Cell, p judge.Totals) entry {
	if longestIntermittent(c).Total == 0 {
		return nothing(p)
	}
	e := times(c.Estimates[metric.Intermittent], p, "none")
	e.Bad = true
	return e
}

// lostMeanwhile is the share of the requests that was lost meanwhile, and how often.
func lostMeanwhile(c *judge.Cell, p judge.Totals) entry {
	if i := longestIntermittent(c); i.Total > 0 {
		return entry{Value: format.RateUp(float64(i.Failures) / float64(i.Planned)), Note: "every " + format.Span(i.Period), Bad: true}
	}
	return nothing(p)
}

// failingInstances is how many instances those failures came from.
func failingInstances(c *judge.Cell, p judge.Totals) entry {
	switch i := longestIntermittent(c); {
	case i.Total == 0:
		return nothing(p)
	case i.Instances == 0:
		return entry{Value: "no instance known"}
	default:
		return entry{Value: format.Plural(i.Instances, "instance", "instances")}
	}
}

// longestIntermittent is that of the valid trial in which it went on for longest.
func longestIntermittent(c *judge.Cell) (longest timeline.Intermittent) {
	for i := range c.Trials {
		if t := &c.Trials[i]; t.Valid && t.Intermittent.Total > longest.Total {
			longest = t.Intermittent
		}
	}
	return longest
}

// nothing is what did not happen, as far as is known.
func nothing(p judge.Totals) entry {
	if p.Valid == 0 {
		return entry{Value: "no data"}
	}
	return entry{Value: "none"}
}

// failsLate reports whether a request failed behind the window, where it counts for nothing
// else.
func (g group) failsLate() bool {
	return g.gated(metric.LateFailures) || slices.ContainsFunc(g.Cells, func(c *judge.Cell) bool { return c.Sum(metric.LateFailures) > 0 })
}

func lateFailures(c *judge.Cell, p judge.Totals) entry {
	if p.Valid == 0 {
		return entry{Value: "no data"}
	}
	n := c.Sum(metric.LateFailures)
	return entry{Value: format.Count(uint64(n)), Bad: n > 0}
}

// leastWait is how long a wait is at least that a user notices, and longWait one that looks
// like a failure.
const (
	leastWait = 100 * time.Millisecond
	longWait  = time.Second
)

// waits reports whether a wait is worth a row: one that a user notices in any valid trial,
// and twice as long as the baseline phase's slowest, before anything was done.
func waits(name string) func(g group) bool {
	return func(g group) bool {
		return g.gated(name) || g.any(func(t *judge.Trial) bool { return t.Valid && waited(t, name, leastWait) })
	}
}

// waited reports whether users waited for so long, and longer than they do anyway.
func waited(t *judge.Trial, name string, least time.Duration) bool {
	ms, ok := t.Value(name)
	return ok && ms >= format.InMillis(max(least, 2*t.Baseline.P99))
}

// wait prints a time for which users waited: nothing need have failed for it.
func wait(name string) func(c *judge.Cell, p judge.Totals) entry {
	return func(c *judge.Cell, p judge.Totals) entry {
		e := times(c.Estimates[name], p, "none")
		e.Bad = slices.ContainsFunc(c.Trials, func(t judge.Trial) bool { return t.Valid && waited(&t, name, longWait) })
		return e
	}
}

func breaches(_ *judge.Cell, p judge.Totals) entry {
	if p.Valid == 0 {
		return entry{Value: "no data"}
	}
	return entry{Value: format.Count(p.Breaches), Note: "of " + format.Count(p.Denials) + " to be denied", Bad: p.Breaches > 0}
}

func budgetEntry(_ *judge.Cell, p judge.Totals) entry {
	b, ok := p.Budget()
	switch {
	case !ok:
		return entry{Value: "no data"}
	case b.Affords == nil:
		return entry{Value: "nothing spent"}
	}
	return entry{Value: format.Tenths(math.Ceil(b.Share*1000)/10) + " %", Note: "affords " + format.Count(*b.Affords) + " in 30 days"}
}

// targetFails reports whether the target failed in a trial, whatever the numbers say.
func (g group) targetFails() bool {
	return g.any(func(t *judge.Trial) bool { return len(t.Failures) > 0 })
}

// failedTrials is in how many trials the target failed.
func failedTrials(c *judge.Cell, _ judge.Totals) entry {
	n := 0
	for i := range c.Trials {
		if len(c.Trials[i].Failures) > 0 {
			n++
		}
	}
	if n == 0 {
		return entry{Value: "none"}
	}
	return entry{Value: format.Plural(n, "trial", "trials"), Bad: true}
}

// discarded says what the invalid trials lost: to discard a trial must not hide it. What an
// interrupt kept from being sent was not lost.
func discarded(_ *judge.Cell, p judge.Totals) entry {
	switch {
	case p.Invalid == 0:
		return entry{Value: "none"}
	case p.DiscardedPlanned == 0:
		return entry{Value: format.Plural(p.Invalid, "trial", "trials"), Note: "no data"}
	}
	note := "lost " + format.Count(p.DiscardedLost)
	if unsent := p.DiscardedFailed - p.DiscardedLost; unsent > 0 {
		note += ", " + format.Count(unsent) + " never sent"
	}
	return entry{Value: format.Plural(p.Invalid, "trial", "trials"), Note: note}
}

// times prints an estimate of a time: the median and the range of the trials. It says
// none only if no trial had any.
func times(e judge.Estimate, p judge.Totals, none string) entry {
	switch {
	case e.N == 0 || p.Valid == 0 || math.IsNaN(e.Median):
		return entry{Value: "no data"}
	case p.Failed == 0 && e.Hi == 0:
		return entry{Value: none}
	}
	out := entry{Value: format.Millis(e.Median), Bad: p.Failed > 0}
	if lo, hi := format.Millis(e.Lo), format.Millis(e.Hi); lo != hi {
		out.Note = format.Between(lo, hi)
	}
	return out
}

// recovery prints the estimate of the recovery, and how many trials never got there: a
// median over the others alone would flatter. It is at once only where nothing failed.
func recovery(c *judge.Cell, p judge.Totals) entry {
	switch {
	case p.Valid == 0:
		return entry{Value: "no data"}
	case p.Recovered == 0:
		return entry{Value: "not seen", Bad: true}
	}
	e := c.Estimates[metric.Recovery]
	out := times(e, p, "at once")
	if c.Faulted() && p.Unrecovered == 0 && e.Hi == 0 {
		out = entry{Value: "at once"} // what was lost was lost while the fault was there
	}
	if p.Unrecovered > 0 {
		out.Note = fmt.Sprintf("not seen in %d of %d trials", p.Unrecovered, p.Valid)
		out.Bad = true
	}
	return out
}

func skipped(run *judge.Run) []record.Skipped {
	if run.End == nil {
		return nil
	}
	return run.End.Skipped
}

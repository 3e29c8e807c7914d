package judge

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/metric"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

// alpha is one minus the confidence of every interval that is shown: one-sided for
// rates, two-sided for shifts.
const alpha = 0.05

// Judge judges a run from its description, its end (nil when it was cut short), the
// folders of planned trials that are missing, and the measured trials in their order.
//
// The verdict is Fail when a gate failed; else Inconclusive when anything stands in the
// way of a pass: a gate or a control that is not clear, a trial that is invalid and was
// not made up for by a valid repeat, a run that is partial or skipped something, no gate,
// no data; else Pass. Comparisons inform and do not decide: no limit is set on them.
func Judge(run record.Run, end *record.RunEnd, missing []string, trials []Trial) Run {
	r := Run{Record: run, End: end, Cells: cells(trials)}
	r.Partial = end == nil || end.Interrupted || len(missing) > 0
	for i := range r.Cells {
		for _, t := range unrepaired(&r.Cells[i]) {
			r.Partial = r.Partial || t.Partial
		}
	}
	for _, s := range run.Scenarios {
		r.Gates = append(r.Gates, gates(s, r.Cells)...)
		r.Controls = append(r.Controls, controls(s, r.Cells)...)
		r.Comparisons = append(r.Comparisons, comparisons(s, r.Cells)...)
	}

	failed, unclear := gateReasons(&r)
	unclear = append(unclear, evidenceReasons(&r, missing)...)
	r.Reasons = append(failed, unclear...)
	switch {
	case len(failed) > 0:
		r.Verdict = Fail
	case len(unclear) > 0:
		r.Verdict = Inconclusive
	default:
		r.Verdict = Pass
	}
	r.Headline = headline(&r)
	return r
}

// cells groups trials by scenario, driver and design, in order of first appearance.
func cells(trials []Trial) []Cell {
	var all []Cell
	index := make(map[[3]string]int)
	for _, t := range trials {
		key := [3]string{t.Meta.Scenario, t.Meta.Driver, t.Meta.Design}
		i, ok := index[key]
		if !ok {
			i = len(all)
			index[key] = i
			all = append(all, Cell{Scenario: key[0], Driver: key[1], Action: t.Meta.Action, Design: key[2]})
		}
		all[i].Trials = append(all[i].Trials, t)
	}
	for i := range all {
		estimate(&all[i])
	}
	return all
}

// valid are the cell's trials that count.
func (c *Cell) valid() []*Trial {
	var out []*Trial
	for i := range c.Trials {
		if c.Trials[i].Valid {
			out = append(out, &c.Trials[i])
		}
	}
	return out
}

// pooled are the requests of the valid trials.
func (c *Cell) pooled() (ok, planned uint64) {
	for _, t := range c.valid() {
		ok += t.OK
		planned += t.Planned
	}
	return ok, planned
}

func estimate(c *Cell) {
	var rates, lost, longest, recovery []float64
	for _, t := range c.valid() {
		rates = append(rates, t.SuccessRate)
		lost = append(lost, milliseconds(t.Downtime))
		longest = append(longest, milliseconds(t.LongestOutage.Len()))
		if v, ok := optional(t.Recovery); ok {
			recovery = append(recovery, v)
		}
	}
	if c.SuccessRate = rangeOf(rates); c.SuccessRate.N > 0 {
		ok, planned := c.pooled()
		c.SuccessRate.Lo, c.SuccessRate.Hi = lowerBound(ok, planned, alpha), upperBound(ok, planned, alpha)
	}
	c.Downtime, c.LongestOutage, c.Recovery = rangeOf(lost), rangeOf(longest), rangeOf(recovery)
}

// unrepaired are the invalid trials that no valid one makes up for. A repeat stands for
// the trial that it repeats, and a trial may be repeated more than once. For what the
// target did there is no making up: a second try that works is no answer to one that hung.
func unrepaired(c *Cell) []*Trial {
	root := func(t *Trial) int {
		n := t.Meta.N
		if t.Meta.Repeats > 0 && t.Meta.Repeats < n {
			n = t.Meta.Repeats
		}
		// A repeat may name the repeat before it instead of the planned trial.
		for again := true; again; {
			again = false
			for i := range c.Trials {
				if m := c.Trials[i].Meta; m.N == n && m.Repeats > 0 && m.Repeats < n {
					n, again = m.Repeats, true
					break
				}
			}
		}
		return n
	}
	made := make(map[int]bool)
	for _, t := range c.valid() {
		made[root(t)] = true
	}
	var out []*Trial
	for i := range c.Trials {
		if t := &c.Trials[i]; !t.Valid && (t.Stands || !made[root(t)]) {
			out = append(out, t)
		}
	}
	return out
}

// short reports whether the cell has fewer valid trials than were planned.
func (c *Cell) short() bool { return len(c.valid()) == 0 || len(unrepaired(c)) > 0 }

func gateReasons(r *Run) (failed, unclear []string) {
	for _, g := range r.Gates {
		text := fmt.Sprintf("%s: %s: %s", g.Cell, gateText(g.Gate), g.Why)
		switch g.Verdict {
		case Pass:
		case Fail:
			failed = append(failed, text)
		default:
			unclear = append(unclear, text)
		}
	}
	return failed, unclear
}

func gateText(g record.Gate) string {
	unit := metric.Duration
	if m, ok := metric.ByName(g.Metric); ok {
		unit = m.Unit
	}
	return g.Metric + " " + g.Op + " " + inUnit(g.Limit, unit)
}

// evidenceReasons says what is the matter with the evidence, whatever the gates say.
func evidenceReasons(r *Run, missing []string) []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	switch {
	case r.End == nil:
		add("the run was cut short: its record has no end")
	case r.End.Interrupted:
		add("the run was interrupted")
	}
	if len(missing) > 0 {
		add("%s of %s planned trials missing: %s", grouped(uint64(len(missing))), grouped(uint64(max(len(r.Record.Trials), len(missing)))), some(missing))
	}
	if r.End != nil {
		for _, s := range r.End.Skipped {
			add("%s/%s/%s was not run: %s", s.Scenario, s.Driver, s.Design, s.Why)
		}
	}
	for i := range r.Cells {
		c := &r.Cells[i]
		for _, t := range unrepaired(c) {
			add("%s: trial %d is invalid: %s", c.Key(), t.Meta.N, strings.Join(t.InvalidReasons, "; "))
		}
	}
	for _, c := range r.Controls {
		if !c.Held {
			add("%s: the %s control did not hold: %s", c.Cell, c.Kind, c.Why)
		}
	}
	if len(r.Cells) == 0 {
		add("no trial was recorded, and no data is no pass")
	}
	if len(r.Gates) == 0 {
		add("no gate was set, so there is nothing to pass")
	}
	return out
}

// some names the first few of many.
func some(names []string) string {
	const shown = 3
	if len(names) <= shown {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:shown], ", "), len(names)-shown)
}

// leastOutage is the downtime that a design known to fail must show at least.
const leastOutage = 50 * time.Millisecond

// controls are the checks of a scenario that it can tell good from bad. Where nothing is
// done, nothing may fail, whatever the design; and a design that is known to fail must.
func controls(s record.Scenario, all []Cell) []Control {
	var out []Control
	for i := range all {
		c := &all[i]
		if c.Scenario != s.Name || c.Action != none {
			continue
		}
		control := Control{Cell: c.Key(), Kind: "negative"}
		_, planned := c.pooled()
		// Failures make such a trial invalid, so those of invalid ones count as well, but
		// for trials in which the harness did not do its part.
		var failed uint64
		for j := range c.Trials {
			if t := &c.Trials[j]; t.Valid || t.Sound {
				failed += t.Failed + t.Baseline.Failed + t.Early
			}
		}
		switch {
		case failed > 0:
			control.Why = fmt.Sprintf("requests that failed though nothing was done: %s", grouped(failed))
		case planned == 0:
			control.Why = "no valid trial"
		default:
			control.Held, control.Why = true, fmt.Sprintf("0 of %s requests failed", grouped(planned))
		}
		out = append(out, control)
	}
	for _, design := range s.Positive {
		found := false
		for i := range all {
			c := &all[i]
			if c.Scenario != s.Name || c.Design != design {
				continue
			}
			found = true
			if len(s.PositiveOn) > 0 && !slices.Contains(s.PositiveOn, c.Driver) {
				continue
			}
			control := Control{Cell: c.Key(), Kind: "positive"}
			ok, planned := c.pooled()
			switch {
			case planned == 0:
				control.Why = "no valid trial"
			case ok == planned:
				control.Why = fmt.Sprintf("0 of %s requests failed, so this experiment cannot tell good from bad", grouped(planned))
			case c.Downtime.Median < milliseconds(leastOutage):
				control.Why = fmt.Sprintf("it lost %s of %s requests, a median of %s a trial: less than %v is what a machine's own hiccup can cost", grouped(planned-ok), grouped(planned), inUnit(c.Downtime.Median, metric.Duration), leastOutage)
			default:
				control.Held, control.Why = true, fmt.Sprintf("%s of %s requests failed", grouped(planned-ok), grouped(planned))
			}
			out = append(out, control)
		}
		if !found {
			out = append(out, Control{Cell: s.Name + "/" + design, Kind: "positive", Why: "it was not run"})
		}
	}
	return out
}

// headline says which gate was missed, if one was, and what each design lost.
func headline(r *Run) string {
	var missed []GateResult
	for _, g := range r.Gates {
		if g.Verdict == Fail {
			missed = append(missed, g)
		}
	}
	if len(missed) == 0 {
		return losses(r)
	}
	text := missed[0].Cell + " missed " + gateText(missed[0].Gate)
	if n := len(missed) - 1; n > 0 {
		text += fmt.Sprintf(" and %s", plural(n, "more gate", "more gates"))
	}
	return text + ": " + losses(r)
}

// losses says what each design lost, the least first. Over several scenarios or drivers
// it adds up.
func losses(r *Run) string {
	type sum struct {
		design        string
		lost, planned uint64
		downtime      time.Duration
		discarded     uint64 // lost in discarded trials
		outlasted     time.Duration
	}
	var sums []sum
	var scenarios, drivers []string
	for i := range r.Cells {
		c := &r.Cells[i]
		ok, planned := c.pooled()
		if planned == 0 {
			continue
		}
		if !slices.Contains(scenarios, c.Scenario) {
			scenarios = append(scenarios, c.Scenario)
		}
		if !slices.Contains(drivers, c.Driver) {
			drivers = append(drivers, c.Driver)
		}
		j := slices.IndexFunc(sums, func(s sum) bool { return s.design == c.Design })
		if j < 0 {
			j = len(sums)
			sums = append(sums, sum{design: c.Design})
		}
		sums[j].lost += planned - ok
		sums[j].planned += planned
		for _, t := range c.valid() {
			sums[j].downtime += t.Downtime
			if a := t.Timeline.Action; !a.Open && a.To > t.Window.To {
				sums[j].outlasted = max(sums[j].outlasted, a.To-t.Window.To)
			}
		}
		for k := range c.Trials {
			if t := &c.Trials[k]; !t.Valid {
				sums[j].discarded += t.Failed - (t.Planned - t.Sent) // those that were sent
			}
		}
	}
	if len(sums) == 0 {
		return "no valid trial, so nothing can be said"
	}
	slices.SortStableFunc(sums, func(a, b sum) int {
		return cmp.Compare(float64(a.lost)/float64(a.planned), float64(b.lost)/float64(b.planned))
	})
	var parts []string
	for i, s := range sums {
		text := fmt.Sprintf("%s lost %s", s.design, grouped(s.lost))
		if i == 0 || s.planned != sums[0].planned {
			text += " of " + grouped(s.planned)
		}
		if i == 0 {
			text += " requests in " + listed(scenarios, "scenarios") + " on " + listed(drivers, "drivers")
		}
		if s.lost > 0 {
			text += fmt.Sprintf(" (downtime %s)", seconds(s.downtime))
		}
		if s.outlasted > 0 {
			text += fmt.Sprintf(", with its action complete only %s after the window", seconds(s.outlasted))
		}
		if s.discarded > 0 {
			text += fmt.Sprintf(" and %s more in discarded trials", grouped(s.discarded))
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ")
}

func listed(names []string, what string) string {
	if len(names) == 1 {
		return names[0]
	}
	return fmt.Sprintf("%d %s", len(names), what)
}

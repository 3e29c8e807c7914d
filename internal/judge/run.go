package judge

import (
	"slices"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/metric"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

// alpha is one minus the confidence of every interval that is shown: one-sided for
// rates, two-sided for shifts.
const alpha = metric.Alpha

// Judge judges a run from its description, its end (nil when it was cut short), the
// folders of planned trials that are missing, and the measured trials in their order.
//
// The verdict is Fail when a gate failed or the target failed in a trial of a design that is
// not known to; else Inconclusive when anything stands in the
// way of a pass: a gate or a control that is not clear, a trial that is invalid and was
// not made up for by a valid repeat, a run that is partial or skipped something, no gate,
// no data; else Pass. A gate that only warns decides nothing, and so does a comparison that
// no gate asks for.
func Judge(run record.Run, end *record.RunEnd, missing []string, trials []Trial) Run {
	r := Run{Record: run, End: end, Cells: cells(trials)}
	for i := range r.Cells {
		r.Cells[i].Decides = r.decides(&r.Cells[i])
		r.Cells[i].look(&r)
	}
	_, short := r.outOfTime()
	r.Partial = end == nil || end.Interrupted || len(missing) > 0 || short
	for i := range r.Cells {
		for _, t := range unrepaired(&r.Cells[i]) {
			r.Partial = r.Partial || t.Partial
		}
	}
	for _, s := range run.Scenarios {
		of := holdGates(&r, s)
		r.Gates = append(r.Gates, of.gates...)
		r.Controls = append(r.Controls, controls(s, r.Cells)...)
		r.Comparisons = append(r.Comparisons, of.comparisons...)
		for _, c := range append(r.inform(s), comparisons(s, r.Cells)...) {
			if !slices.ContainsFunc(of.comparisons, c.sameAs) {
				r.Comparisons = append(r.Comparisons, c)
			}
		}
	}
	r.Warnings = warnings(&r)

	failed, unclear := gateReasons(&r)
	failed = append(targetReasons(&r), failed...)
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

// look holds the cell's trials against how many there may be: that says how sure its gates have
// to be, and whether there had to be more.
func (c *Cell) look(r *Run) {
	for _, s := range r.Record.Scenarios {
		if s.Name != c.Scenario {
			continue
		}
		c.Alpha = metric.AlphaAt(c.rounds(), s.Trials.Least, s.Trials.Most)
		c.Unfinished = c.rounds() < s.Trials.Least && r.End != nil && slices.ContainsFunc(r.End.Stopped, func(st record.Stopped) bool {
			return st.Scenario == c.Scenario && st.Driver == c.Driver && st.Why == record.OutOfTime
		})
	}
}

// alpha is one minus the confidence that the cell's gates take.
func (c *Cell) alpha() float64 {
	if c.Alpha == 0 {
		return alpha
	}
	return c.Alpha
}

// rounds is how many trials of the cell were begun, repeats not among them.
func (c *Cell) rounds() (n int) {
	for i := range c.Trials {
		if m := &c.Trials[i].Meta; m.Repeats == 0 {
			n = max(n, m.N)
		}
	}
	return n
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

func estimate(c *Cell) {
	c.Estimates = make(map[string]Estimate)
	valid := c.valid()
	for _, m := range metric.All() {
		if m.Pooling != metric.Median && m.Pooling != metric.Rate {
			continue
		}
		var values []float64
		for _, t := range valid {
			values = append(values, t.limited(m))
		}
		c.Estimates[m.Name] = rangeOf(values) // what is later than any limit is in no range
	}
	if sum := c.Totals(); sum.Planned > 0 {
		c.Bounds = Bounds{lowerBound(sum.OK, sum.Planned, alpha), upperBound(sum.OK, sum.Planned, alpha)}
	}
}

// unrepaired are the invalid trials that no valid one makes up for. A repeat stands for
// the trial that it repeats, and a trial may be repeated more than once. For what the
// target did there is no making up: a second try that works is no answer to one that hung.
func unrepaired(c *Cell) []*Trial {
	made := make(map[int]bool)
	for _, t := range c.valid() {
		made[c.root(t)] = true
	}
	var out []*Trial
	for i := range c.Trials {
		if t := &c.Trials[i]; !t.Valid && !(made[c.root(t)] && c.madeUp(t)) {
			out = append(out, t)
		}
	}
	return out
}

// root is the number of the planned trial that a trial is, or repeats.
func (c *Cell) root(t *Trial) int {
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

// short reports whether the cell has fewer valid trials than were planned.
func (c *Cell) short() bool { return len(c.valid()) == 0 || len(unrepaired(c)) > 0 }

// targetReasons are the trials in which the target failed, at deploy or later, but for
// designs that are known to fail.
func targetReasons(r *Run) (why []Reason) {
	if r.End != nil {
		for _, s := range r.End.Skipped {
			if s.ByTarget && !r.knownToFail(s.Scenario, s.Driver, s.Design) {
				why = append(why, Reason{Kind: DeployFailed, Cell: s.Scenario + "/" + s.Driver + "/" + s.Design, Text: s.Why})
			}
		}
	}
	for i := range r.Cells {
		c := &r.Cells[i]
		if r.knownToFail(c.Scenario, c.Driver, c.Design) {
			continue
		}
		for j := range c.Trials {
			t := &c.Trials[j]
			if failures := r.failuresOf(c, t); len(failures) > 0 {
				why = append(why, Reason{Kind: TargetFailed, Cell: c.Key(), Trial: t.Meta.N, Because: failures})
			}
		}
	}
	return why
}

// failuresOf is what the target did wrong in a trial and what is no warning only.
func (r *Run) failuresOf(c *Cell, t *Trial) []Reason {
	if !r.mayNotComplete(c) {
		return t.Failures
	}
	return slices.DeleteFunc(slices.Clone(t.Failures), func(why Reason) bool { return why.Kind == ActionFailed })
}

// mayNotComplete reports whether a gate says of a design that an action which it does not
// complete is a warning only.
func (r *Run) mayNotComplete(c *Cell) bool {
	return slices.ContainsFunc(r.Gates, func(g GateResult) bool {
		return g.Cell == c.Key() && g.Gate.Metric == metric.Completed && g.Gate.Warn
	})
}

// knownToFail reports whether a design is a positive control of its scenario on a driver.
func (r *Run) knownToFail(scenario, driver, design string) bool {
	return slices.ContainsFunc(r.Record.Scenarios, func(s record.Scenario) bool {
		return s.Name == scenario && slices.Contains(s.Positive, design) && mustFailOn(s, design, driver)
	})
}

// mustFailOn reports whether a positive control must fail on a driver.
func mustFailOn(s record.Scenario, design, driver string) bool {
	on := s.PositiveOn[design]
	return len(on) == 0 || slices.Contains(on, driver)
}

func gateReasons(r *Run) (failed, unclear []Reason) {
	for i := range r.Gates {
		g := &r.Gates[i]
		if g.Gate.Warn || g.Implicit { // what the target did not complete is a reason already
			continue
		}
		why := Reason{Kind: GateUnclear, Cell: g.Cell, Gate: &g.Gate, Because: []Reason{g.Why}}
		switch g.Verdict {
		case Pass:
		case Fail:
			why.Kind = GateMissed
			failed = append(failed, why)
		default:
			unclear = append(unclear, why)
		}
	}
	return failed, unclear
}

// evidenceReasons says what is the matter with the evidence, whatever the gates say.
func evidenceReasons(r *Run, missing []string) (why []Reason) {
	switch {
	case r.End == nil:
		why = append(why, Reason{Kind: RunCutShort})
	case r.End.Interrupted:
		why = append(why, Reason{Kind: RunInterrupted})
	}
	if n := len(missing); n > 0 {
		why = append(why, Reason{Kind: TrialsMissing, Tally: Tally{uint64(n), uint64(max(len(r.Record.Trials), n))}, Names: missing})
	}
	if short, ok := r.outOfTime(); ok {
		why = append(why, short)
	}
	if r.End != nil {
		for _, s := range r.End.Skipped {
			if s.ByTarget && !r.knownToFail(s.Scenario, s.Driver, s.Design) {
				continue // a fail, and said as one
			}
			why = append(why, Reason{Kind: CellNotRun, Cell: s.Scenario + "/" + s.Driver + "/" + s.Design, Text: s.Why})
		}
	}
	for i := range r.Cells {
		c := &r.Cells[i]
		for _, t := range unrepaired(c) {
			because := t.InvalidReasons
			if r, ok := c.NotMadeUp(t); ok {
				because = append(slices.Clone(because), r)
			}
			why = append(why, Reason{Kind: TrialInvalid, Cell: c.Key(), Trial: t.Meta.N, Because: because})
		}
	}
	for _, c := range r.Controls {
		if !c.Held {
			why = append(why, Reason{Kind: ControlFailed, Cell: c.Cell, Names: []string{c.Kind}, Because: []Reason{c.Why}})
		}
	}
	if len(r.Cells) == 0 {
		why = append(why, Reason{Kind: NoTrials})
	}
	if !slices.ContainsFunc(r.Gates, func(g GateResult) bool { return !g.Implicit && !g.Gate.Warn }) {
		why = append(why, Reason{Kind: NoGates})
	}
	return why
}

// outOfTime says what there was no time for.
func (r *Run) outOfTime() (why Reason, short bool) {
	if r.End == nil {
		return Reason{}, false
	}
	why = Reason{Kind: NoTimeLeft, Limit: r.Record.MaxTime, Time: r.End.Duration}
	for _, s := range r.End.Stopped {
		if s.Why == record.OutOfTime {
			short = true
			why.N += uint64(len(s.NotRun))
			why.Repeats += uint64(s.Repeats)
			why.Time += s.Needs
		}
	}
	why.Of = uint64(len(r.Record.Trials))
	return why, short
}

// leastOutage is the downtime that a design known to fail must show at least.
const leastOutage = 50 * time.Millisecond

// controls are the checks of a scenario that it can tell good from bad. Where nothing is
// done, nothing may fail, whatever the design; and a design that is known to fail must.
func controls(s record.Scenario, all []Cell) []Control {
	var out []Control
	for i := range all {
		if c := &all[i]; c.Scenario == s.Name && c.Action == record.NoAction && !c.Faulted() {
			out = append(out, negative(c))
		}
	}
	for _, design := range s.Positive {
		found := false
		for i := range all {
			c := &all[i]
			if c.Scenario != s.Name || c.Design != design {
				continue
			}
			found = true
			if mustFailOn(s, design, c.Driver) {
				out = append(out, positive(s, c))
			}
		}
		if !found {
			out = append(out, Control{Cell: s.Name + "/" + design, Kind: "positive", Why: Reason{Kind: NeverRun}})
		}
	}
	return out
}

// negative is the control of a cell in which nothing is done. Failures make such a trial
// invalid, so those of invalid ones count as well, but for trials in which the harness did
// not do its part.
func negative(c *Cell) Control {
	control := Control{Cell: c.Key(), Kind: "negative"}
	planned := c.Totals().Planned
	var failed uint64
	for i := range c.Trials {
		if t := &c.Trials[i]; t.Valid || t.Sound {
			failed += t.Failed + t.Baseline.Failed + t.Early
		}
	}
	switch {
	case failed > 0:
		control.Why = Reason{Kind: UnprovokedFailures, Tally: Tally{N: failed}}
	case planned == 0:
		control.Why = Reason{Kind: NoValidTrial}
	default:
		control.Held, control.Why = true, Reason{Kind: NothingFailed, Tally: Tally{Of: planned}}
	}
	return control
}

// positive is the control of a design that is known to fail: it must lose requests. Where there
// are faults a good design may lose some as well; then it must miss what others must hold.
func positive(s record.Scenario, c *Cell) Control {
	control := loses(c)
	limits := limitsOnOthers(s, c.Design)
	if !c.Faulted() || len(limits) == 0 || control.Why.Kind == ActionsFailed || control.Why.Kind == NoValidTrial {
		return control
	}
	control.Held, control.Why = false, Reason{Kind: MeetsLimits, Tally: Tally{Of: uint64(len(limits))}}
	for _, g := range limits {
		if r := gate(g, c); r.Verdict == Fail {
			control.Held, control.Why = true, Reason{Kind: MissesLimit, Gate: &r.Gate, Because: []Reason{r.Why}}
			break
		}
	}
	return control
}

// Faulted reports whether something is done to the cell's trials beside the action.
func (c *Cell) Faulted() bool {
	return slices.ContainsFunc(c.Trials, func(t Trial) bool { return len(t.Meta.Faults) > 0 })
}

// loses is the control of a design that must lose requests.
func loses(c *Cell) Control {
	control := Control{Cell: c.Key(), Kind: "positive"}
	sum := c.Totals()
	lost := Tally{sum.Lost(), sum.Planned}
	failed := 0
	for i := range c.Trials {
		if c.Trials[i].Outcome() == OutcomeFailed {
			failed++
		}
	}
	switch {
	case failed > 0:
		control.Held, control.Why = true, Reason{Kind: ActionsFailed, Tally: Tally{uint64(failed), uint64(len(c.Trials))}}
	case sum.Planned == 0:
		control.Why = Reason{Kind: NoValidTrial}
	case lost.N == 0:
		control.Why = Reason{Kind: CannotTell, Tally: lost}
	case c.Estimates[metric.Downtime].Median < milliseconds(leastOutage):
		median := time.Duration(c.Estimates[metric.Downtime].Median * float64(time.Millisecond))
		control.Why = Reason{Kind: LostTooLittle, Tally: lost, Time: median, Limit: leastOutage}
	default:
		control.Held, control.Why = true, Reason{Kind: SomeFailed, Tally: lost}
	}
	return control
}

package judge

import (
	"math"
	"slices"

	"github.com/rollout-lab/rollout-lab/internal/metric"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

// held are a scenario's gates, each held against the cells of its design on every driver, with
// the comparisons that they rest on.
type held struct {
	gates       []GateResult
	comparisons []Comparison
}

// holdGates holds a scenario's gates against its cells, and behind them the implicit one:
// that each design that is not known to fail completed the action.
func holdGates(r *Run, s record.Scenario) (out held) {
	for _, g := range s.Gates {
		found := false
		for i := range r.Cells {
			if c := &r.Cells[i]; c.Scenario == s.Name && c.Design == g.Design {
				found = true
				out.add(r, g, c)
			}
		}
		if !found {
			out.gates = append(out.gates, GateResult{Cell: s.Name + "/" + g.Design, Gate: g, NoValue: true, Verdict: Inconclusive, Why: Reason{Kind: NoSuchDesign}})
		}
	}
	for i := range r.Cells {
		c := &r.Cells[i]
		asked := slices.ContainsFunc(s.Gates, func(g record.Gate) bool { return g.Metric == metric.Completed && g.Design == c.Design })
		if c.Scenario == s.Name && c.Action != record.NoAction && !asked && !r.knownToFail(c.Scenario, c.Driver, c.Design) {
			g := gate(record.Gate{Design: c.Design, Metric: metric.Completed, Op: ">=", Limit: 1}, c)
			g.Implicit = true
			out.gates = append(out.gates, g)
		}
	}
	return out
}

// add holds a gate against a cell.
func (h *held) add(r *Run, g record.Gate, c *Cell) {
	result := gate(g, c)
	if g.Against != "" {
		var made Comparison
		result, made = r.compareGate(g, c)
		h.comparisons = append(h.comparisons, made)
	}
	if g.Warn && result.Verdict == Fail {
		result.Verdict = Warned
	}
	h.gates = append(h.gates, result)
}

// compareGate holds a cell against another design of its scenario on its driver, or against what
// earlier runs showed of it.
func (r *Run) compareGate(g record.Gate, c *Cell) (GateResult, Comparison) {
	result := GateResult{Cell: c.Key(), Gate: g, NoValue: true, Verdict: Inconclusive, PWorse: 1}
	m, known := metric.ByName(g.Metric)
	var x []float64
	var why *Reason
	switch {
	case !known:
		why = &Reason{Kind: NoSuchMetric}
	case !m.Comparable():
		why = &Reason{Kind: NotComparable}
	case m.OfFault && !c.Faulted():
		why = &Reason{Kind: NoFault}
	case g.Against == record.PastRuns:
		x, why = past(r.Record.Baseline, c, m, g.Stream)
	default:
		other := slices.IndexFunc(r.Cells, func(o Cell) bool {
			return o.Scenario == c.Scenario && o.Driver == c.Driver && o.Design == g.Against
		})
		if other < 0 {
			why = &Reason{Kind: NothingToCompare, Names: []string{g.Against}}
			break
		}
		x = r.Cells[other].values(m, g.Stream)
	}
	made := compare(c, c.values(m, g.Stream), g.Against, x, m, g.Stream, g.Margin)
	made.Gated = true
	if why != nil {
		made.Why = *why // there was nothing to compare with
	}
	result.Verdict, result.Why = made.Verdict, made.Why
	result.PWorse, result.Margin = made.PWorse, made.Margin
	// What never happened any more, or before, is no number.
	if made.Compared() && !math.IsInf(made.Lo, 0) && !math.IsInf(made.Hi, 0) {
		result.NoValue, result.HasInterval = false, true
		result.Observed, result.Lo, result.Hi, result.Alpha = made.Shift, made.Lo, made.Hi, c.alpha()
	}
	result.notShort(c)
	return result, made
}

// notShort takes a pass from a gate whose cell has fewer valid trials than were planned.
func (r *GateResult) notShort(c *Cell) {
	if r.Verdict == Pass && c.short() {
		r.Verdict = Inconclusive
		r.Why.Because = []Reason{{Kind: TrialsNotValid}}
	}
	if r.Verdict == Pass && c.Unfinished {
		r.Verdict = Inconclusive
		r.Why.Because = []Reason{{Kind: TrialsNotRun}}
	}
}

// gate holds a limit against one cell. One on success_rate is held against the
// one-sided Clopper-Pearson bounds of the pooled count, at 95 % or, where the number of trials
// is open, at what metric.AlphaAt leaves for this many of them: it is met when the rate is
// surely on the right side, missed when it is surely on the wrong one, and else the data
// are too few. Those bounds hold for requests that fail independently, and what fails in a
// rollout fails together: the reason says so, and for how rare an event the trials are too
// few. Every other limit is held against the worst valid trial. A cell with fewer
// valid trials than planned can miss a gate, but not meet it.
func gate(g record.Gate, c *Cell) GateResult {
	r := GateResult{Cell: c.Key(), Gate: g, NoValue: true, Verdict: Inconclusive, PWorse: 1}
	m, known := metric.ByName(g.Metric)
	of := c.ofStream(g.Stream)
	valid := of.valid()
	switch {
	case !known:
		r.Why.Kind = NoSuchMetric
	case g.Op != ">=" && g.Op != "<=":
		r.Why = Reason{Kind: BadOperator, Names: []string{g.Op}}
	case math.IsNaN(g.Limit):
		r.Why.Kind = BadLimit
	case m.Name == metric.Completed:
		completedGate(&r, c)
	case len(valid) == 0:
		r.Why.Kind = NoValidTrial
	case m.Name == metric.Breaches && c.Totals().Denials == 0:
		r.Why.Kind = NothingToDeny // nobody was let in because nobody asked
	case m.OfFault && !c.Faulted():
		r.Why.Kind = NoFault
	case g.Stream != "" && of.Totals().Planned == 0:
		r.Why.Kind = NothingPlanned
	case m.Pooling == metric.Rate:
		rateGate(&r, of)
	default:
		worstGate(&r, m, c, valid)
	}
	if m.Name == metric.Breaches && g.Op == "<=" {
		breached(&r, c)
	}
	r.notShort(c)
	return r
}

// completedGate is missed by a trial in which the target did not complete the action, whatever
// else is the matter with that trial, and met where every valid one did.
func completedGate(r *GateResult, c *Cell) {
	r.Why.Kind = NoValidTrial
	for i := range c.Trials {
		t := &c.Trials[i]
		done, known := t.Value(metric.Completed)
		switch {
		case slices.ContainsFunc(t.Failures, func(why Reason) bool { return why.Kind == ActionFailed }):
			r.Verdict, r.NoValue, r.Observed = Fail, false, 0
			r.Why = Reason{Kind: NotCompleted, Trial: t.Meta.N}
			return
		case !t.Valid || r.Why.Kind == CompletionUnknown:
		case !known || done == 0:
			r.Verdict, r.NoValue, r.Why = Inconclusive, true, Reason{Kind: CompletionUnknown, Trial: t.Meta.N}
		default:
			r.Verdict, r.NoValue, r.Observed = Pass, false, 1
			r.Why = Reason{Kind: CompletedEach, Tally: Tally{Of: r.Why.Of + 1}}
		}
	}
}

func rateGate(r *GateResult, c *Cell) {
	sum := c.Totals()
	if sum.Planned == 0 {
		r.Why.Kind = NothingPlanned
		return
	}
	r.NoValue, r.HasInterval = false, true
	r.Observed = float64(sum.OK) / float64(sum.Planned)
	r.Alpha = c.alpha()
	r.Lo, r.Hi = lowerBound(sum.OK, sum.Planned, r.Alpha), upperBound(sum.OK, sum.Planned, r.Alpha)
	surely, surelyNot := r.Lo >= r.Gate.Limit, r.Hi < r.Gate.Limit
	if r.Gate.Op == "<=" {
		surely, surelyNot = r.Hi <= r.Gate.Limit, r.Lo > r.Gate.Limit
	}
	r.Why = Reason{Kind: RateUnclear, Tally: Tally{sum.OK, sum.Planned}, Lo: r.Lo, Hi: r.Hi, Alpha: r.Alpha}
	for _, t := range c.valid() {
		r.Why.Lossy.Of++
		if t.Failed > 0 {
			r.Why.Lossy.N++
		}
	}
	switch {
	case surely:
		r.Verdict = Pass
	case surelyNot:
		r.Verdict = Fail
	}
	if surely || surelyNot {
		r.Why.Kind = RateAtMost
		if surely == (r.Gate.Op == ">=") {
			r.Why.Kind = RateAtLeast
			if r.Why.Lossy.N == 0 {
				r.Why.Value = Unseen(int(r.Why.Lossy.Of))
			}
		}
	}
}

// worstGate counts what did not happen as later than any limit: it misses an upper limit
// and meets a lower one. Only where nothing is done there is nothing to complete, and a
// limit on that says nothing.
func worstGate(r *GateResult, m metric.Metric, c *Cell, valid []*Trial) {
	if m.Name == metric.Convergence && c.Action == record.NoAction {
		r.Why.Kind = NothingToComplete
		return
	}
	worst, at := 0.0, -1
	for i, t := range valid {
		v := t.limited(m)
		if r.Gate.Share && t.Planned > 0 {
			v /= float64(t.Planned)
		}
		worse := v > worst
		if r.Gate.Op == ">=" {
			worse = v < worst
		}
		if at < 0 || worse || (v == worst && t.Meta.N < valid[at].Meta.N) {
			worst, at = v, i
		}
	}
	met := worst <= r.Gate.Limit
	if r.Gate.Op == ">=" {
		met = worst >= r.Gate.Limit
	}
	r.Verdict = Fail
	if met {
		r.Verdict = Pass
	}
	r.Why = Reason{Kind: WorstTrial, Gate: &r.Gate, Trial: valid[at].Meta.N, Tally: Tally{Of: uint64(len(valid))}}
	if math.IsInf(worst, 1) {
		r.Why.Kind = WorstWithout
		return
	}
	r.NoValue, r.Observed, r.Why.Value = false, worst, worst
}

// breached misses a limit on breaches for those of an invalid trial: load that
// ran late or a reference client that disagrees are no excuse for letting somebody in.
func breached(r *GateResult, c *Cell) {
	for i := range c.Trials {
		t := &c.Trials[i]
		if n := float64(t.Breaches); !t.Valid && n > r.Gate.Limit && (r.NoValue || n > r.Observed) {
			r.Verdict, r.NoValue, r.Observed = Fail, false, n
			r.Why = Reason{Kind: InvalidBreached, Trial: t.Meta.N, Tally: Tally{N: t.Breaches}}
		}
	}
}

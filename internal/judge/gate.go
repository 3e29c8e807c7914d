package judge

import (
	"math"

	"github.com/rollout-lab/rollout-lab/internal/metric"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

// gates holds a scenario's gates against its cells: each gate against the cell of its
// design on every driver.
func gates(s record.Scenario, all []Cell) []GateResult {
	var out []GateResult
	for _, g := range s.Gates {
		found := false
		for i := range all {
			if c := &all[i]; c.Scenario == s.Name && c.Design == g.Design {
				found = true
				out = append(out, gate(g, c))
			}
		}
		if !found {
			out = append(out, GateResult{Cell: s.Name + "/" + g.Design, Gate: g, NoValue: true, Verdict: Inconclusive, Why: Reason{Kind: NoSuchDesign}})
		}
	}
	return out
}

// gate holds one gate against one cell. A limit on success_rate is held against the
// one-sided 95 % Clopper-Pearson bounds of the pooled count: it is met when the rate is
// surely on the right side, missed when it is surely on the wrong one, and else the data
// are too few. Those bounds hold for requests that fail independently, and what fails in a
// rollout fails together: the reason says so, and for how rare an event the trials are too
// few. Every other limit is held against the worst valid trial. A cell with fewer
// valid trials than planned can miss a gate, but not meet it.
func gate(g record.Gate, c *Cell) GateResult {
	r := GateResult{Cell: c.Key(), Gate: g, NoValue: true, Verdict: Inconclusive}
	m, known := metric.ByName(g.Metric)
	valid := c.valid()
	switch {
	case !known:
		r.Why.Kind = NoSuchMetric
	case g.Op != ">=" && g.Op != "<=":
		r.Why = Reason{Kind: BadOperator, Names: []string{g.Op}}
	case math.IsNaN(g.Limit):
		r.Why.Kind = BadLimit
	case len(valid) == 0:
		r.Why.Kind = NoValidTrial
	case m.Name == metric.Breaches && c.Totals().Denials == 0:
		r.Why.Kind = NothingToDeny // nobody was let in because nobody asked
	case m.OfFault && !c.Faulted():
		r.Why.Kind = NoFault
	case m.Pooling == metric.Rate:
		rateGate(&r, c)
	default:
		worstGate(&r, m, c, valid)
	}
	if m.Name == metric.Breaches && g.Op == "<=" {
		breached(&r, c)
	}
	if r.Verdict == Pass && c.short() {
		r.Verdict = Inconclusive
		r.Why.Because = []Reason{{Kind: TrialsNotValid}}
	}
	return r
}

func rateGate(r *GateResult, c *Cell) {
	sum := c.Totals()
	if sum.Planned == 0 {
		r.Why.Kind = NothingPlanned
		return
	}
	r.NoValue, r.HasInterval = false, true
	r.Observed = float64(sum.OK) / float64(sum.Planned)
	r.Lo, r.Hi = c.Bounds.Lo, c.Bounds.Hi
	surely, surelyNot := r.Lo >= r.Gate.Limit, r.Hi < r.Gate.Limit
	if r.Gate.Op == "<=" {
		surely, surelyNot = r.Hi <= r.Gate.Limit, r.Lo > r.Gate.Limit
	}
	r.Why = Reason{Kind: RateUnclear, Tally: Tally{sum.OK, sum.Planned}, Lo: r.Lo, Hi: r.Hi}
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

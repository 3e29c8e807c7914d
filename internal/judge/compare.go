package judge

import (
	"math"
	"slices"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/metric"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

// What counts as worse where a gate does not say: a shift that surely exceeds the larger of a
// fixed time and a share of the first one's median.
const (
	MarginTime  = 50.0 // milliseconds
	MarginShare = 0.20
)

// comparisons holds the designs of a scenario against each other on downtime, on each
// driver: its positive control, or else its first design, against every other one.
func comparisons(s record.Scenario, all []Cell) []Comparison {
	var out []Comparison
	var drivers []string
	for i := range all {
		if all[i].Scenario == s.Name && !slices.Contains(drivers, all[i].Driver) {
			drivers = append(drivers, all[i].Driver)
		}
	}
	for _, driver := range drivers {
		var here []*Cell
		for i := range all {
			if c := &all[i]; c.Scenario == s.Name && c.Driver == driver {
				here = append(here, c)
			}
		}
		a := here[0]
		for _, design := range slices.Concat(s.Positive, s.Designs) {
			if i := slices.IndexFunc(here, func(c *Cell) bool { return c.Design == design }); i >= 0 {
				a = here[i]
				break
			}
		}
		for _, b := range here {
			if b != a {
				out = append(out, compare(b, b.values(downtime, ""), a.Design, a.values(downtime, ""), downtime, "", 0))
			}
		}
	}
	return out
}

var downtime, _ = metric.ByName(metric.Downtime)

// compare holds b against what its counterpart showed, which are the valid trials of another
// design or of earlier runs. The trial is the unit. The exact rank test says how likely trials
// that are all alike would be dealt so, and the Hodges-Lehmann shift by how much b is worse,
// with the bounds that the same distribution gives, one-sided and 95 % each, or surer where the
// number of b's trials is open, see metric.AlphaAt.
//
// The verdict is Fail when b is surely worse by more than the margin, Pass when it surely is
// not, and Inconclusive when the trials are too few to say, however far apart they lie: with
// two trials against two no p is below 1/6, with three against three 0.05 can be reached, and
// one trial needs nineteen. A margin of 0 is the usual one.
func compare(b *Cell, y []float64, a string, x []float64, m metric.Metric, stream string, margin time.Duration) Comparison {
	r := Comparison{
		Scenario: b.Scenario, Driver: b.Driver, Action: b.Action, A: a, B: b.Design, Metric: m.Name, Stream: stream,
		Trials: Tally{uint64(len(x)), uint64(len(y))}, P: 1, PWorse: 1, Verdict: Inconclusive,
	}
	names := []string{r.B, r.A, r.Metric}
	switch n := len(x) + len(y); {
	case len(x) == 0 || len(y) == 0:
		r.Why = Reason{Kind: TooFewTrials, Names: names, Tally: r.Trials}
		return r
	case n > mostCompared:
		r.Why = Reason{Kind: TooManyTrials, Names: names, Tally: Tally{uint64(n), mostCompared}}
		return r
	}
	if r.Margin = milliseconds(margin); margin == 0 {
		r.Margin = math.Max(MarginTime, MarginShare*median(slices.Sorted(slices.Values(x))))
	}
	r.P, r.PWorse = permutationTest(x, y)
	var covered bool
	r.Shift, r.Lo, r.Hi, covered = shift(x, y, 2*b.alpha())
	r.Why = Reason{Kind: MayBeWorse, Names: names, Value: r.Margin, Lo: r.Lo, Hi: r.Hi, P: r.PWorse}
	switch {
	case !covered: // just where the least p that these arms can give exceeds alpha
		r.Why = Reason{Kind: NeverSure, Names: names, Tally: r.Trials, Value: leastP(len(x), len(y))}
	case r.Lo > r.Margin:
		r.Verdict, r.Why.Kind = Fail, Worse
	case r.Hi <= r.Margin:
		r.Verdict, r.Why.Kind = Pass, NoWorse
		if r.PWorse <= b.alpha() {
			r.Why.Kind = WorseWithin
		}
	}
	return r
}

// Compared reports whether there was something to compare; else its numbers mean nothing.
func (c Comparison) Compared() bool {
	return c.Trials.N > 0 && c.Trials.Of > 0 && c.Trials.N+c.Trials.Of <= mostCompared
}

// sameAs reports whether two comparisons are of the same.
func (c Comparison) sameAs(o Comparison) bool {
	return c.Driver == o.Driver && c.A == o.A && c.B == o.B && c.Metric == o.Metric && c.Stream == o.Stream
}

// values are those of a metric in the cell's valid trials, over all requests or a stream's.
// What did not happen is later than anything, or 0 where the metric says so.
func (c *Cell) values(m metric.Metric, stream string) (all []float64) {
	for _, t := range c.ofStream(stream).valid() {
		all = append(all, t.limited(m))
	}
	return all
}

// ofStream is the cell with the requests of one stream alone, as far as they are told apart:
// counts, success rate and downtime. With "" it is the cell itself.
func (c *Cell) ofStream(name string) *Cell {
	if name == "" {
		return c
	}
	only := *c
	only.Trials = slices.Clone(c.Trials)
	for i := range only.Trials {
		t := &only.Trials[i]
		all := t.Planned
		at := slices.IndexFunc(t.Streams, func(s StreamCount) bool { return s.Name == name })
		t.Planned, t.OK, t.Failed, t.SuccessRate, t.Downtime = 0, 0, 0, 0, 0
		if at < 0 || t.Streams[at].Planned == 0 {
			continue
		}
		s := t.Streams[at]
		t.Planned, t.OK, t.Failed = s.Planned, s.OK, s.Planned-s.OK
		t.SuccessRate = float64(s.OK) / float64(s.Planned)
		if rate := t.Meta.Rate * float64(s.Planned) / float64(all); rate > 0 {
			t.Downtime = time.Duration(float64(t.Failed) / rate * float64(time.Second))
		}
	}
	estimate(&only)
	return &only
}

// inform holds the cells of a scenario, none of whose gates asks for that, against what earlier
// runs showed of them.
func (r *Run) inform(s record.Scenario) (out []Comparison) {
	asked := slices.ContainsFunc(s.Gates, func(g record.Gate) bool { return g.Against == record.PastRuns })
	if r.Record.Baseline == nil || asked {
		return nil
	}
	for i := range r.Cells {
		c := &r.Cells[i]
		if c.Scenario != s.Name || r.knownToFail(c.Scenario, c.Driver, c.Design) {
			continue
		}
		if x, why := past(r.Record.Baseline, c, downtime, ""); why == nil {
			out = append(out, compare(c, c.values(downtime, ""), record.PastRuns, x, downtime, "", 0))
		}
	}
	return out
}

// ComparePast holds what a run showed of a cell against what a baseline has of it, when both are
// in the past. Where the baseline lacks the cell, or it does not fit, the comparison is
// Inconclusive and says so.
func ComparePast(b *record.Baseline, now record.PastCell, m metric.Metric, margin time.Duration) Comparison {
	c := &Cell{Scenario: now.Scenario, Driver: now.Driver, Action: now.Action, Design: now.Design}
	x, why := past(b, c, m, "")
	y, unknown := pastValues(now.Trials, m, "")
	if unknown != "" && why == nil {
		x, why = nil, &Reason{Kind: NotMeasuredNow, Text: unknown}
	}
	made := compare(c, y, record.PastRuns, x, m, "", margin)
	made.Gated = true
	if why != nil {
		made.Why = *why // there was nothing to compare with
	}
	return made
}

// past are the values of a metric in the earlier runs that a cell is held against, and the
// reason why there are none.
func past(b *record.Baseline, c *Cell, m metric.Metric, stream string) (all []float64, why *Reason) {
	switch {
	case b == nil:
		return nil, &Reason{Kind: NoBaseline}
	case b.Missing != "":
		return nil, &Reason{Kind: BaselineMissing, Names: []string{b.File}, Text: b.Missing}
	}
	at := slices.IndexFunc(b.Cells, func(p record.PastCell) bool {
		return p.Scenario == c.Scenario && p.Driver == c.Driver && p.Action == c.Action && p.Design == c.Design
	})
	if at < 0 {
		return nil, &Reason{Kind: NotInBaseline, Names: []string{b.File}}
	}
	cell := b.Cells[at]
	if cell.Refused {
		return nil, &Reason{Kind: BaselineDiffers, Names: []string{b.File}, Differs: cell.Differs}
	}
	all, unknown := pastValues(cell.Trials, m, stream)
	if unknown != "" {
		return nil, &Reason{Kind: NotMeasuredThen, Names: []string{b.File}, Text: unknown}
	}
	return all, nil
}

// pastValues are the values of a metric in trials of the past; unknown is its name where one of
// them has not measured it.
func pastValues(trials []record.PastTrial, m metric.Metric, stream string) (all []float64, unknown string) {
	for _, t := range trials {
		v, measured := t.Values[record.ValueKey(m.Name, stream)]
		switch {
		case !measured:
			return nil, record.ValueKey(m.Name, stream)
		case v != nil:
			all = append(all, *v)
		case m.NoneIsZero:
			all = append(all, 0)
		default:
			all = append(all, math.Inf(1))
		}
	}
	return all, ""
}

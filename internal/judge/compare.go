package judge

import (
	"math"
	"slices"

	"github.com/rollout-lab/rollout-lab/internal/metric"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

// What counts as worse: a shift that surely exceeds the margin, which is the larger of a
// fixed time and a share of the first design's median.
const (
	marginTime  = 50.0 // milliseconds
	marginShare = 0.20
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
				out = append(out, compare(a, b))
			}
		}
	}
	return out
}

// compare holds b against a over their valid trials: the exact permutation test, and the
// Hodges-Lehmann shift with its interval. The verdict is Fail when b surely loses more
// than a by more than the margin, Pass when it surely does not, and Inconclusive when the
// trials are too few to say, however far apart they lie: with three trials an arm no p is
// below 0.1.
func compare(a, b *Cell) Comparison {
	r := Comparison{Scenario: a.Scenario, Driver: a.Driver, Action: a.Action, A: a.Design, B: b.Design, Metric: metric.Downtime, P: 1, Verdict: Inconclusive}
	lost := func(c *Cell) (values []float64) {
		for _, t := range c.valid() {
			values = append(values, milliseconds(t.Downtime))
		}
		return values
	}
	x, y := lost(a), lost(b)
	trials := Tally{uint64(len(x)), uint64(len(y))}
	switch n := len(x) + len(y); {
	case len(x) == 0 || len(y) == 0:
		r.Why = Reason{Kind: TooFewTrials, Tally: trials}
		return r
	case n > mostCompared:
		r.Why = Reason{Kind: TooManyTrials, Tally: Tally{uint64(n), mostCompared}}
		return r
	}
	r.P = permutationTest(x, y)
	var covered bool
	r.Shift, r.Lo, r.Hi, covered = shift(x, y, alpha)
	margin := math.Max(marginTime, marginShare*median(slices.Sorted(slices.Values(x))))
	r.Why = Reason{Kind: MayLoseMore, Names: []string{b.Design, a.Design}, Value: margin, Lo: r.Lo, Hi: r.Hi}
	switch {
	case !covered: // just where the least p that these arms can give exceeds alpha
		r.Why = Reason{Kind: NeverSure, Tally: trials, Value: leastP(len(x), len(y))}
	case r.Lo > margin:
		r.Verdict, r.Why.Kind = Fail, LosesMore
	case r.Hi <= margin:
		r.Verdict, r.Why.Kind = Pass, LosesNoMore
	}
	return r
}

//go:build !race

package judge

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/rollout-lab/rollout-lab/internal/metric"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

// poisson draws how many are lost, of which so many are expected.
func poisson(rng *rand.Rand, mean float64) float64 {
	if mean > 30 {
		return math.Max(0, math.Round(mean+math.Sqrt(mean)*rng.NormFloat64()))
	}
	n, left := 0.0, rng.ExpFloat64()
	for left < mean {
		left += rng.ExpFloat64()
		n++
	}
	return n
}

// pastLosses are kinds of services by what a trial loses, in requests of 1,000 a second, which is
// milliseconds of downtime. at is from 0 to 1 over the history; a new run is at its end.
var pastLosses = []struct {
	name string
	lose func(rng *rand.Rand, at float64) float64
	few  bool // so few that 100 more in every trial must be seen
}{
	{"nothing is ever lost", func(*rand.Rand, float64) float64 { return 0 }, true},
	{"5 % of trials lose some 2", sometimes(0.05, 2), true},
	{"20 % of trials lose some 3", sometimes(0.20, 3), true},
	{"50 % of trials lose some 5", sometimes(0.50, 5), true},
	{"all lose some 500", func(rng *rand.Rand, _ float64) float64 { return poisson(rng, 500*(1+0.05*rng.NormFloat64())) }, false},
	{"drifting from 0 to 20", func(rng *rand.Rand, at float64) float64 { return poisson(rng, 20*at) }, true},
}

func sometimes(share, mean float64) func(*rand.Rand, float64) float64 {
	return func(rng *rand.Rand, _ float64) float64 {
		if rng.Float64() >= share {
			return 0
		}
		return 1 + poisson(rng, mean-1)
	}
}

// outcomes are how often a gate against 30 earlier trials comes out how, over so many runs of
// three trials, each of which loses some more.
func outcomes(seed uint64, runs int, lose func(*rand.Rand, float64) float64, more float64) map[Verdict]float64 {
	const history, trials = 30, 3
	rng := rand.New(rand.NewPCG(seed, 17))
	gate := record.Gate{Design: "pr", Metric: metric.Downtime, Against: record.PastRuns}
	out := map[Verdict]float64{}
	for range runs {
		cell := record.PastCell{Scenario: "rollout", Driver: "process", Action: "rollout", Design: "pr"}
		for i := range history {
			cell.Trials = append(cell.Trials, earlier(lose(rng, float64(i)/history))...)
		}
		var fresh []uint64
		for range trials {
			lost := lose(rng, 1)
			if more > 0 {
				lost += poisson(rng, more*(1+0.15*rng.NormFloat64()))
			}
			fresh = append(fresh, uint64(lost))
		}
		got := Judge(against(&record.Baseline{File: "base.json", Cells: []record.PastCell{cell}}, gate), ended, nil, arm("pr", fresh...))
		out[got.Gates[0].Verdict] += 1 / float64(runs)
		if got.Gates[0].Why.Kind == WorseWithin {
			out[Warned] += 1 / float64(runs)
		}
	}
	return out
}

// A run of what has not changed is called worse in at most 5 % of all cases, whatever was lost
// before, and one of which every trial loses some 100 more is called so in at least 95 %. What
// loses 500 anyway has a margin of 100 by default; there it is more that must be seen.
func TestRegressionsInASimulation(t *testing.T) {
	const runs = 1000
	var table strings.Builder
	fmt.Fprintf(&table, "%-28s %27s   %27s\n", "", "the same", "each trial loses more")
	fmt.Fprintf(&table, "%-28s %6s %6s %6s %6s   %6s %6s %6s %6s\n", "history of 30, 3 new", "worse", "unsure", "pass", "warn", "worse", "unsure", "pass", "more")
	for i, h := range pastLosses {
		more := 100.0
		if !h.few {
			more = 250
		}
		same, worse := outcomes(uint64(i), runs, h.lose, 0), outcomes(uint64(100+i), runs, h.lose, more)
		fmt.Fprintf(&table, "%-28s %6.3f %6.3f %6.3f %6.3f   %6.3f %6.3f %6.3f %6.0f\n", h.name,
			same[Fail], same[Inconclusive], same[Pass], same[Warned], worse[Fail], worse[Inconclusive], worse[Pass], more)
		if same[Fail] > 0.05 {
			t.Errorf("%s: %.1f %% of the runs of the same are called worse", h.name, 100*same[Fail])
		}
		if same[Pass] < 0.95 {
			t.Errorf("%s: only %.1f %% of the runs of the same pass", h.name, 100*same[Pass])
		}
		if worse[Fail] < 0.95 {
			t.Errorf("%s: only %.1f %% of the runs that lose %v more are called worse", h.name, 100*worse[Fail], more)
		}
	}
	t.Logf("\n%s", table.String())
}

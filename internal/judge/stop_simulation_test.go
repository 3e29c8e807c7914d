//go:build !race

package judge

import (
	"math/rand/v2"
	"testing"
	"time"

	"gonum.org/v1/gonum/stat/distuv"

	"github.com/rollout-lab/rollout-lab/internal/metric"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

// The simulations are one goroutine each, in which there is no race to be found, and a race
// detector makes them take minutes.

// Whoever looks after every trial is no more often wrong than who looks once. The rate is right
// at the limit, where a miss and a pass are both wrong one time in twenty at most.
func TestStoppingEarlyMisleadsNoMoreOftenThanOneLook(t *testing.T) {
	const (
		runs    = 3000
		planned = 2000
		rate    = 0.99
	)
	limits := record.TrialRange{Least: 3, Most: 8}
	random := rand.New(rand.NewPCG(20, 26))
	lost := distuv.Binomial{N: planned, P: 1 - rate, Src: random}
	wrong, naive, took := 0, 0, 0
	for range runs {
		each := make([]uint64, limits.Most)
		for i := range each {
			each[i] = uint64(lost.Rand())
		}
		verdict, n := sequential(openRun(limits, record.Gate{Metric: metric.SuccessRate, Op: ">=", Limit: rate}), func(n int) Trial { return shown(n, each[n-1], planned) })
		took += n
		if verdict == Fail {
			wrong++
		}
		// Who takes every look for the only one.
		var ok uint64
		for n := 1; n <= limits.Most; n++ {
			ok += planned - each[n-1]
			if n >= limits.Least && upperBound(ok, uint64(n)*planned, alpha) < rate {
				naive++
				break
			}
		}
	}
	// Three standard deviations of a share of 5 % over so many runs are 1.2 %; the naive rule is
	// farther off than that, so this test can tell.
	t.Logf("missed in %.1f %% of %d runs (by looks at 95 %% each: %.1f %%), after %.1f trials on average", 100*float64(wrong)/runs, runs, 100*float64(naive)/runs, float64(took)/runs)
	if share := float64(wrong) / runs; share > 0.05 {
		t.Errorf("a rate right at its limit is missed in %.1f %% of runs, want at most 5 %%", 100*share)
	}
	if share := float64(naive) / runs; share < 0.07 {
		t.Errorf("looks at 95 %% each miss it in %.1f %% of runs: the simulation cannot tell the two apart", 100*share)
	}
}

// A limit held against the worst trial is missed by a design that loses something now and then
// no more often when one stops early, and its pass is that of the least number of trials.
func TestStoppingEarlyMissesNoWorstTrialMoreOften(t *testing.T) {
	const runs = 3000
	limits := record.TrialRange{Least: 3, Most: 8}
	random := rand.New(rand.NewPCG(7, 11))
	for _, often := range []float64{0.05, 0.2, 0.5} {
		early, fixed, least := 0, 0, 0
		for range runs {
			each := make([]uint64, limits.Most)
			first := limits.Most + 1
			for i := range each {
				if random.Float64() < often {
					each[i] = 3
					first = min(first, i+1)
				}
			}
			verdict, _ := sequential(openRun(limits, record.Gate{Metric: "failed", Op: "<=", Limit: 0}), func(n int) Trial { return shown(n, each[n-1], 2000) })
			if verdict == Fail {
				early++
			}
			if first <= limits.Most {
				fixed++
			}
			if first <= limits.Least {
				least++
			}
		}
		if early > fixed || early != least {
			t.Errorf("with losses in %.0f %% of trials: missed %d times, want what %d trials miss, %d, and at most what %d miss, %d", 100*often, early, limits.Least, least, limits.Most, fixed)
		}
	}
}

// A design that is as good as the one that it is held against is called worse no more often
// where one looks after every trial; one that surely loses more is found, before the last trial.
func TestStoppingEarlyAndComparisons(t *testing.T) {
	const runs = 600
	limits := record.TrialRange{Least: 3, Most: 8}
	run := openRun(limits, record.Gate{Metric: metric.Downtime, Against: "main", Margin: time.Millisecond})
	run.Scenarios[0].Designs = []string{"own", "main"}
	random := rand.New(rand.NewPCG(3, 4))
	compared := func(more float64) (wrong int, rounds float64) {
		for range runs {
			var trials []Trial
			for n := 1; ; n++ {
				for _, design := range []string{"own", "main"} {
					lost := 500 + 100*random.NormFloat64()
					if design == "own" {
						lost += more
					}
					tr := shown(n, uint64(lost), 20_000)
					tr.Meta.Design, tr.Downtime = design, time.Duration(lost)*time.Millisecond
					trials = append(trials, tr)
				}
				if _, stop := Stop(run, nil, trials, "s", "d"); stop || n == limits.Most {
					if Judge(run, &record.RunEnd{}, nil, trials).Verdict == Fail {
						wrong++
					}
					rounds += float64(n) / runs
					break
				}
			}
		}
		return wrong, rounds
	}
	wrong, rounds := compared(0)
	t.Logf("as good: called worse in %d of %d runs, after %.1f trials", wrong, runs, rounds)
	if wrong > runs/20 {
		t.Errorf("a design that is as good is called worse in %d of %d runs, want at most 5 %%", wrong, runs)
	}
	wrong, rounds = compared(800)
	t.Logf("worse: found in %d of %d runs, after %.1f trials", wrong, runs, rounds)
	if wrong < runs*95/100 || rounds >= float64(limits.Most) {
		t.Errorf("a design that is surely worse is found in %d of %d runs, after %.1f trials", wrong, runs, rounds)
	}
}

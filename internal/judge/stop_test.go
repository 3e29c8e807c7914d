package judge

import (
	"math/rand/v2"
	"testing"
	"time"

	"gonum.org/v1/gonum/stat/distuv"

	"github.com/rollout-lab/rollout-lab/internal/metric"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

// openRun is a run of one scenario with so many trials of one design, and a gate.
func openRun(trials record.TrialRange, gates ...record.Gate) record.Run {
	for i := range gates {
		gates[i].Design = "own"
	}
	return record.Run{Scenarios: []record.Scenario{{Name: "s", Action: "rollout", Trials: trials, Designs: []string{"own"}, Gates: gates}}}
}

// shown is a valid trial that lost so many requests of those planned.
func shown(n int, lost, planned uint64) Trial {
	return Trial{
		Meta:  record.Trial{Scenario: "s", Driver: "d", Action: "rollout", Design: "own", N: n},
		Valid: true, Planned: planned, Sent: planned, OK: planned - lost, Failed: lost,
		SuccessRate: float64(planned-lost) / float64(planned),
	}
}

func TestWhenTrialsMayStop(t *testing.T) {
	atLeast := record.Gate{Metric: metric.SuccessRate, Op: ">=", Limit: 0.999}
	nothing := record.Gate{Metric: "failed", Op: "<=", Limit: 0}
	lossy := func(each ...uint64) (all []Trial) {
		for i, lost := range each {
			all = append(all, shown(i+1, lost, 2000))
		}
		return all
	}
	invalid := shown(1, 0, 2000)
	invalid.Valid, invalid.InvalidReasons = false, []Reason{{Kind: LoadLate}}
	unready := shown(1, 0, 2000)
	unready.Failures = []Reason{{Kind: ActionFailed}}
	for name, tc := range map[string]struct {
		gates   []record.Gate
		trials  []Trial
		skipped []record.Skipped
		why     record.StopReason
	}{
		"the least are not there":           {[]record.Gate{nothing}, lossy(0), nil, ""},
		"nothing lost in the least":         {[]record.Gate{nothing}, lossy(0, 0), nil, record.GatesDecided},
		"lost in the first":                 {[]record.Gate{nothing}, lossy(1), nil, record.VerdictFinal},
		"a rate far above":                  {[]record.Gate{{Metric: metric.SuccessRate, Op: ">=", Limit: 0.9}}, lossy(2, 3), nil, record.GatesDecided},
		"a rate too close to tell":          {[]record.Gate{atLeast}, lossy(1, 2), nil, ""},
		"a rate that 95 % would do for":     {[]record.Gate{atLeast}, lossy(0, 0), nil, ""}, // 4,000 requests: 2,995 are enough at the only look
		"a rate missed for sure":            {[]record.Gate{atLeast}, lossy(9, 9), nil, record.GatesDecided},
		"before the least it is not missed": {[]record.Gate{atLeast}, lossy(12), nil, ""},
		"a rate that nothing can mend":      {[]record.Gate{atLeast}, lossy(200), nil, record.VerdictFinal},
		"a rate that nothing can spoil":     {[]record.Gate{{Metric: metric.SuccessRate, Op: "<=", Limit: 0.1}}, lossy(5), nil, record.VerdictFinal},
		"one of two is open":                {[]record.Gate{nothing, atLeast}, lossy(0, 0), nil, ""},
		"one of two is missed for good":     {[]record.Gate{atLeast, nothing}, lossy(0, 1), nil, record.VerdictFinal},
		"the target failed":                 {[]record.Gate{atLeast}, []Trial{unready}, nil, record.VerdictFinal},
		"an invalid trial that stays one":   {[]record.Gate{nothing}, append([]Trial{invalid}, shown(2, 0, 2000)), nil, record.GatesDecided},
		"no gate":                           {nil, lossy(0, 0), nil, record.GatesDecided},
		"it did not serve when deployed":    {[]record.Gate{nothing}, nil, []record.Skipped{{Scenario: "s", Driver: "d", Design: "own", ByTarget: true}}, record.VerdictFinal},
		"another driver's did not":          {[]record.Gate{nothing}, lossy(0), []record.Skipped{{Scenario: "s", Driver: "other", Design: "own", ByTarget: true}}, ""},
	} {
		why, stop := Stop(openRun(record.TrialRange{Least: 2, Most: 5}, tc.gates...), tc.skipped, tc.trials, "s", "d")
		if why != tc.why || stop != (tc.why != "") {
			t.Errorf("%s: %q, %v, want %q", name, why, stop, tc.why)
		}
	}
}

// What a final verdict says stays so, whatever comes: the best and the worst rest are tried.
func TestAFinalVerdictIsFinal(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	gates := []record.Gate{{Metric: metric.SuccessRate, Op: ">=", Limit: 0.99}, {Metric: metric.SuccessRate, Op: "<=", Limit: 0.6}, {Metric: "failed", Op: "<=", Limit: 3}}
	final := 0
	for range 4000 {
		limits := record.TrialRange{Least: 1 + r.IntN(4)}
		limits.Most = limits.Least + 1 + r.IntN(4)
		run := openRun(limits, gates[r.IntN(len(gates))])
		var trials []Trial
		for n := 1; n < limits.Most; n++ {
			planned := uint64(50 + r.IntN(3))
			trials = append(trials, shown(n, r.Uint64N(planned+1)/uint64(1+r.IntN(20)), planned))
			if why, _ := Stop(run, nil, trials, "s", "d"); why != record.VerdictFinal {
				continue
			}
			final++
			for _, lost := range []float64{0, 1} {
				all := trials[:len(trials):len(trials)]
				for m := n + 1; m <= limits.Most; m++ {
					all = append(all, shown(m, uint64(lost*50), 50))
				}
				if v := Judge(run, &record.RunEnd{}, nil, all).Verdict; v != Fail {
					t.Fatalf("%v %+v: final after %d trials, and %s after %d that lose %v of everything: %v", limits, run.Scenarios[0].Gates, n, v, limits.Most, lost, all)
				}
			}
			break
		}
	}
	if final < 500 {
		t.Errorf("only %d verdicts were final: nothing is tested", final)
	}
}

// sequential runs one scenario until it may stop, and returns its verdict and how many trials it
// took.
func sequential(run record.Run, trial func(n int) Trial) (Verdict, int) {
	most := run.Scenarios[0].Trials.Most
	var trials []Trial
	for n := 1; ; n++ {
		trials = append(trials, trial(n))
		if _, stop := Stop(run, nil, trials, "s", "d"); stop || n == most {
			return Judge(run, &record.RunEnd{}, nil, trials).Verdict, n
		}
	}
}

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

package judge

import (
	"math/rand/v2"
	"testing"

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

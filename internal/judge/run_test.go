package judge

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollout-lab/rollout-lab/internal/metric"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/internal/timeline"
)

// result is a measured valid trial of 20,000 requests of which so many failed.
func result(design string, n int, failed uint64) Trial {
	return Trial{
		Meta:  record.Trial{Scenario: "rollout", Driver: "process", Action: "rollout", Design: design, N: n, Rate: 1000},
		Valid: true, Planned: 20_000, Sent: 20_000, OK: 20_000 - failed, Failed: failed,
		SuccessRate: 1 - float64(failed)/20_000, Downtime: time.Duration(failed) * ms,
		Recovery: at(time.Duration(failed) * ms), Convergence: at(9 * s), Denials: 400,
		Values:  map[string]float64{metric.Completed: 1},
		Down:    map[time.Duration]time.Duration{binWidth: time.Duration(failed) * ms},
		Latency: Percentiles{N: 20_000 - failed, P50: ms, P90: 2 * ms, P99: 3 * ms, P999: 4 * ms, Max: 5 * ms},
	}
}

func broken(design string, n, repeats int) Trial {
	t := result(design, n, 5000)
	t.Valid, t.InvalidReasons, t.Meta.Repeats = false, []Reason{{Kind: LoadLate, Time: 73 * ms, Limit: lagLimit}}, repeats
	return t
}

func repeat(t Trial, of int) Trial { t.Meta.Repeats = of; return t }

func in(t Trial, scenario, driver, action string) Trial {
	t.Meta.Scenario, t.Meta.Driver, t.Meta.Action = scenario, driver, action
	return t
}

var (
	rateGate999 = record.Gate{Design: "good", Metric: "success_rate", Op: ">=", Limit: 0.999}
	noBreaches  = record.Gate{Design: "good", Metric: "breaches", Op: "<=", Limit: 0}
	ended       = &record.RunEnd{}
)

// asked are the gates that the scenario asks for.
func asked(r Run) []GateResult {
	return slices.DeleteFunc(slices.Clone(r.Gates), func(g GateResult) bool { return g.Implicit })
}

func described(gates ...record.Gate) record.Run {
	return record.Run{Scenarios: []record.Scenario{{Name: "rollout", Action: "rollout", Designs: []string{"bad", "good"}, Positive: []string{"bad"}, Gates: gates}}}
}

// elsewhere is a run whose positive control must fail on another driver than its own.
func elsewhere() record.Run {
	run := described(rateGate999)
	run.Scenarios[0].PositiveOn = map[string][]string{"bad": {"docker"}}
	return run
}

func TestVerdict(t *testing.T) {
	good := func() []Trial {
		return []Trial{result("bad", 1, 3000), result("good", 1, 0), result("good", 2, 0), result("bad", 2, 3100), result("bad", 3, 3200), result("good", 3, 0)}
	}
	breach := good()
	breach[2].Breaches = 1
	partial := broken("good", 4, 0)
	partial.Partial = true
	stuck := broken("good", 4, 0)
	stuck.Stands = true
	breached := broken("good", 4, 0)
	breached.Breaches = 3
	for _, tc := range []struct {
		name    string
		run     record.Run
		end     *record.RunEnd
		missing []string
		trials  []Trial
		want    Verdict
		partial bool
		reasons []string // parts, in order
	}{
		{"pass", described(rateGate999, noBreaches), ended, nil, good(), Pass, false, nil},
		{"a gate missed", described(rateGate999, noBreaches), ended, nil, breach, Fail, false, []string{"gate-missed rollout/process/good breaches <= 0 because [worst-trial trial 2 breaches <= 0 0 of 3 value 1]"}},
		{"too few to tell", described(record.Gate{Design: "good", Metric: "success_rate", Op: ">=", Limit: 0.99996}), ended, nil, good(), Inconclusive, false, []string{"because [rate-unclear 60000 of 60000 "}},
		{"no gate", described(), ended, nil, good(), Inconclusive, false, []string{"no-gates"}},
		{"no data", described(rateGate999), ended, nil, nil, Inconclusive, false, []string{"because [no-such-design]", "control-failed rollout/bad positive because [never-run]", "no-trials"}},
		{"no data and no description", record.Run{}, ended, nil, nil, Inconclusive, false, []string{"no-trials", "no-gates"}},
		{"a gate on a design that was not run", described(record.Gate{Design: "other", Metric: "failed", Op: "<=", Limit: 0}), ended, nil, good(), Inconclusive, false, []string{"gate-unclear rollout/other failed <= 0 because [no-such-design]"}},
		{"an unknown metric", described(record.Gate{Design: "good", Metric: "charm", Op: ">=", Limit: 1}), ended, nil, good(), Inconclusive, false, []string{"because [no-such-metric]"}},
		{"an unknown operator", described(record.Gate{Design: "good", Metric: "failed", Op: "<", Limit: 1}), ended, nil, good(), Inconclusive, false, []string{"because [bad-operator <]"}},
		{"cut short", described(rateGate999), nil, nil, good(), Inconclusive, true, []string{"run-cut-short"}},
		{"interrupted", described(rateGate999), &record.RunEnd{Interrupted: true}, nil, good(), Inconclusive, true, []string{"run-interrupted"}},
		{"a trial missing", described(rateGate999), ended, []string{"trials/x-1"}, good(), Inconclusive, true, []string{"trials-missing 1 of 1 trials/x-1"}},
		{"skipped", described(rateGate999), &record.RunEnd{Skipped: []record.Skipped{{Scenario: "rollout", Driver: "docker", Design: "good", Why: "no daemon"}}}, nil, good(), Inconclusive, false, []string{`cell-not-run rollout/docker/good "no daemon"`}},
		{
			"invalid and not repeated", described(rateGate999), ended, nil, append(good(), broken("good", 4, 0)), Inconclusive, false,
			[]string{"success_rate >= 0.999", "trial-invalid rollout/process/good trial 4 because [load-late 73ms limit 50ms]"},
		},
		{"partial and not repeated", described(rateGate999), ended, nil, append(good(), partial), Inconclusive, true, []string{"because [trials-not-valid]", "trial-invalid rollout/process/good trial 4"}},
		{"invalid and repeated", described(rateGate999), ended, nil, append(good(), partial, repeat(result("good", 5, 0), 4)), Pass, false, nil},
		{"invalid twice, then repeated", described(rateGate999), ended, nil, append(good(), broken("good", 4, 0), broken("good", 5, 4), repeat(result("good", 6, 0), 4)), Pass, false, nil},
		{"a chain of repeats", described(rateGate999), ended, nil, append(good(), broken("good", 4, 0), broken("good", 5, 4), repeat(result("good", 6, 0), 5)), Pass, false, nil},
		{
			"repeated in vain", described(noBreaches), ended, nil, append(good(), broken("good", 4, 0), broken("good", 5, 4)), Inconclusive, false,
			[]string{"because [trials-not-valid]", "trial-invalid rollout/process/good trial 4", "trial-invalid rollout/process/good trial 5"},
		},
		{
			"one repeat does not stand for two", described(noBreaches), ended, nil, append(good(), broken("good", 4, 0), broken("good", 5, 0), repeat(result("good", 6, 0), 5)), Inconclusive, false,
			[]string{"because [trials-not-valid]", "trial-invalid rollout/process/good trial 4"},
		},
		{"a miss stays one with trials invalid", described(noBreaches), ended, nil, append(breach[:5:5], broken("good", 3, 0)), Fail, false, []string{"gate-missed rollout/process/good breaches", "trial-invalid rollout/process/good trial 3"}},
		{
			"only invalid trials", described(noBreaches), ended, nil, []Trial{result("bad", 1, 900), broken("good", 1, 0)}, Inconclusive, false,
			[]string{"breaches <= 0 because [no-valid-trial]", "trial-invalid rollout/process/good trial 1"},
		},
		{
			"a positive control that shows nothing", described(rateGate999), ended, nil, []Trial{result("bad", 1, 0), result("good", 1, 0)}, Inconclusive, false,
			[]string{"control-failed rollout/process/bad positive because [cannot-tell 0 of 20000]"},
		},
		{"a positive control that need not fail on this driver", elsewhere(), ended, nil, []Trial{result("bad", 1, 0), result("good", 1, 0)}, Pass, false, nil},
		{
			"a positive control that shows a hiccup", described(rateGate999), ended, nil, []Trial{result("bad", 1, 9), result("good", 1, 0)}, Inconclusive, false,
			[]string{"control-failed rollout/process/bad positive because [lost-too-little 9 of 20000 9ms limit 50ms]"},
		},
		{
			"what the target did stands", described(rateGate999), ended, nil, append(good(), stuck, repeat(result("good", 5, 0), 4)), Inconclusive, false,
			[]string{"because [trials-not-valid]", "trial-invalid rollout/process/good trial 4"},
		},
		{
			"a breach counts wherever it was seen", described(noBreaches), ended, nil, append(good(), breached, repeat(result("good", 5, 0), 4)), Fail, false,
			[]string{"gate-missed rollout/process/good breaches <= 0 because [invalid-breached trial 4 3 of 0]"},
		},
		{"a positive control that was not run", described(rateGate999), ended, nil, []Trial{result("good", 1, 0)}, Inconclusive, false, []string{"control-failed rollout/bad positive because [never-run]"}},
		{
			"a positive control without a valid trial", described(rateGate999), ended, nil, []Trial{broken("bad", 1, 0), result("good", 1, 0)}, Inconclusive, false,
			[]string{"trial-invalid rollout/process/bad trial 1", "control-failed rollout/process/bad positive because [no-valid-trial]"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := Judge(tc.run, tc.end, tc.missing, tc.trials)
			if got.Verdict != tc.want || got.Partial != tc.partial {
				t.Errorf("verdict %s, partial %v; want %s, %v", got.Verdict, got.Partial, tc.want, tc.partial)
			}
			if len(got.Reasons) != len(tc.reasons) {
				t.Fatalf("reasons %q, want %q", got.Reasons, tc.reasons)
			}
			for i, want := range tc.reasons {
				if !strings.Contains(got.Reasons[i].String(), want) {
					t.Errorf("reason %q, want it to say %q", got.Reasons[i], want)
				}
			}
		})
	}
}

func TestNegativeControl(t *testing.T) {
	run := record.Run{Scenarios: []record.Scenario{{Name: "control", Action: record.NoAction, Designs: []string{"bad", "good"}, Gates: []record.Gate{{Design: "good", Metric: "failed", Op: "<=", Limit: 0}}}}}
	trials := []Trial{in(result("bad", 1, 0), "control", "process", record.NoAction), in(result("good", 1, 0), "control", "process", record.NoAction)}
	if got := Judge(run, ended, nil, trials); got.Verdict != Pass || len(got.Controls) != 2 || !got.Controls[0].Held {
		t.Errorf("verdict %s, controls %+v, reasons %q", got.Verdict, got.Controls, got.Reasons)
	}
	trials[0].Failed, trials[0].OK = 1, 19_999
	got := Judge(run, ended, nil, trials)
	if got.Verdict != Inconclusive || len(got.Reasons) != 1 || !strings.Contains(got.Reasons[0].String(), "control-failed control/process/bad negative because [unprovoked-failures 1 of 0]") {
		t.Errorf("verdict %s, reasons %q", got.Verdict, got.Reasons)
	}
}

func TestANegativeControlForgetsNoFailure(t *testing.T) {
	run := record.Run{Scenarios: []record.Scenario{{Name: "control", Action: record.NoAction, Designs: []string{"good"}, Gates: []record.Gate{{Design: "good", Metric: "failed", Op: "<=", Limit: 0}}}}}
	noisy := in(broken("good", 1, 0), "control", "process", record.NoAction)
	noisy.Baseline.Failed = 3
	clean := in(repeat(result("good", 2, 0), 1), "control", "process", record.NoAction)
	for _, tc := range []struct {
		sound bool
		want  Verdict
	}{{true, Inconclusive}, {false, Pass}} {
		noisy.Sound = tc.sound
		if got := Judge(run, ended, nil, []Trial{noisy, clean}); got.Verdict != tc.want {
			t.Errorf("harness sound %v: verdict %s, want %s: %q", tc.sound, got.Verdict, tc.want, got.Reasons)
		}
	}
}

// Nobody was let in where nobody asked: that is no data, and no pass.
func TestNoDenialsAreNoPass(t *testing.T) {
	none := result("good", 1, 0)
	none.Denials = 0
	got := Judge(described(noBreaches), ended, nil, []Trial{result("bad", 1, 3000), none})
	if g := got.Gates[0]; got.Verdict != Inconclusive || g.Verdict != Inconclusive || g.Why.Kind != NothingToDeny || !g.NoValue {
		t.Errorf("verdict %s, gate %+v; want both inconclusive: nothing to deny", got.Verdict, g)
	}
}

func TestGates(t *testing.T) {
	never := result("good", 2, 0)
	never.Recovery, never.DisruptionLag, never.Convergence = nil, nil, nil
	for _, tc := range []struct {
		name       string
		metric, op string
		limit      float64
		trials     []Trial
		want       Verdict
		observed   float64
		noValue    bool
		why        string
	}{
		{"47 of 60,000 meet 99.9 %", "success_rate", ">=", 0.999, []Trial{result("good", 1, 0), result("good", 2, 47), result("good", 3, 0)}, Pass, 1 - 47.0/60_000, false, "rate-at-least 59953 of 60000 lossy 1 of 3 from 0.999"},
		{"48 do not", "success_rate", ">=", 0.999, []Trial{result("good", 1, 0), result("good", 2, 48), result("good", 3, 0)}, Inconclusive, 1 - 48.0/60_000, false, "rate-unclear"},
		{"nor do 65, though the rate is below it", "success_rate", ">=", 0.999, []Trial{result("good", 1, 0), result("good", 2, 65), result("good", 3, 0)}, Inconclusive, 1 - 65.0/60_000, false, "rate-unclear"},
		{"75 miss it", "success_rate", ">=", 0.999, []Trial{result("good", 1, 0), result("good", 2, 75), result("good", 3, 0)}, Fail, 1 - 75.0/60_000, false, "rate-at-most 59925 of 60000"},
		{"an upper limit on a rate", "success_rate", "<=", 0.05, []Trial{result("good", 1, 19_900)}, Pass, 0.005, false, "rate-at-most 100 of 20000"},
		{"an upper limit on a rate missed", "success_rate", "<=", 0.05, []Trial{result("good", 1, 10_000)}, Fail, 0.5, false, "rate-at-least 10000 of 20000"},
		{"the worst trial counts", "failed", "<=", 5, []Trial{result("good", 1, 1), result("good", 2, 6), result("good", 3, 0)}, Fail, 6, false, "worst-trial trial 2 failed <= 5 0 of 3 value 6"},
		{"at the limit", "failed", "<=", 6, []Trial{result("good", 1, 1), result("good", 2, 6)}, Pass, 6, false, "worst-trial trial 2 failed <= 6 0 of 2 value 6"},
		{"a lower limit takes the least", "downtime", ">=", 1000, []Trial{result("good", 1, 3000), result("good", 2, 999)}, Fail, 999, false, "worst-trial trial 2 downtime >= 1000 0 of 2 value 999"},
		{"a lower limit met", "downtime", ">=", 1000, []Trial{result("good", 1, 3000), result("good", 2, 1000)}, Pass, 1000, false, "worst-trial trial 2 downtime >= 1000 0 of 2 value 1000"},
		{"bins down", "bins_down", "<=", 10, []Trial{result("good", 1, 11)}, Fail, 11, false, "worst-trial trial 1 bins_down <= 10 0 of 1 value 11"},
		{"latency", "latency_p99", "<=", 3, []Trial{result("good", 1, 0)}, Pass, 3, false, "worst-trial trial 1 latency_p99 <= 3 0 of 1 value 3"},
		{"never recovered", "recovery", "<=", 1e9, []Trial{result("good", 1, 0), never}, Fail, 0, true, "worst-without trial 2 recovery"},
		{"never converged", "convergence", "<=", 1e9, []Trial{never}, Fail, 0, true, "worst-without trial 2 convergence"},
		{"nothing failed, so not early", "disruption_lag", ">=", 500, []Trial{never}, Pass, 0, true, "worst-without trial 2 disruption_lag"},
		{"no valid trial", "failed", "<=", 0, []Trial{broken("good", 1, 0)}, Inconclusive, 0, true, "no-valid-trial"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			run := described(record.Gate{Design: "good", Metric: tc.metric, Op: tc.op, Limit: tc.limit})
			got := asked(Judge(run, ended, nil, tc.trials))
			if len(got) != 1 {
				t.Fatalf("%d results, want 1", len(got))
			}
			g := got[0]
			if g.Verdict != tc.want || math.Abs(g.Observed-tc.observed) > 1e-12 || g.NoValue != tc.noValue || !strings.Contains(g.Why.String(), tc.why) {
				t.Errorf("got %+v; want %s, %v, %q", g, tc.want, tc.observed, tc.why)
			}
			if g.HasInterval != (tc.metric == "success_rate") || g.Cell != "rollout/process/good" {
				t.Errorf("interval %v, cell %q", g.HasInterval, g.Cell)
			}
			for _, v := range []float64{g.Observed, g.Lo, g.Hi} {
				if math.IsInf(v, 0) || math.IsNaN(v) {
					t.Errorf("%v cannot be written as JSON", v)
				}
			}
		})
	}
}

// A limit at the very bound of a rate: what is at it is met, and not surely missed.
func TestARateAtItsBound(t *testing.T) {
	lo, hi := lowerBound(19_990, 20_000, alpha), upperBound(19_990, 20_000, alpha)
	for _, tc := range []struct {
		op    string
		limit float64
		want  Verdict
	}{
		{">=", lo, Pass}, {">=", math.Nextafter(lo, 1), Inconclusive}, {">=", hi, Inconclusive}, {">=", math.Nextafter(hi, 1), Fail},
		{"<=", hi, Pass}, {"<=", math.Nextafter(hi, 0), Inconclusive}, {"<=", lo, Inconclusive}, {"<=", math.Nextafter(lo, 0), Fail},
	} {
		run := described(record.Gate{Design: "good", Metric: metric.SuccessRate, Op: tc.op, Limit: tc.limit})
		if got := Judge(run, ended, nil, []Trial{result("good", 1, 10)}).Gates[0]; got.Verdict != tc.want {
			t.Errorf("%s %v with bounds from %v to %v: %s, want %s", tc.op, tc.limit, lo, hi, got.Verdict, tc.want)
		}
	}
}

// The bounds on requests say nothing about how often an event comes: the trials do.
func TestWhatTheTrialsWouldNotHaveSeen(t *testing.T) {
	for _, tc := range []struct {
		trials, lossy int
		want          float64
	}{{1, 0, 0.95}, {3, 0, 0.6316}, {10, 0, 0.2589}, {3, 1, 0}, {3, 3, 0}} {
		var trials []Trial
		for n := range tc.trials {
			lost := uint64(0)
			if n < tc.lossy {
				lost = 1
			}
			trials = append(trials, result("good", n+1, lost))
		}
		trials = append(trials, broken("good", tc.trials+1, 1)) // an invalid one has seen nothing
		why := Judge(described(rateGate999), ended, nil, trials).Gates[0].Why
		if want := (Tally{uint64(tc.lossy), uint64(tc.trials)}); why.Kind != RateAtLeast || why.Lossy != want || math.Abs(why.Value-tc.want) > 5e-5 {
			t.Errorf("%d of %d lost something: %v, want %v", tc.lossy, tc.trials, why, tc.want)
		}
	}
}

func TestAGateHoldsOnEveryDriver(t *testing.T) {
	got := Judge(described(noBreaches), ended, nil, []Trial{
		result("bad", 1, 9), result("good", 1, 0), in(result("bad", 1, 9), "rollout", "kind", "rollout"), in(result("good", 1, 0), "rollout", "kind", "rollout"),
	})
	var cells []string
	for _, g := range asked(got) {
		cells = append(cells, g.Cell)
	}
	if diff := cmp.Diff([]string{"rollout/process/good", "rollout/kind/good"}, cells); diff != "" {
		t.Errorf("gates (-want +got):\n%s", diff)
	}
	if len(got.Comparisons) != 2 || got.Comparisons[1].Driver != "kind" {
		t.Errorf("comparisons %+v, want one on each driver", got.Comparisons)
	}
}

func TestEstimates(t *testing.T) {
	never := result("good", 3, 30)
	never.Recovery = nil
	got := Judge(described(), ended, nil, []Trial{result("good", 1, 10), broken("good", 2, 0), never, result("good", 4, 20)}).Cells
	if len(got) != 1 || len(got[0].Trials) != 4 {
		t.Fatalf("cells %+v, want one with all four trials", got)
	}
	want := Estimate{Median: 20, Lo: 10, Hi: 30, N: 3}
	if got[0].Estimates[metric.Downtime] != want {
		t.Errorf("downtime %+v, want %+v", got[0].Estimates[metric.Downtime], want)
	}
	if want := (Estimate{Median: 15, Lo: 10, Hi: 20, N: 2}); got[0].Estimates[metric.Recovery] != want {
		t.Errorf("recovery %+v, want %+v", got[0].Estimates[metric.Recovery], want)
	}
	if want, rate := (Estimate{Median: 1 - 20.0/20_000, Lo: 1 - 30.0/20_000, Hi: 1 - 10.0/20_000, N: 3}), got[0].Estimates[metric.SuccessRate]; rate != want {
		t.Errorf("success rate %+v, want %+v", rate, want)
	}
	if want := (Bounds{lowerBound(59_940, 60_000, alpha), upperBound(59_940, 60_000, alpha)}); got[0].Bounds != want {
		t.Errorf("bounds %+v, want %+v", got[0].Bounds, want)
	}
	none := Judge(described(), ended, nil, []Trial{broken("good", 1, 0)}).Cells[0]
	if none.Estimates[metric.SuccessRate].N != 0 || none.Estimates[metric.Downtime].N != 0 || none.Bounds != (Bounds{}) {
		t.Errorf("estimates without a valid trial: %+v", none.Estimates)
	}
}

func TestComparisons(t *testing.T) {
	for _, tc := range []struct {
		name string
		a, b []Trial
		want Verdict
		p    float64
		why  string
	}{
		{"two an arm say nothing", arm("bad", 0, 1), arm("good", 3000, 3001), Inconclusive, 2.0 / 6, "never-sure 2 of 2 value 0.166667"},
		{"three an arm just do", arm("bad", 0, 1, 2), arm("good", 3000, 3001, 3002), Fail, 0.1, "worse value 50 p 0.05 from 2998 to 3002 good,bad,downtime"},
		{"better", arm("bad", 3000, 3001, 3002, 3003), arm("good", 0, 1, 2, 3), Pass, 2.0 / 70, "no-worse"},
		{"worse", arm("bad", 0, 1, 2, 3), arm("good", 3000, 3001, 3002, 3003), Fail, 2.0 / 70, "worse value 50 p 0.01429 "},
		{"worse, but within the margin", arm("bad", 0, 1, 2, 3), arm("good", 40, 41, 42, 43), Pass, 2.0 / 70, "worse-within value 50 p 0.01429 from 38 to 42 good,bad"},
		{"within a fifth of the first", arm("bad", 1000, 1001, 1002, 1003), arm("good", 1100, 1101, 1102, 1103), Pass, 2.0 / 70, "worse-within value 200.3 "},
		{"the same", arm("bad", 0, 0, 0, 0), arm("good", 0, 0, 0, 0), Pass, 1, "no-worse"},
		{"wide", arm("bad", 0, 0, 0, 0), arm("good", 0, 0, 500, 900), Inconclusive, 30.0 / 70, "may-be-worse"},
		{"no worse by its estimate, but wide", arm("bad", 0, 0, 0, 0), arm("good", 0, 0, 0, 900), Inconclusive, 1, "may-be-worse"},
		{"one arm invalid", arm("bad", 1), []Trial{broken("good", 1, 0)}, Inconclusive, 1, "too-few-trials 1 of 0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := Judge(described(), ended, nil, slices.Concat(tc.a, tc.b)).Comparisons
			if len(got) != 1 {
				t.Fatalf("%d comparisons, want 1", len(got))
			}
			c := got[0]
			if c.A != "bad" || c.B != "good" || c.Verdict != tc.want || math.Abs(c.P-tc.p) > 1e-12 || !strings.Contains(c.Why.String(), tc.why) {
				t.Errorf("got %+v; want %s, p %v, %q", c, tc.want, tc.p, tc.why)
			}
		})
	}
	many := make([]uint64, mostCompared)
	if got := Judge(described(), ended, nil, slices.Concat(arm("bad", many...), arm("good", many...))).Comparisons[0]; got.Verdict != Inconclusive {
		t.Errorf("too many to enumerate: %+v", got)
	}
}

func TestComparisonsAreAgainstThePositiveControl(t *testing.T) {
	run := record.Run{Scenarios: []record.Scenario{{Name: "rollout", Designs: []string{"x", "y", "z"}, Positive: []string{"gone", "y"}}}}
	pairs := func(run record.Run) (out []string) {
		for _, c := range Judge(run, ended, nil, []Trial{result("z", 1, 0), result("x", 1, 0), result("y", 1, 0)}).Comparisons {
			out = append(out, c.A+"-"+c.B)
		}
		return out
	}
	if diff := cmp.Diff([]string{"y-z", "y-x"}, pairs(run)); diff != "" {
		t.Errorf("with a positive control (-want +got):\n%s", diff)
	}
	run.Scenarios[0].Positive = nil
	if diff := cmp.Diff([]string{"x-z", "x-y"}, pairs(run)); diff != "" {
		t.Errorf("without one, the first design (-want +got):\n%s", diff)
	}
}

// TestComparisonsDoNotDecide: no limit is set on them.
func TestComparisonsDoNotDecide(t *testing.T) {
	run := record.Run{Scenarios: []record.Scenario{{Name: "rollout", Designs: []string{"a", "good"}, Gates: []record.Gate{noBreaches}}}}
	var trials []Trial
	for n := range 4 {
		trials = append(trials, result("a", n+1, 0), result("good", n+1, 5000))
	}
	got := Judge(run, ended, nil, trials)
	if got.Comparisons[0].Verdict != Fail || got.Verdict != Pass {
		t.Errorf("comparison %s, run %s; want fail and pass", got.Comparisons[0].Verdict, got.Verdict)
	}
}

func TestTheHeadlineSaysThatAnActionOutlastedItsWindow(t *testing.T) {
	late := result("good", 1, 0)
	late.Window = timeline.Span{From: 4 * s, To: 34 * s}
	late.Timeline.Action = timeline.Span{From: 4 * s, To: 35600 * ms}
	got := Judge(described(rateGate999), ended, nil, []Trial{result("bad", 1, 3000), late})
	if l := got.Headline().Losses[0]; l.Design != "good" || l.Outlasted != 1600*ms {
		t.Errorf("%s outlasted its window by %v", l.Design, l.Outlasted)
	}
}

func TestTheHeadlineKeepsWhatWasDiscarded(t *testing.T) {
	discarded := broken("good", 1, 0)
	discarded.Failed = 7
	got := Judge(described(rateGate999), ended, nil, []Trial{result("bad", 1, 3000), discarded, repeat(result("good", 2, 0), 1)})
	if l := got.Headline().Losses[0]; got.Verdict != Pass || l.Design != "good" || l.Lost() != 0 || l.Planned != 20_000 || l.DiscardedLost != 7 {
		t.Errorf("verdict %s, %+v", got.Verdict, l)
	}
}

func TestHeadline(t *testing.T) {
	two := []Trial{result("bad", 1, 9182), result("good", 1, 0), result("bad", 2, 0), result("good", 2, 0), result("bad", 3, 0), result("good", 3, 0)}
	several := append(slices.Clone(two), in(result("good", 1, 1), "restart", "kind", "restart"), in(result("bad", 1, 500), "restart", "kind", "restart"))
	for _, tc := range []struct {
		name               string
		trials             []Trial
		want               string // design lost/planned
		scenarios, drivers int
		downtimeOfTheLast  time.Duration
	}{
		{"one scenario", two, "good 0/60000 bad 9182/60000", 1, 1, 9182 * ms},
		{"several", several, "good 1/80000 bad 9682/80000", 2, 2, 9682 * ms},
		{"only invalid ones", []Trial{broken("good", 1, 0)}, "", 0, 0, 0},
		{"none", nil, "", 0, 0, 0},
	} {
		run := Judge(described(), ended, nil, tc.trials)
		got := run.Headline()
		var losses []string
		var most time.Duration
		for _, l := range got.Losses {
			losses = append(losses, fmt.Sprintf("%s %d/%d", l.Design, l.Lost(), l.Planned))
			most = l.Downtime
		}
		if text := strings.Join(losses, " "); text != tc.want || len(got.Scenarios) != tc.scenarios || len(got.Drivers) != tc.drivers || most != tc.downtimeOfTheLast {
			t.Errorf("%s: %s, %v, over %v on %v", tc.name, text, most, got.Scenarios, got.Drivers)
		}
	}
	worse := []Trial{result("bad", 1, 900), result("good", 1, 600)}
	run := Judge(described(rateGate999, noBreaches, record.Gate{Design: "good", Metric: "failed", Op: "<=", Limit: 0}), ended, nil, worse)
	if got := run.Headline().Missed; len(got) != 2 || got[0].Gate != rateGate999 {
		t.Errorf("missed: %+v", got)
	}
}

// TestOrderOfTrialsChangesNoNumber: the trials of a cell may come in any order.
func TestOrderOfTrialsChangesNoNumber(t *testing.T) {
	trials := []Trial{result("bad", 1, 3000), result("good", 1, 3), broken("good", 2, 0), repeat(result("good", 4, 5), 2), result("good", 3, 0)}
	want := Judge(described(rateGate999, noBreaches), ended, nil, trials)
	slices.Reverse(trials)
	got := Judge(described(rateGate999, noBreaches), ended, nil, trials)
	if got.Verdict != want.Verdict || fmt.Sprint(got.Gates) != fmt.Sprint(want.Gates) || !cmp.Equal(got.Headline(), want.Headline()) || fmt.Sprint(got.Comparisons) != fmt.Sprint(want.Comparisons) {
		t.Errorf("reversed: %s %+v %+v, want %s %+v %+v", got.Verdict, got.Gates, got.Headline(), want.Verdict, want.Gates, want.Headline())
	}
}

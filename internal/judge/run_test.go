package judge

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/internal/timeline"
)

// result is a measured valid trial of 20,000 requests of which so many failed.
func result(design string, n int, failed uint64) Trial {
	return Trial{
		Meta:  record.Trial{Scenario: "rollout", Driver: "process", Action: "rollout", Design: design, N: n, Rate: 1000},
		Valid: true, Planned: 20_000, Sent: 20_000, OK: 20_000 - failed, Failed: failed,
		SuccessRate: 1 - float64(failed)/20_000, Downtime: time.Duration(failed) * ms,
		Recovery: at(time.Duration(failed) * ms), Convergence: at(9 * s),
		Down:    map[time.Duration]time.Duration{binWidth: time.Duration(failed) * ms},
		Latency: Percentiles{N: 20_000 - failed, P50: ms, P90: 2 * ms, P99: 3 * ms, P999: 4 * ms, Max: 5 * ms},
	}
}

func broken(design string, n, repeats int) Trial {
	t := result(design, n, 5000)
	t.Valid, t.InvalidReasons, t.Meta.Repeats = false, []string{"the load ran late"}, repeats
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

func described(gates ...record.Gate) record.Run {
	return record.Run{Scenarios: []record.Scenario{{Name: "rollout", Action: "rollout", Designs: []string{"bad", "good"}, Positive: []string{"bad"}, Gates: gates}}}
}

// elsewhere is a run whose positive control must fail on another driver than its own.
func elsewhere() record.Run {
	run := described(rateGate999)
	run.Scenarios[0].PositiveOn = []string{"docker"}
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
		{"a gate missed", described(rateGate999, noBreaches), ended, nil, breach, Fail, false, []string{"rollout/process/good: breaches <= 0: 1 in trial 2, the worst of 3 trials"}},
		{"too few to tell", described(record.Gate{Design: "good", Metric: "success_rate", Op: ">=", Limit: 0.99996}), ended, nil, good(), Inconclusive, false, []string{"too few to tell"}},
		{"no gate", described(), ended, nil, good(), Inconclusive, false, []string{"no gate was set"}},
		{"no data", described(rateGate999), ended, nil, nil, Inconclusive, false, []string{"no trial of this design", "rollout/bad: the positive control did not hold: it was not run", "no trial was recorded"}},
		{"no data and no description", record.Run{}, ended, nil, nil, Inconclusive, false, []string{"no trial was recorded", "no gate was set"}},
		{"a gate on a design that was not run", described(record.Gate{Design: "other", Metric: "failed", Op: "<=", Limit: 0}), ended, nil, good(), Inconclusive, false, []string{"rollout/other: failed <= 0: no trial of this design"}},
		{"an unknown metric", described(record.Gate{Design: "good", Metric: "charm", Op: ">=", Limit: 1}), ended, nil, good(), Inconclusive, false, []string{"no such metric"}},
		{"an unknown operator", described(record.Gate{Design: "good", Metric: "failed", Op: "<", Limit: 1}), ended, nil, good(), Inconclusive, false, []string{`operator is "<"`}},
		{"cut short", described(rateGate999), nil, nil, good(), Inconclusive, true, []string{"run was cut short"}},
		{"interrupted", described(rateGate999), &record.RunEnd{Interrupted: true}, nil, good(), Inconclusive, true, []string{"run was interrupted"}},
		{"a trial missing", described(rateGate999), ended, []string{"trials/x-1"}, good(), Inconclusive, true, []string{"1 of 1 planned trials missing: trials/x-1"}},
		{"skipped", described(rateGate999), &record.RunEnd{Skipped: []record.Skipped{{Scenario: "rollout", Driver: "docker", Design: "good", Why: "no daemon"}}}, nil, good(), Inconclusive, false, []string{"rollout/docker/good was not run: no daemon"}},
		{
			"invalid and not repeated", described(rateGate999), ended, nil, append(good(), broken("good", 4, 0)), Inconclusive, false,
			[]string{"success_rate >= 99.9 %", "rollout/process/good: trial 4 is invalid: the load ran late"},
		},
		{"partial and not repeated", described(rateGate999), ended, nil, append(good(), partial), Inconclusive, true, []string{"not every planned trial is valid", "trial 4 is invalid"}},
		{"invalid and repeated", described(rateGate999), ended, nil, append(good(), partial, repeat(result("good", 5, 0), 4)), Pass, false, nil},
		{"invalid twice, then repeated", described(rateGate999), ended, nil, append(good(), broken("good", 4, 0), broken("good", 5, 4), repeat(result("good", 6, 0), 4)), Pass, false, nil},
		{"a chain of repeats", described(rateGate999), ended, nil, append(good(), broken("good", 4, 0), broken("good", 5, 4), repeat(result("good", 6, 0), 5)), Pass, false, nil},
		{
			"repeated in vain", described(noBreaches), ended, nil, append(good(), broken("good", 4, 0), broken("good", 5, 4)), Inconclusive, false,
			[]string{"not every planned trial is valid", "trial 4 is invalid", "trial 5 is invalid"},
		},
		{
			"one repeat does not stand for two", described(noBreaches), ended, nil, append(good(), broken("good", 4, 0), broken("good", 5, 0), repeat(result("good", 6, 0), 5)), Inconclusive, false,
			[]string{"not every planned trial is valid", "trial 4 is invalid"},
		},
		{"a miss stays one with trials invalid", described(noBreaches), ended, nil, append(breach[:5:5], broken("good", 3, 0)), Fail, false, []string{"breaches", "trial 3 is invalid"}},
		{
			"only invalid trials", described(noBreaches), ended, nil, []Trial{result("bad", 1, 900), broken("good", 1, 0)}, Inconclusive, false,
			[]string{"breaches <= 0: no valid trial", "trial 1 is invalid"},
		},
		{
			"a positive control that shows nothing", described(rateGate999), ended, nil, []Trial{result("bad", 1, 0), result("good", 1, 0)}, Inconclusive, false,
			[]string{"rollout/process/bad: the positive control did not hold: 0 of 20,000 requests failed, so this experiment cannot tell"},
		},
		{"a positive control that need not fail on this driver", elsewhere(), ended, nil, []Trial{result("bad", 1, 0), result("good", 1, 0)}, Pass, false, nil},
		{
			"a positive control that shows a hiccup", described(rateGate999), ended, nil, []Trial{result("bad", 1, 9), result("good", 1, 0)}, Inconclusive, false,
			[]string{"rollout/process/bad: the positive control did not hold: it lost 9 of 20,000 requests"},
		},
		{
			"what the target did stands", described(rateGate999), ended, nil, append(good(), stuck, repeat(result("good", 5, 0), 4)), Inconclusive, false,
			[]string{"not every planned trial is valid", "trial 4 is invalid"},
		},
		{
			"a breach counts wherever it was seen", described(noBreaches), ended, nil, append(good(), breached, repeat(result("good", 5, 0), 4)), Fail, false,
			[]string{"breaches <= 0: 3 in trial 4, which is invalid otherwise"},
		},
		{"a positive control that was not run", described(rateGate999), ended, nil, []Trial{result("good", 1, 0)}, Inconclusive, false, []string{"rollout/bad: the positive control did not hold: it was not run"}},
		{
			"a positive control without a valid trial", described(rateGate999), ended, nil, []Trial{broken("bad", 1, 0), result("good", 1, 0)}, Inconclusive, false,
			[]string{"rollout/process/bad: trial 1 is invalid", "the positive control did not hold: no valid trial"},
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
				if !strings.Contains(got.Reasons[i], want) {
					t.Errorf("reason %q, want it to say %q", got.Reasons[i], want)
				}
			}
			if got.Headline == "" {
				t.Error("no headline")
			}
		})
	}
}

func TestNegativeControl(t *testing.T) {
	run := record.Run{Scenarios: []record.Scenario{{Name: "control", Action: none, Designs: []string{"bad", "good"}, Gates: []record.Gate{{Design: "good", Metric: "failed", Op: "<=", Limit: 0}}}}}
	trials := []Trial{in(result("bad", 1, 0), "control", "process", none), in(result("good", 1, 0), "control", "process", none)}
	if got := Judge(run, ended, nil, trials); got.Verdict != Pass || len(got.Controls) != 2 || !got.Controls[0].Held {
		t.Errorf("verdict %s, controls %+v, reasons %q", got.Verdict, got.Controls, got.Reasons)
	}
	trials[0].Failed, trials[0].OK = 1, 19_999
	got := Judge(run, ended, nil, trials)
	if got.Verdict != Inconclusive || len(got.Reasons) != 1 || !strings.Contains(got.Reasons[0], "control/process/bad: the negative control did not hold: requests that failed though nothing was done: 1") {
		t.Errorf("verdict %s, reasons %q", got.Verdict, got.Reasons)
	}
}

func TestANegativeControlForgetsNoFailure(t *testing.T) {
	run := record.Run{Scenarios: []record.Scenario{{Name: "control", Action: none, Designs: []string{"good"}, Gates: []record.Gate{{Design: "good", Metric: "failed", Op: "<=", Limit: 0}}}}}
	noisy := in(broken("good", 1, 0), "control", "process", none)
	noisy.Baseline.Failed = 3
	clean := in(repeat(result("good", 2, 0), 1), "control", "process", none)
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
		{"47 of 60,000 meet 99.9 %", "success_rate", ">=", 0.999, []Trial{result("good", 1, 0), result("good", 2, 47), result("good", 3, 0)}, Pass, 1 - 47.0/60_000, false, "at least 99.9"},
		{"48 do not", "success_rate", ">=", 0.999, []Trial{result("good", 1, 0), result("good", 2, 48), result("good", 3, 0)}, Inconclusive, 1 - 48.0/60_000, false, "too few to tell"},
		{"nor do 65, though the rate is below it", "success_rate", ">=", 0.999, []Trial{result("good", 1, 0), result("good", 2, 65), result("good", 3, 0)}, Inconclusive, 1 - 65.0/60_000, false, "too few to tell"},
		{"75 miss it", "success_rate", ">=", 0.999, []Trial{result("good", 1, 0), result("good", 2, 75), result("good", 3, 0)}, Fail, 1 - 75.0/60_000, false, "at most 99.8"},
		{"an upper limit on a rate", "success_rate", "<=", 0.05, []Trial{result("good", 1, 19_900)}, Pass, 0.005, false, "at most 0.5"},
		{"an upper limit on a rate missed", "success_rate", "<=", 0.05, []Trial{result("good", 1, 10_000)}, Fail, 0.5, false, "at least 49"},
		{"the worst trial counts", "failed", "<=", 5, []Trial{result("good", 1, 1), result("good", 2, 6), result("good", 3, 0)}, Fail, 6, false, "6 in trial 2, the worst of 3 trials"},
		{"at the limit", "failed", "<=", 6, []Trial{result("good", 1, 1), result("good", 2, 6)}, Pass, 6, false, "6 in trial 2"},
		{"a lower limit takes the least", "downtime", ">=", 1000, []Trial{result("good", 1, 3000), result("good", 2, 999)}, Fail, 999, false, "999 ms in trial 2"},
		{"a lower limit met", "downtime", ">=", 1000, []Trial{result("good", 1, 3000), result("good", 2, 1000)}, Pass, 1000, false, "1000 ms"},
		{"bins down", "bins_down", "<=", 10, []Trial{result("good", 1, 11)}, Fail, 11, false, "11 ms in trial 1"},
		{"latency", "latency_p99", "<=", 3, []Trial{result("good", 1, 0)}, Pass, 3, false, "3 ms"},
		{"never recovered", "recovery", "<=", 1e9, []Trial{result("good", 1, 0), never}, Fail, 0, true, "the record shows no recovery in trial 2"},
		{"never converged", "convergence", "<=", 1e9, []Trial{never}, Fail, 0, true, "never called the action complete in trial 2"},
		{"nothing failed, so not early", "disruption_lag", ">=", 500, []Trial{never}, Pass, 0, true, "nothing failed in trial 2"},
		{"no valid trial", "failed", "<=", 0, []Trial{broken("good", 1, 0)}, Inconclusive, 0, true, "no valid trial"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			run := described(record.Gate{Design: "good", Metric: tc.metric, Op: tc.op, Limit: tc.limit})
			got := Judge(run, ended, nil, tc.trials).Gates
			if len(got) != 1 {
				t.Fatalf("%d results, want 1", len(got))
			}
			g := got[0]
			if g.Verdict != tc.want || math.Abs(g.Observed-tc.observed) > 1e-12 || g.NoValue != tc.noValue || !strings.Contains(g.Why, tc.why) {
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

func TestAGateHoldsOnEveryDriver(t *testing.T) {
	got := Judge(described(noBreaches), ended, nil, []Trial{
		result("bad", 1, 9), result("good", 1, 0), in(result("bad", 1, 9), "rollout", "kind", "rollout"), in(result("good", 1, 0), "rollout", "kind", "rollout"),
	})
	var cells []string
	for _, g := range got.Gates {
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
	if got[0].Downtime != want {
		t.Errorf("downtime %+v, want %+v", got[0].Downtime, want)
	}
	if want := (Estimate{Median: 15, Lo: 10, Hi: 20, N: 2}); got[0].Recovery != want {
		t.Errorf("recovery %+v, want %+v", got[0].Recovery, want)
	}
	rate := got[0].SuccessRate
	if rate.Median != 1-20.0/20_000 || rate.N != 3 || rate.Lo != lowerBound(59_940, 60_000, alpha) || rate.Hi != upperBound(59_940, 60_000, alpha) {
		t.Errorf("success rate %+v", rate)
	}
	none := Judge(described(), ended, nil, []Trial{broken("good", 1, 0)}).Cells[0]
	if none.SuccessRate.N != 0 || none.Downtime.N != 0 {
		t.Errorf("estimates without a valid trial: %+v", none)
	}
}

func TestComparisons(t *testing.T) {
	arm := func(design string, lost ...uint64) (out []Trial) {
		for i, l := range lost {
			out = append(out, result(design, i+1, l))
		}
		return out
	}
	for _, tc := range []struct {
		name string
		a, b []Trial
		want Verdict
		p    float64
		why  string
	}{
		{"three an arm say nothing", arm("bad", 3000, 3001, 3002), arm("good", 0, 1, 2), Inconclusive, 0.1, "cannot give a p below 0.1"},
		{"better", arm("bad", 3000, 3001, 3002, 3003), arm("good", 0, 1, 2, 3), Pass, 2.0 / 70, "does not lose more"},
		{"worse", arm("bad", 0, 1, 2, 3), arm("good", 3000, 3001, 3002, 3003), Fail, 2.0 / 70, "exceeds the margin of 50 ms"},
		{"worse, but within the margin", arm("bad", 0, 1, 2, 3), arm("good", 40, 41, 42, 43), Pass, 2.0 / 70, "does not lose more than bad by more than the margin of 50 ms"},
		{"within a fifth of the first", arm("bad", 1000, 1001, 1002, 1003), arm("good", 1100, 1101, 1102, 1103), Pass, 2.0 / 70, "margin of 200.3 ms"},
		{"the same", arm("bad", 0, 0, 0, 0), arm("good", 0, 0, 0, 0), Pass, 1, "does not lose more"},
		{"wide", arm("bad", 0, 0, 0, 0), arm("good", 0, 0, 500, 900), Inconclusive, 30.0 / 70, "or may not"},
		{"one arm invalid", arm("bad", 1), []Trial{broken("good", 1, 0)}, Inconclusive, 1, "1 valid trial against 0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := Judge(described(), ended, nil, slices.Concat(tc.a, tc.b)).Comparisons
			if len(got) != 1 {
				t.Fatalf("%d comparisons, want 1", len(got))
			}
			c := got[0]
			if c.A != "bad" || c.B != "good" || c.Verdict != tc.want || math.Abs(c.P-tc.p) > 1e-12 || !strings.Contains(c.Why, tc.why) {
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
	if !strings.Contains(got.Headline, "with its action complete only 1.6 s after the window") {
		t.Errorf("headline %q", got.Headline)
	}
}

func TestTheHeadlineKeepsWhatWasDiscarded(t *testing.T) {
	discarded := broken("good", 1, 0)
	discarded.Failed = 7
	got := Judge(described(rateGate999), ended, nil, []Trial{result("bad", 1, 3000), discarded, repeat(result("good", 2, 0), 1)})
	if got.Verdict != Pass || !strings.Contains(got.Headline, "good lost 0 of 20,000 requests in rollout on process and 7 more in discarded trials") {
		t.Errorf("verdict %s, headline %q", got.Verdict, got.Headline)
	}
}

func TestHeadline(t *testing.T) {
	two := []Trial{result("bad", 1, 9182), result("good", 1, 0), result("bad", 2, 0), result("good", 2, 0), result("bad", 3, 0), result("good", 3, 0)}
	short := result("bad", 4, 0)
	short.Planned, short.OK = 10, 10
	for _, tc := range []struct {
		name   string
		trials []Trial
		want   string
	}{
		{"one scenario", two, "good lost 0 of 60,000 requests in rollout on process; bad lost 9,182 (downtime 9.2 s)"},
		{"different plans", append(slices.Clone(two), short), "good lost 0 of 60,000 requests in rollout on process; bad lost 9,182 of 60,010 (downtime 9.2 s)"},
		{
			"several", append(slices.Clone(two), in(result("good", 1, 1), "restart", "kind", "restart"), in(result("bad", 1, 500), "restart", "kind", "restart")),
			"good lost 1 of 80,000 requests in 2 scenarios on 2 drivers (downtime 1 ms); bad lost 9,682 (downtime 9.7 s)",
		},
		{"only invalid ones", []Trial{broken("good", 1, 0)}, "no valid trial, so nothing can be said"},
		{"none", nil, "no valid trial, so nothing can be said"},
	} {
		if got := Judge(described(), ended, nil, tc.trials).Headline; got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
	worse := []Trial{result("bad", 1, 900), result("good", 1, 600)}
	for want, gates := range map[string][]record.Gate{
		"rollout/process/good missed success_rate >= 99.9 %: good lost 600 of 20,000 requests in rollout on process (downtime 600 ms); bad lost 900 (downtime 900 ms)": {rateGate999, noBreaches},
		"rollout/process/good missed success_rate >= 99.9 % and 1 more gate: good lost 600":                                                                            {rateGate999, {Design: "good", Metric: "failed", Op: "<=", Limit: 0}},
	} {
		if got := Judge(described(gates...), ended, nil, worse).Headline; !strings.HasPrefix(got, want) {
			t.Errorf("missed: %q, want %q", got, want)
		}
	}
}

func TestNumbersForPeople(t *testing.T) {
	for n, want := range map[uint64]string{0: "0", 999: "999", 1000: "1,000", 60_000: "60,000", 1_234_567: "1,234,567"} {
		if got := grouped(n); got != want {
			t.Errorf("grouped(%d) = %q, want %q", n, got, want)
		}
	}
	for rate, want := range map[float64]string{0: "0 %", 1: "100 %", 0.999: "99.9 %", 0.9999999: "99.9999 %", 1 - 1.0/60_000: "99.9983 %", 0.29: "29 %"} {
		if got := percent(rate); got != want {
			t.Errorf("percent(%v) = %q, want %q", rate, got, want)
		}
	}
	for d, want := range map[time.Duration]string{0: "0 ms", 42 * ms: "42 ms", 9182 * ms: "9.2 s"} {
		if got := seconds(d); got != want {
			t.Errorf("seconds(%v) = %q, want %q", d, got, want)
		}
	}
}

// TestOrderOfTrialsChangesNoNumber: the trials of a cell may come in any order.
func TestOrderOfTrialsChangesNoNumber(t *testing.T) {
	trials := []Trial{result("bad", 1, 3000), result("good", 1, 3), broken("good", 2, 0), repeat(result("good", 4, 5), 2), result("good", 3, 0)}
	want := Judge(described(rateGate999, noBreaches), ended, nil, trials)
	slices.Reverse(trials)
	got := Judge(described(rateGate999, noBreaches), ended, nil, trials)
	if got.Verdict != want.Verdict || fmt.Sprint(got.Gates) != fmt.Sprint(want.Gates) || got.Headline != want.Headline || fmt.Sprint(got.Comparisons) != fmt.Sprint(want.Comparisons) {
		t.Errorf("reversed: %s %+v %q, want %s %+v %q", got.Verdict, got.Gates, got.Headline, want.Verdict, want.Gates, want.Headline)
	}
}

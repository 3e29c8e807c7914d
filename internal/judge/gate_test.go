package judge

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollout-lab/rollout-lab/internal/metric"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

// arm are valid trials of a design that lost so many requests, each.
func arm(design string, lost ...uint64) (out []Trial) {
	for i, l := range lost {
		out = append(out, result(design, i+1, l))
	}
	return out
}

// two are the trials of two designs, of which the first is known to fail in nothing.
func two(gates ...record.Gate) record.Run {
	return record.Run{Scenarios: []record.Scenario{{Name: "rollout", Action: "rollout", Designs: []string{"main", "pr"}, Gates: gates}}}
}

// A gate on a comparison decides the verdict; by how much is no matter is what its margin says.
func TestGatesAgainstAnotherDesign(t *testing.T) {
	for _, tc := range []struct {
		name     string
		margin   time.Duration
		main, pr []uint64
		want     Verdict
		gate     string // part of why
	}{
		{"the same", 0, []uint64{0, 0, 0}, []uint64{0, 0, 0}, Pass, "no-worse value 50"},
		{"worse by more than 50 ms", 0, []uint64{0, 0, 0}, []uint64{51, 52, 53}, Fail, "worse value 50 p 0.05 from 51 to 53 pr,main,downtime"},
		{"worse by 50 ms", 0, []uint64{0, 0, 0}, []uint64{50, 50, 50}, Pass, "worse-within value 50 p 0.05 from 50 to 50 pr,main,downtime"},
		{"by a margin of its own", 10 * time.Millisecond, []uint64{0, 0, 0}, []uint64{11, 12, 13}, Fail, "worse value 10 "},
		{"by less than it", 20 * time.Millisecond, []uint64{0, 0, 0}, []uint64{11, 12, 13}, Pass, "worse-within value 20 "},
		{"within a fifth of much", 0, []uint64{1000, 1000, 1000}, []uint64{1200, 1200, 1200}, Pass, "worse-within value 200 "},
		{"beyond it", 0, []uint64{1000, 1000, 1000}, []uint64{1201, 1201, 1201}, Fail, "worse value 200 "},
		{"a fifth is of the median", 0, []uint64{1000, 1000, 9000}, []uint64{1201, 1201, 1201}, Inconclusive, "may-be-worse value 200 "},
		{"better", 0, []uint64{900, 901, 902}, []uint64{0, 0, 0}, Pass, "no-worse value 180.2 p 1 "},
		{"one trial of three", 0, []uint64{0, 0, 0}, []uint64{0, 0, 900}, Inconclusive, "may-be-worse value 50 p 0.5 from 0 to 900"},
		{"too few to be sure", 0, []uint64{0, 0}, []uint64{900, 900, 900}, Inconclusive, "never-sure 2 of 3 value 0.1"},
		{"none of the other", 0, nil, []uint64{0, 0, 0}, Inconclusive, "nothing-to-compare main"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := record.Gate{Design: "pr", Metric: metric.Downtime, Against: "main", Margin: tc.margin}
			got := Judge(two(g), ended, nil, slices.Concat(arm("main", tc.main...), arm("pr", tc.pr...)))
			gate := got.Gates[0]
			if got.Verdict != tc.want || gate.Verdict != tc.want || !strings.Contains(gate.Why.String(), tc.gate) {
				t.Errorf("verdict %s, gate %s: %s; want %s, %q", got.Verdict, gate.Verdict, gate.Why, tc.want, tc.gate)
			}
			if len(got.Comparisons) != 1 || !got.Comparisons[0].Gated || got.Comparisons[0].Verdict != gate.Verdict {
				t.Errorf("comparisons %+v, want the gate's alone", got.Comparisons)
			}
			if warned := slices.ContainsFunc(got.Warnings, func(r Reason) bool { return r.Kind == WorseWithinMargin }); warned != strings.HasPrefix(tc.gate, "worse-within") {
				t.Errorf("warnings %v", got.Warnings)
			}
		})
	}
}

// A comparison that was never possible has no numbers, and one of what never happened none that
// could be written.
func TestWhatCannotBeANumber(t *testing.T) {
	gate := record.Gate{Design: "pr", Metric: metric.Recovery, Against: "main"}
	never := arm("pr", 5, 5, 5)
	for i := range never {
		never[i].Recovery = nil
	}
	got := Judge(two(gate), ended, nil, slices.Concat(arm("main", 0, 0, 0), never))
	if g := got.Gates[0]; got.Verdict != Fail || g.Verdict != Fail || !g.NoValue || g.Why.Kind != Worse || !math.IsInf(g.Why.Lo, 1) {
		t.Errorf("no recovery any more: %s, %+v", got.Verdict, g)
	}
	got = Judge(two(gate), ended, nil, slices.Concat(never, arm("main", 5, 5, 5)))
	if g := got.Gates[0]; g.Verdict != Fail {
		t.Errorf("in another order: %+v", g)
	}
	for i := range never {
		never[i].Meta.Design = "main"
	}
	got = Judge(two(gate), ended, nil, slices.Concat(never, arm("pr", 5, 5, 5)))
	if g := got.Gates[0]; got.Verdict != Pass || g.Why.Kind != NoWorse {
		t.Errorf("a recovery where there was none: %s, %+v", got.Verdict, g)
	}
	got = Judge(two(gate), ended, nil, arm("pr", 5, 5, 5))
	if c := got.Comparisons[0]; c.Compared() || !got.Gates[0].NoValue {
		t.Errorf("against nothing: %+v", c)
	}
	many := make([]uint64, mostCompared)
	got = Judge(two(gate), ended, nil, slices.Concat(arm("main", many...), arm("pr", 5)))
	if c := got.Comparisons[0]; c.Compared() || got.Gates[0].Why.Kind != TooManyTrials || !got.Gates[0].NoValue {
		t.Errorf("against too many: %+v", got.Gates[0])
	}
}

// A gate on a metric that is no time, or is better when it is more, is no pass.
func TestGatesOnWhatCannotBeCompared(t *testing.T) {
	for name, want := range map[string]Kind{metric.SuccessRate: NotComparable, "disruption_lag": NotComparable, "charm": NoSuchMetric} {
		got := Judge(two(record.Gate{Design: "pr", Metric: name, Against: "main"}), ended, nil, slices.Concat(arm("main", 0, 0, 0), arm("pr", 0, 0, 0)))
		if g := got.Gates[0]; got.Verdict != Inconclusive || g.Verdict != Inconclusive || g.Why.Kind != want {
			t.Errorf("%s: %s, %+v", name, got.Verdict, g)
		}
	}
}

// A cell that lacks trials can be worse, and cannot pass.
func TestAComparisonOfTooFewValidTrials(t *testing.T) {
	gate := record.Gate{Design: "pr", Metric: metric.Downtime, Against: "main"}
	for _, tc := range []struct {
		pr   []uint64
		want Verdict
	}{{[]uint64{0, 0, 0}, Inconclusive}, {[]uint64{900, 900, 900}, Fail}} {
		got := Judge(two(gate), ended, nil, slices.Concat(arm("main", 0, 0, 0), arm("pr", tc.pr...), []Trial{broken("pr", 4, 0)}))
		if g := got.Gates[0]; g.Verdict != tc.want || got.Verdict != tc.want {
			t.Errorf("%v: gate %+v, verdict %s, want %s", tc.pr, g, got.Verdict, tc.want)
		}
	}
}

// A design is held against the other one where it runs itself.
func TestGatesAgainstADesignOnTheSameDriver(t *testing.T) {
	gate := record.Gate{Design: "pr", Metric: metric.Downtime, Against: "main"}
	var trials []Trial
	for _, driver := range []string{"docker", "process"} {
		for _, t := range append(arm("main", 900, 900, 900), arm("pr", 900, 900, 900)...) {
			if driver == "process" && t.Meta.Design == "main" {
				t.Downtime = 0
			}
			trials = append(trials, in(t, "rollout", driver, "rollout"))
		}
	}
	got := asked(Judge(two(gate), ended, nil, trials))
	if len(got) != 2 || got[0].Verdict != Pass || got[1].Verdict != Fail {
		t.Errorf("on docker, where main loses as much, and on process, where it loses nothing: %+v", got)
	}
	alone := asked(Judge(two(gate), ended, nil, trials[3:])) // docker has no main
	if alone[0].Verdict != Inconclusive || alone[0].Why.Kind != NothingToCompare || alone[1].Verdict != Fail {
		t.Errorf("where docker has no main: %+v", alone)
	}
}

// What only warns is in the list, and decides nothing.
func TestGatesThatWarn(t *testing.T) {
	warn := record.Gate{Design: "good", Metric: "failed", Op: "<=", Limit: 5, Warn: true}
	unclear := record.Gate{Design: "good", Metric: metric.SuccessRate, Op: ">=", Limit: 0.9999, Warn: true}
	good := append(arm("bad", 3000, 3000, 3000), arm("good", 0, 6, 0)...)
	for _, tc := range []struct {
		name     string
		gates    []record.Gate
		verdicts []Verdict
		want     Verdict
		warnings int
	}{
		{"missed", []record.Gate{rateGate999, warn}, []Verdict{Pass, Warned}, Pass, 1},
		{"undecided", []record.Gate{rateGate999, unclear}, []Verdict{Pass, Inconclusive}, Pass, 0},
		{"nothing else to pass", []record.Gate{warn}, []Verdict{Warned}, Inconclusive, 1},
		{"and one is missed", []record.Gate{noBreaches, warn, {Design: "good", Metric: "failed", Op: "<=", Limit: 4}}, []Verdict{Pass, Warned, Fail}, Fail, 1},
	} {
		got := Judge(described(tc.gates...), ended, nil, good)
		var verdicts []Verdict
		for _, g := range asked(got) {
			verdicts = append(verdicts, g.Verdict)
		}
		if got.Verdict != tc.want || !slices.Equal(verdicts, tc.verdicts) || len(got.Warnings) != tc.warnings {
			t.Errorf("%s: %s, gates %v, warnings %v; want %s, %v", tc.name, got.Verdict, verdicts, got.Warnings, tc.want, tc.verdicts)
		}
		if len(got.Headline().Missed) > 0 != (tc.want == Fail) {
			t.Errorf("%s: the headline has missed %v", tc.name, got.Headline().Missed)
		}
	}
	only := Judge(described(warn), ended, nil, good)
	if only.Reasons[0].Kind != NoGates || only.Cells[1].Decides {
		t.Errorf("where all gates warn: %v", only.Reasons)
	}
}

// streamed is a trial in which one stream, a fifth of the load, lost so many of what was lost.
func streamed(n int, failed, ofOne uint64) Trial {
	t := result("good", n, failed)
	t.Streams = []StreamCount{
		{Name: "kept", Planned: 16_000, OK: 16_000 - (failed - ofOne)},
		{Name: "fresh", Planned: 4_000, OK: 4_000 - ofOne},
	}
	return t
}

func TestGatesOnAStream(t *testing.T) {
	trials := []Trial{streamed(1, 10, 8), streamed(2, 20, 4), streamed(3, 3, 0)}
	for _, tc := range []struct {
		name     string
		gate     record.Gate
		want     Verdict
		observed float64
	}{
		{"failed", record.Gate{Metric: "failed", Op: "<=", Limit: 8}, Pass, 8},
		{"failed more", record.Gate{Metric: "failed", Op: "<=", Limit: 7}, Fail, 8},
		{"downtime", record.Gate{Metric: metric.Downtime, Op: "<=", Limit: 40}, Pass, 40}, // 8 of 200 a second
		{"share", record.Gate{Metric: "failed", Op: "<=", Limit: 0.002, Share: true}, Pass, 0.002},
		{"share missed", record.Gate{Metric: "failed", Op: "<=", Limit: 0.0019, Share: true}, Fail, 0.002},
		{"rate", record.Gate{Metric: metric.SuccessRate, Op: ">=", Limit: 0.998}, Pass, 1 - 12.0/12_000},
		{"rate missed", record.Gate{Metric: metric.SuccessRate, Op: ">=", Limit: 0.9995}, Fail, 1 - 12.0/12_000},
	} {
		tc.gate.Design, tc.gate.Stream = "good", "fresh"
		got := Judge(described(tc.gate), ended, nil, append(arm("bad", 3000, 3000, 3000), trials...))
		if g := got.Gates[0]; g.Verdict != tc.want || math.Abs(g.Observed-tc.observed) > 1e-9 {
			t.Errorf("%s: %+v, want %s at %v", tc.name, g, tc.want, tc.observed)
		}
	}
	none := record.Gate{Design: "good", Metric: "failed", Op: "<=", Limit: 0, Stream: "other"}
	if g := Judge(described(none), ended, nil, trials).Gates[0]; g.Verdict != Inconclusive || g.Why.Kind != NothingPlanned {
		t.Errorf("a stream that there is not: %+v", g)
	}
	if trials[0].Planned != 20_000 {
		t.Error("judging a stream has changed the trial")
	}
}

func TestComparingAStream(t *testing.T) {
	gate := record.Gate{Design: "good", Metric: metric.Downtime, Against: "bad", Stream: "fresh"}
	of := func(design string, lost uint64) (out []Trial) {
		for n := range 3 {
			s := streamed(n+1, 10, lost)
			s.Meta.Design = design
			out = append(out, s)
		}
		return out
	}
	got := Judge(described(gate), ended, nil, slices.Concat(of("bad", 0), of("good", 10)))
	if g := got.Gates[0]; g.Verdict != Pass || g.Observed != 50 || g.Why.Kind != WorseWithin {
		t.Errorf("10 of a stream of 200 a second: %+v", g)
	}
	if len(got.Comparisons) != 2 || got.Comparisons[0].Stream != "fresh" || got.Comparisons[1].Stream != "" || got.Comparisons[1].Gated {
		t.Errorf("comparisons %+v, want the gate's and that of all requests", got.Comparisons)
	}
}

// A share is of each trial's own requests, and the worst trial counts.
func TestALimitThatIsAShare(t *testing.T) {
	short := result("good", 2, 5)
	short.Planned, short.OK = 1000, 995
	trials := append(arm("bad", 3000, 3000), result("good", 1, 20), short)
	for limit, want := range map[float64]Verdict{0.005: Pass, 0.0049: Fail, 0.001: Fail} {
		g := Judge(described(record.Gate{Design: "good", Metric: "failed", Op: "<=", Limit: limit, Share: true}), ended, nil, trials).Gates[0]
		if g.Verdict != want || g.Observed != 0.005 || g.Why.Trial != 2 {
			t.Errorf("failed <= %v: %+v, want %s at 0.005 in trial 2", limit, g, want)
		}
	}
	nothing := result("good", 1, 0)
	nothing.Planned, nothing.OK = 0, 0
	if g := Judge(described(record.Gate{Design: "good", Metric: "failed", Op: "<=", Limit: 0.5, Share: true}), ended, nil, []Trial{nothing}).Gates[0]; g.Verdict != Fail || !g.NoValue {
		t.Errorf("a share of nothing: %+v", g)
	}
}

// That an action was completed is a gate of every design that is not known to fail.
func TestTheImplicitGate(t *testing.T) {
	done := func(t Trial, v float64) Trial { t.Values = map[string]float64{metric.Completed: v}; return t }
	stuck := done(result("good", 2, 0), 0)
	stuck.Failures, stuck.Stands = []Reason{{Kind: ActionFailed, Text: "0 of 3 are ready"}}, true
	lateToo := stuck
	lateToo.Valid, lateToo.InvalidReasons = false, []Reason{{Kind: LoadLate}}
	unseen := done(broken("good", 2, 0), 0)
	unknown := result("good", 2, 0)
	unknown.Values = nil
	none := in(result("good", 1, 0), "rollout", "process", record.NoAction)
	for _, tc := range []struct {
		name   string
		gates  []record.Gate
		trials []Trial
		want   []string
	}{
		{"completed", nil, arm("good", 0, 0), []string{"pass completed-each 0 of 2"}},
		{"not completed", nil, []Trial{result("good", 1, 0), stuck}, []string{`fail not-completed trial 2`}},
		{"nor under a late load", nil, []Trial{result("good", 1, 0), lateToo}, []string{`fail not-completed trial 2`}},
		{"what was not seen is no proof", nil, []Trial{result("good", 1, 0), unseen}, []string{"inconclusive completed-each 0 of 1 because [trials-not-valid]"}},
		{"not known", nil, []Trial{unknown, result("good", 1, 0)}, []string{"inconclusive completion-unknown trial 2"}},
		{"not known at last", nil, []Trial{result("good", 1, 0), unknown}, []string{"inconclusive completion-unknown trial 2"}},
		{"no valid trial", nil, []Trial{broken("good", 1, 0)}, []string{"inconclusive no-valid-trial"}},
		{"known to fail", nil, arm("bad", 9000), nil},
		{"nothing is done", nil, []Trial{none}, nil},
		{"asked for", []record.Gate{{Design: "good", Metric: metric.Completed, Op: ">=", Limit: 1, Warn: true}}, []Trial{stuck}, []string{`warn not-completed trial 2`}},
	} {
		got := Judge(described(tc.gates...), ended, nil, tc.trials)
		var lines []string
		for _, g := range got.Gates {
			lines = append(lines, string(g.Verdict)+" "+g.Why.String())
			if g.Gate.Metric != metric.Completed || g.Implicit != (len(tc.gates) == 0) {
				t.Errorf("%s: %+v", tc.name, g)
			}
		}
		if diff := cmp.Diff(tc.want, lines); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
		if len(tc.gates) == 0 && slices.ContainsFunc(got.Reasons, func(r Reason) bool { return r.Kind == GateMissed || r.Kind == GateUnclear }) {
			t.Errorf("%s: said twice: %v", tc.name, got.Reasons)
		}
		if len(tc.gates) == 0 && !slices.ContainsFunc(got.Reasons, func(r Reason) bool { return r.Kind == NoGates }) {
			t.Errorf("%s: without a gate that was asked for there is nothing to pass: %v", tc.name, got.Reasons)
		}
		if len(got.Headline().Missed) > 0 {
			t.Errorf("%s: the headline has missed %v", tc.name, got.Headline().Missed)
		}
	}
}

// Where a scenario says that an action which was not completed is a warning, it is one, and what
// else the target did wrong stays a failure.
func TestCompletionThatOnlyWarns(t *testing.T) {
	warn := record.Gate{Design: "good", Metric: metric.Completed, Op: ">=", Limit: 1, Warn: true}
	stuck := result("good", 1, 0)
	stuck.Failures = []Reason{{Kind: ActionFailed, Text: "0 of 3 are ready"}}
	never := stuck
	never.Failures = append([]Reason{{Kind: NeverCalm}}, stuck.Failures...)
	for _, tc := range []struct {
		name  string
		gates []record.Gate
		trial Trial
		want  Verdict
	}{
		{"a warning", []record.Gate{noBreaches, warn}, stuck, Pass},
		{"of another design", []record.Gate{noBreaches, {Design: "bad", Metric: metric.Completed, Op: ">=", Limit: 1, Warn: true}}, stuck, Fail},
		{"a failure as well", []record.Gate{noBreaches, warn}, never, Fail},
		{"said, and no warning", []record.Gate{noBreaches, {Design: "good", Metric: metric.Completed, Op: ">=", Limit: 1}}, stuck, Fail},
	} {
		got := Judge(described(tc.gates...), ended, nil, append(arm("bad", 3000), tc.trial))
		if got.Verdict != tc.want {
			t.Errorf("%s: %s, want %s: %v", tc.name, got.Verdict, tc.want, got.Reasons)
		}
	}
}

// What the record says of the action is the metric.
func TestCompleted(t *testing.T) {
	both := func(d *record.TrialData) { d.Trial.Action = record.RolloutRollback }
	for _, tc := range []struct {
		name    string
		changes []func(*record.TrialData)
		want    float64
		known   bool
	}{
		{"done", nil, 1, true},
		{"failed", []func(*record.TrialData){failed}, 0, true},
		{"half done", []func(*record.TrialData){both}, 0, false},
		{"never done", []func(*record.TrialData){func(d *record.TrialData) {
			d.Events = slices.DeleteFunc(d.Events, func(e record.Event) bool { return e.Kind == record.ActionDone })
		}}, 0, false},
		{"nothing to do", []func(*record.TrialData){func(d *record.TrialData) { d.Trial.Action = record.NoAction }}, 0, false},
	} {
		d := rollout()
		for _, change := range tc.changes {
			change(d)
		}
		m := Measure(d)
		got, known := m.Value(metric.Completed)
		if known != tc.known || known && got != tc.want {
			t.Errorf("%s: %v, %v; want %v, %v", tc.name, got, known, tc.want, tc.known)
		}
	}
}

// earlier are the trials of earlier runs of a design, which lost so much, in milliseconds.
func earlier(lost ...float64) (out []record.PastTrial) {
	for i, l := range lost {
		out = append(out, record.PastTrial{RunID: "before", N: i + 1, Values: map[string]*float64{metric.Downtime: new(l), metric.Recovery: nil, metric.LongestOutage: nil, metric.Downtime + "/fresh": new(l)}})
	}
	return out
}

func against(b *record.Baseline, gate record.Gate) record.Run {
	run := two(gate)
	run.Baseline = b
	return run
}

func TestGatesAgainstEarlierRuns(t *testing.T) {
	gate := record.Gate{Design: "pr", Metric: metric.Downtime, Against: record.PastRuns}
	of := func(change func(*record.PastCell), lost ...float64) *record.Baseline {
		c := record.PastCell{Scenario: "rollout", Driver: "process", Action: "rollout", Design: "pr", Trials: earlier(lost...)}
		if change != nil {
			change(&c)
		}
		return &record.Baseline{File: "base.json", Cells: []record.PastCell{{Scenario: "rollout", Driver: "process", Action: "rollout", Design: "main", Trials: earlier(9000, 9000, 9000)}, c}}
	}
	differs := func(c *record.PastCell) {
		c.Differs, c.Refused = []record.Difference{{Field: "load.rate", Was: "100", Is: "1000"}}, true
	}
	zeros := make([]float64, 30)
	for _, tc := range []struct {
		name   string
		b      *record.Baseline
		metric string
		pr     []uint64
		want   Verdict
		why    string
	}{
		{"no baseline", nil, "", []uint64{0, 0, 0}, Inconclusive, "no-baseline"},
		{"no file", &record.Baseline{File: "base.json", Missing: "no such file"}, "", []uint64{0, 0, 0}, Inconclusive, `baseline-missing base.json "no such file"`},
		{"not in it", of(func(c *record.PastCell) { c.Design = "other" }), "", []uint64{0, 0, 0}, Inconclusive, "not-in-baseline base.json"},
		{"of another scenario", of(func(c *record.PastCell) { c.Scenario = "other" }, zeros...), "", []uint64{0, 0, 0}, Inconclusive, "not-in-baseline"},
		{"of another driver", of(func(c *record.PastCell) { c.Driver = "other" }, zeros...), "", []uint64{0, 0, 0}, Inconclusive, "not-in-baseline"},
		{"of another action", of(func(c *record.PastCell) { c.Action = "other" }, zeros...), "", []uint64{0, 0, 0}, Inconclusive, "not-in-baseline"},
		{"another load", of(differs, zeros...), "", []uint64{0, 0, 0}, Inconclusive, `baseline-differs base.json load.rate "100" "1000"`},
		{"no history", of(nil), "", []uint64{0, 0, 0}, Inconclusive, "too-few-trials 0 of 3"},
		{"too little of it", of(nil, 0, 0), "", []uint64{900, 900, 900}, Inconclusive, "never-sure 2 of 3 value 0.1"},
		{"one trial against thirty", of(nil, zeros...), "", []uint64{90}, Fail, "worse value 50 p 0.03226"},
		{"three against thirty", of(nil, zeros...), "", []uint64{90, 91, 92}, Fail, "worse value 50 p 0.0001833"},
		{"within the margin", of(nil, zeros...), "", []uint64{40, 40, 40}, Pass, "worse-within value 50 p 0.0001833"},
		{"no worse", of(nil, zeros...), "", []uint64{0, 0, 0}, Pass, "no-worse value 50 p 1"},
		{"what never happened then", of(nil, zeros...), metric.Recovery, []uint64{9, 9, 9}, Pass, "no-worse"},
		{"no outage then", of(nil, zeros...), metric.LongestOutage, []uint64{0, 0, 0}, Pass, "no-worse value 50"},
		{"not measured then", of(nil, zeros...), metric.Standstill, []uint64{9, 9, 9}, Inconclusive, `not-measured-then base.json "standstill"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := gate
			if tc.metric != "" {
				g.Metric = tc.metric
			}
			got := Judge(against(tc.b, g), ended, nil, slices.Concat(arm("main", 0, 0, 0), arm("pr", tc.pr...)))
			gate := got.Gates[0]
			if got.Verdict != tc.want || gate.Verdict != tc.want || !strings.Contains(gate.Why.String(), tc.why) {
				t.Errorf("verdict %s, gate %s: %s; want %s, %q", got.Verdict, gate.Verdict, gate.Why, tc.want, tc.why)
			}
			if c := got.Comparisons[0]; c.A != record.PastRuns || c.B != "pr" || !c.Gated {
				t.Errorf("comparison %+v", c)
			}
		})
	}
	allowed := of(func(c *record.PastCell) { differs(c); c.Refused = false }, zeros...)
	got := Judge(against(allowed, gate), ended, nil, arm("pr", 0, 0, 0))
	if got.Verdict != Pass || len(got.Warnings) != 1 || got.Warnings[0].String() != `compared-all-the-same rollout/process/pr load.rate "100" "1000"` {
		t.Errorf("compared all the same: %s, warnings %v", got.Verdict, got.Warnings)
	}
}

// A baseline that no gate asks for informs, decides nothing, and is warned of.
func TestABaselineThatNoGateAsksFor(t *testing.T) {
	cell := func(design string, lost ...float64) record.PastCell {
		return record.PastCell{Scenario: "rollout", Driver: "process", Action: "rollout", Design: design, Trials: earlier(lost...)}
	}
	run := described(noBreaches)
	run.Baseline = &record.Baseline{File: "base.json", Cells: []record.PastCell{cell("bad", 0, 0, 0), cell("good", 0, 0, 0)}}
	got := Judge(run, ended, nil, append(arm("bad", 3000, 3000, 3000), arm("good", 900, 900, 900)...))
	if len(got.Comparisons) != 2 || got.Comparisons[0].A != record.PastRuns || got.Comparisons[0].B != "good" || got.Comparisons[0].Gated || got.Comparisons[0].Verdict != Fail {
		t.Errorf("comparisons %+v", got.Comparisons)
	}
	if got.Verdict != Pass || len(got.Warnings) != 1 || got.Warnings[0].Kind != BaselineUnasked {
		t.Errorf("%s, warnings %v", got.Verdict, got.Warnings)
	}
	run.Baseline.Cells = nil
	if got := Judge(run, ended, nil, append(arm("bad", 3000), arm("good", 0)...)); len(got.Comparisons) != 1 || len(got.Warnings) != 1 {
		t.Errorf("with nothing in it: comparisons %+v, warnings %v", got.Comparisons, got.Warnings)
	}
}

// Two runs that are over are compared as a run with a baseline is.
func TestComparePast(t *testing.T) {
	cell := record.PastCell{Scenario: "rollout", Driver: "process", Action: "rollout", Design: "pr", Trials: earlier(0, 0, 0)}
	b := &record.Baseline{File: "base", Cells: []record.PastCell{cell}}
	of := func(lost ...float64) record.PastCell { c := cell; c.Trials = earlier(lost...); return c }
	other := of(0, 0, 0)
	other.Design = "other"
	recovery, _ := metric.ByName(metric.Recovery)
	standstill, _ := metric.ByName(metric.Standstill)
	for _, tc := range []struct {
		name   string
		now    record.PastCell
		m      metric.Metric
		margin time.Duration
		want   Verdict
		kind   Kind
	}{
		{"the same", of(0, 0, 0), downtime, 0, Pass, NoWorse},
		{"worse", of(60, 60, 60), downtime, 0, Fail, Worse},
		{"within a margin", of(60, 60, 60), downtime, 100 * time.Millisecond, Pass, WorseWithin},
		{"none of it", of(), downtime, 0, Inconclusive, TooFewTrials},
		{"not in the baseline", other, downtime, 0, Inconclusive, NotInBaseline},
		{"never in either", of(1, 1, 1), recovery, 0, Pass, NoWorse},
		{"not measured then", of(1, 1, 1), standstill, 0, Inconclusive, NotMeasuredThen},
	} {
		got := ComparePast(b, tc.now, tc.m, tc.margin)
		if got.Verdict != tc.want || got.Why.Kind != tc.kind || !got.Gated || got.A != record.PastRuns || got.B != tc.now.Design {
			t.Errorf("%s: %+v, want %s, %s", tc.name, got, tc.want, tc.kind)
		}
	}
	unmeasured := of(60, 60, 60)
	delete(unmeasured.Trials[1].Values, metric.Downtime)
	if got := ComparePast(b, unmeasured, downtime, 0); got.Verdict != Inconclusive || got.Why.Kind != NotMeasuredNow || got.Compared() {
		t.Errorf("not measured now: %+v", got)
	}
}

// A stream is compared with the same stream.
func TestAStreamAgainstEarlierRuns(t *testing.T) {
	b := &record.Baseline{File: "base.json", Cells: []record.PastCell{{Scenario: "rollout", Driver: "process", Action: "rollout", Design: "good", Trials: earlier(0, 0, 0)}}}
	for _, t := range b.Cells[0].Trials {
		t.Values[metric.Downtime] = new(900.0) // of all requests
	}
	run := described(record.Gate{Design: "good", Metric: metric.Downtime, Against: record.PastRuns, Stream: "fresh"})
	run.Baseline = b
	got := Judge(run, ended, nil, []Trial{streamed(1, 20, 20), streamed(2, 20, 20), streamed(3, 20, 20)})
	if g := got.Gates[0]; g.Verdict != Fail || g.Observed != 100 {
		t.Errorf("20 of a stream of 200 a second: %+v", g)
	}
}

// A gate that a single trial cannot miss, or that is none of the run's verdict, excuses no
// disagreement and no machine without CPUs to spare.
func TestGatesThatExcuseNothing(t *testing.T) {
	limit := record.Gate{Design: "good", Metric: "failed", Op: "<=", Limit: 0.001, Share: true}
	lossy := result("good", 1, 1000)
	lossy.Reference = Reference{Planned: 500, OK: 450}
	for _, tc := range []struct {
		name   string
		change func(*record.Gate)
		limits bool
		both   bool
	}{
		{"a share", func(*record.Gate) {}, true, true},
		{"a share that both keep", func(g *record.Gate) { g.Limit = 0.2 }, true, false},
		{"a warning", func(g *record.Gate) { g.Warn = true }, false, false},
		{"a stream", func(g *record.Gate) { g.Stream = "fresh" }, true, false},
		{"a comparison", func(g *record.Gate) { *g = record.Gate{Design: "good", Metric: metric.SuccessRate, Against: "bad"} }, false, false},
	} {
		g := limit
		tc.change(&g)
		if limitsLosses(g) != tc.limits || bothMiss(g, &lossy) != tc.both {
			t.Errorf("%s: limits losses %v, missed by both %v; want %v, %v", tc.name, limitsLosses(g), bothMiss(g, &lossy), tc.limits, tc.both)
		}
	}
}

package reports

import (
	"encoding/json"
	"testing"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

// What a run has to be compared by comes back from results.json as it was, trials that do not
// count are none of it, and what a file does not know is told from what did not happen.
func TestPast(t *testing.T) {
	run := fixtureRun()
	doc := Results(run)
	c := &doc.Cells[1]
	if c.Design != "stack-aware" || len(c.Trials) != 4 {
		t.Fatalf("the fixture has %s with %d trials", c.Design, len(c.Trials))
	}
	c.Trials[0].Outcome = judge.OutcomeFailed
	was := doc.Past(c)
	if len(was) != 2 || was[0].N != 3 || was[0].RunID != doc.RunID || was[0].Commit != "89abcdef" || was[0].Fingerprint != doc.Environment.Fingerprint || was[0].Started != doc.Started {
		t.Fatalf("past trials %+v", was)
	}
	for key, want := range map[string]float64{"downtime": 0, "recovery": 0, "latency_p99": 3.4, "downtime/newconn-get": 0} {
		if v := was[0].Values[key]; v == nil || *v != want {
			t.Errorf("%s is %v, want %v", key, v, want)
		}
	}
	if v, known := was[0].Values["longest_outage"]; v != nil || !known {
		t.Errorf("what did not happen is %v, %v", v, known)
	}
	if _, known := was[0].Values["success_rate"]; known {
		t.Error("a share is among what can be compared")
	}
	raw, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	var again Document
	if err := json.Unmarshal(raw, &again); err != nil {
		t.Fatal(err)
	}
	is := again.Past(&again.Cells[1])
	if len(is) != len(was) {
		t.Fatalf("%d of %d came back", len(is), len(was))
	}
	for key, v := range was[0].Values {
		w, known := is[0].Values[key]
		if !known || (v == nil) != (w == nil) || v != nil && *v != *w {
			t.Errorf("%s came back as %v, was %v", key, w, v)
		}
	}
	var old Trial
	if err := json.Unmarshal([]byte(`{"outcome": "valid", "downtime_ms": 30}`), &old); err != nil {
		t.Fatal(err)
	}
	values := old.past(100)
	if v := values["downtime"]; v == nil || *v != 30 {
		t.Errorf("downtime %v", v)
	}
	if _, known := values["recovery"]; known {
		t.Error("a file without recovery has one")
	}
}

// A stream's downtime is by its share of the rate, as judge has it.
func TestPastDowntimeOfAStream(t *testing.T) {
	trial := Trial{Planned: 20_000, Streams: []Stream{{Name: "kept", Planned: 16_000, OK: 16_000}, {Name: "fresh", Planned: 4_000, OK: 3_980}, {Name: "none"}}}
	values := trial.past(1000)
	if v := values[record.ValueKey("downtime", "fresh")]; v == nil || *v != 100 {
		t.Errorf("20 of 200 a second are %v ms", v)
	}
	if v := values[record.ValueKey("downtime", "kept")]; v == nil || *v != 0 {
		t.Errorf("none are %v ms", v)
	}
	if _, known := values[record.ValueKey("downtime", "none")]; known {
		t.Error("a stream without requests has a downtime")
	}
}

func TestBaselineText(t *testing.T) {
	run := &comparedRun().Record
	const want = "base.json, 2 trials up to commit 00112233445…, the newest 3.3 days old, environment aaaaaaaaaaaaaaaa, whatever the environment"
	if got := baselineText(run); got != want {
		t.Errorf("\n got %q\nwant %q", got, want)
	}
	run.Baseline = &record.Baseline{File: "base.json", Missing: "no such file"}
	if got := baselineText(run); got != "base.json: no such file" {
		t.Errorf("missing: %q", got)
	}
	run.Baseline = nil
	if got := baselineText(run); got != "" || newBaseline(run) != nil {
		t.Errorf("none: %q", got)
	}
	run.Baseline = &record.Baseline{File: "base.json", Cells: []record.PastCell{{Trials: []record.PastTrial{{Started: "2026-11-23T15:04:05Z"}}}}}
	if b := newBaseline(run); b.AgeDays == nil || *b.AgeDays != 0 {
		t.Errorf("a clock that went back: %v", b.AgeDays)
	}
}

// The verdict of a comparison is never a pass where something was not compared.
func TestVerdictOfACompared(t *testing.T) {
	of := func(v judge.Verdict, gated bool) judge.Comparison {
		return judge.Comparison{Scenario: "s", Driver: "d", B: "x", Verdict: v, Gated: gated, Why: judge.Reason{Kind: judge.NoBaseline}}
	}
	for _, tc := range []struct {
		name string
		c    Compared
		want judge.Verdict
	}{
		{"all well", Compared{Comparisons: []judge.Comparison{of(judge.Pass, true), of(judge.Fail, false)}}, judge.Pass},
		{"one worse", Compared{Comparisons: []judge.Comparison{of(judge.Inconclusive, true), of(judge.Fail, true)}, Absent: []string{"x"}}, judge.Fail},
		{"one unclear", Compared{Comparisons: []judge.Comparison{of(judge.Inconclusive, true), of(judge.Pass, true)}}, judge.Inconclusive},
		{"nothing that decides", Compared{Comparisons: []judge.Comparison{of(judge.Pass, false)}}, judge.Inconclusive},
		{"nothing", Compared{}, judge.Inconclusive},
		{"one absent", Compared{Comparisons: []judge.Comparison{of(judge.Pass, true)}, Absent: []string{"x"}}, judge.Inconclusive},
		{"cut short", Compared{Comparisons: []judge.Comparison{of(judge.Pass, true)}, New: MeasuredRun{Partial: true}}, judge.Inconclusive},
	} {
		if got := tc.c.Verdict(); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
		if tc.c.Headline() == "" || (tc.c.Headline() == "nothing is worse than before") != (tc.want == judge.Pass) {
			t.Errorf("%s: %q", tc.name, tc.c.Headline())
		}
	}
}

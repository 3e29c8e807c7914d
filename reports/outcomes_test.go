package reports

import (
	"encoding/json"
	"html"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

// TestEveryOutputAgrees: a fail is a failure in junit.xml and never only an error, what is
// inconclusive is an error and no failure, a pass is neither; results.json, the page and the
// terminal say the same word, and lead with the same sentence.
func TestEveryOutputAgrees(t *testing.T) {
	trial := func(design string, n int, lost uint64) judge.Trial {
		return counted("rollout", "process", design, n, lost)
	}
	stuck := func(t judge.Trial) judge.Trial {
		t.Failures, t.Stands = []judge.Reason{{Kind: judge.ActionFailed, Text: "0 of 3 instances of v2 are ready"}}, true
		return t
	}
	invalid := func(t judge.Trial) judge.Trial {
		t.Valid, t.InvalidReasons = false, []judge.Reason{{Kind: judge.LoadLate, Time: 76e6, Limit: 50e6}}
		return t
	}
	repeat := func(t judge.Trial) judge.Trial { t.Meta.Repeats = 1; return t }
	skipped := func(design string, byTarget bool) *record.RunEnd {
		return &record.RunEnd{Skipped: []record.Skipped{{Scenario: "rollout", Driver: "process", Design: design, Why: "trial 1: it answers 404", ByTarget: byTarget}}}
	}
	ended := &record.RunEnd{}
	bad := trial("bad", 1, 3000)
	gate := record.Gate{Design: "good", Metric: "failed", Op: "<=", Limit: 5}
	for _, tc := range []struct {
		name   string
		end    *record.RunEnd
		trials []judge.Trial
		want   judge.Verdict
		says   string
	}{
		{"pass", ended, []judge.Trial{bad, trial("good", 1, 0)}, judge.Pass, "good lost 0 of 20,000"},
		{"gate missed", ended, []judge.Trial{bad, trial("good", 1, 6)}, judge.Fail, "missed failed <= 5"},
		{"failed by the target", ended, []judge.Trial{bad, stuck(trial("good", 1, 0))}, judge.Fail, "0 of 3 instances of v2 are ready"},
		{"failed by the target and a gate missed", ended, []judge.Trial{bad, stuck(trial("good", 1, 6))}, judge.Fail, "0 of 3 instances of v2 are ready"},
		{"failed by the target under a late load", ended, []judge.Trial{bad, invalid(stuck(trial("good", 1, 0)))}, judge.Fail, "0 of 3 instances of v2 are ready"},
		{"failed by the target, then repeated", ended, []judge.Trial{bad, invalid(stuck(trial("good", 1, 0))), repeat(trial("good", 2, 0))}, judge.Fail, "0 of 3 instances of v2 are ready"},
		{"answers wrongly at deploy", skipped("good", true), []judge.Trial{bad}, judge.Fail, "it answers 404"},
		{"answers wrongly at a later deploy", skipped("good", true), []judge.Trial{bad, trial("good", 1, 0)}, judge.Fail, "it answers 404"},
		{"answers wrongly at two later deploys", &record.RunEnd{Skipped: append(skipped("good", true).Skipped, skipped("good", true).Skipped...)}, []judge.Trial{bad, trial("good", 1, 6)}, judge.Fail, "it answers 404"},
		{"the runtime is to blame later", skipped("good", false), []judge.Trial{bad, trial("good", 1, 0)}, judge.Inconclusive, ""},
		{"the runtime is to blame", skipped("good", false), []judge.Trial{bad}, judge.Inconclusive, ""},
		{"the control answers wrongly at deploy", skipped("bad", true), []judge.Trial{trial("good", 1, 0)}, judge.Inconclusive, ""},
		{"invalid", ended, []judge.Trial{bad, invalid(trial("good", 1, 0))}, judge.Inconclusive, ""},
		{"invalid, and repeated", ended, []judge.Trial{bad, invalid(trial("good", 1, 0)), repeat(trial("good", 2, 0))}, judge.Pass, "good lost 0 of 20,000"},
		{"the control shows nothing", ended, []judge.Trial{trial("bad", 1, 0), trial("good", 1, 0)}, judge.Inconclusive, ""},
		{"the control fails otherwise", ended, []judge.Trial{stuck(trial("bad", 1, 0)), trial("good", 1, 0)}, judge.Pass, ""},
		{"cut short", nil, []judge.Trial{bad, trial("good", 1, 0)}, judge.Inconclusive, ""},
		{"nothing", ended, nil, judge.Inconclusive, "no valid trial"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			desc := record.Run{ID: "r", Scenarios: []record.Scenario{{Name: "rollout", Designs: []string{"bad", "good"}, Positive: []string{"bad"}, Gates: []record.Gate{gate}}}}
			run := judge.Judge(desc, tc.end, nil, tc.trials)
			if run.Verdict != tc.want {
				t.Fatalf("verdict %s, want %s: %v", run.Verdict, tc.want, run.Reasons)
			}
			red := parseJUnit(t, junitText(t, &run))
			checkNames(t, red)
			for _, s := range red.Suites {
				for _, c := range s.Cases {
					if c.Error != nil && tc.want == judge.Fail && strings.Contains(c.Error.Text, headline(&run)) {
						t.Errorf("an error tells of the fail: %q", c.Error.Text)
					}
				}
			}
			if fail, unclear := red.Failures > 0, red.Failures == 0 && red.Errors > 0; fail != (tc.want == judge.Fail) || unclear != (tc.want == judge.Inconclusive) {
				t.Errorf("junit.xml of a %s has %d failures and %d errors:\n%s", tc.want, red.Failures, red.Errors, junitText(t, &run))
			}
			var doc Document
			if err := json.Unmarshal(resultsJSON(t, &run), &doc); err != nil {
				t.Fatal(err)
			}
			if doc.Verdict != tc.want || (len(doc.Reasons) == 0) != (tc.want == judge.Pass) {
				t.Errorf("results.json: verdict %s, reasons %q", doc.Verdict, doc.Reasons)
			}
			text := terminalText(t, &run, TerminalOptions{Width: 10_000})
			line := strings.ToUpper(string(tc.want)) + "  " + doc.Headline
			if !strings.HasPrefix(text, line+"\n") {
				t.Errorf("the terminal does not begin with %q:\n%s", line, text)
			}
			if deployed := strings.Contains(doc.Headline, "bad lost"); deployed && strings.HasPrefix(tc.name, "failed by the target") && !strings.Contains(tc.name, "missed") {
				t.Errorf("the headline tells of what must fail: %q", doc.Headline)
			}
			if doc.Do == "" || doc.Why == "" && (tc.want == judge.Pass || tc.name == "gate missed") {
				t.Errorf("nothing is said of why, or of what to do: %q, %q", doc.Why, doc.Do)
			}
			head := sections(t, htmlText(t, &run), "verdict")
			for where, out := range map[string]string{"terminal": text, "page": head, "junit.xml": html.UnescapeString(string(junitText(t, &run)))} {
				for _, sentence := range []string{doc.Headline, doc.Why, doc.Do} {
					if !strings.Contains(out, sentence) {
						t.Errorf("%s does not say %q:\n%s", where, sentence, out)
					}
				}
			}
			page := string(htmlText(t, &run))
			if !strings.Contains(page, `<span class="verdict `+string(tc.want)) {
				t.Errorf("the page has another verdict than %s", tc.want)
			}
			for name, out := range map[string]string{"headline": doc.Headline, "terminal": text, "page": page, "junit.xml": string(junitText(t, &run))} {
				if tc.want == judge.Fail && !strings.Contains(out, tc.says) && !strings.Contains(out, strings.ReplaceAll(tc.says, "<", "&lt;")) && name != "junit.xml" {
					t.Errorf("%s does not say %q:\n%s", name, tc.says, out)
				}
			}
		})
	}
}

// checkNames holds that no two cases have one name, whatever suite they are in.
func checkNames(t *testing.T, doc junitSuites) {
	t.Helper()
	seen := make(map[string]bool)
	for _, s := range doc.Suites {
		for _, c := range s.Cases {
			if key := c.Class + " " + c.Name; seen[key] {
				t.Errorf("two cases are named %q of %q", c.Name, c.Class)
			} else {
				seen[key] = true
			}
		}
	}
}

// Whatever the trials, the gates and what else was amiss: junit.xml fails where the run does,
// errs where it is undecided and is green for a pass alone, and a pass has evidence.
func TestJUnitSaysWhatTheRunSays(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	one := func(in int) bool { return r.IntN(in) == 0 }
	metrics := []string{"failed", "success_rate", "breaches", "recovery", "downtime", "latency_p99", "disruption_lag", "none such"}
	seen := map[judge.Verdict]int{}
	for range 4000 {
		s := record.Scenario{Name: "rollout", Designs: []string{"bad", "good"}}
		for range r.IntN(3) {
			s.Gates = append(s.Gates, record.Gate{Design: s.Designs[r.IntN(2)], Metric: metrics[r.IntN(len(metrics))], Op: []string{"<=", ">="}[r.IntN(2)], Limit: []float64{0, 0.999, 5}[r.IntN(3)]})
		}
		if one(2) {
			s.Positive = []string{"bad"}
		}
		var trials []judge.Trial
		for _, design := range s.Designs {
			for i := range r.IntN(4) {
				lost := []uint64{0, 0, 3, 3000}[r.IntN(4)]
				trial := counted("rollout", "process", design, i+1, lost)
				trial.Denials = uint64(r.IntN(2)) * 400
				if trial.Denials > 0 && one(5) {
					trial.Breaches = 2
				}
				if one(4) {
					trial.Valid, trial.InvalidReasons = false, []judge.Reason{{Kind: judge.LoadLate}}
					trial.Unexcused = judge.Tally{N: uint64(r.IntN(2)) * lost, Of: lost}
				}
				if one(8) {
					trial.Failures, trial.Stands = []judge.Reason{{Kind: judge.ActionFailed, Text: "it ended"}}, true
				}
				if i > 0 && one(2) {
					trial.Meta.Repeats = 1 + r.IntN(i)
				}
				if one(6) {
					trial.Meta.Action = record.NoAction
				}
				trials = append(trials, trial)
			}
		}
		var end *record.RunEnd
		if !one(8) {
			end = &record.RunEnd{Interrupted: one(10)}
			if one(5) {
				end.Skipped = []record.Skipped{{Scenario: "rollout", Driver: "process", Design: s.Designs[r.IntN(2)], Why: "no answer", ByTarget: one(2)}}
			}
		}
		var missing []string
		if one(10) {
			missing = []string{"trials/gone"}
		}
		run := judge.Judge(record.Run{Scenarios: []record.Scenario{s}}, end, missing, trials)
		doc := newJUnit(&run)
		checkNames(t, *doc)
		seen[run.Verdict]++
		right := doc.Failures == 0 && doc.Errors > 0
		switch run.Verdict {
		case judge.Pass:
			right = doc.Failures+doc.Errors == 0 && end != nil && !end.Interrupted && len(missing) == 0 && len(s.Gates) > 0 && len(trials) > 0
		case judge.Fail:
			right = doc.Failures > 0
		}
		if !right {
			t.Fatalf("verdict %s, junit.xml has %d failures and %d errors: %v\ngates %+v\ntrials %+v\nend %+v", run.Verdict, doc.Failures, doc.Errors, run.Reasons, s.Gates, trials, end)
		}
	}
	for _, v := range []judge.Verdict{judge.Pass, judge.Fail, judge.Inconclusive} {
		if seen[v] < 20 {
			t.Errorf("only %d runs with the verdict %s", seen[v], v)
		}
	}
}

package reports

import (
	"strings"
	"testing"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

// A run whose trials were never begun, because the target did not serve at deploy, was not cut
// short: nobody is to look for what happened to it.
func TestWhatWasNeverBegunIsNotMissing(t *testing.T) {
	folder := func(n int) string {
		return record.Folder(record.Trial{Scenario: "a b", Driver: "process", Action: "rollout", Design: "svc", N: n})
	}
	at404 := &record.RunEnd{Skipped: []record.Skipped{{Scenario: "a b", Driver: "process", Design: "svc", Why: "trial 1: it answers 404", ByTarget: true}}}
	for name, tc := range map[string]struct {
		end     *record.RunEnd
		missing []string
		trials  []judge.Trial
		want    bool
	}{
		"never begun":           {at404, []string{folder(1), folder(2)}, nil, false},
		"only one begun":        {at404, []string{folder(2)}, []judge.Trial{counted("a b", "process", "svc", 1, 0)}, false},
		"and another lost":      {at404, []string{folder(1), "trials/other-process-rollout-svc-1"}, nil, true},
		"one of no number":      {at404, []string{"trials/gone"}, nil, true},
		"lost":                  {&record.RunEnd{}, []string{folder(1)}, nil, true},
		"interrupted":           {&record.RunEnd{Interrupted: true, Skipped: at404.Skipped}, []string{folder(1)}, nil, true},
		"cut short":             {nil, []string{folder(1)}, nil, true},
		"a trial is damaged":    {at404, []string{folder(2)}, []judge.Trial{{Meta: record.Trial{Scenario: "a b", Driver: "process", Design: "svc", N: 1}, Partial: true}}, true},
		"nothing is the matter": {&record.RunEnd{}, nil, []judge.Trial{counted("a b", "process", "svc", 1, 0)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			desc := record.Run{Scenarios: []record.Scenario{{Name: "a b", Action: "rollout", Designs: []string{"svc"}, Gates: []record.Gate{{Design: "svc", Metric: "failed", Op: "<="}}}}}
			run := judge.Judge(desc, tc.end, tc.missing, tc.trials)
			text, page, junit := terminalText(t, &run, TerminalOptions{}), string(htmlText(t, &run)), string(junitText(t, &run))
			for where, got := range map[string]bool{
				"terminal": strings.Contains(text, "the run is not complete"), "page": strings.Contains(page, "Partial run."), "junit.xml": strings.Contains(junit, "the run is complete"),
			} {
				if got != tc.want {
					t.Errorf("%s calls it incomplete: %v, want %v", where, got, tc.want)
				}
			}
			if !tc.want && len(tc.trials) == 0 {
				if strings.Contains(page, "What stands in the way of a pass") || strings.Contains(page, "#timeline") || strings.Contains(page, `id="timeline"`) {
					t.Error("the page has more to say of what was never begun than that it was not")
				}
			}
			if strings.Contains(text, "planned trials missing") && !tc.want {
				t.Errorf("trials are called missing that were never begun:\n%s", text)
			}
		})
	}
}

// Whoever sees only the picture of a trial sees that the target failed in it.
func TestThePictureSaysThatTheTargetFailed(t *testing.T) {
	for name, tc := range map[string]struct {
		valid    bool
		failures []judge.Reason
		want     string
	}{
		"valid": {true, nil, "100 % ok"}, "invalid": {false, nil, "invalid, 100 % ok"},
		"failed": {true, []judge.Reason{{Kind: judge.ActionFailed}}, "target failed, 100 % ok"}, "failed and invalid": {false, []judge.Reason{{Kind: judge.ActionFailed}}, "target failed, 100 % ok"},
	} {
		trial := counted("s", "process", "svc", 1, 0)
		trial.Valid, trial.Failures = tc.valid, tc.failures
		c := chosen{&judge.Cell{Design: "svc"}, &trial}
		if got := c.summary()[0]; got != tc.want {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
		}
		if got := strings.Contains(c.about(), "the target failed"); got != (tc.failures != nil) {
			t.Errorf("%s: the words for the picture are %q", name, c.about())
		}
	}
}

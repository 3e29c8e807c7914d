package judge

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

// failed is a rollout that the target did not complete.
func failed(d *record.TrialData) {
	for i := range d.Events {
		if d.Events[i].Kind == record.ActionDone {
			d.Events[i].Kind, d.Events[i].Detail = record.ActionFailed, "0 of 3 are ready"
		}
	}
}

func late(d *record.TrialData) {
	for i := range 201 {
		d.Samples[i*3].Sent += 60 * ms
	}
}

// What the target did wrong counts whatever else a trial shows; what the harness did wrong
// makes it invalid, and what the lab did not see is no proof of either.
func TestOutcomes(t *testing.T) {
	event := func(kind record.EventKind) func(*record.TrialData) {
		return func(d *record.TrialData) {
			d.Events = append(d.Events, record.Event{At: 9 * s, Kind: kind})
			slices.SortStableFunc(d.Events, func(a, b record.Event) int { return int(a.At - b.At) })
		}
	}
	broken := func(d *record.TrialData) {
		for i := range d.Events {
			if d.Events[i].Kind == record.ActionDone {
				d.Events[i].Kind = record.ActionError
			}
		}
	}
	for _, tc := range []struct {
		name    string
		changes []func(*record.TrialData)
		want    Outcome
		valid   bool // the numbers count
		repeat  bool // a valid repeat makes up for it
	}{
		{"nothing wrong", nil, OutcomeValid, true, false},
		{"requests lost", []func(*record.TrialData){func(d *record.TrialData) { fail(d, 5*s, 6*s) }}, OutcomeValid, true, false},
		{"the target failed", []func(*record.TrialData){failed}, OutcomeFailed, true, false},
		{"the target failed under a late load", []func(*record.TrialData){failed, late}, OutcomeFailed, false, false},
		{"the target failed, and the events were lost", []func(*record.TrialData){failed, event(record.Lost)}, OutcomeInvalid, false, false},
		{"the target failed, and the trial was interrupted", []func(*record.TrialData){failed, event(record.TrialInterrupt)}, OutcomeInvalid, false, false},
		{"the target failed, and the record has no end", []func(*record.TrialData){failed, func(d *record.TrialData) { d.End = nil }}, OutcomeInvalid, false, false},
		{"the target failed, and the record is damaged", []func(*record.TrialData){failed, func(d *record.TrialData) { d.Damage = []string{"torn"} }}, OutcomeInvalid, false, false},
		{"the runtime broke", []func(*record.TrialData){broken}, OutcomeInvalid, false, false},
		{"the load was late", []func(*record.TrialData){late}, OutcomeInvalid, false, true},
		{"the harness failed", []func(*record.TrialData){func(d *record.TrialData) { d.Samples[17_000].Class = record.Harness }}, OutcomeInvalid, false, true},
		{"an instance is missing at the end", []func(*record.TrialData){func(d *record.TrialData) { d.Trial.ReplicasAfter = 4 }}, OutcomeInvalid, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := rollout()
			for _, change := range tc.changes {
				change(d)
			}
			got := Measure(d)
			if got.Outcome() != tc.want || got.Valid != tc.valid {
				t.Errorf("outcome %s, valid %v; want %s, %v: failures %v, invalid for %v", got.Outcome(), got.Valid, tc.want, tc.valid, got.Failures, got.InvalidReasons)
			}
			if repeat := !got.Valid && !got.Stands; repeat != tc.repeat {
				t.Errorf("a repeat makes up for it: %v, want %v", repeat, tc.repeat)
			}
		})
	}
}

// TestVerdictOfOutcomes: each outcome, and what a run of it comes to.
func TestVerdictOfOutcomes(t *testing.T) {
	outcome := func(t Trial, kinds ...Kind) Trial {
		for _, k := range kinds {
			if k == ActionFailed {
				t.Failures = append(t.Failures, Reason{Kind: k, Text: "0 of 3 are ready"})
				t.Stands = true
			} else {
				t.InvalidReasons = append(t.InvalidReasons, Reason{Kind: k})
			}
		}
		t.Valid = len(t.InvalidReasons) == 0
		return t
	}
	bad, good := result("bad", 1, 3000), result("good", 1, 0)
	skipped := func(design string, byTarget bool) *record.RunEnd {
		return &record.RunEnd{Skipped: []record.Skipped{{Scenario: "rollout", Driver: "process", Design: design, Why: "trial 1: it ended", ByTarget: byTarget}}}
	}
	for _, tc := range []struct {
		name   string
		run    record.Run
		end    *record.RunEnd
		trials []Trial
		want   Verdict
		reason string // part of the first one
	}{
		{"valid", described(noBreaches), ended, []Trial{bad, good}, Pass, ""},
		{"the target failed and lost nothing", described(noBreaches), ended, []Trial{bad, outcome(good, ActionFailed)}, Fail, `target-failed rollout/process/good trial 1 because [action-failed "0 of 3 are ready"]`},
		{"the target failed in one trial of two", described(noBreaches), ended, []Trial{bad, good, outcome(result("good", 2, 0), ActionFailed)}, Fail, "target-failed rollout/process/good trial 2"},
		{"the target failed under a late load", described(noBreaches), ended, []Trial{bad, good, outcome(result("good", 2, 0), ActionFailed, LoadLate)}, Fail, "target-failed rollout/process/good trial 2"},
		{"a repeat makes up for nothing that the target did", described(noBreaches), ended, []Trial{bad, outcome(good, ActionFailed, LoadLate), repeat(result("good", 2, 0), 1)}, Fail, "target-failed rollout/process/good trial 1"},
		{"the target failed and a gate was missed", described(noBreaches, record.Gate{Design: "good", Metric: "failed", Op: "<=", Limit: 0}), ended, []Trial{bad, outcome(result("good", 1, 7), ActionFailed)}, Fail, "target-failed"},
		{"a design known to fail fails", described(noBreaches), ended, []Trial{outcome(result("bad", 1, 0), ActionFailed), good}, Pass, ""},
		{"known to fail, but not on this driver", elsewhere(), ended, []Trial{outcome(result("bad", 1, 0), ActionFailed), good}, Fail, "target-failed rollout/process/bad trial 1"},
		{"it never served", described(noBreaches), skipped("good", true), []Trial{bad}, Fail, `deploy-failed rollout/process/good "trial 1: it ended"`},
		{"it never served, once", described(noBreaches), skipped("good", true), []Trial{bad, good}, Fail, "deploy-failed rollout/process/good"},
		{"the runtime did not deploy it", described(noBreaches), skipped("good", false), []Trial{bad, good}, Inconclusive, "cell-not-run rollout/process/good"},
		{"a design known to fail never served", described(noBreaches), skipped("bad", true), []Trial{bad, good}, Inconclusive, "cell-not-run rollout/process/bad"},
		{"invalid", described(noBreaches), ended, []Trial{bad, outcome(good, LoadLate)}, Inconclusive, "gate-unclear"},
		{"invalid and repeated", described(noBreaches), ended, []Trial{bad, outcome(good, LoadLate), repeat(result("good", 2, 0), 1)}, Pass, ""},
		{"missing", described(noBreaches), nil, []Trial{bad, good}, Inconclusive, "run-cut-short"},
		{"nothing", described(noBreaches), ended, nil, Inconclusive, "gate-unclear"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := Judge(tc.run, tc.end, nil, tc.trials)
			first := ""
			if len(got.Reasons) > 0 {
				first = got.Reasons[0].String()
			}
			if got.Verdict != tc.want || !strings.HasPrefix(first, tc.reason) || (tc.want == Pass) != (len(got.Reasons) == 0) {
				t.Errorf("verdict %s, want %s; reasons %v, want first %q", got.Verdict, tc.want, got.Reasons, tc.reason)
			}
			if h := got.Headline(); tc.want == Fail && len(h.Failed)+len(h.Missed) == 0 || tc.want != Fail && len(h.Failed) > 0 {
				t.Errorf("verdict %s, headline %s", tc.want, fmt.Sprint(h.Failed, h.Missed))
			}
		})
	}
}

// A rollout that the runtime may stop is none of the target's failures when it was stopped, and
// what leads back from it must be complete.
func TestARolloutThatMayStop(t *testing.T) {
	for _, tc := range []struct {
		name   string
		action string
		end    []record.EventKind // of each step, in order
		want   string
	}{
		{"stopped", "rollout", []record.EventKind{record.ActionStopped}, "[] []"},
		{"completed all the same", "rollout", []record.EventKind{record.ActionDone}, "[] []"},
		{"stopped, and back", record.RolloutRollback, []record.EventKind{record.ActionStopped, record.ActionDone}, "[] []"},
		{"stopped, and not back", record.RolloutRollback, []record.EventKind{record.ActionStopped}, "[action-not-completed] []"},
		{"stopped, and back it failed", record.RolloutRollback, []record.EventKind{record.ActionStopped, record.ActionFailed}, "[] [action-failed]"},
	} {
		d := rollout()
		d.Trial.Action, d.Trial.MayStop = tc.action, true
		d.Events = slices.DeleteFunc(d.Events, func(e record.Event) bool { return e.Kind == record.ActionDone || e.Kind == record.LoadEnded })
		for i, kind := range tc.end {
			d.Events = append(d.Events, record.Event{At: 7*s + time.Duration(i)*s, Kind: kind})
		}
		got := Measure(d)
		if text := fmt.Sprint(got.InvalidReasons, got.Failures); text != tc.want {
			t.Errorf("%s: got %s, want %s", tc.name, text, tc.want)
		}
		if done := tc.end[len(tc.end)-1] == record.ActionDone; (got.Convergence != nil) != (done && len(tc.end) >= d.Trial.Steps()) {
			t.Errorf("%s: convergence %v", tc.name, got.Convergence)
		}
	}
}

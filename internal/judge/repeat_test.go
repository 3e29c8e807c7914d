package judge

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

// What of a trial's losses is the harness's own doing, and shown to be.
func TestUnexcused(t *testing.T) {
	late := func(d *record.TrialData, from, to, lag time.Duration) {
		for i := range d.Samples {
			if x := &d.Samples[i]; x.Intended >= from && x.Intended < to {
				x.Sent = x.Intended + lag
			}
		}
	}
	calm := func(d *record.TrialData) { pressed(d, 0, 0, 0) }
	for _, tt := range []struct {
		name string
		make func(d *record.TrialData)
		want Tally
	}{
		{"nothing lost", calm, Tally{}},
		{"the harness's own", func(d *record.TrialData) { lose(d, 8*s, 8200*ms, record.Harness); calm(d) }, Tally{0, 200}},
		{"sent late", func(d *record.TrialData) {
			lose(d, 8*s, 8200*ms, record.Timeout)
			late(d, 8*s, 8200*ms, 51*ms)
			calm(d)
		}, Tally{0, 200}},
		{"refused, and sent late", func(d *record.TrialData) {
			lose(d, 8*s, 8200*ms, record.Refused)
			late(d, 8*s, 8200*ms, 51*ms)
			calm(d)
		}, Tally{200, 200}},
		{"answered wrongly, and sent late", func(d *record.TrialData) {
			lose(d, 8*s, 8200*ms, record.HTTPStatus(503))
			late(d, 8*s, 8200*ms, 51*ms)
			calm(d)
		}, Tally{200, 200}},
		{"sent a little late", func(d *record.TrialData) {
			lose(d, 8*s, 8200*ms, record.Timeout)
			late(d, 8*s, 8200*ms, 50*ms)
			calm(d)
		}, Tally{200, 200}},
		{"late for a short timeout", func(d *record.TrialData) {
			d.Trial.Timeout = 100 * ms
			lose(d, 8*s, 8200*ms, record.Timeout)
			late(d, 8*s, 8200*ms, 26*ms)
			calm(d)
		}, Tally{0, 200}},
		{"the target's among them", func(d *record.TrialData) {
			lose(d, 8*s, 8200*ms, record.Harness)
			lose(d, 9*s, 9010*ms, record.Timeout)
			calm(d)
		}, Tally{10, 210}},
		{"before the window", func(d *record.TrialData) {
			lose(d, 2*s, 2200*ms, record.Harness)
			lose(d, 9*s, 9010*ms, record.Timeout)
			calm(d)
		}, Tally{10, 210}},
		{"its own, where the target may have taken the CPUs", func(d *record.TrialData) {
			lose(d, 8*s, 8200*ms, record.Harness)
			pressed(d, 6*s, 9*s, 1)
		}, Tally{200, 200}},
		{"its own, where nobody knows who took them", func(d *record.TrialData) { lose(d, 8*s, 8200*ms, record.Harness) }, Tally{200, 200}},
		{"in the baseline phase, by the target", func(d *record.TrialData) { fail(d, 2*s, 2200*ms); calm(d) }, Tally{200, 200}},
		{"in the warm-up", func(d *record.TrialData) { fail(d, 0, 500*ms); calm(d) }, Tally{}},
		{"behind the window", func(d *record.TrialData) { fail(d, 14*s, 15*s); calm(d) }, Tally{}},
		{"seen by the reference client alone", func(d *record.TrialData) { d.Reference[200].Class = record.Other }, Tally{1, 1}},
		{"by trouble of the reference client's machine", func(d *record.TrialData) { d.Reference[200].Class = record.Harness }, Tally{0, 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := rollout()
			d.Trial.Timeout = 2 * s
			tt.make(d)
			if got := Measure(d).Unexcused; got != tt.want {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
}

// A lucky repeat is no pass. (Seen: a hang that cost 4,030 requests in the first trial, and a
// green exit code for the second.)
func TestARepeatErasesNothing(t *testing.T) {
	lost := func(n, repeats int, unexcused uint64) Trial {
		tr := broken("good", n, repeats)
		tr.Unexcused = Tally{unexcused, unexcused}
		return tr
	}
	known := []Trial{result("bad", 1, 3000), result("bad", 2, 3000), result("bad", 3, 3000)}
	lostBad := in(lost(4, 0, 2849), "rollout", "process", "rollout")
	lostBad.Meta.Design = "bad"
	goods := []Trial{result("good", 1, 0), result("good", 2, 0), result("good", 3, 0)}
	for _, tt := range []struct {
		name   string
		run    record.Run
		trials []Trial
		want   Verdict
	}{
		{"all of it the harness's", described(rateGate999), append(slices.Clone(goods), lost(4, 0, 0), repeat(result("good", 5, 0), 4)), Pass},
		{"some of it not", described(rateGate999), append(slices.Clone(goods), lost(4, 0, 2849), repeat(result("good", 5, 0), 4)), Inconclusive},
		{"in two of three tries", described(rateGate999), append(slices.Clone(goods), lost(4, 0, 2849), lost(5, 4, 1), repeat(result("good", 6, 0), 4)), Inconclusive},
		{"and the repeat fails", described(rateGate999), append(slices.Clone(goods), lost(4, 0, 2849), repeat(result("good", 5, 9000), 4)), Fail},
		{"of a design known to fail", described(rateGate999), append(slices.Clone(goods), lostBad, repeat(result("bad", 5, 3000), 4)), Pass},
		{"of a design without a gate", described(record.Gate{Design: "bad", Metric: "failed", Op: "<=", Limit: 1e6}), append(slices.Clone(goods), lost(4, 0, 2849), repeat(result("good", 5, 0), 4)), Pass},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := Judge(tt.run, ended, nil, append(slices.Clone(known), tt.trials...))
			if r.Verdict != tt.want {
				t.Errorf("verdict %s, want %s: %v", r.Verdict, tt.want, r.Reasons)
			}
			told := slices.ContainsFunc(r.Reasons, func(r Reason) bool { return strings.Contains(r.String(), string(NotMadeUp)) })
			if told != (tt.want == Inconclusive || tt.want == Fail) {
				t.Errorf("that a repeat is no answer is told: %t; %v", told, r.Reasons)
			}
		})
	}
}

package judge

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/internal/timeline"
)

// TestProperties: over random failures the parts add up, and a failure more never makes a
// trial look better.
func TestProperties(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 12))
	for range 2 {
		d := rollout()
		d.Trial.Revisions = record.Revisions{Before: "v1", After: "v2"}
		before := Measure(d)
		for range 20 {
			k := 4000 + rng.IntN(9000)
			for i := k; i < k+1+rng.IntN(20); i++ {
				d.Samples[i].Class = record.Reset
			}
			got := Measure(d)
			if got.OK+got.Failed != got.Planned {
				t.Fatalf("%d ok and %d failed are not %d", got.OK, got.Failed, got.Planned)
			}
			if want := time.Duration(float64(got.Failed) / 1000 * float64(s)); got.Downtime != want {
				t.Errorf("downtime %v of %d failures, want %v", got.Downtime, got.Failed, want)
			}
			var inBins, errors, streams, instances uint64
			for _, b := range got.Timeline.Bins {
				inBins += uint64(b.Planned)
			}
			for _, e := range got.Errors {
				errors += e.Count
			}
			var causes uint64
			for _, c := range got.Causes {
				causes += c.Count
			}
			var ok, lost uint64
			for _, c := range got.Revisions {
				ok, lost = ok+c.OK, lost+c.Lost
			}
			if ok != got.OK || lost != got.Failed {
				t.Errorf("%d ok and %d lost by revision, want %d and %d", ok, lost, got.OK, got.Failed)
			}
			if causes != got.Failed {
				t.Errorf("%d causes of %d failures", causes, got.Failed)
			}
			for _, c := range got.Streams {
				streams += c.Planned
			}
			for _, c := range got.Instances {
				instances += c.OK + c.Failed
			}
			if inBins != d.Trial.Planned || errors != got.Failed || streams != got.Planned || instances != got.Planned {
				t.Errorf("bins %d, errors %d, streams %d, instances %d do not add up to %d planned, %d failed", inBins, errors, streams, instances, got.Planned, got.Failed)
			}
			if got.SuccessRate > before.SuccessRate || got.Downtime < before.Downtime || got.LongestOutage.Len() < before.LongestOutage.Len() {
				t.Errorf("a failure more made it better: %v, %v, %v, then %v, %v, %v", before.SuccessRate, before.Downtime, before.LongestOutage, got.SuccessRate, got.Downtime, got.LongestOutage)
			}
			for _, width := range timeline.Widths {
				if got.Down[width] < before.Down[width] || got.Degraded[width] < before.Degraded[width] || got.Down[width] > got.Degraded[width] {
					t.Errorf("bins of %v: down %v, degraded %v after %v, %v", width, got.Down[width], got.Degraded[width], before.Down[width], before.Degraded[width])
				}
			}
			before = got
		}
	}
}

// TestAnyRecordIsMeasured: whatever a record holds, measuring it ends, adds up, and calls
// nothing valid that has a failure in its baseline phase or a gap.
func TestAnyRecordIsMeasured(t *testing.T) {
	rng := rand.New(rand.NewPCG(21, 22))
	somewhen := func() time.Duration { return time.Duration(rng.Int64N(int64(9*s))) - 3*s }
	pick := func(from []string) string { return from[rng.IntN(len(from))] }
	ids := []string{"", "a", "b", "c"}
	for range 500 {
		d := &record.TrialData{Trial: record.Trial{
			Action: pick([]string{"none", "rollout"}), Rate: []float64{0, 0.1, 30, 1000}[rng.IntN(4)], Planned: uint64(rng.IntN(200)),
			LoadTo: time.Duration(rng.Int64N(int64(3 * s))), WindowTo: time.Duration(rng.Int64N(int64(3 * s))), BaselineTo: time.Duration(rng.Int64N(int64(s))),
			ProbeEvery: time.Duration(rng.IntN(2)) * 50 * ms, ReplicasBefore: rng.IntN(3), ReplicasAfter: rng.IntN(3),
		}}
		for k := range d.Trial.Planned {
			if rng.IntN(10) == 0 {
				continue
			}
			d.Samples = append(d.Samples, record.Sample{
				Seq: k, Stream: pick(ids), Expect: record.Expectation(pick([]string{"serve", "deny"})), Intended: somewhen(), Sent: somewhen(), Done: somewhen(),
				Class: record.Class(pick([]string{"ok", "ok", "reset", "http_403", "http_502", "timeout", "refused", "harness"})), Status: []int{0, 200, 403}[rng.IntN(3)], Attempts: rng.IntN(3), Instance: pick(ids), Revision: pick(ids), Reason: pick(ids),
			})
		}
		for range rng.IntN(30) {
			d.Events = append(d.Events, record.Event{At: somewhen(), Instance: pick(ids), Kind: record.EventKind(pick([]string{"started", "ready", "unready", "terminating", "gone", "action_started", "action_done", "lost", "unheard_of"}))})
			d.Probes = append(d.Probes, record.ProbeResult{At: somewhen(), Took: time.Duration(rng.IntN(100)) * ms, Instance: pick(ids[1:]), OK: rng.IntN(2) == 0})
		}
		slices.SortStableFunc(d.Events, func(a, b record.Event) int { return int(a.At - b.At) })
		slices.SortStableFunc(d.Probes, func(a, b record.ProbeResult) int { return int(a.At - b.At) })

		got := Measure(d)
		var errors uint64
		for _, e := range got.Errors {
			errors += e.Count
		}
		var causes uint64
		for i, c := range got.Causes {
			causes += c.Count
			if c.Count == 0 || c.From > c.To || i > 0 && got.Causes[i-1].Count < c.Count {
				t.Errorf("cause %+v", c)
			}
		}
		if causes != got.Failed {
			t.Errorf("%d causes of %d failures", causes, got.Failed)
		}
		binned := 0
		for _, b := range got.Timeline.Bins {
			binned += b.Planned
		}
		if got.OK+got.Failed != got.Planned || errors != got.Failed || binned > int(d.Trial.Planned) || got.SuccessRate > 1 {
			t.Errorf("does not add up: %d planned, %d ok, %d failed, %d errors, %d in bins", got.Planned, got.OK, got.Failed, errors, binned)
		}
		for _, l := range got.Timeline.Lanes {
			for _, spans := range [][]timeline.StateSpan{l.Verdict, l.Truth} {
				for i, sp := range spans {
					if sp.From > sp.To || (i > 0 && sp.From < spans[i-1].To) {
						t.Fatalf("lane of %s: span %v behind %v", l.Instance, sp, spans[max(i-1, 0)])
					}
				}
			}
		}
		if got.Valid {
			t.Errorf("valid without an end: %+v", d.Trial)
		}
		if r := Judge(described(noBreaches), ended, nil, []Trial{got}); r.Verdict == Pass {
			t.Error("passed on an invalid trial")
		}
	}
}

package judge

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

// of the requests of a stream, those in [from, to) fail, all or every so many.
func spoil(all []record.Sample, stream string, from, to time.Duration, every int) {
	n := 0
	for i := range all {
		if x := &all[i]; x.Stream == stream && x.Intended >= from && x.Intended < to {
			if n++; n%every == 0 {
				x.Class, x.Status = record.HTTPStatus(503), 503
			}
		}
	}
}

// Where the two do not agree on one stream, the sum of all of them may hide it.
func TestTheReferenceClientIsComparedByStream(t *testing.T) {
	for _, tt := range []struct {
		name string
		make func(d *record.TrialData)
		want []Reason
	}{
		{"one sees post fail, the other get", func(d *record.TrialData) {
			spoil(d.Samples, "get", 8*s, 10*s, 1)
			spoil(d.Reference, "post", 8*s, 10*s, 1)
		}, []Reason{{Kind: ReferenceDisagrees, Names: []string{"get"}, Tally: Tally{100, 100}, Load: Tally{4000, 5000}}}},
		{"both see post fail", func(d *record.TrialData) {
			spoil(d.Samples, "post", 8*s, 10*s, 1)
			spoil(d.Reference, "post", 8*s, 10*s, 1)
		}, nil},
		{"too few of a stream", func(d *record.TrialData) {
			spoil(d.Samples, "get", 8*s, 10*s, 1)
			spoil(d.Reference, "post", 8*s, 10*s, 1)
			n := 0
			for i := range d.Reference {
				if x := &d.Reference[i]; x.Class == record.OK && x.Intended >= 4*s && x.Intended < 14*s {
					if n++; n > leastReference-1 || x.Stream == "post" {
						x.Stream = "other"
					}
				}
			}
			for i := range d.Reference {
				if x := &d.Reference[i]; x.Class != record.OK {
					x.Stream = "other"
				}
			}
		}, nil},
		{"kept connections that a balancer of connections spreads", func(d *record.TrialData) {
			d.Trial.LabBalancer = false
			d.Trial.Streams[1].Reuse = true
			spoil(d.Samples, "get", 8*s, 10*s, 1)
			spoil(d.Reference, "post", 8*s, 10*s, 1)
		}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := rollout()
			d.Trial.LabBalancer = true
			tt.make(d)
			got := Measure(d)
			for i := range got.InvalidReasons {
				got.InvalidReasons[i].Lo, got.InvalidReasons[i].Hi = 0, 0
			}
			if diff := cmp.Diff(tt.want, got.InvalidReasons); diff != "" {
				t.Errorf("reasons (-want +got):\n%s", diff)
			}
			if got.Valid != (tt.want == nil) || got.Reference.Agrees != got.Valid {
				t.Errorf("valid %t, agrees %t", got.Valid, got.Reference.Agrees)
			}
		})
	}
}

// A disagreement about how much was lost is no way out of a loss that both have seen. (Seen:
// 3,622 of 5,000 against 119 of 250, three times, and no FAIL.)
func TestADisagreementAboutLossesDiscardsNone(t *testing.T) {
	gate := func(metric, op string, limit float64) []record.Gate {
		return []record.Gate{{Design: "good", Metric: "breaches", Op: "<=", Limit: 0}, {Design: "good", Metric: metric, Op: op, Limit: limit}}
	}
	both := func(d *record.TrialData) { // 28 % and 53 % of the window
		fail(d, 6*s, 8800*ms)
		spoil(d.Reference, "get", 9*s, 14*s, 1)
	}
	onlyLoad := func(d *record.TrialData) {
		for i := range 3000 {
			d.Samples[6000+i].Class = record.Reset
		}
	}
	onlyReference := func(d *record.TrialData) { spoil(d.Reference, "get", 6*s, 14*s, 1) }
	for _, tt := range []struct {
		name  string
		make  func(d *record.TrialData)
		gates []record.Gate
		valid bool
	}{
		{"both miss a rate", both, gate("success_rate", ">=", 0.999), true},
		{"both miss a count", both, gate("failed", "<=", 0), true},
		{"both miss a downtime", both, gate("downtime", "<=", 100), true},
		{"both miss it, by trouble of the harness", func(d *record.TrialData) { both(d); lose(d, 6*s, 8800*ms, record.Harness) }, gate("failed", "<=", 0), false},
		{"no gate at all", both, nil, false},
		{"a gate that neither misses", both, gate("success_rate", ">=", 0.4), false},
		{"a rate that only one misses", both, gate("success_rate", ">=", 0.6), false},
		{"a count that only one misses", both, gate("failed", "<=", 3500), false},
		{"a downtime that only one misses", both, gate("downtime", "<=", 3500), false},
		{"a gate that asks for losses", both, gate("success_rate", "<=", 0.999), false},
		{"a limit on something else", both, gate("convergence", "<=", 1), false},
		{"only the load saw losses", onlyLoad, gate("failed", "<=", 0), false},
		{"only the reference client did", onlyReference, gate("failed", "<=", 0), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := rollout()
			tt.make(d)
			d.Gates = tt.gates
			got := Measure(d)
			if got.Reference.Agrees {
				t.Fatalf("load and reference client agree: %d of %d, %+v", got.OK, got.Planned, got.Reference)
			}
			if got.Valid != tt.valid || len(got.Remarks) > 0 != tt.valid || tt.valid && got.Remarks[0].Kind != ReferenceDiffers {
				t.Errorf("valid %t, want %t: %v, remarks %v", got.Valid, tt.valid, got.InvalidReasons, got.Remarks)
			}
			want := Inconclusive
			if tt.valid {
				want = Fail
			}
			if r := Judge(described(tt.gates...), ended, nil, []Trial{result("bad", 1, 3000), got}); r.Verdict != want && tt.gates != nil {
				t.Errorf("verdict %s, want %s: %v", r.Verdict, want, r.Reasons)
			}
		})
	}
}

// How often two clients that sample the same service are said to disagree: with five streams
// no more than the constant promises.
func TestHowOftenTheReferenceClientDisagreesByChance(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	binomial := func(n uint64, p float64) (ok uint64) {
		for range n {
			if random.Float64() < p {
				ok++
			}
		}
		return ok
	}
	const trials, streams = 1500, 5
	for _, p := range []float64{0.5, 0.9, 0.99, 0.999} {
		alarms := 0
		for range trials {
			var of, load Tally
			alarm := false
			for range streams {
				r, l := Tally{binomial(50, p), 50}, Tally{binomial(500, p), 500}
				of, load = Tally{of.N + r.N, of.Of + r.Of}, Tally{load.N + l.N, load.Of + l.Of}
				_, _, ok := agree(r, l, referenceAlpha/streams)
				alarm = alarm || !ok
			}
			if _, _, ok := agree(of, load, referenceAlpha); !ok || alarm {
				alarms++
			}
		}
		if most := trials * 8 * referenceAlpha; float64(alarms) > math.Floor(most) {
			t.Errorf("%v ok: %d of %d trials disagree by chance, more than %.1f", p, alarms, trials, most)
		}
		t.Logf("%v ok: %d of %d disagree by chance", p, alarms, trials)
	}
}

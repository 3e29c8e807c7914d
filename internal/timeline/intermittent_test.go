package timeline

import (
	"testing"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

// every makes each n-th hit of a span fail, answered by an instance.
func every(n uint64, span Span) func(uint64, *record.Sample) bool {
	return func(k uint64, smp *record.Sample) bool {
		smp.Instance = "good"
		if k%n == 0 && span.Holds(smp.Intended) {
			smp.Class, smp.Instance = record.HTTPStatus(503), "bad"
		}
		return true
	}
}

// One dead instance of ten and one of eleven are the same trouble, whatever an outage is.
func TestIntermittent(t *testing.T) {
	window := Span{From: 2 * s, To: 14 * s}
	for _, tc := range []struct {
		name string
		fate func(uint64, *record.Sample) bool
		want Intermittent
	}{
		{"nothing failed", nil, Intermittent{}},
		{"one of ten", every(10, Span{From: 4 * s, To: 14 * s}), Intermittent{9990 * ms, 10 * ms, 9991, 1000, 1}},
		{"one of eleven", every(11, Span{From: 4 * s, To: 14 * s}), Intermittent{9988 * ms, 11 * ms, 9989, 909, 1}},
		{"one of two", every(2, Span{From: 4 * s, To: 14 * s}), Intermittent{9998 * ms, 2 * ms, 9999, 5000, 1}},
		{"up to the end of the window", every(10, Span{From: 4 * s, To: 20 * s}), Intermittent{9990 * ms, 10 * ms, 9991, 1000, 1}},
		{"an outage", failing(Span{From: 4 * s, To: 9 * s}), Intermittent{}},
		{"three outages", failing(Span{From: 4 * s, To: 4100 * ms}, Span{From: 5 * s, To: 5100 * ms}, Span{From: 5900 * ms, To: 6 * s}), Intermittent{}},
		{"three single ones", failing(Span{From: 4 * s, To: 4001 * ms}, Span{From: 5 * s, To: 5001 * ms}, Span{From: 6 * s, To: 6001 * ms}), Intermittent{2 * s, s, 2001, 3, 0}},
		{"too far apart", failing(Span{From: 4 * s, To: 4001 * ms}, Span{From: 5 * s, To: 5001 * ms}, Span{From: 6001 * ms, To: 6002 * ms}), Intermittent{}},
		{"for less than a second", every(10, Span{From: 4 * s, To: 4900 * ms}), Intermittent{}},
		{"nine in a row are none yet", failing(Span{From: 4 * s, To: 4009 * ms}, Span{From: 4500 * ms, To: 4501 * ms}, Span{From: 5 * s, To: 5001 * ms}), Intermittent{s, 500 * ms, 1001, 11, 0}},
		{"an outage between", failing(Span{From: 4 * s, To: 4001 * ms}, Span{From: 4900 * ms, To: 4910 * ms}, Span{From: 5500 * ms, To: 5501 * ms}, Span{From: 6 * s, To: 6001 * ms}), Intermittent{}},
	} {
		if got := IntermittentIn(trial(20*s, tc.fate), window); got != tc.want {
			t.Errorf("%s: %+v, want %+v", tc.name, got, tc.want)
		}
	}
	// One of eleven at 5 a second comes every 2.2 s.
	d := atRate(5)
	for i := range d.Samples {
		if i%11 == 0 {
			d.Samples[i].Class = record.Reset
		}
	}
	if got := IntermittentIn(d, Span{To: 20 * s}); got.Failures != 9 || got.Period != 2200*ms {
		t.Errorf("at a low rate: %+v, want 9 failures every 2.2s", got)
	}
}

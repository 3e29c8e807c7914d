package timeline

import (
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

func TestStandstill(t *testing.T) {
	all := Span{To: 10 * s}
	hang := func(from, to time.Duration) func(uint64, *record.Sample) bool {
		return func(_ uint64, smp *record.Sample) bool {
			if smp.Intended >= from && smp.Intended < to {
				smp.Done = to
			}
			return true
		}
	}
	slow := trial(10*s, nil) // one request a second
	slow.Trial.Rate, slow.Trial.Planned, slow.Samples = 1, 10, nil
	for k := range uint64(10) {
		at := time.Duration(k+1) * s
		slow.Samples = append(slow.Samples, record.Sample{Seq: k, Intended: at, Sent: at, Done: at + 2*ms, Class: record.OK})
	}
	timeouts := failing(Span{From: 2 * s, To: 5 * s})
	for _, tc := range []struct {
		name   string
		d      *record.TrialData
		window Span
		want   time.Duration
	}{
		{"all answered", trial(10*s, nil), all, 2 * ms},
		// The last answer before came at 1.001 s, of the request at 0.999 s.
		{"all hang, and are answered in time", trial(10*s, hang(s, 2400*ms)), all, 1399 * ms},
		{"all refused", trial(10*s, failing(Span{From: s, To: 4 * s})), all, 3001 * ms},
		{"none sent", trial(10*s, func(_ uint64, smp *record.Sample) bool { return smp.Intended < s || smp.Intended >= 4*s }), all, 3001 * ms},
		{"every other one answered", trial(10*s, func(k uint64, smp *record.Sample) bool {
			if k%2 == 0 {
				smp.Class, smp.Done = record.Timeout, smp.Intended+2*s
			}
			return true
		}), all, 3 * ms},
		{"an error page is an answer", trial(10*s, func(_ uint64, smp *record.Sample) bool { smp.Class = record.HTTPStatus(503); return true }), all, 2 * ms},
		{"seldom asked", slow, all, 2 * ms},
		{"to the end of the load", trial(10*s, failing(Span{From: 8 * s, To: 20 * s})), all, 10*s + 2*ms - 8001*ms},
		{"begun before the window", trial(10*s, timeouts), Span{From: 3 * s, To: 9 * s}, 5002*ms - 3*s},
		{"over before the window", trial(10*s, timeouts), Span{From: 6 * s, To: 9 * s}, ms},
		{"begun in the window", trial(10*s, timeouts), Span{From: s, To: 3 * s}, 3001 * ms},
		{"no load", &record.TrialData{}, all, 0},
	} {
		if got := Standstill(tc.d, tc.window); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
	for _, class := range []record.Class{record.Refused, record.Reset, record.Timeout, record.Truncated, record.EOF, record.DNS, record.Harness, record.Other} {
		d := trial(10*s, failing(Span{From: s, To: 4 * s}))
		for i := range d.Samples {
			if smp := &d.Samples[i]; smp.Class != record.OK {
				smp.Class = class
			}
		}
		if got := Standstill(d, all); got != 3001*ms {
			t.Errorf("3 s of %s: %v, want 3.001s", class, got)
		}
	}
}

package judge

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/internal/timeline"
)

// pressed adds readings every 100 ms to a trial: share of the time some task waits for a CPU
// between from and to, and a tenth of it otherwise.
func pressed(d *record.TrialData, from, to time.Duration, share float64) {
	waited := 77 * time.Hour // since the machine's start
	for at := time.Duration(0); at <= 20*s; at += 100 * ms {
		d.Pressure = append(d.Pressure, record.Pressure{At: at, Waited: waited})
		if at >= from && at < to {
			waited += time.Duration(share * float64(100*ms))
		} else {
			waited += 10 * ms
		}
	}
}

// lose makes the requests that are due within a span fail.
func lose(d *record.TrialData, from, to time.Duration, class record.Class) {
	for i := range d.Samples {
		if x := &d.Samples[i]; x.Intended >= from && x.Intended < to {
			x.Class, x.Status = class, 0
		}
	}
	for i := range d.Reference {
		if x := &d.Reference[i]; x.Intended >= from && x.Intended < to {
			x.Class, x.Status = record.Other, 0
		}
	}
}

func TestSaturation(t *testing.T) {
	timeouts := func(d *record.TrialData) { lose(d, 8*s, 8200*ms, record.Timeout) }
	for _, tt := range []struct {
		name string
		make func(d *record.TrialData)
		want []Reason
	}{
		{"losses under pressure", func(d *record.TrialData) { timeouts(d); pressed(d, 7*s, 9*s, 0.9) },
			[]Reason{{Kind: MachineSaturated, Tally: Tally{200, 200}, Time: 2200 * ms}}},
		{"losses just before it, still under way", func(d *record.TrialData) {
			lose(d, 8*s, 8100*ms, record.Timeout)
			for i := range d.Samples {
				if x := &d.Samples[i]; x.Class == record.Timeout {
					x.Done = x.Intended + 2*s
				}
			}
			pressed(d, 9*s, 11*s, 1)
		}, []Reason{{Kind: MachineSaturated, Tally: Tally{100, 100}, Time: 2400 * ms}}},
		{"less pressure", func(d *record.TrialData) { timeouts(d); pressed(d, 0, 20*s, 0.75) }, nil},
		{"a short time of it", func(d *record.TrialData) { timeouts(d); pressed(d, 8*s, 8600*ms, 1) }, nil},
		{"elsewhere", func(d *record.TrialData) { timeouts(d); pressed(d, 10*s, 12*s, 1) }, nil},
		{"before the window", func(d *record.TrialData) { timeouts(d); pressed(d, s, 3*s, 1) }, nil},
		{"nothing lost", func(d *record.TrialData) { pressed(d, 0, 20*s, 1) }, nil},
		{"nothing known", timeouts, nil},
		{"what the scenario is about", func(d *record.TrialData) {
			timeouts(d)
			pressed(d, 7*s, 9*s, 1)
			d.Trial.AllowSaturation = true
		}, nil},
		{"answers, which no wait explains", func(d *record.TrialData) { lose(d, 8*s, 8200*ms, "http_503"); pressed(d, 7*s, 9*s, 1) }, nil},
		{"refusals, which none explains either", func(d *record.TrialData) { lose(d, 8*s, 8200*ms, record.Refused); pressed(d, 7*s, 9*s, 1) }, nil},
		{"mostly refusals", func(d *record.TrialData) {
			lose(d, 8*s, 8200*ms, record.Refused)
			lose(d, 8200*ms, 8300*ms, record.Timeout)
			pressed(d, 7*s, 9*s, 1)
		}, nil},
		{"a gap in the readings", func(d *record.TrialData) {
			timeouts(d)
			pressed(d, 7*s, 9*s, 1)
			d.Pressure = []record.Pressure{d.Pressure[70], d.Pressure[95]}
		}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := rollout()
			tt.make(d)
			m := Measure(d)
			var got []Reason
			for _, r := range m.InvalidReasons {
				if r.Kind == MachineSaturated {
					got = append(got, r)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("reasons (-want +got):\n%s", diff)
			}
			if len(tt.want) > 0 && m.Valid {
				t.Error("the trial is valid")
			}
		})
	}
}

func TestSaturatedStretches(t *testing.T) {
	d := &record.TrialData{}
	pressed(d, 5*s, 8*s, 1)
	window := timeline.Span{From: 4 * s, To: 14 * s}
	// A second of 80 % has some of the calm before and behind it.
	want := []timeline.Span{{From: 4800 * ms, To: 8200 * ms}}
	if diff := cmp.Diff(want, saturated(d.Pressure, window)); diff != "" {
		t.Errorf("spans (-want +got):\n%s", diff)
	}
	if got := pressure(d.Pressure, window); got == nil || *got != 1 {
		t.Errorf("pressure %v, want 1", got)
	}
	if got := pressure(d.Pressure, timeline.Span{From: 10 * s, To: 14 * s}); got == nil || *got < 0.0999 || *got > 0.1001 {
		t.Errorf("pressure %v in a calm window, want 0.1", got)
	}
	if got := pressure(nil, window); got != nil {
		t.Errorf("pressure %v where nothing is known", *got)
	}
}

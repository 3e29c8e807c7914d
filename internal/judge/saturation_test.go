package judge

import (
	"cmp"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/internal/timeline"
)

// pressed adds readings every 100 ms to a trial: share of the time some task waits for a CPU
// between from and to, and a tenth of it otherwise.
func pressed(d *record.TrialData, from, to time.Duration, share float64) {
	d.Trial.Pressure.Waited = "/proc/pressure/cpu"
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
			[]Reason{{Kind: MachineSaturated, Tally: Tally{200, 200}, Time: 2200 * ms, Value: 500}}},
		{"losses just before it, still under way", func(d *record.TrialData) {
			lose(d, 8*s, 8100*ms, record.Timeout)
			for i := range d.Samples {
				if x := &d.Samples[i]; x.Class == record.Timeout {
					x.Done = x.Intended + 2*s
				}
			}
			pressed(d, 9*s, 11*s, 1)
		}, []Reason{{Kind: MachineSaturated, Tally: Tally{100, 100}, Time: 2400 * ms, Value: 500}}},
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
			if diff := gocmp.Diff(tt.want, got); diff != "" {
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
	if diff := gocmp.Diff(want, saturated(d, window)); diff != "" {
		t.Errorf("spans (-want +got):\n%s", diff)
	}
	if got := pressure(d, window); got == nil || *got != 1 {
		t.Errorf("pressure %v, want 1", got)
	}
	if got := pressure(d, timeline.Span{From: 10 * s, To: 14 * s}); got == nil || *got < 0.0999 || *got > 0.1001 {
		t.Errorf("pressure %v in a calm window, want 0.1", got)
	}
	if got := pressure(&record.TrialData{}, window); got != nil {
		t.Errorf("pressure %v where nothing is known", *got)
	}
}

// A task that waits while CPUs are idle waits for what it may have of them, as under a limit or
// a fault that takes CPU time away: the machine is not to blame.
func TestWaitingForALimitIsNoSaturation(t *testing.T) {
	window := timeline.Span{From: 4 * s, To: 14 * s}
	for name, tt := range map[string]struct {
		idle func(*record.TrialData)
		want int
	}{
		"nothing is idle":      {func(d *record.TrialData) { idling(d, 0) }, 1},
		"as good as nothing":   {func(d *record.TrialData) { idling(d, 0.2) }, 1},
		"half of them is idle": {func(d *record.TrialData) { idling(d, 0.5) }, 0},
		"nobody tells": {func(d *record.TrialData) {
			idling(d, 0.5)
			d.Trial.Pressure.Idle = ""
		}, 1},
	} {
		d := rollout()
		pressed(d, 5*s, 8*s, 1)
		tt.idle(d)
		if got := saturated(d, window); len(got) != tt.want {
			t.Errorf("%s: saturated in %v, want %d stretches", name, got, tt.want)
		}
		if got := pressure(d, window); got == nil || *got != 1 {
			t.Errorf("%s: pressure %v, want 1: it is what it is", name, got)
		}
	}
}

// Where the system tells how idle the CPUs are and not how long tasks wait, nobody is said to have
// waited for no time.
func TestReadingsThatTellOnlyHalf(t *testing.T) {
	d := rollout()
	pressed(d, 7*s, 9*s, 1)
	d.Trial.Pressure.Waited = ""
	if got := Measure(d); got.Pressure != nil || len(got.Timeline.Pressure) > 0 {
		t.Errorf("pressure %v, %d stretches of it; want none", *got.Pressure, len(got.Timeline.Pressure))
	}
}

// idling makes the CPUs idle for so much of the time.
func idling(d *record.TrialData, share float64) {
	d.Trial.Pressure.Idle = "/proc/stat"
	for i := range d.Pressure {
		d.Pressure[i].Idle = 9*time.Hour + time.Duration(share*float64(d.Pressure[i].At))
	}
}

// What a saturated machine does not explain counts: where it misses a gate by itself, the trial
// is a failure, however much more was lost to the saturation.
func TestSaturationHidesNoFailure(t *testing.T) {
	gates := func(metric, op string, limit float64) []record.Gate {
		return []record.Gate{{Design: "good", Metric: "breaches", Op: "<=", Limit: 0}, {Design: "good", Metric: metric, Op: op, Limit: limit}}
	}
	starve := func(d *record.TrialData) { lose(d, 8*s, 9*s, record.Timeout); pressed(d, 7*s, 9500*ms, 1) }
	with := func(from, to time.Duration, class record.Class) func(d *record.TrialData) {
		return func(d *record.TrialData) { starve(d); lose(d, from, to, class) }
	}
	const counts, excused = true, false
	for _, tt := range []struct {
		name  string
		make  func(d *record.TrialData)
		gates []record.Gate
		want  bool
	}{
		{"nothing else", starve, gates("failed", "<=", 0), excused},
		{"refused meanwhile", with(8500*ms, 8501*ms, record.Refused), gates("failed", "<=", 0), counts},
		{"answered wrongly meanwhile", with(8500*ms, 8501*ms, record.HTTPStatus(503)), gates("failed", "<=", 0), counts},
		{"another body meanwhile", with(8500*ms, 8501*ms, record.WrongBody), gates("failed", "<=", 0), counts},
		{"timed out before it", with(5*s, 5001*ms, record.Timeout), gates("failed", "<=", 0), counts},
		{"timed out behind it", with(11*s, 11001*ms, record.Timeout), gates("failed", "<=", 0), counts},
		{"reset behind it", with(11*s, 11001*ms, record.Reset), gates("failed", "<=", 0), counts},
		{"some, and the gate allows as many", with(11*s, 11010*ms, record.Refused), gates("failed", "<=", 10), excused},
		{"some, and the gate allows one less", with(11*s, 11010*ms, record.Refused), gates("failed", "<=", 9), counts},
		{"some, which the rate allows", with(11*s, 11009*ms, record.Refused), gates("success_rate", ">=", 0.999), excused},
		{"some, which the rate does not allow", with(11*s, 11200*ms, record.Refused), gates("success_rate", ">=", 0.999), counts},
		{"a downtime that is allowed", with(11*s, 11200*ms, record.Refused), gates("downtime", "<=", 200), excused},
		{"a downtime that is not", with(11*s, 11200*ms, record.Refused), gates("downtime", "<=", 199), counts},
		{"an outage that is as long as allowed", with(11*s, 11200*ms, record.Refused), gates("longest_outage", "<=", 200), excused},
		{"an outage that is longer", with(11*s, 11200*ms, record.Refused), gates("longest_outage", "<=", 199), counts},
		{"a recovery in time", with(8100*ms, 8300*ms, record.Refused), gates("recovery", "<=", 4300), excused},
		{"a recovery too late", with(11*s, 11200*ms, record.Refused), gates("recovery", "<=", 4300), counts},
		{"a late recovery from saturation alone", starve, gates("recovery", "<=", 100), excused},
		{"a gate on no loss", with(11*s, 11200*ms, record.Refused), gates("convergence", "<=", 1), excused},
		{"a gate that asks for losses", with(11*s, 11200*ms, record.Refused), gates("downtime", ">=", 9000), excused},
		{"no gate, and the smaller part is other", with(11*s, 11900*ms, record.Refused), nil, excused},
		{"no gate, and the larger part is other", with(11*s, 12100*ms, record.Refused), nil, counts},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := rollout()
			tt.make(d)
			d.Gates = tt.gates
			before := len(d.Samples)
			got := Measure(d)
			if got.Valid != tt.want {
				t.Errorf("valid %t, want %t: %v, remarks %v", got.Valid, tt.want, got.InvalidReasons, got.Remarks)
			}
			said := slices.ContainsFunc(got.Remarks, func(r Reason) bool { return r.Kind == SaturatedBesides && r.Of == got.Failed && r.N < r.Of })
			if said != (tt.want && tt.gates != nil) {
				t.Errorf("remarks %v", got.Remarks)
			}
			if got.Failed < 1000 || len(d.Samples) != before {
				t.Errorf("%d lost of %d samples: those that were lost to saturation must stay lost", got.Failed, len(d.Samples))
			}
			if tt.gates == nil {
				return
			}
			want := Inconclusive
			if tt.want {
				want = Fail
			}
			if r := Judge(described(tt.gates...), ended, nil, []Trial{result("bad", 1, 3000), got}); r.Verdict != want {
				t.Errorf("verdict %s, want %s: %v", r.Verdict, want, r.Reasons)
			}
		})
	}
}

// A request that the action cut and that then starved is one of those that the trial lost.
func TestWhatTheActionCutMayStarve(t *testing.T) {
	d := rollout()
	for i := range d.Samples {
		if x := &d.Samples[i]; x.Intended >= 3990*ms && x.Intended < 4*s {
			x.Class, x.Status, x.Done = record.Timeout, 0, x.Intended+2*s
		}
	}
	pressed(d, 4*s, 6*s, 1)
	d.Gates = []record.Gate{{Design: "good", Metric: "failed", Op: "<="}}
	if got := Measure(d); got.Failed != 10 || got.Valid || got.InvalidReasons[0].N != 10 {
		t.Errorf("%d failed, valid %t: %v", got.Failed, got.Valid, got.InvalidReasons)
	}
}

// A baseline phase that leaves little of the machine is said, with the rate that would do.
func TestTheBaselinePhaseMustLeaveCPUIdle(t *testing.T) {
	for _, tt := range []struct {
		name string
		make func(d *record.TrialData)
		idle float64 // -1 where unknown
		rate float64 // 0 where nothing is said
	}{
		{"enough", func(d *record.TrialData) { idling(d, 0.31) }, 0.31, 0},
		{"too little", func(d *record.TrialData) { idling(d, 0.125) }, 0.125, 800},
		{"nothing", func(d *record.TrialData) { idling(d, 0) }, 0, 700},
		{"where that is the question", func(d *record.TrialData) { idling(d, 0.125); d.Trial.AllowSaturation = true }, 0.125, 0},
		{"not told", func(d *record.TrialData) { idling(d, 0.125); d.Trial.Pressure.Idle = "" }, -1, 0},
		{"told of a third of the phase", func(d *record.TrialData) { idling(d, 0.125); d.Pressure = d.Pressure[30:] }, -1, 0},
		{"told once", func(d *record.TrialData) { idling(d, 0.125); d.Pressure = d.Pressure[20:21] }, -1, 0},
	} {
		d := rollout()
		pressed(d, 0, 0, 0)
		tt.make(d)
		got := Measure(d)
		share := -1.0
		if got.Idle != nil {
			share = *got.Idle
		}
		if share < tt.idle-1e-9 || share > tt.idle+1e-9 || !got.Valid {
			t.Errorf("%s: idle %v, want %v; valid %t", tt.name, share, tt.idle, got.Valid)
		}
		rate := 0.0
		for _, r := range got.Remarks {
			if r.Kind == LittleIdle {
				rate = r.Value
			}
		}
		if rate < tt.rate-1e-6 || rate > tt.rate+1e-6 {
			t.Errorf("%s: a rate of %v would do, want %v", tt.name, rate, tt.rate)
		}
		lose(d, 8*s, 9*s, record.Timeout)
		d.Pressure = nil
		pressed(d, 7*s, 9500*ms, 1)
		tt.make(d)
		for _, r := range Measure(d).InvalidReasons {
			if want := cmp.Or(tt.rate, 500); r.Kind == MachineSaturated && (r.Value < want-1e-6 || r.Value > want+1e-6) {
				t.Errorf("%s: saturated, a rate of %v would do, want %v", tt.name, r.Value, want)
			}
		}
	}
}

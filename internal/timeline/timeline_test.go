package timeline

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

const (
	ms = time.Millisecond
	s  = time.Second
)

// trial is a trial of the given length at 1,000 hits a second, all served in 2 ms but for
// those that fate makes something else of; fate returning false leaves the hit unsent.
func trial(length time.Duration, fate func(seq uint64, s *record.Sample) bool) *record.TrialData {
	d := &record.TrialData{Trial: record.Trial{
		Action: "rollout", Rate: 1000, Planned: uint64(length / ms), LoadTo: length,
		WindowTo: length, ProbeEvery: 50 * ms,
	}}
	for k := range d.Trial.Planned {
		at := time.Duration(k+1) * ms
		smp := record.Sample{Seq: k, Expect: record.Serve, Intended: at, Sent: at, Done: at + 2*ms, Class: record.OK, Status: 200}
		if fate == nil || fate(k, &smp) {
			d.Samples = append(d.Samples, smp)
		}
	}
	return d
}

// failing fails the hits intended in any of the spans.
func failing(spans ...Span) func(uint64, *record.Sample) bool {
	return func(_ uint64, smp *record.Sample) bool {
		for _, span := range spans {
			if span.Holds(smp.Intended) {
				smp.Class = record.Refused
			}
		}
		return true
	}
}

func TestHitsPlacesUnsentOnes(t *testing.T) {
	for _, tc := range []struct {
		name  string
		kept  []uint64
		shift time.Duration // of what was recorded against the plan
		want  []time.Duration
	}{
		{"all sent", []uint64{0, 1, 2, 3, 4}, 0, []time.Duration{1 * ms, 2 * ms, 3 * ms, 4 * ms, 5 * ms}},
		{"none sent", nil, 0, []time.Duration{1 * ms, 2 * ms, 3 * ms, 4 * ms, 5 * ms}},
		{"first missing", []uint64{2, 3, 4}, 0, []time.Duration{1 * ms, 2 * ms, 3 * ms, 4 * ms, 5 * ms}},
		{"gaps", []uint64{0, 3}, 7 * ms, []time.Duration{8 * ms, 9 * ms, 10 * ms, 11 * ms, 12 * ms}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := trial(5*ms, func(k uint64, smp *record.Sample) bool {
				smp.Intended += tc.shift
				return slices.Contains(tc.kept, k)
			})
			var got []time.Duration
			sent := 0
			for h := range Hits(d) {
				if h.Seq != uint64(len(got)) {
					t.Errorf("hit %d has the seq %d", len(got), h.Seq)
				}
				got = append(got, h.Intended)
				if h.OK() {
					sent++
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("intended (-want +got):\n%s", diff)
			}
			if sent != len(tc.kept) {
				t.Errorf("%d hits ok, want %d", sent, len(tc.kept))
			}
		})
	}
}

func TestBins(t *testing.T) {
	d := trial(300*ms, func(k uint64, smp *record.Sample) bool {
		switch {
		case k == 110: // unsent
			return false
		case k >= 120 && k < 130:
			smp.Class, smp.Status = record.HTTPStatus(403), 403
		case k == 130: // must be denied, and is
			smp.Expect, smp.Status = record.Deny, 403
		case k >= 199:
			smp.Done = smp.Intended + 10*ms
		}
		return true
	})
	got := Bins(d, Load(d), 100*ms)
	want := []Bin{
		{From: 0, Planned: 99, OK: 99, P50: 2 * ms, P99: 2 * ms},
		{From: 100 * ms, Planned: 100, OK: 89, Failed: 11, Denied: 10, P50: 2 * ms, P99: 2 * ms},
		{From: 200 * ms, Planned: 101, OK: 101, P50: 10 * ms, P99: 10 * ms}, // the last hit is due at the end
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("bins (-want +got):\n%s", diff)
	}
}

// TestBinsSumToThePlan: whatever is lost, late or failed, and whatever the width, every
// planned hit is in exactly one bin.
func TestBinsSumToThePlan(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	for range 50 {
		d := trial(time.Duration(1+rng.IntN(2000))*ms, func(_ uint64, smp *record.Sample) bool {
			if rng.IntN(3) == 0 {
				smp.Class = record.Reset
			}
			return rng.IntN(5) > 0
		})
		failed := int(d.Trial.Planned)
		for i := range d.Samples {
			if d.Samples[i].Class == record.OK {
				failed--
			}
		}
		for _, width := range append(Widths, 7*ms) {
			var sum Bin
			for _, b := range Bins(d, Load(d), width) {
				if b.OK+b.Failed != b.Planned {
					t.Fatalf("bin %+v does not add up", b)
				}
				sum.Planned += b.Planned
				sum.Failed += b.Failed
			}
			if sum.Planned != int(d.Trial.Planned) || sum.Failed != failed {
				t.Errorf("width %v: planned %d, failed %d; want %d, %d", width, sum.Planned, sum.Failed, d.Trial.Planned, failed)
			}
		}
	}
}

func TestPercentile(t *testing.T) {
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(i + 1)
	}
	for _, tc := range []struct {
		name   string
		values []time.Duration
		p      float64
		want   time.Duration
	}{
		{"none", nil, 0.5, 0},
		{"one", []time.Duration{7}, 0.99, 7},
		{"median of two is the lower", []time.Duration{1, 9}, 0.5, 1},
		{"p50", hundred, 0.50, 50},
		{"p99", hundred, 0.99, 99},
		{"p99.9", hundred, 0.999, 100},
		{"p0", hundred, 0, 1},
		{"p100", hundred, 1, 100},
	} {
		if got := Percentile(tc.values, tc.p); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

func TestOutages(t *testing.T) {
	for _, tc := range []struct {
		name   string
		fate   func(uint64, *record.Sample) bool
		window Span
		want   []Outage
	}{
		{"none", nil, Span{To: s}, nil},
		{
			"one, with its bracket", failing(Span{From: 100 * ms, To: 150 * ms}), Span{To: s},
			[]Outage{{From: 100 * ms, To: 150 * ms, LastOK: 99 * ms, Failures: 50}},
		},
		{
			"nine successes do not end it", failing(Span{From: 100 * ms, To: 101 * ms}, Span{From: 110 * ms, To: 111 * ms}), Span{To: s},
			[]Outage{{From: 100 * ms, To: 111 * ms, LastOK: 99 * ms, Failures: 2}},
		},
		{
			"ten successes end it", failing(Span{From: 100 * ms, To: 101 * ms}, Span{From: 111 * ms, To: 112 * ms}), Span{To: s},
			[]Outage{
				{From: 100 * ms, To: 101 * ms, LastOK: 99 * ms, Failures: 1},
				{From: 111 * ms, To: 112 * ms, LastOK: 110 * ms, Failures: 1},
			},
		},
		{
			"from the first hit on", failing(Span{To: 3 * ms}), Span{To: s},
			[]Outage{{From: 1 * ms, To: 3 * ms, LastOK: -1, Failures: 2}},
		},
		{
			"to the end of the load", failing(Span{From: 900 * ms, To: 2 * s}), Span{To: s},
			[]Outage{{From: 900 * ms, To: s, LastOK: 899 * ms, Failures: 101, Open: true}},
		},
		{
			"nine successes before the end leave it open", failing(Span{From: 990 * ms, To: 992 * ms}), Span{To: s},
			[]Outage{{From: 990 * ms, To: s, LastOK: 989 * ms, Failures: 2, Open: true}},
		},
		{
			"followed past the window", failing(Span{From: 450 * ms, To: 600 * ms}), Span{From: 200 * ms, To: 500 * ms},
			[]Outage{{From: 450 * ms, To: 600 * ms, LastOK: 449 * ms, Failures: 150}},
		},
		{"not begun outside the window", failing(Span{From: 100 * ms, To: 110 * ms}, Span{From: 700 * ms, To: 710 * ms}), Span{From: 200 * ms, To: 500 * ms}, nil},
		{
			"under way when the window begins", failing(Span{From: 100 * ms, To: 300 * ms}), Span{From: 200 * ms, To: 500 * ms},
			[]Outage{{From: 200 * ms, To: 300 * ms, LastOK: 99 * ms, Failures: 100}},
		},
		{
			"unsent hits are failures", func(k uint64, _ *record.Sample) bool { return k != 499 }, Span{To: s},
			[]Outage{{From: 500 * ms, To: 501 * ms, LastOK: 499 * ms, Failures: 1}},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := Outages(trial(s, tc.fate), tc.window)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("outages (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBelow(t *testing.T) {
	// 100 ms dead, then 100 ms with one failure, then fine.
	d := trial(s, failing(Span{From: 200 * ms, To: 300 * ms}, Span{From: 350 * ms, To: 352 * ms}))
	for _, tc := range []struct {
		name  string
		span  Span
		width time.Duration
		share float64
		want  time.Duration
	}{
		{"down at 100 ms", Span{To: s}, 100 * ms, 0.5, 100 * ms},
		{"degraded at 100 ms", Span{To: s}, 100 * ms, 0.99, 200 * ms},
		{"down at 10 ms", Span{To: s}, 10 * ms, 0.5, 100 * ms},
		{"degraded at 10 ms", Span{To: s}, 10 * ms, 0.99, 110 * ms},
		{"down at 1 s", Span{To: s}, s, 0.5, 0},
		{"degraded at 1 s", Span{To: s}, s, 0.99, s},
		{"a cut last bin", Span{From: 200 * ms, To: 260 * ms}, 100 * ms, 0.5, 60 * ms},
		{"anchored at the span", Span{From: 250 * ms, To: 350 * ms}, 100 * ms, 0.5, 0},
		{"empty span", Span{From: 250 * ms, To: 250 * ms}, 100 * ms, 0.5, 0},
		{"no planned hit in it", Span{From: 2 * s, To: 3 * s}, 100 * ms, 0.5, 0},
	} {
		if got := Below(d, tc.span, []time.Duration{tc.width}, []float64{tc.share})[0][0]; got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

// An outage is as long at a low rate: the time between two hits that failed is down as well.
func TestBelowAtALowRate(t *testing.T) {
	for _, rate := range []float64{1, 2, 3, 5, 7, 8, 10, 20, 300} {
		d := &record.TrialData{Trial: record.Trial{Rate: rate, Planned: uint64(30 * rate), LoadTo: 30 * s}}
		for k := range d.Trial.Planned {
			at := time.Duration(math.Round(float64(k+1) / rate * float64(s)))
			smp := record.Sample{Seq: k, Intended: at, Sent: at, Done: at + ms, Class: record.OK}
			if at > 10*s && at <= 20*s {
				smp.Class = record.Refused
			}
			d.Samples = append(d.Samples, smp)
		}
		for i, below := range Below(d, Span{From: 5*s + 50*ms, To: 25*s + 50*ms}, Widths, []float64{0.5, 0.99}) {
			for j, got := range below {
				if slack := Period(&d.Trial) + Widths[i]; got < 10*s-slack || got > 10*s+slack {
					t.Errorf("10 s of failures at %v a second, bins of %v, the share %d: %v", rate, Widths[i], j, got)
				}
			}
		}
	}
}

func TestRecovery(t *testing.T) {
	slow := func(from, to time.Duration, by time.Duration) func(uint64, *record.Sample) bool {
		return func(_ uint64, smp *record.Sample) bool {
			if (Span{From: from, To: to}).Holds(smp.Intended) {
				smp.Done = smp.Intended + by
			}
			return true
		}
	}
	for _, tc := range []struct {
		name     string
		length   time.Duration
		fate     func(uint64, *record.Sample) bool
		from     time.Duration
		baseline time.Duration
		want     time.Duration
		ok       bool
	}{
		{"nothing happened", 10 * s, nil, 2 * s, 2 * ms, 0, true},
		{"an outage", 15 * s, failing(Span{From: 3 * s, To: 4500 * ms}), 2 * s, 2 * ms, 2500 * ms, true},
		{"rounded up to the step", 15 * s, failing(Span{From: 3 * s, To: 4510 * ms}), 2 * s, 2 * ms, 2600 * ms, true},
		{"one failure in a second of a thousand is allowed", 10 * s, failing(Span{From: 4 * s, To: 4001 * ms}), 2 * s, 2 * ms, 0, true},
		{"two are not", 10 * s, failing(Span{From: 4 * s, To: 4002 * ms}), 2 * s, 2 * ms, 2100 * ms, true},
		{"five seconds must follow", 8 * s, failing(Span{From: 3 * s, To: 4 * s}), 2 * s, 2 * ms, 0, false},
		{"slow is not recovered", 15 * s, slow(3*s, 4*s, 20*ms), 2 * s, 2 * ms, 2 * s, true},
		{"what a machine's noise costs is not slow", 15 * s, slow(3*s, 4*s, 12*ms), 2 * s, 2 * ms, 0, true},
		{"calm for five seconds and then broken", 20 * s, failing(Span{From: 10 * s, To: 11 * s}), 2 * s, 2 * ms, 9 * s, true},
		{"broken at the end", 20 * s, failing(Span{From: 17 * s, To: 18 * s}), 2 * s, 2 * ms, 0, false},
		{"broken in the last step", 10 * s, failing(Span{From: 9990 * ms, To: 20 * s}), 2050 * ms, 2 * ms, 0, false},
		{"one and a half times the baseline is allowed", 10 * s, slow(3*s, 4*s, 60*ms), 2 * s, 40 * ms, 0, true},
		{"more is not", 15 * s, slow(3*s, 4*s, 60*ms+1), 2 * s, 40 * ms, 2 * s, true},
		{"ten slow ones of a second's thousand are allowed", 10 * s, slow(4*s, 4010*ms, 20*ms), 2 * s, 2 * ms, 0, true},
		{"eleven are not", 12 * s, slow(4*s, 4011*ms, 20*ms), 2 * s, 2 * ms, 2100 * ms, true},
		{"no baseline", 10 * s, nil, 2 * s, 0, 0, false},
		{"never", 10 * s, failing(Span{To: 20 * s}), 2 * s, 2 * ms, 0, false},
		{"behind the load", 3 * s, nil, 4 * s, 2 * ms, 0, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := trial(tc.length, tc.fate)
			if got, ok := LatencyRecovery(d, tc.from, tc.baseline); got != tc.want || ok != tc.ok {
				t.Errorf("of the latency: got %v, %v; want %v, %v", got, ok, tc.want, tc.ok)
			}
			// Success has recovered at once where nothing failed, and else as the latency has.
			want, ok := tc.want, tc.ok
			if lost := slices.ContainsFunc(d.Samples, func(s record.Sample) bool { return s.Class != record.OK }); !lost {
				want, ok = 0, tc.from < tc.length
			}
			if got, gotOK := Recovery(d, tc.from); got != want || gotOK != ok {
				t.Errorf("got %v, %v; want %v, %v", got, gotOK, want, ok)
			}
		})
	}
}

// atRate is a load of 20 s at a low rate, in which every hit intended within one of the spans
// fails.
func atRate(rate float64, spans ...Span) *record.TrialData {
	d := &record.TrialData{Trial: record.Trial{Rate: rate, LoadTo: 20 * s, Planned: uint64(20*rate) - 1}}
	for k := range d.Trial.Planned {
		at := time.Duration(float64(k+1) / rate * float64(s))
		sample := record.Sample{Seq: k, Intended: at, Sent: at, Done: at + ms, Class: record.OK}
		if slices.ContainsFunc(spans, func(span Span) bool { return span.Holds(at) }) {
			sample.Class = record.Reset
		}
		d.Samples = append(d.Samples, sample)
	}
	return d
}

// Ten seconds down are ten seconds down, however seldom somebody asks.
func TestBelowWhateverTheRounding(t *testing.T) {
	for _, rate := range []float64{0.5, 1, 2, 3, 5, 7, 8, 10, 15, 50} {
		d := atRate(rate, Span{From: 5 * s, To: 15 * s})
		for i, below := range Below(d, Span{From: 2 * s, To: 19 * s}, Widths, []float64{0.5}) {
			want, slack := 10*s, max(Widths[i], Period(&d.Trial))
			if got := below[0]; got < want-slack || got > want+slack {
				t.Errorf("at %v a second in bins of %v: down for %v, want %v", rate, Widths[i], got, want)
			}
		}
	}
}

// A whole second of successes ends an outage where ten of them take longer.
func TestOutagesAtALowRate(t *testing.T) {
	for _, tc := range []struct {
		rate float64
		want time.Duration
	}{{1, s}, {2, 500 * ms}, {5, 200 * ms}, {8, 125 * ms}, {20, 50 * ms}} {
		period := time.Duration(float64(s) / tc.rate)
		d := atRate(tc.rate, Span{From: 5 * s, To: 5*s + period}, Span{From: 10 * s, To: 10*s + period})
		got := Outages(d, Span{From: 2 * s, To: 19 * s})
		if len(got) != 2 || got[0].Len() != tc.want || got[1].Len() != tc.want || got[1].Open {
			t.Errorf("at %v a second: %+v, want two of %v", tc.rate, got, tc.want)
		}
	}
	// One of five, every second: it never lasts.
	d := atRate(5)
	for i := range d.Samples {
		if i%5 == 0 {
			d.Samples[i].Class = record.Reset
		}
	}
	if got := Outages(d, Span{From: 2 * s, To: 19 * s}); len(got) != 1 {
		t.Errorf("%d outages, want one", len(got))
	}
}

// At 50 requests a second one failure is 2 % of a second, and no p99 can be told.
func TestRecoveryAtALowRate(t *testing.T) {
	d := trial(400*ms, nil) // 400 hits, laid out at 50 a second
	d.Trial.Rate, d.Trial.LoadTo = 50, 8*s
	for i := range d.Samples {
		at := time.Duration(i+1) * 20 * ms
		d.Samples[i].Intended, d.Samples[i].Sent, d.Samples[i].Done = at, at, at+2*ms
	}
	if got, ok := Recovery(d, s); got != 0 || !ok {
		t.Errorf("nothing failed: %v, %v", got, ok)
	}
	d.Samples[74].Class = record.Reset // at 1.5 s
	if got, ok := Recovery(d, s); got != 600*ms || !ok {
		t.Errorf("one failed: %v, %v, want 600ms", got, ok)
	}
	if got, ok := LatencyRecovery(d, s, 2*ms); ok {
		t.Errorf("a p99 of 50 values was told: %v", got)
	}
}

func TestEmptyRecord(t *testing.T) {
	d := &record.TrialData{}
	if got := Build(d, Span{}); len(got.Bins) != 0 || len(got.Lanes) != 0 {
		t.Errorf("a picture of nothing: %+v", got)
	}
	unsent := trial(s, func(uint64, *record.Sample) bool { return false })
	for _, b := range Build(unsent, Span{To: s}).Bins {
		if b.Failed != b.Planned || b.Planned == 0 {
			t.Errorf("bin %+v, want all planned hits failed", b)
		}
	}
	if got := Outages(unsent, Span{To: s}); len(got) != 1 || got[0].Failures != 1000 || !got[0].Open || got[0].LastOK != -1 {
		t.Errorf("outages = %+v, want one open one of 1000", got)
	}
}

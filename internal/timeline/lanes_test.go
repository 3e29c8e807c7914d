package timeline

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

func event(at time.Duration, kind record.EventKind) record.Event {
	return record.Event{At: at, Kind: kind, Instance: "a", Revision: "v1"}
}

// probes are the results of probes of instance a, one letter each every 50 ms: + ok,
// - failed, space none.
func probes(from time.Duration, results string) (out []record.ProbeResult) {
	for i, r := range results {
		if r != ' ' {
			out = append(out, record.ProbeResult{At: from + time.Duration(i)*50*ms, Took: ms, Instance: "a", Revision: "v1", OK: r == '+'})
		}
	}
	return out
}

func spans(state State, from, to time.Duration) StateSpan {
	return StateSpan{Span: Span{From: from, To: to}, State: state}
}

func open(sp StateSpan) StateSpan { sp.Open = true; return sp }

func lane(t *testing.T, events []record.Event, results []record.ProbeResult) Lane {
	t.Helper()
	d := &record.TrialData{Trial: record.Trial{Action: "rollout", ProbeEvery: 50 * ms, LoadTo: s}, Events: events, Probes: results}
	lanes := Lanes(d, Span{From: 100 * ms, To: s})
	if len(lanes) != 1 {
		t.Fatalf("%d lanes, want 1", len(lanes))
	}
	return lanes[0]
}

func TestVerdict(t *testing.T) {
	for _, tc := range []struct {
		name   string
		events []record.Event
		want   []StateSpan
	}{
		{
			"a whole life", []record.Event{event(0, record.Started), event(100*ms, record.Ready), event(500*ms, record.Terminating), event(550*ms, record.Unready), event(900*ms, record.Gone)},
			[]StateSpan{spans(Starting, 0, 100*ms), spans(Ready, 100*ms, 550*ms), spans(Draining, 550*ms, 900*ms), open(spans(Gone, 900*ms, s))},
		},
		{
			"told of the stop at once", []record.Event{event(0, record.Ready), event(500*ms, record.Terminating), event(500*ms, record.Unready)},
			[]StateSpan{spans(Ready, 0, 500*ms), open(spans(Draining, 500*ms, s))},
		},
		{
			"gone without a warning", []record.Event{event(0, record.Ready), event(500*ms, record.Gone)},
			[]StateSpan{spans(Ready, 0, 500*ms), open(spans(Gone, 500*ms, s))},
		},
		{
			"unready for a while", []record.Event{event(0, record.Ready), event(200*ms, record.Unready), event(300*ms, record.Ready)},
			[]StateSpan{spans(Ready, 0, 200*ms), spans(Unready, 200*ms, 300*ms), open(spans(Ready, 300*ms, s))},
		},
		{
			"started again while routed to", []record.Event{event(0, record.Started), event(100*ms, record.Ready), event(400*ms, record.Started)},
			[]StateSpan{spans(Starting, 0, 100*ms), open(spans(Ready, 100*ms, s))},
		},
		{
			"a new life under the same name", []record.Event{event(0, record.Ready), event(100*ms, record.Gone), event(200*ms, record.Started)},
			[]StateSpan{spans(Ready, 0, 100*ms), spans(Gone, 100*ms, 200*ms), open(spans(Starting, 200*ms, s))},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, lane(t, tc.events, nil).Verdict); diff != "" {
				t.Errorf("verdict (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTruth(t *testing.T) {
	long := probes(0, "-")
	long[0].Took = 400 * ms
	for _, tc := range []struct {
		name    string
		results []record.ProbeResult
		want    []StateSpan
	}{
		{"none", nil, nil},
		{"steps at the probes", probes(0, "--++-"), []StateSpan{spans(NotServing, 0, 100*ms), spans(Serving, 100*ms, 200*ms), spans(NotServing, 200*ms, 350*ms)}},
		{"two missing are bridged", probes(0, "+  +"), []StateSpan{spans(Serving, 0, 300*ms)}},
		{"more are a gap", probes(0, "+     +"), []StateSpan{spans(Serving, 0, 150*ms), spans(Serving, 300*ms, 450*ms)}},
		{"a slow probe holds for as long as it took", long, []StateSpan{spans(NotServing, 0, 450*ms)}},
		{"to the end of the record", probes(950*ms, "+"), []StateSpan{open(spans(Serving, 950*ms, s))}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := lane(t, []record.Event{event(0, record.Started)}, tc.results).Truth
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("truth (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDrift(t *testing.T) {
	for _, tc := range []struct {
		name         string
		events       []record.Event
		results      string // from 0 on
		falseReady   []Span
		falseUnready []Span
		unknown      time.Duration // of the time that it was called ready, within 100 ms .. 1 s
	}{
		{
			"called ready too early", []record.Event{event(0, record.Started), event(100*ms, record.Ready)}, "------++++++++++++++",
			[]Span{{From: 100 * ms, To: 300 * ms}}, nil, 0,
		},
		{
			"called ready late", []record.Event{event(0, record.Started), event(500*ms, record.Ready)}, "----++++++++++++++++",
			nil, []Span{{From: 200 * ms, To: 500 * ms}}, 0,
		},
		{
			"a lame duck is no drift", []record.Event{event(0, record.Ready), event(200*ms, record.Terminating), event(250*ms, record.Unready), event(600*ms, record.Gone)}, "++++++++++++",
			nil, nil, 0,
		},
		{
			"dead but still routed to", []record.Event{event(0, record.Ready), event(200*ms, record.Terminating), event(500*ms, record.Unready)}, "+++++---------------",
			[]Span{{From: 250 * ms, To: 500 * ms}}, nil, 0,
		},
		{
			"unready while it serves", []record.Event{event(0, record.Ready), event(200*ms, record.Unready), event(400*ms, record.Ready)}, "++++++++++++++++++++",
			nil, []Span{{From: 200 * ms, To: 400 * ms}}, 0,
		},
		{
			"no probes, no claim", []record.Event{event(0, record.Ready)}, "",
			nil, nil, 900 * ms,
		},
		{
			"probes that end, no claim behind them", []record.Event{event(0, record.Ready)}, "--",
			[]Span{{From: 0, To: 200 * ms}}, nil, 800 * ms,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := lane(t, tc.events, probes(0, tc.results))
			if diff := cmp.Diff(tc.falseReady, l.FalseReady); diff != "" {
				t.Errorf("false ready (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.falseUnready, l.FalseUnready); diff != "" {
				t.Errorf("false unready (-want +got):\n%s", diff)
			}
			if _, unknown := l.InState(Ready, Span{From: 100 * ms, To: s}); unknown != tc.unknown {
				t.Errorf("unknown for %v, want %v", unknown, tc.unknown)
			}
		})
	}
}

func TestLanesTellTheActionsInstances(t *testing.T) {
	d := &record.TrialData{
		Trial: record.Trial{Action: "rollout", ProbeEvery: 50 * ms, LoadTo: s},
		Events: []record.Event{
			{At: -5 * s, Kind: record.Started, Instance: "old", Revision: "v1"},
			{At: 0, Kind: record.LoadStarted},
			{At: 100 * ms, Kind: record.ActionStarted},
			{At: 200 * ms, Kind: record.Started, Instance: "new", Revision: "v2"},
			{At: 900 * ms, Kind: record.ActionDone},
		},
		Probes: []record.ProbeResult{
			{At: 150 * ms, Instance: "new", OK: true}, // of an earlier life
			{At: 250 * ms, Instance: "new"},
			{At: 300 * ms, Instance: "old", OK: true},
			{At: 700 * ms, Instance: "new", OK: true},
			{At: 700 * ms, Instance: "stray"},
		},
	}
	type brief struct {
		Instance, Revision string
		Sync               time.Duration
		ByAction           bool
	}
	var got []brief
	tl := Build(d, Span{From: 100 * ms, To: s})
	for _, l := range tl.Lanes {
		got = append(got, brief{l.Instance, l.Revision, l.Sync, l.ByAction})
	}
	want := []brief{{"old", "v1", 5300 * ms, false}, {"new", "v2", 500 * ms, true}, {"stray", "", -1, false}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lanes (-want +got):\n%s", diff)
	}
	if want := (Span{From: 100 * ms, To: 900 * ms}); tl.Action != want {
		t.Errorf("action = %v, want %v", tl.Action, want)
	}
	d.Events = d.Events[:4]
	if got, want := Build(d, Span{From: 100 * ms}).Action, (Span{From: 100 * ms, To: s, Open: true}); got != want {
		t.Errorf("action that never completed = %v, want %v", got, want)
	}
}

func TestTruthAt(t *testing.T) {
	l := lane(t, []record.Event{event(0, record.Ready)}, probes(100*ms, "-+      -"))
	for _, tc := range []struct {
		at   time.Duration
		want State
	}{
		{0, ""}, {99 * ms, ""}, {100 * ms, NotServing}, {149 * ms, NotServing}, {150 * ms, Serving}, {299 * ms, Serving}, {300 * ms, ""}, {499 * ms, ""}, {500 * ms, NotServing}, {2 * s, ""},
	} {
		if got := l.TruthAt(tc.at); got != tc.want {
			t.Errorf("at %v: %q, want %q", tc.at, got, tc.want)
		}
	}
}

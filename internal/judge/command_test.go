package judge

import (
	"slices"
	"testing"

	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/internal/timeline"
)

// command is a trial of a command at an address: begun at 4 s, over at 7 s, and the load ended
// by calm at 14 s. Nothing is known of any instance.
func command() *record.TrialData {
	d := rollout()
	d.Trial.Action, d.Trial.Address = "command", "http://host"
	d.Trial.UntilCalm = record.UntilCalm{For: 5 * s, Settle: 6 * s, Max: 60 * s}
	d.Trial.ReplicasBefore, d.Trial.ReplicasAfter, d.Trial.Revisions = 0, 0, record.Revisions{}
	d.Trial.LoadTo, d.Trial.WindowTo = 14*s, 14*s
	unnamed(d)
	due := func(smp record.Sample) bool { return smp.Intended >= 14*s }
	d.Samples, d.Reference = slices.DeleteFunc(d.Samples, due), slices.DeleteFunc(d.Reference, due)
	d.Trial.Planned = uint64(len(d.Samples))
	d.End.Sent = d.Trial.Planned
	d.End.Load = &record.LoadEnd{At: 14 * s, Planned: d.Trial.Planned, Calm: true}
	d.Probes = nil
	d.Events = slices.DeleteFunc(d.Events, func(e record.Event) bool { return e.Instance != "" })
	return d
}

func TestACommandIsMeasuredToTheEndOfItsLoad(t *testing.T) {
	d := command()
	d.Events[1].At += 20 * ms // it began a little late: the window does not end later for that
	got := Measure(d)
	if !got.Valid || len(got.Failures) > 0 {
		t.Fatalf("valid %v, %v, %v", got.Valid, got.InvalidReasons, got.Failures)
	}
	if want := (timeline.Span{From: 4020 * ms, To: 14 * s}); got.Window != want || got.Planned != 9980 {
		t.Errorf("window %v with %d requests, want %v with 9,980", got.Window, got.Planned, want)
	}
	if want := []Reason{{Kind: NobodyWatched, Time: 7 * s}}; !slices.EqualFunc(got.Remarks, want, func(a, b Reason) bool { return a.Kind == b.Kind && a.Time == b.Time }) {
		t.Errorf("remarks %v, want %v", got.Remarks, want)
	}
	// What is not sent is lost, also where nobody planned how many it would be.
	d.Samples = d.Samples[:len(d.Samples)-100]
	if got := Measure(d); got.Valid || got.Failed != 100 {
		t.Errorf("valid %v with %d lost; want invalid, with 100", got.Valid, got.Failed)
	}
}

func TestALoadThatNeverBecameCalm(t *testing.T) {
	d := command()
	fail(d, 13*s, 14*s)
	d.End.Load.Calm, d.End.Load.Failing = false, true
	if got := Measure(d); !got.Valid || len(got.Failures) != 1 || got.Failures[0].Kind != NeverCalm || got.Failures[0].Time != 7*s {
		t.Errorf("valid %v %v, failures %v; want that it still fails 7 s behind the command", got.Valid, got.InvalidReasons, got.Failures)
	}
	d = command()
	d.End.Load.Calm = false
	if got := Measure(d); got.Valid || len(got.Failures) > 0 || got.InvalidReasons[0].Kind != NeverQuiet {
		t.Errorf("valid %v %v, failures %v; want that the runtime was not quiet", got.Valid, got.InvalidReasons, got.Failures)
	}
}

func TestACommandThatWasNotRun(t *testing.T) {
	d := command()
	fail(d, 2*s, 2005*ms)
	due := func(smp record.Sample) bool { return smp.Intended >= 4*s }
	d.Samples, d.Reference = slices.DeleteFunc(d.Samples, due), slices.DeleteFunc(d.Reference, due)
	n := uint64(len(d.Samples))
	d.Trial.Planned, d.Trial.LoadTo, d.Trial.WindowTo, d.End.Sent = n, 4*s, 4*s, n
	d.Events = []record.Event{{At: 0, Kind: record.LoadStarted}, {At: 4 * s, Kind: record.ActionWithheld}, {At: 4 * s, Kind: record.LoadEnded}}
	got := Measure(d)
	if got.Valid || len(got.InvalidReasons) != 1 || got.InvalidReasons[0].Kind != ActionWithheld || got.InvalidReasons[0].N != 5 {
		t.Errorf("valid %v, %v; want the one reason that it was withheld for 5 failures", got.Valid, got.InvalidReasons)
	}
}

// Where nobody knows the instances, the manner in which a request was lost is its cause, and
// nothing is claimed beyond it.
func TestCausesWhereNoInstanceIsKnown(t *testing.T) {
	for _, tt := range []struct {
		class  record.Class
		status int
		stream string
		want   Cause
	}{
		{record.Refused, 0, "keepalive-get", Refused},
		{record.EOF, 0, "keepalive-get", KeptBroken},
		{record.Reset, 0, "newconn-get", ConnectionLost},
		{record.Truncated, 200, "newconn-get", ConnectionLost},
		{record.Timeout, 0, "keepalive-get", Unanswered},
		{"http_503", 503, "keepalive-get", WrongAnswer},
		{record.WrongBody, 200, "keepalive-get", WrongAnswer},
		{record.Other, 0, "keepalive-get", Unknown},
		{record.DNS, 0, "keepalive-get", Unknown},
		{record.Harness, 0, "keepalive-get", OfHarness},
	} {
		d := command()
		d.Trial.Streams = []record.Stream{{Name: "keepalive-get", Share: 0.8, Reuse: true}, {Name: "newconn-get", Share: 0.2}}
		for i := range d.Samples {
			if smp := &d.Samples[i]; smp.Intended >= 5*s && smp.Intended < 5001*ms {
				smp.Class, smp.Status, smp.Stream = tt.class, tt.status, tt.stream
			}
		}
		got := Measure(d).Causes
		if len(got) != 1 || got[0].Cause != tt.want || len(got[0].Instances) > 0 {
			t.Errorf("%s on %s: got %+v, want %s", tt.class, tt.stream, got, tt.want)
		}
		d.Trial.Address = ""
		if got := Measure(d).Causes; tt.want != OfHarness && got[0].Cause != Unknown && got[0].Cause != TooSlow {
			t.Errorf("%s of what the lab has deployed: got %s", tt.class, got[0].Cause)
		}
	}
}

// What a runtime says of instances that nobody can ask is taken for what it is: it makes no
// trial invalid, and finds the cause of what was lost on one that was told to stop.
func TestInstancesThatAreOnlyWatched(t *testing.T) {
	d := command()
	d.Events = rollout().Events[:len(rollout().Events)-1]
	for i := range d.Samples {
		if smp := &d.Samples[i]; smp.Intended >= 6100*ms && smp.Intended < 6110*ms {
			smp.Class, smp.Status = record.Refused, 0
		}
	}
	got := Measure(d)
	if !got.Valid || len(got.Timeline.Lanes) != 6 {
		t.Errorf("valid %v with %d lanes: %v", got.Valid, len(got.Timeline.Lanes), got.InvalidReasons)
	}
	if len(got.Remarks) > 0 {
		t.Errorf("remarks %v, and its runtime was watched", got.Remarks)
	}
	if len(got.Causes) != 1 || got.Causes[0].Cause != AfterStop {
		t.Errorf("causes %+v, want that they were told to stop", got.Causes)
	}
}

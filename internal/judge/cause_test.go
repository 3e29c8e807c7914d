package judge

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

// lost is the rollout of three instances in which one request was lost; change says how.
// new-N is started at 4 s, serves from 5.9 s on and is ready at 6 s; old-N is told to stop
// and taken out at 6 s, and gone at 7 s.
func lost(at time.Duration, change func(*record.Sample)) *record.TrialData {
	d := rollout()
	d.Trial.Revisions = record.Revisions{Before: "v1", After: "v2"}
	d.Trial.Streams = []record.Stream{{Name: "get", Reuse: true}, {Name: "post"}}
	for i := range d.Samples {
		if s := &d.Samples[i]; s.Intended == at {
			s.Class, s.Status, s.Expect = record.Refused, 0, record.Serve
			change(s)
		}
	}
	return d
}

// from sets who was asked.
func from(instance, revision string, class record.Class, status int) func(*record.Sample) {
	return func(s *record.Sample) { s.Instance, s.Revision, s.Class, s.Status = instance, revision, class, status }
}

func slow(change func(*record.Sample)) func(*record.Sample) {
	return func(s *record.Sample) {
		change(s)
		s.Class, s.Status, s.Done = record.Timeout, 0, s.Intended+2*time.Second
	}
}

func TestCauses(t *testing.T) {
	ready := func(at time.Duration, id string) func(*record.TrialData) {
		return func(d *record.TrialData) {
			d.Events = append(d.Events, record.Event{At: at, Kind: record.Ready, Instance: id, Revision: "v2"})
			slices.SortStableFunc(d.Events, func(a, b record.Event) int { return int(a.At - b.At) })
		}
	}
	probes := func(id string, ok func(at time.Duration) bool) func(*record.TrialData) {
		return func(d *record.TrialData) {
			for i := range d.Probes {
				if p := &d.Probes[i]; p.Instance == id {
					p.OK = ok(p.At)
				}
			}
		}
	}
	// answers lets every direct probe of an instance be answered wrongly.
	answers := func(id string, class record.Class) func(*record.TrialData) {
		return func(d *record.TrialData) {
			for i := range d.Probes {
				if p := &d.Probes[i]; p.Instance == id {
					p.OK, p.Class = false, class
				}
			}
		}
	}
	saysLate := func(id string, from time.Duration, class record.Class) func(*record.TrialData) {
		return func(d *record.TrialData) {
			for i := range d.Probes {
				if p := &d.Probes[i]; p.Instance == id && p.At >= from {
					p.OK, p.Class = false, class
				}
			}
		}
	}
	saysUntil := func(id string, to time.Duration, class record.Class) func(*record.TrialData) {
		return func(d *record.TrialData) {
			for i := range d.Probes {
				if p := &d.Probes[i]; p.Instance == id && p.At < to {
					p.OK, p.Class = false, class
				}
			}
		}
	}
	sample := func(at time.Duration, change func(*record.Sample)) func(*record.TrialData) {
		return func(d *record.TrialData) {
			for i := range d.Samples {
				if s := &d.Samples[i]; s.Intended == at {
					change(s)
				}
			}
		}
	}
	nothing := func(*record.TrialData) {}
	balanced := func(d *record.TrialData) { d.Trial.LabBalancer = true }
	passedOn := func(d *record.TrialData) { d.Trial.LabBalancer, d.Trial.Passthrough = true, true }
	event := func(at time.Duration, kind record.EventKind, id string) func(*record.TrialData) {
		return func(d *record.TrialData) {
			d.Events = append(d.Events, record.Event{At: at, Kind: kind, Instance: id})
			slices.SortStableFunc(d.Events, func(a, b record.Event) int { return int(a.At - b.At) })
		}
	}
	reason := func(text string, change func(*record.Sample)) func(*record.Sample) {
		return func(s *record.Sample) { change(s); s.Reason = text }
	}
	for _, tc := range []struct {
		name     string
		at       time.Duration
		sample   func(*record.Sample)
		change   func(*record.TrialData)
		want     Cause
		instance string
	}{
		{"called ready, synced later", 5 * s, from("new-1", "v2", "http_503", 503), ready(4500*ms, "new-1"), BeforeReady, "new-1"},
		{"not called ready, and sent to all the same", 5 * s, from("new-1", "v2", "http_503", 503), nothing, BeforeReady, "new-1"},
		{"refused before it listened", 4100 * ms, from("new-1", "", "http_502", 502), ready(4050*ms, "new-1"), BeforeReady, "new-1"},
		{"nobody named, one falsely ready", 5 * s, from("", "", record.Refused, 0), ready(4500*ms, "new-1"), BeforeReady, "new-1"},
		{"ready, and never able", 9 * s, from("new-1", "v2", "http_503", 503), probes("new-1", func(time.Duration) bool { return false }), NewRevision, "new-1"},
		{"ready, and never listening", 9 * s, from("new-1", "", record.Refused, 0), probes("new-1", func(time.Duration) bool { return false }), BeforeReady, "new-1"},

		{"refused by one that was told to stop", 6200 * ms, from("old-1", "", "http_502", 502), balanced, AfterStop, "old-1"},
		{"503 from one that was told to stop", 6200 * ms, from("old-1", "v1", "http_503", 503), nothing, AfterStop, "old-1"},
		{"hung on one that was told to stop", 6200 * ms, slow(from("old-1", "", "", 0)), nothing, AfterStop, "old-1"},
		{"sent to one that is gone", 7400 * ms, from("old-1", "", record.Refused, 0), nothing, AfterStop, "old-1"},
		{"told to stop and started again", 9 * s, from("old-1", "v1", "http_503", 503), func(d *record.TrialData) {
			event(8*s, record.Started, "old-1")(d)
			event(8500*ms, record.Ready, "old-1")(d)
		}, Unknown, "old-1"},

		{"cut under way by the stop", 5999 * ms, from("old-1", "v1", record.Truncated, 200), nothing, ConnectionClosed, "old-1"},
		{"the balancer's kept connection", 6200 * ms, reason("eof", from("old-1", "", "http_502", 502)), balanced, ConnectionClosed, "old-1"},
		{"reset for an instance that no longer listens", 6200 * ms, reason("reset", from("old-1", "", "http_502", 502)), func(d *record.TrialData) {
			balanced(d)
			probes("old-1", func(at time.Duration) bool { return at < 6100*ms })(d)
		}, AfterStop, "old-1"},
		{"a kept connection of its own", 6201 * ms, from("old-1", "", record.Reset, 0), nothing, ConnectionClosed, "old-1"},
		{"a new connection, reset", 6200 * ms, from("old-1", "", record.Reset, 0), nothing, AfterStop, "old-1"},
		{"a wrong answer just before the stop is not cut", 5999 * ms, from("old-1", "v1", "http_500", 500), nothing, Unknown, "old-1"},

		{"nobody ready", 5 * s, from("", "", "http_503", 503), func(d *record.TrialData) {
			d.Events = slices.DeleteFunc(d.Events, func(e record.Event) bool { return e.Kind == record.Ready })
		}, NoInstance, ""},
		{"the balancer says so", 5 * s, reason(drivers.NoInstanceReason, from("", "", "http_503", 503)), balanced, NoInstance, ""},

		{"the balancer of connections has nobody", 5 * s, reason(drivers.NoInstanceReason, from("", "", record.Reset, 0)), passedOn, NoInstance, ""},
		{"the balancer of connections is refused", 6201 * ms, reason(drivers.RefusedReason, from("old-1", "", record.Reset, 0)), passedOn, AfterStop, "old-1"},
		{"a connection that was passed on, and no kept one", 6200 * ms, from("old-1", "", record.EOF, 0), passedOn, AfterStop, "old-1"},
		{"a kept connection that was passed on", 6201 * ms, from("old-1", "", record.EOF, 0), passedOn, ConnectionClosed, "old-1"},
		{"the balancer is told that it was not processed", 6200 * ms, reason(drivers.UnprocessedReason, from("old-1", "", "http_502", 502)), balanced, NotProcessed, "old-1"},

		{"served, then broke", 9 * s, from("new-1", "v2", "http_500", 500), func(d *record.TrialData) {
			probes("new-1", func(at time.Duration) bool { return at >= 5900*ms && at < 8900*ms })(d)
			d.Samples[7000-1].Class, d.Samples[7000-1].Revision, d.Samples[7000-1].Status = "http_500", "v1", 500
		}, BrokenWhileReady, "new-1"},
		{"crashed between two probes", 9 * s, from("new-1", "", record.EOF, 0), event(9030*ms, record.Gone, "new-1"), BrokenWhileReady, "new-1"},

		{"slow, and serving", 9 * s, slow(from("new-1", "", "", 0)), nothing, TooSlow, "new-1"},
		{"slow, and nobody knows who", 9 * s, slow(from("", "", "", 0)), nothing, TooSlow, ""},

		{"ready, never able, and named by the balancer alone", 9 * s, from("new-1", "", "http_500", 500), func(d *record.TrialData) {
			balanced(d)
			probes("new-1", func(time.Duration) bool { return false })(d)
		}, NewRevision, "new-1"},
		{"only the new revision says 404", 9 * s, from("new-1", "v2", "http_404", 404), nothing, NewRevision, "new-1"},
		{"only the new revision has another body", 9 * s, from("new-1", "v2", record.WrongBody, 200), nothing, NewRevision, "new-1"},
		{"a restart has no new revision", 9 * s, from("new-1", "v2", "http_404", 404), func(d *record.TrialData) { d.Trial.Revisions.Before = "v2" }, Unknown, "new-1"},

		{"nobody named, and a probe of the new revision is told the same", 9 * s, from("", "", "http_404", 404), answers("new-1", "http_404"), NewRevision, "new-1"},
		{"the same while an old one drains", 6200 * ms, from("", "", "http_404", 404), answers("new-1", "http_404"), NewRevision, "new-1"},
		{"nobody named, and probes ask for something else", 6200 * ms, from("", "", "http_500", 500), sample(9*s, from("", "", "http_500", 500)), NewRevision, ""},
		{"nobody named, and the old revision says so as well", 9 * s, from("", "", "http_500", 500), sample(3500*ms, from("", "", "http_500", 500)), Unknown, ""},
		{"nobody named, and a probe of the old one is told the same", 6200 * ms, from("", "", "http_503", 503), func(d *record.TrialData) {
			answers("old-1", "http_503")(d)
			sample(9*s, from("", "", "http_503", 503))(d)
		}, AfterStop, "old-1"},

		{"only the new revision lacks a header", 9 * s, from("new-1", "v2", record.WrongHeader, 200), nothing, NewRevision, "new-1"},
		{"refused unprocessed by one that was told to stop", 6200 * ms, from("old-1", "", record.RefusedRetryable, 0), nothing, NotProcessed, "old-1"},
		{"refused unprocessed by nobody knows whom", 6200 * ms, from("", "", record.RefusedRetryable, 0), nothing, NotProcessed, ""},
		{"not trusted", 9 * s, from("", "", record.TLS, 0), nothing, Distrust, ""},

		{"nobody named, and the old one said so only once it was told to stop", 9 * s, from("", "", "http_503", 503), func(d *record.TrialData) {
			answers("new-1", "http_503")(d)
			saysLate("old-1", 6500*ms, "http_503")(d)
		}, NewRevision, "new-1"},
		{"nobody named, and the old one said so a little later", 6200 * ms, from("", "", "http_503", 503), func(d *record.TrialData) {
			sample(9*s, from("", "", "http_503", 503))(d)
			saysLate("old-1", 6500*ms, "http_503")(d)
		}, Unknown, ""},

		{"nobody named and no answer, from the one that gives none", 6200 * ms, slow(from("", "", "", 0)), func(d *record.TrialData) {
			saysLate("old-1", 6100*ms, record.Reset)(d)
			saysUntil("new-1", 7*s, "http_503")(d)
		}, AfterStop, "old-1"},

		{"the harness's own", 9 * s, from("new-1", "", record.Harness, 0), nothing, OfHarness, ""},
		{"never sent", 9 * s, func(*record.Sample) {}, func(d *record.TrialData) {
			d.Samples = slices.DeleteFunc(d.Samples, func(s record.Sample) bool { return s.Class != record.OK })
		}, OfHarness, ""},

		{"no reason to be seen", 9 * s, from("new-1", "v2", record.Reset, 0), nothing, Unknown, "new-1"},
		{"nobody named, nobody to blame", 9 * s, from("", "", record.Reset, 0), nothing, Unknown, ""},
		{"an instance that nobody knows", 9 * s, from("stranger", "", record.Reset, 0), nothing, Unknown, ""},
		{"nobody named, two candidates, a connection broke", 6200 * ms, from("", "", record.Refused, 0), func(d *record.TrialData) {
			probes("new-1", func(at time.Duration) bool { return at > 8*s })(d)
		}, AfterStop, ""},
		{"nobody named, two candidates, and an answer", 6200 * ms, from("", "", "http_503", 503), func(d *record.TrialData) {
			probes("new-1", func(at time.Duration) bool { return at > 8*s })(d)
		}, Unknown, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := lost(tc.at, tc.sample)
			tc.change(d)
			got := Measure(d).Causes
			var all []string
			for _, c := range got {
				all = append(all, fmt.Sprintf("%s %d %v", c.Cause, c.Count, c.Instances))
			}
			i := slices.IndexFunc(got, func(c CauseCount) bool { return c.Cause == tc.want })
			if i < 0 {
				t.Fatalf("causes %v, want %s", all, tc.want)
			}
			if tc.want == NewRevision && (len(got) > 1 || got[i].Revision != "v2") {
				t.Errorf("causes %v and revision %q, want nothing but %s of v2", all, got[i].Revision, tc.want)
			}
			if instances := got[i].Instances; tc.instance != "" && !slices.Contains(instances, tc.instance) || tc.instance == "" && len(instances) > 0 {
				t.Errorf("instances %v, want %q", instances, tc.instance)
			}
		})
	}
}

// How a process ended is said where nobody had told it to, and of all instances or of none.
func TestCausesSayHowTheProcessesEnded(t *testing.T) {
	gone := func(id, how string) record.Event {
		return record.Event{At: 9030 * ms, Kind: record.Gone, Instance: id, Detail: how}
	}
	again := func(id, how string) record.Event {
		return record.Event{At: 9030 * ms, Kind: record.Started, Instance: id, Detail: how}
	}
	told := record.Event{At: 9010 * ms, Kind: record.Terminating, Instance: "new-1"}
	for name, tc := range map[string]struct {
		events []record.Event
		want   string
	}{
		"both crash":              {[]record.Event{gone("new-1", "exit status 4"), gone("new-2", "exit status 4")}, "exit status 4"},
		"both are restarted":      {[]record.Event{again("new-1", "process 7, after exit status 4"), again("new-2", "process 8, after exit status 4")}, "exit status 4"},
		"both were started":       {[]record.Event{again("new-1", "process 7"), again("new-2", "process 8")}, ""},
		"in different ways":       {[]record.Event{gone("new-1", "exit status 4"), gone("new-2", "killed")}, ""},
		"one of them":             {[]record.Event{gone("new-2", "exit status 4")}, ""},
		"one restarted on demand": {[]record.Event{told, again("new-1", "process 7, after exit status 4"), gone("new-2", "exit status 4")}, ""},
		"one told to stop":        {[]record.Event{told, gone("new-1", "exit status 4"), gone("new-2", "exit status 4")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := lost(9*s, from("new-1", "", record.EOF, 0))
			d.Events = append(d.Events, tc.events...)
			slices.SortStableFunc(d.Events, func(a, b record.Event) int { return int(a.At - b.At) })
			trial := Measure(d)
			of := causeTally{CauseCount: CauseCount{Instances: []string{"new-1", "new-2"}}, classes: make(failureTally)}
			of.classes.add(&d.Samples[0])
			if got := of.sum(newFinder(d, &trial)).Ended; got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// The causes of the valid trials of a cell are added up; those of the others are in none.
func TestCausesOfACell(t *testing.T) {
	one, two, three := result("good", 1, 5), result("good", 2, 3), broken("good", 3, 0)
	one.Causes = []CauseCount{{Cause: AfterStop, Count: 4, From: s, To: 2 * s, Instances: []string{"a"}, Revision: "v1", Class: record.Refused}, {Cause: Unknown, Count: 1, Class: record.Reset}}
	two.Causes = []CauseCount{{Cause: Unknown, Count: 3, From: 3 * s, To: 4 * s, Instances: []string{"b"}, Revision: "v2", Class: record.EOF, Reason: "why"}}
	three.Causes = []CauseCount{{Cause: TooSlow, Count: 9}}
	cell := Judge(described(), ended, nil, []Trial{one, two, three}).Cells[0]
	got := fmt.Sprintf("%+v", cell.Causes())
	want := fmt.Sprintf("%+v", []CauseCount{
		{Cause: AfterStop, Count: 4, From: s, To: 2 * s, Instances: []string{"a"}, Revision: "v1", Class: record.Refused},
		{Cause: Unknown, Count: 4, From: 0, To: 4 * s, Instances: []string{"b"}, Class: record.EOF, Reason: "why"},
	})
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if len(one.Causes[0].Instances) != 1 || one.Causes[1].Count != 1 {
		t.Errorf("adding up changed a trial: %+v", one.Causes)
	}
}

// Of requests that hit their deadline it is known how long the lab had kept them, and how long
// the target: from the record, and only of those.
func TestCausesSayWhereTheTimeWent(t *testing.T) {
	slow := func(lag time.Duration) *record.TrialData {
		d := rollout()
		for i := range d.Samples {
			switch x := &d.Samples[i]; {
			case x.Intended > 9*s && x.Intended <= 9*s+4*ms:
				x.Class, x.Status, x.Sent, x.Done = record.Timeout, 0, x.Intended+lag, x.Intended+2*s
			case x.Intended == 9500*ms: // one that failed at once says nothing of queues
				x.Class, x.Status, x.Instance, x.Revision = record.Reset, 0, "", ""
			}
		}
		return d
	}
	one, two := Measure(slow(20*ms)), Measure(slow(30*ms))
	if !one.Valid || !two.Valid {
		t.Fatalf("invalid: %v, %v", one.InvalidReasons, two.InvalidReasons)
	}
	for _, of := range []struct {
		name   string
		causes []CauseCount
		want   Queueing
	}{
		{"a trial", one.Causes, Queueing{Unsent: 80 * ms, Sent: 7920 * ms, Usual: 2 * ms}},
		{"a cell", (&Cell{Trials: []Trial{one, two}}).Causes(), Queueing{Unsent: 200 * ms, Sent: 15_800 * ms, Usual: 2 * ms}},
	} {
		if len(of.causes) != 2 || of.causes[0].Cause != TooSlow {
			t.Fatalf("%s: causes %+v, want too slow and another one", of.name, of.causes)
		}
		share, ok := of.causes[0].Queued.LateShare()
		if want := float64(of.want.Unsent) / float64(of.want.Unsent+of.want.Sent); of.causes[0].Queued != of.want || !ok || share != want {
			t.Errorf("%s: %+v, a share of %v, want %+v, %v", of.name, of.causes[0].Queued, share, of.want, want)
		}
		if _, ok := of.causes[1].Queued.LateShare(); ok {
			t.Errorf("%s: %s has %+v", of.name, of.causes[1].Cause, of.causes[1].Queued)
		}
	}
}

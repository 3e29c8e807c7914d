package judge

import (
	"fmt"
	"slices"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/internal/timeline"
)

// drill is a trial in which something is done to instances: 16 s at 100 hits a second, baseline
// from 1 s to 3 s, a window of 10 s from 4 s on, three instances, and no action. Requests go
// round to what the events say is routed to, and are lost where that is broken.
type drill struct {
	record.TrialData
	broken map[string][]timeline.Span
}

func newDrill() *drill {
	d := &drill{broken: make(map[string][]timeline.Span)}
	d.Folder = "trials/drill-process-none-good-1"
	d.Trial = record.Trial{
		Scenario: "drill", Driver: "process", Action: record.NoAction, Design: "good", N: 1,
		Rate: 100, Planned: 1600, Timeout: s, LoadTo: 16 * s, BaselineFrom: s, BaselineTo: 3 * s, WindowFrom: 4 * s, WindowTo: 14 * s,
		Streams:        []record.Stream{{Name: "get", Share: 1, Reuse: true}},
		ReplicasBefore: 3, ReplicasAfter: 3, ProbeEvery: 50 * ms, LabBalancer: true,
		Revisions: record.Revisions{Before: "v1", After: "v1"},
	}
	for _, id := range []string{"a", "b", "c"} {
		d.say(-5*s, record.Started, id, "exec")
		d.say(-s, record.Ready, id)
	}
	return d
}

// say adds what the runtime said of an instance.
func (d *drill) say(at time.Duration, kind record.EventKind, id string, detail ...string) *drill {
	revision := "v1"
	if id == "new" {
		revision = "v2"
	}
	e := record.Event{At: at, Kind: kind, Instance: id, Revision: revision}
	if len(detail) > 0 {
		e.Detail = detail[0]
	}
	d.Events = append(d.Events, e)
	return d
}

// fault plans a fault and has it injected, proven 50 ms later, and healed when it is over: in
// the instances, or where there are none in something that has no name.
func (d *drill) fault(kind string, at, lasts time.Duration, ids ...string) *drill {
	d.Trial.Faults = append(d.Trial.Faults, record.Fault{Name: kind, Kind: kind, At: at, For: lasts, Target: "one instance"})
	if len(ids) == 0 {
		ids = []string{""}
	}
	for _, id := range ids {
		d.tell(at, record.FaultInjected, kind, id)
		d.tell(at+50*ms, record.FaultProven, kind, id)
		if lasts > 0 {
			d.tell(at+lasts, record.FaultHealed, kind, id)
		}
	}
	return d
}

func (d *drill) tell(at time.Duration, kind record.EventKind, fault, id string) *drill {
	d.Events = append(d.Events, record.Event{At: at, Kind: kind, Fault: fault, Instance: id, Detail: "state T"})
	return d
}

// drop takes away the events of a kind that tell of a fault.
func (d *drill) drop(kind record.EventKind) *drill {
	d.Events = slices.DeleteFunc(d.Events, func(e record.Event) bool { return e.Kind == kind })
	return d
}

// breaks makes instances unable to serve for a while.
func (d *drill) breaks(from, to time.Duration, ids ...string) *drill {
	for _, id := range ids {
		d.broken[id] = append(d.broken[id], timeline.Span{From: from, To: to})
	}
	return d
}

func (d *drill) serves(id string, at time.Duration) bool {
	return !slices.ContainsFunc(d.broken[id], func(b timeline.Span) bool { return b.Holds(at) })
}

// data is the whole record.
func (d *drill) data() *record.TrialData {
	out := d.TrialData
	out.Events = slices.Clone(d.Events)
	slices.SortStableFunc(out.Events, func(a, b record.Event) int { return int(a.At - b.At) })
	out.End = &record.End{At: 17 * s, Sent: out.Trial.Planned}
	lanes := timeline.Lanes(&out, timeline.Span{From: out.Trial.WindowFrom, To: out.Trial.WindowTo})
	for k := range out.Trial.Planned {
		at := time.Duration(k+1) * 10 * ms
		smp := record.Sample{Seq: k, Stream: "get", Expect: record.Serve, Intended: at, Sent: at + 100*time.Microsecond, Done: at + 2*ms, Attempts: 1}
		var routed []timeline.Lane
		for _, l := range lanes {
			if l.VerdictAt(at) == timeline.Ready {
				routed = append(routed, l)
			}
		}
		switch {
		case len(routed) == 0:
			smp.Class, smp.Status, smp.Reason = record.HTTPStatus(503), 503, drivers.NoInstanceReason
		default:
			to := routed[int(k)%len(routed)]
			smp.Instance, smp.Revision, smp.Class, smp.Status = to.Instance, to.Revision, record.OK, 200
			if !d.serves(to.Instance, at) {
				smp.Class, smp.Status, smp.Done = record.Timeout, 0, at+s
			}
		}
		out.Samples = append(out.Samples, smp)
		if k%4 == 0 {
			seen := smp
			seen.Seq = k / 4
			out.Reference = append(out.Reference, seen)
		}
	}
	for at := -s; at < 16*s; at += 50 * ms {
		for _, l := range lanes {
			if state := l.VerdictAt(at); state == "" || state == timeline.Gone {
				continue
			}
			out.Probes = append(out.Probes, record.ProbeResult{At: at, Took: ms, Instance: l.Instance, OK: d.serves(l.Instance, at), Class: record.OK})
		}
	}
	return &out
}

func (d *drill) measure() Trial { return Measure(d.data()) }

// String is what the runtime did, for a failing test.
func (f InstanceFault) String() string {
	text := f.ID
	for _, of := range []struct {
		name string
		d    *time.Duration
	}{{"detection", f.Detection}, {"ejection", f.Ejection}, {"return", f.Return}} {
		if of.d != nil {
			text += fmt.Sprintf(" %s %v", of.name, *of.d)
		}
	}
	return text
}

package judge

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

// TestRevisions: each request of the window is laid to the revision that it was sent to and to
// the stretch in which it was sent, and they add up. In the rollout of these tests v1 runs
// until 7 s, v2 from 4 s on, and is routed to from 6 s on.
func TestRevisions(t *testing.T) {
	unnamed := func(s *record.Sample) { s.Instance, s.Revision = "", "" }
	for _, tt := range []struct {
		name   string
		at     time.Duration
		change func(*record.Sample)
		data   func(*record.TrialData)
		want   RevisionCount // of the one that is lost
	}{
		{"an old one, while the new ones start", 5 * s, from("old-1", "v1", "http_500", 500), nil, RevisionCount{"v1", BothRan, 0, 1}},
		{"a new one, while the old ones end", 6500 * ms, from("new-1", "v2", "http_500", 500), nil, RevisionCount{"v2", BothRan, 0, 1}},
		{"a new one, alone", 9 * s, from("new-1", "v2", "http_500", 500), nil, RevisionCount{"v2", OnlyAfter, 0, 1}},
		{"the balancer names an instance", 9 * s, from("new-1", "", record.Reset, 0), nil, RevisionCount{"v2", OnlyAfter, 0, 1}},
		{"nobody named, and one revision is left", 9 * s, unnamed, nil, RevisionCount{"v2", OnlyAfter, 0, 1}},
		{"nobody named, and one revision is routed to", 5 * s, unnamed, nil, RevisionCount{"v1", BothRan, 0, 1}},
		{"nobody to send to", 9 * s, func(s *record.Sample) {
			unnamed(s)
			s.Class, s.Status, s.Reason = "http_503", 503, drivers.NoInstanceReason
		}, nil, RevisionCount{"", OnlyAfter, 0, 1}},
		{"the harness's own", 9 * s, from("", "", record.Harness, 0), nil, RevisionCount{"", OnlyAfter, 0, 1}},
		{"none ran", 9 * s, unnamed, func(d *record.TrialData) {
			for _, id := range []string{"new-0", "new-1", "new-2"} {
				d.Events = append(d.Events, record.Event{At: 8 * s, Kind: record.Gone, Instance: id, Revision: "v2"})
			}
		}, RevisionCount{"", NoneRan, 0, 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := lost(tt.at, tt.change)
			if tt.data != nil {
				tt.data(d)
			}
			got := Measure(d)
			var bad []RevisionCount
			var ok uint64
			for _, c := range got.Revisions {
				if ok += c.OK; c.Lost > 0 {
					c.OK = 0
					bad = append(bad, c)
				}
			}
			if diff := cmp.Diff([]RevisionCount{tt.want}, bad); diff != "" {
				t.Errorf("lost (-want +got):\n%s", diff)
			}
			if ok != got.OK {
				t.Errorf("%d ok by revision, want %d", ok, got.OK)
			}
		})
	}
	t.Run("no other revision", func(t *testing.T) {
		d := lost(9*s, from("new-1", "v2", "http_500", 500))
		d.Trial.Revisions.After = "v1"
		if got := Measure(d).Revisions; got != nil {
			t.Errorf("%+v", got)
		}
	})
}

// TestRequestsOfTheNewRevision: what the new revision answers wrongly is named with how often
// it was asked for that, over all trials.
func TestRequestsOfTheNewRevision(t *testing.T) {
	measured := func(wrong int) Trial {
		d := rollout()
		d.Trial.Revisions = record.Revisions{Before: "v1", After: "v2", Differ: true}
		for i := range d.Trial.Streams {
			d.Trial.Streams[i].Requests = []string{"GET /orders", "GET /cart"}
		}
		n := 0
		for i := range d.Samples {
			smp := &d.Samples[i]
			if smp.Request = i / 4 % 2; smp.Request == 0 && smp.Revision == "v2" && smp.Expect == record.Serve && n < wrong {
				smp.Class, smp.Status = "http_500", 500
				n++
			}
		}
		return Measure(d)
	}
	some := measured(800)
	cell := Cell{Trials: []Trial{some, measured(0)}}
	for i := range cell.Trials {
		cell.Trials[i].Valid = true
	}
	for what, tt := range map[string]struct {
		causes  []CauseCount
		answers uint64
	}{"a trial": {some.Causes, 3920}, "a cell": {cell.Causes(), 2 * 3920}} {
		if len(tt.causes) != 1 || tt.causes[0].Cause != NewRevision {
			t.Fatalf("%s: causes %+v", what, tt.causes)
		}
		if diff := cmp.Diff([]RequestCount{{"GET /orders", 800, tt.answers}}, tt.causes[0].Requests); diff != "" {
			t.Errorf("%s: requests (-want +got):\n%s", what, diff)
		}
	}
	got := cell.Revisions()
	var sum, lost uint64
	for _, c := range got {
		sum, lost = sum+c.OK+c.Lost, lost+c.Lost
	}
	if len(got) != 3 || got[0] != (RevisionCount{"v1", BothRan, 4000, 0}) || got[1].Stretch != BothRan || got[2].Stretch != OnlyAfter || sum != 20_000 || lost != 800 {
		t.Errorf("%d requests and %d lost by revision: %+v", sum, lost, got)
	}
}

// TestRequestsOfAnUnnamedRevision: where no answer names who gave it, a share is taken of the
// time in which the new revision was alone. While both ran only its wrong answers are known for
// what they are.
func TestRequestsOfAnUnnamedRevision(t *testing.T) {
	d := rollout()
	d.Trial.Revisions = record.Revisions{Before: "v1", After: "v2", Differ: true}
	for i := range d.Trial.Streams {
		d.Trial.Streams[i].Requests = []string{"GET /orders"}
	}
	for i := range d.Samples {
		smp := &d.Samples[i]
		if smp.Revision == "v2" && smp.Expect == record.Serve && i%5 == 0 {
			smp.Class, smp.Status = "http_500", 500
		}
		smp.Instance, smp.Revision = "", ""
	}
	causes := Measure(d).Causes
	if len(causes) == 0 || causes[0].Cause != NewRevision || len(causes[0].Requests) != 1 {
		t.Fatalf("causes %+v", causes)
	}
	if r := causes[0].Requests[0]; r.Answers > 7000 || math.Abs(float64(r.Wrong)/float64(r.Answers)-0.2) > 0.01 {
		t.Errorf("%d of %d wrong, want a fifth of those of the last 7 s", r.Wrong, r.Answers)
	}
	if causes[0].Count <= causes[0].Requests[0].Wrong {
		t.Errorf("%d lost, of which %d count for the share: none was lost while both ran", causes[0].Count, causes[0].Requests[0].Wrong)
	}
}

// TestARevisionThatIsWrongBeforeAndAfterItServed: the direct probes are given the same wrong
// answer now and then, so for a while none has found the new instances serving. What another
// program goes on to answer is its own doing, and what it stops to answer is not.
func TestARevisionThatIsWrongBeforeAndAfterItServed(t *testing.T) {
	for _, tt := range []struct {
		name          string
		differ, after bool
		want          Cause
	}{
		{"another program, on and on", true, true, NewRevision},
		{"another program, at first", true, false, BeforeReady},
		{"the same program", false, true, BeforeReady},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := rollout()
			d.Trial.Revisions = record.Revisions{Before: "v1", After: "v2", Differ: tt.differ}
			for i := range d.Probes {
				if p := &d.Probes[i]; strings.HasPrefix(p.Instance, "new") {
					p.OK, p.Class = p.At >= 7*s, "http_500"
				}
			}
			for i := range d.Samples {
				smp := &d.Samples[i]
				if early := smp.Intended < 6900*ms; smp.Revision == "v2" && smp.Expect == record.Serve && i%5 == 0 && (early || tt.after) {
					smp.Class, smp.Status = "http_500", 500
				}
			}
			got := Measure(d)
			if len(got.Causes) == 0 || got.Causes[len(got.Causes)-1].From > 2100*ms {
				t.Fatalf("causes %+v", got.Causes)
			}
			first := got.Causes[0]
			for _, c := range got.Causes {
				if c.From < first.From {
					first = c
				}
			}
			if first.Cause != tt.want || tt.want == NewRevision && len(got.Causes) != 1 {
				t.Errorf("causes %+v, want the first of them %s", got.Causes, tt.want)
			}
		})
	}
}

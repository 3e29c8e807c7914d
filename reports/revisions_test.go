package reports

import (
	"bytes"
	"strings"
	"testing"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

func TestRevisionLosses(t *testing.T) {
	upgrade := record.Revisions{Before: "1.9", After: "2.0", Differ: true}
	for _, tt := range []struct {
		name string
		r    record.Revisions
		all  []judge.RevisionCount
		want string
	}{
		{"nothing lost", upgrade, []judge.RevisionCount{{Revision: "2.0", Stretch: judge.BothRan, OK: 9}}, ""},
		{"the same program", record.Revisions{Before: "v1", After: "v2"}, []judge.RevisionCount{{Revision: "v2", Stretch: judge.BothRan, Lost: 9}}, ""},
		{"one revision, while both ran", upgrade, []judge.RevisionCount{{Revision: "2.0", Stretch: judge.BothRan, Lost: 1412}}, "all 1,412 from 2.0, all 1,412 while both ran"},
		{"one request", upgrade, []judge.RevisionCount{{Revision: "1.9", Stretch: judge.BothRan, Lost: 1}}, "the one from 1.9, the one while both ran"},
		{"alone as well", upgrade, []judge.RevisionCount{{Revision: "2.0", Stretch: judge.BothRan, Lost: 2}, {Revision: "2.0", Stretch: judge.OnlyAfter, Lost: 7}}, "all 9 from 2.0, 2 of 9 while both ran"},
		{"never while both ran", upgrade, []judge.RevisionCount{{Revision: "2.0", Stretch: judge.OnlyAfter, Lost: 7}}, "all 7 from 2.0, none while both ran"},
		{"of both", upgrade, []judge.RevisionCount{{Revision: "1.9", Stretch: judge.BothRan, Lost: 4}, {Revision: "2.0", Stretch: judge.BothRan, Lost: 7}, {Stretch: judge.BothRan, Lost: 1}}, "4 of 12 from 1.9, 7 of 12 from 2.0, all 12 while both ran"},
		{"of nobody knows which", upgrade, []judge.RevisionCount{{Stretch: judge.NoneRan, Lost: 7}}, "from which revision is not known, none while both ran"},
	} {
		if got := revisionLosses(tt.all, tt.r); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestACauseOfARelease: the sentence names what the release answers to which request, and what
// to do depends on whether it was seen to do so by itself.
func TestACauseOfARelease(t *testing.T) {
	m := &record.Trial{Action: "rollout", Revisions: record.Revisions{Before: "v1", After: "v2", Differ: true}}
	c := judge.CauseCount{Cause: judge.NewRevision, Count: 412, Class: "http_500", Instances: []string{"web-3"}, Revision: "v2",
		Requests: []judge.RequestCount{{Name: "GET /orders", Wrong: 400, Answers: 2000}, {Name: "POST /orders", Wrong: 12, Answers: 12}}}
	got := adviseOn(c, 412, m)
	if want := "v2 answers 500 to 20.00 % of GET /orders and every POST /orders, and v1 never does: all 412 lost requests, "; !strings.HasPrefix(got.Why, want) {
		t.Errorf("got %q, want %q", got.Why, want)
	}
	if !strings.HasPrefix(got.Do, "The release itself is broken") {
		t.Errorf("do %q", got.Do)
	}
	c.Both = c.Count
	if got := adviseOn(c, 412, m).Do; !strings.Contains(got, "let v2 read what v1 writes") {
		t.Errorf("while both ran: do %q", got)
	}
	for range 5 {
		c.Requests = append(c.Requests, judge.RequestCount{Name: "GET /" + strings.Repeat("x", 200), Wrong: 1, Answers: 9})
	}
	if got := adviseOn(c, 412, m).Why; len(got) > 400 || !strings.Contains(got, "and 4 other requests") {
		t.Errorf("many: %q", got)
	}
	m.Revisions.Differ = false
	if got := adviseOn(c, 412, m).Why; !strings.Contains(got, "answered wrongly by new instance web-3 (v2) and by no old one") {
		t.Errorf("the same program: %q", got)
	}
}

// TestThePageOfAnUpgrade has the table by revision, and says of a rollout to the same
// program that it is one.
func TestThePageOfAnUpgrade(t *testing.T) {
	run := fixtureRun()
	page := func() string {
		var b bytes.Buffer
		if err := WriteHTML(&b, run); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	if got := page(); !strings.Contains(got, "r1 and r2 are the same program") {
		t.Error("a rollout to the same program is not said to be one")
	}
	for i := range run.Cells {
		for j := range run.Cells[i].Trials {
			tr := &run.Cells[i].Trials[j]
			tr.Meta.Revisions.Differ = true
			tr.Revisions = []judge.RevisionCount{
				{Revision: "r1", Stretch: judge.OnlyBefore, OK: tr.OK}, {Revision: "r2<i>", Stretch: judge.BothRan, Lost: tr.Failed},
			}
		}
	}
	got := page()
	for _, want := range []string{"<td>r2&lt;i&gt;<td>both ran<td", "only r1 ran", "100 %"} {
		if !strings.Contains(got, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(got, "are the same program") {
		t.Error("an upgrade is called one to the same program")
	}
}

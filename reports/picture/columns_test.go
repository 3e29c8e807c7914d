package picture

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollout-lab/rollout-lab/internal/timeline"
	"github.com/rollout-lab/rollout-lab/reports/svg"
)

func binsOf(n int, width time.Duration) timeline.Timeline {
	tl := timeline.Timeline{To: time.Duration(n) * width, BinWidth: width}
	for i := range n {
		tl.Bins = append(tl.Bins, timeline.Bin{From: time.Duration(i) * width, Planned: 100, OK: 100, P50: time.Millisecond, P99: 2 * time.Millisecond})
	}
	return tl
}

func TestMergingNeverHidesAnOutage(t *testing.T) {
	tl := binsOf(10000, 100*time.Millisecond)
	const out = 7002 // 7003 is in the same column: 17 bins make one, and 17 * 412 is 7004
	tl.Bins[out] = timeline.Bin{From: tl.Bins[out].From, Planned: 100, OK: 0, Failed: 100, Denied: 40}
	tl.Bins[out+1].P99 = time.Second
	cols, each := Columns(&tl, 600)
	if len(cols) > 600 || each != 17 {
		t.Fatalf("got %d columns of %d bins, want at most 600 of 17", len(cols), each)
	}
	bad, planned, failed := 0, 0, 0
	for _, c := range cols {
		planned += c.Planned
		failed += c.Failed
		share, denied := c.shares()
		if share == 0 {
			continue
		}
		bad++
		if share != 1 || denied != 0.4 || c.P99 != time.Second {
			t.Errorf("the merged column is %+v, want the worst bin in it", c)
		}
		if c.From > tl.Bins[out].From || c.To < tl.Bins[out].From+tl.BinWidth {
			t.Errorf("the outage at %v is drawn from %v to %v", tl.Bins[out].From, c.From, c.To)
		}
	}
	if bad != 1 || planned != 1000000 || failed != 100 {
		t.Errorf("got %d bad columns, %d planned, %d failed, want 1, 1000000, 100", bad, planned, failed)
	}
}

func TestColumnsOfOddInput(t *testing.T) {
	empty := timeline.Timeline{}
	if cols, each := Columns(&empty, 600); cols != nil || each != 0 {
		t.Errorf("no bins: got %v, %d", cols, each)
	}
	idle := binsOf(4, time.Second)
	idle.Bins[1] = timeline.Bin{From: time.Second}
	cols, _ := Columns(&idle, 2)
	if len(cols) != 2 || cols[0].Worst.Failed != 0 || cols[0].Planned != 100 {
		t.Errorf("a bin without planned requests: got %+v", cols)
	}
}

func TestAFailureIsNeverTooLowToSee(t *testing.T) {
	tl := binsOf(300, 100*time.Millisecond)
	tl.Bins[100].OK, tl.Bins[100].Failed = 99, 1
	cols, _ := Columns(&tl, 600)
	shapes := bands(cols, axis{to: tl.To, width: 900}, 0)
	if len(shapes) != 2 {
		t.Fatalf("got %d shapes, want the failed requests and, over them, the ok ones", len(shapes))
	}
	failed, ok := shapes[0].(svg.Path), shapes[1].(svg.Path)
	// Failed is drawn from the base over the full height; ok covers all but 3 pixels.
	if failed.Class != "failed" || !slices.Contains(failed.Steps, svg.Down(0)) {
		t.Errorf("the failure is drawn as %+v, want it up to the top", failed)
	}
	if ok.Class != "ok" || !slices.Contains(ok.Steps, svg.Down(3)) {
		t.Errorf("ok leaves no 3 pixels for the failure: %+v", ok)
	}
}

func TestStretches(t *testing.T) {
	tl := binsOf(10, time.Second)
	for i := 3; i < 6; i++ {
		tl.Bins[i].OK, tl.Bins[i].Failed = 0, 100
	}
	tl.Bins[6].OK, tl.Bins[6].Failed = 50, 50
	cols, _ := Columns(&tl, 600)
	var got [][3]int
	for _, s := range Stretches(cols) {
		got = append(got, [3]int{s.Columns, s.OK, s.Failed})
	}
	want := [][3]int{{3, 300, 0}, {3, 0, 300}, {1, 50, 50}, {3, 300, 0}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("columns, ok, failed (-want +got):\n%s", diff)
	}
}

func TestCoarseLanesShowTheWorst(t *testing.T) {
	var spans []timeline.StateSpan
	for i := range 1000 {
		s := timeline.Serving
		if i == 501 {
			s = timeline.NotServing
		}
		spans = append(spans, timeline.StateSpan{Span: timeline.Span{From: time.Duration(i) * time.Second, To: time.Duration(i+1) * time.Second}, State: s})
	}
	got := coarse(spans, 0, 1000*time.Second, 100)
	want := []timeline.StateSpan{
		{Span: timeline.Span{To: 500 * time.Second}, State: timeline.Serving},
		{Span: timeline.Span{From: 500 * time.Second, To: 510 * time.Second}, State: timeline.NotServing},
		{Span: timeline.Span{From: 510 * time.Second, To: 1000 * time.Second}, State: timeline.Serving},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := coarse(spans[:50], 0, 1000*time.Second, 100); len(got) != 50 {
		t.Errorf("few spans: got %d, want all 50", len(got))
	}
}

func TestLanesKeepsTheFalselyReady(t *testing.T) {
	lanes := make([]timeline.Lane, 40)
	lanes[33].FalseReady = []timeline.Span{{From: 0, To: time.Second}}
	got := Lanes(lanes, 16)
	if len(got) != 16 || got[15] != &lanes[33] {
		t.Errorf("got %d lanes, and the one that was falsely ready is among them: %t", len(got), len(got) > 0 && got[len(got)-1] == &lanes[33])
	}
}

func TestTickStep(t *testing.T) {
	tests := []struct {
		length time.Duration
		most   float64
		want   time.Duration
	}{
		{35 * time.Second, 14, 5 * time.Second}, {35 * time.Second, 7, 5 * time.Second},
		{time.Second, 14, 100 * time.Millisecond}, {1000 * time.Second, 14, 2 * time.Minute}, {100 * time.Hour, 10, 16 * time.Hour},
	}
	for _, tt := range tests {
		if got := tickStep(tt.length, tt.most); got != tt.want {
			t.Errorf("tickStep(%v, %v): got %v, want %v", tt.length, tt.most, got, tt.want)
		}
	}
}

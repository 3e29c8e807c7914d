package picture

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/internal/timeline"
	"github.com/rollout-lab/rollout-lab/reports/svg"
)

// drawn are trials with everything that a picture can hold.
func drawn() []Trial {
	const length = 30 * time.Second
	var trials []Trial
	for i := range 3 {
		tl := binsOf(300, 100*time.Millisecond)
		tl.Bins[120] = timeline.Bin{From: tl.Bins[120].From, Planned: 100, OK: 10, Failed: 90, Denied: 40}
		tl.Action = timeline.Span{From: 5 * time.Second, To: time.Duration(8+10*i) * time.Second, Open: i == 2}
		for n := range 10 * (i + 1) {
			tl.Lanes = append(tl.Lanes, timeline.Lane{Instance: fmt.Sprintf("an instance with a long name, number %d of them", n), Revision: "r1",
				Verdict:    []timeline.StateSpan{{Span: timeline.Span{To: 9 * time.Second}, State: timeline.Ready}, {Span: timeline.Span{From: 9 * time.Second, To: length, Open: true}, State: timeline.Gone}},
				Truth:      []timeline.StateSpan{{Span: timeline.Span{From: time.Second, To: length}, State: timeline.Serving}},
				FalseReady: []timeline.Span{{From: 0, To: time.Second}}})
		}
		for at := time.Duration(0); at < length && i > 0; at += 100 * time.Millisecond {
			tl.Pressure = append(tl.Pressure, timeline.Pressure{Span: timeline.Span{From: at, To: at + 100*time.Millisecond}, Share: float64(at) / float64(length)})
		}
		trials = append(trials, Trial{Name: fmt.Sprintf("design %d", i), Summary: []string{"invalid trial", "100 % ok", "0 of 1 lost", "outage none"}[:i+2],
			Action: "rollout", Timeline: &tl, Zero: 5 * time.Second})
	}
	return trials
}

// box is what a shape covers, as far as that can be told from its coordinates.
type box struct{ x0, y0, x1, y1 float64 }

// flat are the shapes of an image without their groups.
func flat(shapes []svg.Shape) (all []svg.Shape) {
	for _, s := range shapes {
		if g, ok := s.(svg.Group); ok {
			all = append(all, flat(g.Shapes)...)
			continue
		}
		all = append(all, s)
	}
	return all
}

func covers(s svg.Shape) (class string, b box) {
	switch s := s.(type) {
	case svg.Rect:
		return s.Class, box{s.X, s.Y, s.X + s.Width, s.Y + s.Height}
	case svg.Text:
		return s.Class, box{s.X, s.Y, s.X, s.Y}
	case svg.Circle:
		return s.Class, box{s.X - s.R, s.Y - s.R, s.X + s.R, s.Y + s.R}
	}
	return "", box{}
}

func TestEverythingLiesInThePicture(t *testing.T) {
	dots, ok := Dots("about", []Row{{Name: "a", Median: 10, Lo: 5, Hi: 1000, Ranged: true, Dots: []Dot{{At: time.Second}, {At: time.Millisecond, Invalid: true}}}, {Name: "b"}})
	if !ok {
		t.Fatal("no dots")
	}
	for name, im := range map[string]svg.Image{
		"wide": Timeline("title", "about", drawn(), Wide(600), true), "narrow": Timeline("title", "about", drawn(), Narrow(600), true),
		"alone": Timeline("title", "about", drawn(), Alone(600), false), "dots": dots,
	} {
		for _, s := range flat(im.Shapes) {
			if class, b := covers(s); b.x0 < 0 || b.y0 < 0 || b.x1 > im.Width || b.y1 > im.Height {
				t.Errorf("%s: %s covers %v, outside of %v x %v", name, class, b, im.Width, im.Height)
			}
		}
	}
}

// A trial begins where the one above it has ended, whatever that one holds.
func TestTrialsDoNotOverlap(t *testing.T) {
	for name, l := range map[string]Layout{"wide": Wide(600), "narrow": Narrow(600), "alone": Alone(600)} {
		bottom, groups := 0.0, 0
		for _, s := range Timeline("title", "about", drawn(), l, true).Shapes {
			g, ok := s.(svg.Group)
			if !ok {
				continue
			}
			groups++
			top, end := 1e9, 0.0
			for _, s := range flat(g.Shapes) {
				if _, b := covers(s); b != (box{}) {
					top, end = min(top, b.y0), max(end, b.y1)
				}
			}
			if top < bottom {
				t.Errorf("%s: trial %d begins at %v, the one before it ends at %v", name, groups, top, bottom)
			}
			bottom = end
		}
		if groups != 3 {
			t.Errorf("%s: got %d trials, want 3", name, groups)
		}
	}
}

func TestNothingLostIsNoPicture(t *testing.T) {
	if _, ok := Dots("about", []Row{{Name: "a", Dots: []Dot{{}}}}); ok {
		t.Error("dots of nothing")
	}
}

// A fault is a bar with its name and a band, and a mark in the lane of each instance that it was
// done to; what does not last and what is not over are drawn as that.
func TestFaultsAreDrawn(t *testing.T) {
	fault := func(name string, lasts time.Duration, touched ...timeline.Touch) timeline.Fault {
		f := timeline.Fault{Fault: record.Fault{Name: name, For: lasts, Target: "one instance"}, Touched: touched}
		if len(touched) > 0 {
			f.Span = touched[0].Span
		}
		return f
	}
	span := func(from, to time.Duration, open bool) timeline.Span {
		return timeline.Span{From: from, To: to, Open: open}
	}
	tl := &timeline.Timeline{To: 10 * time.Second, BinWidth: 100 * time.Millisecond, Lanes: []timeline.Lane{{Instance: "a"}, {Instance: "b"}}}
	draw := func(faults ...timeline.Fault) string {
		of := *tl
		of.Faults = faults
		return Timeline("t", "", []Trial{{Name: "d", Timeline: &of}}, Wide(100), false).String()
	}
	for _, tc := range []struct {
		name       string
		text       string
		want       []string
		bands, bar int
	}{
		{"none", draw(), nil, 0, 0},
		{"never injected", draw(fault("pause", time.Second)), nil, 0, 0},
		{"lasting", draw(fault("pause", 2*time.Second, timeline.Touch{Instance: "a", Span: span(time.Second, 3*time.Second, false)})), []string{">pause: one instance, 2.00 s<", "fault pause for 2.00 s"}, 1, 1},
		{"at once", draw(fault("kill", 0, timeline.Touch{Instance: "a", Span: span(time.Second, time.Second, false)})), []string{">kill: one instance<"}, 0, 1},
		{"never over", draw(fault("pause", time.Second, timeline.Touch{Instance: "b", Span: span(time.Second, 9*time.Second, true)})), []string{">pause: one instance, never over<"}, 1, 1},
		{"in none of the instances", draw(fault("outage", time.Second, timeline.Touch{Span: span(time.Second, 2*time.Second, false)})), []string{">outage: one instance, 1.00 s<"}, 1, 1},
		{"more than have room", draw(slices.Repeat([]timeline.Fault{fault("pause", time.Second, timeline.Touch{Instance: "a", Span: span(time.Second, 2*time.Second, false)})}, 7)...), nil, 7, 7},
	} {
		for _, want := range tc.want {
			if !strings.Contains(tc.text, want) {
				t.Errorf("%s: no %q in %s", tc.name, want, tc.text)
			}
		}
		// The legend has a bar and a mark of its own.
		if got := strings.Count(tc.text, `class="fault-band"`); got != tc.bands {
			t.Errorf("%s: %d bands, want %d", tc.name, got, tc.bands)
		}
		if got := strings.Count(tc.text, `class="fault"`); tc.bar > 0 && got != tc.bar+1 || tc.bar == 0 && got != 0 {
			t.Errorf("%s: %d bars, want %d and one in the legend", tc.name, got, tc.bar)
		}
		if hit := strings.Contains(tc.text, `class="fault-mark"`); hit != (tc.bar > 0 && tc.name != "in none of the instances") {
			t.Errorf("%s: marks in lanes: %v", tc.name, hit)
		}
	}
}

package picture

import (
	"math"
	"slices"

	"github.com/rollout-lab/rollout-lab/internal/timeline"
	"github.com/rollout-lab/rollout-lab/reports/format"
	"github.com/rollout-lab/rollout-lab/reports/svg"
)

const (
	faultRow  = 16.0 // height of a fault's bar with its name, above the plot
	mostRows  = 4    // of faults that are drawn with a bar of their own
	faultBar  = 10.0
	leastMark = 3.0 // a fault is never drawn narrower than this, however short it was
)

// faults are those of a trial that were injected.
func (t Trial) faults() (all []*timeline.Fault) {
	for i := range t.Timeline.Faults {
		if f := &t.Timeline.Faults[i]; f.Injected() {
			all = append(all, f)
		}
	}
	return all
}

func (t Trial) faulted() bool { return len(t.faults()) > 0 }

// hit reports whether a fault was in an instance.
func (t Trial) hit() bool {
	return slices.ContainsFunc(t.faults(), func(f *timeline.Fault) bool {
		return slices.ContainsFunc(f.Touched, func(touch timeline.Touch) bool { return touch.Instance != "" })
	})
}

// faultRoom is the room that the bars of a trial's faults take above its plot.
func (t Trial) faultRoom() float64 { return float64(min(len(t.faults()), mostRows)) * faultRow }

// faultBands draws each fault as a bar with its name above the plot, which begins at top, and as
// a band over all that follows, down to bottom.
func (l Layout) faultBands(t Trial, a axis, top, bottom float64) (bands, bars []svg.Shape) {
	y := top - 18 - t.faultRoom()
	for i, f := range t.faults() {
		x0, x1 := a.x(f.From), a.x(f.To)
		if f.Open {
			x1 = a.x(a.to)
		}
		x1 = math.Max(x1, x0+leastMark)
		row := y + float64(min(i, mostRows-1))*faultRow
		edges := []svg.Step{svg.Move(x0, row), svg.Down(bottom)}
		if f.Lasts() {
			bands = append(bands, svg.Rect{Class: "fault-band", X: x0, Y: row, Width: x1 - x0, Height: bottom - row})
			if !f.Open {
				edges = append(edges, svg.Move(x1, row), svg.Down(bottom))
			}
		}
		bars = append(bars, svg.Path{Class: "fault-edge", Steps: edges}, svg.Path{Class: "fault", Steps: svg.Box(x0, row, x1-x0, faultBar)})
		name := label("t-fault", x1+6, row+9, l.faultName(f))
		if x1 > l.left+0.6*l.plotWidth() {
			name.Anchor, name.X = "end", x0-6
		}
		bars = append(bars, name)
	}
	return bands, bars
}

func (l Layout) faultName(f *timeline.Fault) string {
	name := format.Clean(f.Name)
	if !l.narrow() && f.Target != "" {
		name += ": " + format.Clean(f.Target)
	}
	switch {
	case f.Open:
		name += ", never over"
	case f.Lasts():
		name += ", " + format.Span(f.Len())
	}
	most := 52
	if l.narrow() {
		most = 26
	}
	return format.Shorten(name, most)
}

// faultMarks draw, over an instance's strips, when a fault was in it.
func (t Trial) faultMarks(instance string, a axis, strips float64) (marks []svg.Shape, title string) {
	steps := []svg.Step{}
	for _, f := range t.faults() {
		for _, touch := range f.Touched {
			if touch.Instance != instance || instance == "" {
				continue
			}
			x0, x1 := a.x(touch.From), a.x(touch.To)
			steps = append(steps, svg.Box(x0, strips-4, math.Max(x1-x0, leastMark), 3)...)
			if title += "; fault " + format.Clean(f.Name); f.Lasts() {
				title += " for " + format.Span(touch.Len())
			}
		}
	}
	if len(steps) > 0 {
		marks = append(marks, svg.Path{Class: "fault-mark", Steps: steps})
	}
	return marks, title
}

package picture

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/timeline"
	"github.com/rollout-lab/rollout-lab/reports/format"
	"github.com/rollout-lab/rollout-lab/reports/svg"
)

// mostSpans is how many stretches of a lane are drawn one by one.
const mostSpans = 200

// Lanes picks the lanes that are shown when there are too many: those that were called
// ready and were not for longest, in their own order.
func Lanes(lanes []timeline.Lane, limit int) []*timeline.Lane {
	all := make([]*timeline.Lane, len(lanes))
	for i := range lanes {
		all[i] = &lanes[i]
	}
	if len(all) <= limit {
		return all
	}
	worst := slices.Clone(all)
	slices.SortStableFunc(worst, func(a, b *timeline.Lane) int { return cmp.Compare(Total(b.FalseReady), Total(a.FalseReady)) })
	kept := worst[:limit]
	return slices.DeleteFunc(all, func(l *timeline.Lane) bool { return !slices.Contains(kept, l) })
}

// Total is how long spans are together.
func Total(spans []timeline.Span) time.Duration {
	var sum time.Duration
	for _, s := range spans {
		sum += s.Len()
	}
	return sum
}

// stateClass is the class that a state is drawn with; a state from outside the
// vocabulary gets one that says so, never its own text.
func stateClass(s timeline.State) string {
	switch s {
	case timeline.Starting, timeline.Ready, timeline.Unready, timeline.Draining, timeline.Gone, timeline.Serving:
		return string(s)
	case timeline.NotServing:
		return "not-serving"
	}
	return "unknown"
}

// lane draws an instance from y down: the runtime's verdict, the truth under it, and
// hatched over both where the runtime called it ready and it was not.
func (l Layout) lane(t Trial, lane *timeline.Lane, a axis, y float64, first bool) svg.Group {
	name := format.Clean(lane.Instance)
	title := name + ", revision " + format.Clean(lane.Revision)
	if d := Total(lane.FalseReady); d > 0 {
		title += ": ready for " + format.Span(d) + " while it could not serve"
	}
	strips, caption := y, label("t-lane", l.indent, y+11, format.Shorten(name, 24))
	if l.narrow() {
		strips, caption = y+14, label("t-lane", l.left, y+10, format.Shorten(name, 48))
	}
	marks, faulted := t.faultMarks(lane.Instance, a, strips)
	title += faulted
	most := min(mostSpans, l.columns)
	g := svg.Group{Class: "lane", Title: title, Shapes: []svg.Shape{
		caption,
		// A transparent strip, so that the whole row answers to the pointer.
		svg.Rect{Class: "row", Y: y, Width: l.width, Height: l.pitch() - 3},
	}}
	g.Shapes = append(g.Shapes, states(coarse(lane.Verdict, a.from, a.to, most), a, strips, runtimeHeight)...)
	g.Shapes = append(g.Shapes, states(coarse(lane.Truth, a.from, a.to, most), a, strips+runtimeHeight+1, probeHeight)...)
	gap := a.pixels(1)
	if len(lane.FalseReady) > most {
		gap = (a.to - a.from) / time.Duration(most) // as coarse as the strips
	}
	falseReady := svg.Path{Class: "false-ready"}
	for _, s := range near(lane.FalseReady, gap) {
		x0, x1 := a.x(s.From), a.x(s.To)
		falseReady.Steps = append(falseReady.Steps, svg.Box(x0, strips-1, math.Max(x1-x0, 1.5), runtimeHeight+probeHeight+3)...)
	}
	if len(falseReady.Steps) > 0 {
		g.Shapes = append(g.Shapes, falseReady)
	}
	g.Shapes = append(g.Shapes, marks...)
	if first {
		g.Shapes = append(g.Shapes, label("t-small", l.scaleX(), strips+8, "runtime"), label("t-small", l.scaleX(), strips+18, "probe"))
	}
	return g
}

// states draws the stretches of a strip, one path for each state.
func states(spans []timeline.StateSpan, a axis, y, height float64) []svg.Shape {
	var paths []svg.Path
	for _, s := range spans {
		class := stateClass(s.State)
		at := slices.IndexFunc(paths, func(p svg.Path) bool { return p.Class == class })
		if at < 0 {
			at = len(paths)
			paths = append(paths, svg.Path{Class: class})
		}
		x0, x1 := a.x(s.From), a.x(s.To)
		if s.Open {
			x1 = a.x(a.to)
		}
		steps := svg.Box(x0, y, math.Max(x1-x0, 0.5), height)
		if s.State == timeline.Gone {
			steps = []svg.Step{svg.Move(x0, y+height/2), svg.Across(x1)}
		}
		paths[at].Steps = append(paths[at].Steps, steps...)
	}
	shapes := make([]svg.Shape, len(paths))
	for i, p := range paths {
		shapes[i] = p
	}
	return shapes
}

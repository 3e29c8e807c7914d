package picture

import (
	"slices"

	"github.com/rollout-lab/rollout-lab/internal/timeline"
	"github.com/rollout-lab/rollout-lab/reports/svg"
)

// pressureLimit is the share of the time from which on a machine has no CPU to spare.
const pressureLimit = 0.80

const pressureHeight = 15.0

// Pressed are the stretches in which tasks waited for a CPU for more than the limit.
func Pressed(all []timeline.Pressure) (spans []timeline.Span) {
	for _, p := range all {
		switch n := len(spans); {
		case p.Share <= pressureLimit:
		case n > 0 && spans[n-1].To == p.From:
			spans[n-1].To = p.To
		default:
			spans = append(spans, p.Span)
		}
	}
	return spans
}

// pressed reports whether it is known how long tasks waited for a CPU.
func (t Trial) pressed() bool { return len(t.Timeline.Pressure) > 0 }

// pressure draws the share of the time in which tasks waited for a CPU, from y down: how busy
// the machine was, which is nothing that the target did. What lies above the limit stands out.
func (l Layout) pressure(t Trial, a axis, y float64) svg.Group {
	top, caption := y, label("t-lane", l.indent, y+11, "CPU pressure")
	if l.narrow() {
		top, caption = y+14, label("t-lane", l.left, y+10, "CPU pressure")
	}
	limit := top + pressureHeight*(1-pressureLimit)
	var all, high area
	for _, p := range mergedPressure(t.Timeline.Pressure, l.columns) {
		x0, x1 := a.x(p.From), a.x(p.To)
		all.add(x0, x1, p.Share*pressureHeight)
		if p.Share > pressureLimit {
			high.add(x0, x1, p.Share*pressureHeight)
		}
	}
	g := svg.Group{Class: "lane", Title: "CPU pressure: the share of the time in which some task was ready to run and waited for a CPU; the line is at 80 %", Shapes: []svg.Shape{
		caption, svg.Rect{Class: "plot", X: l.left, Y: top, Width: l.plotWidth(), Height: pressureHeight},
	}}
	for _, p := range []svg.Path{{Class: "pressure", Steps: all.steps(top + pressureHeight)}, {Class: "pressure-high", Steps: high.steps(top + pressureHeight)}} {
		if len(p.Steps) > 0 {
			g.Shapes = append(g.Shapes, p)
		}
	}
	line := svg.Path{Class: "pressure-limit", Steps: []svg.Step{svg.Move(l.left, limit), svg.Across(l.left + l.plotWidth())}}
	g.Shapes = append(g.Shapes, line, label("t-small", l.scaleX(), limit+3, "80 %"), label("t-small", l.scaleX(), top+pressureHeight+1, "0 %"))
	return g
}

// mergedPressure are at most limit stretches, each the mean of those that it is made of.
func mergedPressure(all []timeline.Pressure, limit int) []timeline.Pressure {
	each := (len(all) + limit - 1) / max(limit, 1)
	if each <= 1 {
		return all
	}
	var out []timeline.Pressure
	for some := range slices.Chunk(all, each) {
		var waited, known float64
		for _, p := range some {
			waited += p.Share * float64(p.Len())
			known += float64(p.Len())
		}
		out = append(out, timeline.Pressure{Span: timeline.Span{From: some[0].From, To: some[len(some)-1].To}, Share: waited / known})
	}
	return out
}

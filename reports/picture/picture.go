// Package picture draws what a run measured: the timelines of trials on one axis, and what
// each trial cost as dots. It works with coordinates as numbers and gives images as values
// of package svg. What stands beside a drawing in words is given to it; it takes no
// judgement and knows no file.
package picture

import (
	_ "embed"
	"math"
	"strings"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/timeline"
	"github.com/rollout-lab/rollout-lab/reports/format"
	"github.com/rollout-lab/rollout-lab/reports/svg"
)

// Style is the style sheet that the pictures need. Patterns are the fills that it names;
// a page needs them once, whatever it shows.
var (
	//go:embed picture.css
	Style string
	//go:embed patterns.svg
	Patterns string
)

// Trial is one trial to draw, with the words that stand beside it.
type Trial struct {
	Name     string   // of its design
	Summary  []string // what became of it, at most four lines
	Action   string   // "" where nothing is done there but what its faults say
	Timeline *timeline.Timeline
	Zero     time.Duration // where the axis has its 0, the start of the action
}

// Layout is the geometry of a timeline picture.
type Layout struct {
	width, left, right float64 // left and right are the margins of the plot
	columns            int     // most columns on the time axis
	lanes              int     // most instances a trial
	kind               string  // "wide" or "narrow"
	indent             float64 // of what stands beside the plot
	head               float64 // height of the title, which stands in a picture that travels alone
}

// Wide has its captions beside the plot.
func Wide(columns int) Layout {
	return Layout{kind: "wide", width: 1120, left: 172, right: 56, columns: columns, lanes: 16}
}

// Narrow has its captions above the plot; it is for the screens of phones.
func Narrow(columns int) Layout {
	return Layout{kind: "narrow", width: 358, left: 4, right: 54, columns: min(columns, 180), lanes: 12}
}

// Alone is Wide for a file of its own: with a title, a background and its own style.
func Alone(columns int) Layout {
	l := Wide(columns)
	l.left, l.right, l.indent, l.head = l.left+16, l.right+8, 16, 38
	return l
}

func (l Layout) narrow() bool       { return l.kind == "narrow" }
func (l Layout) alone() bool        { return l.head > 0 }
func (l Layout) plotWidth() float64 { return l.width - l.left - l.right }
func (l Layout) scaleX() float64    { return l.width - l.right + 6 } // where the names of a scale stand

// pitch is the height of a lane with what separates it from the next one.
func (l Layout) pitch() float64 {
	if l.narrow() {
		return 37 // the instance's name is above its strips
	}
	return 23
}

// Heights and gaps of a picture's parts.
const (
	bandHeight    = 60.0
	latencyHeight = 46.0
	runtimeHeight = 10.0
	probeHeight   = 6.0
	trialGap      = 14.0
	leastFailure  = 3.0 // a failure is never drawn lower than this, however few they were
)

// axis says where a time lies; what is beyond its ends lies at them.
type axis struct {
	from, to    time.Duration
	left, width float64
}

func (a axis) x(d time.Duration) float64 {
	return a.left + math.Min(math.Max(float64(d-a.from)/float64(a.to-a.from), 0), 1)*a.width
}

// at is the axis for times whose zero is later by that much.
func (a axis) at(zero time.Duration) axis {
	a.from, a.to = a.from+zero, a.to+zero
	return a
}

// pixels is how long a number of pixels is.
func (a axis) pixels(n float64) time.Duration {
	return time.Duration(float64(a.to-a.from) / a.width * n)
}

// axisOf is the axis that all trials lie on, from the start of the action.
func axisOf(trials []Trial, l Layout) axis {
	a := axis{left: l.left, width: l.plotWidth()}
	for i, t := range trials {
		from, to := t.Timeline.From-t.Zero, t.Timeline.To-t.Zero
		if i == 0 {
			a.from, a.to = from, to
		}
		a.from, a.to = min(a.from, from), max(a.to, to)
	}
	a.to = max(a.to, a.from+time.Second)
	return a
}

// Timeline draws trials one under the other on the same scales. about says in words what
// there is to see. data adds what a page's script needs to tell what is under the pointer.
func Timeline(title, about string, trials []Trial, l Layout, data bool) svg.Image {
	a, scale := axisOf(trials, l), newLatencyScale(trials)
	top := l.head + 6
	var plots []svg.Shape
	y := l.head
	for i, t := range trials {
		if i > 0 {
			y += trialGap
		}
		var plot svg.Shape
		plot, y = l.trial(t, y, a, scale, data)
		plots = append(plots, plot)
	}
	bottom := y
	grid, names, y := l.ticks(trials, a, top, bottom)
	legend, y := l.legend(trials, y)

	im := svg.Image{Class: "timeline", Label: title + ". " + about, Width: l.width, Height: y + 4, File: l.alone()}
	if l.alone() {
		im.Shapes = append(im.Shapes, svg.Raw("<style>"+Style+"</style>"), svg.Raw(Patterns),
			svg.Rect{Class: "card", X: 0.5, Y: 0.5, Width: im.Width - 1, Height: im.Height - 1, Radius: 6})
	} else {
		im.Class += " " + l.kind
		im.Attrs = []svg.Attr{pixel("data-left", a.left), pixel("data-width", a.width), pixel("data-top", top), pixel("data-bottom", bottom),
			{Name: "data-from", Value: format.Seconds(a.from)}, {Name: "data-to", Value: format.Seconds(a.to)}}
	}
	im.Shapes = append(append(im.Shapes, grid), plots...)
	if l.alone() {
		im.Shapes = append(im.Shapes, label("t-title", l.indent, 30, format.Shorten(title, 120)))
	}
	im.Shapes = append(append(im.Shapes, names...), legend...)
	return im
}

func pixel(name string, f float64) svg.Attr { return svg.Attr{Name: name, Value: svg.Number(f)} }

// label is a text that begins at a point.
func label(class string, x, y float64, s string) svg.Text {
	return svg.Text{Class: class, Anchor: "start", X: x, Y: y, Text: s}
}

// trial draws one trial from y down: its caption, how its requests fared, the response time
// and its instances. It returns where it ends.
func (l Layout) trial(t Trial, y float64, a axis, scale latencyScale, data bool) (svg.Shape, float64) {
	shown := Lanes(t.Timeline.Lanes, l.lanes)
	cols, _ := Columns(t.Timeline, l.columns)
	caption, top := l.caption(t, y)
	latencyTop := top + bandHeight + 13
	if l.narrow() {
		latencyTop += 14
	}
	lanesTop := latencyTop + latencyHeight + 10
	lanesEnd := lanesTop + float64(len(shown))*l.pitch()
	more := len(t.Timeline.Lanes) - len(shown)
	if more > 0 {
		lanesEnd += 16
	}
	bottom := lanesEnd
	if t.pressed() {
		bottom += l.pitch()
	}
	own := a.at(t.Zero)

	faults, bars := l.faultBands(t, own, top, bottom)
	g := svg.Group{Class: "design", Shapes: caption}
	g.Shapes = append(g.Shapes, svg.Rect{Class: "plot", X: l.left, Y: top, Width: l.plotWidth(), Height: bandHeight})
	band, edges := action(t, own, top, bottom)
	g.Shapes = append(append(g.Shapes, band...), faults...)
	g.Shapes = append(g.Shapes, bands(cols, own, top)...)
	g.Shapes = append(g.Shapes, label("t-scale", l.scaleX(), top+8, "100 %"), label("t-scale", l.scaleX(), top+bandHeight, "0 %"))
	g.Shapes = append(append(g.Shapes, edges...), bars...)
	g.Shapes = append(g.Shapes, l.latency(cols, own, scale, latencyTop)...)
	for i, lane := range shown {
		g.Shapes = append(g.Shapes, l.lane(t, lane, own, lanesTop+float64(i)*l.pitch(), i == 0))
	}
	if more > 0 {
		g.Shapes = append(g.Shapes, label("t-note", l.indent, lanesEnd-8, "and "+format.Plural(more, "more instance", "more instances")+", in the table"))
	}
	if t.pressed() {
		g.Shapes = append(g.Shapes, l.pressure(t, own, lanesEnd))
	}
	// Where the script writes what is under the pointer, and the data for it.
	readout := svg.Text{Class: "t-readout", Anchor: "end", X: l.left + l.plotWidth(), Y: top - 5}
	if data && len(cols) > 0 {
		readout.Attrs = []svg.Attr{{Name: "data-columns", Value: columnData(cols, t.Zero)}}
	}
	g.Shapes = append(g.Shapes, readout)
	return g, bottom
}

// caption writes what a trial is: beside the plot, or above it from y down. It returns where
// the plot begins.
func (l Layout) caption(t Trial, y float64) (texts []svg.Shape, plotTop float64) {
	above := 18 + t.faultRoom() // room for the name of the action, and above it for the faults
	if !l.narrow() {
		top := y + above
		texts = append(texts, label("t-design", l.indent, top+11, format.Shorten(t.Name, 20)))
		for i, line := range t.Summary {
			texts = append(texts, label("t-note", l.indent, top+28+float64(i)*15, line))
		}
		return texts, top
	}
	n := min(2, len(t.Summary))
	texts = append(texts, label("t-design", l.left, y+20, format.Shorten(t.Name, 34)),
		label("t-note", l.left, y+36, strings.Join(t.Summary[:n], ", ")))
	last := y + 36
	if len(t.Summary) > n {
		last += 15
		texts = append(texts, label("t-note", l.left, last, strings.Join(t.Summary[n:], ", ")))
	}
	return texts, last + 8 + above
}

// action draws the band from the start of the action to its completion, and its edges,
// which belong over what is drawn next.
func action(t Trial, a axis, top, bottom float64) (band, edges []svg.Shape) {
	took := t.Timeline.Action
	if took == (timeline.Span{}) {
		return nil, nil
	}
	x0, x1, name := a.x(took.From), a.x(took.To), t.Action+", "+format.Span(took.Len())
	steps := []svg.Step{svg.Move(x0, top-10), svg.Down(bottom)}
	if took.Open {
		x1, name = a.x(a.to), t.Action+", never completed"
	}
	steps = append(steps, svg.Move(x0, top-4), svg.Across(x1))
	if !took.Open {
		steps = append(steps, svg.Move(x1, top-7), svg.Down(bottom))
	}
	band = []svg.Shape{svg.Rect{Class: "action", X: x0, Y: top - 4, Width: x1 - x0, Height: bottom - top + 4}}
	edges = []svg.Shape{svg.Path{Class: "action-edge", Steps: steps}}
	if t.Action == "" {
		return band, edges
	}
	return band, append(edges, label("t-action", x0+4, top-7, format.Shorten(name, 44)))
}

// bands draws how the requests of each column fared, as shares of the planned ones: ok
// from below, then failed, then wrongly denied.
func bands(cols []Column, a axis, top float64) []svg.Shape {
	var ok, failed, denied area
	for _, c := range cols {
		if c.Planned == 0 {
			continue
		}
		x0, x1 := a.x(c.From), a.x(c.To)
		all, no := c.shares()
		bad := atLeast(leastFailure, (all-no)*bandHeight)
		no = atLeast(leastFailure, no*bandHeight)
		ok.add(x0, x1, math.Max(bandHeight-bad-no, 0))
		if bad > 0 {
			failed.add(x0, x1, math.Min(bandHeight-no, bandHeight))
		}
		if no > 0 {
			denied.add(x0, x1, bandHeight)
		}
	}
	// Each is drawn from the base; the next one covers its lower part.
	var shapes []svg.Shape
	for _, p := range []svg.Path{
		{Class: "denied", Steps: denied.steps(top + bandHeight)},
		{Class: "failed", Steps: failed.steps(top + bandHeight)},
		{Class: "ok", Steps: ok.steps(top + bandHeight)},
	} {
		if len(p.Steps) > 0 {
			shapes = append(shapes, p)
		}
	}
	return shapes
}

// atLeast makes a height that is not 0 tall enough to be seen.
func atLeast(least, height float64) float64 {
	if height <= 0 {
		return height
	}
	return math.Max(height, least)
}

// area is a stepped area over a base line.
type area []stair

type stair struct{ x0, x1, height float64 }

func (a *area) add(x0, x1, height float64) {
	height = half(height)
	if height <= 0 {
		return
	}
	if n := len(*a); n > 0 && (*a)[n-1].x1 == x0 && (*a)[n-1].height == height {
		(*a)[n-1].x1 = x1
		return
	}
	*a = append(*a, stair{x0, x1, height})
}

func (a area) steps(base float64) []svg.Step {
	var steps []svg.Step
	for i, s := range a {
		if i == 0 || a[i-1].x1 != s.x0 {
			if i > 0 {
				steps = append(steps, svg.Down(base), svg.Close())
			}
			steps = append(steps, svg.Move(s.x0, base))
		}
		steps = append(steps, svg.Down(base-s.height), svg.Across(s.x1))
	}
	if len(steps) > 0 {
		steps = append(steps, svg.Down(base), svg.Close())
	}
	return steps
}

// half rounds to half a pixel, so that neighbours that look the same are the same.
func half(f float64) float64 { return math.Round(f*2) / 2 }

package picture

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/timeline"
	"github.com/rollout-lab/rollout-lab/reports/format"
	"github.com/rollout-lab/rollout-lab/reports/svg"
)

// ticks draws the seconds from the start of the action, or of the window, and returns where that ends.
func (l Layout) ticks(trials []Trial, a axis, top, bottom float64) (grid svg.Shape, names []svg.Shape, end float64) {
	least := 62.0 // pixels from one tick to the next
	if l.narrow() {
		least = 44
	}
	every := tickStep(a.to-a.from, a.width/least)
	lines := svg.Path{Class: "grid"}
	for at := time.Duration(math.Ceil(float64(a.from)/float64(every))) * every; at <= a.to; at += every {
		x, name, anchor := a.x(at), format.Tick(at)+" s", "middle"
		lines.Steps = append(lines.Steps, svg.Move(x, top), svg.Down(bottom+4))
		if at > 0 {
			name = "+" + name
		}
		if x < l.left+12 && l.narrow() {
			anchor = "start"
		}
		names = append(names, svg.Text{Class: "t-scale", Anchor: anchor, X: x, Y: bottom + 16, Text: name})
	}
	zero := "window"
	if slices.ContainsFunc(trials, func(t Trial) bool { return t.Action != "" }) {
		zero = "action"
	}
	names = append(names, svg.Text{Class: "t-note", Anchor: "middle", X: l.left + l.plotWidth()/2, Y: bottom + 32, Text: "seconds from the start of the " + zero})
	return lines, names, bottom + 42
}

// tickStep is a round step that gives at most most ticks.
func tickStep(length time.Duration, most float64) time.Duration {
	steps := []time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second,
		10 * time.Second, 20 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 20 * time.Minute, 30 * time.Minute, time.Hour}
	for _, s := range steps {
		if float64(length)/float64(s) <= most {
			return s
		}
	}
	step := time.Hour
	for float64(length)/float64(step) > most {
		step *= 2
	}
	return step
}

// marks are what a picture may hold, in words.
var marks = []struct {
	class, name string
	height      float64
}{
	{"ok", "ok", 10}, {"failed", "failed", 10}, {"denied", "wrongly denied", 10},
	{"starting", "starting", 10}, {"ready", "ready", 10}, {"draining", "draining", 10}, {"unready", "unready", 10},
	{"serving", "probe: serves", probeHeight}, {"not-serving", "probe: does not", probeHeight},
	{"false-ready", "false ready: called ready, cannot serve", 10},
	{"fault", "fault", 10}, {"fault-mark", "in this instance", 3},
	{"pressure", "CPU pressure: tasks wait for a CPU", 10}, {"pressure-high", "above 80 %", 10},
}

// onlyWhere are the marks that not every picture holds.
var onlyWhere = map[string]func(Trial) bool{"denied": Trial.denied, "fault": Trial.faulted, "fault-mark": Trial.hit, "pressure": Trial.pressed, "pressure-high": Trial.pressed}

// legend explains every mark from y down, and returns where it ends. Where nothing was
// denied wrongly there is no word of that, nor of a fault where there is none, nor of pressure
// that is not known.
func (l Layout) legend(trials []Trial, y float64) (shapes []svg.Shape, end float64) {
	x := l.indent
	y += 14
	for _, m := range marks {
		if is := onlyWhere[m.class]; is != nil && !slices.ContainsFunc(trials, is) {
			continue
		}
		width := 30 + float64(len(m.name))*6.4
		if x+width > l.width-l.indent && x > l.indent {
			x, y = l.indent, y+18
		}
		shapes = append(shapes, svg.Path{Class: m.class, Steps: svg.Box(x+1, y-5-m.height/2, 16, m.height)}, label("t-note", x+22, y, m.name))
		x += width
	}
	for _, line := range format.Fold(l.note(trials), int((l.width-2*l.indent)/5.8)) {
		y += 18
		shapes = append(shapes, label("t-note", l.indent, y, line))
	}
	return shapes, y + 6
}

// denied reports whether a request of the trial was denied wrongly.
func (t Trial) denied() bool {
	return slices.ContainsFunc(t.Timeline.Bins, func(b timeline.Bin) bool { return b.Denied > 0 })
}

// note says how coarsely the longest trial is drawn.
func (l Layout) note(trials []Trial) string {
	longest, each := 0, 1
	for _, t := range trials {
		if n := len(t.Timeline.Bins); n > longest {
			longest = n
			_, each = Columns(t.Timeline, l.columns)
		}
	}
	if each <= 1 {
		return "Shares of the planned requests; a failure is drawn at least 3 pixels high."
	}
	bin := trials[0].Timeline.BinWidth
	return fmt.Sprintf("One column is %s and shows the worst %s in it; a failure is drawn at least 3 pixels high.", format.Span(time.Duration(each)*bin), format.Span(bin))
}

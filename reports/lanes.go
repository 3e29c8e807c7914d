package reports

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/timeline"
)

// mostSpans is how many stretches of a lane are drawn one by one.
const mostSpans = 200

// drawnLanes picks the lanes that are drawn when there are too many: those that were
// called ready and were not for longest, in their own order.
func drawnLanes(lanes []timeline.Lane, limit int) []*timeline.Lane {
	all := make([]*timeline.Lane, len(lanes))
	for i := range lanes {
		all[i] = &lanes[i]
	}
	if len(all) <= limit {
		return all
	}
	byLie := slices.Clone(all)
	slices.SortStableFunc(byLie, func(a, b *timeline.Lane) int { return cmp.Compare(total(b.FalseReady), total(a.FalseReady)) })
	kept := byLie[:limit]
	return slices.DeleteFunc(all, func(l *timeline.Lane) bool { return !slices.Contains(kept, l) })
}

func total(spans []timeline.Span) time.Duration {
	var sum time.Duration
	for _, s := range spans {
		sum += s.To - s.From
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

// lane draws an instance: the runtime's verdict, the truth under it, and hatched over
// both where the runtime called it ready and it was not.
func (c *canvas) lane(s shot, l *timeline.Lane, first bool) lanePicture {
	name := clean(l.Instance)
	out := lanePicture{Title: name + ", revision " + clean(l.Revision)}
	if fr := total(l.FalseReady); fr > 0 {
		out.Title += ": ready for " + span(fr) + " while it could not serve"
	}
	y := c.y
	if c.Narrow {
		y += 14
		out.Marks = append(out.Marks, text("t-lane", "start", c.Left, y-4, shorten(name, 48)))
	} else {
		out.Marks = append(out.Marks, text("t-lane", "start", c.indent(), y+11, shorten(name, 24)))
	}
	// A transparent strip, so that the whole row answers to the pointer.
	out.Marks = append(out.Marks, rect("row", 0, c.y, c.Width, c.pitch()-3))
	out.Marks = append(out.Marks, c.states(l.Verdict, s.zero(), y, verdictHeight)...)
	out.Marks = append(out.Marks, c.states(l.Truth, s.zero(), y+verdictHeight+1, truthHeight)...)
	var lies strings.Builder
	gap := time.Duration(float64(c.to-c.from) / c.plotWidth())
	if most := min(mostSpans, c.Columns); len(l.FalseReady) > most {
		gap = (c.to - c.from) / time.Duration(most) // as coarse as the strips
	}
	for _, fr := range near(l.FalseReady, gap) {
		x0, x1 := c.x(fr.From-s.zero()), c.x(fr.To-s.zero())
		box(&lies, x0, y-1, math.Max(x1-x0, 1.5), verdictHeight+truthHeight+3)
	}
	if lies.Len() > 0 {
		out.Marks = append(out.Marks, mark{Class: "lie", D: lies.String()})
	}
	if first {
		right := c.Left + c.plotWidth() + 6
		out.Marks = append(out.Marks, text("t-small", "start", right, y+8, "runtime"), text("t-small", "start", right, y+18, "probe"))
	}
	return out
}

// states draws the stretches of a lane, one path for each state.
func (c *canvas) states(spans []timeline.StateSpan, zero time.Duration, y, h float64) []mark {
	paths := map[string]*strings.Builder{}
	var order []string
	for _, s := range coarse(spans, c.from+zero, c.to+zero, min(mostSpans, c.Columns)) {
		class := stateClass(s.State)
		if paths[class] == nil {
			paths[class] = &strings.Builder{}
			order = append(order, class)
		}
		x0, x1 := c.x(s.From-zero), c.x(s.To-zero)
		if s.Open {
			x1 = c.x(c.to)
		}
		if class == "gone" {
			fmt.Fprintf(paths[class], "M%s %sH%s", num(x0), num(y+h/2), num(x1))
			continue
		}
		box(paths[class], x0, y, math.Max(x1-x0, 0.5), h)
	}
	var marks []mark
	for _, class := range order {
		marks = append(marks, mark{Class: class, D: paths[class].String()})
	}
	return marks
}

func box(b *strings.Builder, x, y, w, h float64) {
	fmt.Fprintf(b, "M%s %sh%sv%sh-%sz", num(x), num(y), num(w), num(h), num(w))
}

// axis draws the seconds from the start of the action.
func (c *canvas) axis(p *picture) {
	bottom := c.y
	c.y += 16
	least := 62.0
	if c.Narrow {
		least = 44
	}
	every := tickStep(c.to-c.from, c.plotWidth()/least)
	var ticks strings.Builder
	first := time.Duration(math.Ceil(float64(c.from)/float64(every))) * every
	for at := first; at <= c.to; at += every {
		x := c.x(at)
		top := 6.0
		if c.Headed {
			top = 44
		}
		fmt.Fprintf(&ticks, "M%s %sV%s", num(x), num(top), num(bottom+4))
		label := offset(at)
		if at > 0 {
			label = "+" + label
		}
		anchor := "middle"
		if x < c.Left+12 && c.Narrow {
			anchor = "start"
		}
		p.Front = append(p.Front, text("t-scale", anchor, x, c.y, label+" s"))
	}
	p.Back = append(p.Back, mark{Class: "grid", D: ticks.String()})
	c.y += 16
	p.Front = append(p.Front, text("t-note", "middle", c.Left+c.plotWidth()/2, c.y, "seconds from the start of the action"))
	c.y += 10
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

// legend explains every mark that a picture may hold, in words.
func (c *canvas) legend(p *picture, shots []shot) {
	cols, each := 0, 1
	for _, s := range shots {
		if n := len(s.Trial.Timeline.Bins); n > cols {
			cols = n
			_, each = columns(&s.Trial.Timeline, c.Columns)
		}
	}
	items := []struct{ class, label string }{
		{"ok", "ok"}, {"failed", "failed"}, {"denied", "wrongly denied"},
		{"starting", "starting"}, {"ready", "ready"}, {"draining", "draining"}, {"unready", "unready"},
		{"serving", "probe: serves"}, {"not-serving", "probe: does not"}, {"lie", "false ready: called ready, cannot serve"},
	}
	x, left := c.indent(), c.indent()
	c.y += 14
	for _, it := range items {
		w := 30 + float64(len(it.label))*6.4
		if x+w > c.Width-c.indent() && x > left {
			x, c.y = left, c.y+18
		}
		h := 10.0
		if it.class == "serving" || it.class == "not-serving" {
			h = truthHeight
		}
		var b strings.Builder
		box(&b, x+1, c.y-10+(10-h)/2, 16, h)
		p.Front = append(p.Front, mark{Class: it.class, D: b.String()}, text("t-note", "start", x+22, c.y, it.label))
		x += w
	}
	note := "Shares of the planned requests; a failure is drawn at least 3 pixels high."
	if each > 1 && len(shots) > 0 {
		note = fmt.Sprintf("One column is %s and shows the worst %s in it; a failure is drawn at least 3 pixels high.",
			span(time.Duration(each)*shots[0].Trial.Timeline.BinWidth), span(shots[0].Trial.Timeline.BinWidth))
	}
	for _, line := range fold(note, int((c.Width-2*left)/5.8)) {
		c.y += 18
		p.Front = append(p.Front, text("t-note", "start", left, c.y, line))
	}
	c.y += 6
}

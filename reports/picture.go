package reports

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/timeline"
)

// layout is the geometry of a timeline picture. The wide one has its captions beside the
// plot, the narrow one above it.
type layout struct {
	Width, Left, Right float64 // Left and Right are the margins of the plot
	Columns            int     // most columns on the time axis
	Lanes              int     // most instances a design
	Narrow             bool
	Headed             bool // the title stands in the picture, because it travels alone
}

func wide(columns int) layout {
	return layout{Width: 1120, Left: 172, Right: 56, Columns: columns, Lanes: 16}
}

func narrow(columns int) layout {
	return layout{Width: 358, Left: 4, Right: 54, Columns: min(columns, 180), Lanes: 12, Narrow: true}
}

// Heights and gaps of a picture's parts.
const (
	bandHeight    = 60.0
	latencyHeight = 46.0
	verdictHeight = 10.0
	truthHeight   = 6.0
	lanePitch     = 23.0
	leastFailure  = 3.0 // a failure is never drawn lower than this, however few they were
)

// mark is one shape of a picture: a path, a text or a rectangle.
type mark struct {
	Class      string
	D          string // path
	Text       string
	X, Y, W, H string
	Anchor     string
	Title      string // what a pointer that rests on it is told
}

// lanePicture is one instance: its marks are a group, so that it can be highlighted.
type lanePicture struct {
	Title string
	Marks []mark
}

// designPicture is one design's part of a picture.
type designPicture struct {
	Marks []mark
	Lanes []lanePicture
	Front []mark // over the lanes
	// Readout is where the script writes what is under the pointer; Columns is the data
	// for it.
	ReadoutX, ReadoutY string
	Columns            string
}

// picture is the timeline of one trial a design, on one axis.
type picture struct {
	ID            string
	Width, Height string
	Narrow        bool
	Title, About  string
	Back, Front   []mark
	Designs       []designPicture
	// PlotLeft, PlotWidth, From and Step tell the script where the columns are.
	PlotLeft, PlotWidth, PlotTop, PlotBottom string
	From, To                                 string // seconds from the start of the action
}

// shot is one design's trial in a picture.
type shot struct {
	Design string
	Action string
	Trial  *judge.Trial
}

// zero is the start of the action, where the axis has its 0.
func (s shot) zero() time.Duration {
	if s.Trial.Window.From != 0 || s.Trial.Window.To != 0 {
		return s.Trial.Window.From
	}
	return s.Trial.Meta.WindowFrom
}

// canvas collects marks and knows where a time lies.
type canvas struct {
	layout
	from, to time.Duration // of the axis, from the start of the action
	y        float64
}

func (c *canvas) plotWidth() float64 { return c.Width - c.Left - c.Right }

// x is where an offset from the start of the action lies, kept within the plot.
func (c *canvas) x(d time.Duration) float64 {
	return c.Left + math.Min(math.Max(float64(d-c.from)/float64(c.to-c.from), 0), 1)*c.plotWidth()
}

func num(f float64) string { return trimZeros(strconv.FormatFloat(f, 'f', 1, 64)) }

func rect(class string, x, y, w, h float64) mark {
	return mark{Class: class, X: num(x), Y: num(y), W: num(math.Max(w, 0)), H: num(h)}
}

func text(class, anchor string, x, y float64, s string) mark {
	return mark{Class: class, Anchor: anchor, X: num(x), Y: num(y), Text: s}
}

// timelinePicture draws the shots one under the other on the same scales. data adds what
// the script needs to say what is under the pointer.
func timelinePicture(id, title string, shots []shot, l layout, data bool) picture {
	c := &canvas{layout: l}
	lo, hi := time.Duration(0), time.Duration(0)
	for i, s := range shots {
		from, to := s.Trial.Timeline.From-s.zero(), s.Trial.Timeline.To-s.zero()
		if i == 0 {
			lo, hi = from, to
		}
		lo, hi = min(lo, from), max(hi, to)
	}
	c.from, c.to = lo, max(hi, lo+time.Second)
	p := picture{ID: id, Title: title, About: aboutPicture(shots), Narrow: l.Narrow, PlotLeft: num(c.Left), PlotWidth: num(c.plotWidth()),
		From: num3(c.from), To: num3(c.to)}
	if l.Headed {
		p.Front = append(p.Front, text("t-title", "start", 16, 30, shorten(title, 120)))
		c.y = 38
	}
	p.PlotTop = num(c.y + 6)
	scale := newLatencyScale(shots)
	for i, s := range shots {
		if i > 0 {
			c.y += 14
		}
		p.Designs = append(p.Designs, c.design(s, scale, data))
	}
	p.PlotBottom = num(c.y)
	c.axis(&p)
	c.legend(&p, shots)
	p.Width, p.Height = num(c.Width), num(c.y+4)
	return p
}

func num3(d time.Duration) string {
	return trimZeros(strconv.FormatFloat(d.Seconds(), 'f', 3, 64))
}

// offset is num3 for people.
func offset(d time.Duration) string { return strings.Replace(num3(d), "-", "−", 1) }

// aboutPicture says in words what the picture shows, for those who cannot see it.
func aboutPicture(shots []shot) string {
	var parts []string
	for _, s := range shots {
		t := s.Trial
		part := fmt.Sprintf("%s, trial %d: %s", clean(s.Design), t.Meta.N, lost(t.Failed, t.Planned))
		if t.LongestOutage.Failures > 0 {
			part += ", longest outage " + outageText(t)
		}
		if t.FalseReady > 0 {
			part += ", instances called ready while they could not serve for " + span(t.FalseReady) + " in all"
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ". ") + "."
}

func outageText(t *judge.Trial) string {
	if t.LongestOutage.Failures == 0 && t.LongestOutage.Len() == 0 {
		return "none"
	}
	if t.LongestOutage.Open {
		return "at least " + span(t.LongestOutage.Len())
	}
	return span(t.LongestOutage.Len())
}

// design draws one shot: caption, bands, latency, lanes.
func (c *canvas) design(s shot, scale latencyScale, data bool) designPicture {
	var d designPicture
	t := s.Trial
	summary := []string{share(t.OK, t.Planned) + " ok", lost(t.Failed, t.Planned)}
	var worse []string
	if t.Failed > 0 {
		worse = append(worse, "outage "+outageText(t))
	}
	if t.Breaches > 0 {
		worse = append(worse, plural(int(min(t.Breaches, math.MaxInt32)), "breach", "breaches"))
	}
	if len(worse) > 0 {
		summary = append(summary, strings.Join(worse, ", "))
	}
	if !t.Valid {
		summary = append([]string{"trial does not count"}, summary...)
	}
	name := clean(s.Design)
	if c.Narrow {
		c.y += 20
		d.Marks = append(d.Marks, text("t-design", "start", c.Left, c.y, shorten(name, 34)))
		c.y += 16
		d.Marks = append(d.Marks, text("t-note", "start", c.Left, c.y, strings.Join(summary[:min(2, len(summary))], ", ")))
		if len(summary) > 2 {
			c.y += 15
			d.Marks = append(d.Marks, text("t-note", "start", c.Left, c.y, strings.Join(summary[2:], ", ")))
		}
		c.y += 8
	}
	c.y += 18
	top := c.y
	if !c.Narrow {
		d.Marks = append(d.Marks, text("t-design", "start", c.indent(), top+11, shorten(name, 20)))
		for i, line := range summary {
			d.Marks = append(d.Marks, text("t-note", "start", c.indent(), top+28+float64(i)*15, line))
		}
	}
	cols, _ := columns(&t.Timeline, c.Columns)
	latencyTop := top + bandHeight + 13
	laneTop := latencyTop + latencyHeight + 10
	if c.Narrow {
		laneTop += 14
	}
	lanes := drawnLanes(t.Timeline.Lanes, c.Lanes)
	bottom := laneTop + float64(len(lanes))*c.pitch()
	d.Marks = append(d.Marks, rect("plot", c.Left, top, c.plotWidth(), bandHeight))
	edges := c.action(&d, s, top, bottom)
	c.bands(&d, s, cols, top)
	d.Marks = append(d.Marks, edges...)
	c.latency(&d, s, cols, scale, latencyTop)
	c.y = laneTop
	for i, l := range lanes {
		d.Lanes = append(d.Lanes, c.lane(s, l, i == 0))
		c.y += c.pitch()
	}
	if more := len(t.Timeline.Lanes) - len(lanes); more > 0 {
		d.Marks = append(d.Marks, text("t-note", "start", c.indent(), c.y+8, fmt.Sprintf("and %d more instances, in the table", more)))
		c.y += 16
	}
	d.ReadoutX, d.ReadoutY = num(c.Left+c.plotWidth()), num(top-5)
	if data {
		d.Columns = columnData(cols, s.zero())
	}
	return d
}

func (c *canvas) indent() float64 {
	if c.Headed {
		return 16
	}
	return 0
}

func (c *canvas) pitch() float64 {
	if c.Narrow {
		return lanePitch + 14
	}
	return lanePitch
}

// action draws the band from the start of the action to its completion, and returns its
// edges, which belong over what is drawn next.
func (c *canvas) action(d *designPicture, s shot, top, bottom float64) []mark {
	a := s.Trial.Timeline.Action
	if a == (timeline.Span{}) {
		return nil
	}
	from, to := a.From-s.zero(), a.To-s.zero()
	label := clean(s.Action) + ", " + span(a.To-a.From)
	if a.Open {
		to, label = c.to, clean(s.Action)+", never completed"
	}
	x0, x1 := c.x(from), c.x(to)
	d.Marks = append(d.Marks, rect("action", x0, top-4, x1-x0, bottom-top+4))
	edge := fmt.Sprintf("M%s %sV%sM%s %sH%s", num(x0), num(top-10), num(bottom), num(x0), num(top-4), num(x1))
	if !a.Open {
		edge += fmt.Sprintf("M%s %sV%s", num(x1), num(top-7), num(bottom))
	}
	return []mark{{Class: "action-edge", D: edge}, text("t-action", "start", x0+4, top-7, shorten(label, 44))}
}

// bands draws how the requests of each column fared, as shares of the planned ones: ok
// from below, then failed, then wrongly denied.
func (c *canvas) bands(d *designPicture, s shot, cols []column, top float64) {
	base := top + bandHeight
	var ok, failed, denied area
	for _, col := range cols {
		x0, x1 := c.x(col.From-s.zero()), c.x(col.To-s.zero())
		if col.Planned == 0 {
			continue
		}
		share, deniedShare := col.shares()
		bad, no := (share-deniedShare)*bandHeight, deniedShare*bandHeight
		if bad > 0 {
			bad = math.Max(bad, leastFailure)
		}
		if no > 0 {
			no = math.Max(no, leastFailure)
		}
		ok.add(x0, x1, math.Max(bandHeight-bad-no, 0))
		if bad > 0 {
			failed.add(x0, x1, math.Min(bandHeight-no, bandHeight))
		}
		if no > 0 {
			denied.add(x0, x1, bandHeight)
		}
	}
	// Each is drawn from the base; the next one covers its lower part.
	for _, a := range []struct {
		class string
		area  area
	}{{"denied", denied}, {"failed", failed}, {"ok", ok}} {
		if p := a.area.path(base); p != "" {
			d.Marks = append(d.Marks, mark{Class: a.class, D: p})
		}
	}
	right := c.Left + c.plotWidth() + 6
	d.Marks = append(d.Marks, text("t-scale", "start", right, top+8, "100 %"), text("t-scale", "start", right, base, "0 %"))
}

// area is a stepped area over a base line.
type area []step

type step struct{ x0, x1, h float64 }

func (a *area) add(x0, x1, h float64) {
	h = half(h)
	if h <= 0 {
		return
	}
	if n := len(*a); n > 0 && (*a)[n-1].x1 == x0 && (*a)[n-1].h == h {
		(*a)[n-1].x1 = x1
		return
	}
	*a = append(*a, step{x0, x1, h})
}

func (a area) path(base float64) string {
	var b strings.Builder
	for i, s := range a {
		if i == 0 || a[i-1].x1 != s.x0 {
			if i > 0 {
				fmt.Fprintf(&b, "V%sz", num(base))
			}
			fmt.Fprintf(&b, "M%s %s", num(s.x0), num(base))
		}
		fmt.Fprintf(&b, "V%sH%s", num(base-s.h), num(s.x1))
	}
	if b.Len() > 0 {
		fmt.Fprintf(&b, "V%sz", num(base))
	}
	return b.String()
}

// columnData is the columns for the script, after the first one's place and the width of
// one: planned,ok,denied,p50,p99 (microseconds) each, the same n times as "n*column".
func columnData(cols []column, zero time.Duration) string {
	if len(cols) == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", num3(cols[0].From-zero), num3(cols[0].To-cols[0].From))
	last, times := "", 0
	flush := func() {
		switch {
		case times == 1:
			b.WriteString(" " + last)
		case times > 1:
			fmt.Fprintf(&b, " %d*%s", times, last)
		}
	}
	for _, c := range cols {
		this := fmt.Sprintf("%d,%d,%d,%d,%d", c.Planned, c.OK, c.Denied, c.P50.Microseconds(), c.P99.Microseconds())
		if this == last {
			times++
			continue
		}
		flush()
		last, times = this, 1
	}
	flush()
	return b.String()
}

package reports

import (
	"fmt"
	"math"
	"slices"
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
	return layout{Width: 358, Left: 4, Right: 46, Columns: min(columns, 180), Lanes: 12, Narrow: true}
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
		c.y = 28
		p.Front = append(p.Front, text("t-title", "start", 16, c.y, shorten(title, 120)))
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
	name := clean(s.Design)
	if !t.Valid {
		name += " (invalid trial)"
	}
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
		d.Marks = append(d.Marks, text("t-design", "start", c.indent(), top+11, shorten(name, 22)))
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
	c.action(&d, s, top, bottom)
	c.bands(&d, s, cols, top)
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

// action draws the band from the start of the action to its completion.
func (c *canvas) action(d *designPicture, s shot, top, bottom float64) {
	a := s.Trial.Timeline.Action
	if a == (timeline.Span{}) {
		return
	}
	from, to := a.From-s.zero(), a.To-s.zero()
	label := clean(s.Action) + ", " + span(a.To-a.From)
	if a.Open {
		to, label = c.to, clean(s.Action)+", never completed"
	}
	x0, x1 := c.x(from), c.x(to)
	d.Marks = append(d.Marks, rect("action", x0, top-4, x1-x0, bottom-top+4),
		mark{Class: "action-edge", D: fmt.Sprintf("M%s %sV%sM%s %sH%s", num(x0), num(top-10), num(bottom), num(x0), num(top-4), num(x1))},
		text("t-action", "start", x0+4, top-7, shorten(label, 44)))
	if !a.Open {
		d.Marks = append(d.Marks, mark{Class: "action-edge", D: fmt.Sprintf("M%s %sV%s", num(x1), num(top-7), num(bottom))})
	}
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
		bad, no := (col.FailedShare-col.DeniedShare)*bandHeight, col.DeniedShare*bandHeight
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
	h = math.Round(h*2) / 2
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

// latencyScale is logarithmic and the same for every design of a picture.
type latencyScale struct{ lo, hi float64 } // powers of ten of milliseconds

func newLatencyScale(shots []shot) latencyScale {
	lo, hi := math.Inf(1), math.Inf(-1)
	for _, s := range shots {
		for _, b := range s.Trial.Timeline.Bins {
			if b.P50 > 0 {
				lo, hi = math.Min(lo, millis(b.P50)), math.Max(hi, millis(max(b.P50, b.P99)))
			}
		}
	}
	if lo > hi {
		return latencyScale{0, 2}
	}
	sc := latencyScale{math.Floor(math.Log10(math.Max(lo, 0.01))), math.Ceil(math.Log10(math.Max(hi, 0.1)))}
	sc.hi = math.Max(sc.hi, sc.lo+2)
	return sc
}

func (sc latencyScale) y(d time.Duration, top float64) float64 {
	at := (math.Log10(math.Max(millis(d), 1e-3)) - sc.lo) / (sc.hi - sc.lo)
	return top + latencyHeight*(1-math.Min(math.Max(at, 0), 1))
}

// latency draws p50 and p99 of the requests that were ok, with what lies between shaded.
func (c *canvas) latency(d *designPicture, s shot, cols []column, scale latencyScale, top float64) {
	base := top + latencyHeight
	if c.Narrow {
		top, base = top+14, base+14
		d.Marks = append(d.Marks, text("t-note", "start", c.Left, top-4, "response time, p50 and p99"))
	} else {
		d.Marks = append(d.Marks, text("t-note", "start", c.indent(), top+11, "response time"), text("t-note", "start", c.indent(), top+25, "p50 and p99, log scale"))
	}
	var grid strings.Builder
	right := c.Left + c.plotWidth()
	decades := scale.hi - scale.lo
	for e := scale.lo; e <= scale.hi; e++ {
		y := top + latencyHeight*(1-(e-scale.lo)/decades)
		fmt.Fprintf(&grid, "M%s %sH%s", num(c.Left), num(y), num(right))
		if every := math.Ceil(decades * 12 / latencyHeight); math.Mod(e-scale.lo, every) == 0 {
			d.Marks = append(d.Marks, text("t-scale", "start", right+6, y+4, decadeName(e)))
		}
	}
	d.Marks = append(d.Marks, mark{Class: "grid", D: grid.String()})
	var p50, p99, between strings.Builder
	for len(cols) > 0 {
		if cols[0].P50 <= 0 {
			cols = cols[1:]
			continue
		}
		n := slices.IndexFunc(cols, func(col column) bool { return col.P50 <= 0 })
		if n < 0 {
			n = len(cols)
		}
		var back []string
		for i, col := range cols[:n] {
			x0, x1 := num(c.x(col.From-s.zero())), num(c.x(col.To-s.zero()))
			y50, y99 := num(scale.y(col.P50, top)), num(scale.y(max(col.P50, col.P99), top))
			if i == 0 {
				fmt.Fprintf(&p50, "M%s %s", x0, y50)
				fmt.Fprintf(&p99, "M%s %s", x0, y99)
				fmt.Fprintf(&between, "M%s %s", x0, y99)
			} else {
				fmt.Fprintf(&p50, "V%s", y50)
				fmt.Fprintf(&p99, "V%s", y99)
				fmt.Fprintf(&between, "V%s", y99)
			}
			fmt.Fprintf(&p50, "H%s", x1)
			fmt.Fprintf(&p99, "H%s", x1)
			fmt.Fprintf(&between, "H%s", x1)
			back = append(back, "V"+y50+"H"+x0)
		}
		slices.Reverse(back)
		between.WriteString(strings.Join(back, "") + "z")
		cols = cols[n:]
	}
	if p50.Len() > 0 {
		d.Marks = append(d.Marks, mark{Class: "between", D: between.String()}, mark{Class: "p99", D: p99.String()}, mark{Class: "p50", D: p50.String()})
	}
}

func decadeName(e float64) string {
	if e >= 3 {
		return strconv.FormatFloat(math.Pow(10, e-3), 'f', -1, 64) + " s"
	}
	return strconv.FormatFloat(math.Pow(10, e), 'f', -1, 64) + " ms"
}

// columnData is the columns for the script: planned,ok,denied,p50,p99 (microseconds) with
// semicolons between columns, the same column n times as "n*column".
func columnData(cols []column, zero time.Duration) string {
	if len(cols) == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", num3(cols[0].From-zero), num3(cols[0].To-cols[0].From))
	for _, c := range cols {
		fmt.Fprintf(&b, " %d,%d,%d,%d,%d", c.Planned, c.OK, c.Denied, c.P50.Microseconds(), c.P99.Microseconds())
	}
	return b.String()
}

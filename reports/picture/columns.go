package picture

import (
	"fmt"
	"strings"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/timeline"
	"github.com/rollout-lab/rollout-lab/reports/format"
)

// Column is what is drawn at one place of the time axis: one bin of the timeline, or
// several that were merged because there are more bins than places. A merged column
// looks like the worst bin in it, so that merging never hides an outage; its sums stay
// exact.
type Column struct {
	From, To                    time.Duration
	Planned, OK, Failed, Denied int           // sums
	Worst                       timeline.Bin  // the one with the largest share of failures
	P50, P99                    time.Duration // the slowest bin's; 0 where no bin had a request that was ok
}

// shares are the worst bin's shares of failed and, of these, wrongly denied requests.
func (c *Column) shares() (failed, denied float64) {
	if c.Worst.Planned == 0 {
		return 0, 0
	}
	return float64(c.Worst.Failed) / float64(c.Worst.Planned), float64(c.Worst.Denied) / float64(c.Worst.Planned)
}

// worse reports whether a larger share of a failed than of b. What has no planned
// requests is better than anything.
func worse(a, b timeline.Bin) bool {
	if a.Planned == 0 || b.Planned == 0 {
		return b.Planned == 0 && a.Planned > 0
	}
	return a.Failed*b.Planned > b.Failed*a.Planned
}

// Columns merges bins into at most limit columns of the same number of bins, and says
// how many bins make one. Bins without planned requests take no part.
func Columns(tl *timeline.Timeline, limit int) ([]Column, int) {
	bins := tl.Bins
	if len(bins) == 0 || limit <= 0 {
		return nil, 0
	}
	each := (len(bins) + limit - 1) / limit
	cols := make([]Column, 0, (len(bins)+each-1)/each)
	for len(bins) > 0 {
		n := min(each, len(bins))
		c := Column{From: bins[0].From, To: min(bins[n-1].From+tl.BinWidth, max(tl.To, bins[n-1].From))}
		for _, b := range bins[:n] {
			c.Planned += b.Planned
			c.OK += b.OK
			c.Failed += b.Failed
			c.Denied += b.Denied
			c.P50, c.P99 = max(c.P50, b.P50), max(c.P99, b.P99)
			if worse(b, c.Worst) {
				c.Worst = b
			}
		}
		cols = append(cols, c)
		bins = bins[n:]
	}
	return cols, each
}

// columnData is the columns for a page's script: the first one's place and the width of one
// in seconds, then planned,ok,denied,p50,p99 (microseconds) of each, the same n times as
// "n*column".
func columnData(cols []Column, zero time.Duration) string {
	fields := []string{format.Seconds(cols[0].From - zero), format.Seconds(cols[0].To - cols[0].From)}
	for i := 0; i < len(cols); {
		this, times := cols[i].data(), 1
		for i+times < len(cols) && cols[i+times].data() == this {
			times++
		}
		i += times
		if times > 1 {
			this = fmt.Sprintf("%d*%s", times, this)
		}
		fields = append(fields, this)
	}
	return strings.Join(fields, " ")
}

func (c *Column) data() string {
	up := time.Microsecond - 1 // times are rounded up
	return fmt.Sprintf("%d,%d,%d,%d,%d", c.Planned, c.OK, c.Denied, (c.P50 + up).Microseconds(), (c.P99 + up).Microseconds())
}

// Stretch is a run of columns that the table says in one line: all ok, all failed, or a
// single column in between.
type Stretch struct {
	Column
	Columns int
}

// Stretches folds columns for the table.
func Stretches(cols []Column) []Stretch {
	kind := func(c Column) int {
		switch {
		case c.Planned == 0:
			return 0
		case c.Failed == 0:
			return 1
		case c.OK == 0:
			return 2
		}
		return 3
	}
	var out []Stretch
	for _, c := range cols {
		if n := len(out); n > 0 && kind(c) != 3 && kind(out[n-1].Column) == kind(c) {
			s := &out[n-1]
			s.To = c.To
			s.Planned += c.Planned
			s.OK += c.OK
			s.Failed += c.Failed
			s.Denied += c.Denied
			if worse(c.Worst, s.Worst) {
				s.Worst = c.Worst
			}
			s.P50, s.P99 = max(s.P50, c.P50), max(s.P99, c.P99)
			s.Columns++
			continue
		}
		out = append(out, Stretch{c, 1})
	}
	return out
}

// coarse keeps a strip drawable when an instance changes its state more often than that:
// each of limit places on the axis shows the worst state that it held there.
func coarse(spans []timeline.StateSpan, from, to time.Duration, limit int) []timeline.StateSpan {
	if len(spans) <= limit || to <= from {
		return spans
	}
	states := make([]timeline.State, limit)
	at := func(d time.Duration) int {
		return min(max(int(float64(d-from)/float64(to-from)*float64(limit)), 0), limit-1)
	}
	for _, s := range spans {
		if s.To < from || s.From > to {
			continue
		}
		for i := at(s.From); i <= at(max(s.From, s.To-1)); i++ {
			if states[i] == "" || badness(s.State) > badness(states[i]) {
				states[i] = s.State
			}
		}
	}
	var out []timeline.StateSpan
	step := (to - from) / time.Duration(limit)
	for i, s := range states {
		span := timeline.Span{From: from + time.Duration(i)*step, To: from + time.Duration(i+1)*step}
		switch n := len(out); {
		case s == "":
		case n > 0 && out[n-1].State == s && out[n-1].To == span.From:
			out[n-1].To = span.To
		default:
			out = append(out, timeline.StateSpan{Span: span, State: s})
		}
	}
	return out
}

// badness orders the states of a strip: the worst one is shown where several share a place.
func badness(s timeline.State) int {
	switch s {
	case timeline.NotServing:
		return 6
	case timeline.Unready:
		return 5
	case timeline.Starting:
		return 4
	case timeline.Draining:
		return 3
	case timeline.Ready:
		return 2
	}
	return 1
}

// near joins spans with less than gap between them: drawn, they could not be told apart.
func near(spans []timeline.Span, gap time.Duration) []timeline.Span {
	var out []timeline.Span
	for _, s := range spans {
		if n := len(out); n > 0 && s.From-out[n-1].To < gap {
			out[n-1].To = max(out[n-1].To, s.To)
			out[n-1].Open = out[n-1].Open || s.Open
			continue
		}
		out = append(out, s)
	}
	return out
}

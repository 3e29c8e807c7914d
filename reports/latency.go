package reports

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

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
	if c.Narrow {
		top += 14
		d.Marks = append(d.Marks, text("t-note", "start", c.Left, top-4, "response time, p50 and p99"))
	} else {
		d.Marks = append(d.Marks, text("t-note", "start", c.indent(), top+20, "response time"), text("t-note", "start", c.indent(), top+34, "p50 and p99, log scale"))
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
	for _, piece := range c.latencyPieces(s, cols, scale, top) {
		var back strings.Builder
		for i, st := range piece {
			x0, x1, y50, y99 := num(st.x0), num(st.x1), num(st.y50), num(st.y99)
			lead50, lead99 := "V"+y50, "V"+y99
			if i == 0 {
				lead50, lead99 = "M"+x0+" "+y50, "M"+x0+" "+y99
			}
			p50.WriteString(lead50 + "H" + x1)
			p99.WriteString(lead99 + "H" + x1)
			between.WriteString(lead99 + "H" + x1)
		}
		for _, st := range slices.Backward(piece) {
			back.WriteString("V" + num(st.y50) + "H" + num(st.x0))
		}
		between.WriteString(back.String() + "z")
	}
	if p50.Len() > 0 {
		d.Marks = append(d.Marks, mark{Class: "between", D: between.String()}, mark{Class: "p99", D: p99.String()}, mark{Class: "p50", D: p50.String()})
	}
}

type latencyStep struct{ x0, x1, y50, y99 float64 }

// latencyPieces are the stretches without a gap, equal neighbours joined.
func (c *canvas) latencyPieces(s shot, cols []column, scale latencyScale, top float64) [][]latencyStep {
	var pieces [][]latencyStep
	gap := true
	for _, col := range cols {
		if col.P50 <= 0 {
			gap = true
			continue
		}
		st := latencyStep{c.x(col.From - s.zero()), c.x(col.To - s.zero()), half(scale.y(col.P50, top)), half(scale.y(max(col.P50, col.P99), top))}
		if gap {
			pieces = append(pieces, nil)
			gap = false
		}
		piece := &pieces[len(pieces)-1]
		if n := len(*piece); n > 0 && (*piece)[n-1].y50 == st.y50 && (*piece)[n-1].y99 == st.y99 {
			(*piece)[n-1].x1 = st.x1
			continue
		}
		*piece = append(*piece, st)
	}
	return pieces
}

// half rounds to half a pixel, so that neighbours that look the same are the same.
func half(f float64) float64 { return math.Round(f*2) / 2 }

func decadeName(e float64) string {
	if e >= 3 {
		return strconv.FormatFloat(math.Pow(10, e-3), 'f', -1, 64) + " s"
	}
	return strconv.FormatFloat(math.Pow(10, e), 'f', -1, 64) + " ms"
}

package picture

import (
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/rollout-lab/rollout-lab/reports/format"
	"github.com/rollout-lab/rollout-lab/reports/svg"
)

// latencyScale is logarithmic and the same for every trial of a picture: powers of ten of
// milliseconds.
type latencyScale struct{ lo, hi float64 }

func newLatencyScale(trials []Trial) latencyScale {
	lo, hi := math.Inf(1), math.Inf(-1)
	for _, t := range trials {
		for _, b := range t.Timeline.Bins {
			if b.P50 > 0 {
				lo, hi = math.Min(lo, format.InMillis(b.P50)), math.Max(hi, format.InMillis(max(b.P50, b.P99)))
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

// y is where a response time lies below top.
func (sc latencyScale) y(d time.Duration, top float64) float64 {
	return sc.line(math.Log10(math.Max(format.InMillis(d), 1e-3)), top)
}

// line is where a power of ten lies.
func (sc latencyScale) line(power, top float64) float64 {
	at := (power - sc.lo) / (sc.hi - sc.lo)
	return top + latencyHeight*(1-math.Min(math.Max(at, 0), 1))
}

// latency draws p50 and p99 of the requests that were ok, with what lies between shaded.
func (l Layout) latency(cols []Column, a axis, scale latencyScale, top float64) []svg.Shape {
	var shapes []svg.Shape
	if l.narrow() {
		shapes = append(shapes, label("t-note", l.left, top-4, "response time, p50 and p99"))
	} else {
		shapes = append(shapes, label("t-note", l.indent, top+20, "response time"), label("t-note", l.indent, top+34, "p50 and p99, log scale"))
	}
	grid := svg.Path{Class: "grid"}
	every := math.Ceil((scale.hi - scale.lo) * 12 / latencyHeight) // names that would touch are left out
	for power := scale.lo; power <= scale.hi; power++ {
		y := scale.line(power, top)
		grid.Steps = append(grid.Steps, svg.Move(l.left, y), svg.Across(l.left+l.plotWidth()))
		if math.Mod(power-scale.lo, every) == 0 {
			shapes = append(shapes, label("t-scale", l.scaleX(), y+4, powerName(power)))
		}
	}
	shapes = append(shapes, grid)
	p50, p99, between := svg.Path{Class: "p50"}, svg.Path{Class: "p99"}, svg.Path{Class: "between"}
	for _, piece := range latencyPieces(cols, a, scale, top) {
		upper := stairs(piece, func(s latencyStair) float64 { return s.y99 })
		p99.Steps = append(p99.Steps, upper...)
		p50.Steps = append(p50.Steps, stairs(piece, func(s latencyStair) float64 { return s.y50 })...)
		between.Steps = append(between.Steps, upper...)
		for _, s := range slices.Backward(piece) {
			between.Steps = append(between.Steps, svg.Down(s.y50), svg.Across(s.x0))
		}
		between.Steps = append(between.Steps, svg.Close())
	}
	if len(p50.Steps) > 0 {
		shapes = append(shapes, between, p99, p50)
	}
	return shapes
}

type latencyStair struct{ x0, x1, y50, y99 float64 }

// stairs is the line of one piece.
func stairs(piece []latencyStair, y func(latencyStair) float64) []svg.Step {
	steps := []svg.Step{svg.Move(piece[0].x0, y(piece[0])), svg.Across(piece[0].x1)}
	for _, s := range piece[1:] {
		steps = append(steps, svg.Down(y(s)), svg.Across(s.x1))
	}
	return steps
}

// latencyPieces are the stretches without a gap, equal neighbours joined.
func latencyPieces(cols []Column, a axis, scale latencyScale, top float64) [][]latencyStair {
	var pieces [][]latencyStair
	gap := true
	for _, c := range cols {
		if c.P50 <= 0 {
			gap = true
			continue
		}
		if gap {
			pieces = append(pieces, nil)
			gap = false
		}
		s := latencyStair{a.x(c.From), a.x(c.To), half(scale.y(c.P50, top)), half(scale.y(max(c.P50, c.P99), top))}
		piece := &pieces[len(pieces)-1]
		if n := len(*piece); n > 0 && (*piece)[n-1].y50 == s.y50 && (*piece)[n-1].y99 == s.y99 {
			(*piece)[n-1].x1 = s.x1
			continue
		}
		*piece = append(*piece, s)
	}
	return pieces
}

func powerName(power float64) string {
	if power >= 3 {
		return strconv.FormatFloat(math.Pow(10, power-3), 'f', -1, 64) + " s"
	}
	return strconv.FormatFloat(math.Pow(10, power), 'f', -1, 64) + " ms"
}

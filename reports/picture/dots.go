package picture

import (
	"math"
	"time"

	"github.com/rollout-lab/rollout-lab/reports/format"
	"github.com/rollout-lab/rollout-lab/reports/svg"
)

// Row is one line of dots: a dot a trial, and the range of those that are valid.
type Row struct {
	Name           string
	Median, Lo, Hi float64 // in milliseconds
	Ranged         bool    // there is a range
	Dots           []Dot
}

// Dot is one trial.
type Dot struct {
	At      time.Duration
	Invalid bool
	Title   string
}

// Dots draws times on one scale, a line a row. There is nothing to draw where all are 0.
func Dots(about string, rows []Row) (im svg.Image, ok bool) {
	const left, width, pitch = 120.0, 330.0, 40.0
	most := 0.0
	for _, r := range rows {
		for _, d := range r.Dots {
			most = math.Max(most, format.InMillis(d.At))
		}
	}
	if most == 0 {
		return svg.Image{}, false
	}
	step := format.InMillis(tickStep(time.Duration(most*1.05*1e6), 5))
	end := math.Ceil(most*1.02/step) * step
	x := func(ms float64) float64 { return left + math.Min(ms/end, 1)*width }
	bottom := 8 + pitch*float64(len(rows))
	im = svg.Image{Class: "dots", Label: about, Width: 480, Height: bottom + 24}
	for ms := 0.0; ms <= end+step/2; ms += step {
		im.Shapes = append(im.Shapes, svg.Path{Class: "grid", Steps: []svg.Step{svg.Move(x(ms), 4), svg.Down(bottom)}},
			svg.Text{Class: "t-note", Anchor: "middle", X: x(ms), Y: bottom + 16, Text: format.Millis(ms)})
	}
	var points []svg.Shape // over everything else
	for i, r := range rows {
		y := 8 + pitch*(float64(i)+0.5)
		im.Shapes = append(im.Shapes, label("t-name", 0, y+4, format.Shorten(r.Name, 18)))
		if r.Ranged {
			lo, hi, median := x(r.Lo), x(r.Hi), x(r.Median)
			im.Shapes = append(im.Shapes, svg.Path{Class: "range", Steps: []svg.Step{
				svg.Move(lo, y+8), svg.Down(y + 14), svg.Move(lo, y+11), svg.Across(hi), svg.Move(hi, y+8), svg.Down(y + 14), svg.Move(median, y-12), svg.Down(y + 14)}})
		}
		for j, d := range r.Dots {
			class := "dot"
			if d.Invalid {
				class = "invalid"
			}
			points = append(points, svg.Circle{Class: class, X: x(format.InMillis(d.At)), Y: y - 8 + float64(j%3)*6, R: 4.2, Title: d.Title})
		}
	}
	im.Shapes = append(im.Shapes, points...)
	return im, true
}

package timeline

import (
	"time"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

// PressureGap is how far apart two readings of CPU pressure may be for what lies between them
// to be known.
const PressureGap = 2 * time.Second

// Pressure is the share, 0..1, of a stretch of time in which some task was ready to run and
// waited for a CPU.
type Pressure struct {
	Span
	Share float64
}

// Pressures are the stretches between the readings that touch a span, in their order. What
// lies between readings that are too far apart is left out.
func Pressures(readings []record.Pressure, span Span) (all []Pressure) {
	for i := 1; i < len(readings); i++ {
		from, to := readings[i-1], readings[i]
		length := to.At - from.At
		if length <= 0 || length > PressureGap || to.At <= span.From || from.At >= span.To {
			continue
		}
		share := float64(to.Waited-from.Waited) / float64(length)
		all = append(all, Pressure{Span: Span{From: from.At, To: to.At}, Share: min(max(share, 0), 1)})
	}
	return all
}

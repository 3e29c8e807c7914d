package judge

import (
	"iter"
	"slices"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/internal/timeline"
)

const (
	// saturatedFor is how long the machine has no CPU to spare before that is saturation, and
	// saturatedAt the share of that time in which some task waits for one.
	saturatedFor = time.Second
	saturatedAt  = 0.80
)

// starving are the ways to lose a request that a wait for a CPU can explain: no complete
// answer came, or none in time. An answer that is wrong, a refusal and a connection that
// nobody takes are what they are on any machine.
var starving = []record.Class{record.Timeout, record.EOF, record.Reset, record.Truncated}

// saturationReasons asks whether the machine, and not the design, may have lost the requests: a
// machine with no CPU to spare proves nothing about a design, for better or worse. It speaks
// where most of what was lost fell into a saturated stretch of the window and can be
// explained by it. A scenario may say that this is its very question, and where the system
// does not tell how long tasks wait nothing is known.
func saturationReasons(d *record.TrialData, t *Trial) []Reason {
	if d.Trial.AllowSaturation || t.Failed == 0 {
		return nil
	}
	spans := saturated(d.Pressure, t.Window)
	if len(spans) == 0 {
		return nil
	}
	var starved uint64
	for i := range d.Samples {
		s := &d.Samples[i]
		under := func(span timeline.Span) bool { return s.Intended < span.To && s.Done > span.From }
		if t.Window.Holds(s.Intended) && slices.Contains(starving, s.Class) && slices.ContainsFunc(spans, under) {
			starved++
		}
	}
	if 2*starved < t.Failed || starved == 0 {
		return nil
	}
	total := timeline.Total(spans, t.Window)
	return []Reason{{Kind: MachineSaturated, Tally: Tally{starved, t.Failed}, Time: total}}
}

// saturated are the stretches of a window in which tasks waited for a CPU during saturatedAt
// of saturatedFor and more.
func saturated(readings []record.Pressure, window timeline.Span) (spans []timeline.Span) {
	for span, share := range shares(readings, window) {
		if share < saturatedAt {
			continue
		}
		if n := len(spans); n > 0 && span.From <= spans[n-1].To {
			spans[n-1].To = span.To
		} else {
			spans = append(spans, span)
		}
	}
	return spans
}

// pressure is the largest share of saturatedFor of a window in which tasks waited for a CPU,
// nil where the system does not tell.
func pressure(readings []record.Pressure, window timeline.Span) *float64 {
	var most *float64
	for _, share := range shares(readings, window) {
		if most == nil || share > *most {
			most = new(share)
		}
	}
	return most
}

// shares yields the stretches of saturatedFor within a window, one for each reading, and the
// share of each in which tasks waited for a CPU.
func shares(readings []record.Pressure, window timeline.Span) iter.Seq2[timeline.Span, float64] {
	return func(yield func(timeline.Span, float64) bool) {
		first := 0
		for last, to := range readings {
			// From the latest reading that is saturatedFor before this one.
			for first+1 < last && readings[first+1].At <= to.At-saturatedFor {
				first++
			}
			from := readings[first]
			over := to.At - from.At
			if over < saturatedFor || over > timeline.PressureGap || from.At < window.From || to.At > window.To {
				continue
			}
			share := float64(to.Waited-from.Waited) / float64(over)
			if !yield(timeline.Span{From: from.At, To: to.At}, min(max(share, 0), 1)) {
				return
			}
		}
	}
}

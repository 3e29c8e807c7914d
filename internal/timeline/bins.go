package timeline

import (
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

// Widths are the widths that bins are counted at. The middle one is the one shown.
var Widths = []time.Duration{10 * time.Millisecond, 100 * time.Millisecond, time.Second}

// BinWidth is the width of a Timeline's bins.
const BinWidth = 100 * time.Millisecond

// Build makes the picture of a trial. The window is where the action is measured; an
// instance that was started in it or later is one that the action started (unless the
// trial's action is none). The bins, lanes and pressure cover the whole record, not the window.
func Build(d *record.TrialData, window Span) Timeline {
	load := Load(d)
	action, ok := Action(d)
	if !ok {
		action = Span{From: window.From, To: window.From}
	}
	return Timeline{
		From: load.From, To: load.To, BinWidth: BinWidth,
		Bins:     Bins(d, load, BinWidth),
		Lanes:    Lanes(d, window),
		Action:   action,
		Faults:   Faults(d),
		Pressure: Pressures(d.Waits(), load),
	}
}

// Bins counts hits by intended time, from span.From on, in bins of the given width that
// cover the span. A hit outside the span is left out, but one at its very end, where the
// last hit of a load is due, counts in the last bin.
func Bins(d *record.TrialData, span Span, width time.Duration) []Bin {
	n := count(span, width)
	bins := make([]Bin, n)
	for i := range bins {
		bins[i].From = span.From + time.Duration(i)*width
	}
	if n == 0 {
		return bins
	}
	index := func(at time.Duration) int {
		if at < span.From || at > span.To {
			return -1
		}
		return min(int((at-span.From)/width), n-1)
	}
	for h := range Hits(d) {
		i := index(h.Intended)
		if i < 0 {
			continue
		}
		b := &bins[i]
		b.Planned++
		switch {
		case h.OK():
			b.OK++
		case h.Sample != nil && h.Sample.Expect == record.Serve &&
			(h.Sample.Status == http.StatusUnauthorized || h.Sample.Status == http.StatusForbidden):
			b.Denied++
			fallthrough
		default:
			b.Failed++
		}
	}

	// The latencies of each bin lie together in one slice, so that a million samples
	// take one allocation.
	first := make([]int, n+1)
	for i, b := range bins {
		first[i+1] = first[i] + b.OK
	}
	latencies := make([]time.Duration, first[n])
	at := slices.Clone(first[:n])
	for i := range d.Samples {
		s := &d.Samples[i]
		if s.Class != record.OK {
			continue
		}
		if b := index(s.Intended); b >= 0 {
			latencies[at[b]] = s.Latency()
			at[b]++
		}
	}
	for i := range bins {
		in := latencies[first[i]:first[i+1]]
		slices.Sort(in)
		bins[i].P50, bins[i].P99 = Percentile(in, 0.50), Percentile(in, 0.99)
	}
	return bins
}

// count is how many bins of a width cover a span.
func count(span Span, width time.Duration) int {
	if width <= 0 || span.Len() <= 0 {
		return 0
	}
	return int((span.Len() + width - 1) / width)
}

// Percentile is the nearest-rank percentile of sorted values: the smallest value that at
// least the share p of them does not exceed; 0 when there is none.
func Percentile(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[rank(len(sorted), p)-1]
}

// rank is the nearest rank of the share p of n values, from 1. The tiny amount taken off
// keeps a product like 0.99*100, which may round up past a whole number, on that number.
func rank(n int, p float64) int {
	return min(max(int(math.Ceil(p*float64(n)-1e-9)), 1), n)
}

// Below is the total length of the bins, counted from span.From, in which less than a
// share of the planned hits was ok, for each of the widths and shares: result[i][j] is the
// one for widths[i] and shares[j]. No bin is shorter than the time from one hit to the next:
// else those between two lost hits would be empty, and an outage mostly them. Bins without a
// planned hit say nothing and count as neither. A last bin that the span cuts counts with
// what is left of it.
func Below(d *record.TrialData, span Span, widths []time.Duration, shares []float64) [][]time.Duration {
	type tally struct{ planned, ok int32 }
	widths = slices.Clone(widths)
	early := make([]time.Duration, len(widths))
	for i := range widths {
		if period := Period(&d.Trial); period > widths[i] {
			// One hit for each bin: one that its rounding puts before its own is in it still.
			widths[i], early[i] = period, time.Microsecond
		}
	}
	bins := make([][]tally, len(widths))
	for i, width := range widths {
		bins[i] = make([]tally, count(span, width))
	}
	for h := range Hits(d) {
		if !span.Holds(h.Intended) {
			continue
		}
		for i, width := range widths {
			b := &bins[i][min(int((h.Intended-span.From+early[i])/width), len(bins[i])-1)]
			b.planned++
			if h.OK() {
				b.ok++
			}
		}
	}
	result := make([][]time.Duration, len(widths))
	for i, width := range widths {
		result[i] = make([]time.Duration, len(shares))
		for k, b := range bins[i] {
			length := min(width, span.Len()-time.Duration(k)*width)
			for j, share := range shares {
				if b.planned > 0 && float64(b.ok) < share*float64(b.planned) {
					result[i][j] += length
				}
			}
		}
	}
	return result
}

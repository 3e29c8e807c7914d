package reports

import (
	"math"
	"strconv"

	"github.com/rollout-lab/rollout-lab/internal/metric"
	"github.com/rollout-lab/rollout-lab/reports/format"
)

// limit prints the limit of a gate: not cut off, and where it can be in the form of what is
// held against it.
func limit(unit metric.Unit, f float64) string {
	switch unit {
	case metric.Share:
		if down, up := format.Rate(f), format.RateUp(f); down == up && f >= 0 && f <= 1 {
			return down
		}
		// Ten decimals of a percentage are beyond any limit that a person writes.
		return format.TrimZeros(strconv.FormatFloat(f*100, 'f', 10, 64)) + " %"
	case metric.Duration:
		return format.Exactly(f)
	}
	if whole(f) {
		return format.Signed(f, func(f float64) string { return format.Count(uint64(f)) })
	}
	return format.TrimZeros(strconv.FormatFloat(f, 'f', 6, 64))
}

// whole reports whether a number is a count, exactly.
func whole(f float64) bool { return f == math.Trunc(f) && math.Abs(f) < 1<<53 }

// measured prints an observed value of a metric in its unit.
func measured(name string, f float64) string {
	switch {
	case math.IsNaN(f) || math.IsInf(f, 0):
		return "no data"
	case unitOf(name) == metric.Share:
		return format.Rate(f)
	case unitOf(name) == metric.Duration:
		return format.Millis(f)
	case whole(f):
		return format.Signed(f, func(f float64) string { return format.Count(uint64(f)) })
	}
	return format.TrimZeros(strconv.FormatFloat(f, 'f', 3, 64))
}

// measuredRange prints an interval of a metric: never a narrower one than it is.
func measuredRange(name string, lo, hi float64) string {
	switch unit := unitOf(name); {
	case unit == metric.Share && lo >= 0:
		return format.Rates(lo, hi)
	case unit == metric.Duration:
		return format.Between(format.MillisOutward(lo, lo < 0), format.MillisOutward(hi, hi > 0))
	}
	return format.Between(measured(name, lo), measured(name, hi))
}

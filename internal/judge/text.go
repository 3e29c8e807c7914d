package judge

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/metric"
)

// grouped writes 60000 as 60,000.
func grouped(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// percent writes a rate with four decimals at most, and never as 100 % what is less.
func percent(rate float64) string {
	v := math.Floor(rate*1e6+1e-6) / 1e4
	return strconv.FormatFloat(v, 'f', -1, 64) + " %"
}

// seconds writes a duration with one decimal, and short ones in milliseconds.
func seconds(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Round(time.Millisecond).Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// inUnit writes a metric's value.
func inUnit(v float64, unit metric.Unit) string {
	switch unit {
	case metric.Share:
		return percent(v)
	case metric.Count:
		return grouped(uint64(math.Round(v)))
	default:
		return strconv.FormatFloat(math.Round(v*1000)/1000, 'f', -1, 64) + " ms"
	}
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

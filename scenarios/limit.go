package scenarios

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/metric"
)

// unitOf is the unit of a metric, "" when there is no such metric.
func unitOf(name string) metric.Unit {
	m, _ := metric.ByName(name)
	return m.Unit
}

// limit reads a limit in the unit of its metric, or as a share of what the metric counts.
func (d *decoder) limit(n *node, path string, in *Gate, to *Limit) {
	name, unit := in.Metric, unitOf(in.Metric)
	if m, _ := metric.ByName(name); m.OfPlanned && scalar(n, text) && strings.HasSuffix(n.value, "%") {
		in.Share, unit = true, metric.Share
	}
	switch unit {
	case metric.Share:
		v, ok := parseShare(n)
		switch {
		case !ok:
			hint := "such as 99.9% or 0.999"
			if h := shareHint(n); h != "" {
				hint = h
			}
			d.mismatch(n, path, "a share, as "+name+" is", hint)
		case v > 1:
			hint := "say " + quote(n.value) + "%"
			if strings.HasSuffix(n.value, "%") {
				hint = "such as 99.9%"
			}
			d.problem(n.line, n.column, fmt.Sprintf("%s: %s is more than 100 %%", path, quote(n.value)), hint)
		case v < 0:
			d.problem(n.line, n.column, fmt.Sprintf("%s must not be negative: %s", path, quote(n.value)), "")
		default:
			*to = Limit(v)
		}
	case metric.Count:
		if !scalar(n, number) || !whole.MatchString(n.value) {
			d.mismatch(n, path, "a whole number, as "+name+" is a count", numberHint(n))
			return
		}
		v, err := strconv.ParseInt(n.value, 10, 64)
		switch {
		case err != nil || v > math.MaxInt32:
			d.problem(n.line, n.column, path+" is out of range: "+quote(n.value), "")
		case v < 0:
			d.problem(n.line, n.column, fmt.Sprintf("%s must not be negative: %s", path, quote(n.value)), "")
		default:
			*to = Limit(v)
		}
	case metric.Duration:
		if _, err := time.ParseDuration(n.value); err != nil && n.kind != mapping && n.kind != sequence {
			hint := durationHint(n.value)
			if whole.MatchString(n.value) {
				hint = fmt.Sprintf("say %sms or %ss, whichever is meant", n.value, n.value)
			}
			d.mismatch(n, path, "a duration, as "+name+" is", hint)
			return
		}
		var v time.Duration
		d.duration(n, path, &v)
		*to = Limit(float64(v) / float64(time.Millisecond))
	}
}

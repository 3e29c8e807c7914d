package scenarios

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Unit is what a metric is counted in.
type Unit string

// The units of metrics.
const (
	Share    Unit = "share"    // 0..1, also written as a percentage
	Count    Unit = "count"    // a whole number
	Duration Unit = "duration" // written 250ms, kept in milliseconds
)

// Metric is a number about a trial that a gate can put a limit on.
type Metric struct {
	Name string
	Unit Unit
}

// Metrics lists the metrics that a gate may name.
func Metrics() []Metric { return slices.Clone(metrics) }

var metrics = []Metric{
	{"success_rate", Share},
	{"failed", Count},
	{"downtime", Duration},
	{"longest_outage", Duration},
	{"bins_down", Duration},
	{"bins_degraded", Duration},
	{"disruption_lag", Duration},
	{"recovery", Duration},
	{"convergence", Duration},
	{"false_ready", Duration},
	{"false_unready", Duration},
	{"breaches", Count},
	{"hidden_retries", Count},
	{"latency_p50", Duration},
	{"latency_p90", Duration},
	{"latency_p99", Duration},
	{"latency_p999", Duration},
	{"latency_max", Duration},
}

func metricNames() []string {
	names := make([]string, len(metrics))
	for i, m := range metrics {
		names[i] = m.Name
	}
	return names
}

// unitOf is the unit of a metric, "" when there is no such metric.
func unitOf(name string) Unit {
	for _, m := range metrics {
		if m.Name == name {
			return m.Unit
		}
	}
	return ""
}

// limit reads a limit in the unit of its metric.
func (d *decoder) limit(n *node, path, metric string, to *Limit) {
	unit := unitOf(metric)
	switch unit {
	case Share:
		v, ok := parseShare(n)
		switch {
		case !ok:
			hint := "such as 99.9% or 0.999"
			if h := shareHint(n); h != "" {
				hint = h
			}
			d.mismatch(n, path, "a share, as "+metric+" is", hint)
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
	case Count:
		if !scalar(n, number) || !whole.MatchString(n.value) {
			d.mismatch(n, path, "a whole number, as "+metric+" is a count", numberHint(n))
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
	case Duration:
		if _, err := time.ParseDuration(n.value); err != nil && n.kind != mapping && n.kind != sequence {
			hint := durationHint(n.value)
			if whole.MatchString(n.value) {
				hint = fmt.Sprintf("say %sms or %ss, whichever is meant", n.value, n.value)
			}
			d.mismatch(n, path, "a duration, as "+metric+" is", hint)
			return
		}
		var v time.Duration
		d.duration(&v)(n, path)
		*to = Limit(float64(v) / float64(time.Millisecond))
	}
}

package judge

import (
	"slices"
	"time"
)

// Unit is what a metric is counted in.
type Unit string

// The units of metrics.
const (
	Share    Unit = "share"    // 0..1
	Count    Unit = "count"    // a whole number
	Duration Unit = "duration" // in milliseconds
)

// Metric is a number about a trial that a gate can put a limit on.
type Metric struct {
	Name  string
	Unit  Unit
	About string // its definition, for people

	// value of a trial; ok is false when the thing did not happen, or is not known.
	value func(t *Trial) (v float64, ok bool)
	// never says what it means when value is not ok, for people.
	never string
}

// Metrics lists the metrics, in the order in which reports show them.
func Metrics() []Metric { return slices.Clone(metrics) }

// downWidth is the width of the bins that the metrics bins_down and bins_degraded count.
const downWidth = 100 * time.Millisecond

var metrics = []Metric{
	{"success_rate", Share, "requests that were served (or denied, where they had to be) of those planned in the window",
		func(t *Trial) (float64, bool) { return t.SuccessRate, t.Planned > 0 }, "no request was planned"},
	{"failed", Count, "requests planned in the window that were not ok, unsent ones among them",
		func(t *Trial) (float64, bool) { return float64(t.Failed), t.Planned > 0 }, "no request was planned"},
	{"downtime", Duration, "failed requests divided by the rate",
		func(t *Trial) (float64, bool) { return milliseconds(t.Downtime), t.Planned > 0 }, "no request was planned"},
	{"longest_outage", Duration, "the longest time from a failure to the first of 10 successes in a row",
		func(t *Trial) (float64, bool) { return milliseconds(t.LongestOutage.Len()), t.Planned > 0 }, "no request was planned"},
	{"bins_down", Duration, "total of the bins of 100 ms with less than 50 % ok",
		func(t *Trial) (float64, bool) { return milliseconds(t.Down[downWidth]), t.Planned > 0 }, "no request was planned"},
	{"bins_degraded", Duration, "total of the bins of 100 ms with less than 99 % ok, the ones that are down among them",
		func(t *Trial) (float64, bool) { return milliseconds(t.Degraded[downWidth]), t.Planned > 0 }, "no request was planned"},
	{"disruption_lag", Duration, "from the start of the action to the first failure",
		func(t *Trial) (float64, bool) { return optional(t.DisruptionLag) }, "nothing failed"},
	{"recovery", Duration, "from the start of the action to the first instant after which, for 5 s, every second has at least 99.9 % ok and a p99 of at most 1.5 times the baseline phase's",
		func(t *Trial) (float64, bool) { return optional(t.Recovery) }, "the record shows no recovery"},
	{"convergence", Duration, "from the start of the action to the moment that the runtime calls it complete",
		func(t *Trial) (float64, bool) { return optional(t.Convergence) }, "the runtime never called the action complete"},
	{"false_ready", Duration, "time that the runtime called an instance ready while a direct probe of it failed, summed over instances",
		func(t *Trial) (float64, bool) { return milliseconds(t.FalseReady), t.Planned > 0 }, "no request was planned"},
	{"false_unready", Duration, "time that the runtime called an instance not ready while a direct probe of it succeeded, summed over instances; not while it was told to go",
		func(t *Trial) (float64, bool) { return milliseconds(t.FalseUnready), t.Planned > 0 }, "no request was planned"},
	{"breaches", Count, "requests that had to be denied and were served",
		func(t *Trial) (float64, bool) { return float64(t.Breaches), t.Planned > 0 }, "no request was planned"},
	{"hidden_retries", Count, "connections that the transport took beyond the first of each request",
		func(t *Trial) (float64, bool) { return float64(t.HiddenRetries), t.Planned > 0 }, "no request was planned"},
	latency("latency_p50", "median", func(p Percentiles) time.Duration { return p.P50 }),
	latency("latency_p90", "90th percentile", func(p Percentiles) time.Duration { return p.P90 }),
	latency("latency_p99", "99th percentile", func(p Percentiles) time.Duration { return p.P99 }),
	latency("latency_p999", "99.9th percentile", func(p Percentiles) time.Duration { return p.P999 }),
	latency("latency_max", "maximum", func(p Percentiles) time.Duration { return p.Max }),
}

func latency(name, what string, of func(Percentiles) time.Duration) Metric {
	return Metric{name, Duration, what + " of the response time from the intended send time, over the requests that were ok",
		func(t *Trial) (float64, bool) { return milliseconds(of(t.Latency)), t.Latency.N > 0 }, "no request was ok"}
}

func metricByName(name string) (Metric, bool) {
	i := slices.IndexFunc(metrics, func(m Metric) bool { return m.Name == name })
	if i < 0 {
		return Metric{}, false
	}
	return metrics[i], true
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func optional(d *time.Duration) (float64, bool) {
	if d == nil {
		return 0, false
	}
	return milliseconds(*d), true
}

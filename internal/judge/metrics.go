package judge

import (
	"math"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/metric"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/internal/timeline"
)

// binWidth is the width of the bins that the metrics bins_down and bins_degraded count.
const binWidth = 100 * time.Millisecond

// compute has how a metric of the table is taken from a trial; ok is false when the thing
// did not happen, or is not known.
var compute = map[string]func(t *Trial) (v float64, ok bool){
	metric.SuccessRate: planned(func(t *Trial) float64 { return t.SuccessRate }),
	"failed":           planned(func(t *Trial) float64 { return float64(t.Failed) }),
	metric.Downtime:    planned(func(t *Trial) float64 { return milliseconds(t.Downtime) }),
	metric.LongestOutage: func(t *Trial) (float64, bool) {
		return milliseconds(t.LongestOutage.Len()), t.LongestOutage.Failures > 0
	},
	"bins_down":     func(t *Trial) (float64, bool) { d, ok := t.Down[binWidth]; return milliseconds(d), ok },
	"bins_degraded": func(t *Trial) (float64, bool) { d, ok := t.Degraded[binWidth]; return milliseconds(d), ok },
	"intermittent":  planned(func(t *Trial) float64 { return milliseconds(t.Intermittent.Total) }),
	"intermittent_share": func(t *Trial) (float64, bool) {
		return float64(t.Intermittent.Failures) / float64(max(t.Intermittent.Planned, 1)), t.Intermittent.Planned > 0
	},
	"intermittent_period": func(t *Trial) (float64, bool) {
		return milliseconds(t.Intermittent.Period), t.Intermittent.Planned > 0
	},
	"intermittent_instances": planned(func(t *Trial) float64 { return float64(t.Intermittent.Instances) }),
	"disruption_lag":         func(t *Trial) (float64, bool) { return optional(t.DisruptionLag) },
	metric.Recovery:          func(t *Trial) (float64, bool) { return optional(t.Recovery) },
	metric.Convergence:       func(t *Trial) (float64, bool) { return optional(t.Convergence) },
	"false_ready":            planned(func(t *Trial) float64 { return milliseconds(t.FalseReady) }),
	"false_unready":          planned(func(t *Trial) float64 { return milliseconds(t.FalseUnready) }),
	metric.Breaches:          planned(func(t *Trial) float64 { return float64(t.Breaches) }),
	metric.Detection:         slowest(func(in InstanceFault) *time.Duration { return in.Detection }),
	metric.Ejection:          slowest(func(in InstanceFault) *time.Duration { return in.Ejection }),
	metric.Return:            slowest(func(in InstanceFault) *time.Duration { return in.Return }),
	metric.FalseEvictions:    watched(func(t *Trial) float64 { return float64(len(t.FalseEvictions)) }),
	metric.NoneRoutable:      watched(func(t *Trial) float64 { return milliseconds(timeline.Total(t.NoneRouted, t.Window)) }),
	metric.Restarts:          watched(func(t *Trial) float64 { return float64(t.Restarts) }),
	"hidden_retries":         planned(func(t *Trial) float64 { return float64(t.HiddenRetries) }),
	"latency_p50":            latency(func(p Percentiles) time.Duration { return p.P50 }),
	"latency_p90":            latency(func(p Percentiles) time.Duration { return p.P90 }),
	"latency_p99":            latency(func(p Percentiles) time.Duration { return p.P99 }),
	"latency_p999":           latency(func(p Percentiles) time.Duration { return p.P999 }),
	"latency_max":            latency(func(p Percentiles) time.Duration { return p.Max }),
}

// computeFromRecord has how the others are taken from the record: those that nothing but
// the table wants to know.
var computeFromRecord = map[string]func(d *record.TrialData, t *Trial) (v float64, ok bool){
	"slowest_request": func(d *record.TrialData, t *Trial) (float64, bool) {
		var slowest time.Duration
		for i := range d.Samples {
			if s := &d.Samples[i]; t.Window.Holds(s.Intended) || t.inFlight(s) {
				slowest = max(slowest, s.Latency())
			}
		}
		return milliseconds(slowest), t.Sent > 0
	},
	"in_flight_at_action": func(d *record.TrialData, t *Trial) (float64, bool) {
		return countHits(d, func(h timeline.Hit) bool { return t.inFlight(h.Sample) }), t.Planned > 0
	},
	"warm_up_failures": func(_ *record.TrialData, t *Trial) (float64, bool) { return float64(t.WarmUp), t.Planned > 0 },
	metric.Completed:   func(d *record.TrialData, _ *Trial) (float64, bool) { return completed(d) },
	"late_failures": func(d *record.TrialData, t *Trial) (float64, bool) {
		return countHits(d, func(h timeline.Hit) bool { return !h.OK() && h.Intended >= t.Window.To }), t.Planned > 0
	},
	"latency_recovery": func(d *record.TrialData, t *Trial) (float64, bool) {
		recovery, ok := timeline.LatencyRecovery(d, t.recoversFrom(), t.Baseline.P99)
		return milliseconds(recovery), ok
	},
	metric.StaleAllowed: func(d *record.TrialData, t *Trial) (served float64, ok bool) {
		for i := range d.Samples {
			if s := &d.Samples[i]; s.Expect == record.DenyRevoked {
				if ok = true; s.Breach() {
					served++
				}
			}
		}
		return served, ok
	},
	"standstill": func(d *record.TrialData, t *Trial) (float64, bool) {
		return milliseconds(timeline.Standstill(d, t.Window)), t.Planned > 0
	},
}

// completed is 1 where the runtime called every step of the action complete, and 0 where it said
// that it did not get there; it is not known where the record says neither.
func completed(d *record.TrialData) (float64, bool) {
	missing := d.Trial.Steps()
	for _, e := range d.Events {
		switch e.Kind {
		case record.ActionFailed:
			return 0, true
		case record.ActionDone:
			missing--
		}
	}
	return 1, missing == 0 && d.Trial.Action != record.NoAction
}

func countHits(d *record.TrialData, is func(timeline.Hit) bool) (n float64) {
	for h := range timeline.Hits(d) {
		if is(h) {
			n++
		}
	}
	return n
}

// values are the metrics that are taken from the record.
func values(d *record.TrialData, t *Trial) map[string]float64 {
	all := make(map[string]float64)
	for name, of := range computeFromRecord {
		if v, ok := of(d, t); ok {
			all[name] = v
		}
	}
	return all
}

// Value is a metric of the trial, in the metric's unit; ok is false when the thing did not
// happen, or is not known.
func (t *Trial) Value(name string) (v float64, ok bool) {
	if of := compute[name]; of != nil {
		return of(t)
	}
	v, ok = t.Values[name]
	return v, ok
}

// limited is what a limit on a metric is held against: without a value it is later than
// any limit, or 0 where the metric says so and there are data at all.
func (t *Trial) limited(m metric.Metric) float64 {
	v, ok := t.Value(m.Name)
	switch {
	case ok:
		return v
	case m.NoneIsZero && t.Planned > 0:
		return 0
	}
	return math.Inf(1)
}

// planned is a value that every trial has in whose window a request was planned.
func planned(of func(t *Trial) float64) func(*Trial) (float64, bool) {
	return func(t *Trial) (float64, bool) { return of(t), t.Planned > 0 }
}

// watched is a value that every trial has in which somebody said which instances are routed to.
func watched(of func(t *Trial) float64) func(*Trial) (float64, bool) {
	return func(t *Trial) (float64, bool) { return of(t), t.Planned > 0 && len(t.Timeline.Lanes) > 0 }
}

// slowest is the longest of what the runtime took over the instances that were routed to when a
// fault was injected into them; there is none where it has not done so for all of them.
func slowest(of func(InstanceFault) *time.Duration) func(*Trial) (float64, bool) {
	return func(t *Trial) (float64, bool) {
		longest := time.Duration(-1)
		for i := range t.Faults {
			f := &t.Faults[i]
			if len(f.Hit()) == 0 {
				continue
			}
			took := f.slowest(of)
			if took == nil {
				return 0, false
			}
			longest = max(longest, *took)
		}
		return milliseconds(longest), longest >= 0
	}
}

func latency(of func(Percentiles) time.Duration) func(*Trial) (float64, bool) {
	return func(t *Trial) (float64, bool) { return milliseconds(of(t.Latency)), t.Latency.N > 0 }
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func optional(d *time.Duration) (float64, bool) {
	if d == nil {
		return 0, false
	}
	return milliseconds(*d), true
}

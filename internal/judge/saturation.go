package judge

import (
	"iter"
	"slices"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/metric"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/internal/timeline"
)

const (
	// saturatedFor is how long the machine has no CPU to spare before that is saturation, and
	// saturatedAt the share of that time in which some task waits for one. Where the CPUs are
	// idle for more than spareIdle of it, the task does not wait for the machine but for what
	// it may have of it: the limit of a container, or a fault that takes CPU time away.
	saturatedFor = time.Second
	saturatedAt  = 0.80
	spareIdle    = 0.20

	// leastIdle is the share of the CPUs that the baseline phase, with everything deployed and
	// nothing done to it, must leave idle: what the action takes comes on top of it. One that
	// leaves less is a remark, and makes no trial invalid: of two CPUs the load of 1,000
	// requests a second and its target take half and more on processes alone, and 300 a second
	// a third in containers. Where something is lost to that, saturation decides.
	leastIdle = 0.30
)

// starving are the ways to lose a request that a wait for a CPU can explain: no complete
// answer came, or none in time. An answer that is wrong, a refusal and a connection that
// nobody takes are what they are on any machine.
var starving = []record.Class{record.Timeout, record.EOF, record.Reset, record.Truncated}

// lossMetrics are those that requests which were lost decide, and nothing else.
var lossMetrics = []string{metric.SuccessRate, "failed", metric.Downtime, metric.LongestOutage, "bins_down", "bins_degraded", metric.Recovery}

// saturationReasons asks whether the machine, and not the design, may have lost the requests: a
// machine with no CPU to spare proves nothing about a design, for better or worse. A trial in
// which some of them may be lost by that is invalid, unless what is lost besides, elsewhere or
// in other ways, misses a gate by itself: then it is a failure, and what the machine has
// added to it is a remark. Where no gate limits what the design may lose, the larger part
// decides. A scenario may say that this is its very question, and where the system does not
// tell how long tasks wait nothing is known.
func saturationReasons(d *record.TrialData, t *Trial) (invalid, remarks []Reason) {
	if d.Trial.AllowSaturation || t.Failed == 0 {
		return nil, nil
	}
	spans := saturated(d, t.Window)
	starved := starvedIn(d, t, spans)
	if len(starved) == 0 {
		return nil, nil
	}
	why := Reason{Kind: MachineSaturated, Tally: Tally{uint64(len(starved)), t.Failed}, Time: timeline.Total(spans, t.Window), Value: t.rateToSpare()}
	gates := slices.DeleteFunc(slices.Clone(d.Gates), func(g record.Gate) bool { return !limitsLosses(g) })
	switch {
	case len(gates) > 0 && missedWithout(d, starved, gates):
		why.Kind = SaturatedBesides
		return nil, []Reason{why}
	case len(gates) == 0 && 2*uint64(len(starved)) < t.Failed:
		return nil, nil
	}
	return []Reason{why}, nil
}

// starvedIn are the places in the samples of the requests that the trial lost while the machine
// was saturated, in a way that this explains.
func starvedIn(d *record.TrialData, t *Trial, spans []timeline.Span) (all []int) {
	if len(spans) == 0 {
		return nil
	}
	for i := range d.Samples {
		s := &d.Samples[i]
		under := func(span timeline.Span) bool { return s.Intended < span.To && s.Done > span.From }
		if slices.Contains(starving, s.Class) && slices.ContainsFunc(spans, under) && t.counts(timeline.Hit{Intended: s.Intended, Sample: s}) {
			all = append(all, i)
		}
	}
	return all
}

// limitsLosses reports whether a gate is missed when one trial loses too much.
func limitsLosses(g record.Gate) bool {
	m, _ := metric.ByName(g.Metric)
	return !g.Warn && g.Against == "" && slices.Contains(lossMetrics, g.Metric) && (g.Op == "<=") == (m.Better == metric.Lower)
}

// missedWithout reports whether one of the gates is missed by a trial of which some lost
// requests had been served.
func missedWithout(d *record.TrialData, served []int, gates []record.Gate) bool {
	without := *d
	without.Trial.AllowSaturation = true // or this would be asked again
	without.Samples = slices.Clone(d.Samples)
	for _, i := range served {
		without.Samples[i].Class = record.OK
	}
	t := Measure(&without)
	t.Valid = true
	c := cells([]Trial{t})[0]
	return slices.ContainsFunc(gates, func(g record.Gate) bool { return gate(g, &c).Verdict == Fail })
}

// rateToSpare is the rate at which the baseline phase would leave leastIdle of the CPUs idle, if
// all that is done on the machine is done for the requests; half the rate where that is not
// known, or is no less.
func (t *Trial) rateToSpare() float64 {
	if t.Idle != nil && *t.Idle < leastIdle {
		return t.Meta.Rate * (1 - leastIdle) / (1 - *t.Idle)
	}
	return t.Meta.Rate / 2
}

// easierRate is one at which a load that this machine did not keep up with has a chance: half of it,
// or less where the baseline phase says so; 0 where it is not the rate that keeps a machine busy.
func (t *Trial) easierRate() float64 {
	const easy = 100
	if t.Meta.Rate < easy {
		return 0
	}
	return min(t.Meta.Rate/2, t.rateToSpare())
}

// saturated are the stretches of a window in which tasks waited for a CPU during saturatedAt
// of saturatedFor and more, and the machine had none to spare as far as it tells.
func saturated(d *record.TrialData, window timeline.Span) (spans []timeline.Span) {
	tells := d.Trial.Pressure.Idle != ""
	for span, share := range shares(d, window) {
		if share.waited < saturatedAt || tells && share.idle > spareIdle {
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
func pressure(d *record.TrialData, window timeline.Span) *float64 {
	var most *float64
	for _, share := range shares(d, window) {
		if most == nil || share.waited > *most {
			most = new(share.waited)
		}
	}
	return most
}

// cpuShares are the shares of a stretch of time in which tasks waited for a CPU, and in which
// the CPUs were idle, on average over them; the latter is 0 where the system does not tell.
type cpuShares struct{ waited, idle float64 }

// shares yields the stretches of saturatedFor within a window, one for each reading, and what
// the CPUs did in each.
func shares(d *record.TrialData, window timeline.Span) iter.Seq2[timeline.Span, cpuShares] {
	return func(yield func(timeline.Span, cpuShares) bool) {
		readings := d.Waits()
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
			share := func(of time.Duration) float64 { return min(max(float64(of)/float64(over), 0), 1) }
			if !yield(timeline.Span{From: from.At, To: to.At}, cpuShares{share(to.Waited - from.Waited), share(to.Idle - from.Idle)}) {
				return
			}
		}
	}
}

// idle is the share of the CPUs that a phase left idle, nil where the system does not tell, or
// not of most of the phase.
func idle(d *record.TrialData, phase timeline.Span) *float64 {
	var in []record.Pressure
	for _, p := range d.Pressure {
		if p.At >= phase.From && p.At <= phase.To {
			in = append(in, p)
		}
	}
	if d.Trial.Pressure.Idle == "" || len(in) < 2 {
		return nil
	}
	first, last := in[0], in[len(in)-1]
	over := last.At - first.At
	if 2*over <= phase.Len() {
		return nil
	}
	return new(min(max(float64(last.Idle-first.Idle)/float64(over), 0), 1))
}

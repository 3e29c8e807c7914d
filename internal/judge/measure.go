package judge

import (
	"slices"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/internal/timeline"
)

// Measure computes every metric of a trial over its window, which begins at the moment that
// the action really started (at the planned one for the action none, or when it never did)
// and is as long as planned or as the load went on, and decides whether the trial is valid. Requests that the
// action cut under way are counted with the window's. The samples must be sorted by Seq,
// events and probes by At, as record's reader returns them.
func Measure(d *record.TrialData) Trial {
	t := Trial{
		Meta: d.Trial, Folder: d.Folder,
		Partial: d.End == nil || len(d.Damage) > 0,
		Window:  window(d),
	}
	if d.End != nil {
		t.Cost = d.End.Cost
	}
	t.Timeline = timeline.Build(d, t.Window)
	spread(d, &t)
	count(d, &t)
	if t.Planned > 0 {
		t.SuccessRate = float64(t.OK) / float64(t.Planned)
	}
	if d.Trial.Rate > 0 {
		t.Downtime = time.Duration(float64(t.Failed) / d.Trial.Rate * float64(time.Second))
	}
	outages(d, &t)
	t.Intermittent = timeline.IntermittentIn(d, t.Window)
	t.Down, t.Degraded = down(d, t.Window)
	if r, ok := timeline.Recovery(d, t.recoversFrom()); ok {
		t.Recovery = &r
	}
	if t.Planned > 0 && t.Failed == 0 { // what fails behind the window is reported apart
		t.Recovery = new(time.Duration)
	}
	if action, ok := timeline.Action(d); ok && !action.Open {
		c := action.Len()
		t.Convergence = &c
	}
	drift(&t)
	f := newFinder(d, &t)
	react(f, &t)
	t.Values = values(d, &t)
	blame(f, &t)
	t.Reference = reference(d, &t)
	t.Pressure, t.Idle = pressure(d, t.Window), idle(d, baselineOf(&d.Trial, t.Window))

	reasons, remarks := invalid(d, &t)
	t.InvalidReasons, t.Failures = failures(reasons)
	t.Remarks = remarks
	t.Valid, t.Sound = len(t.InvalidReasons) == 0, !harness.in(t.InvalidReasons)
	t.Unexcused, t.Allowed = unexcused(d, &t), allowed(d, &t)
	t.Stands = len(t.Failures) > 0 || target.in(t.InvalidReasons)
	return t
}

// recoversFrom is where recovery counts from: the last of the faults is gone, and the action, if
// there is one, has begun.
func (t *Trial) recoversFrom() time.Duration {
	from := t.Window.From
	for _, f := range t.Timeline.Faults {
		if f.Healed() {
			from = max(from, f.To)
		}
	}
	return from
}

// window is the stretch of intended times that is judged: from the action on, as long as
// planned, or to the end of a load that went on until all was calm.
func window(d *record.TrialData) timeline.Span {
	w := timeline.Span{From: d.Trial.WindowFrom, To: d.Trial.WindowTo}
	action, ok := timeline.Action(d)
	switch {
	case !ok || d.Trial.Action == record.NoAction:
	case d.Trial.UntilCalm != record.UntilCalm{}:
		w.From = min(action.From, w.To)
	default:
		w = timeline.Span{From: action.From, To: action.From + w.Len()}
	}
	return w
}

// counts reports whether a hit is one of those that the trial is judged by.
func (t *Trial) counts(h timeline.Hit) bool {
	return t.Window.Holds(h.Intended) || t.inFlight(h.Sample)
}

// inFlight reports whether a request was under way when the action began and failed
// after: the action cut it. One that had been under way for longer than requests take was
// stuck before, which is the baseline phase's failure.
func (t *Trial) inFlight(s *record.Sample) bool {
	acted := t.Meta.Action != record.NoAction && t.Timeline.Action != timeline.Span{}
	return acted && s != nil && s.Class != record.OK && s.Intended < t.Window.From && s.Done > t.Window.From &&
		s.Intended >= t.Window.From-lagLimit-t.Baseline.P99
}

// baselineOf is the phase in which nothing may fail. It ends where the window begins.
func baselineOf(m *record.Trial, window timeline.Span) timeline.Span {
	return timeline.Span{From: m.BaselineFrom, To: min(m.BaselineTo, window.From)}
}

// spread fills in the percentiles.
func spread(d *record.TrialData, t *Trial) {
	values := make([]time.Duration, 0, len(d.Samples))
	gather := func(in *timeline.Span, of func(s *record.Sample) time.Duration) Percentiles {
		values = values[:0]
		for i := range d.Samples {
			s := &d.Samples[i]
			if in == nil || (s.Class == record.OK && in.Holds(s.Intended)) {
				values = append(values, of(s))
			}
		}
		slices.Sort(values)
		return percentiles(values)
	}
	t.ScheduleLag = gather(nil, func(s *record.Sample) time.Duration { return s.Sent - s.Intended })
	t.Latency = gather(&t.Window, (*record.Sample).Latency)
	t.LatencyUncorrected = gather(&t.Window, func(s *record.Sample) time.Duration { return s.Done - s.Sent })
	q := baselineOf(&d.Trial, t.Window)
	t.Baseline.P99 = gather(&q, (*record.Sample).Latency).P99
}

func percentiles(sorted []time.Duration) Percentiles {
	p := Percentiles{N: uint64(len(sorted))}
	if p.N == 0 {
		return p
	}
	p.P50 = timeline.Percentile(sorted, 0.50)
	p.P90 = timeline.Percentile(sorted, 0.90)
	p.P99 = timeline.Percentile(sorted, 0.99)
	p.P999 = timeline.Percentile(sorted, 0.999)
	p.Max = sorted[len(sorted)-1]
	return p
}

// outages finds those that begin in the window, or with what the action cut under way.
func outages(d *record.TrialData, t *Trial) {
	from := t.Window
	for i := range d.Samples {
		if s := &d.Samples[i]; t.inFlight(s) {
			from.From = s.Intended
			break
		}
	}
	for _, o := range timeline.Outages(d, from) {
		t.Outages++
		if t.LongestOutage.Failures == 0 || o.Len() > t.LongestOutage.Len() {
			t.LongestOutage = o
		}
	}
}

func down(d *record.TrialData, window timeline.Span) (down, degraded map[time.Duration]time.Duration) {
	down, degraded = make(map[time.Duration]time.Duration), make(map[time.Duration]time.Duration)
	for i, below := range timeline.Below(d, window, timeline.Widths, []float64{0.50, 0.99}) {
		down[timeline.Widths[i]], degraded[timeline.Widths[i]] = below[0], below[1]
	}
	return down, degraded
}

// drift fills in what the lanes tell.
func drift(t *Trial) {
	var syncs []time.Duration
	for i := range t.Timeline.Lanes {
		l := &t.Timeline.Lanes[i]
		t.FalseReady += timeline.Total(l.FalseReady, t.Window)
		t.FalseUnready += timeline.Total(l.FalseUnready, t.Window)
		if l.ByAction && l.Sync >= 0 {
			syncs = append(syncs, l.Sync)
		}
	}
	if len(syncs) > 0 {
		slices.Sort(syncs)
		m := syncs[len(syncs)/2]
		if len(syncs)%2 == 0 {
			m = (m + syncs[len(syncs)/2-1]) / 2
		}
		t.Sync = &m
	}
}

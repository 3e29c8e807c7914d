package judge

import (
	"fmt"
	"slices"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/internal/timeline"
)

const (
	// lagLimit is the p99 of the schedule's lag beyond which the load was not the one
	// that was planned. It is also how much of a phase the load may miss at its ends: the
	// action starts when it can, and the load does not wait for it.
	lagLimit = 50 * time.Millisecond

	// settled is the end of the window in which every instance that was asked for must answer.
	settled = 2 * time.Second

	// judgedFrom is how long an instance must have been ready for its probes to be
	// missed, and unknownLimit the share of that time that they may be missing for.
	judgedFrom   = time.Second
	unknownLimit = 0.10
)

// complaints are the reasons why a trial is invalid, one sentence each.
type complaints struct {
	reasons []string
	harness bool // one of them is that the harness did not do its part
	target  bool // one of them is what the target did or did not do
}

func (c *complaints) add(format string, args ...any) {
	c.reasons = append(c.reasons, fmt.Sprintf(format, args...))
}

func (c *complaints) ofHarness(format string, args ...any) {
	c.harness = true
	c.add(format, args...)
}

func (c *complaints) ofTarget(format string, args ...any) {
	c.target = true
	c.add(format, args...)
}

// invalid says why the trial is invalid; there is no complaint about a valid one.
func invalid(d *record.TrialData, t *Trial) complaints {
	var c complaints
	if d.End == nil {
		c.ofHarness("the trial was cut short: its record has no end")
	} else if d.End.Error != "" {
		c.ofHarness("the trial ended with an error: %s", d.End.Error)
	}
	for _, damage := range d.Damage {
		c.ofHarness("the record is damaged: %s", damage)
	}
	eventReasons(d, t, &c)
	loadReasons(d, t, c.ofHarness)
	if t.Early > 0 {
		c.add("requests that failed before the action, outside the baseline phase: %s", grouped(t.Early))
	}
	if t.Baseline.Failed > 0 {
		c.add("%s of %s requests failed in the baseline phase, before anything was done", grouped(t.Baseline.Failed), grouped(t.Baseline.Planned))
	}
	instanceReasons(d, t, &c)
	probeReasons(d, t, c.add)
	switch w := &t.Reference; {
	case w.Planned == 0:
		c.add("the reference client sent nothing in the window, so nothing confirms the load's figures")
	case !w.Agrees:
		c.add("the reference client disagrees: %s of its %s requests were ok (%s to %s), %s of the load's %s", grouped(w.OK), grouped(w.Planned), percent(w.Lo), percent(w.Hi), grouped(t.OK), grouped(t.Planned))
	case t.Failed == 0 && w.OK < w.Planned:
		c.add("the load saw no failure, the reference client saw %s in %s requests", grouped(w.Planned-w.OK), grouped(w.Planned))
	}
	return c
}

func eventReasons(d *record.TrialData, t *Trial, c *complaints) {
	var started, ended bool
	for _, e := range d.Events {
		switch e.Kind {
		case record.ActionStarted:
			started = true
		case record.ActionDone:
			ended = true
		case record.ActionFailed:
			ended = true
			c.ofTarget("the action failed: %s", e.Detail)
		case record.WatchLost:
			c.ofHarness("the runtime's events were lost after %.1f s: %s", e.At.Seconds(), e.Detail)
		case record.TrialInterrupt:
			c.ofHarness("the trial was interrupted after %.1f s", e.At.Seconds())
		}
	}
	if d.Trial.Action == none {
		return
	}
	switch action, _ := timeline.Action(d); {
	case !started:
		c.ofHarness("the action never started")
	case !ended:
		c.ofTarget("the action never completed")
	case !action.Open && action.To > t.Window.To && !d.Trial.AllowUnfinished:
		c.ofTarget("the action completed %.1f s after the window had ended, so what it cost is not all in the numbers", (action.To - t.Window.To).Seconds())
	}
}

// loadReasons holds the load against its plan.
func loadReasons(d *record.TrialData, t *Trial, add func(string, ...any)) {
	m := &d.Trial
	sent := uint64(len(d.Samples))
	switch {
	case m.Planned == 0 || m.Rate <= 0:
		add("no load was planned")
	case sent == 0:
		add("the record holds no request")
	case sent != m.Planned:
		add("%s of %s planned requests were sent", grouped(sent), grouped(m.Planned))
	}
	if d.End != nil && d.End.Sent != sent {
		add("the load generator fired %s requests, the record holds %s", grouped(d.End.Sent), grouped(sent))
	}
	if lag := t.ScheduleLag.P99; lag > lagLimit {
		add("the load ran late: p99 of the schedule's lag is %v, more than %v", lag.Round(10*time.Microsecond), lagLimit)
	}
	if n := harnessSamples(d.Samples) + harnessSamples(d.Reference); n > 0 {
		add("requests failed by trouble of the harness itself: %s", grouped(n))
	}
	if sent == 0 {
		return
	}
	for _, phase := range []struct {
		name    string
		span    timeline.Span
		planned uint64
	}{{"baseline phase", baselineOf(m, t.Window), t.Baseline.Planned}, {"window", t.Window, t.Planned}} {
		want := m.Rate*(phase.span.Len()-lagLimit).Seconds() - 1
		switch {
		case phase.planned == 0:
			add("no request falls into the %s", phase.name)
		case float64(phase.planned) < want:
			add("the load covers only %.1f s of the %s of %.1f s", float64(phase.planned)/m.Rate, phase.name, phase.span.Len().Seconds())
		}
	}
}

func harnessSamples(samples []record.Sample) (n uint64) {
	for i := range samples {
		if samples[i].Class == record.Harness {
			n++
		}
	}
	return n
}

// instanceReasons holds the number of instances against what was asked for. Before the
// action they must have served; after it requests must have reached as many, whatever
// became of them: an instance that is there and fails is the design's doing.
func instanceReasons(d *record.TrialData, t *Trial, c *complaints) {
	m := &d.Trial
	last := timeline.Span{From: t.Window.To - settled, To: t.Window.To}
	action, started := timeline.Action(d)
	done := m.Action == none || (started && !action.Open && action.To <= last.From)
	if len(d.Samples) > 0 && !anyNamed(d) {
		if n := serving(t, baselineOf(m, t.Window)); t.Baseline.Planned > 0 && n < m.ReplicasBefore {
			c.add("%d of %d instances were ready and served in the baseline phase; no answer says who gave it", n, m.ReplicasBefore)
		}
		if n := ready(t, last); done && n < m.ReplicasAfter {
			c.ofTarget("%d of %d instances were ready in the last %v of the window, with the action complete; no answer says who gave it", n, m.ReplicasAfter, settled)
		}
		return
	}
	if t.Baseline.Planned > 0 && t.Baseline.Instances < m.ReplicasBefore {
		c.add("%d of %d instances served in the baseline phase", t.Baseline.Instances, m.ReplicasBefore)
	}
	if !done || m.ReplicasAfter == 0 {
		return
	}
	reached := make(map[string]bool)
	sent := 0
	for i := range d.Samples {
		if s := &d.Samples[i]; last.Holds(s.Intended) {
			sent++
			if s.Instance != "" {
				reached[s.Instance] = true
			}
		}
	}
	if sent > 0 && len(reached) < m.ReplicasAfter {
		c.ofTarget("%d of %d instances were sent requests in the last %v of the window, with the action complete", len(reached), m.ReplicasAfter, settled)
	}
}

// anyNamed says whether any answer names the instance that gave it. A foreign program names
// itself nowhere, and a runtime with a balancer of its own adds nothing to its answers; who
// was there is then known from the runtime and the direct probes alone.
func anyNamed(d *record.TrialData) bool {
	return slices.ContainsFunc(d.Samples, func(s record.Sample) bool { return s.Instance != "" })
}

// ready is how many instances the runtime called ready within a span.
func ready(t *Trial, span timeline.Span) (n int) {
	for i := range t.Timeline.Lanes {
		if total, _ := t.Timeline.Lanes[i].InState(timeline.Ready, span); total > 0 {
			n++
		}
	}
	return n
}

// serving is how many of them a direct probe has found serving meanwhile.
func serving(t *Trial, span timeline.Span) (n int) {
	for i := range t.Timeline.Lanes {
		l := &t.Timeline.Lanes[i]
		total, unknown := l.InState(timeline.Ready, span)
		if total-unknown > timeline.Total(l.FalseReady, span) {
			n++
		}
	}
	return n
}

// probeReasons asks whether verdict and truth are known well enough to be held against
// each other.
func probeReasons(d *record.TrialData, t *Trial, add func(string, ...any)) {
	judged := false
	for i := range t.Timeline.Lanes {
		l := &t.Timeline.Lanes[i]
		ready, unknown := l.InState(timeline.Ready, t.Window)
		judged = judged || ready > 0
		if ready >= judgedFrom && float64(unknown) > unknownLimit*float64(ready) {
			add("the direct probes of %s are too sparse: of %.1f s that the runtime called it ready, what was true is unknown for %.1f s", l.Instance, ready.Seconds(), unknown.Seconds())
		}
	}
	if !judged && d.Trial.ReplicasBefore > 0 {
		add("the runtime called no instance ready in the window, so its verdict is not known")
	}
}

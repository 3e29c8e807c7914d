package judge

import (
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

// side is whose doing it is that a trial is invalid, where that can be said.
type side int

const (
	harness side = iota + 1 // it did not do its part
	target                  // it did, or did not do, something
)

var sides = map[Kind]side{
	TrialCutShort: harness, TrialError: harness, TrialInterrupted: harness,
	RecordDamaged: harness, EventsLost: harness, ActionNotStarted: harness,
	NoLoadPlanned: harness, NoRequests: harness, LoadIncomplete: harness, RecordIncomplete: harness,
	LoadLate: harness, HarnessFailed: harness, PhaseEmpty: harness, PhaseUncovered: harness,
	FaultNotProven: harness, FaultOutlived: harness, FaultError: harness,

	ActionWithheld: target, NeverCalm: target, NeverQuiet: target,
	ActionFailed: target, ActionError: target, ActionNotCompleted: target, ActionOutlasted: target,
	FinalServers: target, FinalUnnamed: target,
}

// unseen are the reasons for which the lab cannot say how the action went: it did not see
// all of it, or was itself cut short in it.
var unseen = []Kind{TrialCutShort, TrialError, TrialInterrupted, RecordDamaged, EventsLost, ActionNotStarted}

// failures takes from the reasons what the target did wrong. That the load was late or that
// the reference client disagrees excuses nothing of it; only where the lab did not see how
// the action went it stays one reason among others.
func failures(reasons []Reason) (invalid, failed []Reason) {
	if slices.ContainsFunc(reasons, func(r Reason) bool { return slices.Contains(unseen, r.Kind) }) {
		return reasons, nil
	}
	for _, r := range reasons {
		if r.Kind == ActionFailed || r.Kind == NeverCalm {
			failed = append(failed, r)
		} else {
			invalid = append(invalid, r)
		}
	}
	return invalid, failed
}

// in reports whether one of the reasons is this side's doing.
func (s side) in(reasons []Reason) bool {
	return slices.ContainsFunc(reasons, func(r Reason) bool { return sides[r.Kind] == s })
}

// invalid says why the trial is invalid, for which there is no reason in a valid one, and what
// a reader of its numbers must know beside them.
func invalid(d *record.TrialData, t *Trial) (why, remarks []Reason) {
	if d.End == nil {
		why = append(why, Reason{Kind: TrialCutShort})
	} else if d.End.Error != "" {
		why = append(why, Reason{Kind: TrialError, Text: d.End.Error})
	}
	for _, damage := range d.Damage {
		why = append(why, Reason{Kind: RecordDamaged, Text: damage})
	}
	why = append(why, faultReasons(d, t)...)
	why = append(why, eventReasons(d, t)...)
	why = append(why, loadReasons(d, t)...)
	if t.Early > 0 {
		why = append(why, Reason{Kind: EarlyFailures, Tally: Tally{N: t.Early}})
	}
	if t.Baseline.Failed > 0 && !withheld(d) {
		why = append(why, Reason{Kind: BaselineFailures, Tally: Tally{t.Baseline.Failed, t.Baseline.Planned}})
	}
	why = append(why, instanceReasons(d, t)...)
	why = append(why, probeReasons(d, t)...)
	starved, besides := saturationReasons(d, t)
	why, remarks = append(why, starved...), append(remarks, besides...)
	if t.Idle != nil && *t.Idle < leastIdle && !d.Trial.AllowSaturation {
		remarks = append(remarks, Reason{Kind: LittleIdle, Lo: *t.Idle, Hi: leastIdle, Value: t.rateToSpare()})
	}
	if t.WarmUp > 0 {
		remarks = append(remarks, Reason{Kind: WarmUpFailures, Tally: Tally{N: t.WarmUp}})
	}
	if over, ok := unwatched(d, t); ok {
		remarks = append(remarks, Reason{Kind: NobodyWatched, Time: over})
	}
	disagrees, differs := referenceReasons(d, t)
	return append(why, disagrees...), append(remarks, differs...)
}

// unwatched is how long a load went on behind a command of which no runtime has said whether
// the change was complete, where there was such a command.
func unwatched(d *record.TrialData, t *Trial) (over time.Duration, ok bool) {
	action, acted := timeline.Action(d)
	if d.Trial.Address == "" || len(t.Timeline.Lanes) > 0 || !acted || action.Open {
		return 0, false
	}
	return t.Window.To - action.To, true
}

func eventReasons(d *record.TrialData, t *Trial) (why []Reason) {
	if withheld(d) {
		return []Reason{{Kind: ActionWithheld, Tally: Tally{t.Baseline.Failed, t.Baseline.Planned}}}
	}
	var started bool
	missing, over := d.Trial.Steps(), t.Window.From
	for _, e := range d.Events {
		switch e.Kind {
		case record.ActionStarted:
			started = true
		case record.ActionDone, record.ActionStopped:
			missing, over = missing-1, e.At
		case record.ActionFailed:
			missing, over = missing-1, e.At
			why = append(why, Reason{Kind: ActionFailed, Text: e.Detail})
		case record.ActionError:
			missing = 0 // nothing is tried behind it
			why = append(why, Reason{Kind: ActionError, Text: e.Detail})
		case record.Lost:
			why = append(why, Reason{Kind: EventsLost, Time: e.At, Text: e.Detail})
		case record.TrialInterrupt:
			why = append(why, Reason{Kind: TrialInterrupted, Time: e.At})
		}
	}
	if d.Trial.Action == record.NoAction {
		return why
	}
	if d.End != nil && d.End.Load != nil && !d.End.Load.Calm {
		r := Reason{Kind: NeverQuiet, Time: d.End.Load.At - over}
		if d.End.Load.Failing {
			r.Kind = NeverCalm
		}
		why = append(why, r)
	}
	switch action, _ := timeline.Action(d); {
	case !started:
		why = append(why, Reason{Kind: ActionNotStarted})
	case missing > 0:
		why = append(why, Reason{Kind: ActionNotCompleted})
	case !action.Open && action.To > t.Window.To && !d.Trial.AllowUnfinished:
		why = append(why, Reason{Kind: ActionOutlasted, Time: action.To - t.Window.To})
	}
	return why
}

// withheld reports whether the action was not begun because requests failed before it.
func withheld(d *record.TrialData) bool {
	return slices.ContainsFunc(d.Events, func(e record.Event) bool { return e.Kind == record.ActionWithheld })
}

// loadReasons holds the load against its plan.
func loadReasons(d *record.TrialData, t *Trial) (why []Reason) {
	m := &d.Trial
	sent := uint64(len(d.Samples))
	switch {
	case m.Planned == 0 || m.Rate <= 0:
		why = append(why, Reason{Kind: NoLoadPlanned})
	case sent == 0:
		why = append(why, Reason{Kind: NoRequests})
	case sent != m.Planned:
		why = append(why, Reason{Kind: LoadIncomplete, Tally: Tally{sent, m.Planned}, Value: t.easierRate()})
	}
	if d.End != nil && d.End.Sent != sent {
		why = append(why, Reason{Kind: RecordIncomplete, Tally: Tally{sent, d.End.Sent}})
	}
	if lag := t.ScheduleLag.P99; lag > lagLimit {
		why = append(why, Reason{Kind: LoadLate, Time: lag, Limit: lagLimit, Value: t.easierRate()})
	}
	if n := harnessSamples(d.Samples) + harnessSamples(d.Reference); n > 0 {
		why = append(why, Reason{Kind: HarnessFailed, Tally: Tally{N: n}, Value: t.easierRate()})
	}
	if sent == 0 {
		return why
	}
	for _, phase := range []struct {
		name    string
		span    timeline.Span
		planned uint64
	}{{"baseline phase", baselineOf(m, t.Window), t.Baseline.Planned}, {"window", t.Window, t.Planned}} {
		want := m.Rate*(phase.span.Len()-lagLimit).Seconds() - 1
		switch {
		case phase.name == "window" && withheld(d):
		case phase.planned == 0:
			why = append(why, Reason{Kind: PhaseEmpty, Names: []string{phase.name}})
		case float64(phase.planned) < want:
			covered := time.Duration(float64(phase.planned) / m.Rate * float64(time.Second))
			why = append(why, Reason{Kind: PhaseUncovered, Names: []string{phase.name}, Time: covered, Limit: phase.span.Len()})
		}
	}
	return why
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
func instanceReasons(d *record.TrialData, t *Trial) (why []Reason) {
	m := &d.Trial
	last := timeline.Span{From: t.Window.To - settled, To: t.Window.To}
	action, started := timeline.Action(d)
	done := m.Action == record.NoAction || (started && !action.Open && action.To <= last.From)
	tooFew := func(kind Kind, n, asked int, over time.Duration) {
		if n < asked {
			why = append(why, Reason{Kind: kind, Tally: Tally{uint64(n), uint64(asked)}, Time: over})
		}
	}
	if len(d.Samples) > 0 && !anyNamed(d) {
		if t.Baseline.Planned > 0 {
			tooFew(BaselineUnnamed, serving(t, baselineOf(m, t.Window)), m.ReplicasBefore, 0)
		}
		if done && len(m.Faults) == 0 {
			tooFew(FinalUnnamed, ready(t, last), m.ReplicasAfter, settled)
		}
		return why
	}
	if t.Baseline.Planned > 0 {
		tooFew(BaselineServers, t.Baseline.Instances, m.ReplicasBefore, 0)
	}
	if !done || len(m.Faults) > 0 {
		return why // what a fault has left of them is what is measured
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
	if sent > 0 {
		tooFew(FinalServers, len(reached), m.ReplicasAfter, settled)
	}
	return why
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

// probed reports whether an instance was ever asked directly.
func probed(d *record.TrialData, instance string) bool {
	return slices.ContainsFunc(d.Probes, func(p record.ProbeResult) bool { return p.Instance == instance })
}

// probeReasons asks whether verdict and truth are known well enough to be held against
// each other.
func probeReasons(d *record.TrialData, t *Trial) (why []Reason) {
	judged := false
	for i := range t.Timeline.Lanes {
		l := &t.Timeline.Lanes[i]
		ready, unknown := l.InState(timeline.Ready, t.Window)
		judged = judged || ready > 0
		if d.Trial.Address != "" && !probed(d, l.Instance) {
			continue // whoever watches it cannot ask it
		}
		if ready >= judgedFrom && float64(unknown) > unknownLimit*float64(ready) {
			why = append(why, Reason{Kind: ProbesSparse, Names: []string{l.Instance}, Time: unknown, Limit: ready})
		}
	}
	if !judged && d.Trial.ReplicasBefore > 0 && len(d.Trial.Faults) == 0 {
		why = append(why, Reason{Kind: NoneReady})
	}
	return why
}

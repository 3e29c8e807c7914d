package judge

import (
	"slices"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/internal/timeline"
)

// unexcused are the lost requests of a trial that the harness does not answer for, of all that
// it lost from the baseline phase to the end of the window. Where the load lost none there, they
// are those of the reference client: one that saw what the load did not is answered by no
// repeat in which it does not.
func unexcused(d *record.TrialData, t *Trial) Tally {
	lost := losses{record: d, trial: t}
	for h := range timeline.Hits(d) {
		lost.add(h)
	}
	if lost.N == 0 {
		for i := range d.Reference {
			lost.add(timeline.Hit{Intended: d.Reference[i].Intended, Sample: &d.Reference[i]})
		}
		return Tally{lost.unexcused, lost.N}
	}
	// Where all of them are the harness's own, that trouble has to be its own too: a machine
	// without CPU to spare, or one that does not tell, may have it from the target.
	if lost.unexcused == 0 && (t.Pressure == nil || len(saturated(d, t.Window)) > 0) {
		return Tally{lost.inWindow, lost.N}
	}
	return Tally{lost.unexcused, lost.N}
}

type losses struct {
	record *record.TrialData
	trial  *Trial

	N, inWindow uint64 // lost, and in the window
	unexcused   uint64
}

func (l *losses) add(h timeline.Hit) {
	w := l.trial.Window
	if h.OK() || h.Intended < min(l.record.Trial.BaselineFrom, w.From) || h.Intended >= w.To {
		return
	}
	l.N++
	if w.Holds(h.Intended) {
		l.inWindow++
	}
	if !excused(h.Sample, l.record.Trial.Timeout) {
		l.unexcused++
	}
}

// excused reports whether a request was lost by the harness: never sent, failed by it, or sent
// so late that its time was up. How the target refused one, or answered it wrongly, is the
// target's doing however late it was asked.
func excused(s *record.Sample, timeout time.Duration) bool {
	most := min(lagLimit, timeout/4)
	if most <= 0 {
		most = lagLimit
	}
	return s == nil || s.Class == record.Harness || s.Class == record.Timeout && s.Sent-s.Intended > most
}

// decides reports whether a pass rests on the design's losing little: a gate is set on it, and
// it is not known to fail on that driver.
func (r *Run) decides(c *Cell) bool {
	gated := slices.ContainsFunc(r.Record.Scenarios, func(s record.Scenario) bool {
		return s.Name == c.Scenario && slices.ContainsFunc(s.Gates, func(g record.Gate) bool { return g.Design == c.Design && !g.Warn })
	})
	return gated && !r.knownToFail(c.Scenario, c.Driver, c.Design)
}

// madeUp reports whether a valid repeat makes up for an invalid trial. Not for what the target
// did or did not do; and where a gate is set not for requests that the harness does not answer
// for: of a service that fails in every second trial a pass would only be a matter of trying
// again. A fault costs something whatever the design, so what the limits allow is no such reason.
func (c *Cell) madeUp(t *Trial) bool {
	return !t.Stands && !(c.Decides && t.Unexcused.N > 0 && !t.Allowed)
}

// allowed reports whether a trial with a fault meets every limit on its design as it is, so that
// a repeat hides nothing.
func allowed(d *record.TrialData, t *Trial) bool {
	if len(t.Meta.Faults) == 0 {
		return false
	}
	as := *t
	as.Valid = true
	c := cells([]Trial{as})[0]
	return !slices.ContainsFunc(d.Gates, func(g record.Gate) bool {
		return !g.Warn && g.Against == "" && asksForGood(g) && gate(g, &c).Verdict == Fail
	})
}

// NotMadeUp says why a valid repeat of an invalid trial does not make up for it, where there
// is one and what was lost is the reason.
func (c *Cell) NotMadeUp(t *Trial) (why Reason, ok bool) {
	repeated := slices.ContainsFunc(c.valid(), func(v *Trial) bool { return c.root(v) == c.root(t) })
	if t.Valid || t.Stands || c.madeUp(t) || !repeated {
		return Reason{}, false
	}
	return Reason{Kind: NotMadeUp, Tally: t.Unexcused}, true
}

package judge

import (
	"slices"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

// unexcused is how many of the lost requests of a trial the harness does not answer for: those
// that it neither failed itself nor sent late. Where all of them are its own, that trouble
// has to be its own too: a machine without CPU to spare, or one that does not tell, may have
// it from the target, and then none is excused.
func unexcused(d *record.TrialData, t *Trial) uint64 {
	if t.Failed == 0 {
		return 0
	}
	most := min(lagLimit, d.Trial.Timeout/4)
	if most <= 0 {
		most = lagLimit
	}
	var excused uint64
	for i := range d.Samples {
		s := &d.Samples[i]
		if s.Class == record.OK || !t.Window.Holds(s.Intended) {
			continue
		}
		if s.Class == record.Harness || s.Sent-s.Intended > most {
			excused++
		}
	}
	excused += t.Planned - t.Sent // what was never sent is no failure of the target
	if excused >= t.Failed && (t.Pressure == nil || len(saturated(d.Pressure, t.Window)) > 0) {
		return t.Failed
	}
	return t.Failed - min(excused, t.Failed)
}

// decides reports whether a pass rests on the design's losing little: a gate is set on it, and
// it is not known to fail on that driver.
func (r *Run) decides(c *Cell) bool {
	gated := slices.ContainsFunc(r.Record.Scenarios, func(s record.Scenario) bool {
		return s.Name == c.Scenario && slices.ContainsFunc(s.Gates, func(g record.Gate) bool { return g.Design == c.Design })
	})
	return gated && !r.knownToFail(c.Scenario, c.Driver, c.Design)
}

// madeUp reports whether a valid repeat makes up for an invalid trial. Not for what the target
// did or did not do; and where a gate is set not for requests that the harness does not answer
// for: of a service that fails in every second trial a pass would only be a matter of trying
// again.
func (c *Cell) madeUp(t *Trial) bool { return !t.Stands && !(c.Decides && t.Unexcused > 0) }

// NotMadeUp says why a valid repeat of an invalid trial does not make up for it, where there
// is one and what was lost is the reason.
func (c *Cell) NotMadeUp(t *Trial) (why Reason, ok bool) {
	repeated := slices.ContainsFunc(c.valid(), func(v *Trial) bool { return c.root(v) == c.root(t) })
	if t.Valid || t.Stands || c.madeUp(t) || !repeated {
		return Reason{}, false
	}
	return Reason{Kind: NotMadeUp, Tally: Tally{t.Unexcused, t.Failed}}, true
}

package reports

import (
	"fmt"
	"slices"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/metric"
	"github.com/rollout-lab/rollout-lab/reports/format"
)

// faulted reports whether something is done to a group's trials beside the action.
func (g group) faulted() bool {
	return slices.ContainsFunc(g.Cells, func(c *judge.Cell) bool { return c.Faulted() })
}

// faultRows are about what the runtime did about a fault, and what it did unasked.
var faultRows = []matrixRow{
	{def: metric.Detection, of: reaction(metric.Detection), when: group.hits},
	{def: metric.Ejection, of: reaction(metric.Ejection), when: group.hits},
	{def: metric.Return, of: reaction(metric.Return), when: group.hits},
	{def: metric.FalseEvictions, of: countRow(metric.FalseEvictions, true), when: ofFaults(metric.FalseEvictions)},
	{def: metric.Restarts, of: countRow(metric.Restarts, false), when: ofFaults(metric.Restarts)},
	{def: metric.NoneRoutable, of: noneRoutable, when: ofFaults(metric.NoneRoutable)},
}

// hits reports whether a fault was done to an instance that was routed to.
func (g group) hits() bool {
	return g.any(func(t *judge.Trial) bool { return t.Valid && hitInstance(t) })
}

func hitInstance(t *judge.Trial) bool {
	return slices.ContainsFunc(t.Faults, func(f judge.Fault) bool {
		return slices.ContainsFunc(f.Instances, func(in judge.InstanceFault) bool { return in.Routed })
	})
}

func ofFaults(name string) func(g group) bool {
	return func(g group) bool { return g.faulted() || g.gated(name) }
}

// reaction prints a time of the runtime's: over the trials in which it did what is timed, with
// in how many it did not. A median over the others alone would flatter.
func reaction(name string) func(c *judge.Cell, p judge.Totals) entry {
	return func(c *judge.Cell, _ judge.Totals) entry {
		hit, did := noticed(c, name)
		switch {
		case hit == 0:
			return entry{Value: "no data"}
		case did == 0:
			return entry{Value: "never", Bad: true}
		}
		out := spread(c.Estimates[name], "at once")
		if did < hit {
			out.Note, out.Bad = fmt.Sprintf("never in %d of %d trials", hit-did, hit), true
		}
		return out
	}
}

// noticed is in how many valid trials an instance that was routed to was hit, and in how many of
// them the runtime did what a metric times.
func noticed(c *judge.Cell, name string) (hit, did int) {
	for i := range c.Trials {
		if t := &c.Trials[i]; t.Valid && hitInstance(t) {
			hit++
			if _, ok := t.Value(name); ok {
				did++
			}
		}
	}
	return hit, did
}

// countRow prints a count over the valid trials; bad says that there should be none.
func countRow(name string, bad bool) func(c *judge.Cell, p judge.Totals) entry {
	return func(c *judge.Cell, _ judge.Totals) entry {
		if !known(c, name) {
			return entry{Value: "no data"}
		}
		n := c.Sum(name)
		return entry{Value: format.Count(uint64(n)), Bad: bad && n > 0}
	}
}

// known reports whether every valid trial has a value, and there is one.
func known(c *judge.Cell, name string) bool {
	some := false
	for i := range c.Trials {
		if t := &c.Trials[i]; t.Valid {
			if _, ok := t.Value(name); !ok {
				return false
			}
			some = true
		}
	}
	return some
}

func noneRoutable(c *judge.Cell, _ judge.Totals) entry {
	if !known(c, metric.NoneRoutable) {
		return entry{Value: "no data"}
	}
	e := c.Estimates[metric.NoneRoutable]
	out := spread(e, "never")
	out.Bad = e.Hi > 0
	return out
}

// spread prints a time over the trials: its median and its range, or a word where it is 0 in all.
func spread(e judge.Estimate, none string) entry {
	if e.Hi == 0 {
		return entry{Value: none}
	}
	out := entry{Value: format.Millis(e.Median)}
	if lo, hi := format.Millis(e.Lo), format.Millis(e.Hi); lo != hi {
		out.Note = format.Between(lo, hi)
	}
	return out
}

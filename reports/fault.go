package reports

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/metric"
	"github.com/rollout-lab/rollout-lab/internal/record"
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
	{def: metric.StaleAllowed, of: countRow(metric.StaleAllowed, true), when: group.revokes},
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

// revokes reports whether a request was due on what no longer holds.
func (g group) revokes() bool {
	return g.gated(metric.StaleAllowed) || g.any(func(t *judge.Trial) bool { _, ok := t.Value(metric.StaleAllowed); return t.Valid && ok })
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

// aboutFault says which fault was there when requests were lost, and what the runtime did about it.
func aboutFault(c judge.CauseCount) string {
	f := c.Fault
	meanwhile := "The fault %s was there"
	if c.DuringFault < c.Count {
		meanwhile = "For " + format.Count(c.DuringFault) + " of them the fault %s was there"
	}
	return fmt.Sprintf(meanwhile, faultTitle(&f.Fault.Fault)) + ": " + reacted(f) + "."
}

// faultTitle names a fault, with how it is done and to what.
func faultTitle(f *record.Fault) string {
	var how []string
	for _, part := range []string{f.Target, f.How} {
		if part != "" {
			how = append(how, format.Shorten(format.Clean(part), 60))
		}
	}
	if len(how) == 0 {
		return format.Clean(f.Name)
	}
	return fmt.Sprintf("%s (%s)", format.Clean(f.Name), strings.Join(how, ", "))
}

// reacted says what the runtime did about a fault, as a clause.
func reacted(f *judge.Fault) string {
	text := "the runtime took nobody out"
	it, was := "it", "it was"
	if hit := f.Hit(); len(hit) > 0 {
		if len(hit) > 1 {
			it, was = "them", "they were"
		}
		switch found, back := f.Detection(), f.Return(); {
		case found == nil && noneNoticed(f):
			text = fmt.Sprintf("the runtime never noticed, and routed to %s all along", it)
		case found == nil:
			text = fmt.Sprintf("the runtime did not notice all %d instances", len(hit))
		case back == nil:
			text = fmt.Sprintf("the runtime took %s out after %s, and %s not back when the window ended", it, format.Span(*found), was)
		case f.Lasts():
			text = fmt.Sprintf("the runtime took %s out after %s, and %s back %s after the fault was over", it, format.Span(*found), was, format.Span(*back))
		default:
			text = fmt.Sprintf("the runtime took %s out after %s, and %s back, or replaced, after %s", it, format.Span(*found), was, format.Span(*back))
		}
	}
	if n := len(f.Evicted); n > 0 {
		text += fmt.Sprintf("; it evicted %s for nothing (%s)", format.Plural(n, "instance", "instances"), format.Clean(some(f.Evicted)))
		if len(f.Hit()) == 0 {
			text = fmt.Sprintf("the runtime evicted %s for it, which could do nothing about it (%s)", format.Plural(n, "instance", "instances"), format.Clean(some(f.Evicted)))
		}
	}
	restarts := 0
	for _, in := range f.Instances {
		restarts += in.Restarts
	}
	if restarts > 0 {
		text += "; it restarted what the fault was done to " + timesWord(restarts)
	}
	return text
}

func timesWord(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

func noneNoticed(f *judge.Fault) bool {
	return !slices.ContainsFunc(f.Instances, func(in judge.InstanceFault) bool { return in.Routed && in.Detection != nil })
}

// againstFault says what to do about what a fault cost.
func againstFault(f *judge.Fault, m *record.Trial) string {
	asks := "Ask more often, or believe fewer failures, to notice it sooner"
	if window := checksOf(m); window != "" {
		asks += " than after " + window
	}
	switch {
	case len(f.Evicted) > 0 && len(f.Hit()) == 0:
		return "Let neither readiness nor liveness ask for what all instances share: say that it is degraded, and go on being routed to."
	case len(f.Evicted) > 0:
		return "Let liveness ask only whether work goes on, and readiness only for what this instance alone lacks, with time enough for a busy one to answer."
	case len(f.Hit()) == 0:
		return "No probe mends what all instances share: have a deadline for it, and something to answer without it."
	case noneNoticed(f):
		return "Let the probe ask for what a request needs, and have a timeout: one that only asks whether the port answers never fails here."
	}
	return asks + "; what is lost until then only a client that repeats saves."
}

// faultLine is a fault in one thing, as a row of the table under a timeline.
type faultLine struct {
	Title, Instance, From, To, Seen      string
	Detection, Ejection, Return, Evicted string
}

// Faults are those of the trial, each in each thing that it was done to.
func (t pictureTable) Faults() (all []faultLine) {
	for i := range t.Trial.Faults {
		f := &t.Trial.Faults[i]
		title := faultTitle(&f.Fault.Fault)
		if !f.Injected() {
			all = append(all, faultLine{Title: title, From: "never", Seen: format.Clean(strings.Join(f.Errors, "; "))})
		}
		for k, touch := range f.Touched {
			line := faultLine{Title: title, Instance: touch.Instance, From: t.At(touch.From), Seen: "nothing"}
			if touch.Proven {
				line.Seen = format.Clean(touch.Seen)
			}
			switch {
			case touch.Open:
				line.To = "never"
			case f.Lasts():
				line.To = t.At(touch.To)
			}
			for _, in := range f.Instances {
				if in.ID == touch.Instance && in.Routed {
					line.Detection, line.Ejection, line.Return = reactionTime(in.Detection), reactionTime(in.Ejection), reactionTime(in.Return)
				}
			}
			if k == 0 {
				line.Evicted = format.Clean(strings.Join(f.Evicted, ", "))
			}
			all = append(all, line)
		}
	}
	return all
}

func reactionTime(d *time.Duration) string {
	if d == nil {
		return "never"
	}
	return format.Span(*d)
}

// AnyFault reports whether something was done to a trial beside its action.
func (p *page) AnyFault() bool {
	return slices.ContainsFunc(p.Groups, func(g pageGroup) bool { return g.faulted() })
}

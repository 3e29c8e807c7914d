package reports

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/metric"
	"github.com/rollout-lab/rollout-lab/reports/format"
)

// adviseOnPass says what held, what shows that it need not have, and why the requests were
// lost that were: those of a design that a gate is set on before those of one that must fail.
// What to do is about the former; where it lost nothing, about what so few trials cannot show.
func adviseOnPass(run *judge.Run) advice {
	why := []string{gatesMet(run)}
	if control := controlHeld(run); control != "" {
		why = append(why, control)
	}
	why = append(why, unlimited(run)...)
	a := advice{Do: adviseOnChance(run)}
	if worst := mostLost(run); worst != nil {
		if of, ok := adviseOnCell(worst); ok {
			if worst.Decides {
				a.Do = of.Do
			}
			if worst != firstControl(run) { // else it has just been named
				of.Why = worst.Design + ": " + of.Why // a name stays as it is
			} else {
				of.Why = capital(of.Why)
			}
			why = append(why, of.Why)
		}
	}
	a.Why = strings.Join(why, " ")
	return a
}

// gatesMet names the limits that were met.
func gatesMet(run *judge.Run) string {
	const shown = 3
	gates := decided(run)
	var limits []string
	for _, g := range gates {
		if text := gateLimit(g.Gate); !slices.Contains(limits, text) {
			limits = append(limits, text)
		}
	}
	if len(gates) == 1 {
		return limits[0] + " was met."
	}
	names := enumerated(limits)
	if n := len(limits) - shown; n > 0 {
		names = enumerated(append(limits[:shown:shown], fmt.Sprintf("%d more", n)))
	}
	all := fmt.Sprintf("all %d", len(gates))
	if len(gates) == 2 {
		all = "both"
	}
	return all + " gates were met: " + names + "."
}

// firstControl is the first cell that failed as it must, nil where there is none.
func firstControl(run *judge.Run) *judge.Cell {
	for _, control := range run.Controls {
		if control.Held && control.Kind == "positive" {
			return cellOf(run, control.Cell)
		}
	}
	return nil
}

// controlHeld says which design failed as it must, "" where there is none.
func controlHeld(run *judge.Run) string {
	c := firstControl(run)
	if c == nil {
		return ""
	}
	did := "failed"
	if sum := c.Totals(); sum.Lost() > 0 {
		did = "lost " + format.Count(sum.Lost()) + " of " + format.Count(sum.Planned)
	}
	return fmt.Sprintf("%s, which must fail here, %s: this experiment can tell good from bad.", c.Design, did)
}

// unlimited says what users of a design that a gate is set on had to bear although every gate
// was met: what lost no request, or none in the window, and no gate limits.
func unlimited(run *judge.Run) (all []string) {
	for _, g := range groups(run) {
		for _, c := range g.Cells {
			if !c.Decides {
				continue
			}
			if text := longestWait(g, c); text != "" {
				all = append(all, text)
			}
			if n := c.Sum(metric.LateFailures); n > 0 && !g.gated(metric.LateFailures) {
				all = append(all, fmt.Sprintf("But %s more requests of %s failed behind the window, and no gate limits that.", format.Count(uint64(n)), c.Design))
			}
		}
	}
	return all
}

// longestWait speaks of the longest of the cell's waits that looks like a failure.
func longestWait(g group, c *judge.Cell) string {
	for _, of := range []struct{ name, says string }{
		{metric.Standstill, "But for %s nothing was answered by %s, and no gate limits that."},
		{metric.SlowestRequest, "But a request took %s with %s, and no gate limits that."},
	} {
		var longest float64
		for i := range c.Trials {
			if t := &c.Trials[i]; t.Valid && waited(t, of.name, longWait) {
				v, _ := t.Value(of.name)
				longest = max(longest, v)
			}
		}
		if longest > 0 && !g.gated(of.name) {
			return fmt.Sprintf(of.says, format.Millis(longest), c.Design)
		}
	}
	return ""
}

// mostLost is the cell that lost the most: of those that a gate is set on, else of all.
func mostLost(run *judge.Run) (worst *judge.Cell) {
	for i := range run.Cells {
		c := &run.Cells[i]
		switch {
		case c.Totals().Failed == 0:
		case worst == nil, c.Decides && !worst.Decides, c.Decides == worst.Decides && c.Totals().MeanDowntime() > worst.Totals().MeanDowntime():
			worst = c
		}
	}
	return worst
}

// enoughTrials are so many that more of them would say little more.
const enoughTrials = 10

// adviseOnChance says how rare an event the trials cannot show, and that nothing shows that the
// experiment could have failed, where that is so.
func adviseOnChance(run *judge.Run) string {
	trials, lost := math.MaxInt, false
	for i := range run.Cells {
		sum := run.Cells[i].Totals()
		lost = lost || sum.Failed > 0
		if run.Cells[i].Decides {
			trials = min(trials, sum.Valid)
		}
	}
	var do []string
	if trials < enoughTrials {
		do = append(do, fmt.Sprintf("Before you rely on it, try --trials %d: what happens in up to %s of trials need not show in %s.",
			enoughTrials, ofTrials(judge.Unseen(trials)), format.Plural(trials, "trial", "trials")))
	}
	if !lost && controlHeld(run) == "" {
		do = append(do, "No request was lost by any design: one that must fail (positive_controls) shows that the experiment can tell.")
	}
	return strings.Join(do, " ")
}

package judge

import (
	"slices"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

// warnings are what a reader must know of a run whatever its verdict is.
func warnings(r *Run) (why []Reason) {
	for i := range r.Gates {
		g := &r.Gates[i]
		switch {
		case g.Verdict == Warned:
			why = append(why, Reason{Kind: GateWarns, Cell: g.Cell, Gate: &g.Gate, Because: []Reason{g.Why}})
		case g.Why.Kind == WorseWithin:
			why = append(why, Reason{Kind: WorseWithinMargin, Cell: g.Cell, Gate: &g.Gate, Because: []Reason{g.Why}})
		}
	}
	if b := r.Record.Baseline; b != nil {
		if !slices.ContainsFunc(r.Gates, func(g GateResult) bool { return g.Gate.Against == record.PastRuns }) {
			why = append(why, Reason{Kind: BaselineUnasked, Names: []string{b.File}})
		}
		for _, c := range b.Cells {
			if len(c.Differs) > 0 && !c.Refused {
				cell := Cell{Scenario: c.Scenario, Driver: c.Driver, Design: c.Design}
				why = append(why, Reason{Kind: ComparedAllTheSame, Cell: cell.Key(), Differs: c.Differs})
			}
		}
	}
	return why
}

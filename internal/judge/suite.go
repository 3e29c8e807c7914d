package judge

import (
	"cmp"
	"slices"

	"github.com/rollout-lab/rollout-lab/internal/metric"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

// Suite says which design survives which of a suite's scenarios on one driver.
type Suite struct {
	Name, Driver string
	Designs      []string       // what survives the most first
	Scenarios    []SuiteOutcome // what most designs survive first
}

// SuiteOutcome is how the designs fared in one scenario of a suite.
type SuiteOutcome struct {
	Scenario string
	Cells    []SuiteCell // for each of the suite's designs, in the same order
}

// SuiteCell is how one design fared in one scenario.
type SuiteCell struct {
	Design   string
	Survival Survival
	Why      Reason // of Breaks and Unknown
	Cell     *Cell  // nil where no trial is on record
}

// Survival is whether a design holds in a scenario what a good one must.
type Survival string

// What becomes of a design. Only data make one survive: without any, or where a planned trial
// is not valid, it is not known.
const (
	Survives  Survival = "survives"
	Breaks    Survival = "breaks"
	Undecided Survival = "unknown"    // the evidence does not say
	NotTested Survival = "not_tested" // it is none of the scenario's designs
)

// Suites are those of the run, each on each driver, in the order of the run.
//
// A design survives a scenario where it meets the limits that are set on it; one on which none
// is set, or none that asks for something good, is held to those of the others. Where nobody
// has a limit, it must lose nothing, serve nothing that must be denied and lose no instance
// to a false eviction.
func (r *Run) Suites() []Suite {
	var all []Suite
	for _, s := range r.Record.Scenarios {
		if s.Suite == "" {
			continue
		}
		for _, driver := range r.driversOf(s.Name) {
			at := slices.IndexFunc(all, func(of Suite) bool { return of.Name == s.Suite && of.Driver == driver })
			if at < 0 {
				at, all = len(all), append(all, Suite{Name: s.Suite, Driver: driver})
			}
			out := SuiteOutcome{Scenario: s.Name}
			for _, design := range r.designsOf(s, driver) {
				out.Cells = append(out.Cells, r.suiteCell(s, driver, design))
			}
			all[at].Scenarios = append(all[at].Scenarios, out)
		}
	}
	for i := range all {
		all[i].sort()
	}
	return all
}

// driversOf are those on which a scenario was run, or was to be.
func (r *Run) driversOf(scenario string) (all []string) {
	add := func(of, driver string) {
		if of == scenario && !slices.Contains(all, driver) {
			all = append(all, driver)
		}
	}
	for i := range r.Cells {
		add(r.Cells[i].Scenario, r.Cells[i].Driver)
	}
	if r.End != nil {
		for _, s := range r.End.Skipped {
			add(s.Scenario, s.Driver)
		}
	}
	return all
}

// designsOf are those of a scenario, planned or on record.
func (r *Run) designsOf(s record.Scenario, driver string) []string {
	all := slices.Clone(s.Designs)
	for i := range r.Cells {
		if c := &r.Cells[i]; c.Scenario == s.Name && c.Driver == driver && !slices.Contains(all, c.Design) {
			all = append(all, c.Design)
		}
	}
	return all
}

func (r *Run) suiteCell(s record.Scenario, driver, design string) SuiteCell {
	out := SuiteCell{Design: design, Survival: Undecided, Why: Reason{Kind: NeverRun}}
	i := slices.IndexFunc(r.Cells, func(c Cell) bool { return c.Scenario == s.Name && c.Driver == driver && c.Design == design })
	if i >= 0 {
		out.Cell = &r.Cells[i]
		out.Survival, out.Why = r.survival(s, out.Cell)
	}
	if r.End == nil || out.Survival == Breaks {
		return out
	}
	for _, sk := range r.End.Skipped { // of what could not be run, what could shows only a part
		if sk.Scenario != s.Name || sk.Driver != driver || sk.Design != design {
			continue
		}
		if out.Survival, out.Why = Undecided, (Reason{Kind: CellNotRun, Cell: s.Name + "/" + driver + "/" + design, Text: sk.Why}); sk.ByTarget {
			out.Survival, out.Why.Kind = Breaks, DeployFailed
		}
	}
	return out
}

// survival is what becomes of a design of which there is data.
func (r *Run) survival(s record.Scenario, c *Cell) (Survival, Reason) {
	for i := range c.Trials {
		if why := r.failuresOf(c, &c.Trials[i]); len(why) > 0 {
			return Breaks, Reason{Kind: TargetFailed, Cell: c.Key(), Trial: c.Trials[i].Meta.N, Because: why}
		}
	}
	gates := r.gatesOn(s, c)
	var unclear *Reason
	for i := range gates {
		g := &gates[i]
		why := Reason{Kind: GateMissed, Cell: c.Key(), Gate: &g.Gate, Because: []Reason{g.Why}}
		if g.Verdict == Fail {
			return Breaks, why
		}
		if g.Verdict != Pass && unclear == nil {
			why.Kind = GateUnclear
			unclear = &why
		}
	}
	sum := c.Totals()
	switch {
	case sum.Valid == 0 || sum.Planned == 0:
		return Undecided, Reason{Kind: NoValidTrial}
	case unclear != nil:
		return Undecided, *unclear
	case len(gates) == 0 && sum.Lost() > 0:
		return Breaks, Reason{Kind: SomeFailed, Tally: Tally{sum.Lost(), sum.Planned}}
	case len(gates) == 0 && (sum.Breaches > 0 || c.Sum(metric.FalseEvictions) > 0):
		return Breaks, Reason{Kind: DidHarm, Tally: Tally{sum.Breaches, uint64(c.Sum(metric.FalseEvictions))}}
	case c.short():
		return Undecided, Reason{Kind: TrialsNotValid}
	}
	return Survives, Reason{}
}

// gatesOn are the gates that a design is held to: its own, else the limits of the others.
func (r *Run) gatesOn(s record.Scenario, c *Cell) (all []GateResult) {
	for _, g := range r.Gates {
		if g.Cell == c.Key() && !g.Gate.Warn && !g.Implicit && asksForGood(g.Gate) {
			all = append(all, g)
		}
	}
	if len(all) > 0 {
		return all
	}
	for _, g := range limitsOnOthers(s, c.Design) {
		all = append(all, gate(g, c))
	}
	return all
}

// limitsOnOthers are the limits that a scenario sets on designs other than one.
func limitsOnOthers(s record.Scenario, design string) []record.Gate {
	return slices.DeleteFunc(slices.Clone(s.Gates), func(g record.Gate) bool {
		return g.Design == design || g.Against != "" || g.Warn || !asksForGood(g)
	})
}

// asksForGood reports whether a gate is missed by what is bad: that a design must lose something
// is no virtue of it.
func asksForGood(g record.Gate) bool {
	m, known := metric.ByName(g.Metric)
	return g.Against != "" || !known || (g.Op == "<=") == (m.Better == metric.Lower)
}

// sort brings designs and scenarios into an order in which what survives gathers in one corner,
// and gives each scenario a cell for each design.
func (s *Suite) sort() {
	var designs []string
	const of = "scenario " // a design may have the name of one
	survived, broke := make(map[string]int), make(map[string]int)
	for _, sc := range s.Scenarios {
		for _, c := range sc.Cells {
			if !slices.Contains(designs, c.Design) {
				designs = append(designs, c.Design)
			}
			switch c.Survival {
			case Survives:
				survived[c.Design]++
				survived[of+sc.Scenario]++
			case Breaks:
				broke[c.Design]++
				broke[of+sc.Scenario]++
			}
		}
	}
	before := func(a, b string) int {
		return cmp.Or(cmp.Compare(survived[b], survived[a]), cmp.Compare(broke[a], broke[b]))
	}
	slices.SortStableFunc(designs, before)
	slices.SortStableFunc(s.Scenarios, func(a, b SuiteOutcome) int { return before(of+a.Scenario, of+b.Scenario) })
	s.Designs = designs
	for i := range s.Scenarios {
		sc := &s.Scenarios[i]
		tested := sc.Cells
		sc.Cells = nil
		for _, design := range designs {
			if at := slices.IndexFunc(tested, func(c SuiteCell) bool { return c.Design == design }); at >= 0 {
				sc.Cells = append(sc.Cells, tested[at])
			} else {
				sc.Cells = append(sc.Cells, SuiteCell{Design: design, Survival: NotTested})
			}
		}
	}
}

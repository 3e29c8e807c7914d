package lab

import (
	"fmt"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/scenarios"
)

// plannedTrial is one trial of the plan.
type plannedTrial struct {
	scenario *scenarios.Scenario
	driver   drivers.Driver
	design   scenarios.Design
	n        int // within its cell, from 1
	repeats  int // n of the invalid trial that this one repeats
}

func (p plannedTrial) String() string {
	return fmt.Sprintf("%s %s %s #%d", p.scenario.Name, p.driver.Name(), p.design.Name, p.n)
}

// plan orders the trials: designs take turns, and every second round goes backwards
// (A B B A A B ...), so that a machine that slowly gets busier favours neither.
func plan(ss []*scenarios.Scenario, ds []drivers.Driver) []plannedTrial {
	var out []plannedTrial
	for _, s := range ss {
		for _, d := range driversOf(s, ds) {
			for n := 1; n <= s.Trials; n++ {
				for i := range s.Designs {
					if n%2 == 0 {
						i = len(s.Designs) - 1 - i
					}
					out = append(out, plannedTrial{scenario: s, driver: d, design: s.Designs[i], n: n})
				}
			}
		}
	}
	return out
}

// driversOf are those that can run a scenario: what exists already is deployed by none.
func driversOf(s *scenarios.Scenario, ds []drivers.Driver) (out []drivers.Driver) {
	for _, d := range ds {
		if drivers.CapabilitiesOf(d).Existing == s.Target.Address() {
			out = append(out, d)
		}
	}
	return out
}

// cell names the trials that belong together.
type cell struct{ scenario, driver, design string }

func (p plannedTrial) cell() cell {
	return cell{p.scenario.Name, p.driver.Name(), p.design.Name}
}

// repeater hands out repeats of invalid trials.
type repeater struct {
	used map[cell]map[int]int // number of the planned trial -> repeats so far
	next map[cell]int         // numbers handed out beyond the planned ones
}

// again is the trial that repeats t, if t may be repeated once more.
func (r *repeater) again(t plannedTrial) (plannedTrial, bool) {
	first := t.n
	if t.repeats != 0 {
		first = t.repeats
	}
	c := t.cell()
	if r.used[c] == nil {
		r.used[c] = map[int]int{}
	}
	if r.used[c][first] >= MaxRepeats {
		return plannedTrial{}, false
	}
	r.used[c][first]++
	r.next[c]++
	t.repeats, t.n = first, t.scenario.Trials+r.next[c]
	return t, true
}

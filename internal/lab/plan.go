package lab

import (
	"fmt"
	"slices"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/record"
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

// group are the trials of a scenario on a driver: those that are held against each other.
type group struct {
	scenario *scenarios.Scenario
	driver   drivers.Driver
	rounds   int             // begun: one is a trial of every design
	stopped  *record.Stopped // why there are no more than those, nil while there may be
}

// round is its next trial of every design. Every second round goes backwards (A B B A A B ...),
// so that a machine that slowly gets busier favours no design.
func (g *group) round() (trials []plannedTrial) {
	g.rounds++
	for _, d := range g.scenario.Designs {
		trials = append(trials, plannedTrial{scenario: g.scenario, driver: g.driver, design: d, n: g.rounds})
	}
	if g.rounds%2 == 0 {
		slices.Reverse(trials)
	}
	return trials
}

// over says whether there are no more rounds.
func (g *group) over() bool { return g.stopped != nil || g.rounds == g.scenario.Trials.Most }

// schedule is the order of the trials: all of a scenario on a driver, and then the next one; or
// round by round, where the time may end before the trials.
type schedule struct {
	groups   []*group
	byRounds bool
}

func newSchedule(ss []*scenarios.Scenario, ds []drivers.Driver, byRounds bool) *schedule {
	s := &schedule{byRounds: byRounds}
	for _, scenario := range ss {
		for _, d := range driversOf(scenario, ds) {
			s.groups = append(s.groups, &group{scenario: scenario, driver: d})
		}
	}
	return s
}

// next are the trials that come next, and whose they are; none when there are no more. Of a
// scenario whose number of trials is open that is one round: what it shows decides on another.
func (s *schedule) next() (trials []plannedTrial, of []*group) {
	var live []*group
	for _, g := range s.groups {
		if !g.over() {
			live = append(live, g)
		}
	}
	if len(live) == 0 {
		return nil, nil
	}
	if s.byRounds {
		least := slices.MinFunc(live, func(a, b *group) int { return a.rounds - b.rounds }).rounds
		for _, g := range live {
			if g.rounds == least {
				trials, of = append(trials, g.round()...), append(of, g)
			}
		}
		return trials, of
	}
	g := live[0]
	for {
		trials = append(trials, g.round()...)
		if g.over() || g.scenario.Trials.Open() {
			return trials, []*group{g}
		}
	}
}

// rest are all trials that may still come, in their order.
func (s *schedule) rest() (trials []plannedTrial) {
	ahead := &schedule{byRounds: s.byRounds}
	for _, g := range s.groups {
		ahead.groups = append(ahead.groups, new(*g))
	}
	for {
		more, _ := ahead.next()
		if len(more) == 0 {
			return trials
		}
		trials = append(trials, more...)
	}
}

// restOf are those of a group.
func (s *schedule) restOf(g *group) []plannedTrial {
	return (&schedule{groups: []*group{g}}).rest()
}

// Runs says whether a driver that was chosen runs a scenario: what exists already is deployed by
// none, and some may have been ruled out.
func Runs(s *scenarios.Scenario, d drivers.Driver) bool {
	return drivers.CapabilitiesOf(d).Existing == s.Target.Address() && !slices.Contains(s.NotOn, d.Name())
}

// driversOf are those that run a scenario.
func driversOf(s *scenarios.Scenario, ds []drivers.Driver) (out []drivers.Driver) {
	for _, d := range ds {
		if Runs(s, d) {
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
	t.repeats, t.n = first, t.scenario.Trials.Most+r.next[c]
	return t, true
}

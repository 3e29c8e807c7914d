package lab

import (
	"slices"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/scenarios"
)

// handling is what a deployment and its removal take beside what a scenario says of them. A
// measured one takes its place as soon as there is one.
const handling = time.Second

// Estimate is how long a run will take, before anything of it has been measured.
type Estimate struct {
	Trials      int // at least
	Takes       time.Duration
	Most        int // at most: how many there are may depend on what they show
	TakesAtMost time.Duration
	MaxTime     time.Duration // that the run may take; 0 means that nothing bounds it
	// Commands: the trials take as long as commands of the user's, which are in no estimate.
	Commands bool
	// Prepares are the drivers that may have to make something first, such as a cluster, which
	// is in no estimate either.
	Prepares []string
}

// said is how long a trial takes by what its scenario says: the deployment, with the time of a
// sync and the answers that make an instance ready, the load, and the removal. A command takes
// what it takes, and is not in it.
func (p plannedTrial) said() time.Duration {
	s := p.scenario
	if s.Target.Address() {
		return lead + s.Phases.Window.From + s.Action.Settle
	}
	takes := lead + handling + s.Length()
	if proxy := s.Target.Refproxy; proxy != nil {
		takes += proxy.SyncTime()
	}
	signal := p.design.For(p.driver.Name()).Signal
	return takes + signal.Interval*time.Duration(max(signal.Rise, 1))
}

// pace is how long trials take: what their scenario says, and by how much those that were
// measured took longer.
type pace struct{ longer map[cell]time.Duration }

// measured learns from a trial. Of several of a cell the longest counts.
func (m *pace) measured(p plannedTrial, took time.Duration) {
	if m.longer == nil {
		m.longer = map[cell]time.Duration{}
	}
	more := took - p.said()
	if known, ok := m.longer[p.cell()]; ok {
		more = max(more, known)
	}
	m.longer[p.cell()] = more
}

// of is how long a trial takes. Of one whose cell is new the scenario's others on its driver
// tell, or else all others on it.
func (m *pace) of(p plannedTrial) time.Duration {
	c := p.cell()
	if more, ok := m.longer[c]; ok {
		return p.said() + more
	}
	for _, near := range []func(cell) bool{
		func(o cell) bool { return o.driver == c.driver && o.scenario == c.scenario },
		func(o cell) bool { return o.driver == c.driver },
	} {
		var longest time.Duration
		found := false
		for o, more := range m.longer {
			if near(o) && (!found || more > longest) {
				longest, found = more, true
			}
		}
		if found {
			return p.said() + longest
		}
	}
	return p.said()
}

// all is how long trials take one after the other.
func (m *pace) all(trials []plannedTrial) (takes time.Duration) {
	for _, t := range trials {
		takes += m.of(t)
	}
	return takes
}

// estimate is that of the trials that there are to be.
func (c *course) estimate() Estimate {
	all := c.schedule.rest()
	e := Estimate{Most: len(all), TakesAtMost: c.pace.all(all), MaxTime: c.cfg.MaxTime}
	for _, t := range all {
		if t.n <= t.scenario.Trials.Least {
			e.Trials++
			e.Takes += c.pace.of(t)
		}
		e.Commands = e.Commands || t.scenario.Action.Kind == scenarios.Command
		if _, ok := t.driver.(drivers.Preparer); ok && !slices.Contains(e.Prepares, t.driver.Name()) {
			e.Prepares = append(e.Prepares, t.driver.Name())
		}
	}
	return e
}

package healthkit

import (
	"fmt"
)

// GroupOptions configure a group of components.
type GroupOptions struct {
	// AtLeast is how many members must serve for the group to serve. It is not
	// bounded by the number of members, which may grow. At least one.
	AtLeast int
	// Optional, DependsOn and OnFailure are those of Options, for the group.
	Optional  bool
	DependsOn []string
	OnFailure FailurePolicy
}

// Group is the handle of a group. The group is a component like any other in
// every snapshot, but its state follows from its members alone.
type Group struct{ c *Component }

// RegisterGroup adds a component that serves while at least opts.AtLeast of its
// members do, such as the connections to three replicas of which two suffice.
// Members are components with Options.Group; they may come before the group or
// after it and be retracted, and no longer make the process unready themselves.
//
// The group is Ready when all of its members are, Degraded when enough of them
// serve, and otherwise Failed when enough serve or failed, so that failures are
// to blame; Stale when silence is; else Starting, for members that have not
// come up, have stopped or are not there.
//
// Errors are those of Register.
func (r *Registry) RegisterGroup(name string, opts GroupOptions) (*Group, error) {
	if opts.AtLeast < 1 {
		return nil, fmt.Errorf("register group %q: %w: at least %d members", name, ErrOptions, opts.AtLeast)
	}
	c, err := r.register(name, Options{Optional: opts.Optional, DependsOn: opts.DependsOn, OnFailure: opts.OnFailure}, &quorum{atLeast: opts.AtLeast})
	if err != nil {
		return nil, err
	}
	return &Group{c}, nil
}

// Name returns the name under which the group is registered.
func (g *Group) Name() string { return g.c.name }

// Retract takes the group out of the registry. Its members stay and count by
// themselves from now on. It is idempotent.
func (g *Group) Retract() { g.c.Retract() }

// census counts members by their state.
type census [len(stateNames)]int

// quorum is what a group is judged by. Guarded by Registry.mu.
type quorum struct {
	atLeast int
	census  census
}

func (q *quorum) move(from, to State) {
	q.census[from]--
	q.census[to]++
}

// state is the rule by which members make the state of their group. The
// registry and Snapshot.ReadyWithout use the same one.
func (n *census) state(atLeast int) State {
	all := 0
	for _, k := range n {
		all += k
	}
	serving := n[Ready] + n[Degraded]
	switch {
	case serving >= atLeast && n[Ready] == all:
		return Ready
	case serving >= atLeast:
		return Degraded
	case serving+n[Failed] >= atLeast:
		return Failed
	case serving+n[Failed]+n[Stale] >= atLeast:
		return Stale
	}
	return Starting
}

// regroup judges a group anew. The caller holds the lock and calls changed.
func (c *Component) regroup(now int64) {
	if s := c.quorum.census.state(c.quorum.atLeast); s != c.state {
		c.become(s, "", now)
	}
}

// enlist makes c a member of its group, or collects the members of a group c.
// The caller holds the lock.
func (r *Registry) enlist(c *Component, now int64) {
	if g := r.byName[c.opts.Group]; g != nil && g.quorum != nil {
		c.group = g
		g.quorum.census[c.state]++
		g.regroup(now)
	}
	if c.quorum == nil {
		return
	}
	for _, m := range r.components {
		if m.opts.Group == c.name {
			m.group = c
			c.quorum.census[m.state]++
			m.recount()
		}
	}
	c.regroup(now)
}

// discharge undoes enlist. The caller holds the lock.
func (r *Registry) discharge(c *Component, now int64) {
	if g := c.group; g != nil {
		c.group = nil
		g.quorum.census[c.state]--
		g.regroup(now)
	}
	if c.quorum == nil {
		return
	}
	for _, m := range r.components {
		if m.group == c {
			m.group = nil
			m.recount()
		}
	}
}

// describeGroup fills in what a snapshot says of a group. The caller holds the
// lock.
func (c *Component) describeGroup(s *ComponentStatus) {
	s.AtLeast = c.quorum.atLeast
	serving := 0
	for _, m := range c.r.components {
		if m.group != c {
			continue
		}
		s.Members = append(s.Members, m.name)
		if m.state.serves() {
			serving++
		}
	}
	if c.state != Ready {
		s.Reason = fmt.Sprintf("%d of %d members serve, at least %d must", serving, len(s.Members), s.AtLeast)
	}
}

// groupStateWithout is the state of a group of which some members are left out.
func (s *Snapshot) groupStateWithout(g ComponentStatus, without map[string]bool) State {
	var n census
	for _, name := range g.Members {
		if m, ok := s.Component(name); ok && !without[name] {
			n[m.State]++
		}
	}
	return n.state(g.AtLeast)
}

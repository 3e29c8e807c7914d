package healthkit

import "time"

// GenerationPolicy says what readiness asks of the generations of state (of a
// configuration, a policy, a data set) that required components with
// Options.Generational serve. The zero policy asks nothing.
type GenerationPolicy struct {
	// Agree asks that all of them serve the same generation.
	Agree bool
	// AtLeast asks that each of them serves this generation or a later one.
	// RequireGeneration raises it while the process runs.
	AtLeast uint64
	// Grace is how long the policy may be violated after it was met: while
	// components take up a new generation one after the other, the process
	// stays ready (the generation is pending). Zero makes it unready at once.
	Grace time.Duration
}

// Generation reports the generation of state that the component serves now.
// It says nothing about the component's state.
func (c *Component) Generation(n uint64) {
	if c.hasGen.Load() && c.gen.Load() == n {
		return
	}
	r := c.r
	now := r.lock()
	defer r.mu.Unlock()
	if c.retracted || c.hasGen.Load() && c.gen.Load() == n {
		return
	}
	c.gen.Store(n)
	c.hasGen.Store(true)
	c.genSince = now
	r.gens.judge(r, now)
	r.changed(now)
}

// RequireGeneration raises GenerationPolicy.AtLeast to n; a lower n than
// before changes nothing.
func (r *Registry) RequireGeneration(n uint64) {
	now := r.lock()
	defer r.mu.Unlock()
	if n <= r.gens.floor {
		return
	}
	r.gens.floor = n
	r.gens.judge(r, now)
	r.changed(now)
}

// generations is the part of the registry that judges generations. Guarded by
// Registry.mu.
type generations struct {
	policy   GenerationPolicy
	floor    uint64
	met      bool // the policy holds
	reported bool // every member has reported a generation
	everMet  bool
	badSince int64
	judged   int64 // time of the last judgement by the clock
}

// ok tells whether generations let the process be ready at time now.
func (g *generations) ok(now int64) bool { return g.met || now < g.deadline() }

// deadline returns when the grace ends; zero, which is past, when there is
// none: the policy holds, never held, or someone has not even reported.
func (g *generations) deadline() int64 {
	if g.met || !g.everMet || !g.reported {
		return 0
	}
	return g.badSince + int64(g.policy.Grace)
}

// judge applies the policy to the components. It is called when a generation
// or the set of components changes, not when a state does.
func (g *generations) judge(r *Registry, now int64) {
	t := tally{agree: g.policy.Agree, floor: g.floor}
	for _, c := range r.components {
		if c.opts.Generational && !c.opts.Optional {
			t.add(c.gen.Load(), c.hasGen.Load())
		}
	}
	met := t.met()
	switch {
	case met:
		g.badSince = never
		g.everMet = true
	case g.met || g.badSince == never:
		g.badSince = now
	}
	g.met, g.reported, g.judged = met, !t.silent, now
	if at := g.deadline(); at > now {
		r.wakeBy(at)
	}
}

// tally is the policy itself, fed with one member after the other. The
// registry and Snapshot.ReadyWithout use the same one.
type tally struct {
	agree   bool
	floor   uint64
	members int
	first   uint64
	silent  bool // a member has reported no generation
	behind  bool // a member is below the floor or differs
}

func (t *tally) add(n uint64, has bool) {
	if !has {
		t.silent = true
	}
	if t.members == 0 {
		t.first = n
	}
	t.members++
	if n < t.floor || t.agree && n != t.first {
		t.behind = true
	}
}

// met is false for a policy that asks something of nobody: an empty set does
// not agree by accident.
func (t *tally) met() bool {
	if t.members == 0 {
		return !t.agree && t.floor == 0
	}
	return !t.silent && !t.behind
}

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
	// MaxAge is how long ago each of them may have reported its generation
	// last. A report of the same generation again confirms it, so the age is
	// that of the knowledge: a configuration that has not changed for a week is
	// not old while its source says that it is the newest. A generation that is
	// too old counts like none, without a grace. Zero means that none is.
	MaxAge time.Duration
}

// Generation reports the generation of state that the component serves now.
// It says nothing about the component's state.
func (c *Component) Generation(n uint64) {
	r := c.r
	ages := r.cfg.Generations.MaxAge > 0
	if !ages && c.hasGen.Load() && c.gen.Load() == n {
		return
	}
	now := r.lock()
	defer r.mu.Unlock()
	if c.retracted {
		return
	}
	same := c.hasGen.Load() && c.gen.Load() == n
	c.genAt = now
	if same && !c.genOld {
		if ages {
			r.gens.judge(r, now)
		}
		return
	}
	if !same {
		c.gen.Store(n)
		c.hasGen.Store(true)
		c.genSince = now
	}
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
	reported bool // every member has reported a generation that is not too old
	everMet  bool
	badSince int64
	judged   int64 // time of the last judgement by the clock
	expires  int64 // when the next generation becomes too old
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
	g.expires = never
	for _, c := range r.components {
		if !c.opts.Generational || c.opts.Optional {
			continue
		}
		c.genOld = false
		if at := c.genAt + int64(g.policy.MaxAge); g.policy.MaxAge > 0 && c.hasGen.Load() {
			if c.genOld = at <= now; !c.genOld {
				g.expires = min(g.expires, at)
			}
		}
		t.add(c.gen.Load(), c.hasGen.Load() && !c.genOld)
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
	r.wakeBy(g.next(now))
}

// next returns when the clock alone changes the judgement.
func (g *generations) next(now int64) int64 {
	if at := g.deadline(); at > now {
		return min(at, g.expires)
	}
	return g.expires
}

// settle applies the clock and returns whether it changed anything and when to
// look again.
func (g *generations) settle(r *Registry, now int64) (changed bool, next int64) {
	before := g.ok(g.judged)
	if g.expires <= now {
		g.judge(r, now)
		changed = true
	}
	g.judged = now
	return changed || before != g.ok(now), g.next(now)
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

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
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.retracted || c.hasGen.Load() && c.gen.Load() == n {
		return
	}
	now := r.now()
	if now >= r.wake.Load() {
		r.settle(now)
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
	r.mu.Lock()
	defer r.mu.Unlock()
	if n <= r.gens.floor {
		return
	}
	now := r.now()
	if now >= r.wake.Load() {
		r.settle(now)
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
	everMet  bool
	badSince int64
	judged   int64 // time of the last judgement by the clock
}

// ok tells whether generations let the process be ready at time now.
func (g *generations) ok(now int64) bool {
	return g.met || g.everMet && now < g.deadline()
}

// deadline returns when the grace ends, or never when none is running.
func (g *generations) deadline() int64 {
	if g.met || !g.everMet {
		return never
	}
	return g.badSince + int64(g.policy.Grace)
}

// judge applies the policy to the components. It is called when a generation
// or the set of components changes, not when a state does.
func (g *generations) judge(r *Registry, now int64) {
	met, members := g.holds(r.components)
	if met {
		g.met, g.badSince = true, never
		// Without members the policy holds trivially; the grace is for those
		// who once agreed, not for those who have yet to appear.
		g.everMet = g.everMet || members > 0
	} else {
		if g.met || g.badSince == never {
			g.badSince = now
		}
		g.met = false
		if at := g.deadline(); at > now {
			r.wakeBy(at)
		}
	}
	g.judged = now
}

func (g *generations) holds(components []*Component) (met bool, members int) {
	met = true
	var first uint64
	for _, c := range components {
		if !c.opts.Generational || c.opts.Optional {
			continue
		}
		n, has := c.gen.Load(), c.hasGen.Load()
		if members == 0 {
			first = n
		}
		members++
		if !has || n < g.floor || g.policy.Agree && n != first {
			met = false
		}
	}
	return met, members
}

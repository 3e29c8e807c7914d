package healthkit

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// OnStop registers what Shutdown calls to stop the component: once, after the
// last request in flight, and after every component that depends on this one
// (Options.DependsOn) has been stopped. The component is Draining meanwhile and
// Stopped after. stop should return soon after ctx ends; one that does not is
// named in ShutdownReport.Overran and left behind. A second OnStop replaces the
// first, nil removes it. Close alone and Retract do not call it.
func (c *Component) OnStop(stop func(ctx context.Context) error) {
	c.r.mu.Lock()
	defer c.r.mu.Unlock()
	c.stop = stop
}

// stopNode is a component in the order of stopping.
type stopNode struct {
	c     *Component
	stop  func(context.Context) error
	below []*stopNode // what it depends on
	above int         // dependents that have not been stopped
	begun bool
}

type stopResult struct {
	node    *stopNode
	err     error
	overran bool
}

// stopComponents runs the stop hooks, dependents before what they depend on and
// what is independent at the same time. each bounds one hook; zero leaves it
// what ctx leaves.
func (r *Registry) stopComponents(ctx context.Context, each time.Duration) (overran, notStopped []string, errs []error) {
	nodes := r.stopOrder()
	results := make(chan stopResult, len(nodes))
	running := 0
	finish := func(n *stopNode) {
		for _, d := range n.below {
			d.above--
		}
	}
	// begin takes up everything that nothing waits for, and with it what only
	// waited for components that have nothing to stop.
	begin := func() {
		for again := true; again; {
			again = false
			for _, n := range nodes {
				if n.begun || n.above > 0 {
					continue
				}
				n.begun = true
				if n.stop == nil {
					finish(n)
					again = true
					continue
				}
				running++
				go func() { results <- n.run(ctx, each) }()
			}
		}
	}
	for ctx.Err() == nil {
		begin()
		if running == 0 {
			i := slices.IndexFunc(nodes, func(n *stopNode) bool { return !n.begun })
			if i < 0 {
				break
			}
			// They depend on each other in a circle: the first name goes first.
			nodes[i].above = 0
			continue
		}
		res := <-results
		running--
		overran, errs = res.collect(overran, errs)
		finish(res.node)
	}
	for ; running > 0; running-- {
		res := <-results
		overran, errs = res.collect(overran, errs)
	}
	for _, n := range nodes {
		if !n.begun && n.stop != nil {
			notStopped = append(notStopped, n.c.name)
			errs = append(errs, fmt.Errorf("stop %s: no time was left to begin: %w", n.c.name, context.Cause(ctx)))
		}
	}
	slices.Sort(overran)
	return overran, notStopped, errs
}

func (s stopResult) collect(overran []string, errs []error) ([]string, []error) {
	if s.overran {
		overran = append(overran, s.node.c.name)
	}
	if s.err != nil {
		errs = append(errs, fmt.Errorf("stop %s: %w", s.node.c.name, s.err))
	}
	return overran, errs
}

// stopOrder builds the graph, sorted by name.
func (r *Registry) stopOrder() []*stopNode {
	r.mu.Lock()
	defer r.mu.Unlock()
	byName := make(map[string]*stopNode)
	var nodes []*stopNode
	for _, c := range r.components {
		n := &stopNode{c: c, stop: c.stop}
		nodes = append(nodes, n)
		byName[c.name] = n
	}
	link := func(from, to *stopNode) {
		if to == nil || to == from {
			return
		}
		from.below = append(from.below, to)
		to.above++
	}
	for _, n := range nodes {
		for _, name := range n.c.opts.DependsOn {
			link(n, byName[name])
		}
		if n.c.group != nil {
			link(byName[n.c.group.name], n)
		}
	}
	return nodes
}

// run calls the hook and waits for it, but no longer than it may take.
func (n *stopNode) run(ctx context.Context, each time.Duration) stopResult {
	if each > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, each, fmt.Errorf("not done within %v: %w", each, context.DeadlineExceeded))
		defer cancel()
	}
	n.c.windDown()
	overran, err := attend(ctx, n.stop)
	switch {
	case overran:
		n.c.Draining("stop overran: " + err.Error())
	case err != nil:
		n.c.Stopped("stop failed: " + err.Error())
	default:
		n.c.Stopped("")
	}
	return stopResult{node: n, err: err, overran: overran}
}

// windDown ends the check of the component and marks it as draining. One that
// has stopped by itself stays stopped.
func (c *Component) windDown() {
	now := c.r.lock()
	defer c.r.mu.Unlock()
	if c.retracted || c.state == Stopped {
		return
	}
	if c.cancel != nil {
		c.cancel()
	}
	c.expires.Store(never)
	c.rec.Store(&record{state: Draining, reason: "stopping", settled: true})
	c.become(Draining, "stopping", now)
	c.r.changed(now)
}

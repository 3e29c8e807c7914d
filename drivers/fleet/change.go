package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/rolling"
)

// goal is what must exist in the end: as many ready instances of the revision, none of them
// of an earlier generation, and nothing else.
type goal struct {
	replicas   int
	revision   string
	generation int // counts restarts
}

func (g goal) wants(i *Instance) bool {
	return i.Revision == g.revision && i.Generation >= g.generation
}

// Scale implements drivers.Env.
func (e *Environment) Scale(ctx context.Context, replicas int) error {
	if replicas < 0 {
		return fmt.Errorf("scale to %d: the number may not be negative", replicas)
	}
	return e.change(ctx, fmt.Sprintf("scale to %d", replicas), func(g *goal) { g.replicas = replicas }, e.pursue)
}

// Restart implements drivers.Env.
func (e *Environment) Restart(ctx context.Context) error {
	if r, ok := e.runtime.(Restarter); ok {
		return e.change(ctx, "restart", func(*goal) {}, func(ctx context.Context, to goal) error {
			return e.restartInPlace(ctx, r, to)
		})
	}
	return e.change(ctx, "restart", func(g *goal) { g.generation++ }, e.pursue)
}

// Rollout implements drivers.Env.
func (e *Environment) Rollout(ctx context.Context, revision string) error {
	if revision == "" {
		return errors.New("rollout to a revision without a name")
	}
	if _, err := e.stack.At(revision); err != nil {
		return fmt.Errorf("rollout: %w", err)
	}
	return e.change(ctx, "rollout to "+revision, func(g *goal) { g.revision = revision }, e.pursue)
}

// change sets a new goal and pursues it. A change that is cut short leaves its goal
// behind: the next one goes on from it.
func (e *Environment) change(ctx context.Context, what string, set func(*goal), pursue func(context.Context, goal) error) error {
	return e.life.Change(ctx, what, func(ctx context.Context) error {
		e.mu.Lock()
		set(&e.goal)
		to := e.goal
		e.mu.Unlock()
		if err := pursue(ctx, to); err != nil {
			return fmt.Errorf("%w%s", err, e.lastOutputs())
		}
		return nil
	})
}

// pursue takes the subject to the goal, step by step as rolling.Plan says, and returns when
// it is reached. It stops where it is, with an error that says what it waited for, when ctx
// ends, and when an instance that it started ends for good before it was ready.
func (e *Environment) pursue(ctx context.Context, to goal) error {
	var started []*Instance // and not seen ready so far
	for {
		changed := e.changed.Next()
		wanted, replaced := e.compare(to)
		var err error
		if started, err = e.unready(started); err != nil {
			return err
		}
		step, err := rolling.Plan(to.replicas, e.stack.Rolling, wanted, replaced)
		if err != nil {
			return err
		}
		if step.Done {
			return nil
		}
		// A cancelled change must not take another step, also when there is one to take.
		if err := context.Cause(ctx); err != nil {
			return fmt.Errorf("%s: %w", e.missing(to), err)
		}
		for _, id := range step.Stop {
			if err := e.stopByID(ctx, id); err != nil {
				return err
			}
		}
		for range step.Start {
			i, err := e.startSubject(ctx, to)
			if err != nil {
				return fmt.Errorf("start an instance of revision %s: %w", to.revision, err)
			}
			started = append(started, i)
		}
		if step.Start > 0 || len(step.Stop) > 0 {
			continue // what was compared is out of date
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// compare lists the subject's instances that exist, those that the goal wants apart from
// those to be replaced. One that has ended by itself, for good, does not count, although
// something of it may be left.
func (e *Environment) compare(to goal) (wanted, replaced []drivers.Instance) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, i := range e.instances {
		switch {
		case i.failed():
		case to.wants(i):
			wanted = append(wanted, i.public())
		default:
			replaced = append(replaced, i.public())
		}
	}
	return wanted, replaced
}

// unready returns those of the instances that are not ready, and an error when one of them
// never will be.
func (e *Environment) unready(instances []*Instance) ([]*Instance, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []*Instance
	for _, i := range instances {
		switch {
		case i.state() == drivers.StateReady:
		case i.failed():
			return nil, fmt.Errorf("%w: instance %s of revision %s ended before it was ready: %s", drivers.ErrNotServing, i.ID, i.Revision, i.why())
		default:
			out = append(out, i)
		}
	}
	return out, nil
}

func (e *Environment) stopByID(ctx context.Context, id string) error {
	i, err := e.Find(id)
	if errors.Is(err, ErrNoInstance) {
		return nil // it went by itself since it was planned
	}
	if err != nil {
		return fmt.Errorf("stop %s: %w", id, err)
	}
	return e.stop(ctx, i)
}

// missing says how far a change has come and what it waits for: first for what is not ready, and
// why, which the rest waits for.
func (e *Environment) missing(to goal) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	ready := 0
	var unready, missing []string
	for _, i := range e.instances {
		switch {
		case i.failed():
		case i.stopped:
			missing = append(missing, i.ID+" to be gone")
		case !to.wants(i):
			missing = append(missing, fmt.Sprintf("%s of revision %s to be replaced", i.ID, i.Revision))
		case i.ready:
			ready++
		default:
			unready = append(unready, fmt.Sprintf("%s to be ready (%s)", i.ID, i.why()))
		}
	}
	missing = append(unready, missing...)
	what := fmt.Sprintf("%d of %d instances of revision %s are ready", ready, to.replicas, to.revision)
	if len(missing) > 0 {
		what += "; waiting for " + strings.Join(missing, ", ")
	}
	return what
}

// restartInPlace restarts the instances one after the other, or as many at a time as may
// be unavailable.
func (e *Environment) restartInPlace(ctx context.Context, r Restarter, to goal) error {
	if err := e.pursue(ctx, to); err != nil { // what an earlier change has left undone
		return err
	}
	e.mu.Lock()
	old := slices.Clone(e.instances)
	e.mu.Unlock()
	if e.stack.Rolling.MaxUnavailable == 0 && !e.stack.Subject.Socket && len(old) > 0 {
		more := to
		more.replicas++
		if err := e.pursue(ctx, more); err != nil {
			return fmt.Errorf("one more for the time of the restart: %w", err)
		}
	}
	for batch := range slices.Chunk(old, max(1, e.stack.Rolling.MaxUnavailable)) {
		errs := make([]error, len(batch))
		var restarting sync.WaitGroup
		for n, i := range batch {
			restarting.Go(func() { errs[n] = e.restartOne(ctx, r, i) })
		}
		restarting.Wait()
		if err := errors.Join(errs...); err != nil {
			return err
		}
	}
	return e.pursue(ctx, to)
}

func (e *Environment) restartOne(ctx context.Context, r Restarter, i *Instance) error {
	if e.deregisters(i) && !i.Service.Socket {
		i.SetReady(false, "the balancer was told of the restart")
	}
	if err := e.preStop(ctx, i); err != nil {
		return fmt.Errorf("instance %s: %w", i.ID, err)
	}
	if err := r.Restart(ctx, i); err != nil {
		return fmt.Errorf("instance %s: %w", i.ID, err)
	}
	return e.awaitRouted(ctx, []*Instance{i})
}

// preStop waits before an instance is restarted in place, if its service asks for that.
func (e *Environment) preStop(ctx context.Context, i *Instance) error {
	if i.Service.PreStop == 0 {
		return nil
	}
	hold := func(held bool) {
		e.mu.Lock()
		i.held = held
		e.mu.Unlock()
	}
	hold(!i.Service.Socket) // no word of the runtime's brings it back meanwhile
	defer hold(false)
	timer := time.NewTimer(i.Service.PreStop)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-i.over:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// lastOutputs is what the instances wrote last that run and are not ready, for an error.
func (e *Environment) lastOutputs() string {
	outputs := map[string]func() string{}
	var ids []string
	e.mu.Lock()
	for _, i := range e.instances {
		if i.running && !i.ready && !i.stopped && i.output != nil {
			ids = append(ids, i.ID)
			outputs[i.ID] = i.output
		}
	}
	e.mu.Unlock()
	var out strings.Builder
	for _, id := range ids {
		if last := outputs[id](); last != "" {
			fmt.Fprintf(&out, "; last output of %s: %s", id, last)
		}
	}
	return out.String()
}

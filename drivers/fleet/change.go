package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/rollout-lab/rollout-lab/internal/rolling"
)

// Scale implements drivers.Env.
func (e *Environment) Scale(ctx context.Context, replicas int) error {
	if replicas < 0 {
		return fmt.Errorf("scale to %d: the number may not be negative", replicas)
	}
	return e.change(ctx, fmt.Sprintf("scale to %d", replicas), func(g *rolling.Goal) { g.Replicas = replicas }, e.pursue)
}

// Restart implements drivers.Env.
func (e *Environment) Restart(ctx context.Context) error {
	if r, ok := e.runtime.(Restarter); ok {
		return e.change(ctx, "restart", func(*rolling.Goal) {}, func(ctx context.Context, goal rolling.Goal) error {
			return e.restartInPlace(ctx, r, goal)
		})
	}
	return e.change(ctx, "restart", func(g *rolling.Goal) { g.Generation++ }, e.pursue)
}

// Rollout implements drivers.Env.
func (e *Environment) Rollout(ctx context.Context, revision string) error {
	if revision == "" {
		return errors.New("rollout to a revision without a name")
	}
	return e.change(ctx, "rollout to "+revision, func(g *rolling.Goal) { g.Revision = revision }, e.pursue)
}

// change sets a new goal and pursues it. A change that is cut short leaves its goal
// behind: the next one goes on from it.
func (e *Environment) change(ctx context.Context, what string, set func(*rolling.Goal), pursue func(context.Context, rolling.Goal) error) error {
	return e.life.Change(ctx, what, func(ctx context.Context) error {
		e.mu.Lock()
		set(&e.goal)
		goal := e.goal
		e.ended = nil
		e.mu.Unlock()
		if err := pursue(ctx, goal); err != nil {
			return fmt.Errorf("%w%s", err, e.lastOutputs())
		}
		return nil
	})
}

func (e *Environment) pursue(ctx context.Context, goal rolling.Goal) error {
	return rolling.Run(ctx, &members{e, goal}, goal, e.bounds)
}

// restartInPlace restarts the instances one after the other, or as many at a time as may
// be unavailable.
func (e *Environment) restartInPlace(ctx context.Context, r Restarter, goal rolling.Goal) error {
	if err := e.pursue(ctx, goal); err != nil { // what an earlier change has left undone
		return err
	}
	e.mu.Lock()
	old := slices.Clone(e.instances)
	e.mu.Unlock()
	if e.bounds.MaxUnavailable == 0 && !e.stack.Subject.Socket && len(old) > 0 {
		more := goal
		more.Replicas++
		if err := e.pursue(ctx, more); err != nil {
			return fmt.Errorf("one more for the time of the restart: %w", err)
		}
	}
	for batch := range slices.Chunk(old, max(1, e.bounds.MaxUnavailable)) {
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
	return e.pursue(ctx, goal)
}

func (e *Environment) restartOne(ctx context.Context, r Restarter, i *Instance) error {
	if e.stack.Balancer.DeregisterFirst && !i.Service.Socket {
		i.Verdict(false, "the balancer was told of the restart")
	}
	if err := r.Restart(ctx, i); err != nil {
		return fmt.Errorf("instance %s: %w", i.ID, err)
	}
	return e.awaitRouted(ctx, []*Instance{i})
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

// members lets a change drive the subject's instances.
type members struct {
	env  *Environment
	goal rolling.Goal
}

// Instances implements rolling.Fleet.
func (m *members) Instances(context.Context) ([]rolling.Instance, <-chan struct{}, error) {
	changed := m.env.changed.Next()
	m.env.mu.Lock()
	defer m.env.mu.Unlock()
	out := append([]rolling.Instance(nil), m.env.ended...)
	for _, i := range m.env.instances {
		out = append(out, i.rolling())
	}
	return out, changed, nil
}

// Start implements rolling.Fleet.
func (m *members) Start(ctx context.Context) (string, error) {
	i, err := m.env.startSubject(ctx, m.goal)
	if err != nil {
		return "", err
	}
	return i.ID, nil
}

// Stop implements rolling.Fleet.
func (m *members) Stop(ctx context.Context, id string) error {
	i, err := m.env.Find(id)
	if errors.Is(err, ErrNoInstance) {
		return nil // it went by itself since the list was made
	}
	if err != nil {
		return err
	}
	return m.env.stop(ctx, i)
}

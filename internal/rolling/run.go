package rolling

import (
	"context"
	"fmt"
	"strings"
)

// Fleet is what Run drives: the instances of one service on some runtime.
type Fleet interface {
	// Instances lists what exists now, oldest first, and returns a channel that is
	// closed at the next change of it. The two belong together: a change after the
	// list was made is never missed.
	Instances(ctx context.Context) ([]Instance, <-chan struct{}, error)
	// Start creates one instance and returns its ID without waiting for it to be ready.
	// From then on Instances lists it.
	Start(ctx context.Context) (id string, err error)
	// Stop asks an instance to stop and returns without waiting for it to be gone. From
	// then on Instances lists it as stopping or not at all.
	Stop(ctx context.Context, id string) error
}

// Run takes a fleet to the goal and returns when it is reached. It stops where it is,
// with an error that says what it waited for, when ctx ends, when an instance that it
// started ends for good before it was ready, or when the fleet reports an error.
func Run(ctx context.Context, fleet Fleet, goal Goal, bounds Bounds) error {
	started := map[string]bool{} // by this run, not yet seen ready
	for {
		instances, changed, err := fleet.Instances(ctx)
		if err != nil {
			return fmt.Errorf("list instances: %w", err)
		}
		for _, i := range instances {
			if i.Ready {
				delete(started, i.ID)
			}
			if i.Failed && started[i.ID] {
				return fmt.Errorf("instance %s of revision %s ended before it was ready: %s", i.ID, i.Revision, i.Why)
			}
		}
		step, err := Plan(goal, bounds, instances)
		if err != nil {
			return err
		}
		if step.Done {
			return nil
		}
		// A cancelled change must not take another step, also when there is one to take.
		if err := context.Cause(ctx); err != nil {
			return fmt.Errorf("%s: %w", waiting(goal, instances), err)
		}
		for _, id := range step.Stop {
			if err := fleet.Stop(ctx, id); err != nil {
				return fmt.Errorf("stop instance %s: %w", id, err)
			}
		}
		for range step.Start {
			id, err := fleet.Start(ctx)
			if err != nil {
				return fmt.Errorf("start an instance of revision %s: %w", goal.Revision, err)
			}
			started[id] = true
		}
		if step.Start > 0 || len(step.Stop) > 0 {
			continue // the list is out of date
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", waiting(goal, instances), context.Cause(ctx))
		}
	}
}

// waiting says how far a change has come and what it waits for.
func waiting(goal Goal, instances []Instance) string {
	ready := 0
	var missing []string
	for _, i := range instances {
		switch {
		case i.Failed:
			continue
		case i.Stopping:
			missing = append(missing, i.ID+" to be gone")
		case !goal.wants(i):
			missing = append(missing, fmt.Sprintf("%s of revision %s to be replaced", i.ID, i.Revision))
		case i.Ready:
			ready++
		case i.Why != "":
			missing = append(missing, fmt.Sprintf("%s to be ready (%s)", i.ID, i.Why))
		default:
			missing = append(missing, i.ID+" to be ready")
		}
	}
	what := fmt.Sprintf("%d of %d instances of revision %s are ready", ready, goal.Replicas, goal.Revision)
	if len(missing) > 0 {
		what += "; waiting for " + strings.Join(missing, ", ")
	}
	return what
}

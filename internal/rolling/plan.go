// Package rolling replaces the instances of a service a few at a time. Plan is pure: from
// what exists and what is wanted it says what to start and what to stop now. Run carries
// plans out on a Fleet until the goal is reached. It knows nothing of any runtime, of
// balancers or of health checks; a Fleet tells it which instances are ready.
package rolling

import (
	"errors"
	"fmt"
)

// ErrNoProgress: the bounds forbid every step.
var ErrNoProgress = errors.New("max surge and max unavailable are both 0, so no instance could ever be replaced")

// Bounds limit how far a change may stray from the wanted number of instances.
type Bounds struct {
	MaxSurge       int // instances that may exist above it
	MaxUnavailable int // ready instances that may be missing below it
}

// Validate refuses bounds under which nothing could be replaced.
func (b Bounds) Validate() error {
	if b.MaxSurge < 0 || b.MaxUnavailable < 0 {
		return fmt.Errorf("max surge %d and max unavailable %d: neither may be negative", b.MaxSurge, b.MaxUnavailable)
	}
	if b.MaxSurge == 0 && b.MaxUnavailable == 0 {
		return ErrNoProgress
	}
	return nil
}

// Instance is one instance as the runtime sees it now.
type Instance struct {
	ID         string
	Revision   string
	Generation int  // counts restarts: the generation of the goal that it was started for
	Ready      bool // the runtime's verdict, the one that requests are routed by
	Stopping   bool // asked to stop, still exists

	// Failed: it ended unasked and will not come back. It does not count as existing;
	// it is listed so that Run can say so instead of starting another one for ever.
	Failed bool
	Why    string // for people: why it is not ready, or how it ended
}

// Goal is what must exist in the end: Replicas ready instances of Revision, none of them
// of a generation below Generation, and nothing else.
type Goal struct {
	Replicas   int
	Revision   string
	Generation int
}

func (g Goal) wants(i Instance) bool {
	return i.Revision == g.Revision && i.Generation >= g.Generation
}

// Step is what to do now. Neither field set and Done false means: wait for a change.
type Step struct {
	Start int      // instances of the goal's revision and generation to start
	Stop  []string // IDs of the instances to stop
	Done  bool     // the goal is reached
}

// Plan says what to do now. The instances are given oldest first. With w = goal.Replicas
// it keeps to these bounds, counting an instance until it is gone and calling it
// available while it is ready and not stopping:
//
//   - it starts an instance only while fewer than w + MaxSurge exist;
//   - it stops a ready instance only while more than w - MaxUnavailable are available;
//   - an instance that is being replaced and is not ready now may become so again, so it
//     is stopped only when the others, without those of the goal that are not ready,
//     number at least w - MaxUnavailable. A revision that never gets ready therefore
//     stops the change at the surge.
//
// Among the instances that may be stopped, unready ones come before ready ones, those
// being replaced (oldest first) before those of the goal (newest first, as the older ones
// have warmed up).
func Plan(goal Goal, bounds Bounds, instances []Instance) (Step, error) {
	if err := bounds.Validate(); err != nil {
		return Step{}, err
	}
	if goal.Replicas < 0 {
		return Step{}, fmt.Errorf("%d replicas wanted: the number may not be negative", goal.Replicas)
	}
	var kept, old []Instance // neither stopping nor failed
	var existing, available, keptUnready int
	for _, i := range instances {
		if i.Failed {
			continue
		}
		existing++
		if i.Stopping {
			continue
		}
		if i.Ready {
			available++
		}
		if goal.wants(i) {
			kept = append(kept, i)
			if !i.Ready {
				keptUnready++
			}
		} else {
			old = append(old, i)
		}
	}
	floor := max(goal.Replicas-bounds.MaxUnavailable, 0)
	live := len(kept) + len(old)
	surplus := len(kept) - goal.Replicas // of the goal's own, when scaling in

	var step Step
	stop := func(i Instance) {
		step.Stop = append(step.Stop, i.ID)
		live--
		if i.Ready {
			available--
		}
	}
	for n := len(kept) - 1; n >= 0 && surplus > 0; n-- {
		if !kept[n].Ready {
			stop(kept[n])
			surplus--
			keptUnready--
		}
	}
	for _, i := range old {
		if !i.Ready && live-keptUnready > floor {
			stop(i)
		}
	}
	for _, i := range old {
		if i.Ready && available > floor && live-keptUnready > floor {
			stop(i)
		}
	}
	for n := len(kept) - 1; n >= 0 && surplus > 0; n-- {
		if kept[n].Ready && available > floor {
			stop(kept[n])
			surplus--
		}
	}
	// What is stopped now exists until it is gone, so it makes no room in this step.
	step.Start = max(min(goal.Replicas-len(kept), goal.Replicas+bounds.MaxSurge-existing), 0)
	step.Done = existing == goal.Replicas && available == goal.Replicas && len(old) == 0 && len(kept) == goal.Replicas
	return step, nil
}

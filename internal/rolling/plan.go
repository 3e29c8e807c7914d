// Package rolling replaces the instances of a service a few at a time: from what exists and
// what is wanted Plan says what to start and what to stop now. It is pure, and knows nothing
// of any runtime, of balancers or of health checks.
package rolling

import (
	"fmt"
	"slices"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// Step is what to do now. Neither field set and Done false means: wait for a change.
type Step struct {
	Start int      // instances of the wanted kind to start
	Stop  []string // IDs of the instances to stop
	Done  bool     // what is wanted is there, and nothing else
}

// Plan says what to do now so that in the end there are w = replicas instances, all of them
// ready and none to be replaced. Those of the wanted kind that exist now are given apart from
// those to be replaced, both oldest first. It keeps to these bounds, counting an instance
// until it is gone and calling it available while it is ready and not stopping:
//
//   - it starts an instance only while fewer than w + MaxSurge exist;
//   - it stops a ready instance only while more than w - MaxUnavailable are available;
//   - an instance that is being replaced and is not ready now may become so again, so it
//     is stopped only when the others, without those of the wanted kind that are not ready,
//     number at least w - MaxUnavailable. A revision that never gets ready therefore
//     stops the change at the surge.
//
// Among the instances that may be stopped, unready ones come before ready ones, those
// being replaced (oldest first) before those of the wanted kind (newest first, as the older
// ones have warmed up).
func Plan(replicas int, bounds drivers.Rolling, wanted, replaced []drivers.Instance) (Step, error) {
	if err := bounds.Validate(); err != nil {
		return Step{}, err
	}
	if replicas < 0 {
		return Step{}, fmt.Errorf("%d replicas wanted: the number may not be negative", replicas)
	}
	kept, old := unstopped(wanted), unstopped(replaced)
	existing, live := len(wanted)+len(replaced), len(kept)+len(old)
	keptReady := countReady(kept)
	keptUnready := len(kept) - keptReady
	available := keptReady + countReady(old)
	floor := max(replicas-bounds.MaxUnavailable, 0)
	surplus := len(kept) - replicas // of the wanted kind, when scaling in

	var step Step
	stop := func(i drivers.Instance) {
		step.Stop = append(step.Stop, i.ID)
		live--
		if ready(i) {
			available--
		}
	}
	for n := len(kept) - 1; n >= 0 && surplus > 0; n-- {
		if !ready(kept[n]) {
			stop(kept[n])
			surplus--
			keptUnready--
		}
	}
	for _, i := range old {
		if !ready(i) && live-keptUnready > floor {
			stop(i)
		}
	}
	for _, i := range old {
		if ready(i) && available > floor { // unready ones are left only where this is not so
			stop(i)
		}
	}
	for n := len(kept) - 1; n >= 0 && surplus > 0; n-- {
		if ready(kept[n]) && available > floor {
			stop(kept[n])
			surplus--
		}
	}
	// What is stopped now exists until it is gone, so it makes no room in this step.
	step.Start = max(min(replicas-len(kept), replicas+bounds.MaxSurge-existing), 0)
	step.Done = existing == replicas && available == replicas && len(old) == 0 && len(kept) == replicas
	return step, nil
}

func ready(i drivers.Instance) bool { return i.State == drivers.StateReady }

func countReady(instances []drivers.Instance) int {
	n := 0
	for _, i := range instances {
		if ready(i) {
			n++
		}
	}
	return n
}

// unstopped are those that were not asked to stop.
func unstopped(instances []drivers.Instance) []drivers.Instance {
	return slices.DeleteFunc(slices.Clone(instances), func(i drivers.Instance) bool { return i.State == drivers.StateTerminating })
}

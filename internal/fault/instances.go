package fault

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/scenarios"
)

// targets are what the fault is done to: the instances that it selects, once they are there, or
// one target without an instance.
func (o *one) targets(ctx context.Context) ([]Target, error) {
	into := Target{Env: o.Env, Stack: o.Stack, After: o.After, Folder: o.Folder, Revocation: o.Revocation}
	if !o.fault.ToInstances() {
		return []Target{into}, nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not within %v", patience))
	defer cancel()
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		there, err := o.Env.Instances(ctx)
		if err == nil {
			var chosen []drivers.Instance
			if chosen, err = choose(o.fault.Selection(), there, o.After); err == nil {
				all := make([]Target, len(chosen))
				for i, instance := range chosen {
					all[i] = into
					all[i].Instance = instance
				}
				return all, nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, because(ctx, err)
		}
	}
}

// choose selects among the instances that there are, oldest first. One that was asked to stop is
// none of them: what it does no longer says anything of the runtime.
func choose(s scenarios.Selection, there []drivers.Instance, after string) ([]drivers.Instance, error) {
	here := slices.DeleteFunc(slices.Clone(there), func(i drivers.Instance) bool { return i.State == drivers.StateTerminating })
	ready := slices.DeleteFunc(slices.Clone(here), func(i drivers.Instance) bool { return i.State != drivers.StateReady })
	from, want := here, 1
	switch s.Which {
	case scenarios.SomeInstances: // a fault in one that serves nothing shows nothing
		from, want = ready, s.N
		if s.Share > 0 {
			want = s.Of(len(here))
		}
	case scenarios.AllInstances:
		want = len(here)
	case scenarios.Newest:
		from = slices.Clone(here)
		slices.Reverse(from)
	case scenarios.FirstNew:
		from = slices.DeleteFunc(slices.Clone(here), func(i drivers.Instance) bool { return i.Revision != after })
	}
	if want = max(want, 1); len(from) < want {
		return nil, fmt.Errorf("it is done to %s, and there are %d, of which %d are ready", s, len(here), len(ready))
	}
	return from[:want], nil
}

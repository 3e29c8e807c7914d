package lab

import (
	"context"
	"errors"
	"fmt"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/fault"
	"github.com/rollout-lab/rollout-lab/scenarios"
)

// errLoadEnded is why a fault is healed early, or does not begin: what it costs would be in no
// number.
var errLoadEnded = errors.New("the load has ended")

// inject does the scenario's faults, each at its time, and returns once all of them are healed.
// What the commands of the user's own say goes into files in the folder.
func (o *observation) inject(ctx context.Context, folder string) {
	target := o.plannedTrial.target()
	_, after := target.RevisionNames()
	plan := fault.Plan{
		Faults: o.scenario.Faults, Env: o.env, Stack: o.target.Stack, After: after,
		Base: o.base, From: o.scenario.Phases.Window.From, Folder: folder, Event: o.out.Event,
		Revocation: o.target.Revocation, Feigned: o.cfg.feignFaults,
	}
	plan.Run(ctx)
}

// Unavailable is a fault of a scenario that a driver cannot do here.
type Unavailable struct {
	Scenario *scenarios.Scenario
	Fault    int // its place in the scenario
	Err      error
}

// Error says it where the scenario asks for it.
func (u *Unavailable) Error() string {
	e := u.Scenario.ProblemAt(fmt.Sprintf("faults[%d]", u.Fault), u.Err.Error(), "")
	return e.Error()
}

func (u *Unavailable) Unwrap() error { return u.Err }

// Faults asks the drivers which of the scenarios' faults they cannot do here. Nothing is changed.
// A driver that is not available itself is not asked: the run says so.
func Faults(ctx context.Context, ss []*scenarios.Scenario, ds []drivers.Driver) (all []*Unavailable) {
	for _, s := range ss {
		if len(s.Faults) == 0 {
			continue
		}
		for _, d := range driversOf(s, ds) {
			if d.Check(ctx) != nil {
				continue
			}
			for i := range s.Faults {
				if err := fault.Available(ctx, d, &s.Faults[i]); err != nil {
					all = append(all, &Unavailable{s, i, err})
				}
			}
		}
	}
	return all
}

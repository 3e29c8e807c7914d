// Package fault does to a trial what its scenario's faults say, and undoes it: it finds what a
// fault is done to, injects it, has something else prove that it is there, heals it on every
// way out and has the same something prove that it is gone. It draws no conclusions: what
// happened is in the events.
package fault

import (
	"context"
	"slices"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/load"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/scenarios"
)

// Target is what a fault is done to.
type Target struct {
	Env   drivers.Env
	Stack drivers.Stack // what the environment was deployed from
	// Instance is the instance of the subject; its ID is "" where the fault is done to none.
	Instance drivers.Instance
	After    string // the revision of the subject that the action leads to
	Folder   string // for what is worth keeping
	// Revocation is the session that a revocation is of, nil where the load uses none.
	Revocation *load.Revocation
}

// injector injects a fault of one kind into one target. It returns once the fault is in effect,
// and what was begun is undone when it fails, also when ctx ends. What it returns is asked and
// healed as drivers.Injection says.
type injector func(ctx context.Context, f scenarios.Fault, into Target) (drivers.Injection, error)

// injectors are those of each kind, called once for each instance where the kind has instances,
// else once.
var injectors = map[scenarios.FaultKind]injector{
	scenarios.Kill:      byDriver,
	scenarios.Pause:     byDriver,
	scenarios.CPU:       byDriver,
	scenarios.Evict:     byDriver,
	scenarios.NodeDrain: byDriver,

	scenarios.Outage:  injectOutage,
	scenarios.Network: injectNetwork,

	scenarios.BadRevision: injectRevision,
	scenarios.Stall:       injectStall,
	scenarios.BadConfig:   injectBadConfig,
	scenarios.Revoke:      injectRevoke,
	scenarios.SlowCheck:   injectTold,
	scenarios.Deadlock:    injectTold,
	scenarios.DataDead:    injectTold,
	scenarios.Flap:        injectTold,

	scenarios.CommandFault: injectCommand,
}

// byDriver is the injector of what the runtime does.
func byDriver(ctx context.Context, f scenarios.Fault, into Target) (drivers.Injection, error) {
	in, ok := into.Env.(drivers.Injector)
	kind, known := ofDriver(&f)
	if !ok || !known {
		return nil, drivers.ErrUnsupported
	}
	return in.Inject(ctx, drivers.Fault{Kind: kind, Instance: into.Instance.ID, Service: f.Service, CPUs: f.Share})
}

// Describe is what the record says of the faults that a scenario plans, by their start.
func Describe(s *scenarios.Scenario) []record.Fault {
	var out []record.Fault
	for i := range s.Faults {
		f := &s.Faults[i]
		out = append(out, record.Fault{
			Name: f.Name, Kind: string(f.Kind), At: s.Phases.Window.From + f.At, For: f.For,
			Target: f.Target(), How: f.How(),
		})
	}
	slices.SortStableFunc(out, func(a, b record.Fault) int { return int(a.At - b.At) })
	return out
}

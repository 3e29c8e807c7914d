package fault

import (
	"context"
	"fmt"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/scenarios"
)

// driverKinds are the kinds of faults that are the runtime's business.
var driverKinds = map[scenarios.FaultKind]drivers.FaultKind{
	scenarios.Kill:      drivers.FaultKill,
	scenarios.Pause:     drivers.FaultPause,
	scenarios.CPU:       drivers.FaultCPU,
	scenarios.Evict:     drivers.FaultEvict,
	scenarios.NodeDrain: drivers.FaultNodeDrain,
}

// ofDriver is what a fault asks of the driver; ok is false where it asks nothing.
func ofDriver(f *scenarios.Fault) (kind drivers.FaultKind, ok bool) {
	if f.Kind == scenarios.Outage && f.Mode == scenarios.KillNoBack {
		return drivers.FaultStop, true
	}
	kind, ok = driverKinds[f.Kind]
	return kind, ok
}

// Available says why a fault cannot be done on a driver, nil where it can. Nothing is changed.
func Available(ctx context.Context, d drivers.Driver, f *scenarios.Fault) error {
	if injectors[f.Kind] == nil {
		return fmt.Errorf("fault %s: %w", f.Kind, drivers.ErrUnsupported)
	}
	kind, ok := ofDriver(f)
	if !ok {
		return nil
	}
	faulter, ok := d.(drivers.Faulter)
	if !ok {
		return refused(d, kind)
	}
	why, known := faulter.Faults(ctx)[kind]
	switch {
	case !known:
		return refused(d, kind)
	case why != nil:
		return fmt.Errorf("fault %s on %s: %w", kind, d.Name(), why)
	}
	return nil
}

func refused(d drivers.Driver, kind drivers.FaultKind) error {
	return &drivers.HintError{
		Err:  fmt.Errorf("fault %s on %s: %w", kind, d.Name(), drivers.ErrUnsupported),
		Hint: "rollout-lab doctor says which faults each driver can do",
	}
}

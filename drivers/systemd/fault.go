package systemd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/fleet"
)

// The numbers of Linux: it is the container's kernel that reads them, and not every
// system that this is compiled for knows them.
const (
	sigCont = syscall.Signal(18)
	sigStop = syscall.Signal(19)
)

var _ fleet.Breaker = (*manager)(nil)

// Faults implements drivers.Faulter.
func (d *Driver) Faults(context.Context) map[drivers.FaultKind]error {
	return map[drivers.FaultKind]error{drivers.FaultKill: nil, drivers.FaultPause: nil}
}

// Break implements fleet.Breaker.
func (m *manager) Break(ctx context.Context, i *fleet.Instance, f drivers.Fault) (drivers.Injection, error) {
	u, err := m.find(i.ID)
	if err != nil {
		return nil, err
	}
	p, err := u.process()
	if err != nil {
		return nil, err
	}
	switch f.Kind {
	case drivers.FaultKill:
		if err := m.kill(ctx, u, syscall.SIGKILL); err != nil {
			return nil, err
		}
		return killed{u, p}, u.awaitOther(ctx, p)
	case drivers.FaultPause:
		return frozen{u, p}, m.kill(ctx, u, sigStop)
	}
	return nil, drivers.ErrUnsupported
}

// killed is a unit whose processes were killed.
type killed struct {
	unit    *unit
	process process // the main one
}

// Proof is what systemd has told of the end of the main process.
func (k killed) Proof(context.Context) (seen string, there bool, err error) {
	k.unit.mu.Lock()
	end, ended := k.unit.ends[k.process]
	k.unit.mu.Unlock()
	if !ended {
		return fmt.Sprintf("process %d has not ended", k.process.pid), false, nil
	}
	return fmt.Sprintf("process %d has ended: %s", k.process.pid, end.end()),
		end.code == signalled && end.exit == int32(syscall.SIGKILL), nil
}

func (killed) Heal(context.Context) error { return nil }

// frozen is a unit whose processes were stopped. systemd takes no notice of it, but its
// watchdog does where there is one.
type frozen struct {
	unit    *unit
	process process // the main one
}

// Proof is the state of the main process, as the kernel of systemd's machine shows it.
func (f frozen) Proof(ctx context.Context) (seen string, there bool, err error) {
	if now, err := f.unit.process(); err != nil || now != f.process {
		return fmt.Sprintf("process %d has ended", f.process.pid), false, nil
	}
	stat, err := f.unit.manager.host.read(ctx, fmt.Sprintf("/proc/%d/stat", f.process.pid))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Sprintf("process %d has ended", f.process.pid), false, nil
	}
	if err != nil {
		return "", false, err
	}
	// What stands before the last bracket is a name, with whatever is in it.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) == 0 {
		return "", false, fmt.Errorf("cannot read the state of process %d from %q", f.process.pid, stat)
	}
	return fmt.Sprintf("process %d is in state %s", f.process.pid, fields[0]), string(fields[0]) == "T", nil
}

// Heal thaws what is frozen. A unit that is gone needs no healing.
func (f frozen) Heal(ctx context.Context) error {
	return f.unit.manager.kill(ctx, f.unit, sigCont)
}

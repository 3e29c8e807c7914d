package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/fleet"
)

var _ fleet.Breaker = (*supervisor)(nil)

// Faults implements drivers.Faulter.
func (d *Driver) Faults(context.Context) map[drivers.FaultKind]error {
	return map[drivers.FaultKind]error{drivers.FaultKill: nil, drivers.FaultPause: nil}
}

// Break implements fleet.Breaker.
func (s *supervisor) Break(ctx context.Context, i *fleet.Instance, f drivers.Fault) (drivers.Injection, error) {
	c, err := s.childOf(i)
	if err != nil {
		return nil, err
	}
	switch f.Kind {
	case drivers.FaultKill:
		return killed{c}, c.killNow(ctx)
	case drivers.FaultPause:
		return frozen{c}, c.pause()
	}
	return nil, drivers.ErrUnsupported
}

// killNow kills the group and returns once the process has ended.
func (c *child) killNow(ctx context.Context) error {
	if err := c.kill(); err != nil {
		return err
	}
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for the end of process %d: %w", c.pid, context.Cause(ctx))
	}
}

// killed is a process that was killed.
type killed struct{ child *child }

// Proof is the status with which the kernel says that the process has ended.
func (k killed) Proof(context.Context) (seen string, there bool, err error) {
	select {
	case <-k.child.done:
	default:
		return fmt.Sprintf("process %d has not ended", k.child.pid), false, nil
	}
	end := k.child.end
	return fmt.Sprintf("process %d has ended: %s", k.child.pid, k.child.state), end.Signaled() && end.Signal() == unix.SIGKILL, nil
}

func (killed) Heal(context.Context) error { return nil }

// frozen is a group of processes that was stopped.
type frozen struct{ child *child }

// Proof is the state of each process of the group, as the kernel shows it.
func (f frozen) Proof(context.Context) (seen string, there bool, err error) {
	states, err := groupStates(f.child.pid)
	if err != nil {
		return "", false, err
	}
	if states == "" {
		return fmt.Sprintf("process %d has ended", f.child.pid), false, nil
	}
	return fmt.Sprintf("process %d and its group are in state %s", f.child.pid, states), strings.Trim(states, "T") == "", nil
}

// Heal thaws the group. One that has ended needs no healing.
func (f frozen) Heal(context.Context) error {
	if err := f.child.resume(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// groupStates are the states of the processes of a group, one letter for each that has not
// ended, "" when there is none.
func groupStates(group int) (string, error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return "", err
	}
	states := ""
	for _, file := range files {
		stat, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		// What stands before the last bracket is a name, with whatever is in it.
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])) // state, parent, group
		if len(fields) > 2 && fields[2] == strconv.Itoa(group) && fields[0] != "Z" && fields[0] != "X" {
			states += fields[0]
		}
	}
	return states, nil
}

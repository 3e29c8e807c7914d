package docker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/fleet"
)

// killedStatus is what the engine says of a container whose first process SIGKILL has ended.
const killedStatus = "exit status 137"

// Faults implements drivers.Faulter.
func (d *Driver) Faults(context.Context) map[drivers.FaultKind]error {
	return map[drivers.FaultKind]error{drivers.FaultKill: nil, drivers.FaultPause: nil}
}

// Break implements fleet.Breaker.
func (e *environment) Break(ctx context.Context, f *fleet.Instance, fault drivers.Fault) (drivers.Injection, error) {
	i := e.instanceOf(f)
	if i == nil {
		return nil, errors.New("it has no container")
	}
	switch fault.Kind {
	case drivers.FaultKill:
		return i.killNow(ctx)
	case drivers.FaultPause:
		return i.freeze(ctx)
	}
	return nil, drivers.ErrUnsupported
}

// killNow sends SIGKILL to the container's first process, and with it to everything in it, and
// returns once the engine has said that the container has died.
func (i *instance) killNow(ctx context.Context) (drivers.Injection, error) {
	i.mu.Lock()
	i.killed = true
	k := killed{i, len(i.ends)}
	i.mu.Unlock()
	if err := i.env.engine.ContainerKill(ctx, i.id, "SIGKILL"); err != nil {
		i.mu.Lock()
		i.killed = false
		i.mu.Unlock()
		return nil, err
	}
	if err := i.died.Wait(ctx, func() bool { return k.end() != "" }); err != nil {
		return nil, fmt.Errorf("waiting for the end of container %s: %w", i.id, err)
	}
	return k, nil
}

// killed is a container that was killed, when it had ended so often.
type killed struct {
	instance *instance
	ends     int
}

// end is how the container has ended since, "" while it has not.
func (k killed) end() string {
	k.instance.mu.Lock()
	defer k.instance.mu.Unlock()
	if len(k.instance.ends) <= k.ends {
		return ""
	}
	return k.instance.ends[k.ends]
}

// Proof is the status with which the container has died, as the engine's events tell it.
func (k killed) Proof(context.Context) (seen string, there bool, err error) {
	end := k.end()
	if end == "" {
		return fmt.Sprintf("container %.12s has not died", k.instance.id), false, nil
	}
	return fmt.Sprintf("container %.12s has died: %s", k.instance.id, end), end == killedStatus, nil
}

func (killed) Heal(context.Context) error { return nil }

// freeze stops the container's process by a signal, because the engine asks no container for
// its health that it has paused itself. It does that nevertheless where there are several
// processes, of which a signal would reach the first one alone.
func (i *instance) freeze(ctx context.Context) (drivers.Injection, error) {
	states, err := i.states(ctx)
	switch {
	case err != nil:
		return nil, err
	case len(states) > 1:
		return frozen{i, true}, i.env.engine.ContainerPause(ctx, i.id)
	}
	return frozen{i, false}, i.env.engine.ContainerKill(ctx, i.id, "SIGSTOP")
}

// states are the states of the container's first process and of all that it has started, as
// ps on the engine's machine shows them.
func (i *instance) states(ctx context.Context) ([]string, error) {
	top, err := i.env.engine.ContainerTop(ctx, i.id, []string{"-o", "pid,ppid,stat"})
	if err != nil {
		return nil, fmt.Errorf("list its processes: %w", err)
	}
	c, err := i.env.engine.ContainerInspect(ctx, i.id)
	if err != nil {
		return nil, err
	}
	// A health check is not a child of the first process.
	family := []string{strconv.Itoa(c.State.Pid)}
	var states []string
	for range len(top.Processes) {
		for _, p := range top.Processes {
			if len(p) == 3 && !slices.Contains(family, p[0]) && slices.Contains(family, p[1]) {
				family = append(family, p[0])
			}
		}
	}
	for _, p := range top.Processes {
		if len(p) == 3 && slices.Contains(family, p[0]) {
			states = append(states, p[2])
		}
	}
	return states, nil
}

// frozen is a container whose processes do not run.
type frozen struct {
	instance *instance
	paused   bool // by the engine
}

// Proof is what the engine says of the container that it has paused itself, and the state of
// the process otherwise.
func (f frozen) Proof(ctx context.Context) (seen string, there bool, err error) {
	if f.paused {
		c, err := f.instance.env.engine.ContainerInspect(ctx, f.instance.id)
		if isNotFound(err) {
			return "the container is gone", false, nil
		}
		if err != nil {
			return "", false, err
		}
		return fmt.Sprintf("container %.12s is %s; the engine does not ask it for its health meanwhile", f.instance.id, c.State.Status), c.State.Paused, nil
	}
	states, err := f.instance.states(ctx)
	if isNotFound(err) || errdefs.IsConflict(err) {
		return fmt.Sprintf("container %.12s does not run", f.instance.id), false, nil
	}
	if err != nil {
		return "", false, err
	}
	running := func(state string) bool { return !strings.HasPrefix(state, "T") }
	return fmt.Sprintf("the process of container %.12s is in state %s", f.instance.id, strings.Join(states, ", ")),
		len(states) > 0 && !slices.ContainsFunc(states, running), nil
}

// Heal thaws the container. One that has ended, or that runs again, needs no healing.
func (f frozen) Heal(ctx context.Context) error {
	engine := f.instance.env.engine
	var err error
	if f.paused {
		err = engine.ContainerUnpause(ctx, f.instance.id)
	} else {
		err = engine.ContainerKill(ctx, f.instance.id, "SIGCONT")
	}
	if err == nil || isNotFound(err) {
		return nil
	}
	// The engine refuses what makes no sense of a container that was replaced.
	if _, there, proofErr := f.Proof(ctx); proofErr == nil && !there {
		return nil
	}
	return err
}

package systemd

import (
	"context"
	"fmt"
	"syscall"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/fleet"
)

// logLines is how much of what an instance wrote Logs returns.
const logLines = 1000

// environment implements drivers.Env and all of the optional abilities.
type environment struct {
	*fleet.Environment
	manager *manager
}

// Assert the abilities, which callers ask for by type.
var (
	_ drivers.Killer = (*environment)(nil)
	_ drivers.Pauser = (*environment)(nil)
	_ drivers.Logger = (*environment)(nil)
)

// Kill implements drivers.Killer: SIGKILL to every process of the unit. It returns once
// systemd has seen the end of the main one.
func (e *environment) Kill(ctx context.Context, instanceID string) error {
	u, p, err := e.running(instanceID)
	if err != nil {
		return fmt.Errorf("kill: %w", err)
	}
	if err := e.manager.kill(ctx, u, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill %s: %w", instanceID, err)
	}
	if err := u.awaitOther(ctx, p); err != nil {
		return fmt.Errorf("kill %s: %w", instanceID, err)
	}
	return nil
}

// Pause implements drivers.Pauser: SIGSTOP to every process of the unit. systemd takes no
// notice of it, but its watchdog does where there is one.
func (e *environment) Pause(ctx context.Context, instanceID string) error {
	return e.signal(ctx, "pause", instanceID, sigStop)
}

// Resume implements drivers.Pauser. An instance that is not paused is left alone.
func (e *environment) Resume(ctx context.Context, instanceID string) error {
	return e.signal(ctx, "resume", instanceID, sigCont)
}

// The numbers of Linux: it is the container's kernel that reads them, and not every
// system that this is compiled for knows them.
const (
	sigCont = syscall.Signal(18)
	sigStop = syscall.Signal(19)
)

func (e *environment) signal(ctx context.Context, what, instanceID string, sig syscall.Signal) error {
	u, _, err := e.running(instanceID)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := e.manager.kill(ctx, u, sig); err != nil {
		return fmt.Errorf("%s %s: %w", what, instanceID, err)
	}
	return nil
}

func (e *environment) running(instanceID string) (*unit, process, error) {
	if _, err := e.Find(instanceID); err != nil {
		return nil, process{}, err
	}
	u, err := e.manager.find(instanceID)
	if err != nil {
		return nil, process{}, err
	}
	p, err := u.process()
	return u, p, err
}

// Logs implements drivers.Logger: the last lines of the journal that an instance itself
// wrote, also of one that is gone.
func (e *environment) Logs(ctx context.Context, instanceID string) (string, error) {
	e.manager.mu.Lock()
	name, ok := e.manager.names[instanceID]
	e.manager.mu.Unlock()
	if !ok {
		return "", fmt.Errorf("logs: %w: %s", fleet.ErrNoInstance, instanceID)
	}
	out, err := e.manager.host.journal(ctx, writtenBy, name, logLines)
	if err != nil {
		return "", fmt.Errorf("logs of %s: %w", instanceID, err)
	}
	return out, nil
}

package process

import (
	"context"
	"fmt"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/fleet"
)

// environment implements drivers.Env and all of the optional abilities.
type environment struct {
	*fleet.Environment
	supervisor *supervisor
}

// Assert the abilities, which callers ask for by type.
var (
	_ drivers.Killer = (*environment)(nil)
	_ drivers.Pauser = (*environment)(nil)
	_ drivers.Logger = (*environment)(nil)
)

// Kill implements drivers.Killer: SIGKILL to the instance's process group. It returns
// once the process has ended.
func (e *environment) Kill(ctx context.Context, instanceID string) error {
	c, err := e.childOf(instanceID)
	if err != nil {
		return fmt.Errorf("kill: %w", err)
	}
	if err := c.kill(); err != nil {
		return fmt.Errorf("kill %s: %w", instanceID, err)
	}
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("kill %s: waiting for the end of process %d: %w", instanceID, c.pid, context.Cause(ctx))
	}
}

// Pause implements drivers.Pauser: SIGSTOP to the instance's process group. It returns
// once the process has stopped.
func (e *environment) Pause(_ context.Context, instanceID string) error {
	c, err := e.childOf(instanceID)
	if err != nil {
		return fmt.Errorf("pause: %w", err)
	}
	if err := c.pause(); err != nil {
		return fmt.Errorf("pause %s: %w", instanceID, err)
	}
	return nil
}

// Resume implements drivers.Pauser. An instance that is not paused is left alone.
func (e *environment) Resume(_ context.Context, instanceID string) error {
	c, err := e.childOf(instanceID)
	if err != nil {
		return fmt.Errorf("resume: %w", err)
	}
	if err := c.resume(); err != nil {
		return fmt.Errorf("resume %s: %w", instanceID, err)
	}
	return nil
}

func (e *environment) childOf(instanceID string) (*child, error) {
	i, err := e.Find(instanceID)
	if err != nil {
		return nil, err
	}
	return e.supervisor.childOf(i)
}

// Logs implements drivers.Logger: the last 64 KiB of what an instance wrote, also of one
// that is gone.
func (e *environment) Logs(_ context.Context, instanceID string) (string, error) {
	e.supervisor.mu.Lock()
	defer e.supervisor.mu.Unlock()
	t, ok := e.supervisor.logs[instanceID]
	if !ok {
		return "", fmt.Errorf("logs: %w: %s", fleet.ErrNoInstance, instanceID)
	}
	return t.String(), nil
}

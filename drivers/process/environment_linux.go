package process

import (
	"context"
	"fmt"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/fleet"
)

// environment implements drivers.Env and its optional abilities.
type environment struct {
	*fleet.Environment
	supervisor *supervisor
}

// Assert the abilities, which callers ask for by type.
var (
	_ drivers.Injector = (*environment)(nil)
	_ drivers.Logger   = (*environment)(nil)
)

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

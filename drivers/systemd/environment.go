package systemd

import (
	"context"
	"fmt"

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
	_ drivers.Injector = (*environment)(nil)
	_ drivers.Logger   = (*environment)(nil)
)

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

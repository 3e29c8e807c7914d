package docker

import (
	"context"
	"time"

	"github.com/docker/docker/api/types/versions"

	"github.com/rollout-lab/rollout-lab/internal/dockerengine"
)

// startIntervalAPI is the first one in which a health check has a start interval.
const startIntervalAPI = "1.44"

// engine is the one that runs the containers. Its methods may be called concurrently.
type engine struct{ *dockerengine.Engine }

func dial(ctx context.Context) (*engine, error) {
	e, err := dockerengine.DialLocal(ctx)
	if err != nil {
		return nil, err
	}
	return &engine{e}, nil
}

// persist repeats a call that takes something away until it has succeeded or, from its
// first failure on, absenceLimit has passed: an engine that is being restarted is back by
// then. What is gone already is no failure.
func (e *engine) persist(ctx context.Context, call func(context.Context) error) error {
	var failing time.Time
	for wait := firstBackoff; ; wait = longer(wait) {
		once, cancel := context.WithTimeout(ctx, callLimit)
		err := call(once)
		cancel()
		if err == nil || isNotFound(err) {
			return nil
		}
		if failing.IsZero() {
			failing = time.Now()
		}
		if time.Since(failing) > absenceLimit {
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}

// startInterval says whether a health check can have one.
func (e *engine) startInterval() bool {
	return versions.GreaterThanOrEqualTo(e.ClientVersion(), startIntervalAPI)
}

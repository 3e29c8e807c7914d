package docker

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/versions"

	"github.com/rollout-lab/rollout-lab/internal/dockerengine"
)

const (
	// startIntervalAPI is the first one in which a health check has a start interval.
	startIntervalAPI = "1.44"
	// absenceLimit is how long an engine that does not answer may stay away before a
	// container that has to be stopped or removed is given up.
	absenceLimit = 30 * time.Second
	// createLimit bounds a call that makes something, on a machine that is busy.
	createLimit = time.Minute
	// refusalLimit is how long an engine may refuse to remove something.
	refusalLimit = 5 * time.Second
)

// engine is the one that runs the containers. Its methods may be called concurrently.
type engine struct{ *dockerengine.Engine }

func dial(ctx context.Context) (*engine, error) {
	e, err := dockerengine.DialLocal(ctx)
	if err != nil {
		return nil, err
	}
	return &engine{e}, nil
}

// whole is a context for a call that makes something: whoever gives up in the middle of it
// does not know whether that is there, or is about to be.
func whole(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(context.WithoutCancel(ctx), createLimit, fmt.Errorf("no answer within %v", createLimit))
}

// persist repeats a call that takes something away until it has succeeded. An engine that
// does not answer, as it is being restarted, has absenceLimit from the first failure on;
// one that refuses has refusalLimit, as what is still used is free a moment later. What is
// gone already is no failure.
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
		limit := absenceLimit
		if errdefs.IsConflict(err) || errdefs.IsPermissionDenied(err) {
			limit = refusalLimit
		}
		if time.Since(failing) > limit {
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

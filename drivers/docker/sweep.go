package docker

import (
	"context"
	"errors"
	"fmt"

	"github.com/rollout-lab/rollout-lab/drivers/owner"
	"github.com/rollout-lab/rollout-lab/internal/dockerengine"
)

// Sweep implements drivers.Driver. Environments of the named run that this driver still
// has are closed without grace first.
func (d *Driver) Sweep(ctx context.Context, runID string) ([]string, error) {
	e, err := d.connect(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := owner.Self(); err != nil {
		return nil, err // nobody would be dead then
	}
	found, err := e.find(ctx, runID)
	if err != nil {
		return nil, err
	}
	var errs []error
	if runID != "" {
		errs = append(errs, d.running.Close(ctx, runID))
	}
	var out []string
	for _, r := range found {
		if runID == "" && !orphaned(r) {
			continue
		}
		if err := r.Remove(ctx); err != nil {
			errs = append(errs, fmt.Errorf("sweep: %s: %w", describe(r), err))
			continue
		}
		out = append(out, describe(r))
	}
	return out, errors.Join(errs...)
}

// find lists what there is of a run, or of all of them, in the order in which it can be
// removed.
func (e *engine) find(ctx context.Context, runID string) ([]dockerengine.Resource, error) {
	run := dockerengine.LabelRun
	if runID != "" {
		run += "=" + runID
	}
	return e.Labelled(ctx, dockerengine.Filter(dockerengine.LabelDriver+"="+driverName, run))
}

// orphaned says whether the lab that made a resource has certainly ended.
func orphaned(r dockerengine.Resource) bool {
	o, err := owner.Parse(r.Labels[dockerengine.LabelOwner])
	return err == nil && o.Dead()
}

func describe(r dockerengine.Resource) string {
	run := r.Labels[dockerengine.LabelRun]
	if i := r.Labels[labelInstance]; i != "" {
		return fmt.Sprintf("%v (instance %s of run %s)", r, i, run)
	}
	return fmt.Sprintf("%v (of run %s)", r, run)
}

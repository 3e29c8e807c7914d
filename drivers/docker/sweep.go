package docker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	containertypes "github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"

	"github.com/rollout-lab/rollout-lab/drivers/owner"
)

// leftover is something in the engine that carries the driver's labels.
type leftover struct {
	what   string // for people
	labels map[string]string
	remove func(context.Context) error
}

func (l leftover) String() string {
	if i := l.labels[labelInstance]; i != "" {
		return fmt.Sprintf("%s (instance %s of run %s)", l.what, i, l.labels[labelRun])
	}
	return fmt.Sprintf("%s (of run %s)", l.what, l.labels[labelRun])
}

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
	match := func(l leftover) bool {
		if runID != "" {
			return true // listed by the run
		}
		o, err := owner.Parse(l.labels[labelOwner])
		return err == nil && o.Dead()
	}
	found, err := e.find(ctx, runID, match)
	if err != nil {
		return nil, err
	}
	var errs []error
	if runID != "" {
		errs = append(errs, d.running.Close(ctx, runID))
	}
	var out []string
	for _, l := range found {
		if err := l.remove(ctx); err != nil && !isNotFound(err) {
			errs = append(errs, fmt.Errorf("sweep: %v: %w", l, err))
			continue
		}
		out = append(out, l.String())
	}
	return out, errors.Join(errs...)
}

// find lists what is left of a run, or of all of them, in the order in which it can be
// removed.
func (e *engine) find(ctx context.Context, runID string, match func(leftover) bool) ([]leftover, error) {
	filter := labelled(labelRun, runID)
	containers, err := e.client.ContainerList(ctx, containertypes.ListOptions{All: true, Filters: filter})
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	var out []leftover
	for _, c := range containers {
		out = append(out, leftover{"container " + strings.TrimPrefix(strings.Join(c.Names, ","), "/"), c.Labels,
			func(ctx context.Context) error { return e.removeContainer(ctx, c.ID) }})
	}
	networks, err := e.client.NetworkList(ctx, network.ListOptions{Filters: filter})
	if err != nil {
		return nil, fmt.Errorf("list networks: %w", err)
	}
	for _, n := range networks {
		out = append(out, leftover{"network " + n.Name, n.Labels,
			func(ctx context.Context) error { return e.client.NetworkRemove(ctx, n.ID) }})
	}
	volumes, err := e.client.VolumeList(ctx, volume.ListOptions{Filters: filter})
	if err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	for _, v := range volumes.Volumes {
		out = append(out, leftover{"volume " + v.Name, v.Labels,
			func(ctx context.Context) error { return e.client.VolumeRemove(ctx, v.Name, true) }})
	}
	images, err := e.client.ImageList(ctx, image.ListOptions{Filters: filter})
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	for _, i := range images {
		name := i.ID
		if len(i.RepoTags) > 0 {
			name = i.RepoTags[0]
		}
		out = append(out, leftover{"image " + name, i.Labels,
			func(ctx context.Context) error { return removeImage(ctx, e, name) }})
	}
	return slices.DeleteFunc(out, func(l leftover) bool { return !match(l) }), nil
}

package dockerengine

import (
	"context"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"
)

// LabelPrefix begins the label of everything that the lab makes on an engine. Who makes it
// adds labels of its own behind the same prefix.
const LabelPrefix = "dev.rollout-lab."

// The labels of everything that belongs to a run.
const (
	LabelDriver = LabelPrefix + "driver" // which one made it, and alone may remove it
	LabelRun    = LabelPrefix + "run"
	LabelOwner  = LabelPrefix + "owner" // the lab's process, see package owner
)

// Filter matches what has all of these labels; one without "=" may have any value.
func Filter(labels ...string) filters.Args {
	args := filters.NewArgs()
	for _, l := range labels {
		args.Add("label", l)
	}
	return args
}

// Resource is a container, network, volume or image.
type Resource struct {
	Kind, ID, Name string
	Labels         map[string]string
	remove         func(context.Context) error
}

// String is its kind and its name.
func (r Resource) String() string { return r.Kind + " " + r.Name }

// Remove removes it without grace. One that is gone already is no error.
func (r Resource) Remove(ctx context.Context) error {
	if err := r.remove(ctx); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove %v: %w", r, err)
	}
	return nil
}

// Labelled lists what matches a filter, in the order in which it can be removed.
func (e *Engine) Labelled(ctx context.Context, filter filters.Args) ([]Resource, error) {
	var out []Resource
	containers, err := e.ContainerList(ctx, container.ListOptions{All: true, Filters: filter})
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	for _, c := range containers {
		out = append(out, Resource{"container", c.ID, strings.TrimPrefix(strings.Join(c.Names, ","), "/"), c.Labels,
			func(ctx context.Context) error { return e.RemoveContainer(ctx, c.ID) }})
	}
	networks, err := e.NetworkList(ctx, network.ListOptions{Filters: filter})
	if err != nil {
		return nil, fmt.Errorf("list networks: %w", err)
	}
	for _, n := range networks {
		out = append(out, Resource{"network", n.ID, n.Name, n.Labels,
			func(ctx context.Context) error { return e.NetworkRemove(ctx, n.ID) }})
	}
	volumes, err := e.VolumeList(ctx, volume.ListOptions{Filters: filter})
	if err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	for _, v := range volumes.Volumes {
		out = append(out, Resource{"volume", v.Name, v.Name, v.Labels,
			func(ctx context.Context) error { return e.VolumeRemove(ctx, v.Name, true) }})
	}
	images, err := e.ImageList(ctx, image.ListOptions{Filters: filter})
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	for _, i := range images {
		name := i.ID
		if len(i.RepoTags) > 0 {
			name = i.RepoTags[0]
		}
		out = append(out, Resource{"image", i.ID, name, i.Labels,
			func(ctx context.Context) error { return e.RemoveImage(ctx, name) }})
	}
	return out, nil
}

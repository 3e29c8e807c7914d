package build

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"

	"github.com/rollout-lab/rollout-lab/internal/dockerengine"
)

// keyLabel is the label by which a finished image says what it was made from. baseLabel is
// on the system below it too, which has no name; its value is that of the cache.
const (
	keyLabel  = dockerengine.LabelPrefix + "kindnode.key"
	baseLabel = dockerengine.LabelPrefix + "kindnode.base"
)

// engine is the one that gets the image.
type engine struct {
	*dockerengine.Engine
	dir string // where it keeps images, if that is on this machine
}

func connect(ctx context.Context) (*engine, error) {
	docker, err := dockerengine.Dial(ctx)
	if err != nil {
		return nil, err
	}
	e := &engine{Engine: docker}
	if docker.Address.Socket() {
		info, err := docker.Info(ctx)
		if err != nil {
			docker.Close()
			return nil, fmt.Errorf("engine at %v: %w", docker.Address, err)
		}
		e.dir = info.DockerRootDir
	}
	return e, nil
}

func (e *engine) list(ctx context.Context, conditions ...string) ([]image.Summary, error) {
	args := filters.NewArgs()
	for i := 0; i+1 < len(conditions); i += 2 {
		args.Add(conditions[i], conditions[i+1])
	}
	images, err := e.ImageList(ctx, image.ListOptions{Filters: args})
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	return images, nil
}

// keyOf is the key of the image with a tag, or "" if there is none or it is not ours.
func (e *engine) keyOf(ctx context.Context, tag string) (string, error) {
	images, err := e.list(ctx, "reference", tag)
	if err != nil || len(images) == 0 {
		return "", err
	}
	return images[0].Labels[keyLabel], nil
}

// adopt looks for an image with the key, and sees to it that it has the tag.
func (e *engine) adopt(ctx context.Context, tag, key string) (bool, error) {
	have, err := e.keyOf(ctx, tag)
	if err != nil || have == key {
		return have == key, err
	}
	images, err := e.list(ctx, "label", keyLabel+"="+key)
	if err != nil || len(images) == 0 {
		return false, err
	}
	if err := e.ImageTag(ctx, images[0].ID, tag); err != nil {
		return false, fmt.Errorf("tag %s: %w", images[0].ID, err)
	}
	return true, nil
}

// importTree makes an image of a tree, and returns its ID.
func (e *engine) importTree(ctx context.Context, t tree, label string) (string, error) {
	return e.Import(ctx, "", []string{"LABEL " + baseLabel + "=" + label}, t.write)
}

// Save writes an image of the engine to w as docker save does.
func Save(ctx context.Context, tag string, w io.Writer) error {
	docker, err := connect(ctx)
	if err != nil {
		return err
	}
	defer docker.Close()
	r, err := docker.ImageSave(ctx, []string{tag})
	if err != nil {
		return fmt.Errorf("save %s: %w", tag, err)
	}
	_, err = io.Copy(w, r)
	if err := errors.Join(err, r.Close()); err != nil {
		return fmt.Errorf("save %s: %w", tag, err)
	}
	return nil
}

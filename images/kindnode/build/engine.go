package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
)

// keyLabel is the label by which a finished image says what it was made from. baseLabel is
// on the system below it too, which has no name; its value is that of the cache.
const (
	keyLabel  = "rollout-lab.kindnode.key"
	baseLabel = "rollout-lab.kindnode.base"
)

// engine is the Docker engine of the environment.
type engine struct {
	api  *client.Client
	arch string
	dir  string // where it keeps images, if that is on this machine
}

func connect(ctx context.Context) (*engine, error) {
	const advice = "start a Docker engine, or name one with DOCKER_HOST"
	api, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return nil, hint(fmt.Errorf("engine: %w", err), advice)
	}
	info, err := api.Info(ctx)
	if err != nil {
		return nil, hint(errors.Join(fmt.Errorf("engine: %w", err), api.Close()), advice)
	}
	e := &engine{api: api, arch: info.Architecture}
	if strings.HasPrefix(api.DaemonHost(), "unix://") {
		e.dir = info.DockerRootDir
	}
	return e, nil
}

func (e *engine) close() { _ = e.api.Close() } // it only drops idle connections

func (e *engine) list(ctx context.Context, conditions ...string) ([]image.Summary, error) {
	args := filters.NewArgs()
	for i := 0; i+1 < len(conditions); i += 2 {
		args.Add(conditions[i], conditions[i+1])
	}
	images, err := e.api.ImageList(ctx, image.ListOptions{Filters: args})
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
	if err := e.api.ImageTag(ctx, images[0].ID, tag); err != nil {
		return false, fmt.Errorf("tag %s: %w", images[0].ID, err)
	}
	return true, nil
}

// importTree makes an image of a tree, and returns its ID.
func (e *engine) importTree(ctx context.Context, t tree, label string) (string, error) {
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = w.CloseWithError(t.write(w)) // it returns no error; the reader gets that of write
	}()
	defer func() {
		_ = r.Close() // lets the writer go if the engine has stopped reading
		<-done
	}()
	answer, err := e.api.ImageImport(ctx, image.ImportSource{Source: r, SourceName: "-"}, "", image.ImportOptions{Changes: []string{"LABEL " + baseLabel + "=" + label}})
	if err != nil {
		return "", fmt.Errorf("import the root file system: %w", err)
	}
	id, err := importedID(answer)
	return id, errors.Join(err, answer.Close())
}

// importedID reads the engine's account of an import, whose last status is the ID.
func importedID(answer io.Reader) (string, error) {
	var id string
	for messages := json.NewDecoder(answer); ; {
		var m struct{ Status, Error string }
		switch err := messages.Decode(&m); {
		case errors.Is(err, io.EOF) && id == "":
			return "", errors.New("import the root file system: the engine named no image")
		case errors.Is(err, io.EOF):
			return id, nil
		case err != nil:
			return "", fmt.Errorf("import the root file system: %w", err)
		case m.Error != "":
			return "", fmt.Errorf("import the root file system: %s", m.Error)
		case strings.HasPrefix(m.Status, "sha256:"):
			id = m.Status
		}
	}
}

// Save writes an image of the engine to w as docker save does.
func Save(ctx context.Context, tag string, w io.Writer) error {
	docker, err := connect(ctx)
	if err != nil {
		return err
	}
	defer docker.close()
	r, err := docker.api.ImageSave(ctx, []string{tag})
	if err != nil {
		return fmt.Errorf("save %s: %w", tag, err)
	}
	_, err = io.Copy(w, r)
	if err := errors.Join(err, r.Close()); err != nil {
		return fmt.Errorf("save %s: %w", tag, err)
	}
	return nil
}

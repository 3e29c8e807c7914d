package docker

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/docker/docker/api/types/image"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/program"
	"github.com/rollout-lab/rollout-lab/internal/dockerengine"
)

const (
	// programPath is where the lab's program is in an image that the driver builds. It is
	// also in PATH there.
	programPath = "/rollout-lab"
	// proberPath is where it is in a container of any other image, for health checks.
	proberPath = "/rollout-lab-probe"
	// repository has the name of a registry in front that is nobody's, so that nothing
	// takes it for an image that could be pulled.
	repository = "localhost/rollout-lab"
)

// builtImage is an image that the driver has loaded for one run.
type builtImage struct {
	name  string
	users int // deployments
}

// source is where the lab's program comes from.
func (d *Driver) source() program.Source {
	return program.Source{Path: d.config.Program, Package: d.config.Source}
}

// binary returns the program for an architecture. It is read or built once, so that all
// deployments of a lab run the same whatever becomes of the file.
func (d *Driver) binary(ctx context.Context, arch string) ([]byte, error) {
	d.building.Lock()
	defer d.building.Unlock()
	if b := d.program[arch]; b != nil {
		return b, nil
	}
	b, err := d.source().Read(ctx, arch)
	if err != nil {
		return nil, err
	}
	d.program[arch] = b
	return b, nil
}

// acquireImage makes sure that the run's image is in the engine and returns its name.
// Deployments of a run that exist at the same time share it; releaseImage undoes it.
func (d *Driver) acquireImage(ctx context.Context, e *engine, labels map[string]string) (string, error) {
	program, err := d.binary(ctx, e.Arch)
	if err != nil {
		return "", err
	}
	d.building.Lock() // whoever comes second finds the image loaded
	defer d.building.Unlock()
	run := labels[dockerengine.LabelRun]
	d.mu.Lock()
	if i := d.images[run]; i != nil {
		i.users++
		d.mu.Unlock()
		return i.name, nil
	}
	d.mu.Unlock()
	sum := sha256.Sum256(program)
	name := repository + ":" + hex.EncodeToString(sum[:6]) + "-" + strings.ToLower(rand.Text()[:10])
	image, err := dockerengine.Program{Content: program, Path: programPath, Arch: e.Arch, Labels: labels}.Image()
	if err == nil {
		making, made := whole(ctx)
		defer made()
		err = e.Load(making, name, image)
	}
	if err != nil {
		return "", fmt.Errorf("load image %s: %w", name, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.images[run] = &builtImage{name: name, users: 1}
	return name, nil
}

// releaseImage removes the run's image when nobody uses it any more.
func (d *Driver) releaseImage(ctx context.Context, e *engine, run string) error {
	d.building.Lock()
	defer d.building.Unlock()
	d.mu.Lock()
	i := d.images[run]
	if i.users--; i.users > 0 {
		d.mu.Unlock()
		return nil
	}
	delete(d.images, run)
	d.mu.Unlock()
	return e.persist(ctx, func(ctx context.Context) error { return e.RemoveImage(ctx, i.name) })
}

// fetchImage makes sure that the engine has an image that is not the driver's, and returns
// what it says of it.
func fetchImage(ctx context.Context, e *engine, name string) (image.InspectResponse, error) {
	found, err := e.ImageInspect(ctx, name)
	if err == nil || !isNotFound(err) {
		return found, err
	}
	if err := e.Pull(ctx, name); err != nil {
		return found, &drivers.HintError{
			Err:  fmt.Errorf("image %s is not here and cannot be pulled: %w", name, err),
			Hint: "build it, load it with docker load, or log in to its registry",
		}
	}
	return e.ImageInspect(ctx, name)
}

package kind

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/rollout-lab/rollout-lab/drivers/program"
	"github.com/rollout-lab/rollout-lab/internal/dockerengine"
)

// inImage is where the program is in its image.
const inImage = "/program"

// imageOf makes an image of nothing but a program. The same program makes the same image
// with the same name, which leads to no registry.
func imageOf(program, arch string) (tag string, image v1.Image, err error) {
	text, err := os.ReadFile(program)
	if err != nil {
		return "", nil, err
	}
	sum := sha256.Sum256(text)
	image, err = dockerengine.Program{Content: text, Path: inImage, Arch: arch}.Image()
	return "localhost/rollout-lab/program:" + hex.EncodeToString(sum[:8]), image, err
}

// pack puts a program of this machine into an image on every node.
func (c *cluster) pack(ctx context.Context, path, pkg string) (string, error) {
	arch := c.engine.Arch
	source := program.Source{Path: path, Package: pkg}
	if err := source.Static(arch); err != nil && pkg != "" {
		c.say("building " + pkg + " for the cluster: " + err.Error())
	}
	path, err := source.File(ctx, arch, c.dir)
	if err != nil {
		return "", err
	}
	tag, image, err := imageOf(path, arch)
	if err != nil {
		return "", fmt.Errorf("image of %s: %w", path, err)
	}
	return tag, c.loadFrom(ctx, tag, func(w io.Writer) error { return dockerengine.WriteArchive(w, tag, image) })
}

// provide copies an image of the local engine to every node. One that the engine does not
// have is left to the nodes to pull.
func (c *cluster) provide(ctx context.Context, image string) error {
	has, err := c.engine.HasImage(ctx, image)
	if err != nil || !has {
		return err
	}
	return c.loadFrom(ctx, image, func(w io.Writer) error {
		archive, err := c.engine.ImageSave(ctx, []string{image})
		if err != nil {
			return fmt.Errorf("save image %s: %w", image, err)
		}
		_, err = io.Copy(w, archive)
		return errors.Join(err, archive.Close())
	})
}

// loadFrom loads an image into every node from the archive that write writes: each node
// reads it anew.
func (c *cluster) loadFrom(ctx context.Context, image string, write func(io.Writer) error) error {
	archive, err := os.CreateTemp(c.dir, "image-*.tar")
	if err != nil {
		return err
	}
	defer os.Remove(archive.Name())
	if err := errors.Join(write(archive), archive.Close()); err != nil {
		return fmt.Errorf("archive of image %s: %w", image, err)
	}
	return c.load(ctx, image, archive.Name())
}

package kind

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/rollout-lab/rollout-lab/drivers/program"
)

// inImage is where the program is in its image.
const inImage = "/program"

// imageOf makes an image of nothing but a program. The same program makes the same image
// with the same name, which leads to no registry.
func imageOf(program, arch string) (name.Tag, v1.Image, error) {
	text, err := os.ReadFile(program)
	if err != nil {
		return name.Tag{}, nil, err
	}
	sum := sha256.Sum256(text)
	tag, err := name.NewTag("localhost/rollout-lab/program:" + hex.EncodeToString(sum[:8]))
	if err != nil {
		return name.Tag{}, nil, err
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	if err := w.WriteHeader(&tar.Header{Name: strings.TrimPrefix(inImage, "/"), Mode: 0o755, Size: int64(len(text)), Typeflag: tar.TypeReg}); err != nil {
		return name.Tag{}, nil, err
	}
	if _, err := w.Write(text); err != nil {
		return name.Tag{}, nil, err
	}
	if err := w.Close(); err != nil {
		return name.Tag{}, nil, err
	}
	packed, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer.Bytes())), nil })
	if err != nil {
		return name.Tag{}, nil, err
	}
	image, err := mutate.AppendLayers(empty.Image, packed)
	if err != nil {
		return name.Tag{}, nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return name.Tag{}, nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", arch
	config.Config.Entrypoint = []string{inImage}
	image, err = mutate.ConfigFile(image, config)
	return tag, image, err
}

// pack puts a program of this machine into an image on every node.
func (c *instance) pack(ctx context.Context, path, pkg string) (string, error) {
	arch, err := architecture(ctx)
	if err != nil {
		return "", err
	}
	source := program.Source{Path: path, Package: pkg}
	if err := source.Static(arch); err != nil && pkg != "" {
		c.say("building " + pkg + " for the cluster: " + err.Error())
	}
	if path, err = source.File(ctx, arch, c.dir); err != nil {
		return "", err
	}
	tag, image, err := imageOf(path, arch)
	if err != nil {
		return "", fmt.Errorf("image of %s: %w", path, err)
	}
	archive := filepath.Join(c.dir, "image.tar")
	if err := tarball.WriteToFile(archive, tag, image); err != nil {
		return "", fmt.Errorf("image of %s: %w", path, err)
	}
	defer os.Remove(archive)
	return tag.String(), c.load(ctx, tag.String(), archive)
}

// provide copies an image of the local engine to every node. One that the engine does not
// have is left to the nodes to pull.
func (c *instance) provide(ctx context.Context, image string) error {
	has, err := hasImage(ctx, image)
	if err != nil || !has {
		return err
	}
	archive := filepath.Join(c.dir, "provided.tar")
	if _, err := docker(ctx, "save", "--output", archive, image); err != nil {
		return err
	}
	defer os.Remove(archive)
	return c.load(ctx, image, archive)
}

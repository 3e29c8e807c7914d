package kind

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// inImage is where the program is in its image.
const inImage = "/program"

// machines are Go's names of architectures.
var machines = map[elf.Machine]string{elf.EM_X86_64: "amd64", elf.EM_AARCH64: "arm64"}

// runsAlone says why a program cannot run in an image that holds nothing else on an
// engine of the architecture, nil if it can.
func runsAlone(path, arch string) error {
	f, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("%s is no Linux program: %w", path, err)
	}
	defer f.Close()
	if got := machines[f.Machine]; got != arch {
		return fmt.Errorf("%s is for %v, the engine for %s", path, f.Machine, arch)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("%s needs a dynamic linker", path)
		}
	}
	return nil
}

// buildStatic builds a main package as a program that runs alone.
func buildStatic(ctx context.Context, pkg, arch, path string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", path, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w: %s", pkg, err, strings.TrimSpace(string(out)))
	}
	return nil
}

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
func (c *instance) pack(ctx context.Context, program, pkg string) (string, error) {
	arch, err := architecture(ctx)
	if err != nil {
		return "", err
	}
	if err := runsAlone(program, arch); err != nil {
		if pkg == "" {
			return "", fmt.Errorf("%w; build it with CGO_ENABLED=0 GOOS=linux GOARCH=%s", err, arch)
		}
		c.say("building " + pkg + " for the cluster: " + err.Error())
		program = filepath.Join(c.dir, "program")
		if buildErr := buildStatic(ctx, pkg, arch, program); buildErr != nil {
			return "", errors.Join(err, buildErr)
		}
	}
	tag, image, err := imageOf(program, arch)
	if err != nil {
		return "", fmt.Errorf("image of %s: %w", program, err)
	}
	archive := filepath.Join(c.dir, "image.tar")
	if err := tarball.WriteToFile(archive, tag, image); err != nil {
		return "", fmt.Errorf("image of %s: %w", program, err)
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

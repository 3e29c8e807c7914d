// Package build makes images of containers whose PID 1 is systemd: Debian with some more
// packages, from a base image where a registry has one, else from the packages alone. It
// starts no container.
package build

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rollout-lab/rollout-lab/images/debian"
	"github.com/rollout-lab/rollout-lab/internal/dockerengine"
)

const (
	// repository has the images; the tag says which recipe they were made by.
	repository = "rollout-lab/systemdhost"
	suite      = "bookworm"
	// pullLimit is how long a registry may take to deliver the base image before it
	// counts as out of reach.
	pullLimit = time.Minute
)

// changes are the settings of the image, however its files came about.
var changes = []string{`ENV container=docker`, `CMD ["/lib/systemd/systemd"]`}

// Image is what an image consists of.
type Image struct{ packages []string }

// Of is the image with systemd and these packages of Debian.
func Of(packages ...string) Image {
	all := append([]string{"systemd", "systemd-sysv", "dbus"}, packages...)
	slices.Sort(all)
	return Image{slices.Compact(all)}
}

// Tag names the image by its content.
func (i Image) Tag() string {
	sum := sha256.Sum256([]byte(i.dockerfile()))
	return fmt.Sprintf("%s:%x", repository, sum[:6])
}

func (i Image) base() string { return "debian:" + suite + "-slim" }

// dockerfile builds the image from a base image.
func (i Image) dockerfile() string {
	return fmt.Sprintf(`FROM %s
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends %s && apt-get clean && rm -rf /var/lib/apt/lists/*
%s
`, i.base(), strings.Join(i.packages, " "), strings.Join(changes, "\n"))
}

// Ensure builds the image unless the engine has it, which takes a minute or two.
func (i Image) Ensure(ctx context.Context, e *dockerengine.Engine) error {
	if has, err := e.HasImage(ctx, i.Tag()); err != nil || has {
		return err
	}
	if err := i.build(ctx, e); err != nil {
		return fmt.Errorf("build image %s: %w", i.Tag(), err)
	}
	return nil
}

func (i Image) build(ctx context.Context, e *dockerengine.Engine) error {
	pullErr := i.pull(ctx, e)
	if pullErr == nil {
		return e.Build(ctx, i.Tag(), i.dockerfile())
	}
	if err := i.fromPackages(ctx, e); err != nil {
		return fmt.Errorf("no base image (%w), and from packages: %w", pullErr, err)
	}
	return nil
}

// pull makes sure that the base image is there.
func (i Image) pull(ctx context.Context, e *dockerengine.Engine) error {
	if has, err := e.HasImage(ctx, i.base()); err != nil || has {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, pullLimit, fmt.Errorf("not there within %v", pullLimit))
	defer cancel()
	if err := e.Pull(ctx, i.base()); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return fmt.Errorf("pull %s: %w", i.base(), err)
	}
	return nil
}

func (i Image) fromPackages(ctx context.Context, e *dockerengine.Engine) (err error) {
	dir, err := os.MkdirTemp("", "rollout-lab-systemdhost-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	system := debian.System{Suite: suite, Packages: i.packages, Arch: e.Arch, Mirror: debian.Mirror()}
	_, err = e.Import(ctx, i.Tag(), changes, func(w io.Writer) error {
		return system.Write(ctx, filepath.Join(dir, "root"), w)
	})
	return err
}

package build

import (
	"context"
	"errors"
	"io"
	"path/filepath"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/images/debian"
)

// system is the Debian system below a node.
func system(goarch, mirror string) debian.System {
	return debian.System{Suite: debianSuite, Packages: debianPackages, Arch: goarch, Mirror: mirror}
}

// makeDebian installs the system and writes it to the file to, as a tar.
func (b *builder) makeDebian(ctx context.Context, to string) error {
	err := writeFile(to, func(w io.Writer) error {
		return system(b.goarch, b.mirror).Write(ctx, filepath.Join(filepath.Dir(to), "root"), w)
	})
	if h, ok := errors.AsType[*drivers.HintError](err); ok {
		return hint(err, h.Hint+"; --mirror names a mirror, "+carry)
	}
	return err
}

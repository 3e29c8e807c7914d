package systemd

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/build"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"

	"github.com/rollout-lab/rollout-lab/drivers"
)

const (
	// imageName is the repository of the driver's own images; the tag says which recipe
	// they were made by.
	imageName = "rollout-lab/systemdhost"
	// pullLimit is how long a registry may take to deliver the base image before it
	// counts as out of reach.
	pullLimit = time.Minute
	// defaultMirror is where Debian's packages come from when this machine names none.
	defaultMirror = "http://deb.debian.org/debian"
)

// recipe is what an image of the driver's own consists of.
type recipe struct {
	release  string
	packages []string
}

func (d *Driver) recipe() recipe {
	packages := append([]string{"systemd", "systemd-sysv", "dbus"}, d.config.Packages...)
	slices.Sort(packages)
	return recipe{release: "bookworm", packages: slices.Compact(packages)}
}

// tag names the image by its content.
func (r recipe) tag() string {
	sum := sha256.Sum256([]byte(r.dockerfile()))
	return fmt.Sprintf("%s:%x", imageName, sum[:6])
}

func (r recipe) base() string { return "debian:" + r.release + "-slim" }

// dockerfile builds the image from a base image.
func (r recipe) dockerfile() string {
	return fmt.Sprintf(`FROM %s
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends %s && apt-get clean && rm -rf /var/lib/apt/lists/*
%s
`, r.base(), strings.Join(r.packages, " "), strings.Join(r.changes(), "\n"))
}

// changes are the settings of the image, however its files came about.
func (r recipe) changes() []string {
	return []string{`ENV container=docker`, `CMD ["/lib/systemd/systemd"]`}
}

// image returns the image for host containers and builds it when it has to.
func (d *Driver) image(ctx context.Context, engine *client.Client) (string, error) {
	if name := d.config.Image; name != "" {
		if _, err := engine.ImageInspect(ctx, name); err != nil {
			return "", &drivers.HintError{
				Err:  fmt.Errorf("%w: image %s: %w", drivers.ErrUnavailable, name, err),
				Hint: "load or build that image, or name none to have one built",
			}
		}
		return name, nil
	}
	d.building.Lock()
	defer d.building.Unlock()
	r := d.recipe()
	name := r.tag()
	_, err := engine.ImageInspect(ctx, name)
	if err == nil {
		return name, nil
	}
	if !cerrdefs.IsNotFound(err) {
		return "", fmt.Errorf("image %s: %w", name, err)
	}
	if err := r.build(ctx, engine); err != nil {
		return "", &drivers.HintError{
			Err:  fmt.Errorf("%w: build image %s: %w", drivers.ErrUnavailable, name, err),
			Hint: "name an image whose default command is systemd, or make a registry or debootstrap available",
		}
	}
	return name, nil
}

// build builds the image from a base image where there is one, else from packages.
func (r recipe) build(ctx context.Context, engine *client.Client) error {
	pullErr := r.pull(ctx, engine)
	if pullErr == nil {
		return r.fromBase(ctx, engine)
	}
	if err := r.fromPackages(ctx, engine); err != nil {
		return fmt.Errorf("no base image (%w), and from packages: %w", pullErr, err)
	}
	return nil
}

// pull makes sure that the base image is there.
func (r recipe) pull(ctx context.Context, engine *client.Client) error {
	if _, err := engine.ImageInspect(ctx, r.base()); err == nil {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, pullLimit, fmt.Errorf("not there within %v", pullLimit))
	defer cancel()
	progress, err := engine.ImagePull(ctx, r.base(), image.PullOptions{})
	if err != nil {
		return fmt.Errorf("pull %s: %w", r.base(), err)
	}
	defer progress.Close()
	if err := outcome(progress); err != nil {
		return fmt.Errorf("pull %s: %w", r.base(), err)
	}
	return nil
}

func (r recipe) fromBase(ctx context.Context, engine *client.Client) error {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	text := r.dockerfile()
	if err := w.WriteHeader(&tar.Header{Name: "Dockerfile", Mode: 0o644, Size: int64(len(text))}); err != nil {
		return err
	}
	if _, err := io.WriteString(w, text); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	// On the host's network: the packages come from where this machine gets its own.
	built, err := engine.ImageBuild(ctx, &archive, build.ImageBuildOptions{
		Tags: []string{r.tag()}, Remove: true, ForceRemove: true, NetworkMode: "host",
	})
	if err != nil {
		return err
	}
	defer built.Body.Close()
	return outcome(built.Body)
}

// fromPackages builds the image with debootstrap.
func (r recipe) fromPackages(ctx context.Context, engine *client.Client) (err error) {
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		return errors.New("debootstrap needs root on Linux")
	}
	tool, err := exec.LookPath("debootstrap")
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", dirPrefix+"image-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	root := filepath.Join(dir, "root")
	cmd := exec.CommandContext(ctx, tool, "--variant=minbase", "--include="+strings.Join(r.packages, ","), r.release, root, mirror())
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("debootstrap: %w: %s", err, lastBytes(out, 500))
	}
	// The packages' own archives are of no use in there.
	archives, err := filepath.Glob(filepath.Join(root, "var/cache/apt/archives/*.deb"))
	if err != nil {
		return err
	}
	for _, path := range archives {
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	pack := exec.CommandContext(ctx, "tar", "--numeric-owner", "-C", root, "-c", ".")
	var packErr bytes.Buffer
	pack.Stderr = &packErr
	files, err := pack.StdoutPipe()
	if err != nil {
		return err
	}
	if err := pack.Start(); err != nil {
		return err
	}
	progress, err := engine.ImageImport(ctx, image.ImportSource{Source: files, SourceName: "-"}, r.tag(), image.ImportOptions{Changes: r.changes()})
	if err == nil {
		err = errors.Join(outcome(progress), progress.Close())
	}
	files.Close() // a tar that nobody reads any more ends
	if waitErr := pack.Wait(); waitErr != nil && err == nil {
		err = fmt.Errorf("tar: %w: %s", waitErr, lastBytes(packErr.Bytes(), 500))
	}
	return err
}

// outcome reads what the engine says about its progress, and returns what it complains of.
func outcome(progress io.Reader) error {
	decoder := json.NewDecoder(progress)
	for {
		var line struct {
			Error string `json:"error"`
		}
		err := decoder.Decode(&line)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if line.Error != "" {
			return errors.New(line.Error)
		}
	}
}

func lastBytes(b []byte, n int) string {
	return strings.TrimSpace(strings.ToValidUTF8(string(b[max(len(b)-n, 0):]), ""))
}

// mirror is where this machine gets Debian's packages from, if it says so.
func mirror() string {
	if text, err := os.ReadFile("/etc/apt/sources.list.d/debian.sources"); err == nil {
		for line := range strings.Lines(string(text)) {
			if value, ok := strings.CutPrefix(line, "URIs:"); ok {
				if uris := strings.Fields(value); len(uris) > 0 {
					return uris[0]
				}
			}
		}
	}
	if text, err := os.ReadFile("/etc/apt/sources.list"); err == nil {
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line)
			for _, f := range fields {
				if fields[0] == "deb" && strings.HasPrefix(f, "http") {
					return f
				}
			}
		}
	}
	return defaultMirror
}

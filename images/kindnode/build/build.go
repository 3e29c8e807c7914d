// Package build makes the node image that kind runs clusters from, on machines that reach
// a mirror of Debian and a Go module proxy but no container registry. It is no general
// builder of images, and it pushes nothing anywhere.
//
// Three things are made, each from pinned or listed inputs: a Debian system, by
// debootstrap; the programs of Kubernetes, etcd and CoreDNS, by the Go toolchain from the
// module kubeall beside this package; and an archive of the images that a cluster runs of
// itself, from the two others. A container of the future node's own system takes the
// archive into containerd's store, and is committed.
//
// The Debian system and the programs are kept in a cache under keys that are hashes of
// what they are made from. The image carries such a key as a label, so that an image that
// is up to date is found without looking at the cache, also after it has been carried to
// another machine.
package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/rollout-lab/rollout-lab/images/debian"
)

// Options say what to build. The zero value is useful.
type Options struct {
	// Tag is the image's name; empty means DefaultTag.
	Tag string
	// Source is the folder of the module kubeall. Empty means images/kindnode/kubeall in
	// the working directory or the nearest directory above it that has one.
	Source string
	// CacheDir keeps finished parts. Empty means rollout-lab/kindnode below
	// os.UserCacheDir.
	CacheDir string
	// Mirror is where Debian packages come from; empty means where this machine gets its
	// own, or else Debian's. It is no part of the key: the packages of another mirror, or
	// of another day, are taken for the same.
	Mirror string
	// Rebuild makes everything again, whatever the cache and the engine have.
	Rebuild bool
	// Progress gets a line when a step begins and when it ends. Nil means none.
	Progress io.Writer
}

// ErrNoSource says that the module kubeall was not found, so that nothing can be built.
var ErrNoSource = errors.New("the sources of the node image are not here")

// Ensure returns the tag of a node image on the engine that dockerengine finds, and builds it if there is none whose key is that of the sources. An
// unchanged image is found in less than a second. A build takes minutes: the first one on
// a machine compiles Kubernetes.
//
// Without sources, an image of that tag that this package has built is good enough; what
// cannot be compared is said on Progress. Without either, the error is ErrNoSource.
//
// Building needs Linux, a Go toolchain and the engine; the Debian system also needs root
// and debootstrap. Several builds with one cache wait for each other. When ctx is done
// Ensure removes what it has begun and returns ctx's error; Hint has advice for errors
// that have a known way out.
func Ensure(ctx context.Context, opts Options) (string, error) {
	b, err := newBuilder(opts)
	if err != nil {
		return "", err
	}
	if err := b.ensure(ctx); err != nil {
		if ctx.Err() != nil && !errors.Is(err, ctx.Err()) {
			err = fmt.Errorf("%w: %w", ctx.Err(), err)
		}
		return "", fmt.Errorf("node image %s: %w", b.tag, err)
	}
	return b.tag, nil
}

type builder struct {
	tag, source, mirror, goarch string
	rebuild                     bool
	cache                       cache
	progress                    *progress
}

func newBuilder(opts Options) (*builder, error) {
	b := &builder{
		tag: opts.Tag, source: opts.Source, mirror: opts.Mirror, rebuild: opts.Rebuild,
		goarch: runtime.GOARCH, cache: cache{dir: opts.CacheDir}, progress: &progress{w: opts.Progress},
	}
	if b.tag == "" {
		b.tag = DefaultTag
	}
	tag, err := name.NewTag(b.tag)
	if err != nil {
		return nil, fmt.Errorf("name of the node image: %w", err)
	}
	if !strings.HasSuffix(b.tag, ":"+tag.TagStr()) {
		b.tag += ":" + tag.TagStr() // without one, the engine takes the name for a pattern
	}
	if b.mirror == "" {
		b.mirror = debian.Mirror()
	}
	if b.source == "" {
		if b.source, err = findSource(); err != nil && !errors.Is(err, ErrNoSource) {
			return nil, err
		}
	}
	if b.cache.dir == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return nil, hint(fmt.Errorf("cache directory: %w", err), "name one with --cache")
		}
		b.cache.dir = filepath.Join(dir, "rollout-lab", "kindnode")
	}
	abs, err := filepath.Abs(b.cache.dir)
	if err != nil {
		return nil, fmt.Errorf("cache directory: %w", err)
	}
	b.cache.dir = abs
	return b, nil
}

// findSource looks for the module kubeall from the working directory upwards.
func findSource() (string, error) {
	wd, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := wd; ; dir = filepath.Dir(dir) {
		source := filepath.Join(dir, "images", "kindnode", "kubeall")
		if _, err := os.Stat(filepath.Join(source, "go.mod")); err == nil {
			return source, nil
		}
		if dir == filepath.Dir(dir) {
			return "", ErrNoSource
		}
	}
}

func (b *builder) ensure(ctx context.Context) error {
	docker, err := connect(ctx)
	if err != nil {
		return err
	}
	defer docker.Close()
	if b.source == "" {
		return b.anyBuilt(ctx, docker)
	}
	k, err := keysOf(b.source, b.goarch)
	if err != nil {
		return err
	}
	if !b.rebuild {
		if found, err := docker.adopt(ctx, b.tag, k.image); err != nil || found {
			return err
		}
	}
	if triplets[b.goarch] == "" || runtime.GOOS != "linux" {
		return hint(fmt.Errorf("cannot be built on %s/%s", runtime.GOOS, b.goarch), carry)
	}
	if docker.Arch != b.goarch {
		return hint(fmt.Errorf("the engine runs on %s, and this machine is %s", docker.Arch, b.goarch), "build where the engine runs; "+carry)
	}
	return b.build(ctx, docker, k)
}

// anyBuilt accepts an image that cannot be compared with its sources.
func (b *builder) anyBuilt(ctx context.Context, docker *engine) error {
	key, err := docker.keyOf(ctx, b.tag)
	if err != nil {
		return err
	}
	if key == "" {
		return hint(ErrNoSource, "run make kindnode in a checkout of rollout-lab; "+carry)
	}
	b.progress.say("%s is there; without its sources nobody can tell whether it is up to date", b.tag)
	return nil
}

func (b *builder) build(ctx context.Context, docker *engine, k keys) (err error) {
	unlock, err := b.cache.lock(ctx, b.progress)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if !b.rebuild {
		// Somebody may have built it while we waited.
		if found, err := docker.adopt(ctx, b.tag, k.image); err != nil || found {
			return err
		}
	}
	if err := b.cache.sweepTemporary(); err != nil {
		return err
	}
	if free, ok := freeSpace(docker.dir); ok && free < engineWants {
		return hint(fmt.Errorf("the engine's %s has %d MB left, and an image needs %d", docker.dir, free>>20, engineWants>>20), "make room; docker image prune may help")
	}
	base, programs := "debian-"+k.debian+".tar", "programs-"+k.programs
	if b.rebuild {
		if err := b.cache.remove(base, programs); err != nil {
			return err
		}
	}
	if err := b.parts(ctx, base, programs); err != nil {
		return err
	}
	if err := b.assemble(ctx, docker, k, b.cache.path(base), b.cache.path(programs)); err != nil {
		return err
	}
	return b.cache.sweepOthers(base, programs)
}

// parts makes the Debian system and the programs, at the same time: one waits for the
// network and the other for processors.
func (b *builder) parts(ctx context.Context, base, programs string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	part := func(name string, make func(ctx context.Context, to string) error) {
		if b.cache.has(name) {
			return
		}
		wg.Go(func() {
			if err := b.cache.add(ctx, name, make); err != nil {
				cancel(err) // the first error counts; it ends the other part
			}
		})
	}
	part(base, func(ctx context.Context, to string) error {
		return b.progress.step("debian: install the base system", func() error { return b.makeDebian(ctx, to) })
	})
	part(programs, func(ctx context.Context, to string) error {
		return b.progress.step("programs: compile Kubernetes, etcd and CoreDNS", func() error { return b.makePrograms(ctx, to) })
	})
	wg.Wait()
	return context.Cause(ctx)
}

const (
	// assembleTimeout bounds what takes ten seconds.
	assembleTimeout = 15 * time.Minute
	// engineWants is the room for an image, the container that it comes from and the
	// image that it replaces.
	engineWants = 3 << 30
)

func (b *builder) assemble(ctx context.Context, docker *engine, k keys, base, programs string) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, assembleTimeout, fmt.Errorf("not assembled after %v", assembleTimeout))
	defer cancel()
	temp, err := b.cache.temp()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()

	bin, err := openBinaries(programs)
	if err != nil {
		return err
	}
	defer bin.close()
	file, err := os.Open(base)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // it was only read
	root, err := readTree(file, file)
	if err != nil {
		return fmt.Errorf("read %s: %w", base, err)
	}

	images := components()
	archive := filepath.Join(temp, "images.tar")
	if err := b.progress.step("components: write their images", func() error {
		filters, err := packetFilters(root, triplets[b.goarch])
		if err != nil {
			return err
		}
		return writeFile(archive, func(w io.Writer) error {
			return writeArchive(w, temp, b.goarch, images, componentLayers(bin, filters))
		})
	}); err != nil {
		return err
	}
	if err := furnish(root, bin); err != nil {
		return fmt.Errorf("root file system: %w", err)
	}
	return docker.compose(ctx, b.progress, node{tag: b.tag, key: k.image, name: b.cache.id(), root: root, archive: archive, images: images})
}

func writeFile(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

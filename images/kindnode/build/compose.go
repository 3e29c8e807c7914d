package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
)

const (
	// containerdWait is how long containerd may take to answer, and readyPoll how often it
	// is asked: in a container there is nobody whom it could notify.
	containerdWait = 60 * time.Second
	readyPoll      = 100 * time.Millisecond
	undoTimeout    = time.Minute
)

// node is what compose makes an image from.
type node struct {
	tag, key string
	name     string // tells concurrent builds of different caches apart
	root     tree
	archive  string // of the images
	images   []component
}

// compose makes the image: a container of the node's own system takes the archive of
// images into containerd's store, and is committed. Nothing is left of a failure, and of
// earlier images from the same cache only what has a name or is in use.
func (e *engine) compose(ctx context.Context, p *progress, n node) error {
	var id string
	if err := p.step("base: import the root file system", func() (err error) {
		id, err = e.importTree(ctx, n.root, n.name)
		return err
	}); err != nil {
		return err
	}
	if err := p.step("node: store the components' images", func() error { return e.fill(ctx, id, n) }); err != nil {
		return errors.Join(err, e.undo(ctx, func(ctx context.Context) error {
			_, err := e.ImageRemove(ctx, id, image.RemoveOptions{})
			return err
		}))
	}
	e.discard(ctx, p, n.name)
	return nil
}

// discard removes the images of a cache that no name and no other image leads to: those
// that have been replaced, and what killed builds have left. What a container uses stays.
func (e *engine) discard(ctx context.Context, p *progress, name string) {
	old, err := e.list(ctx, "dangling", "true", "label", baseLabel+"="+name)
	if err != nil {
		p.say("replaced images stay: %v", err)
		return
	}
	for _, img := range old {
		if _, err := e.ImageRemove(ctx, img.ID, image.RemoveOptions{PruneChildren: true}); err != nil {
			p.say("a replaced image stays: %v", err)
		}
	}
}

// fill commits the image from a container of the system id.
func (e *engine) fill(ctx context.Context, id string, n node) (err error) {
	name := "rollout-lab-kindnode-" + n.name
	remove := func(ctx context.Context) error { return e.RemoveContainer(ctx, name) }
	// The caller has the lock, so that a container of that name is of a build that died.
	if err := remove(ctx); err != nil {
		return fmt.Errorf("of a killed build: %w", err)
	}
	if _, err := e.ContainerCreate(ctx,
		&container.Config{Image: id, Entrypoint: []string{"/usr/bin/containerd"}, Env: []string{searchPath}},
		&container.HostConfig{
			NetworkMode: "none",
			// containerd looks for what a kernel can do by doing it.
			SecurityOpt: []string{"seccomp=unconfined"},
			// Sockets and the like are not to be committed.
			Tmpfs: map[string]string{"/run": "", "/tmp": ""},
		}, nil, nil, name); err != nil {
		return fmt.Errorf("create the container %s: %w", name, err)
	}
	defer func() { err = errors.Join(err, e.undo(ctx, remove)) }()
	if err := e.ContainerStart(ctx, name, container.StartOptions{}); err != nil {
		return fmt.Errorf("start the container %s: %w", name, err)
	}
	if err := e.awaitContainerd(ctx, name); err != nil {
		return err
	}
	if err := e.store(ctx, name, n); err != nil {
		return err
	}
	// containerd closes its database when it is asked to end, before the file is copied.
	if err := e.ContainerStop(ctx, name, container.StopOptions{}); err != nil {
		return fmt.Errorf("stop containerd: %w", err)
	}
	if _, err := e.ContainerCommit(ctx, name, container.CommitOptions{
		Reference: n.tag,
		Comment:   "kind node, Kubernetes " + KubernetesVersion,
		Config: &container.Config{
			Entrypoint: []string{"/usr/local/bin/nodeinit", "run", "/sbin/init"},
			Env:        []string{searchPath, "container=docker"},
			Labels:     map[string]string{keyLabel: n.key},
			StopSignal: "SIGRTMIN+3", // systemd's for an orderly halt
		},
	}); err != nil {
		return fmt.Errorf("commit %s: %w", n.tag, err)
	}
	return nil
}

// undo runs clean-up also when ctx is done.
func (e *engine) undo(ctx context.Context, clean func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	if err := clean(ctx); err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	return nil
}

func (e *engine) awaitContainerd(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, containerdWait)
	defer cancel()
	poll := time.NewTicker(readyPoll)
	defer poll.Stop()
	for {
		_, err := e.Exec(ctx, name, nil, "ctr", "--connect-timeout=1s", "version")
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("containerd in the build container: no answer after %v: %w", containerdWait, err)
		case <-poll.C:
		}
	}
}

// store imports the archive, and makes sure that everything that kubeadm will ask for is
// there: a cluster that has to pull something fails late, and far from here.
func (e *engine) store(ctx context.Context, name string, n node) (err error) {
	archive, err := os.Open(n.archive)
	if err != nil {
		return err
	}
	defer func() { _ = archive.Close() }() // it was only read
	if _, err := e.Exec(ctx, name, archive, "ctr", "--namespace=k8s.io", "images", "import", "--no-unpack", "--all-platforms", "-"); err != nil {
		return fmt.Errorf("import the components' images: %w", err)
	}
	have, err := e.Exec(ctx, name, nil, "ctr", "--namespace=k8s.io", "images", "list", "--quiet")
	if err != nil {
		return fmt.Errorf("list the components' images: %w", err)
	}
	asked, err := e.Exec(ctx, name, nil, "kubeadm", "config", "images", "list", "--kubernetes-version="+KubernetesVersion)
	if err != nil {
		return fmt.Errorf("list the images that kubeadm asks for: %w", err)
	}
	names := strings.Fields(asked)
	for _, c := range n.images {
		names = append(names, c.names...)
	}
	return missing(names, strings.Fields(have))
}

func missing(want, have []string) error {
	var errs []error
	for _, name := range want {
		if !slices.Contains(have, name) {
			errs = append(errs, fmt.Errorf("image %s is not in the node's store", name))
		}
	}
	return errors.Join(errs...)
}

package kind

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/kubernetes"
	"github.com/rollout-lab/rollout-lab/drivers/owner"
)

// Driver implements drivers.Driver. Its methods may be called concurrently. Whoever has
// one calls Close when no more is deployed.
type Driver struct {
	config Config
	self   func() (owner.Owner, error) // who this process is

	mu      sync.Mutex // held while a cluster is made or removed
	cluster *cluster
	inner   *kubernetes.Driver
	image   string
}

// New returns a driver that makes or uses a cluster as Config says, once it has to.
func New(config Config) *Driver {
	config.Args = slices.Clone(config.Args)
	if config.Progress == nil {
		config.Progress = func(string) {}
	}
	return &Driver{config: config, self: owner.Self}
}

// Name implements drivers.Driver.
func (d *Driver) Name() string { return "kind" }

// ProbeInterval implements drivers.ProbeIntervaler, as the driver of Kubernetes does.
func (d *Driver) ProbeInterval() time.Duration { return new(kubernetes.Driver).ProbeInterval() }

// Capabilities implements drivers.Capable, as the driver of Kubernetes does.
func (d *Driver) Capabilities() drivers.Capabilities { return new(kubernetes.Driver).Capabilities() }

// Check implements drivers.Driver: it asks the Docker engine for its version and looks
// for a way to get a node image. It does not try to pull one, which takes long.
func (d *Driver) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, checkLimit, fmt.Errorf("no answer within %v", checkLimit))
	defer cancel()
	e, err := dial(ctx)
	if err != nil {
		return err
	}
	defer e.Close()
	if image := d.config.NodeImage; image != "" {
		has, err := e.HasImage(ctx, image)
		if err != nil {
			return unavailable(err, "see whether docker image ls works")
		}
		if !has {
			return unavailable(fmt.Errorf("the engine has no image %s", image), "pull or build it, or name none")
		}
	}
	if d.config.Program != "" {
		if _, err := os.Stat(d.config.Program); err != nil {
			return unavailable(err, "give the driver a program that exists")
		}
	}
	return nil
}

// Version names kind's version and that of the cluster, or the node image before there is
// one. It makes none.
func (d *Driver) Version(ctx context.Context) string {
	version := "kind " + libraryVersion()
	d.mu.Lock()
	inner := d.inner
	d.mu.Unlock()
	if inner != nil {
		return version + ", Kubernetes " + inner.Version(ctx)
	}
	if d.config.NodeImage != "" {
		return version + ", " + d.config.NodeImage
	}
	e, err := dial(ctx)
	if err != nil {
		return version
	}
	defer e.Close()
	for _, image := range builtImages {
		if has, err := e.HasImage(ctx, image); err == nil && has {
			return version + ", " + image
		}
	}
	return version
}

func libraryVersion() string {
	if build, ok := debug.ReadBuildInfo(); ok {
		for _, m := range build.Deps {
			if m.Path == "sigs.k8s.io/kind" {
				return m.Version
			}
		}
	}
	return "of an unknown version"
}

// Kubeconfig returns the path of a kubeconfig for the cluster, which it makes if there is
// none. The file lives until Close.
func (d *Driver) Kubeconfig(ctx context.Context) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.open(ctx); err != nil {
		return "", err
	}
	return d.cluster.kubeconfig(), nil
}

// Deploy implements drivers.Driver. The first one makes the cluster, which takes most of
// a minute.
func (d *Driver) Deploy(ctx context.Context, stack drivers.Stack) (drivers.Env, error) {
	if err := stack.Validate(); err != nil {
		return nil, err
	}
	// Said before a cluster is made for nothing.
	if err := d.Support().Refuse(d.Name(), stack); err != nil {
		return nil, err
	}
	inner, err := d.ready(ctx)
	if err != nil {
		return nil, err
	}
	return inner.Deploy(ctx, stack)
}

// Prepare implements drivers.Preparer: it makes the cluster and brings the lab's program into it.
func (d *Driver) Prepare(ctx context.Context) error {
	_, err := d.ready(ctx)
	return err
}

func (d *Driver) ready(ctx context.Context) (*kubernetes.Driver, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.open(ctx); err != nil {
		return nil, err
	}
	return d.inner, nil
}

// open makes the cluster ready for deployments, once. d.mu is held.
func (d *Driver) open(ctx context.Context) error {
	if d.inner != nil {
		return nil
	}
	name, err := d.clusterName()
	if err != nil {
		return err
	}
	if d.cluster == nil {
		if d.cluster, err = openCluster(ctx, d.config, name, d.config.Progress); err != nil {
			return err
		}
	}
	if d.config.Program != "" && d.image == "" {
		if d.image, err = d.cluster.pack(ctx, d.config.Program, d.config.Package); err != nil {
			return err // the cluster stays, for the next attempt and for Close
		}
	}
	d.inner = d.cluster.driver(d.config, d.image)
	return nil
}

// driver is the driver of a cluster that exists.
func (c *cluster) driver(config Config, image string) *kubernetes.Driver {
	inner := c.config(config, image)
	inner.Kubeconfig, inner.NodePorts, inner.Containers = c.kubeconfig(), c.ports, containers{c.engine}
	inner.Drain, inner.Own = c.drainable, len(c.drainable) > 0
	return kubernetes.New(inner)
}

// config is what the driver of a cluster is told that does not depend on which cluster it is.
func (c *cluster) config(config Config, image string) kubernetes.Config {
	return kubernetes.Config{
		Name: "kind", Image: image, Args: config.Args,
		Provide: c.provide,
		Pack: func(ctx context.Context, program string) (string, error) {
			return c.pack(ctx, program, "")
		},
	}
}

// clusterName is the name of the cluster to use.
func (d *Driver) clusterName() (string, error) {
	switch {
	case d.config.Cluster != "":
		return d.config.Cluster, d.mayUse(d.config.Cluster)
	case d.config.Keep:
		return defaultName, nil
	}
	lab, err := d.self()
	if err != nil {
		return "", err
	}
	return ownedPrefix + lab.String(), nil
}

// mayUse refuses a cluster that ends with the lab that made it: whoever finds that lab dead
// removes the cluster, whoever else is in it.
func (d *Driver) mayUse(name string) error {
	text, owned := strings.CutPrefix(name, ownedPrefix)
	if !owned {
		return nil
	}
	if _, err := owner.Parse(text); err != nil {
		return nil
	}
	return &drivers.HintError{
		Err:  fmt.Errorf("cluster %s: %w: it ends with the lab that made it", name, drivers.ErrUnavailable),
		Hint: "use another name, and keep that cluster for the next run",
	}
}

// Close removes the cluster, unless it is to be kept or was there before, and whatever the
// driver keeps on disk. It is idempotent; a later Deploy makes a cluster again.
func (d *Driver) Close(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.cluster
	if c == nil {
		return nil
	}
	var err error
	if c.made && !d.config.Keep {
		err = c.remove(context.WithoutCancel(ctx))
	}
	if err == nil {
		d.cluster, d.inner, d.image = nil, nil, ""
		err = c.forget()
	}
	return err
}

// Sweep implements drivers.Driver. It removes the clusters whose lab has certainly ended,
// and from every other cluster of the lab what the run has deployed there. It makes no
// cluster.
func (d *Driver) Sweep(ctx context.Context, runID string) ([]string, error) {
	if _, err := d.self(); err != nil {
		return nil, fmt.Errorf("tell the labs that have ended from those that live: %w", err)
	}
	// So that a cluster that is being made is not taken for one that was left.
	d.mu.Lock()
	defer d.mu.Unlock()
	e, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	e.Close()
	provider := newProvider(func(string) {})
	names, err := provider.List()
	if err != nil {
		return nil, fmt.Errorf("list clusters: %w", err)
	}
	removed, err := sweepFolders()
	errs := []error{err}
	for _, name := range names {
		switch o := d.ownershipOf(name); o {
		case orphaned:
			dir, err := makeFolder()
			if err == nil {
				err = errors.Join(removeCluster(ctx, provider, name, filepath.Join(dir, "kubeconfig")), os.RemoveAll(dir))
			}
			if err == nil {
				removed = append(removed, "cluster "+name)
			}
			errs = append(errs, err)
		case own, shared:
			swept, err := d.sweepIn(ctx, name, o, runID)
			removed, errs = append(removed, swept...), append(errs, err)
		}
	}
	return removed, errors.Join(errs...)
}

// ownership is what the name of a cluster says about it.
type ownership int

const (
	unrelated ownership = iota // none of the lab's, or of a lab that may live
	own                        // of this driver
	shared                     // one that labs use one after the other
	orphaned                   // of a lab that has ended
)

func (d *Driver) ownershipOf(name string) ownership {
	if d.cluster != nil && d.cluster.name == name {
		return own
	}
	if name == defaultName || name == d.config.Cluster {
		return shared
	}
	text, owned := strings.CutPrefix(name, ownedPrefix)
	if !owned {
		return unrelated
	}
	lab, err := owner.Parse(text)
	switch {
	case err != nil:
		return unrelated
	case lab.Dead():
		return orphaned
	}
	return shared
}

// sweepIn sweeps inside a cluster that stays.
func (d *Driver) sweepIn(ctx context.Context, name string, o ownership, runID string) ([]string, error) {
	if o == own && d.inner != nil {
		return d.inner.Sweep(ctx, runID)
	}
	c, err := newCluster(ctx, name, func(string) {})
	if err != nil {
		return nil, err
	}
	var removed []string
	var absent *drivers.HintError
	switch err = c.use(ctx); {
	case errors.As(err, &absent):
		err = nil // the lab can have deployed nothing there
	case err == nil:
		removed, err = c.driver(d.config, "").Sweep(ctx, runID)
	}
	return removed, errors.Join(err, c.forget())
}

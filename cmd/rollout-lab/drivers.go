package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/docker"
	"github.com/rollout-lab/rollout-lab/drivers/kind"
	"github.com/rollout-lab/rollout-lab/drivers/kubernetes"
	"github.com/rollout-lab/rollout-lab/drivers/process"
	"github.com/rollout-lab/rollout-lab/drivers/systemd"
	"github.com/rollout-lab/rollout-lab/images/kindnode/build"
)

// targetCommand is the hidden first argument that makes this program the reference
// target.
const targetCommand = "refproxy"

// probeCommand is the hidden first argument that makes this program the health check of a
// container.
const probeCommand = "healthprobe"

// mainPackage is what is built when this program itself cannot run in a container.
const mainPackage = "github.com/rollout-lab/rollout-lab/cmd/rollout-lab"

// driverFlags say which drivers, and what some of them need to know.
type driverFlags struct {
	names []string

	systemdHost, systemdImage string
	systemdPackages           []string

	kindCluster, nodeImage         string
	keepCluster                    bool
	kindWorkers                    int
	kubeconfig, context, namespace string
	image                          string

	progress io.Writer // what takes long is told here
}

// register adds the flags to a command. what says what is done with the drivers.
func (f *driverFlags) register(fl *pflag.FlagSet, chosen []string, what string) {
	fl.StringSliceVar(&f.names, "driver", chosen, what)
	fl.StringVar(&f.systemdHost, "systemd-host", "", "systemd: user, system or container (default: the first that is there)")
	fl.StringVar(&f.systemdImage, "systemd-image", "", "systemd: image with systemd for a container (default: one that is built)")
	fl.StringSliceVar(&f.systemdPackages, "systemd-package", nil, "systemd: Debian packages in an image that is built")
	fl.StringVar(&f.kindCluster, "kind-cluster", "", "kind: cluster to use, or to make (default: one for this run)")
	fl.BoolVar(&f.keepCluster, "keep-cluster", false, "kind: leave a cluster that was made for the next run")
	fl.IntVar(&f.kindWorkers, "kind-workers", 0, "kind: nodes of a cluster that is made, beside the control plane, which then runs no instances")
	fl.StringVar(&f.nodeImage, "node-image", "", "kind: image of the nodes (default: one of the lab's, kind's, or one that is built)")
	fl.StringVar(&f.kubeconfig, "kubeconfig", "", "kubernetes: how the cluster is reached (default: as kubectl)")
	fl.StringVar(&f.context, "context", "", "kubernetes: context in the kubeconfig (default: the current one)")
	fl.StringVar(&f.namespace, "namespace", "", "kubernetes: namespace to use (default: one for each deployment)")
	fl.StringVar(&f.image, "image", "", "kubernetes: image of the lab's program, which the nodes have or can pull")
}

// all lists the drivers, the default one first.
func (f *driverFlags) all() ([]drivers.Driver, error) {
	if f.kindWorkers < 0 {
		return nil, &usageError{fmt.Errorf("--kind-workers %d: want at least 0", f.kindWorkers), ""}
	}
	self, err := os.Executable()
	if err != nil {
		return nil, &environmentError{fmt.Errorf("find own program file: %w", err), ""}
	}
	return []drivers.Driver{
		process.New(process.Config{Program: []string{self, targetCommand}}),
		docker.New(docker.Config{Args: []string{targetCommand}, Probe: []string{probeCommand}, Source: mainPackage}),
		systemd.New(systemd.Config{
			Args: []string{targetCommand}, Package: mainPackage,
			Host: f.systemdHost, Image: f.systemdImage, Packages: f.systemdPackages,
		}),
		kind.New(kind.Config{
			Program: self, Args: []string{targetCommand}, Package: mainPackage, Progress: f.tell,
			Cluster: f.kindCluster, Keep: f.keepCluster, NodeImage: f.nodeImage, BuildImage: f.buildNodeImage,
			Workers: f.kindWorkers,
		}),
		kubernetes.New(kubernetes.Config{
			Kubeconfig: f.kubeconfig, Context: f.context, Namespace: f.namespace, Image: f.image, Args: []string{targetCommand},
		}),
	}, nil
}

// chosen are the drivers that were named, in that order, or all of them when none was.
func (f *driverFlags) chosen() ([]drivers.Driver, error) {
	all, err := f.all()
	if err != nil || len(f.names) == 0 {
		return all, err
	}
	var known []string
	for _, d := range all {
		known = append(known, d.Name())
	}
	var out []drivers.Driver
	for _, name := range f.names {
		n := slices.Index(known, name)
		if n < 0 {
			return nil, &usageError{fmt.Errorf("unknown driver %q", name), "drivers: " + strings.Join(known, ", ")}
		}
		out = append(out, all[n])
	}
	return out, nil
}

func (f *driverFlags) tell(line string) {
	if f.progress != nil {
		fmt.Fprintln(f.progress, line)
	}
}

// buildNodeImage builds the image of a cluster's nodes without a container registry.
func (f *driverFlags) buildNodeImage(ctx context.Context) (string, error) {
	name, err := build.Ensure(ctx, build.Options{Progress: f.progress})
	if err != nil {
		return "", &environmentError{err, build.Hint(err)}
	}
	return name, nil
}

// closeDrivers takes down what drivers have made for themselves, also after Ctrl-C.
func closeDrivers(ctx context.Context, ds []drivers.Driver) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeLimit)
	defer cancel()
	var errs error
	for _, d := range ds {
		c, ok := d.(drivers.Closer)
		if !ok {
			continue
		}
		if err := c.Close(ctx); err != nil {
			errs = errors.Join(errs, &environmentError{fmt.Errorf("clean up driver %s: %w", d.Name(), err), "rollout-lab clean removes what is left"})
		}
	}
	return errs
}

// closeLimit is how long it may take to take down a cluster.
const closeLimit = 2 * time.Minute

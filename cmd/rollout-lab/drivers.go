package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/docker"
	"github.com/rollout-lab/rollout-lab/drivers/process"
	"github.com/rollout-lab/rollout-lab/drivers/systemd"
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
}

// register adds the flags to a command. what says what is done with the drivers.
func (f *driverFlags) register(fl *pflag.FlagSet, chosen []string, what string) {
	fl.StringSliceVar(&f.names, "driver", chosen, what)
	fl.StringVar(&f.systemdHost, "systemd-host", "", "systemd: user, system or container (default: the first that is there)")
	fl.StringVar(&f.systemdImage, "systemd-image", "", "systemd: image with systemd for a container (default: one that is built)")
	fl.StringSliceVar(&f.systemdPackages, "systemd-package", nil, "systemd: Debian packages in an image that is built")
}

// all lists the drivers, the default one first.
func (f *driverFlags) all() ([]drivers.Driver, error) {
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

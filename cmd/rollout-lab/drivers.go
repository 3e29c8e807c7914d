package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/docker"
	"github.com/rollout-lab/rollout-lab/drivers/process"
)

// targetCommand is the hidden first argument that makes this program the reference
// target.
const targetCommand = "refproxy"

// probeCommand is the hidden first argument that makes this program the health check of a
// container.
const probeCommand = "healthprobe"

// mainPackage is what is built when this program itself cannot run in a container.
const mainPackage = "github.com/rollout-lab/rollout-lab/cmd/rollout-lab"

// allDrivers lists the drivers, the default one first.
func allDrivers() ([]drivers.Driver, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, &environmentError{fmt.Errorf("find own program file: %w", err), ""}
	}
	return []drivers.Driver{
		process.New(process.Config{Program: []string{self, targetCommand}}),
		docker.New(docker.Config{Args: []string{targetCommand}, Probe: []string{probeCommand}, Source: mainPackage}),
	}, nil
}

// chooseDrivers picks drivers by name, in the order of the names.
func chooseDrivers(names []string) ([]drivers.Driver, error) {
	all, err := allDrivers()
	if err != nil {
		return nil, err
	}
	var known []string
	for _, d := range all {
		known = append(known, d.Name())
	}
	var out []drivers.Driver
	for _, name := range names {
		found := false
		for _, d := range all {
			if d.Name() == name {
				out, found = append(out, d), true
			}
		}
		if !found {
			return nil, &usageError{fmt.Errorf("unknown driver %q", name), "drivers: " + strings.Join(known, ", ")}
		}
	}
	return out, nil
}

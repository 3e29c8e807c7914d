package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/rollout-lab/rollout-lab/cli"
	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/docker"
	"github.com/rollout-lab/rollout-lab/drivers/external"
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

// builtin lists the drivers of this program, the default one first.
func builtin() []cli.Driver {
	systemdConfig := systemd.Config{Args: []string{targetCommand}, Package: mainPackage}
	kindConfig := kind.Config{Args: []string{targetCommand}, Package: mainPackage}
	kubernetesConfig := kubernetes.Config{Args: []string{targetCommand}}
	return []cli.Driver{
		{Name: "process", New: func(io.Writer) (drivers.Driver, error) {
			self, err := os.Executable()
			if err != nil {
				return nil, fmt.Errorf("find own program file: %w", err)
			}
			return process.New(process.Config{Program: []string{self, targetCommand}}), nil
		}},
		{Name: "docker", Watch: "watch-docker", WatchUsage: "watch containers `NAME` meanwhile: by name, its beginning, or compose service; read only", New: func(io.Writer) (drivers.Driver, error) {
			return docker.New(docker.Config{Args: []string{targetCommand}, Probe: []string{probeCommand}, Source: mainPackage}), nil
		}},
		{Name: "systemd", Flags: systemdConfig.Flags, New: func(io.Writer) (drivers.Driver, error) {
			return systemd.New(systemdConfig), nil
		}},
		{Name: "kind", Flags: kindConfig.Flags, New: func(progress io.Writer) (drivers.Driver, error) {
			self, err := os.Executable()
			if err != nil {
				return nil, fmt.Errorf("find own program file: %w", err)
			}
			kindConfig.Program = self
			kindConfig.Progress = func(line string) { fmt.Fprintln(progress, line) }
			kindConfig.BuildImage = func(ctx context.Context) (string, error) { return buildNodeImage(ctx, progress) }
			return kind.New(kindConfig), nil
		}},
		{Name: "kubernetes", Flags: kubernetesConfig.Flags, Watch: "watch", WatchUsage: "watch `deployment/NAME` meanwhile, by the --kubernetes- flags; read only", New: func(io.Writer) (drivers.Driver, error) {
			return kubernetes.New(kubernetesConfig), nil
		}},
		{Name: external.Name, New: func(io.Writer) (drivers.Driver, error) { return external.New(), nil }},
	}
}

// buildNodeImage builds the image of a cluster's nodes without a container registry.
func buildNodeImage(ctx context.Context, progress io.Writer) (string, error) {
	name, err := build.Ensure(ctx, build.Options{Progress: progress})
	if err != nil {
		return "", &drivers.HintError{Err: err, Hint: build.Hint(err)}
	}
	return name, nil
}

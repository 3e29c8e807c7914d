package docker_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	containertypes "github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/docker"
	"github.com/rollout-lab/rollout-lab/drivers/drivertest"
	"github.com/rollout-lab/rollout-lab/drivers/program"
	"github.com/rollout-lab/rollout-lab/internal/dockerengine"
)

// probeMark makes the test binary a health probe, as Config.Probe.
const probeMark = "docker-test-probe"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == probeMark {
		os.Exit(docker.ProbeMain(os.Args[2:], os.Stdout))
	}
	if drivertest.IsTarget() {
		drivertest.TargetMain()
	}
	code := m.Run()
	if dir := filepath.Dir(builtProgram); builtProgram != "" {
		if err := os.RemoveAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// programEnv names a static test binary that is built already.
const programEnv = "DOCKER_TEST_PROGRAM"

// builtProgram is what buildProgram has built, which TestMain removes.
var builtProgram string

// targetProgram is a static test binary: this one, or one like it that is built for the tests.
var targetProgram = sync.OnceValues(func() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	if p := os.Getenv(programEnv); p != "" { // of the process that has started this one
		return p, nil
	}
	if program.Static(self, runtime.GOARCH) == nil {
		return self, nil
	}
	dir, err := os.MkdirTemp("", "rollout-lab-test-")
	if err != nil {
		return "", err
	}
	builtProgram = filepath.Join(dir, "docker.test")
	cmd := exec.Command("go", "test", "-c", "-ldflags=-s -w", "-o", builtProgram, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build a static test binary: %w: %s", err, bytes.TrimSpace(out))
	}
	return builtProgram, os.Setenv(programEnv, builtProgram)
})

func config(t testing.TB) docker.Config {
	t.Helper()
	p, err := targetProgram()
	if err != nil {
		t.Fatal(err)
	}
	return docker.Config{Program: p, Probe: []string{probeMark}}
}

// newDriver skips the test where there is no engine.
func newDriver(t testing.TB) *docker.Driver {
	t.Helper()
	requireEngine(t)
	return docker.New(config(t))
}

func requireEngine(t testing.TB) {
	t.Helper()
	// What is checked is the engine, so the program does not matter.
	err := docker.New(docker.Config{Program: os.DevNull, Source: "."}).Check(context.Background())
	if err == nil {
		return
	}
	for name := range strings.SplitSeq(os.Getenv("ROLLOUT_LAB_REQUIRE"), ",") {
		if name == "docker" {
			t.Fatalf("ROLLOUT_LAB_REQUIRE names docker: %v", err)
		}
	}
	t.Skip(err)
}

// engineClient is the tests' own.
func engineClient(t testing.TB) *client.Client {
	t.Helper()
	e, err := dockerengine.DialLocal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e.Client
}

// left lists what carries a run's label.
func left(ctx context.Context, runID string) (out []string, err error) {
	c, err := dockerengine.DialLocal(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	filter := filters.NewArgs(filters.Arg("label", "dev.rollout-lab.run="+runID))
	containers, err := c.ContainerList(ctx, containertypes.ListOptions{All: true, Filters: filter})
	if err != nil {
		return nil, err
	}
	for _, x := range containers {
		out = append(out, fmt.Sprintf("container %v: %s", x.Names, x.Status))
	}
	networks, err := c.NetworkList(ctx, network.ListOptions{Filters: filter})
	if err != nil {
		return nil, err
	}
	for _, x := range networks {
		out = append(out, "network "+x.Name)
	}
	volumes, err := c.VolumeList(ctx, volume.ListOptions{Filters: filter})
	if err != nil {
		return nil, err
	}
	for _, x := range volumes.Volumes {
		out = append(out, "volume "+x.Name)
	}
	images, err := c.ImageList(ctx, image.ListOptions{Filters: filter})
	if err != nil {
		return nil, err
	}
	for _, x := range images {
		out = append(out, fmt.Sprintf("image %v", x.RepoTags))
	}
	return out, nil
}

func harness() drivertest.Harness {
	return drivertest.Harness{
		Driver:   func(t testing.TB) drivers.Driver { return newDriver(t) },
		Left:     left,
		Foreign:  foreign,
		Obstruct: obstruct,
		Timeout:  2 * time.Minute, FailsWithin: 6 * time.Second,
		SomebodyElses: func(t testing.TB, s *drivers.Service) {
			s.Image, s.Fixed = foreignImage(t), map[string]int{"data": 9000, "health": 9001}
		},
	}
}

// foreign is a network and a volume of somebody who names them as the lab does, without its
// labels.
func foreign(t testing.TB) func(context.Context) error {
	c := engineClient(t)
	name := "rollout-lab-somebody-elses-" + strings.ToLower(rand.Text()[:12])
	labels := map[string]string{"dev.rollout-lab.of-somebody-else": "true"}
	if _, err := c.NetworkCreate(t.Context(), name, network.CreateOptions{Labels: labels}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.NetworkRemove(context.Background(), name); err != nil {
			t.Error(err)
		}
	})
	if _, err := c.VolumeCreate(t.Context(), volume.CreateOptions{Name: name, Labels: labels}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.VolumeRemove(context.Background(), name, false); err != nil {
			t.Error(err)
		}
	})
	return func(ctx context.Context) error {
		_, networkErr := c.NetworkInspect(ctx, name, network.InspectOptions{})
		_, volumeErr := c.VolumeInspect(ctx, name)
		return errors.Join(networkErr, volumeErr)
	}
}

// obstruct runs a container of somebody else's in the network of a run, which cannot be
// removed as long as it is there.
func obstruct(t testing.TB, runID string) (clear func()) {
	c := engineClient(t)
	filter := filters.NewArgs(filters.Arg("label", "dev.rollout-lab.run="+runID))
	networks, err := c.NetworkList(t.Context(), network.ListOptions{Filters: filter})
	if err != nil || len(networks) != 1 {
		t.Fatalf("networks of the run: %v, %v", networks, err)
	}
	containers, err := c.ContainerList(t.Context(), containertypes.ListOptions{Filters: filter})
	if err != nil || len(containers) == 0 {
		t.Fatalf("containers of the run: %v, %v", containers, err)
	}
	var env []string // which makes it the target, without a port
	for name, value := range drivertest.NewStack().Subject.Env {
		env = append(env, name+"="+value)
	}
	made, err := c.ContainerCreate(t.Context(), &containertypes.Config{
		Image: containers[0].Image, Env: env, Cmd: []string{"-instance", "somebody-elses"},
		Labels: map[string]string{"dev.rollout-lab.run": ""}, // not that of the image
	}, &containertypes.HostConfig{NetworkMode: containertypes.NetworkMode(networks[0].Name)}, nil, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	clear = sync.OnceFunc(func() {
		if err := c.ContainerRemove(context.Background(), made.ID, containertypes.RemoveOptions{Force: true}); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(clear)
	if err := c.ContainerStart(t.Context(), made.ID, containertypes.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	return clear
}

func TestConformance(t *testing.T) { drivertest.Run(t, harness()) }

package systemd_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/drivertest"
	"github.com/rollout-lab/rollout-lab/drivers/systemd"
)

func TestMain(m *testing.M) {
	if drivertest.IsTarget() {
		drivertest.TargetMain()
	}
	code := m.Run()
	if staticBuilt {
		if path, err := static(); err == nil {
			os.RemoveAll(filepath.Dir(path))
		}
	}
	os.Exit(code)
}

// required says whether this run must not do without systemd.
func required() bool {
	return slices.Contains(strings.Split(os.Getenv("ROLLOUT_LAB_REQUIRE"), ","), "systemd")
}

// absent skips the test, or fails it where systemd is required.
func absent(t testing.TB, reason any) {
	t.Helper()
	if required() {
		t.Fatal(reason)
	}
	t.Skip(reason)
}

// hostEnv names the host that the tests use, for a run inside a container whose PID 1 is
// systemd. "" leaves the choice to the driver.
const hostEnv = "ROLLOUT_LAB_SYSTEMD_TEST_HOST"

// image is that of the host containers. One that is not there is left to the driver,
// which would build one, if systemd is required; else the tests are skipped.
func image(t testing.TB) string {
	name := os.Getenv("ROLLOUT_LAB_SYSTEMD_IMAGE")
	if name == "" {
		name = "systemdhost:bookworm"
	}
	if exec.Command("docker", "image", "inspect", name).Run() == nil {
		return name
	}
	if !required() {
		t.Skipf("no image %s to run systemd in", name)
	}
	return ""
}

// programEnv names a static binary that is built already, by the process that has started
// this one.
const programEnv = "ROLLOUT_LAB_SYSTEMD_TEST_PROGRAM"

var staticBuilt bool

// static is this test as a binary that runs in any container.
var static = sync.OnceValues(func() (string, error) {
	if path := os.Getenv(programEnv); path != "" {
		return path, nil
	}
	staticBuilt = true
	dir, err := os.MkdirTemp("", "systemd-test")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "target")
	cmd := exec.Command("go", "test", "-c", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=") // without the race detector, which needs cgo
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", errors.New("build the target: " + string(out))
	}
	return path, os.Setenv(programEnv, path)
})

// newDriver returns a driver whose services are the suite's target.
func newDriver(t testing.TB, change ...func(*systemd.Config)) *systemd.Driver {
	t.Helper()
	config := systemd.Config{Host: os.Getenv(hostEnv)}
	probe := systemd.New(config)
	if err := probe.Check(t.Context()); err != nil {
		absent(t, err)
	}
	if strings.Contains(probe.Version(t.Context()), systemd.HostContainer) {
		path, err := static()
		if err != nil {
			t.Fatal(err)
		}
		config.Program, config.Image = path, image(t)
	}
	for _, c := range change {
		c(&config)
	}
	return systemd.New(config)
}

// left lists what there is of a run, by the engine's and systemd's own tools.
func left(ctx context.Context, runID string) ([]string, error) {
	argv := []string{"docker", "ps", "--all", "--quiet", "--filter", "label=dev.rollout-lab.run=" + runID}
	if os.Getenv(hostEnv) == systemd.HostSystem {
		argv = []string{"systemctl", "list-units", "--all", "--plain", "--no-legend", "--no-pager", "rollout-lab-" + runID + "*"}
	}
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).Output()
	var lines []string
	for line := range strings.Lines(string(out)) {
		lines = append(lines, strings.TrimSpace(line))
	}
	// Those of units in a container, where there is a hierarchy of version 1.
	groups, globErr := filepath.Glob("/sys/fs/cgroup/systemd/system.slice/rollout-lab-" + runID + "*")
	return append(lines, groups...), errors.Join(err, globErr)
}

// foreign is a container, or a unit, of somebody who names it as the lab does.
func foreign(t testing.TB) func(context.Context) error {
	name := "rollout-lab-somebody-elses-" + strings.ToLower(rand.Text()[:12])
	run := func(ctx context.Context, argv ...string) error {
		if out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%q: %w: %s", argv, err, out)
		}
		return nil
	}
	begin, look := []string{"systemd-run", "--unit=" + name, "sleep", "600"}, []string{"systemctl", "is-active", name}
	end := []string{"systemctl", "stop", name}
	if os.Getenv(hostEnv) != systemd.HostSystem {
		host := image(t)
		if host == "" {
			t.Skip("no image to make a container of")
		}
		begin, look = []string{"docker", "create", "--name=" + name, host}, []string{"docker", "inspect", name}
		end = []string{"docker", "rm", "--force", name}
	}
	if err := run(t.Context(), begin...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := run(context.Background(), end...); err != nil {
			t.Error(err)
		}
	})
	return func(ctx context.Context) error { return run(ctx, look...) }
}

func harness() drivertest.Harness {
	return drivertest.Harness{
		Driver: func(t testing.TB) drivers.Driver { return newDriver(t) },
		Left:   left, Foreign: foreign, PushBased: true, FailsWithin: 6 * time.Second,
		SomebodyElses: func(t testing.TB, s *drivers.Service) {
			if strings.Contains(newDriver(t).Version(t.Context()), systemd.HostContainer) {
				s.Exec = systemd.ProgramInside
				return
			}
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			s.Exec = self
		},
	}
}

func TestConformance(t *testing.T) {
	if testing.Short() {
		t.Skip("takes minutes")
	}
	drivertest.Run(t, harness())
}

package systemd_test

import (
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/exec"
	"github.com/testcontainers/testcontainers-go/wait"

	"github.com/rollout-lab/rollout-lab/drivers/systemd"
	"github.com/rollout-lab/rollout-lab/internal/dockerengine"
)

// machine starts a container whose PID 1 is systemd, as a machine would be, with this test
// in it, and waits until it has booted.
func machine(t *testing.T, image, program string) testcontainers.Container {
	t.Helper()
	address, err := dockerengine.Find()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(client.EnvOverrideHost, address.Host)   // testcontainers knows no contexts
	t.Setenv("TESTCONTAINERS_RYUK_DISABLED", "true") // its reaper is an image of a registry
	cgroups := "/sys/fs/cgroup/systemd"
	if _, err := os.Stat(cgroups); err != nil {
		cgroups = "/sys/fs/cgroup"
	}
	booted := wait.ForExec([]string{"systemctl", "is-system-running"}).
		WithExitCodeMatcher(func(int) bool { return true }). // degraded is not 0, and will do
		WithResponseMatcher(func(r io.Reader) bool {
			said, err := io.ReadAll(r)
			state := strings.TrimSpace(string(said))
			return err == nil && (state == "running" || state == "degraded")
		}).
		WithPollInterval(50 * time.Millisecond).WithStartupTimeout(patience)
	c, err := testcontainers.Run(t.Context(), image,
		testcontainers.WithConfigModifier(func(c *container.Config) { c.StopSignal = "SIGRTMIN+3" }),
		testcontainers.WithHostConfigModifier(func(h *container.HostConfig) {
			h.NetworkMode = "none"
			h.CapAdd = []string{"SYS_ADMIN", "NET_ADMIN"}
			h.SecurityOpt = []string{"seccomp=unconfined"}
			h.CgroupnsMode = container.CgroupnsModePrivate
			h.Tmpfs = map[string]string{"/run": "", "/tmp": "exec"}
			h.Binds = []string{cgroups + ":" + cgroups + ":rw", program + ":/opt/systemd.test:ro"}
		}),
		testcontainers.WithWaitStrategy(booted))
	testcontainers.CleanupContainer(t, c, testcontainers.StopTimeout(0))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestOnASystemOfItsOwn runs the other tests inside a container whose PID 1 is systemd, as
// root on its system bus: what the driver does on a machine that has systemd itself.
func TestOnASystemOfItsOwn(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	if os.Getenv(hostEnv) != "" {
		t.Skip("this is inside")
	}
	if err := systemd.New(systemd.Config{Host: systemd.HostContainer}).Check(t.Context()); err != nil {
		absent(t, err)
	}
	name := image(t)
	if name == "" {
		t.Skip("only an image of the driver's own, which another test has built")
	}
	program, err := static()
	if err != nil {
		t.Fatal(err)
	}
	status, output, err := machine(t, name, program).Exec(t.Context(), []string{
		"/opt/systemd.test", "-test.v", "-test.timeout=4m",
		"-test.run=^(TestConformance|TestNeverReady|TestReadyOfAChild|TestSocket|TestWatchdog|TestLostBus)",
	}, exec.WithEnv([]string{hostEnv + "=" + systemd.HostSystem, "ROLLOUT_LAB_REQUIRE=systemd"}), exec.Multiplexed())
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(output)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		if status != 0 || strings.Contains(line, "---") {
			t.Log(strings.TrimRight(line, "\n"))
		}
	}
	if status != 0 {
		t.Errorf("exit status %d", status)
	}
}

package systemd_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers/systemd"
)

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
	docker := func(args ...string) (string, error) {
		out, err := exec.Command("docker", args...).CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	cgroups := "/sys/fs/cgroup/systemd"
	if _, err := os.Stat(cgroups); err != nil {
		cgroups = "/sys/fs/cgroup"
	}
	id, err := docker("run", "--detach", "--network=none", "--cap-add=SYS_ADMIN", "--cap-add=NET_ADMIN",
		"--security-opt=seccomp=unconfined", "--cgroupns=private", "--tmpfs=/run", "--tmpfs=/tmp:exec", "--stop-signal=SIGRTMIN+3",
		"--volume="+cgroups+":"+cgroups+":rw", "--volume="+program+":/opt/systemd.test:ro", name)
	if err != nil {
		t.Fatalf("%v: %s", err, id)
	}
	t.Cleanup(func() {
		if out, err := docker("rm", "--force", id); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for late := time.After(patience); ; {
		out, err := docker("exec", id, "systemctl", "is-system-running")
		if out == "running" || out == "degraded" {
			break
		}
		select {
		case <-ticker.C:
		case <-late:
			t.Fatalf("systemd in its container: %s, %v", out, err)
		}
	}
	out, err := docker("exec", "--env="+hostEnv+"="+systemd.HostSystem, "--env=ROLLOUT_LAB_REQUIRE=systemd", id,
		"/opt/systemd.test", "-test.v", "-test.timeout=4m", "-test.run=^(TestConformance|TestNeverReady|TestReadyOfAChild|TestSocket|TestWatchdog|TestLostBus)")
	for line := range strings.Lines(out) {
		if err != nil || strings.Contains(line, "---") {
			t.Log(strings.TrimRight(line, "\n"))
		}
	}
	if err != nil {
		t.Error(err)
	}
}

//go:build linux

package sdnotify

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/healthkit"
)

// serviceSocket makes the test binary a service that takes its orders there.
const serviceSocket = "SDNOTIFY_TEST_SERVICE"

// service is a process with one component and one work loop, run by the real
// systemd. Each order is one line on a connection and is answered by one.
func service(socket string) error {
	notifier, err := New(Options{Extend: time.Second, DrainBudget: 20 * time.Second})
	if err != nil {
		return err
	}
	r := healthkit.New(healthkit.Config{})
	part, err := r.Register("part", healthkit.Options{LivenessOverride: true})
	if err != nil {
		return err
	}
	loop, err := r.RegisterLoop("loop", 500*time.Millisecond)
	if err != nil {
		return err
	}
	part.Starting("waits for its orders")
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	lis, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	orders := make(chan net.Conn)
	go func() {
		for {
			conn, err := lis.Accept()
			if err != nil {
				return
			}
			orders <- conn
		}
	}()
	told := make(chan error, 1)
	go func() { told <- notifier.Run(context.Background(), r) }()

	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	reloaded, hung := func() {}, false
	for {
		select {
		case <-tick.C:
			if !hung {
				loop.Tick()
			}
		case conn := <-orders:
			line, err := bufio.NewReader(conn).ReadString('\n')
			if err != nil {
				return err
			}
			switch strings.TrimSpace(line) {
			case "ready":
				part.Ready()
			case "degraded":
				part.Degraded("slow\nREADY=1\nSTATUS=ready\nSTOPPING=1\x00\xff")
			case "failed":
				part.Failed(errors.New("disk gone"))
			case "reload":
				reloaded = notifier.Reload()
			case "reloaded":
				reloaded()
			case "hang":
				hung = true
			case "lame-duck":
				terminated <- syscall.SIGTERM
			}
			fmt.Fprintln(conn, "done")
			conn.Close()
		case <-terminated:
			loop.Close()
			ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
			defer cancel()
			if _, err := r.Shutdown(ctx, healthkit.ShutdownPlan{Reason: "SIGTERM", LameDuck: 4 * time.Second}); err != nil {
				return err
			}
			return <-told
		}
	}
}

// systemdUnit is a transient unit whose process is service.
type systemdUnit struct {
	t            *testing.T
	name, socket string
}

// insideContainer is set where the test must not be skipped any more.
const insideContainer = "SDNOTIFY_TEST_INSIDE"

// hasSystemd tells whether PID 1 is systemd and obeys this process, and if not
// why.
func hasSystemd() (ok bool, why string) {
	name, err := os.ReadFile("/proc/1/comm")
	switch pid1 := strings.TrimSpace(string(name)); {
	case err != nil:
		return false, err.Error()
	case pid1 != "systemd":
		return false, "PID 1 is " + pid1 + ", not systemd"
	case os.Geteuid() != 0:
		return false, "units of the system need root"
	}
	return true, ""
}

// requireSystemd skips the test where there is no systemd;
// TestInAContainerWithSystemd then runs it elsewhere.
func requireSystemd(t *testing.T) {
	t.Helper()
	if ok, why := hasSystemd(); !ok && os.Getenv(insideContainer) != "" {
		t.Fatal(why)
	} else if !ok {
		t.Skip(why)
	}
}

// TestInAContainerWithSystemd runs the tests of this file in a container whose
// PID 1 is systemd. It takes a Docker engine and the image that
// ROLLOUT_LAB_SYSTEMD_IMAGE names; without them it is skipped, unless
// ROLLOUT_LAB_REQUIRE lists systemd.
func TestInAContainerWithSystemd(t *testing.T) {
	if ok, _ := hasSystemd(); ok {
		t.Skip("systemd is right here")
	}
	if testing.Short() {
		t.Skip("takes 10 s")
	}
	image := os.Getenv("ROLLOUT_LAB_SYSTEMD_IMAGE")
	if image == "" {
		image = "systemdhost:bookworm"
	}
	if out, err := exec.Command("docker", "image", "inspect", "--format={{.Id}}", image).CombinedOutput(); err != nil {
		absent := t.Skipf
		if slices.Contains(strings.Split(os.Getenv("ROLLOUT_LAB_REQUIRE"), ","), "systemd") {
			absent = t.Fatalf
		}
		absent("no Docker engine with image %s: %v: %s", image, err, out)
	}
	run := func(name string, args ...string) string {
		t.Helper()
		out, err := exec.Command(name, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
		}
		return strings.TrimSpace(string(out))
	}
	dir := t.TempDir()
	build := exec.Command("go", "test", "-c", "-race=false", "-o", filepath.Join(dir, "sdnotify.test"), ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // static
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the test for the container: %v: %s", err, out)
	}
	cgroups := "/sys/fs/cgroup/systemd"
	if _, err := os.Stat(cgroups); err != nil {
		cgroups = "/sys/fs/cgroup"
	}
	id := run("docker", "run", "--detach", "--network=none", "--cap-add=SYS_ADMIN", "--cap-add=NET_ADMIN",
		"--security-opt=seccomp=unconfined", "--cgroupns=private", "--tmpfs=/run", "--tmpfs=/tmp", "--stop-signal=SIGRTMIN+3",
		"--volume="+cgroups+":"+cgroups+":rw", "--volume="+dir+":/opt/bin:ro", image)
	t.Cleanup(func() { run("docker", "rm", "--force", id) })
	until(t, "systemd runs in the container", func() (bool, string) {
		out, err := exec.Command("docker", "exec", id, "systemctl", "is-system-running").CombinedOutput()
		state := strings.TrimSpace(string(out))
		return state == "running" || state == "degraded", fmt.Sprint(state, " ", err)
	})
	t.Log(strings.SplitN(run("docker", "exec", id, "systemctl", "--version"), "\n", 2)[0])
	t.Log(run("docker", "exec", "--env="+insideContainer+"=1", id, "/opt/bin/sdnotify.test", "-test.run=^TestSystemd", "-test.v", "-test.timeout=2m"))
}

func startUnit(t *testing.T, properties ...string) *systemdUnit {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	dir, err := os.MkdirTemp("/run", "sdnotify") // not private to the unit, and short
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	u := &systemdUnit{t: t, name: filepath.Base(dir) + ".service", socket: filepath.Join(dir, "s")}
	args := []string{"--no-block", "--quiet", "--unit=" + u.name, "--setenv=" + serviceSocket + "=" + u.socket, "--property=Type=notify", "--property=LimitCORE=0"}
	for _, p := range properties {
		args = append(args, "--property="+p)
	}
	u.run("systemd-run", append(args, self)...)
	t.Cleanup(func() {
		// The unit may be gone, which is what is wanted.
		_ = exec.Command("systemctl", "kill", "--signal=KILL", u.name).Run()
		_ = exec.Command("systemctl", "reset-failed", u.name).Run()
	})
	return u
}

func (u *systemdUnit) run(name string, args ...string) string {
	u.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		u.t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// order tells the process what to do and waits until it has.
func (u *systemdUnit) order(what string) {
	u.t.Helper()
	var conn net.Conn
	u.until("the process takes orders", func() (ok bool, seen string) {
		var err error
		conn, err = net.Dial("unix", u.socket)
		return err == nil, fmt.Sprint(err)
	})
	defer conn.Close()
	fmt.Fprintln(conn, what)
	if answer, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
		u.t.Fatalf("order %s: %q, %v", what, answer, err)
	}
}

func (u *systemdUnit) until(what string, holds func() (bool, string)) {
	u.t.Helper()
	until(u.t, what, holds)
}

// until polls what lives outside of this process, every 20 ms for 15 s.
func until(t *testing.T, what string, holds func() (ok bool, seen string)) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(15 * time.Second)
	for {
		ok, seen := holds()
		if ok {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain until %s; last seen: %s", what, seen)
		}
	}
}

func (u *systemdUnit) show(property string) string {
	u.t.Helper()
	return u.run("systemctl", "show", "--property="+property, "--value", u.name)
}

// believes waits until systemd believes exactly this of the unit.
func (u *systemdUnit) believes(when, active, status string) {
	u.t.Helper()
	u.until(fmt.Sprintf("%s: %s with status %q", when, active, status), func() (bool, string) {
		a, s := u.show("ActiveState"), u.show("StatusText")
		return a == active && s == status, a + " with status " + fmt.Sprintf("%q", s)
	})
}

func TestSystemdBelievesTheSnapshot(t *testing.T) {
	requireSystemd(t)
	u := startUnit(t, "WatchdogSec=1", "TimeoutStopSec=2")
	u.believes("begin", "activating", "not ready: part starting: waits for its orders")
	u.order("ready")
	u.believes("ready", "active", "ready")
	u.order("degraded")
	u.believes("a text that would inject", "active", "degraded: part degraded: slow READY=1 STATUS=ready STOPPING=1 \ufffd")
	u.order("ready")
	u.believes("ready again", "active", "ready")
	u.order("reload")
	u.believes("reload", "reloading", "ready")
	u.order("reloaded")
	u.believes("reloaded", "active", "ready")
	first := u.show("WatchdogTimestampMonotonic")
	u.until("three more pings", func() (bool, string) {
		now := u.show("WatchdogTimestampMonotonic")
		var a, b int64
		if _, err := fmt.Sscan(first+" "+now, &a, &b); err != nil {
			return false, err.Error()
		}
		return b-a >= 1500000, now
	})
	u.believes("pinged", "active", "ready")
	begin := time.Now()
	u.run("systemctl", "stop", "--no-block", u.name)
	u.believes("lame duck", "deactivating", "not ready: lame-duck: SIGTERM")
	u.until("it has ended", func() (bool, string) { s := u.show("ActiveState"); return s == "inactive" || s == "failed", s })
	if got := u.show("ActiveState"); got != "inactive" || time.Since(begin) < 4*time.Second {
		t.Errorf("after %v: %s, result %s; want inactive after a lame duck of 4 s, twice TimeoutStopSec", time.Since(begin), got, u.show("Result"))
	}
}

func TestSystemdTakesAStopOutOfAReload(t *testing.T) {
	requireSystemd(t)
	u := startUnit(t)
	u.order("ready")
	u.order("reload")
	u.believes("reload", "reloading", "ready")
	u.order("lame-duck")
	u.believes("the process stops by itself", "deactivating", "not ready: lame-duck: SIGTERM")
}

func TestSystemdRestartsADeadlock(t *testing.T) {
	requireSystemd(t)
	// An hour: only the trigger can be the reason.
	u := startUnit(t, "WatchdogSec=3600")
	u.order("ready")
	u.believes("ready", "active", "ready")
	u.order("hang")
	u.until("it has failed", func() (bool, string) { s := u.show("ActiveState"); return s == "failed", s })
	if got := u.show("Result"); got != "watchdog" {
		t.Errorf("got result %s, want watchdog", got)
	}
}

func TestSystemdMissesThePingsOfAProcessThatIsNotLive(t *testing.T) {
	requireSystemd(t)
	u := startUnit(t, "WatchdogSec=1")
	u.order("ready")
	u.believes("ready", "active", "ready")
	u.order("failed") // part takes part in liveness; no loop is stuck, so nothing is triggered
	u.until("it has failed", func() (bool, string) { s := u.show("ActiveState"); return s == "failed", s })
	if got := u.show("Result"); got != "watchdog" {
		t.Errorf("got result %s, want watchdog", got)
	}
}

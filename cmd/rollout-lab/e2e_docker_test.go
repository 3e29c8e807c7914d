//go:build e2e && linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/cli"
	"github.com/rollout-lab/rollout-lab/internal/judge"
)

func TestE2EDockerActions(t *testing.T) { actions(t, "docker") }

// dockerCommand runs the engine's own command, so that what is found does not depend on
// the driver.
func dockerCommand(t *testing.T, args ...string) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command("docker", args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}

// inEngine lists everything that the engine keeps, but for the networks that it makes
// anew for itself whenever it starts.
func inEngine(t *testing.T) []string {
	t.Helper()
	var out []string
	for what, args := range map[string][]string{
		"container": {"ps", "--all", "--no-trunc", "--format", "{{.ID}} {{.Names}}"},
		"network":   {"network", "ls", "--no-trunc", "--format", "{{.ID}} {{.Name}}"},
		"volume":    {"volume", "ls", "--format", "{{.Name}}"},
		"image":     {"images", "--all", "--no-trunc", "--format", "{{.ID}} {{.Repository}}:{{.Tag}}"},
	} {
		for line := range strings.Lines(dockerCommand(t, args...)) {
			id, name, _ := strings.Cut(strings.TrimSpace(line), " ")
			if what == "network" && slices.Contains([]string{"bridge", "host", "none"}, name) {
				continue
			}
			out = append(out, what+" "+id+" "+name)
		}
	}
	slices.Sort(out)
	return out
}

// nothingNewInEngine demands that the engine keeps what it kept before.
func nothingNewInEngine(t *testing.T, before []string) {
	t.Helper()
	for _, what := range inEngine(t) {
		if !slices.Contains(before, what) {
			t.Errorf("left behind: %s", what)
		}
	}
}

func TestE2EDockerInterruptLeavesNothing(t *testing.T) { interruptLeavesNothing(t, "docker") }

func TestE2EDockerKilledLabIsCleanedUp(t *testing.T) { killedIsCleanedUp(t, "docker") }

// interruptLeavesNothing interrupts a run on a driver that keeps everything in the engine.
func interruptLeavesNothing(t *testing.T, driver string) {
	needDriver(t, driver)
	before := inEngine(t)
	bin, dir := labBinary(t), filepath.Join(t.TempDir(), "run")
	cmd, _ := startRun(t, bin, dir, driver)
	if slices.Equal(inEngine(t), before) {
		t.Fatal("a run is under way, and the engine has nothing of it: the search is broken")
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	err := cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != cli.ExitInterrupted {
		t.Errorf("exit code %d (%v), want %d", code, err, cli.ExitInterrupted)
	}
	nothingNewInEngine(t, before)
	if doc := readResults(t, dir); !doc.Partial {
		t.Error("results.json does not say that the run is partial")
	}
}

// killedIsCleanedUp kills a lab on such a driver and has the rest removed.
func killedIsCleanedUp(t *testing.T, driver string) {
	needDriver(t, driver)
	before := inEngine(t)
	bin, dir := labBinary(t), filepath.Join(t.TempDir(), "run")
	cmd, id := startRun(t, bin, dir, driver)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed: that is its error
	if slices.Equal(inEngine(t), before) {
		t.Fatal("a killed lab has left nothing: the test shows nothing")
	}
	out, err := exec.Command(bin, "clean", "--driver", driver).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "removed "+driver) {
		t.Errorf("clean: %v\n%s", err, out)
	}
	nothingNewInEngine(t, before)
	out, err = exec.Command(bin, "clean", "--driver", driver, "--run", id).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "nothing left behind") {
		t.Errorf("clean again: %v\n%s", err, out)
	}
}

// httpbinVersion is a server that nobody here wrote.
const httpbinVersion = "github.com/mccutchen/go-httpbin/v2/cmd/go-httpbin@v2.26.0"

// httpbinImage builds the server and an image of it, which is removed when the test ends.
func httpbinImage(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	build := exec.Command("go", "install", httpbinVersion)
	build.Env = append(os.Environ(), "GOBIN="+dir, "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go install %s: %v\n%s", httpbinVersion, err, out)
	}
	recipe := "FROM scratch\nCOPY go-httpbin /go-httpbin\nENTRYPOINT [\"/go-httpbin\"]\n"
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(recipe), 0o644); err != nil {
		t.Fatal(err)
	}
	tag := fmt.Sprintf("rollout-lab-e2e-httpbin:%d", os.Getpid())
	dockerCommand(t, "build", "--quiet", "--tag", tag, dir)
	t.Cleanup(func() { dockerCommand(t, "image", "rm", tag) })
	return tag
}

const httpbinScenario = `name: httpbin
about: A server that nobody here wrote. It stops by closing what is idle and waiting for
  the rest, and nobody is told before.
target:
  image: ${image}
  args: [-host, 0.0.0.0, -port, "8080"]
  ports: {data: 8080}
  request: {path: /status/204, expect: {status: 204}}
vars: {image: none}
replicas: 3
load: {rate: 1000}
phases:
  baseline: {from: 1s, to: 4s}
  window: {from: 4s, to: 24s}
action: {kind: rollout, timeout: 60s}
trials: 1
designs:
  - name: not-told
    about: The balancer learns from the health check that an instance has gone.
    signal: {kind: http, port: data, path: /status/200, interval: 400ms, timeout: 1s, rise: 1, fall: 2}
    stop_grace: 5s
  - name: told
    about: The balancer is told before the instance is stopped.
    signal: {kind: http, port: data, path: /status/200, interval: 400ms, timeout: 1s, rise: 1, fall: 2}
    stop_grace: 5s
    deregister_first: true
gates:
  - {design: told, metric: success_rate, op: ">=", limit: 99.9%}
`

func TestE2EDockerThirdPartyServer(t *testing.T) {
	needDriver(t, "docker")
	before := inEngine(t)
	image := httpbinImage(t)
	file := filepath.Join(t.TempDir(), "httpbin.yaml")
	if err := os.WriteFile(file, []byte(httpbinScenario), 0o644); err != nil {
		t.Fatal(err)
	}
	code, _, doc := runLabBinary(t, labBinary(t), "run", file, "--driver", "docker", "--var", "image="+image)
	if code != cli.ExitPass {
		t.Errorf("exit code %d, verdict %s: %v", code, doc.Verdict, doc.Reasons)
	}
	for _, c := range doc.Cells {
		for _, tr := range validTrials(t, c, 1) {
			t.Logf("%s: %d of %d failed, %v", c.Design, failures(t, tr), tr.Planned, tr.Errors)
		}
	}
	nothingNewInEngine(t, append(before, leftImages(t, image)...))
}

// leftImages are the test's own image and its layers, which are removed when it ends.
func leftImages(t *testing.T, image string) []string {
	t.Helper()
	var out []string
	for _, what := range inEngine(t) {
		if strings.HasPrefix(what, "image ") && (strings.HasSuffix(what, image) || strings.HasSuffix(what, "<none>:<none>")) {
			out = append(out, what)
		}
	}
	return out
}

func TestE2EDockerImageThatNeverGetsHealthy(t *testing.T) {
	needDriver(t, "docker")
	before := inEngine(t)
	image := httpbinImage(t)
	file := filepath.Join(t.TempDir(), "never.yaml")
	text := strings.ReplaceAll(httpbinScenario, "path: /status/200", "path: /status/503")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "run")
	out, err := exec.Command(labBinary(t), "run", file, "--driver", "docker", "--var", "image="+image, "--design", "told", "--out", dir).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != cli.ExitFail {
		t.Errorf("got %v, want exit code %d", err, cli.ExitFail)
	}
	if !strings.Contains(string(out), "503") {
		t.Errorf("the error does not name the last health output:\n%s", out)
	}
	if doc := readResults(t, dir); doc.Verdict != judge.Fail {
		t.Errorf("verdict %s for a service that never says that it is ready", doc.Verdict)
	}
	nothingNewInEngine(t, append(before, leftImages(t, image)...))
}

// TestE2EDockerEngineRestart restarts the machine's engine, so only a machine that is
// there for it may run it: ROLLOUT_LAB_RESTART_ENGINE is the command that starts it again.
func TestE2EDockerEngineRestart(t *testing.T) {
	start := os.Getenv("ROLLOUT_LAB_RESTART_ENGINE")
	if start == "" {
		t.Skip("ROLLOUT_LAB_RESTART_ENGINE is not set: the engine may be in use")
	}
	needDriver(t, "docker")
	before := inEngine(t)
	bin, dir := labBinary(t), filepath.Join(t.TempDir(), "run")
	cmd, _ := startRun(t, bin, dir, "docker")
	text, err := os.ReadFile("/var/run/docker.pid")
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	ended := time.NewTimer(time.Minute)
	defer ended.Stop()
	for tick := time.NewTicker(50 * time.Millisecond); syscall.Kill(pid, 0) == nil; {
		select {
		case <-tick.C:
		case <-ended.C:
			t.Fatalf("the engine, process %d, does not end", pid)
		}
	}
	if out, err := exec.Command(start).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", start, err, out)
	}
	err = cmd.Wait()
	t.Logf("exit code %d (%v)", cmd.ProcessState.ExitCode(), err)
	doc := readResults(t, dir)
	// The trial is invalid and says why; it is repeated, as any invalid one is.
	for _, c := range doc.Cells {
		for _, tr := range c.Trials {
			t.Logf("%s trial %d, valid %v: %v", c.Design, tr.N, tr.Valid, tr.InvalidReasons)
		}
	}
	first := doc.Cells[0].Trials[0]
	if first.Valid || !strings.Contains(strings.Join(first.InvalidReasons, "; "), "events were lost") {
		t.Errorf("the trial in which the engine was restarted: valid %v, %v", first.Valid, first.InvalidReasons)
	}
	for _, c := range doc.Cells {
		if doc.Verdict == judge.Pass {
			validTrials(t, c, 1)
		}
	}
	nothingNewInEngine(t, before)
}

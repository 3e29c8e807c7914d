package docker_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/docker"
	"github.com/rollout-lab/rollout-lab/drivers/drivertest"
)

const (
	// labEnv makes the test binary a lab that deploys one stack and waits to be killed.
	labEnv = "DOCKER_TEST_LAB"
	// programEnv is the program that it deploys.
	programEnv = "DOCKER_TEST_PROGRAM"
	// patience bounds what a test waits for; it waits that long only when something is
	// broken.
	patience = time.Minute
)

func runLab(runID string) error {
	stack := drivertest.NewStack()
	stack.RunID = runID
	d := docker.New(docker.Config{Program: os.Getenv(programEnv), Probe: []string{probeMark}})
	env, err := d.Deploy(context.Background(), stack)
	if err != nil {
		return err
	}
	fmt.Println(env.URL())
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, env.Close(context.Background()))
}

// slow asks for the health less often than the conformance suite, which costs less.
func slow(s *drivers.Stack) { s.Subject.Signal.Interval = 200 * time.Millisecond }

func deployWith(t *testing.T, d *docker.Driver, mutate ...func(*drivers.Stack)) (drivers.Env, drivers.Stack) {
	t.Helper()
	stack := drivertest.NewStack(append([]func(*drivers.Stack){slow}, mutate...)...)
	env, err := d.Deploy(t.Context(), stack)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := env.Close(ctx); err != nil {
			t.Error(err)
		}
		nothingLeft(t, stack.RunID)
	})
	return env, stack
}

func nothingLeft(t *testing.T, runID string) {
	t.Helper()
	if got := leftOf(t, runID); len(got) > 0 {
		t.Errorf("left of the run: %v", got)
	}
}

func leftOf(t *testing.T, runID string) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	out, err := left(ctx, runID)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// awaitEvents reads events until one is as wanted, and returns those up to it.
func awaitEvents(t *testing.T, env drivers.Env, what string, is func(drivers.Event) bool) []drivers.Event {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	var seen []drivers.Event
	for watch := env.Watch(); ; {
		select {
		case e := <-watch:
			seen = append(seen, e)
			if is(e) {
				return seen
			}
		case <-timer.C:
			t.Fatalf("no %s within %v, but %+v", what, patience, seen)
		}
	}
}

func awaitEvent(t *testing.T, env drivers.Env, kind drivers.EventKind, instance string, nth int) drivers.Event {
	t.Helper()
	seen := awaitEvents(t, env, fmt.Sprintf("%d. event %s of %q", nth, kind, instance), func(e drivers.Event) bool {
		if e.Kind == kind && e.Instance == instance {
			nth--
		}
		return nth == 0
	})
	return seen[len(seen)-1]
}

// TestNothingSurvivesAKilledLab: what a killed lab leaves behind is found by Sweep, which
// leaves alone what a living one has.
func TestNothingSurvivesAKilledLab(t *testing.T) {
	d := newDriver(t)
	other, _ := deployWith(t, d)
	p, err := targetProgram()
	if err != nil {
		t.Fatal(err)
	}
	runID := drivertest.NewStack().RunID
	lab := exec.Command(p)
	lab.Env = append(os.Environ(), labEnv+"="+runID, programEnv+"="+p)
	lab.Stderr = os.Stderr
	if _, err := lab.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := lab.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := lab.Start(); err != nil {
		t.Fatal(err)
	}
	url, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the lab did not deploy: %v", errors.Join(err, lab.Wait()))
	}
	url = strings.TrimSpace(url)
	const want = 3 + 1 + 1 // containers, a network, an image
	if got := leftOf(t, runID); len(got) != want {
		t.Errorf("%d things of the run, want %d: %v", len(got), want, got)
	}
	ours := func(removed []string) (out []string) {
		for _, s := range removed {
			if strings.Contains(s, runID) {
				out = append(out, s)
			}
		}
		return out
	}
	if removed, err := d.Sweep(t.Context(), ""); err != nil || len(ours(removed)) > 0 {
		t.Errorf("sweep while the lab lives: removed %v, %v", removed, err)
	}
	get(t, url)

	if err := lab.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = lab.Wait() // says that it was killed
	removed, err := d.Sweep(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if len(ours(removed)) != want {
		t.Errorf("sweep removed %v, want %d things", removed, want)
	}
	nothingLeft(t, runID)
	get(t, other.URL())
	list, err := other.Instances(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range list {
		if i.State != drivers.StateReady {
			t.Errorf("instance %s of the living lab is %s after the sweep", i.ID, i.State)
		}
	}
}

// get demands an answer of status 200.
func get(t *testing.T, url string) string {
	t.Helper()
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: status %d: %s, %v", url, resp.StatusCode, body, err)
	}
	return string(body)
}

func post(t *testing.T, url string) {
	t.Helper()
	resp, err := http.Post(url, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: status %d", url, resp.StatusCode)
	}
}

// TestTheEngineRestartsWhatEnds: the engine is the supervisor, the container keeps its
// ports, and nothing is routed to it until its health check succeeds again.
func TestTheEngineRestartsWhatEnds(t *testing.T) {
	env, _ := deployWith(t, newDriver(t), func(s *drivers.Stack) { s.Subject.RestartOnExit = true })
	before, err := env.Instances(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	victim := before[0]
	boot := get(t, "http://"+victim.Addr+"/")
	// A signal that is not the one to stop with, and that ends a program written in Go.
	if err := engineClient(t).ContainerKill(t.Context(), containerOf(t, env, victim.ID), "SIGQUIT"); err != nil {
		t.Fatal(err)
	}
	again := awaitEvent(t, env, drivers.Started, victim.ID, 2)
	if again.Addr != victim.Addr {
		t.Errorf("started again at %s, want %s as before", again.Addr, victim.Addr)
	}
	awaitEvent(t, env, drivers.Ready, victim.ID, 2)
	if now := get(t, "http://"+victim.Addr+"/"); now == boot {
		t.Errorf("the same process answers: %s", now)
	}
	var kinds []drivers.EventKind
	for _, e := range awaitEvents(t, env, "second ready", func() func(drivers.Event) bool {
		n := 0
		return func(e drivers.Event) bool {
			if e.Instance == victim.ID && e.Kind == drivers.Ready {
				n++
			}
			return n == 2
		}
	}()) {
		if e.Instance == victim.ID {
			kinds = append(kinds, e.Kind)
		}
	}
	want := []drivers.EventKind{drivers.Started, drivers.Ready, drivers.Unready, drivers.Started, drivers.Ready}
	if !slices.Equal(kinds, want) {
		t.Errorf("events %v, want %v", kinds, want)
	}
}

// TestTheEngineGivesUp: an instance that the engine was told to start again, and that
// somebody ended through the engine, is one that it leaves alone. It is gone then.
func TestTheEngineGivesUp(t *testing.T) {
	env, _ := deployWith(t, newDriver(t), func(s *drivers.Stack) { s.Subject.RestartOnExit = true })
	if err := engineClient(t).ContainerKill(t.Context(), containerOf(t, env, "target-1"), "SIGKILL"); err != nil {
		t.Fatal(err)
	}
	if gone := awaitEvent(t, env, drivers.Gone, "target-1", 1); gone.Detail != "exit status 137" {
		t.Errorf("gone with %q, want its exit status", gone.Detail)
	}
	if err := env.Scale(t.Context(), 2); err != nil {
		t.Errorf("a change that makes up for it: %v", err)
	}
}

// TestNeverHealthy: the error of a rollout that gets stuck names the instance and what its
// health check and the instance itself said last.
func TestNeverHealthy(t *testing.T) {
	env, _ := deployWith(t, newDriver(t), func(s *drivers.Stack) {
		s.Subject.Args = append(s.Subject.Args, "-bad", "unready@v2")
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	rolled := make(chan error, 1)
	go func() { rolled <- env.Rollout(ctx, "v2") }()
	awaitEvent(t, env, drivers.Started, "target-3", 1)
	// The engine comes to its verdict after two failed checks and tells it once.
	id := containerOf(t, env, "target-3")
	eventually(t, "the engine to call it unhealthy", func() bool { return health(t, id) == "unhealthy" })
	cancel()
	err := <-rolled
	for _, want := range []string{"target-3", "503 not ready yet", "listens"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to say %q", err, want)
		}
	}
}

// eventually asks until the answer is true.
func eventually(t *testing.T, what string, ask func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !ask() {
		select {
		case <-ticker.C:
		case <-deadline.C:
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// TestNoGoroutineIsLeft: whoever was started is waited for, and no connection is kept.
func TestNoGoroutineIsLeft(t *testing.T) {
	d := newDriver(t)
	before := goleak.IgnoreCurrent()
	env, err := d.Deploy(t.Context(), drivertest.NewStack(slow))
	if err != nil {
		t.Fatal(err)
	}
	if err := env.Rollout(t.Context(), "v2"); err != nil {
		t.Error(err)
	}
	if err := env.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	goleak.VerifyNone(t, before)
}

// TestUnsupported: what an engine cannot do is refused before anything is created.
func TestUnsupported(t *testing.T) {
	d := newDriver(t)
	for name, mutate := range map[string]func(*drivers.Stack){
		"program of this machine": func(s *drivers.Stack) { s.Subject.Exec = "/bin/true" },
		"several successes":       func(s *drivers.Stack) { s.Subject.Signal.Rise = 2 },
	} {
		stack := drivertest.NewStack(mutate)
		_, err := d.Deploy(t.Context(), stack)
		var hint *drivers.HintError
		if !errors.Is(err, drivers.ErrUnsupported) || !errors.As(err, &hint) || hint.Hint == "" {
			t.Errorf("%s: got %v, want ErrUnsupported with a hint", name, err)
		}
		nothingLeft(t, stack.RunID)
	}
}

// TestNoEngine: where there is none, that is said with a hint.
func TestNoEngine(t *testing.T) {
	t.Setenv("DOCKER_HOST", "unix://"+t.TempDir()+"/nobody.sock")
	d := docker.New(docker.Config{})
	_, deployErr := d.Deploy(t.Context(), drivertest.NewStack())
	_, sweepErr := d.Sweep(t.Context(), "")
	for what, err := range map[string]error{"check": d.Check(t.Context()), "deploy": deployErr, "sweep": sweepErr} {
		var hint *drivers.HintError
		if !errors.Is(err, drivers.ErrUnavailable) || !errors.As(err, &hint) || hint.Hint == "" {
			t.Errorf("%s: got %v, want ErrUnavailable with a hint", what, err)
		}
	}
	if got := d.Describe(t.Context()); len(got) != 1 || !strings.HasPrefix(got[0], "no engine: ") {
		t.Errorf("details are %q", got)
	}
}

// TestDetails: the engine, what it can do and what was left behind.
func TestDetails(t *testing.T) {
	d := newDriver(t)
	got := strings.Join(d.Describe(t.Context()), "\n")
	for _, want := range []string{d.Version(t.Context()), "start interval", "cgroup v", "the program is static", "127.0.0.1", "leftovers"} {
		if want == "" || !strings.Contains(got, want) {
			t.Errorf("the details lack %q:\n%s", want, got)
		}
	}
}

package docker_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/docker"
	"github.com/rollout-lab/rollout-lab/drivers/drivertest"
)

// patience bounds what a test waits for; it waits that long only when something is broken.
const patience = time.Minute

// slow asks for the health less often than the conformance suite, which costs less.
func slow(s *drivers.Stack) { s.Subject.Signal.Interval = 200 * time.Millisecond }

// deploy deploys a stack until the end of the test.
func deploy(t *testing.T, mutate ...func(*drivers.Stack)) *drivertest.Bench {
	t.Helper()
	return harness().Deploy(t, append([]func(*drivers.Stack){slow}, mutate...)...)
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

// get demands an answer of status 200.
func get(t *testing.T, url string) string {
	t.Helper()
	answer, err := drivertest.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// TestEverythingIsLabelled: what was made for a run can be found by it.
func TestEverythingIsLabelled(t *testing.T) {
	b := deploy(t)
	const want = 3 + 1 + 1 // containers, a network, an image
	if got := leftOf(t, b.Stack.RunID); len(got) != want {
		t.Errorf("%d resources of the run, want %d: %v", len(got), want, got)
	}
}

// TestTheEngineRestartsWhatEnds: the engine is the supervisor, the container keeps its
// ports, and nothing is routed to it until its health check succeeds again.
func TestTheEngineRestartsWhatEnds(t *testing.T) {
	b := deploy(t, func(s *drivers.Stack) { s.Subject.RestartOnExit = true })
	victim := b.Instances()[0]
	boot := get(t, "http://"+victim.Addr+"/")
	// A signal that is not the one to stop with, and that ends a program written in Go.
	if err := engineClient(t).ContainerKill(t.Context(), containerOf(t, b.Env, victim.ID), "SIGQUIT"); err != nil {
		t.Fatal(err)
	}
	if again := b.AwaitNth(2, drivers.Started, victim.ID); again.Addr != victim.Addr {
		t.Errorf("started again at %s, want %s as before", again.Addr, victim.Addr)
	}
	b.AwaitNth(2, drivers.Ready, victim.ID)
	if now := get(t, "http://"+victim.Addr+"/"); now == boot {
		t.Errorf("the same process answers: %s", now)
	}
	var kinds []drivers.EventKind
	for _, e := range b.Recorded() {
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
	b := deploy(t, func(s *drivers.Stack) { s.Subject.RestartOnExit = true })
	if err := engineClient(t).ContainerKill(t.Context(), containerOf(t, b.Env, "target-1"), "SIGKILL"); err != nil {
		t.Fatal(err)
	}
	if gone := b.AwaitEvent(drivers.Gone, "target-1", ""); gone.Detail != "exit status 137" {
		t.Errorf("gone with %q, want its exit status", gone.Detail)
	}
	if err := b.Env.Scale(t.Context(), 2); err != nil {
		t.Errorf("a change that makes up for it: %v", err)
	}
}

// TestNeverHealthy: the error of a rollout that gets stuck names the instance and what its
// health check and the instance itself said last.
func TestNeverHealthy(t *testing.T) {
	b := deploy(t, func(s *drivers.Stack) {
		s.Subject.Args = append(s.Subject.Args, "-bad", "unready@v2")
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	rolled := make(chan error, 1)
	go func() { rolled <- b.Env.Rollout(ctx, "v2") }()
	b.AwaitEvent(drivers.Started, "target-3", "")
	// The engine comes to its verdict after two failed checks and tells it once.
	id := containerOf(t, b.Env, "target-3")
	c := engineClient(t)
	b.Eventually("the engine to call it unhealthy", func(ctx context.Context) error { return isUnhealthy(ctx, c, id) })
	cancel()
	err := <-rolled
	for _, want := range []string{"target-3", "503 not ready yet", "listens"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to say %q", err, want)
		}
	}
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
	for _, want := range []string{d.Version(t.Context()), "start interval", "cgroup v", "the program is static", "127.0.0.1", "orphaned resources"} {
		if want == "" || !strings.Contains(got, want) {
			t.Errorf("the details lack %q:\n%s", want, got)
		}
	}
}

package drivertest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// testDeployFails: instances that end at once fail the deployment with their last words,
// and a dependency does so too. Those that serve and never say so fail it as well.
func testDeployFails(t testing.TB, h Harness) {
	for what, mutate := range map[string]func(*drivers.Stack){
		"subject": bad(badExits, ""),
		"dependency": func(s *drivers.Stack) {
			s.Dependencies[0].Args = append(s.Dependencies[0].Args, "-bad", badExits)
		},
	} {
		if err := deployFails(t, h, mutate); err != nil && !strings.Contains(err.Error(), lastWords) {
			t.Errorf("%s that ends at once: the error %q lacks its last words", what, err)
		}
	}
	deployFails(t, h, bad(badUnready, ""))
}

// testDeployRefuses: stacks that make no sense are refused before anything is created.
func testDeployRefuses(t testing.TB, h Harness) {
	for what, mutate := range map[string]func(*drivers.Stack){
		"no surge and none unavailable": func(s *drivers.Stack) { s.Rolling = drivers.Rolling{} },
		"negative replicas":             replicas(-1),
		"unknown placeholder":           func(s *drivers.Stack) { s.Subject.Args = append(s.Subject.Args, "${nonsense}") },
		"signal on a port that is not there": func(s *drivers.Stack) {
			s.Subject.Signal.Port = "nowhere"
		},
		"no run ID": func(s *drivers.Stack) { s.RunID = "" },
		"a first revision that is none of its revisions": func(s *drivers.Stack) {
			s.Revisions = map[string]drivers.Variation{after: variation(s, after)}
		},
		"unknown placeholder in a later revision": func(s *drivers.Stack) {
			later := variation(s, after)
			later.Env["X"] = "${nonsense}"
			s.Revisions = map[string]drivers.Variation{before: variation(s, before), after: later}
		},
		"objects that are nowhere": func(s *drivers.Stack) {
			s.Dependencies, s.Rolling, s.Subject = nil, drivers.Rolling{}, drivers.Service{Name: subject, Ports: []string{"data"}}
			s.Objects = &drivers.Objects{Deployment: "rollout-lab-conformance-none", Service: "rollout-lab-conformance-none"}
		},
	} {
		driver := h.Driver(t)
		ctx, cancel := context.WithTimeout(context.Background(), h.timeout())
		stack := NewStack(mutate)
		env, err := driver.Deploy(ctx, stack)
		if stack.Objects != nil && err != nil && !errors.Is(err, drivers.ErrUnsupported) {
			t.Errorf("%s: got %v, want an error that wraps %v", what, err, drivers.ErrUnsupported)
		}
		if err == nil {
			t.Errorf("%s: deployed", what)
			if err := env.Close(ctx); err != nil {
				t.Errorf("close: %v", err)
			}
		}
		cancel()
	}
}

// hold begins a request, directly to an instance, that is answered once the instance was
// asked to stop and told to release it. The returned function waits for the answer.
func (b *Bench) hold(i drivers.Instance) (answer func() (string, error)) {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), b.harness.timeout())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+i.Addr+"/hold", nil)
	if err != nil {
		b.Fatalf("hold: %v", err)
	}
	// Without a time limit of its own.
	resp, err := (&http.Client{Transport: client.Transport}).Do(req)
	if err != nil {
		b.Fatalf("hold: %v", err)
	}
	return func() (string, error) {
		defer cancel()
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return string(body), err
	}
}

// testDrain: an instance is asked to stop and has the time to finish what it does.
func testDrain(t testing.TB, h Harness) {
	b := h.Deploy(t)
	held := b.Instances()[0]
	answer := b.hold(held)
	change := b.background(func(ctx context.Context) error { return b.Env.Rollout(ctx, after) })
	b.Eventually("the instance to be asked to stop", func(context.Context) error {
		_, err := Get("http://" + held.Ports["health"] + "/stopping")
		return err
	})
	b.AwaitEvent(drivers.Terminating, held.ID, "")
	b.asked(held.ID, 3) // some time passes
	if _, err := ask(http.MethodPost, "http://"+held.Ports["health"]+"/release"); err != nil {
		t.Fatalf("instance %s, asked to stop and not done: %v", held.ID, err)
	}
	if err := change.wait(); err != nil {
		t.Errorf("rollout: %v", err)
	}
	if got, err := answer(); err != nil || got != "released" {
		t.Errorf("the request that was under way when its instance was stopped: %q, %v; want it finished", got, err)
	}
	b.expect(2, after)
}

// testStopGrace: whoever ignores the request to stop is killed after its grace, not
// before and not much later.
func testStopGrace(t testing.TB, h Harness) {
	const grace = time.Second
	b := h.Deploy(t, replicas(1), bad(badStubborn, ""), func(s *drivers.Stack) { s.Subject.StopGrace = grace })
	id := b.Instances()[0].ID
	b.scale(0)
	asked, gone := b.AwaitEvent(drivers.Terminating, id, ""), b.AwaitEvent(drivers.Gone, id, "")
	if took := gone.At.Sub(asked.At); took < grace {
		t.Errorf("it was gone %v after it was asked to stop, want its grace of %v", took, grace)
	}
}

// testDeregisterFirst: a balancer that is told of stops lets go at once, though the instance's
// signal still says ready.
func testDeregisterFirst(t testing.TB, h Harness) {
	b := h.Deploy(t, replicas(1), bad(badStubborn, ""), func(s *drivers.Stack) {
		s.Subject.StopGrace = time.Second
		s.Balancer.DeregisterFirst = true
	})
	i := b.Instances()[0]
	change := b.background(func(ctx context.Context) error { return b.Env.Scale(ctx, 0) })
	b.AwaitEvent(drivers.Unready, i.ID, "")
	if answer, err := Get(b.url + "/"); err == nil && !h.TerminatingFallback {
		t.Errorf("a request after the balancer let go was answered with %q", answer)
	}
	gone := b.AwaitEvent(drivers.Gone, i.ID, "")
	unready := b.AwaitEvent(drivers.Unready, i.ID, "")
	if took := gone.At.Sub(unready.At); took < b.Stack.Subject.StopGrace/2 {
		t.Errorf("the balancer let go %v before the instance was gone, want it to when the stop was asked for, %v before", took, b.Stack.Subject.StopGrace)
	}
	if err := change.wait(); err != nil {
		t.Errorf("scale to 0: %v", err)
	}
}

// testClose: Close may be called again, takes along what instances have started and
// forgotten, and everything fails cleanly after it.
func testClose(t testing.TB, h Harness) {
	b := h.Deploy(t, bad(badParent, ""))
	b.expect(2, before)
	var orphans []string
	for _, i := range b.Instances() {
		addr, err := Get("http://" + i.Addr + orphanPath)
		if err != nil {
			t.Fatalf("ask %s for what it has started: %v", i.ID, err)
		}
		orphans = append(orphans, addr)
	}
	b.Must("close", b.Env.Close)
	b.NothingLeft()
	for _, addr := range orphans {
		// Where instances run on this machine's own network their orphans are met here too,
		// whatever the harness's Left finds.
		if answer, err := Get("http://" + addr + "/"); err == nil && strings.HasPrefix(answer, orphanInstance+" ") {
			t.Errorf("after Close what an instance had started still answers on %s, and Left does not see it", addr)
		}
	}
	b.Must("close again", b.Env.Close)
	ctx := context.Background()
	_, listErr := b.Env.Instances(ctx)
	for what, err := range map[string]error{
		"list":    listErr,
		"scale":   b.Env.Scale(ctx, 1),
		"restart": b.Env.Restart(ctx),
		"rollout": b.Env.Rollout(ctx, after),
	} {
		if !errors.Is(err, drivers.ErrClosed) {
			t.Errorf("%s after Close: got %v, want ErrClosed", what, err)
		}
	}
	if answer, err := Get(b.url + "/"); err == nil {
		t.Errorf("after Close the balancer answers %q", answer)
	}
}

// testCloseWithoutGrace: when the context ends, Close waits for nobody's grace; a change
// that is under way ends with it.
func testCloseWithoutGrace(t testing.TB, h Harness) {
	b := h.Deploy(t, bad(badStubborn, before), bad(badUnready, after), func(s *drivers.Stack) {
		s.Subject.StopGrace = 10 * time.Minute
	})
	change := b.background(func(ctx context.Context) error { return b.Env.Rollout(ctx, after) })
	b.AwaitEvent(drivers.Started, "", after)
	ctx, end := context.WithCancel(context.Background())
	end()
	closed := make(chan error, 1)
	go func() { closed <- b.Env.Close(ctx) }()
	select {
	case err := <-closed:
		if err != nil {
			t.Errorf("close: %v", err)
		}
	case <-time.After(h.timeout()):
		t.Fatalf("Close under an ended context waits for a grace of %v", b.Stack.Subject.StopGrace)
	}
	b.NothingLeft()
	if err := change.cancel(); err == nil {
		t.Error("a rollout that was under way at Close succeeded")
	}
}

// testSweep: Sweep leaves the living alone unless it is given their run.
func testSweep(t testing.TB, h Harness) {
	b := h.Deploy(t)
	was := b.expect(2, before)
	SweepAlone(t)
	sweep := func(runID string) []string { t.Helper(); return sweep(t, h, b.Driver, runID) }
	sweep("")
	b.serveOn(was)
	sweep(b.Stack.RunID + "-other")
	b.serveOn(was)
	if removed := sweep(b.Stack.RunID); len(removed) == 0 {
		t.Error("Sweep of the run does not say what it removed")
	}
	b.NothingLeft()
	if removed := sweep(b.Stack.RunID); len(removed) != 0 {
		t.Errorf("a second Sweep removed %v", removed)
	}
}

// testApart: two runs do not disturb each other.
func testApart(t testing.TB, h Harness) {
	one := h.Deploy(t, replicas(1))
	other := h.Deploy(t, replicas(1))
	was := other.expect(1, before)
	one.rollout(after)
	one.expect(1, after)
	one.Must("close", one.Env.Close)
	one.Must("sweep", func(ctx context.Context) error { _, err := one.Driver.Sweep(ctx, one.Stack.RunID); return err })
	one.NothingLeft()
	other.serveOn(was)
}

package drivertest

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// testKill: an instance that is killed is started again under its own name where the
// stack says so.
func testKill(t testing.TB, h Harness) {
	b := h.Deploy(t, func(s *drivers.Stack) { s.Subject.RestartOnExit = true })
	killer := ability[drivers.Killer](b)
	was := b.expect(2, before)
	victim := b.Instances()[0]
	b.Must("kill", func(ctx context.Context) error { return killer.Kill(ctx, victim.ID) })
	b.Eventually("the killed instance to serve again", func(context.Context) error {
		answer, err := Get("http://" + victim.Addr + "/")
		if err != nil {
			return err
		}
		if id, _, boot := parseAnswer(answer); id != victim.ID || boot == was[victim.ID] {
			return fmt.Errorf("answer %q", answer)
		}
		return nil
	})
	b.Eventually("both to be ready", func(context.Context) error {
		for _, i := range b.Instances() {
			if i.State != drivers.StateReady {
				return fmt.Errorf("%s is %s", i.ID, i.State)
			}
		}
		return nil
	})
	b.expect(2, before)
	starts := 0
	for _, e := range b.events.soFar() {
		if e.Kind == drivers.Started && e.Instance == victim.ID {
			starts++
		}
	}
	if starts != 2 {
		t.Errorf("%d started events of the killed instance, want 2", starts)
	}
	if err := killer.Kill(context.Background(), "nobody"); err == nil {
		t.Error("an instance that does not exist was killed")
	}
}

// testKillForGood: where it is not started again, it is gone, and the next change makes
// up for it.
func testKillForGood(t testing.TB, h Harness) {
	if h.AlwaysRestarts {
		t.Skip("the runtime starts again whatever ends")
	}
	b := h.Deploy(t)
	killer := ability[drivers.Killer](b)
	victim := b.Instances()[0]
	b.Must("kill", func(ctx context.Context) error { return killer.Kill(ctx, victim.ID) })
	b.AwaitEvent(drivers.Gone, victim.ID, "")
	b.expect(1, before)
	b.scale(2)
	b.expect(2, before)
}

// testPause: a frozen instance is unready by its signal and recovers. A runtime that asks
// nobody learns of it from its watchdog, and starts the instance again.
func testPause(t testing.TB, h Harness) {
	if h.PushBased {
		testWatchdog(t, h)
		return
	}
	b := h.Deploy(t, func(s *drivers.Stack) { s.Subject.Signal.Timeout = 250 * time.Millisecond })
	pauser := ability[drivers.Pauser](b)
	was := b.expect(2, before)
	victim := b.Instances()[0]
	b.Must("pause", func(ctx context.Context) error { return pauser.Pause(ctx, victim.ID) })
	b.AwaitEvent(drivers.Unready, victim.ID, "")
	probe := b.Stack.Subject.Serves
	probe.Timeout = 200 * time.Millisecond
	if answer, err := probe.Ask(context.Background(), victim.Addr); err == nil {
		t.Errorf("the frozen instance answers %q", answer)
	}
	b.Must("resume", func(ctx context.Context) error { return pauser.Resume(ctx, victim.ID) })
	b.Eventually("both to be ready again", func(context.Context) error {
		if ready, _ := fold(b.events.soFar()); len(ready) != 2 {
			return fmt.Errorf("ready: %v", ready)
		}
		return nil
	})
	if now := b.expect(2, before); now[victim.ID] != was[victim.ID] {
		t.Errorf("instance %s was replaced while it was frozen", victim.ID)
	}
}

func testWatchdog(t testing.TB, h Harness) {
	b := h.Deploy(t, func(s *drivers.Stack) {
		s.Subject.Watchdog, s.Subject.RestartOnExit = time.Second, true
	})
	pauser := ability[drivers.Pauser](b)
	was := b.expect(2, before)
	victim := b.Instances()[0]
	paused := time.Now()
	b.Must("pause", func(ctx context.Context) error { return pauser.Pause(ctx, victim.ID) })
	unready := b.AwaitEvent(drivers.Unready, victim.ID, "")
	t.Logf("watchdog of %v: unready %v after it was frozen", b.Stack.Subject.Watchdog, unready.At.Sub(paused))
	b.Eventually("both to be ready again", func(context.Context) error {
		if ready, _ := fold(b.events.soFar()); len(ready) != 2 {
			return fmt.Errorf("ready: %v", ready)
		}
		return nil
	})
	b.Must("resume", func(ctx context.Context) error { return pauser.Resume(ctx, victim.ID) })
	if now := b.expect(2, before); now[victim.ID] == was[victim.ID] {
		t.Errorf("instance %s was not started again by its watchdog", victim.ID)
	}
}

// testLogs: what an instance wrote can be read.
func testLogs(t testing.TB, h Harness) {
	b := h.Deploy(t)
	logger := ability[drivers.Logger](b)
	for id, boot := range b.expect(2, before) {
		b.Eventually("the log of "+id, func(ctx context.Context) error {
			log, err := logger.Logs(ctx, id)
			if err == nil && !strings.Contains(log, boot) {
				err = fmt.Errorf("log %q lacks %q", log, boot)
			}
			return err
		})
	}
}

// testNotes: equal stacks have equal notes, each of one line that names a service.
func testNotes(t testing.TB, h Harness) {
	odd := func(s *drivers.Stack) {
		s.Subject.StopGrace += 1234567 // nanoseconds, which some runtimes cannot say
	}
	var all [][]string
	for range 2 {
		b := h.Deploy(t, replicas(1), odd)
		notes := ability[drivers.Noter](b).Notes()
		for _, n := range notes {
			if !oneLine(n) || (!strings.Contains(n, subject) && !strings.Contains(n, dependency)) {
				t.Errorf("note %q: want one line that names a service", n)
			}
		}
		if diff := cmp.Diff(notes, ability[drivers.Noter](b).Notes()); diff != "" {
			t.Errorf("asked again the environment notes something else (-first +second):\n%s", diff)
		}
		all = append(all, notes)
	}
	if diff := cmp.Diff(all[0], all[1]); diff != "" {
		t.Errorf("equal stacks have other notes (-first +second):\n%s", diff)
	}
}

// oneLine says whether a text is one line with something in it.
func oneLine(s string) bool { return strings.TrimSpace(s) != "" && !strings.ContainsAny(s, "\r\n") }

// testDescribes: what a driver says of itself can be printed and compared, and is true.
func testDescribes(t testing.TB, h Harness) {
	b := h.Deploy(t, replicas(0))
	b.Must("check", b.Driver.Check)
	if p, ok := b.Driver.(drivers.Preparer); ok {
		b.Must("prepare what is there already", p.Prepare)
	}
	if v, ok := b.Driver.(drivers.Versioner); ok {
		ctx := context.Background()
		if one, two := v.Version(ctx), v.Version(ctx); !oneLine(one) || one != two {
			t.Errorf("versions %q and %q, want one line, the same each time", one, two)
		}
	}
	if d, ok := b.Driver.(drivers.Describer); ok {
		lines := d.Describe(context.Background())
		for _, l := range lines {
			if !oneLine(l) {
				t.Errorf("it describes itself with %q, want a line", l)
			}
		}
		if len(lines) == 0 {
			t.Error("it has nothing to say of itself")
		}
	}
	if p, ok := b.Driver.(drivers.ProbeIntervaler); ok && p.ProbeInterval() <= 0 {
		t.Errorf("instances are asked every %v, want a time", p.ProbeInterval())
	}
	b.balancerIsAsClaimed()
}

// balancerIsAsClaimed compares whose balancer it is with the answer that it gives where there
// is no instance: the lab's names itself and its reason.
func (b *Bench) balancerIsAsClaimed() {
	b.Helper()
	c := drivers.CapabilitiesOf(b.Driver)
	if c != drivers.CapabilitiesOf(b.Driver) {
		b.Errorf("its capabilities change: %+v, then %+v", c, drivers.CapabilitiesOf(b.Driver))
	}
	if _, says := b.Driver.(drivers.Capable); says && !oneLine(c.Routing) {
		b.Errorf("it says with %q how it routes, want one line", c.Routing)
	}
	labs := false
	resp, err := client.Get(b.url + "/")
	if err == nil {
		labs = resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get(drivers.ReasonHeader) != ""
		err = resp.Body.Close()
	}
	if labs != c.LabBalancer {
		b.Errorf("that requests go through the lab's own balancer is claimed: %t; by the answer without an instance it is true: %t (%v)", c.LabBalancer, labs, err)
	}
}

// ability returns an optional ability of the environment, or skips the case.
func ability[A any](b *Bench) A {
	b.Helper()
	a, ok := b.Env.(A)
	if !ok {
		b.Skipf("the driver has no %T", (*A)(nil))
	}
	return a
}

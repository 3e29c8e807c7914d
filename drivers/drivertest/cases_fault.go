package drivertest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// can returns the environment's Injector, or skips the case where the driver says that this
// kind of fault cannot be done here.
func (b *Bench) can(kind drivers.FaultKind) drivers.Injector {
	b.Helper()
	faulter, ok := b.Driver.(drivers.Faulter)
	if !ok {
		b.Skipf("the driver knows no faults")
	}
	why, known := faulter.Faults(context.Background())[kind]
	switch {
	case !known:
		b.Skipf("the driver does not know the fault %s", kind)
	case why != nil:
		b.Skipf("%s: %v", kind, why)
	}
	injector, ok := b.Env.(drivers.Injector)
	if !ok {
		b.Fatalf("the driver says that it can do the fault %s, and its environment is no Injector", kind)
	}
	return injector
}

// inject has a fault injected, which must succeed.
func (b *Bench) inject(f drivers.Fault) drivers.Injection {
	b.Helper()
	var out drivers.Injection
	b.Must("inject "+string(f.Kind), func(ctx context.Context) (err error) {
		out, err = b.can(f.Kind).Inject(ctx, f)
		return err
	})
	return out
}

// proven demands that a fault is there, by its own proof.
func (b *Bench) proven(injected drivers.Injection) {
	b.Helper()
	b.Eventually("a proof of the fault", func(ctx context.Context) error {
		seen, there, err := injected.Proof(ctx)
		if err == nil && !oneLine(seen) {
			b.Errorf("the proof of a fault says %q, want a line", seen)
		}
		if err == nil && !there {
			err = errors.New("it is not there: " + seen)
		}
		return err
	})
}

// heal heals a fault, twice, and demands that its proof says that it is gone.
func (b *Bench) heal(injected drivers.Injection) {
	b.Helper()
	for range 2 { // it is idempotent
		b.Must("heal", injected.Heal)
	}
	b.Must("look whether the fault is gone", func(ctx context.Context) error {
		seen, there, err := injected.Proof(ctx)
		if err == nil && there {
			err = errors.New("its proof says that it is still there: " + seen)
		}
		return err
	})
}

// testKill: an instance that is killed is started again under its own name where the
// stack says so.
func testKill(t testing.TB, h Harness) {
	b := h.Deploy(t, func(s *drivers.Stack) { s.Subject.RestartOnExit = true })
	injector := b.can(drivers.FaultKill)
	was := b.expect(2, before)
	victim := b.Instances()[0]
	killed := b.inject(drivers.Fault{Kind: drivers.FaultKill, Instance: victim.ID})
	b.proven(killed)
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
	b.proven(killed) // for good
	b.Must("heal what does not last", killed.Heal)
	if _, err := injector.Inject(context.Background(), drivers.Fault{Kind: drivers.FaultKill, Instance: "nobody"}); err == nil {
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
	b.can(drivers.FaultKill)
	victim := b.Instances()[0]
	killed := b.inject(drivers.Fault{Kind: drivers.FaultKill, Instance: victim.ID})
	b.AwaitEvent(drivers.Gone, victim.ID, "")
	b.proven(killed)
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
	b.can(drivers.FaultPause)
	was := b.expect(2, before)
	victim := b.Instances()[0]
	frozen := b.inject(drivers.Fault{Kind: drivers.FaultPause, Instance: victim.ID})
	b.proven(frozen)
	b.AwaitEvent(drivers.Unready, victim.ID, "")
	probe := b.Stack.Subject.Serves
	probe.Timeout = 200 * time.Millisecond
	if answer, err := probe.Ask(context.Background(), victim.Addr); err == nil {
		t.Errorf("the frozen instance answers %q", answer)
	}
	b.heal(frozen)
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
	b.can(drivers.FaultPause)
	was := b.expect(2, before)
	victim := b.Instances()[0]
	paused := time.Now()
	frozen := b.inject(drivers.Fault{Kind: drivers.FaultPause, Instance: victim.ID})
	unready := b.AwaitEvent(drivers.Unready, victim.ID, "")
	t.Logf("watchdog of %v: unready %v after it was frozen", b.Stack.Subject.Watchdog, unready.At.Sub(paused))
	b.Eventually("both to be ready again", func(context.Context) error {
		if ready, _ := fold(b.events.soFar()); len(ready) != 2 {
			return fmt.Errorf("ready: %v", ready)
		}
		return nil
	})
	b.heal(frozen)
	if now := b.expect(2, before); now[victim.ID] == was[victim.ID] {
		t.Errorf("instance %s was not started again by its watchdog", victim.ID)
	}
}

package drivertest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
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

// testStop: a dependency that is stopped answers nobody until the fault is healed, and is then the
// same one at the same address. The subject is left alone, and a stack is closed without it.
func testStop(t testing.TB, h Harness) {
	b := h.Deploy(t)
	injector := b.can(drivers.FaultStop)
	was := b.expect(2, before)
	stop := drivers.Fault{Kind: drivers.FaultStop, Service: dependency}
	ask := func() (url, boot string, err error) {
		b.Must("find the dependency", func(ctx context.Context) (err error) {
			url, err = b.Env.Endpoint(ctx, dependency, "data")
			return err
		})
		answer, err := Get(url + "/")
		id, _, boot := parseAnswer(answer)
		if err == nil && !strings.HasPrefix(id, dependency) {
			t.Errorf("at the address of the dependency answers %q", answer)
		}
		return url, boot, err
	}
	at, boot, err := ask()
	if err != nil {
		t.Fatalf("the dependency: %v", err)
	}
	for range 2 {
		stopped := b.inject(stop)
		b.proven(stopped)
		if _, _, err := ask(); err == nil {
			t.Error("a dependency that was stopped answers")
		}
		if _, err := injector.Inject(context.Background(), stop); err == nil {
			t.Error("a dependency that is stopped already was stopped again")
		}
		b.expect(2, before)
		b.heal(stopped)
		url, other, err := ask()
		if err != nil {
			t.Errorf("the dependency does not answer once its fault is healed: %v", err)
		}
		if url != at || other == boot {
			t.Errorf("at %s answers the process %s, want another one than %s at %s", url, other, boot, at)
		}
		boot = other
	}
	if now := b.expect(2, before); !maps.Equal(now, was) {
		t.Errorf("the subject was %v and is %v, want the same processes", was, now)
	}
	if _, err := injector.Inject(context.Background(), drivers.Fault{Kind: drivers.FaultStop, Service: "nobody"}); err == nil {
		t.Error("a dependency that does not exist was stopped")
	}
	b.inject(stop) // and it is closed so
}

const (
	// littleCPU is the share of a processor that the suite gives.
	littleCPU = 0.02
	// clearlyLess is how much an instance with that share may get of what one without gets at the
	// same time, so that it does not matter how busy the machine is.
	clearlyLess = 0.4
)

// testCPU: an instance that gets a share of a processor uses no more, also when it is started
// again, and as much as any other once the fault is healed.
func testCPU(t testing.TB, h Harness) {
	// Its signal must not depend on what it has left.
	b := h.Deploy(t, func(s *drivers.Stack) {
		s.Subject.RestartOnExit, s.Subject.Signal = true, drivers.Probe{Kind: drivers.ProbeNone}
	})
	injector := b.can(drivers.FaultCPU)
	victim, other := b.Instances()[0], b.Instances()[1]
	gets := func(what string, less bool) {
		t.Helper()
		inARow := 0 // on a busy machine one of them may have had luck
		b.Eventually(what, func(context.Context) error {
			got, err := burns(victim, other)
			inARow++
			if err != nil || (got < clearlyLess) != less {
				inARow = 0
			}
			if err == nil && inARow < 2 {
				err = fmt.Errorf("it got %.2f of what another one got", got)
			}
			return err
		})
	}
	if _, err := injector.Inject(context.Background(), drivers.Fault{Kind: drivers.FaultCPU, Instance: victim.ID}); err == nil {
		t.Fatal("an instance was given no processor at all")
	}
	throttled := b.inject(drivers.Fault{Kind: drivers.FaultCPU, Instance: victim.ID, CPUs: littleCPU})
	gets("a share to be kept at once", true)
	b.proven(throttled)
	b.inject(drivers.Fault{Kind: drivers.FaultKill, Instance: victim.ID})
	b.AwaitNth(2, drivers.Started, victim.ID)
	gets("a share to be kept when it is started again", true)
	b.heal(throttled)
	gets("it to get what another one gets", false)
}

// burns has two instances use what they can get of the processors, and says how much the first
// one got of what the second one did.
func burns(one, other drivers.Instance) (part float64, err error) {
	var got [2]float64
	var errs [2]error
	var burning sync.WaitGroup
	for n, i := range []drivers.Instance{one, other} {
		burning.Go(func() {
			var answer string
			if answer, errs[n] = Get("http://" + i.Ports["health"] + "/burn"); errs[n] == nil {
				got[n], errs[n] = strconv.ParseFloat(answer, 64)
			}
		})
	}
	burning.Wait()
	return got[0] / got[1], errors.Join(errs[:]...)
}

// lasting are the faults of the suite's stack that last and that a driver says it can do. The case
// is skipped where there is none.
func lasting(t testing.TB, d drivers.Driver) []drivers.Fault {
	t.Helper()
	faulter, ok := d.(drivers.Faulter)
	if !ok {
		t.Skipf("the driver knows no faults")
	}
	can := faulter.Faults(context.Background())
	out := slices.DeleteFunc([]drivers.Fault{
		{Kind: drivers.FaultPause},
		{Kind: drivers.FaultCPU, CPUs: littleCPU},
		{Kind: drivers.FaultStop, Service: dependency},
	}, func(f drivers.Fault) bool {
		why, known := can[f.Kind]
		return !known || why != nil
	})
	if len(out) == 0 {
		t.Skipf("the driver can do no fault that lasts")
	}
	return out
}

// each are those faults, of one instance each.
func (b *Bench) each() []drivers.Fault {
	b.Helper()
	all, instances := lasting(b, b.Driver), b.Instances()
	for n, f := range all {
		if f.Service == "" {
			all[n].Instance = instances[n%len(instances)].ID
		}
	}
	return all
}

// testFaultsAtClose: Close heals what nobody has healed, so that what is frozen hears that it is
// to stop and needs no more than that.
func testFaultsAtClose(t testing.TB, h Harness) {
	b := h.Deploy(t, func(s *drivers.Stack) { s.Subject.StopGrace = h.timeout() / 2 })
	var all []drivers.Injection
	for _, f := range b.each() {
		all = append(all, b.inject(f))
	}
	began := time.Now()
	b.Must("close", b.Env.Close)
	if took := time.Since(began); took > b.Stack.Subject.StopGrace {
		t.Errorf("to close took %v: what was frozen was not thawed before it was asked to stop", took)
	}
	for _, i := range all {
		b.Must("heal what is closed", i.Heal)
	}
	if _, err := b.Env.(drivers.Injector).Inject(context.Background(), b.killOf("anybody")); !errors.Is(err, drivers.ErrClosed) {
		t.Errorf("a fault after Close: got %v, want ErrClosed", err)
	}
}

func (b *Bench) killOf(id string) drivers.Fault {
	return drivers.Fault{Kind: drivers.FaultKill, Instance: id}
}

// testFaultsCancelled: an injection that is cancelled either succeeds, or fails and leaves nothing
// of the fault.
func testFaultsCancelled(t testing.TB, h Harness) {
	b := h.Deploy(t)
	b.expect(2, before)
	ended, end := context.WithCancel(context.Background())
	end()
	for _, f := range b.each() {
		injected, err := b.Env.(drivers.Injector).Inject(ended, f)
		if err == nil {
			b.heal(injected)
		}
		b.heal(b.inject(f)) // there is none already
	}
	b.Eventually("both to be ready and the dependency to answer", func(ctx context.Context) error {
		if ready, _ := fold(b.events.soFar()); len(ready) != 2 {
			return fmt.Errorf("ready: %v", ready)
		}
		url, err := b.Env.Endpoint(ctx, dependency, "data")
		if err == nil {
			_, err = Get(url + "/")
		}
		return err
	})
	b.expect(2, before)
}

// testKilledFaults: what a lab leaves that is killed in the middle of its faults is found by Sweep.
func testKilledFaults(t testing.TB, h Harness) {
	lasting(t, h.driver(t))
	lab := h.startLabThat(t, func(b *Bench) {
		for _, f := range b.each() {
			b.inject(f)
		}
	})
	lab.URL = lab.says(t, h.timeout())
	SweepAlone(t)
	lab.Kill()
	sweep(t, h, h.driver(t), "")
	if err := h.await(func(ctx context.Context) error { return h.nothingLeft(ctx, lab.RunID) }); err != nil {
		t.Errorf("after a Sweep of what a lab left that was killed in the middle of its faults: %v", err)
		sweep(t, h, h.driver(t), lab.RunID)
	}
}

// testLiveness: an instance whose liveness probe fails is started again under its own name, where
// the driver honours such a probe, and one that a fault froze as well.
func testLiveness(t testing.TB, h Harness) {
	b := h.Deploy(t, func(s *drivers.Stack) {
		s.Subject.Liveness = drivers.Probe{
			Kind: drivers.ProbeHTTP, Port: "health", Path: "/live",
			Interval: livenessInterval, Timeout: livenessInterval, Fall: 3,
		}
		s.Subject.StopGrace = livenessInterval
	})
	if how := drivers.SupportOf(b.Driver)["liveness"].How; how != drivers.Honoured && how != drivers.Emulated {
		t.Skipf("the driver makes nothing of a liveness probe (%s)", how)
	}
	was := b.expect(2, before)
	victims := b.Instances()
	b.Set(victims[0], "alive", false)
	again := b.AwaitNth(2, drivers.Started, victims[0].ID)
	if !strings.Contains(again.Detail, "liveness") {
		t.Errorf("started again with %q, want it to name the liveness probe", again.Detail)
	}
	b.Eventually("it to be ready again", func(context.Context) error { return b.isAnother(victims[0], was) })
	frozen := b.inject(drivers.Fault{Kind: drivers.FaultPause, Instance: victims[1].ID})
	b.AwaitNth(2, drivers.Started, victims[1].ID)
	b.Eventually("it to be ready again", func(context.Context) error { return b.isAnother(victims[1], was) })
	b.heal(frozen)
	b.expect(2, before)
}

// livenessInterval is how often the suite has instances asked whether they live.
const livenessInterval = time.Second

// isAnother says why not another process than before answers for an instance that is ready.
func (b *Bench) isAnother(i drivers.Instance, was map[string]string) error {
	answer, err := Get("http://" + i.Addr + "/")
	if err != nil {
		return err
	}
	if id, _, boot := parseAnswer(answer); id != i.ID || boot == was[id] {
		return fmt.Errorf("answer %q", answer)
	}
	if ready, _ := fold(b.events.soFar()); !slices.Contains(ready, i.ID) {
		return fmt.Errorf("ready: %v", ready)
	}
	return nil
}

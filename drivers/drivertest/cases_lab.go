package drivertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// sweep has a driver sweep, which must succeed.
func sweep(t testing.TB, h Harness, d drivers.Driver, runID string) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), h.timeout())
	defer cancel()
	removed, err := d.Sweep(ctx, runID)
	if err != nil {
		t.Fatalf("sweep %q: %v", runID, err)
	}
	return removed
}

// testKilledLab: what a killed lab leaves is found by the Sweep of another one, which had
// left it alone while that lab lived, and leaves alone what other labs have.
func testKilledLab(t testing.TB, h Harness) {
	lab := h.StartLab(t, bad(badParent, ""))
	SweepAlone(t)
	other := h.Deploy(t, replicas(1))
	was := other.expect(1, before)
	left := func() []string {
		t.Helper()
		var out []string
		other.Must("list what there is of the lab", func(ctx context.Context) (err error) {
			out, err = h.Left(ctx, lab.RunID)
			return err
		})
		return out
	}
	has := left()
	if len(has) == 0 {
		t.Errorf("the harness finds nothing of a lab that lives, so what it finds of a dead one says nothing")
	}
	ofLab := func(s string) bool { return strings.Contains(s, lab.RunID) }

	d := h.driver(t)
	if removed := sweep(t, h, d, ""); slices.ContainsFunc(removed, ofLab) {
		t.Errorf("Sweep removed %v, which a living lab owns", removed)
	}
	if _, err := Get(lab.URL + "/"); err != nil {
		t.Errorf("after a Sweep the stack of a living lab does not answer: %v", err)
	}
	if now := left(); len(now) < len(has) {
		t.Errorf("of a living lab there was %v, and after a Sweep there is %v", has, now)
	}

	lab.Kill()
	orphaned := left()
	removed := sweep(t, h, d, "")
	if len(orphaned) > 0 && len(removed) == 0 {
		t.Errorf("a killed lab left %v, and Sweep does not say what it removed", orphaned)
	}
	if err := h.await(func(ctx context.Context) error { return h.nothingLeft(ctx, lab.RunID) }); err != nil {
		t.Errorf("after a Sweep of what a killed lab left: %v", err)
		sweep(t, h, d, lab.RunID)
	}
	if again := sweep(t, h, d, ""); slices.ContainsFunc(again, ofLab) {
		t.Errorf("a second Sweep removed %v", again)
	}
	other.serveOn(was)
}

// testKilledDeploy: what a lab has begun to deploy when it is killed is found as well. What
// the runtime was still busy with then may appear a little later.
func testKilledDeploy(t testing.TB, h Harness) {
	SweepAlone(t)                          // first, for to wait for it may take longer than the lab deploys
	lab := h.startLab(t, bad(badLies, "")) // which is never deployed
	if err := h.await(func(ctx context.Context) error { return something(h.Left(ctx, lab.RunID)) }); err != nil {
		t.Fatalf("waited in vain for the lab to deploy: %v", err)
	}
	lab.Kill()
	d := h.driver(t)
	err := h.await(func(ctx context.Context) error {
		_, err := d.Sweep(ctx, "")
		return errors.Join(err, h.nothingLeft(ctx, lab.RunID))
	})
	if err != nil {
		t.Errorf("after a Sweep of what a lab left that was killed while it deployed: %v", err)
	}
}

// something demands that there is something.
func something(found []string, err error) error {
	if err == nil && len(found) == 0 {
		err = errors.New("there is nothing")
	}
	return err
}

// testBusy: while a change is under way a second one is refused at once, and the first goes
// on as if nothing had been asked.
func testBusy(t testing.TB, h Harness) {
	b := h.Deploy(t, bad(badUnready, after))
	was := b.expect(2, before)
	change := b.background(func(ctx context.Context) error { return b.Env.Rollout(ctx, after) })
	started := b.AwaitEvent(drivers.Started, "", after)
	for what, second := range map[string]func(context.Context) error{
		"scale":   func(ctx context.Context) error { return b.Env.Scale(ctx, 1) },
		"restart": b.Env.Restart,
		"rollout": func(ctx context.Context) error { return b.Env.Rollout(ctx, before) },
	} {
		refused := b.background(second)
		select {
		case err := <-refused.result:
			if !errors.Is(err, drivers.ErrBusy) {
				t.Errorf("%s while a rollout is under way: got %v, want ErrBusy", what, err)
			}
		case <-time.After(h.timeout() / 2):
			t.Errorf("%s while a rollout is under way: it waits instead of being refused", what)
		}
		refused.stop()
	}
	b.asked(started.Instance, 3) // some time passes
	select {
	case err := <-change.result:
		t.Fatalf("the rollout that was under way ended with a second change: %v", err)
	default:
	}
	b.serveOn(was)
	if err := change.cancel(); !errors.Is(err, context.Canceled) {
		t.Errorf("the rollout that was under way: got %v, want context.Canceled", err)
	}
	b.rollout(before)
	b.expect(2, before)
}

// testDeployCancelled: a deployment that is cancelled fails soon and leaves nothing,
// whatever it was in the middle of.
func testDeployCancelled(t testing.TB, h Harness) {
	after := func(wait time.Duration) func(*Bench) { return func(*Bench) { <-time.After(wait) } }
	for what, when := range map[string]func(*Bench){
		"after 20ms":  after(20 * time.Millisecond),
		"after 200ms": after(200 * time.Millisecond),
		"once something exists": func(b *Bench) {
			b.Eventually("something of the run to exist", func(ctx context.Context) error {
				return something(h.Left(ctx, b.Stack.RunID))
			})
		},
	} {
		b := h.undeployed(t, bad(badLies, "")) // which is never deployed
		deploying := b.background(func(ctx context.Context) error { return b.deployed(b.Driver.Deploy(ctx, b.Stack)) })
		when(b)
		if err := deploying.cancel(); !errors.Is(err, context.Canceled) {
			t.Errorf("a deployment cancelled %s: got %v, want context.Canceled", what, err)
		}
		b.NothingLeft()
	}
	ended, end := context.WithCancel(context.Background())
	end()
	b := h.undeployed(t)
	if err := b.deployed(b.Driver.Deploy(ended, b.Stack)); !errors.Is(err, context.Canceled) {
		t.Errorf("a deployment cancelled before it begins: got %v, want context.Canceled", err)
	}
	b.NothingLeft()
}

// deployed closes what must not have been deployed.
func (b *Bench) deployed(env drivers.Env, err error) error {
	if err != nil {
		return err
	}
	return errors.Join(errors.New("it was deployed"), env.Close(context.Background()))
}

// testCloseFails: what cannot be removed is reported, by Close and by Sweep, and is removed
// once it can be.
func testCloseFails(t testing.TB, h Harness) {
	if h.Obstruct == nil {
		t.Skipf("the harness has no way to obstruct a clean-up")
	}
	b := h.undeployed(t)
	b.deploy()
	clear := h.Obstruct(t, b.Stack.RunID)
	defer clear()
	ctx, cancel := context.WithTimeout(context.Background(), h.timeout())
	defer cancel()
	if err := b.Env.Close(ctx); err == nil {
		t.Error("Close says that all is well while something cannot be removed")
	}
	if _, ended := b.events.all(h.timeout()); !ended {
		t.Error("the watch was not closed by a Close that failed")
	}
	if _, err := b.Driver.Sweep(ctx, b.Stack.RunID); err == nil {
		t.Error("Sweep says that all is well while something cannot be removed")
	}
	clear()
	sweep(t, h, b.Driver, b.Stack.RunID)
	b.NothingLeft()
}

// testForeign: whatever is done with a stack, what is not the lab's is left alone.
func testForeign(t testing.TB, h Harness) {
	if h.Foreign == nil {
		t.Skipf("the harness makes nothing of somebody else's")
	}
	b := h.undeployed(t) // skips where there is no driver
	SweepAlone(t)
	untouched := h.Foreign(t)
	b.Must("look at what is somebody else's", untouched)
	one := h.Deploy(t)
	one.scale(1)
	one.rollout(after)
	one.Must("look at what is somebody else's after a rollout", untouched)
	one.Must("close", one.Env.Close)
	one.Must("look at what is somebody else's after Close", untouched)
	for _, runID := range []string{one.Stack.RunID, ""} {
		sweep(t, h, b.Driver, runID)
		b.Must(fmt.Sprintf("look at what is somebody else's after a Sweep of run %q", runID), untouched)
	}
}

// testNothingGoesOn: no goroutine of an environment is left when Close has returned. What
// the driver itself keeps for the next one, such as a connection, may stay.
func testNothingGoesOn(t testing.TB, h Harness) {
	d := h.driver(t)
	on := func(mutate ...func(*drivers.Stack)) *Bench {
		return &Bench{TB: t, harness: h, Driver: d, Stack: NewStack(mutate...), events: &recorded{}}
	}
	deployed := func(b *Bench) {
		t.Helper()
		b.deploy()
		if b.Stack.Replicas > 0 {
			b.rollout(after)
		}
		b.tearDown()
	}
	deployed(on(replicas(0)))
	had := goleak.IgnoreCurrent()
	deployed(on())
	failing := on(bad(badExits, ""))
	ctx, cancel := context.WithTimeout(context.Background(), h.failsWithin())
	defer cancel()
	if err := failing.deployed(d.Deploy(ctx, failing.Stack)); !errors.Is(err, drivers.ErrNotServing) {
		t.Errorf("deploy: got %v, want ErrNotServing", err)
	}
	if err := goleak.Find(had); err != nil {
		t.Errorf("after Close, and after a deployment that failed: %v", err)
	}
}

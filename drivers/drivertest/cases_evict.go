package drivertest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// testEvict: an instance that is evicted is replaced. What refuses an eviction is waited for and
// named, and the instance is left alone meanwhile.
func testEvict(t testing.TB, h Harness) {
	b := h.Deploy(t)
	injector := b.can(drivers.FaultEvict)
	b.expect(2, before)
	victim := b.Instances()[0]
	evicted := b.inject(drivers.Fault{Kind: drivers.FaultEvict, Instance: victim.ID})
	b.proven(evicted)
	b.replaced(victim, 2)
	b.proven(evicted) // for good
	b.Must("heal what does not last", evicted.Heal)
	if _, err := injector.Inject(context.Background(), drivers.Fault{Kind: drivers.FaultEvict, Instance: victim.ID}); err == nil {
		t.Error("an instance that is gone was evicted")
	}

	list := b.Instances()
	b.Set(list[0], "ready", false)
	b.AwaitEvent(drivers.Unready, list[0].ID, "")
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_, err := injector.Inject(ctx, drivers.Fault{Kind: drivers.FaultEvict, Instance: list[1].ID})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the only ready instance was to be evicted: got %v, want it refused until the end of the context", err)
	}
	b.answers(list[1], before)
	b.Set(list[0], "ready", true)
	b.Eventually("both to be ready", func(context.Context) error { return b.allReady(2) })
}

// replaced waits until an instance is gone, and n others are ready.
func (b *Bench) replaced(victim drivers.Instance, n int) {
	b.Helper()
	b.AwaitEvent(drivers.Gone, victim.ID, "")
	b.Eventually("another one to be ready", func(context.Context) error { return b.allReady(n) })
	b.expect(n, before)
}

// allReady says why not n instances are ready, all that there are.
func (b *Bench) allReady(n int) error {
	list := b.Instances()
	for _, i := range list {
		if i.State != drivers.StateReady {
			return fmt.Errorf("%s is %s", i.ID, i.State)
		}
	}
	if len(list) != n {
		return fmt.Errorf("there are %d, want %d", len(list), n)
	}
	return nil
}

// testNodeDrain: what runs on a node goes elsewhere, and the node takes new instances again once
// the fault is healed: it can be drained again.
func testNodeDrain(t testing.TB, h Harness) {
	b := h.Deploy(t, replicas(3))
	b.can(drivers.FaultNodeDrain)
	b.expect(3, before)
	for range 2 {
		victim := b.Instances()[0]
		drained := b.inject(drivers.Fault{Kind: drivers.FaultNodeDrain, Instance: victim.ID})
		b.proven(drained)
		b.replaced(victim, 3)
		b.proven(drained)
		b.heal(drained)
	}
	b.inject(drivers.Fault{Kind: drivers.FaultNodeDrain, Instance: b.Instances()[0].ID}) // and it is closed so
}

// testKilledDrain: a lab that is killed leaves a node that takes no new instances, and Sweep gives
// it back.
func testKilledDrain(t testing.TB, h Harness) {
	h.Deploy(t, replicas(0)).can(drivers.FaultNodeDrain)
	lab := h.startLabThat(t, func(b *Bench) {
		b.inject(drivers.Fault{Kind: drivers.FaultNodeDrain, Instance: b.Instances()[0].ID})
	})
	lab.URL = lab.says(t, h.timeout())
	SweepAlone(t)
	lab.Kill()
	sweep(t, h, h.driver(t), "")
	if err := h.await(func(ctx context.Context) error { return h.nothingLeft(ctx, lab.RunID) }); err != nil {
		t.Errorf("after a Sweep of what a lab left that was killed while it drained a node: %v", err)
	}
}

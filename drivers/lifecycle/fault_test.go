package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// breakage is a fault that says what becomes of it.
type breakage struct {
	name  string
	story *[]string
	fails *int // how often it cannot be healed
}

func (b breakage) Proof(context.Context) (string, bool, error) { return b.name, true, nil }

func (b breakage) Heal(context.Context) error {
	if *b.fails > 0 {
		*b.fails--
		return errTest
	}
	*b.story = append(*b.story, "heal "+b.name)
	return nil
}

// broken injects faults into a life, and remembers what was healed.
type broken struct {
	*Life
	story []string
	fails int
}

func newBroken() *broken {
	b := &broken{}
	b.Life = New(func(ctx context.Context) error { return b.HealAll(ctx) })
	return b
}

func (b *broken) inject(ctx context.Context, f drivers.Fault) (drivers.Injection, error) {
	return b.Inject(ctx, f, func(context.Context) (drivers.Injection, error) {
		return breakage{f.Instance, &b.story, &b.fails}, nil
	})
}

func pauseOf(instance string) drivers.Fault {
	return drivers.Fault{Kind: drivers.FaultPause, Instance: instance}
}

func TestFaultsAreHealedOnceAndTheLastOneFirst(t *testing.T) {
	b := newBroken()
	var all []drivers.Injection
	for _, f := range []drivers.Fault{pauseOf("a"), pauseOf("b"), pauseOf("c"), {Kind: drivers.FaultKill, Instance: "d"}} {
		i, err := b.inject(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, i)
	}
	for range 2 {
		if err := all[1].Heal(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		if err := i.Heal(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if want := []string{"heal b", "heal c", "heal a"}; !slices.Equal(b.story, want) {
		t.Errorf("got %q, want %q", b.story, want)
	}
}

func TestAFaultIsThereOnce(t *testing.T) {
	b := newBroken()
	heavy := drivers.Fault{Kind: drivers.FaultCPU, Instance: "a", CPUs: 0.1}
	first, err := b.inject(t.Context(), heavy)
	if err != nil {
		t.Fatal(err)
	}
	light := heavy
	light.CPUs = 0.5
	if _, err := b.inject(t.Context(), light); err == nil || err.Error() != "cpu of a: that fault is there already" {
		t.Errorf("of another degree: %v, want it refused", err)
	}
	if _, err := b.inject(t.Context(), pauseOf("a")); err != nil {
		t.Errorf("of another kind: %v", err)
	}
	if err := first.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := b.inject(t.Context(), light); err != nil {
		t.Errorf("once the first is healed: %v", err)
	}
	for range 2 { // one that does not last is there no more
		if _, err := b.inject(t.Context(), drivers.Fault{Kind: drivers.FaultKill, Instance: "a"}); err != nil {
			t.Error(err)
		}
	}
}

func TestAFaultThatCouldNotBeInjectedIsNotThere(t *testing.T) {
	b := newBroken()
	failing := func(context.Context) (drivers.Injection, error) { return nil, errTest }
	if i, err := b.Inject(t.Context(), pauseOf("a"), failing); i != nil || !errors.Is(err, errTest) || !strings.HasPrefix(fmt.Sprint(err), "pause of a: ") {
		t.Errorf("got %v, %v", i, err)
	}
	if _, err := b.inject(t.Context(), pauseOf("a")); err != nil {
		t.Errorf("once more: %v", err)
	}
}

func TestAFaultThatCouldNotBeHealedIsHealedAtTheEnd(t *testing.T) {
	b := newBroken()
	b.fails = 1
	i, err := b.inject(t.Context(), pauseOf("a"))
	if err != nil {
		t.Fatal(err)
	}
	if err := i.Heal(t.Context()); !errors.Is(err, errTest) || !strings.HasPrefix(err.Error(), "heal pause of a: ") {
		t.Errorf("heal: %v", err)
	}
	if err := b.Close(t.Context()); err != nil || !slices.Equal(b.story, []string{"heal a"}) {
		t.Errorf("close: %v, %q", err, b.story)
	}
}

// A fault that is being injected when the environment is closed is told to end, is waited for, and
// is healed where it came into effect all the same.
func TestCloseWaitsForAnInjection(t *testing.T) {
	b := newBroken()
	begun, result := make(chan struct{}), make(chan error, 1)
	go func() {
		_, err := b.Inject(t.Context(), pauseOf("a"), func(ctx context.Context) (drivers.Injection, error) {
			close(begun)
			<-ctx.Done()
			if cause := context.Cause(ctx); !errors.Is(cause, drivers.ErrClosed) {
				t.Errorf("it ended by %v", cause)
			}
			return breakage{"a", &b.story, &b.fails}, nil
		})
		result <- err
	}()
	<-begun
	if err := b.Close(t.Context()); err != nil || !slices.Equal(b.story, []string{"heal a"}) {
		t.Errorf("close: %v, %q", err, b.story)
	}
	if err := <-result; err != nil {
		t.Errorf("inject: %v", err)
	}
	if _, err := b.inject(t.Context(), pauseOf("b")); !errors.Is(err, drivers.ErrClosed) {
		t.Errorf("after the end: %v, want ErrClosed", err)
	}
}

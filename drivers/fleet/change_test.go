package fleet

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// slow is a runtime whose instances become ready, and go, some time after it was asked.
type slow struct {
	*servers
	later *sync.WaitGroup
}

func (s slow) Create(ctx context.Context, i *Instance) error {
	if err := (unready{s.servers}).create(i); err != nil {
		return err
	}
	s.later.Go(func() { i.SetReady(true, "says so") })
	return nil
}

func (s slow) Stop(_ context.Context, i *Instance) error {
	s.later.Go(func() { s.End(i) })
	return nil
}

// extremes are the most instances that existed and the fewest that were ready, from the end
// of the deployment of so many to now.
func extremes(e *Environment, replicas int) (most, least int) {
	e.Lost("that is all")
	existing, ready := map[string]bool{}, map[string]bool{}
	most, least = 0, replicas
	deployed := false
	for event := range e.Watch() {
		switch event.Kind {
		case drivers.Lost:
			return most, least
		case drivers.Started:
			existing[event.Instance] = true
		case drivers.Ready:
			ready[event.Instance] = true
		case drivers.Unready, drivers.Terminating:
			delete(ready, event.Instance)
		case drivers.Gone:
			delete(existing, event.Instance)
		}
		deployed = deployed || len(ready) == replicas
		if deployed {
			most, least = max(most, len(existing)), min(least, len(ready))
		}
	}
	return most, least
}

func TestAChangeReachesItsGoalWithinItsBounds(t *testing.T) {
	for _, b := range []drivers.Rolling{{MaxSurge: 1}, {MaxUnavailable: 1}, {MaxSurge: 2, MaxUnavailable: 1}} {
		t.Run(fmt.Sprintf("%+v", b), func(t *testing.T) {
			var later sync.WaitGroup
			e := deploy(t, slow{newServers(), &later}, func(s *drivers.Stack) { s.Replicas, s.Rolling = 3, b })
			t.Cleanup(later.Wait)
			if err := e.Rollout(t.Context(), "v2"); err != nil {
				t.Fatal(err)
			}
			if err := e.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			if most, least := extremes(e, 3); most > 3+b.MaxSurge || least < 3-b.MaxUnavailable {
				t.Errorf("between %d ready and %d in all, want within [%d, %d]", least, most, 3-b.MaxUnavailable, 3+b.MaxSurge)
			}
			for _, n := range []int{3, 5, 2, 0} {
				if err := e.Scale(t.Context(), n); err != nil {
					t.Fatal(err)
				}
				list, err := e.Instances(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if len(list) != n {
					t.Errorf("scaled to %d: %d are left", n, len(list))
				}
				for _, i := range list {
					if i.Revision != "v2" || i.State != drivers.StateReady {
						t.Errorf("scaled to %d: %+v is left", n, i)
					}
					if i.ID == "web-1" || i.ID == "web-6" {
						t.Errorf("%s was not replaced by both changes", i.ID)
					}
				}
			}
		})
	}
}

func TestAChangeSaysWhatItWaitedFor(t *testing.T) {
	s := newServers()
	e := deploy(t, unready{s})
	err := cutShort(t, e)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	for _, want := range []string{"0 of 2", "v2", "web-3 to be ready", "web-1 of revision v1 to be replaced"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not say %q", err, want)
		}
	}
	if text := fmt.Sprint(err); strings.Index(text, "web-3 to be ready") > strings.Index(text, "web-1 of") {
		t.Errorf("what the others wait for is not said first: %s", text)
	}
	list, err := e.Instances(t.Context())
	if err != nil || len(list) != 3 {
		t.Errorf("%d instances (%v), want the 2 old ones and 1 new one", len(list), err)
	}
	// The way back is open.
	if err := e.Rollout(t.Context(), "v1"); err != nil {
		t.Errorf("roll back: %v", err)
	}
}

// ending is a runtime whose instances of revision v2 end at once; something is left of them
// until they are stopped when held.
type ending struct {
	unready
	held bool
}

func (r ending) Create(ctx context.Context, i *Instance) error {
	if err := r.unready.Create(ctx, i); err != nil || i.Revision != "v2" {
		return err
	}
	i.Exited("exit status 3", "")
	if r.held {
		i.Ended()
		return nil
	}
	r.take(i).Close()
	i.Gone("removed")
	return nil
}

func TestAChangeGivesUpOnAnInstanceThatEnds(t *testing.T) {
	for _, held := range []bool{false, true} {
		t.Run(fmt.Sprintf("held %v", held), func(t *testing.T) {
			s := newServers()
			created := 0
			s.onCreate = func(i *Instance) error {
				if i.Subject {
					created++
				}
				return nil
			}
			e := deploy(t, ending{unready{s}, held})
			err := e.Rollout(t.Context(), "v2")
			if !errors.Is(err, drivers.ErrNotServing) || !strings.Contains(err.Error(), "exit status 3") {
				t.Fatalf("got %v, want the exit status, and whose fault it is", err)
			}
			if created != 3 {
				t.Errorf("%d instances were started, want 3: two old ones and one attempt", created)
			}
		})
	}
}

func TestAChangeReportsARuntimeThatCannotStart(t *testing.T) {
	s, want := newServers(), errors.New("out of memory")
	s.onCreate = func(i *Instance) error {
		if i.ID == "web-3" {
			return want
		}
		return nil
	}
	e := deploy(t, s)
	if err := e.Scale(t.Context(), 3); !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
}

func TestAChangeTakesNoStepOnceCancelled(t *testing.T) {
	e := deploy(t, newServers())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.Rollout(ctx, "v2"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	if e.started != 2 {
		t.Errorf("%d instances were started after the end", e.started-2)
	}
}

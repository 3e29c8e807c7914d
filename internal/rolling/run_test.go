package rolling

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
)

// fleet is a runtime in memory. Instances become ready and go as soon as they are
// looked at, unless their revision is bad.
type fleet struct {
	mu        sync.Mutex
	goal      Goal
	instances []Instance
	changed   chan struct{}
	next      int
	idle      chan struct{} // receives when Run has been given the same list twice

	neverReady string // revision
	fails      string // revision
	startErr   error
	most       int
	least      int
}

func (f *fleet) Instances(context.Context) ([]Instance, <-chan struct{}, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.changed == nil {
		f.changed = make(chan struct{})
	}
	out := append([]Instance(nil), f.instances...)
	// What is pending happens right after the list was made.
	for n := range f.instances {
		i := &f.instances[n]
		switch {
		case i.Stopping:
			f.instances = append(f.instances[:n:n], f.instances[n+1:]...)
			f.wake()
			return out, closedChannel, nil
		case i.Revision == f.fails && !i.Failed:
			i.Failed, i.Why = true, "exit status 3"
			f.wake()
			return out, closedChannel, nil
		case !i.Ready && i.Revision != f.neverReady && !i.Failed:
			i.Ready = true
			f.wake()
			return out, closedChannel, nil
		}
	}
	if f.idle != nil {
		select {
		case f.idle <- struct{}{}:
		default:
		}
	}
	return out, f.changed, nil
}

var closedChannel = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

func (f *fleet) wake() {
	ready := 0
	for _, i := range f.instances {
		if available(i) {
			ready++
		}
	}
	f.most, f.least = max(f.most, len(f.instances)), min(f.least, ready)
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fleet) Start(context.Context) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.startErr != nil {
		return "", f.startErr
	}
	f.next++
	id := fmt.Sprint("i", f.next)
	f.instances = append(f.instances, Instance{ID: id, Revision: f.goal.Revision, Generation: f.goal.Generation})
	f.wake()
	return id, nil
}

func (f *fleet) Stop(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for n := range f.instances {
		if f.instances[n].ID == id {
			f.instances[n].Stopping = true
			f.wake()
			return nil
		}
	}
	return fmt.Errorf("no instance %s", id)
}

func (f *fleet) run(ctx context.Context, g Goal, b Bounds) error {
	f.mu.Lock()
	f.goal = g
	f.least, f.most = len(f.instances), len(f.instances)
	f.mu.Unlock()
	return Run(ctx, f, g, b)
}

func TestRunReachesTheGoal(t *testing.T) {
	for _, b := range []Bounds{{MaxSurge: 1}, {MaxUnavailable: 1}, {MaxSurge: 2, MaxUnavailable: 1}} {
		f := &fleet{}
		g := Goal{Replicas: 3, Revision: "v1"}
		if err := f.run(t.Context(), g, b); err != nil {
			t.Fatal(err)
		}
		for _, g := range []Goal{
			{Replicas: 3, Revision: "v2"},
			{Replicas: 3, Revision: "v2", Generation: 1},
		} {
			if err := f.run(t.Context(), g, b); err != nil {
				t.Fatal(err)
			}
			if f.most > 3+b.MaxSurge || f.least < 3-b.MaxUnavailable {
				t.Errorf("%+v: between %d ready and %d in all, want within [%d, %d]", b, f.least, f.most, 3-b.MaxUnavailable, 3+b.MaxSurge)
			}
			for _, i := range f.instances {
				if !g.wants(i) || !i.Ready {
					t.Errorf("%+v: %+v is left", g, i)
				}
			}
		}
		for _, n := range []int{5, 2, 0} {
			if err := f.run(t.Context(), Goal{Replicas: n, Revision: "v2", Generation: 1}, b); err != nil {
				t.Fatal(err)
			}
			if len(f.instances) != n {
				t.Errorf("scaled to %d: %d are left", n, len(f.instances))
			}
		}
	}
}

func TestRunSaysWhatItWaitedFor(t *testing.T) {
	f := &fleet{neverReady: "v2"}
	if err := f.run(t.Context(), Goal{Replicas: 2, Revision: "v1"}, Bounds{MaxSurge: 1}); err != nil {
		t.Fatal(err)
	}
	f.idle = make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	result := make(chan error)
	go func() { result <- f.run(ctx, Goal{Replicas: 2, Revision: "v2"}, Bounds{MaxSurge: 1}) }()
	<-f.idle
	cancel()
	err := <-result
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	for _, want := range []string{"0 of 2", "v2", "i3 to be ready", "i1 of revision v1 to be replaced"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not say %q", err, want)
		}
	}
	if len(f.instances) != 3 {
		t.Errorf("%d instances, want the 2 old ones and 1 new one", len(f.instances))
	}
	// The way back is open.
	if err := f.run(t.Context(), Goal{Replicas: 2, Revision: "v1"}, Bounds{MaxSurge: 1}); err != nil {
		t.Errorf("roll back: %v", err)
	}
}

func TestRunGivesUpOnAnInstanceThatEnds(t *testing.T) {
	f := &fleet{fails: "v2"}
	if err := f.run(t.Context(), Goal{Replicas: 2, Revision: "v1"}, Bounds{MaxSurge: 1}); err != nil {
		t.Fatal(err)
	}
	err := f.run(t.Context(), Goal{Replicas: 2, Revision: "v2"}, Bounds{MaxSurge: 1})
	if err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Fatalf("got %v, want the exit status", err)
	}
	if f.next != 3 {
		t.Errorf("%d instances were started, want 3: two old ones and one attempt", f.next)
	}
}

func TestRunReportsAFleetThatCannotStart(t *testing.T) {
	want := errors.New("out of memory")
	f := &fleet{startErr: want}
	if err := f.run(t.Context(), Goal{Replicas: 1, Revision: "v1"}, Bounds{MaxSurge: 1}); !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
}

func TestRunTakesNoStepOnceCancelled(t *testing.T) {
	f := &fleet{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.run(ctx, Goal{Replicas: 1, Revision: "v1"}, Bounds{MaxSurge: 1}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	if f.next != 0 {
		t.Errorf("%d instances were started after the end", f.next)
	}
}

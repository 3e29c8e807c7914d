package rolling

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// instance is one of the tests' world, in which revisions and restarts are told apart.
type instance struct {
	ID         string
	Revision   string
	Generation int // counts restarts
	Ready      bool
	Stopping   bool
	Failed     bool // it ended unasked and will not come back
}

// goal is what must exist in the end, of no generation below its own.
type goal struct {
	Replicas   int
	Revision   string
	Generation int
}

func (i instance) state() drivers.State {
	switch {
	case i.Stopping:
		return drivers.StateTerminating
	case i.Ready:
		return drivers.StateReady
	}
	return drivers.StateStarting
}

func plan(g goal, bounds drivers.Rolling, instances []instance) (Step, error) {
	var wanted, replaced []drivers.Instance
	for _, i := range instances {
		seen := drivers.Instance{ID: i.ID, State: i.state()}
		switch {
		case i.Failed:
		case i.Revision == g.Revision && i.Generation >= g.Generation:
			wanted = append(wanted, seen)
		default:
			replaced = append(replaced, seen)
		}
	}
	return Plan(g.Replicas, bounds, wanted, replaced)
}

func inst(id, revision string, flags string) instance {
	i := instance{ID: id, Revision: revision}
	for _, f := range flags {
		switch f {
		case 'r':
			i.Ready = true
		case 's':
			i.Stopping = true
		case 'f':
			i.Failed = true
		case '1':
			i.Generation = 1
		}
	}
	return i
}

func TestPlan(t *testing.T) {
	v1 := goal{Replicas: 3, Revision: "v1"}
	v2 := goal{Replicas: 3, Revision: "v2"}
	again := goal{Replicas: 2, Revision: "v1", Generation: 1}
	surge, inPlace := drivers.Rolling{MaxSurge: 1}, drivers.Rolling{MaxUnavailable: 1}
	for _, tt := range []struct {
		name      string
		goal      goal
		bounds    drivers.Rolling
		instances []instance
		want      Step
	}{
		{"nothing there", v1, surge, nil, Step{Start: 3}},
		{"scaled to nothing", goal{Revision: "v1"}, surge, []instance{inst("a", "v1", "r"), inst("b", "v1", "")}, Step{Stop: []string{"b", "a"}}},
		{"nothing wanted, nothing there", goal{Revision: "v1"}, surge, nil, Step{Done: true}},
		{"all there but one not ready", v1, surge, []instance{inst("a", "v1", "r"), inst("b", "v1", "r"), inst("c", "v1", "")}, Step{}},
		{"done", v1, surge, []instance{inst("a", "v1", "r"), inst("b", "v1", "r"), inst("c", "v1", "r")}, Step{Done: true}},
		{"one still stopping", v1, surge, []instance{inst("z", "v1", "s"), inst("a", "v1", "r"), inst("b", "v1", "r"), inst("c", "v1", "r")}, Step{}},
		{"scale in takes the newest", goal{Replicas: 1, Revision: "v1"}, surge, []instance{inst("a", "v1", "r"), inst("b", "v1", "r"), inst("c", "v1", "r")}, Step{Stop: []string{"c", "b"}}},
		{"scale in takes the unready one", goal{Replicas: 2, Revision: "v1"}, surge, []instance{inst("a", "v1", ""), inst("b", "v1", "r"), inst("c", "v1", "r")}, Step{Stop: []string{"a"}}},
		{"rollout starts first", v2, surge, []instance{inst("a", "v1", "r"), inst("b", "v1", "r"), inst("c", "v1", "r")}, Step{Start: 1}},
		{"rollout waits for the new one", v2, surge, []instance{inst("a", "v1", "r"), inst("b", "v1", "r"), inst("c", "v1", "r"), inst("d", "v2", "")}, Step{}},
		{"rollout stops an old one for a ready new one", v2, surge, []instance{inst("a", "v1", "r"), inst("b", "v1", "r"), inst("c", "v1", "r"), inst("d", "v2", "r")}, Step{Stop: []string{"a"}}},
		{"rollout waits until the old one is gone", v2, surge, []instance{inst("a", "v1", "rs"), inst("b", "v1", "r"), inst("c", "v1", "r"), inst("d", "v2", "r")}, Step{}},
		{"an unready old one goes first", v2, surge, []instance{inst("a", "v1", "r"), inst("b", "v1", ""), inst("c", "v1", "r"), inst("d", "v2", "r")}, Step{Stop: []string{"b"}}},
		{"old ones that are unready for the moment are kept", v2, surge, []instance{inst("a", "v1", ""), inst("b", "v1", ""), inst("c", "v1", ""), inst("d", "v2", "")}, Step{}},
		{"stop first", v2, inPlace, []instance{inst("a", "v1", "r"), inst("b", "v1", "r"), inst("c", "v1", "r")}, Step{Stop: []string{"a"}}},
		{"stop first, then start", v2, inPlace, []instance{inst("b", "v1", "r"), inst("c", "v1", "r")}, Step{Start: 1}},
		{"stop first waits for the new one", v2, inPlace, []instance{inst("b", "v1", "r"), inst("c", "v1", "r"), inst("d", "v2", "")}, Step{}},
		{"roll back from one that never got ready", v1, surge, []instance{inst("a", "v1", "r"), inst("b", "v1", "r"), inst("c", "v1", "r"), inst("d", "v2", "")}, Step{Stop: []string{"d"}}},
		{"restart replaces the same revision", again, surge, []instance{inst("a", "v1", "r"), inst("b", "v1", "r")}, Step{Start: 1}},
		{"restart is done", again, surge, []instance{inst("a", "v1", "r1"), inst("b", "v1", "r1")}, Step{Done: true}},
		{"what failed is not there", v1, surge, []instance{inst("a", "v1", "r"), inst("b", "v1", "r"), inst("c", "v1", "f")}, Step{Start: 1}},
		{"all at once", v2, drivers.Rolling{MaxUnavailable: 5}, []instance{inst("a", "v1", "r"), inst("b", "v1", "r"), inst("c", "v1", "r")}, Step{Stop: []string{"a", "b", "c"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := plan(tt.goal, tt.bounds, tt.instances)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Plan (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPlanRefuses(t *testing.T) {
	if _, err := plan(goal{Replicas: 1}, drivers.Rolling{}, nil); !errors.Is(err, drivers.ErrNoProgress) {
		t.Errorf("0/0: got %v, want ErrNoProgress", err)
	}
	if _, err := plan(goal{Replicas: 1}, drivers.Rolling{MaxSurge: -1, MaxUnavailable: 1}, nil); err == nil {
		t.Error("negative surge: no error")
	}
	if _, err := plan(goal{Replicas: -1}, drivers.Rolling{MaxSurge: 1}, nil); err == nil {
		t.Error("negative replicas: no error")
	}
}

// world is a runtime in which anything may happen between two steps.
type world struct {
	rnd       *rand.Rand
	instances []instance
	next      int
}

func (w *world) count(pred func(instance) bool) int {
	n := 0
	for _, i := range w.instances {
		if pred(i) {
			n++
		}
	}
	return n
}

func available(i instance) bool { return i.Ready && !i.Stopping }

func (w *world) start(g goal) {
	w.next++
	w.instances = append(w.instances, instance{ID: fmt.Sprint("i", w.next), Revision: g.Revision, Generation: g.Generation})
}

// apply carries a step out and returns an error when it breaks a bound.
func (w *world) apply(step Step, g goal, b drivers.Rolling) error {
	floor := g.Replicas - b.MaxUnavailable
	for _, id := range step.Stop {
		found := false
		for n := range w.instances {
			if i := &w.instances[n]; i.ID == id {
				if i.Stopping {
					return fmt.Errorf("%s was stopped twice", id)
				}
				wasReady := i.Ready
				i.Stopping, found = true, true
				if left := w.count(available); wasReady && left < floor {
					return fmt.Errorf("stopping %s leaves %d available, floor %d", id, left, floor)
				}
			}
		}
		if !found {
			return fmt.Errorf("%s was stopped and does not exist", id)
		}
	}
	for range step.Start {
		w.start(g)
		if n := len(w.instances); n > g.Replicas+b.MaxSurge {
			return fmt.Errorf("%d exist after a start, ceiling %d", n, g.Replicas+b.MaxSurge)
		}
	}
	return nil
}

// TestPlanKeepsItsBounds runs random changes through a world in which instances become
// ready, flap, crash and take their time to stop, and then, once the world has calmed
// down, demands that the goal is reached.
func TestPlanKeepsItsBounds(t *testing.T) {
	for seed := range uint64(4000) {
		w := &world{rnd: rand.New(rand.NewPCG(seed, 1))}
		b := drivers.Rolling{MaxSurge: w.rnd.IntN(4), MaxUnavailable: w.rnd.IntN(4)}
		if b == (drivers.Rolling{}) {
			b.MaxSurge = 1
		}
		goal := goal{Replicas: w.rnd.IntN(6), Revision: "v1"}
		for range goal.Replicas {
			w.start(goal)
			w.instances[len(w.instances)-1].Ready = true
		}
		var last func() string
		for change := range 4 {
			switch w.rnd.IntN(3) {
			case 0:
				goal.Replicas = w.rnd.IntN(7)
			case 1:
				goal.Revision = fmt.Sprint("v", w.rnd.IntN(3))
			case 2:
				goal.Generation++
			}
			// The last change is left alone, the others are overtaken in the middle.
			noisy := w.rnd.IntN(30)
			limit := noisy
			if change == 3 {
				limit = noisy + 1000
			}
			done := false
			for n := 0; n < limit && !done; n++ {
				step, err := plan(goal, b, w.instances)
				if err != nil {
					t.Fatal(err)
				}
				before := slices.Clone(w.instances)
				last = func() string { return fmt.Sprintf("%+v %+v: %+v -> %+v", goal, b, before, step) }
				if err := w.apply(step, goal, b); err != nil {
					t.Fatalf("seed %d: %v\n%s", seed, err, last())
				}
				done = step.Done
				w.happen(n < noisy)
			}
			if change == 3 && !done {
				t.Fatalf("seed %d: not done after %d steps; last: %s", seed, limit, last())
			}
		}
	}
}

// happen lets time pass: one thing changes. A calm world only goes forward.
func (w *world) happen(noisy bool) {
	if len(w.instances) == 0 {
		return
	}
	n := w.rnd.IntN(len(w.instances))
	i := &w.instances[n]
	crash := noisy && w.rnd.IntN(10) == 0
	switch {
	case i.Stopping || crash:
		w.instances = append(w.instances[:n:n], w.instances[n+1:]...)
	case noisy:
		i.Ready = w.rnd.IntN(3) > 0
	default:
		i.Ready = true
	}
}

// TestPlanStopsAtTheSurge: whatever the bounds, a revision that never gets ready costs at
// most MaxUnavailable of the old instances and creates at most MaxSurge + MaxUnavailable.
func TestPlanStopsAtTheSurge(t *testing.T) {
	for seed := range uint64(1000) {
		w := &world{rnd: rand.New(rand.NewPCG(seed, 2))}
		b := drivers.Rolling{MaxSurge: w.rnd.IntN(3), MaxUnavailable: w.rnd.IntN(3)}
		if b == (drivers.Rolling{}) {
			b.MaxUnavailable = 1
		}
		old := goal{Replicas: 1 + w.rnd.IntN(5), Revision: "v1"}
		for range old.Replicas {
			w.start(old)
			w.instances[len(w.instances)-1].Ready = true
		}
		goal := goal{Replicas: old.Replicas, Revision: "v2"}
		for quiet := 0; quiet < 2; {
			step, err := plan(goal, b, w.instances)
			if err != nil {
				t.Fatal(err)
			}
			if step.Done {
				t.Fatalf("seed %d: done with instances that are not ready", seed)
			}
			if err := w.apply(step, goal, b); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			gone := w.instances[:0:0]
			for _, i := range w.instances {
				if !i.Stopping {
					gone = append(gone, i)
				}
			}
			if quiet++; len(gone) != len(w.instances) || step.Start > 0 {
				quiet = 0
			}
			w.instances = gone
		}
		if got, want := w.count(available), max(old.Replicas-b.MaxUnavailable, 0); got < want {
			t.Errorf("seed %d, %+v: %d of %d old instances are left, want at least %d", seed, b, got, old.Replicas, want)
		}
		if got, limit := w.next-old.Replicas, b.MaxSurge+min(b.MaxUnavailable, old.Replicas); got > limit {
			t.Errorf("seed %d, %+v: %d new instances were started, want at most %d", seed, b, got, limit)
		}
	}
}

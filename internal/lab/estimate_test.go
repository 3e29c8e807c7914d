package lab

import (
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/scenarios"
)

// What a scenario says of its deployment is in the estimate: the sync, and the answers that make
// an instance ready.
func TestAnEstimateHoldsTheDeployments(t *testing.T) {
	s := short(t, "sessions: 100, sync_rate: 100000", "sessions: 3000, sync_rate: 1000", "trials: 1", "trials: 3")
	s.Designs[0].Signal.Interval, s.Designs[0].Signal.Rise = 500*time.Millisecond, 2
	s.Designs[1].Signal.Interval, s.Designs[1].Signal.Rise = 0, 0
	e := newCourse(Config{Scenarios: []*scenarios.Scenario{s}}, time.Now(), []drivers.Driver{&memoryDriver{}}).estimate()
	each := lead + handling + s.Length() + 3*time.Second
	if want := 6*each + 3*time.Second; e.Trials != 6 || e.Takes != want || e.Most != 6 || e.TakesAtMost != want || e.Commands || e.Prepares != nil {
		t.Errorf("estimate %+v, want 6 trials that take %v", e, want)
	}
}

func TestTheRestIsEstimatedByWhatWasMeasured(t *testing.T) {
	s, other := short(t), short(t, "name: short", "name: other")
	trials := newSchedule([]*scenarios.Scenario{s, other}, []drivers.Driver{&memoryDriver{}}, false).rest()
	naive, aware, elsewhere := trials[0], trials[1], trials[2]
	var m pace
	m.measured(naive, naive.said()+4*time.Second)
	m.measured(naive, naive.said()-time.Second) // of several the longest counts
	for name, tc := range map[string]struct {
		trial plannedTrial
		more  time.Duration
	}{
		"the same cell":    {naive, 4 * time.Second},
		"another design":   {aware, 4 * time.Second},
		"another scenario": {elsewhere, 4 * time.Second},
	} {
		if got, want := m.of(tc.trial), tc.trial.said()+tc.more; got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	m.measured(aware, aware.said()+time.Second)
	if got, want := m.of(aware), aware.said()+time.Second; got != want {
		t.Errorf("a cell that was measured itself: %v, want %v", got, want)
	}
	if got, want := m.all(trials[:2]), naive.said()+aware.said()+5*time.Second; got != want {
		t.Errorf("both: %v, want %v", got, want)
	}
}

// A run tells how long it will take before its first trial, and what is left in every update.
func TestARunSaysHowLongItWillTake(t *testing.T) {
	t.Parallel()
	s := short(t)
	var begins []Estimate
	var updates []Update
	cfg := Config{RunID: NewRunID(time.Now()), Dir: t.TempDir(), Scenarios: []*scenarios.Scenario{s}, Drivers: []drivers.Driver{&memoryDriver{}},
		Begins: func(e Estimate) {
			if len(updates) > 0 {
				t.Error("it began before it said how long it would take")
			}
			begins = append(begins, e)
		},
		Progress: func(u Update) { updates = append(updates, u) },
	}
	if err := Run(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if len(begins) != 1 || begins[0].Trials != 2 {
		t.Fatalf("estimates %+v, want one of 2 trials", begins)
	}
	first, last := updates[0], updates[len(updates)-1]
	if first.Left <= s.Length() || first.Left > begins[0].Takes {
		t.Errorf("%v left at first, want at most the estimate of %v and more than one load", first.Left, begins[0].Takes)
	}
	for _, u := range updates {
		if u.Measured != nil {
			skipIfBusy(t, u.Measured) // it was repeated
		}
	}
	if last.Left >= first.Left/2 {
		t.Errorf("%v left at last, and %v at first", last.Left, first.Left)
	}
}

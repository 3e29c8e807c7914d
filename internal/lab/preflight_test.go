package lab

import (
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/scenarios"
)

// The scenario's rate is the ceiling, 50 a second the floor; a scenario that asks for less than
// that has what it asks for.
func TestTheRateThatIsChosen(t *testing.T) {
	for _, tc := range []struct{ asked, held, want float64 }{
		{200, 1000, 200}, {200, 200, 200}, {200, 120, 120}, {200, 0, 50}, {30, 0, 30}, {30, 200, 30},
	} {
		s := short(t)
		s.Load.Rate = tc.asked
		p := &record.Preflight{Asked: tc.asked, Held: tc.held}
		if err := ChooseRates([]*scenarios.Scenario{s}, p); err != nil {
			t.Fatal(err)
		}
		instead := map[string]float64(nil)
		if tc.want != tc.asked {
			instead = map[string]float64{"short": tc.asked}
		}
		if s.Load.Rate != tc.want || !maps.Equal(p.Instead, instead) {
			t.Errorf("asked for %v, holds %v: %v a second instead of %v, want %v", tc.asked, tc.held, s.Load.Rate, p.Instead, tc.want)
		}
	}
}

// A rate at which a gate cannot be decided is refused, and not run.
func TestARateThatDecidesNothingIsRefused(t *testing.T) {
	s := short(t, "metric: failed, op: <=, limit: 0", "metric: success_rate, op: \">=\", limit: 98%") // 149 requests are enough, in a second
	if err := ChooseRates([]*scenarios.Scenario{s}, &record.Preflight{Asked: 200, Held: 100}); err == nil || s.Load.Rate != 200 {
		t.Errorf("%v, at %v a second", err, s.Load.Rate)
	}
}

func TestABusyMachine(t *testing.T) {
	for name, tc := range map[string]struct {
		idle float64 // of the CPUs
		want bool
	}{"idle": {1, false}, "half of it": {0.51, false}, "busy": {0.49, true}, "no CPU to spare": {0, true}} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			cpus := &cpuReader{sources: record.PressureSources{Idle: "test"}, idle: func() (time.Duration, bool) {
				return time.Duration(tc.idle * float64(time.Since(began))), true
			}}
			if got := busy(t.Context(), cpus); got != tc.want {
				t.Errorf("%s: busy is %v", name, got)
			}
			if took := time.Since(began); took != glance {
				t.Errorf("%s: looked for %v", name, took)
			}
		})
	}
	if busy(t.Context(), &cpuReader{}) {
		t.Error("a machine that does not tell is called busy")
	}
}

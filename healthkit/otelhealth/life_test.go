//go:build go1.25

package otelhealth_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollout-lab/rollout-lab/healthkit"
)

func TestPointsOfALife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := healthkit.New(healthkit.Config{Expect: []string{"a", "late"}})
		reader, registration := observed(t, r)
		base := float64(time.Now().Unix())
		a := register(t, r, "a", healthkit.Options{Generational: true, TTL: time.Minute})
		loop, err := r.RegisterLoop("sync", 10*time.Second)
		must(t, err)
		var late *healthkit.Component

		for _, step := range []struct {
			name string
			do   func()
			want map[string]float64
			gone []string
		}{
			{"begin", func() {}, map[string]float64{
				"ready": 0, "live": 1, "degraded": 0, "started": 0, "phase starting": 1, "phase serving": 0, "phase_changed_timestamp": base,
				"component_state a starting": 1, "component_state a ready": 0, "component_blocking a": 1, "component_missing late": 1,
				"component_state_transitions a": 0, "component_state_changed_timestamp a": base, "loop_stuck sync": 0, "loop_stalls sync": 0,
			}, []string{"time_to_ready", "component_generation a", "component_last_error_timestamp a", "component_missing a", "component_state late starting"}},
			{"ready after 2.5 s", func() {
				time.Sleep(2500 * time.Millisecond)
				late = register(t, r, "late", healthkit.Options{Optional: true})
				late.Ready()
				a.Generation(1 << 63)
				a.Ready()
			}, map[string]float64{
				"ready": 1, "degraded": 0, "started": 1, "phase starting": 0, "phase serving": 1, "phase_changed_timestamp": base + 2.5, "time_to_ready": 2.5, "generations_met": 1,
				"component_state a starting": 0, "component_state a ready": 1, "component_blocking a": 0, "component_state_transitions a": 1,
				"component_state_changed_timestamp a": base + 2.5, "component_generation a": 1 << 63, "component_generation_changed_timestamp a": base + 2.5,
			}, []string{"component_missing late"}},
			{"optional failed, loop stuck", func() {
				time.Sleep(7500 * time.Millisecond)
				late.Failed(errors.New("refused"))
			}, map[string]float64{
				"ready": 1, "live": 0, "degraded": 1, "component_state late failed": 1, "component_blocking late": 0, "component_last_error_timestamp late": base + 10,
				"loop_stuck sync": 1, "loop_stalls sync": 1,
			}, nil},
			{"loop goes on, report expires", func() {
				loop.Tick()
				loop.Idle()
				time.Sleep(time.Minute)
			}, map[string]float64{
				"ready": 0, "live": 1, "phase serving": 1, "component_state a stale": 1, "component_state a ready": 0, "component_blocking a": 1, "loop_stuck sync": 0, "loop_stalls sync": 1,
			}, nil},
			{"retracted", func() { late.Retract(); loop.Close() }, map[string]float64{"component_missing late": 1}, []string{
				"component_state late failed", "component_blocking late", "component_state_transitions late", "component_state_changed_timestamp late",
				"component_last_error_timestamp late", "component_reports_rejected late", "loop_stuck sync", "loop_stalls sync",
			}},
			{"lame duck, a report after the end", func() {
				a.Stopped("")
				a.Ready()
				must(t, r.Advance(healthkit.PhaseLameDuck, "SIGTERM"))
			}, map[string]float64{"ready": 0, "phase serving": 0, "phase lame-duck": 1, "component_state a stopped": 1, "component_reports_rejected a": 1}, nil},
		} {
			step.do()
			got := collect(t, reader)
			for key, want := range step.want {
				if v, ok := got[key]; !ok || v != want {
					t.Errorf("%s: %s = %v (there: %v), want %v", step.name, key, v, ok, want)
				}
			}
			for _, key := range step.gone {
				if v, ok := got[key]; ok {
					t.Errorf("%s: %s = %v, want no such point", step.name, key, v)
				}
			}
			if got["snapshot_version"] != float64(r.Snapshot().Version) {
				t.Errorf("%s: version %v, want %d", step.name, got["snapshot_version"], r.Snapshot().Version)
			}
		}
		must(t, registration.Unregister())
		if got := collect(t, reader); len(got) != 0 {
			t.Errorf("after it was unregistered: %v", got)
		}
		must(t, r.Close(t.Context()))
	})
}

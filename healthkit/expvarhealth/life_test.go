//go:build go1.25

package expvarhealth_test

import (
	"encoding/json"
	"errors"
	"expvar"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollout-lab/rollout-lab/healthkit"
	"github.com/rollout-lab/rollout-lab/healthkit/expvarhealth"
)

// figures are the numbers of a variable by their paths.
func figures(t *testing.T, v expvar.Var) map[string]float64 {
	t.Helper()
	var tree any
	if err := json.Unmarshal([]byte(v.String()), &tree); err != nil {
		t.Fatalf("%v: %s", err, v)
	}
	out := map[string]float64{}
	var walk func(path string, node any)
	walk = func(path string, node any) {
		switch node := node.(type) {
		case map[string]any:
			for key, value := range node {
				walk(path+" "+key, value)
			}
		case float64:
			out[strings.TrimPrefix(path, " ")] = node
		default:
			t.Errorf("%s is %v, want numbers alone", path, node)
		}
	}
	walk("", tree)
	return out
}

func TestFiguresOfALife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := float64(time.Now().Unix())
		r := healthkit.New(healthkit.Config{Expect: []string{"a", "late"}})
		v := expvarhealth.New(r)
		a := register(t, r, "a", healthkit.Options{Generational: true})
		loop, err := r.RegisterLoop("sync", 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		var late *healthkit.Component
		for _, step := range []struct {
			name string
			do   func()
			want map[string]float64
			gone []string
		}{
			{"begin", func() {}, map[string]float64{
				"ready": 0, "live": 1, "degraded": 0, "started": 0, "phase starting": 1, "phase serving": 0, "phase_changed_timestamp_seconds": base,
				"component a state starting": 1, "component a state ready": 0, "component a blocking": 1, "component_missing late": 1,
				"component a state_transitions_total": 0, "component a state_changed_timestamp_seconds": base, "loop sync stuck": 0, "loop sync stalls_total": 0,
			}, []string{"time_to_ready_seconds", "component a generation", "component a generation_changed_timestamp_seconds", "component a last_error_timestamp_seconds"}},
			{"ready after 2.5 s, at generation 0", func() {
				time.Sleep(2500 * time.Millisecond)
				late = register(t, r, "late", healthkit.Options{Optional: true})
				late.Ready()
				a.Generation(0)
				a.Ready()
			}, map[string]float64{
				"ready": 1, "started": 1, "phase serving": 1, "time_to_ready_seconds": 2.5, "generations_met": 1,
				"component a state ready": 1, "component a blocking": 0, "component a state_transitions_total": 1,
				"component a generation": 0, "component a generation_changed_timestamp_seconds": base + 2.5,
			}, []string{"component_missing late"}},
			{"optional failed, loop stuck", func() {
				time.Sleep(7500 * time.Millisecond)
				late.Failed(errors.New("secret"))
			}, map[string]float64{
				"ready": 1, "live": 0, "degraded": 1, "component late state failed": 1, "component late last_error_timestamp_seconds": base + 10,
				"loop sync stuck": 1, "loop sync stalls_total": 1,
			}, nil},
			{"retracted, a report after the end", func() {
				late.Retract()
				loop.Close()
				a.Stopped("")
				a.Ready()
			}, map[string]float64{"ready": 0, "component a state stopped": 1, "component a reports_rejected_total": 1}, []string{"component late state failed", "loop sync stuck"}},
		} {
			step.do()
			got := figures(t, v)
			for path, want := range step.want {
				if n, ok := got[path]; !ok || n != want {
					t.Errorf("%s: %s is %v (there: %v), want %v", step.name, path, n, ok, want)
				}
			}
			for _, path := range step.gone {
				if n, ok := got[path]; ok {
					t.Errorf("%s: %s is %v, want none", step.name, path, n)
				}
			}
			if got["snapshot_version"] != float64(r.Snapshot().Version) {
				t.Errorf("%s: version %v, want %d", step.name, got["snapshot_version"], r.Snapshot().Version)
			}
			if strings.Contains(v.String(), "secret") {
				t.Errorf("%s: a reason is shown: %s", step.name, v)
			}
		}
	})
}

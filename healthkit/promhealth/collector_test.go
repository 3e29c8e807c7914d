//go:build go1.25

package promhealth

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"

	"github.com/rollout-lab/rollout-lab/healthkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func register(t testing.TB, r *healthkit.Registry, name string, o healthkit.Options) *healthkit.Component {
	t.Helper()
	c, err := r.Register(name, o)
	must(t, err)
	return c
}

// gatherer checks every scrape for consistency, as a pedantic registry does.
func gatherer(t testing.TB, r *healthkit.Registry) prometheus.Gatherer {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	must(t, reg.Register(New(r)))
	return reg
}

// scrape returns the series by name and label values, such as
// "component_state a ready", without the namespace.
func scrape(t testing.TB, g prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := g.Gather()
	must(t, err)
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			key, ok := strings.CutPrefix(f.GetName(), Namespace+"_")
			if !ok {
				t.Errorf("metric %s is outside the namespace", f.GetName())
			}
			for _, l := range m.Label {
				key += " " + l.GetValue()
			}
			out[key] = value(f.GetType(), m)
		}
	}
	return out
}

func value(kind dto.MetricType, m *dto.Metric) float64 {
	if kind == dto.MetricType_COUNTER {
		return m.GetCounter().GetValue()
	}
	return m.GetGauge().GetValue()
}

func TestSeriesOfALife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := healthkit.New(healthkit.Config{Expect: []string{"a", "late"}})
		g := gatherer(t, r)
		base := float64(time.Now().Unix())
		a := register(t, r, "a", healthkit.Options{Generational: true, TTL: time.Minute})
		p, err := r.RegisterLoop("loop", 10*time.Second)
		must(t, err)
		var late *healthkit.Component

		for _, step := range []struct {
			name string
			do   func()
			want map[string]float64
			gone []string
		}{
			{"begin", func() {}, map[string]float64{
				"ready": 0, "live": 1, "degraded": 0, "started": 0, "phase starting": 1, "phase serving": 0, "phase_changed_timestamp_seconds": base,
				"component_state a starting": 1, "component_state a ready": 0, "component_blocking a": 1, "component_missing late": 1,
				"component_state_transitions_total a": 0, "component_state_changed_timestamp_seconds a": base, "loop_stuck loop": 0, "loop_stalls_total loop": 0,
			}, []string{"time_to_ready_seconds", "component_generation a", "component_last_error_timestamp_seconds a", "component_missing a", "component_state late starting"}},
			{"ready after 2.5 s", func() {
				time.Sleep(2500 * time.Millisecond)
				late = register(t, r, "late", healthkit.Options{Optional: true})
				late.Ready()
				a.Generation(7)
				a.Ready()
			}, map[string]float64{
				"ready": 1, "degraded": 0, "started": 1, "phase starting": 0, "phase serving": 1, "phase_changed_timestamp_seconds": base + 2.5, "time_to_ready_seconds": 2.5,
				"component_state a starting": 0, "component_state a ready": 1, "component_blocking a": 0, "component_state_transitions_total a": 1,
				"component_state_changed_timestamp_seconds a": base + 2.5, "component_generation a": 7, "component_generation_changed_timestamp_seconds a": base + 2.5,
			}, []string{"component_missing late"}},
			{"optional failed, loop stuck", func() {
				time.Sleep(7500 * time.Millisecond)
				late.Failed(errors.New("refused"))
			}, map[string]float64{
				"ready": 1, "live": 0, "degraded": 1, "component_state late failed": 1, "component_blocking late": 0, "component_last_error_timestamp_seconds late": base + 10,
				"loop_stuck loop": 1, "loop_stalls_total loop": 1,
			}, nil},
			{"loop goes on, report expires", func() {
				p.Tick()
				p.Idle()
				time.Sleep(time.Minute)
			}, map[string]float64{
				"ready": 0, "live": 1, "phase serving": 1, "time_to_ready_seconds": 2.5, "component_state a stale": 1, "component_state a ready": 0,
				"component_blocking a": 1, "component_blocking late": 0, "loop_stuck loop": 0, "loop_stalls_total loop": 1,
			}, nil},
			{"retracted", func() { late.Retract(); p.Close() }, map[string]float64{"component_missing late": 1}, []string{
				"component_state late failed", "component_blocking late", "component_state_transitions_total late", "component_state_changed_timestamp_seconds late",
				"component_last_error_timestamp_seconds late", "component_reports_rejected_total late", "loop_stuck loop", "loop_stalls_total loop",
			}},
			{"lame duck, a report after the end", func() {
				a.Stopped("")
				a.Ready()
				must(t, r.Advance(healthkit.PhaseLameDuck, "SIGTERM"))
			}, map[string]float64{"ready": 0, "phase serving": 0, "phase lame-duck": 1, "component_state a stopped": 1, "component_reports_rejected_total a": 1}, nil},
		} {
			step.do()
			got := scrape(t, g)
			for key, want := range step.want {
				if v, ok := got[key]; !ok || v != want {
					t.Errorf("%s: %s = %v (there: %v), want %v", step.name, key, v, ok, want)
				}
			}
			for _, key := range step.gone {
				if v, ok := got[key]; ok {
					t.Errorf("%s: %s = %v, want no such series", step.name, key, v)
				}
			}
			if got["snapshot_version"] != float64(r.Snapshot().Version) {
				t.Errorf("%s: version %v, want %d", step.name, got["snapshot_version"], r.Snapshot().Version)
			}
		}
		must(t, r.Close(t.Context()))
	})
}

func TestStateSetsAreWhole(t *testing.T) {
	r := healthkit.New(healthkit.Config{})
	register(t, r, "a", healthkit.Options{}).Degraded("slow")
	register(t, r, "b", healthkit.Options{})
	var states, phases []string
	ones := map[string]float64{}
	for key, v := range scrape(t, gatherer(t, r)) {
		words := strings.Fields(key)
		switch words[0] {
		case "component_state":
			ones[words[1]] += v
			if words[1] == "a" {
				states = append(states, words[2])
			}
		case "phase":
			ones["phase"] += v
			phases = append(phases, words[1])
		}
	}
	// The names come from the core: one that is added there must be added here.
	for i := range 256 {
		if s := healthkit.State(i).String(); !strings.HasPrefix(s, "state(") && !slices.Contains(states, s) {
			t.Errorf("state %s has no series", s)
		}
		if p := healthkit.Phase(i).String(); !strings.HasPrefix(p, "phase(") && !slices.Contains(phases, p) {
			t.Errorf("phase %s has no series", p)
		}
	}
	if want := map[string]float64{"a": 1, "b": 1, "phase": 1}; !maps.Equal(ones, want) {
		t.Errorf("got %v states that hold, want %v", ones, want)
	}
}

func TestNamesFollowTheConventions(t *testing.T) {
	r := healthkit.New(healthkit.Config{Expect: []string{"none"}})
	a := register(t, r, "a", healthkit.Options{})
	a.Generation(1)
	a.Failed(errors.New("x"))
	a.Ready()
	_, err := r.RegisterLoop("loop", time.Hour)
	must(t, err)
	families, err := gatherer(t, r).Gather()
	must(t, err)
	if len(families) < 19 {
		t.Errorf("got %d metrics, want all but the time to ready", len(families))
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	must(t, err)
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// A label that is not UTF-8 would make each scrape of the process fail.
func TestNamesAndReasonsThatAreNotUTF8(t *testing.T) {
	r := healthkit.New(healthkit.Config{Expect: []string{"\xff\n", "b"}})
	a := register(t, r, "a", healthkit.Options{LivenessOverride: true})
	a.Failed(errors.New("\xff"))
	must(t, r.Mention("\xff", "c"))
	must(t, r.Advance(healthkit.PhaseLameDuck, "\xff"))
	got := scrape(t, gatherer(t, r))
	if key := `component_missing "\xff\n"`; got[key] != 1 || got["component_missing b"] != 1 {
		t.Errorf("got %v, want what is missing, %s too", got, key)
	}
}

func TestDescribeNamesEveryMetric(t *testing.T) {
	r := healthkit.New(healthkit.Config{})
	a := register(t, r, "a", healthkit.Options{})
	a.Ready()
	described := make(chan *prometheus.Desc, 100)
	New(r).Describe(described)
	close(described)
	known := map[*prometheus.Desc]bool{}
	for d := range described {
		known[d] = true
	}
	metrics := make(chan prometheus.Metric, 1000)
	New(r).Collect(metrics)
	close(metrics)
	for m := range metrics {
		if !known[m.Desc()] {
			t.Errorf("%v is not described", m.Desc())
		}
	}
}

// Scrapes while components come, report and go: each is of one version.
func TestScrapesWhileTheRegistryChanges(t *testing.T) {
	r := healthkit.New(healthkit.Config{AllowEmpty: true})
	g := gatherer(t, r)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for _, name := range []string{"a", "b"} {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				c, err := r.Register(name, healthkit.Options{})
				if err != nil {
					t.Error(err)
					return
				}
				c.Ready()
				c.Failed(nil)
				c.Retract()
			}
		})
	}
	for range 300 {
		got := scrape(t, g)
		blocked := got["component_blocking a"] + got["component_blocking b"]
		if (got["ready"] == 1) != (blocked == 0) {
			t.Errorf("ready %v with %v blocking components: not of one version", got["ready"], blocked)
		}
	}
	close(stop)
	wg.Wait()
}

func TestAttributesAreShownWhenNamed(t *testing.T) {
	r := healthkit.New(healthkit.Config{})
	a := register(t, r, "a", healthkit.Options{})
	must(t, a.SetAttribute("member", "leader"))
	must(t, a.SetAttribute("term", "4711"))
	for name, tt := range map[string]struct {
		named []string
		want  []string
	}{
		"none by default": {nil, nil},
		"the named one":   {[]string{"member"}, []string{"component_attribute member a leader"}},
		"once":            {[]string{"member", "none", "member"}, []string{"component_attribute member a leader"}},
	} {
		t.Run(name, func(t *testing.T) {
			reg := prometheus.NewPedanticRegistry()
			must(t, reg.Register(New(r, tt.named...)))
			var got []string
			for key, v := range scrape(t, reg) {
				if strings.HasPrefix(key, "component_attribute") && v == 1 {
					got = append(got, key)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

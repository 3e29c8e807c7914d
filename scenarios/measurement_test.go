package scenarios

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

func measurement() Measurement {
	return Measurement{
		URL: "https://host:8443", Path: "/a?b=c", Status: "2xx", Header: map[string]string{"Authorization": "Bearer ${token}"}, Insecure: true,
		Rate: 100, Trials: record.TrialRange{Least: 2, Most: 2}, Baseline: 3 * time.Second,
		Run: []string{"deploy", "${not_a_variable}", `"quoted" <&>`}, Reset: []string{"undo"}, Timeout: time.Minute, Settle: 7 * time.Second, Max: time.Hour,
		Limits: []MeasurementLimit{{"failed", "<=", "3"}, {"downtime", "<=", "250ms"}, {"success_rate", ">=", "99.9%"}},
	}
}

// What a command line says becomes a scenario, word for word; only in headers something is
// filled in, and what is secret is written nowhere.
func TestAMeasurementIsAScenario(t *testing.T) {
	const secret = "very-secret-token"
	o := Options{Vars: map[string]string{"token": secret}, Secret: map[string]bool{"token": true}}
	s, err := measurement().Scenario(o)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"deploy", "${not_a_variable}", `"quoted" <&>`}; !slices.Equal(s.Action.Run, want) {
		t.Errorf("run %q, want %q", s.Action.Run, want)
	}
	if got := s.Target.Request.Header["Authorization"]; got != "Bearer "+secret {
		t.Errorf("header %q", got)
	}
	if strings.Contains(s.Source, secret) {
		t.Errorf("the source holds the secret:\n%s", s.Source)
	}
	if len(s.Gates) != 3 || *s.Gates[1].Limit != 250 || *s.Gates[2].Limit != 0.999 {
		t.Errorf("gates %+v", s.Gates)
	}
	if s.Phases.Baseline != (Phase{time.Second, 4 * time.Second}) || s.Target.Request.Path != "/a?b=c" || !s.Target.TLS.Insecure {
		t.Errorf("baseline %v, path %s, TLS %+v", s.Phases.Baseline, s.Target.Request.Path, s.Target.TLS)
	}
}

func TestABadMeasurementIsToldWithoutPlaces(t *testing.T) {
	m := measurement()
	m.Limits[0].Metric = "faild"
	_, err := m.Scenario(Options{Vars: map[string]string{"token": "x"}})
	if err == nil || !strings.HasPrefix(err.Error(), "no metric") || strings.Contains(err.Error(), "measure:") {
		t.Errorf("got %v, want what is wrong and no line of a text that nobody wrote", err)
	}
}

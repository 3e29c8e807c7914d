package otelhealth_test

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.uber.org/goleak"

	"github.com/rollout-lab/rollout-lab/healthkit"
	"github.com/rollout-lab/rollout-lab/healthkit/otelhealth"
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

// observed has a real SDK observe a registry.
func observed(t testing.TB, r *healthkit.Registry) (*sdk.ManualReader, metric.Registration) {
	t.Helper()
	reader := sdk.NewManualReader()
	registration, err := otelhealth.Register(sdk.NewMeterProvider(sdk.WithReader(reader)).Meter(otelhealth.ScopeName), r)
	must(t, err)
	return reader, registration
}

// collect returns the points by name and attribute values, such as "component_state a ready",
// without the namespace.
func collect(t testing.TB, reader *sdk.ManualReader) map[string]float64 {
	t.Helper()
	var all metricdata.ResourceMetrics
	must(t, reader.Collect(t.Context(), &all))
	out := map[string]float64{}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			name, ok := strings.CutPrefix(m.Name, otelhealth.Namespace+".")
			if !ok || m.Description == "" {
				t.Errorf("metric %s (%q) is outside the namespace or says nothing", m.Name, m.Description)
			}
			switch data := m.Data.(type) {
			case metricdata.Gauge[int64]:
				points(out, name, data.DataPoints)
			case metricdata.Gauge[float64]:
				points(out, name, data.DataPoints)
				if want := map[bool]string{true: "", false: "s"}[name == "component_generation"]; m.Unit != want {
					t.Errorf("%s has the unit %q, want %q", m.Name, m.Unit, want)
				}
			case metricdata.Sum[int64]:
				points(out, name, data.DataPoints)
				if !data.IsMonotonic {
					t.Errorf("%s is no counter", m.Name)
				}
			default:
				t.Errorf("%s is a %T", m.Name, data)
			}
		}
	}
	return out
}

func points[N int64 | float64](out map[string]float64, name string, all []metricdata.DataPoint[N]) {
	for _, p := range all {
		key := name
		for _, a := range p.Attributes.ToSlice() { // sorted by their names
			key += " " + a.Value.AsString()
		}
		out[key] = float64(p.Value)
	}
}

// TestOneCollectionIsOneVersion, however fast the registry changes.
func TestOneCollectionIsOneVersion(t *testing.T) {
	r := healthkit.New(healthkit.Config{})
	a := register(t, r, "a", healthkit.Options{})
	reader, _ := observed(t, r)
	done := make(chan struct{})
	var reports sync.WaitGroup
	reports.Add(1)
	go func() {
		defer reports.Done()
		for {
			select {
			case <-done:
				return
			default:
				a.Ready()
				a.Failed(errors.New("x"))
			}
		}
	}()
	for range 200 {
		got := collect(t, reader)
		if got["ready"] != got["component_state a ready"] || got["ready"] == got["component_blocking a"] {
			t.Errorf("ready %v, of a ready %v and blocking %v", got["ready"], got["component_state a ready"], got["component_blocking a"])
		}
	}
	close(done)
	reports.Wait()
}

// refusing is a meter that makes no instrument of one name.
type refusing struct {
	metric.Meter
	name string
}

var errRefused = errors.New("refused")

func (m refusing) Int64ObservableGauge(name string, o ...metric.Int64ObservableGaugeOption) (metric.Int64ObservableGauge, error) {
	if name == m.name {
		return nil, errRefused
	}
	return m.Meter.Int64ObservableGauge(name, o...)
}

func (m refusing) Float64ObservableGauge(name string, o ...metric.Float64ObservableGaugeOption) (metric.Float64ObservableGauge, error) {
	if name == m.name {
		return nil, errRefused
	}
	return m.Meter.Float64ObservableGauge(name, o...)
}

func TestErrorsAreTheMeters(t *testing.T) {
	r := healthkit.New(healthkit.Config{})
	for name, want := range map[string]error{"healthkit.ready": errRefused, "healthkit.time_to_ready": errRefused, "": nil} {
		if _, err := otelhealth.Register(refusing{noop.Meter{}, name}, r); !errors.Is(err, want) {
			t.Errorf("without %q: %v, want %v", name, err, want)
		}
	}
}

func ExampleRegister() {
	registry := healthkit.New(healthkit.Config{})
	provider := sdk.NewMeterProvider(sdk.WithReader(sdk.NewManualReader()))
	meter := provider.Meter(otelhealth.ScopeName, metric.WithInstrumentationAttributes(attribute.String("part", "orders")))
	if _, err := otelhealth.Register(meter, registry); err != nil {
		panic(err)
	}
}

// Package otelhealth shows a healthkit registry by the metric API of OpenTelemetry.
//
// Instruments are observed: each collection is a function of one snapshot, so all its points are
// of the same version, and a component that was retracted has no points any more. States are state
// sets, one point for each state with the value 1 for the one that holds, so that a query needs no
// numbers for names. Times are Unix times in seconds, not ages.
//
// The names are those of promhealth with dots: an exporter to Prometheus makes them the same.
// Reasons are not shown: they are text without bounds. /statusz has them.
package otelhealth

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/rollout-lab/rollout-lab/healthkit"
)

// ScopeName is a name for the Meter.
const ScopeName = "github.com/rollout-lab/rollout-lab/healthkit/otelhealth"

// Namespace is the first word of the name of every instrument.
const Namespace = "healthkit"

// Register has a meter observe the registry until the Registration is unregistered. Two registries
// of one process need meters whose scopes differ, by metric.WithInstrumentationAttributes for
// example. Errors are the meter's.
//
//	healthkit.ready, .live, .degraded, .started     0 or 1
//	healthkit.phase{phase}                          state set
//	healthkit.phase_changed_timestamp
//	healthkit.time_to_ready                         once it was ready
//	healthkit.snapshot_version                      counts changes of any kind
//	healthkit.generations_met                       0 or 1
//	healthkit.component_state{component,state}      state set
//	healthkit.component_state_changed_timestamp{component}
//	healthkit.component_state_transitions{component}
//	healthkit.component_reports_rejected{component}
//	healthkit.component_blocking{component}         0 or 1
//	healthkit.component_generation{component}       once it has reported one
//	healthkit.component_generation_changed_timestamp{component}
//	healthkit.component_last_error_timestamp{component}
//	healthkit.component_missing{component}          1: expected, not registered
//	healthkit.loop_stuck{loop}                      0 or 1
//	healthkit.loop_stalls{loop}
func Register(meter metric.Meter, r *healthkit.Registry) (metric.Registration, error) {
	i, err := newInstruments(meter)
	if err != nil {
		return nil, fmt.Errorf("healthkit instruments: %w", err)
	}
	registration, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		i.observe(r.Snapshot(), o)
		return nil
	}, i.all...)
	if err != nil {
		return nil, fmt.Errorf("healthkit instruments: %w", err)
	}
	return registration, nil
}

// instruments are all of them. Flags have no unit: of one with unit "1" an exporter to Prometheus
// makes a ratio.
type instruments struct {
	all []metric.Observable

	ready, live, degraded, started, phase, version, generationsMet metric.Int64ObservableGauge
	state, blocking, missing, stuck                                metric.Int64ObservableGauge
	transitions, rejected, stalls                                  metric.Int64ObservableCounter

	phaseChanged, timeToReady, stateChanged, generationChanged, lastError metric.Float64ObservableGauge
	// A generation may be above what an int64 holds.
	generation metric.Float64ObservableGauge
}

func newInstruments(meter metric.Meter) (*instruments, error) {
	i := &instruments{}
	for _, one := range []struct {
		to         *metric.Int64ObservableGauge
		name, help string
	}{
		{&i.ready, "ready", "Whether requests should be routed to this process."},
		{&i.live, "live", "Whether the process makes progress."},
		{&i.degraded, "degraded", "Whether the process is ready with something amiss."},
		{&i.started, "started", "Whether the process was ever ready."},
		{&i.phase, "phase", "Phase of the life of the process, 1 for the one it is in."},
		{&i.version, "snapshot_version", "Version of the snapshot that was observed."},
		{&i.generationsMet, "generations_met", "Whether the policy on generations holds."},
		{&i.state, "component_state", "State of a component, 1 for the one it is in."},
		{&i.blocking, "component_blocking", "Whether the component keeps the process unready."},
		{&i.missing, "component_missing", "Always 1, for a component that is expected and not registered."},
		{&i.stuck, "loop_stuck", "Whether the work loop has missed its limit."},
	} {
		made, err := meter.Int64ObservableGauge(Namespace+"."+one.name, metric.WithDescription(one.help))
		if err != nil {
			return nil, err
		}
		*one.to, i.all = made, append(i.all, made)
	}
	for _, one := range []struct {
		to               *metric.Int64ObservableCounter
		name, unit, help string
	}{
		{&i.transitions, "component_state_transitions", "{transition}", "Changes of state of the component."},
		{&i.rejected, "component_reports_rejected", "{report}", "Reports that the component made after its end."},
		{&i.stalls, "loop_stalls", "{stall}", "How often the work loop has missed its limit."},
	} {
		made, err := meter.Int64ObservableCounter(Namespace+"."+one.name, metric.WithUnit(one.unit), metric.WithDescription(one.help))
		if err != nil {
			return nil, err
		}
		*one.to, i.all = made, append(i.all, made)
	}
	for _, one := range []struct {
		to               *metric.Float64ObservableGauge
		name, unit, help string
	}{
		{&i.generation, "component_generation", "", "Generation of state that the component serves."},
		{&i.phaseChanged, "phase_changed_timestamp", "s", "Unix time at which the phase began."},
		{&i.timeToReady, "time_to_ready", "s", "Time from the creation of the registry to the first readiness; absent before that."},
		{&i.stateChanged, "component_state_changed_timestamp", "s", "Unix time at which the state of the component began."},
		{&i.generationChanged, "component_generation_changed_timestamp", "s", "Unix time at which the component took up its generation."},
		{&i.lastError, "component_last_error_timestamp", "s", "Unix time of the last failure reported; absent without one."},
	} {
		made, err := meter.Float64ObservableGauge(Namespace+"."+one.name, metric.WithUnit(one.unit), metric.WithDescription(one.help))
		if err != nil {
			return nil, err
		}
		*one.to, i.all = made, append(i.all, made)
	}
	return i, nil
}

// observe is the snapshot as points.
func (i *instruments) observe(s *healthkit.Snapshot, o metric.Observer) {
	o.ObserveInt64(i.ready, truth(s.Ready()))
	o.ObserveInt64(i.live, truth(s.Live()))
	o.ObserveInt64(i.degraded, truth(s.Degraded()))
	o.ObserveInt64(i.started, truth(s.Started))
	for _, p := range healthkit.AllPhases() {
		o.ObserveInt64(i.phase, truth(p == s.Phase), with("phase", p.String()))
	}
	o.ObserveFloat64(i.phaseChanged, unix(s.PhaseSince))
	if s.Started {
		o.ObserveFloat64(i.timeToReady, s.FirstReady.Sub(s.Created).Seconds())
	}
	o.ObserveInt64(i.version, int64(s.Version))
	o.ObserveInt64(i.generationsMet, truth(s.Generations.Met))
	for _, c := range s.Components {
		i.observeComponent(c, o)
	}
	for _, name := range s.Missing {
		o.ObserveInt64(i.missing, 1, with("component", name))
	}
	for _, l := range s.Loops {
		loop := with("loop", l.Name)
		o.ObserveInt64(i.stuck, truth(l.Stuck), loop)
		o.ObserveInt64(i.stalls, int64(l.Stalls), loop)
	}
}

func (i *instruments) observeComponent(c healthkit.ComponentStatus, o metric.Observer) {
	component := with("component", c.Name)
	for _, state := range healthkit.AllStates() {
		o.ObserveInt64(i.state, truth(state == c.State),
			metric.WithAttributes(attribute.String("component", c.Name), attribute.String("state", state.String())))
	}
	o.ObserveFloat64(i.stateChanged, unix(c.Since), component)
	o.ObserveInt64(i.transitions, int64(c.Transitions), component)
	o.ObserveInt64(i.rejected, int64(c.Rejected), component)
	o.ObserveInt64(i.blocking, truth(c.Blocking()), component)
	if c.HasGeneration {
		o.ObserveFloat64(i.generation, float64(c.Generation), component)
		o.ObserveFloat64(i.generationChanged, unix(c.GenerationSince), component)
	}
	if !c.LastErrorAt.IsZero() {
		o.ObserveFloat64(i.lastError, unix(c.LastErrorAt), component)
	}
}

func with(key, value string) metric.MeasurementOption {
	return metric.WithAttributes(attribute.String(key, value))
}

func truth(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func unix(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

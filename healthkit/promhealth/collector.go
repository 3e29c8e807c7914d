// Package promhealth shows a healthkit registry to Prometheus.
//
// A [Collector] holds no metrics of its own: each scrape is a function of one
// snapshot, so all series of a scrape are of the same version and a component
// that was retracted has no series any more. States are state sets, one series
// for each state with the value 1 for the one that holds, so that a query needs
// no numbers for names. Times are Unix timestamps, not ages: the age is
// time() - metric, also between two scrapes and after the wall clock was set.
//
// Serve /metrics on the health port (RunPlan.Health): it is answered until the end of
// the process there, and as an endpoint it would close just when the drain is to be
// watched.
//
// Reasons are not shown: they are text without bounds, and a label value is a
// series. /statusz has them.
package promhealth

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rollout-lab/rollout-lab/healthkit"
)

// Namespace is the first word of the name of every metric.
const Namespace = "healthkit"

// Collector is a prometheus.Collector. It is safe for concurrent use.
//
//	healthkit_ready, _live, _degraded, _started       0 or 1
//	healthkit_phase{phase}                            state set
//	healthkit_phase_changed_timestamp_seconds
//	healthkit_time_to_ready_seconds                   once it was ready
//	healthkit_snapshot_version                        counts changes of any kind
//	healthkit_generations_met                         0 or 1
//	healthkit_component_state{component,state}        state set
//	healthkit_component_state_changed_timestamp_seconds{component}
//	healthkit_component_state_transitions_total{component}
//	healthkit_component_reports_rejected_total{component}
//	healthkit_component_blocking{component}           0 or 1
//	healthkit_component_generation{component}         once it has reported one
//	healthkit_component_generation_changed_timestamp_seconds{component}
//	healthkit_component_last_error_timestamp_seconds{component}
//	healthkit_component_missing{component}            1: expected, not registered
//	healthkit_component_attribute{component,attribute,value}  1, of those that New names
//	healthkit_loop_stuck{loop}                        0 or 1
//	healthkit_loop_stalls_total{loop}
type Collector struct {
	registry   *healthkit.Registry
	attributes []string
}

// New returns a Collector of the registry. Two registries of one process need
// different labels, for example by prometheus.WrapRegistererWith.
//
// Of the attributes of components (Component.SetAttribute) those with the named
// keys are shown, none by default: each value is a series, so name those that
// have few, such as the role of a member of a cluster.
func New(r *healthkit.Registry, attributes ...string) *Collector {
	attributes = slices.Clone(attributes)
	slices.Sort(attributes)
	return &Collector{r, slices.Compact(attributes)}
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(Namespace+"_"+name, help, labels, nil)
}

var (
	ready       = desc("ready", "Whether requests should be routed to this process.")
	live        = desc("live", "Whether the process makes progress.")
	degraded    = desc("degraded", "Whether the process is ready with something amiss.")
	started     = desc("started", "Whether the process was ever ready.")
	phase       = desc("phase", "Phase of the life of the process, 1 for the one it is in.", "phase")
	phaseSince  = desc("phase_changed_timestamp_seconds", "Unix time at which the phase began.")
	timeToReady = desc("time_to_ready_seconds", "Time from the creation of the registry to the first readiness; absent before that.")
	version     = desc("snapshot_version", "Version of the snapshot that was scraped.")
	gensMet     = desc("generations_met", "Whether the policy on generations holds.")

	state           = desc("component_state", "State of a component, 1 for the one it is in.", "component", "state")
	stateSince      = desc("component_state_changed_timestamp_seconds", "Unix time at which the state of the component began.", "component")
	transitions     = desc("component_state_transitions_total", "Changes of state of the component.", "component")
	rejected        = desc("component_reports_rejected_total", "Reports that the component made after its end.", "component")
	blocking        = desc("component_blocking", "Whether the component keeps the process unready.", "component")
	generation      = desc("component_generation", "Generation of state that the component serves.", "component")
	generationSince = desc("component_generation_changed_timestamp_seconds", "Unix time at which the component took up its generation.", "component")
	lastErrorAt     = desc("component_last_error_timestamp_seconds", "Unix time of the last failure reported; absent without one.", "component")
	missing         = desc("component_missing", "Always 1, for a component that is expected and not registered.", "component")
	attribute       = desc("component_attribute", "Always 1, for an attribute of the component and its value.", "component", "attribute", "value")

	stuck  = desc("loop_stuck", "Whether the work loop has missed its limit.", "loop")
	stalls = desc("loop_stalls_total", "How often the work loop has missed its limit.", "loop")
)

// Describe implements prometheus.Collector.
func (c *Collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		ready, live, degraded, started, phase, phaseSince, timeToReady, version, gensMet,
		state, stateSince, transitions, rejected, blocking, generation, generationSince, lastErrorAt, missing, attribute,
		stuck, stalls,
	} {
		out <- d
	}
}

// Collect implements prometheus.Collector. It runs no check and waits for none.
func (c *Collector) Collect(out chan<- prometheus.Metric) {
	collect(c.registry.Snapshot(), c.attributes, out)
}

// collect is the snapshot as metrics, with the named attributes.
func collect(s *healthkit.Snapshot, attributes []string, out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge(ready, truth(s.Ready()))
	gauge(live, truth(s.Live()))
	gauge(degraded, truth(s.Degraded()))
	gauge(started, truth(s.Started))
	for _, p := range healthkit.AllPhases() {
		gauge(phase, truth(p == s.Phase), p.String())
	}
	gauge(phaseSince, unix(s.PhaseSince))
	if s.Started {
		gauge(timeToReady, s.FirstReady.Sub(s.Created).Seconds())
	}
	gauge(version, float64(s.Version))
	gauge(gensMet, truth(s.Generations.Met))

	for _, c := range s.Components {
		for _, st := range healthkit.AllStates() {
			gauge(state, truth(st == c.State), c.Name, st.String())
		}
		gauge(stateSince, unix(c.Since), c.Name)
		counter(transitions, c.Transitions, c.Name)
		counter(rejected, c.Rejected, c.Name)
		gauge(blocking, truth(c.Blocking()), c.Name)
		if c.HasGeneration {
			gauge(generation, float64(c.Generation), c.Name)
			gauge(generationSince, unix(c.GenerationSince), c.Name)
		}
		if !c.LastErrorAt.IsZero() {
			gauge(lastErrorAt, unix(c.LastErrorAt), c.Name)
		}
		for _, key := range attributes {
			if value, ok := c.Attributes[key]; ok {
				gauge(attribute, 1, c.Name, key, value)
			}
		}
	}
	for _, name := range s.Missing {
		gauge(missing, 1, name)
	}
	for _, p := range s.Loops {
		gauge(stuck, truth(p.Stuck), p.Name)
		counter(stalls, p.Stalls, p.Name)
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func unix(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

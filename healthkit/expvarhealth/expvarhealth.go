// Package expvarhealth shows a healthkit registry as a variable of package expvar, for those who
// read /debug/vars: the figures of promhealth under the same names, as one JSON object of one
// snapshot. Flags are 0 or 1 and times are Unix times in seconds, so that collectors which take
// numbers alone lose nothing. Reasons are not shown: /statusz has them, for those who may see them.
//
// It is a package of its own because importing expvar adds /debug/vars to http.DefaultServeMux.
package expvarhealth

import (
	"encoding/json"
	"expvar"
	"fmt"
	"time"

	"github.com/rollout-lab/rollout-lab/healthkit"
)

// New returns the registry as a variable. It is safe for concurrent use.
//
//	expvar.Publish("healthkit", expvarhealth.New(registry))
//
// What may be missing is so until there is something to tell: time_to_ready_seconds, and of a
// component its generation and the time of its last error.
func New(r *healthkit.Registry) expvar.Var { return variable{r} }

type variable struct{ registry *healthkit.Registry }

// String implements expvar.Var.
func (v variable) String() string {
	text, err := json.Marshal(processOf(v.registry.Snapshot()))
	if err != nil {
		// There are but numbers and names in it. Still, it must be JSON.
		return fmt.Sprintf("%q", err)
	}
	return string(text)
}

type process struct {
	Ready           flag                 `json:"ready"`
	Live            flag                 `json:"live"`
	Degraded        flag                 `json:"degraded"`
	Started         flag                 `json:"started"`
	Phase           map[string]flag      `json:"phase"`
	PhaseChanged    seconds              `json:"phase_changed_timestamp_seconds"`
	TimeToReady     *float64             `json:"time_to_ready_seconds,omitempty"`
	SnapshotVersion uint64               `json:"snapshot_version"`
	GenerationsMet  flag                 `json:"generations_met"`
	Components      map[string]component `json:"component"`
	Missing         map[string]flag      `json:"component_missing"`
	Loops           map[string]loop      `json:"loop"`
}

type component struct {
	State             map[string]flag `json:"state"`
	StateChanged      seconds         `json:"state_changed_timestamp_seconds"`
	Transitions       uint64          `json:"state_transitions_total"`
	Rejected          uint64          `json:"reports_rejected_total"`
	Blocking          flag            `json:"blocking"`
	Generation        *uint64         `json:"generation,omitempty"`
	GenerationChanged seconds         `json:"generation_changed_timestamp_seconds,omitempty"`
	LastError         seconds         `json:"last_error_timestamp_seconds,omitempty"`
}

type loop struct {
	Stuck  flag   `json:"stuck"`
	Stalls uint64 `json:"stalls_total"`
}

func processOf(s *healthkit.Snapshot) process {
	p := process{
		Ready: flag(s.Ready()), Live: flag(s.Live()), Degraded: flag(s.Degraded()), Started: flag(s.Started),
		Phase: set(healthkit.AllPhases(), s.Phase), PhaseChanged: unix(s.PhaseSince),
		SnapshotVersion: s.Version, GenerationsMet: flag(s.Generations.Met),
		Components: map[string]component{}, Missing: map[string]flag{}, Loops: map[string]loop{},
	}
	if s.Started {
		took := s.FirstReady.Sub(s.Created).Seconds()
		p.TimeToReady = &took
	}
	for _, c := range s.Components {
		p.Components[c.Name] = componentOf(c)
	}
	for _, name := range s.Missing {
		p.Missing[name] = true
	}
	for _, l := range s.Loops {
		p.Loops[l.Name] = loop{flag(l.Stuck), l.Stalls}
	}
	return p
}

func componentOf(c healthkit.ComponentStatus) component {
	out := component{
		State: set(healthkit.AllStates(), c.State), StateChanged: unix(c.Since),
		Transitions: c.Transitions, Rejected: c.Rejected, Blocking: flag(c.Blocking()),
	}
	if c.HasGeneration {
		out.Generation, out.GenerationChanged = &c.Generation, unix(c.GenerationSince)
	}
	if !c.LastErrorAt.IsZero() {
		out.LastError = unix(c.LastErrorAt)
	}
	return out
}

// flag is 0 or 1.
type flag bool

func (f flag) MarshalJSON() ([]byte, error) {
	if f {
		return []byte("1"), nil
	}
	return []byte("0"), nil
}

// seconds is a Unix time.
type seconds float64

func unix(t time.Time) seconds { return seconds(float64(t.UnixMicro()) / 1e6) }

// set is a state set: each state that there is, and which of them holds.
func set[T interface {
	comparable
	String() string
}](all []T, now T) map[string]flag {
	out := make(map[string]flag, len(all))
	for _, one := range all {
		out[one.String()] = one == now
	}
	return out
}

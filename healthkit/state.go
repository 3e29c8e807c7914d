package healthkit

import "fmt"

// State is what a component is, as the registry judges it: the last report
// after time to live and hysteresis.
type State uint8

// The states of a component. The zero State is Starting, so a component that
// has reported nothing is never taken for a ready one.
const (
	// Starting has no result yet. Not ready.
	Starting State = iota
	// Ready can serve.
	Ready
	// Degraded can serve, with less than it should have. Counts as ready.
	Degraded
	// Failed cannot serve. Not ready, unless its policy is FailOpen or
	// FailShared.
	Failed
	// Stale last reported longer ago than its time to live. Not ready, unless
	// the outage of a FailShared dependency excuses it. It is set by the
	// registry and cannot be reported.
	Stale
	// Draining finishes what it has. Only Stopped can follow.
	Draining
	// Stopped is over: no later report is accepted.
	Stopped
)

var stateNames = [...]string{"starting", "ready", "degraded", "failed", "stale", "draining", "stopped"}

// AllStates returns every state, Starting first.
func AllStates() []State { return every[State](len(stateNames)) }

func every[T ~uint8](n int) []T {
	all := make([]T, n)
	for i := range all {
		all[i] = T(i)
	}
	return all
}

// String returns the lower-case name of the state.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// MarshalText writes the name of the state.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// fails tells whether a component in this state is known not to work, or not
// known to.
func (s State) fails() bool { return s == Failed || s == Stale }

// serves tells whether a component in this state can do its work.
func (s State) serves() bool { return s == Ready || s == Degraded }

// Phase is where the process is in its life. It only goes forward.
type Phase uint8

// The phases, in their order.
const (
	// PhaseStarting lasts until everything required is ready for the first time.
	PhaseStarting Phase = iota
	// PhaseServing begins with the first readiness. It stays when readiness is
	// lost again: Ready says whether to route here, the phase says how far the
	// process has come.
	PhaseServing
	// PhaseLameDuck is unready, so that balancers turn away, but serves every
	// request as before.
	PhaseLameDuck
	// PhaseDraining still serves, and every answer carries Connection: close
	// (see Middleware); at its end the listeners close and requests in flight
	// are finished.
	PhaseDraining
	// PhaseStopped has nothing in flight and takes no requests.
	PhaseStopped
)

var phaseNames = [...]string{"starting", "serving", "lame-duck", "draining", "stopped"}

// AllPhases returns every phase, in their order.
func AllPhases() []Phase { return every[Phase](len(phaseNames)) }

// String returns the lower-case name of the phase.
func (p Phase) String() string {
	if int(p) < len(phaseNames) {
		return phaseNames[p]
	}
	return fmt.Sprintf("phase(%d)", uint8(p))
}

// MarshalText writes the name of the phase.
func (p Phase) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// mayFollow is the whole table of moves that Advance makes. Lame duck may follow starting,
// because a process can be told to stop before it was ever ready.
func (p Phase) mayFollow(from Phase) bool {
	switch p {
	case PhaseLameDuck:
		return from == PhaseStarting || from == PhaseServing
	case PhaseDraining:
		return from == PhaseLameDuck
	case PhaseStopped:
		return from == PhaseDraining
	}
	return false
}

// FailurePolicy says what a required component that fails does to readiness.
type FailurePolicy uint8

const (
	// FailClosed makes the process unready. The default.
	FailClosed FailurePolicy = iota
	// FailOpen keeps the process ready (degraded) when the component fails
	// after it was ready once. A component that was never ready, and a stale
	// one, block as ever.
	FailOpen
	// FailShared is FailOpen for a dependency that every instance of the
	// service shares, such as its database: when it fails, evicting every
	// instance repairs nothing and turns errors into refused connections. So
	// its failure also excuses each component that depends on it
	// (Options.DependsOn, over any number of steps), was ready once and has
	// failed too or gone stale, since who waits for an answer reports nothing:
	// they degrade the process and do not make it unready. The price: a
	// component that fails or falls silent for a reason of its own during the
	// outage is excused too, for as long as the outage lasts. It is no outage
	// when the shared component itself is stale: then nobody knows.
	FailShared
)

var policyNames = [...]string{"fail-closed", "fail-open", "fail-shared"}

// String returns "fail-closed", "fail-open" or "fail-shared".
func (p FailurePolicy) String() string {
	if int(p) < len(policyNames) {
		return policyNames[p]
	}
	return fmt.Sprintf("policy(%d)", uint8(p))
}

// MarshalText writes the name of the policy.
func (p FailurePolicy) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

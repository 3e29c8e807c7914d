package drivers

import "context"

// FaultKind is something bad that a runtime can be asked to do to what it runs.
type FaultKind string

// The kinds of faults that are a runtime's business.
const (
	FaultKill      FaultKind = "kill"       // an instance ends at once, without a warning
	FaultPause     FaultKind = "pause"      // an instance is frozen: its connections stay, nothing answers
	FaultCPU       FaultKind = "cpu"        // an instance gets a share of one processor and no more
	FaultStop      FaultKind = "stop"       // a dependency is ended without a warning and stays away
	FaultEvict     FaultKind = "evict"      // an instance is told to go by the runtime's own API, which may refuse
	FaultNodeDrain FaultKind = "node-drain" // all that a node runs is told to go, and nothing new comes to it
)

// FaultKinds lists them in the order in which tables show them.
func FaultKinds() []FaultKind {
	return []FaultKind{FaultKill, FaultPause, FaultCPU, FaultStop, FaultEvict, FaultNodeDrain}
}

// Lasting says whether the fault is there until it is healed. Any other one is over as soon as
// it has happened, and what follows is the runtime's doing.
func (k FaultKind) Lasting() bool { return k != FaultKill && k != FaultEvict }

// Fault is one of them, done to one thing.
type Fault struct {
	Kind     FaultKind
	Instance string  // of the subject; node-drain: one that runs on the node
	Service  string  // stop: the dependency
	CPUs     float64 // cpu: of one processor, above 0
}

// Faulter is an optional ability of a Driver: it says which kinds of faults its environments
// can be asked for here. A driver that does not say can do none.
type Faulter interface {
	// Faults has an entry for each kind that the driver knows: nil where it can be done, else
	// why not, which wraps ErrUnsupported or ErrUnavailable and has a hint. It changes nothing.
	Faults(ctx context.Context) map[FaultKind]error
}

// Injector is an optional ability of an Env, that of every Env of a Faulter.
type Injector interface {
	// Inject returns once the fault is in effect. What was begun is undone when it fails. Faults
	// of different things may be there at the same time, and so may a change of the
	// environment. The error wraps ErrUnsupported where the runtime has no way to do it.
	//
	// Whatever is there still is healed by Close, and by Sweep after the lab was killed.
	Inject(ctx context.Context, f Fault) (Injection, error)
}

// Injection is a fault that was injected.
type Injection interface {
	// Proof asks for the fault in another way than the one by which it was injected: what the
	// kernel, the engine or the API server says of the thing now. seen is what was found, in one
	// line for people, whether or not it is there. A fault that does not last has left a proof
	// for good: who killed it, and why it was told to go.
	Proof(ctx context.Context) (seen string, there bool, err error)
	// Heal returns once the fault is gone. It is idempotent, does nothing about a fault that
	// does not last, and is no error where the runtime has replaced what was broken.
	Heal(ctx context.Context) error
}

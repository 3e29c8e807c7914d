package drivers

import (
	"context"
	"net/netip"
	"time"
)

// Versioner is an optional ability of a Driver: it knows the version of its runtime. One
// without it has the version of the lab itself.
type Versioner interface {
	// Version names the runtime and its version in one line, for the record. Two runs on
	// equal runtimes have equal ones.
	Version(ctx context.Context) string
}

// Describer is an optional ability of a Driver: it says what it can and cannot do here.
type Describer interface {
	// Describe returns lines for people, each one a fact. It changes nothing, and has
	// something to say also when Check fails.
	Describe(ctx context.Context) []string
}

// Capable is an optional ability of a Driver whose reader has to know something of it to
// understand what was measured.
type Capable interface {
	Capabilities() Capabilities
}

// Capabilities are what is true of a driver wherever it runs. A run's record holds them, so
// that its reports need no driver's name to explain a figure.
type Capabilities struct {
	// LabBalancer: the runtime brings no balancer, and requests go through the lab's own,
	// that of drivers/fleet.
	LabBalancer bool
	// Routing says in one sentence, for people, how the balancer learns that an instance is
	// ready and that it stops.
	Routing string
	// Existing: it deploys nothing and changes nothing. It takes what answers at Stack.Address
	// as it is, and no other stack; the other drivers take none that has an address.
	Existing bool
}

// CapabilitiesOf are a driver's, or none where it says nothing.
func CapabilitiesOf(d Driver) Capabilities {
	if c, ok := d.(Capable); ok {
		return c.Capabilities()
	}
	return Capabilities{}
}

// Preparer is an optional ability of a Driver that needs something first which takes its time
// and is not the target's doing: a cluster, the lab's program for an empty image.
type Preparer interface {
	// Prepare makes what every deployment needs, and returns at once where it is there. The
	// lab calls it before each Deploy, whose time it is not to take; a Deploy that nobody has
	// prepared does it itself.
	Prepare(ctx context.Context) error
}

// ProbeIntervaler is an optional ability of a Driver whose instances cannot be asked
// directly as often as the lab likes to, because each question takes a detour that costs.
type ProbeIntervaler interface {
	// ProbeInterval is the time from one question to an instance to the next.
	ProbeInterval() time.Duration
}

// Observer is an optional ability of a Driver: it says what its runtime says of instances that
// are there already, whoever deployed them.
type Observer interface {
	// Observe begins to watch what is called so in the words of the runtime. It changes
	// nothing, and returns once the instances that exist now are known. The error wraps
	// ErrUnavailable where the runtime cannot be asked; what is not there is an error, too.
	Observe(ctx context.Context, what string) (Observation, error)
}

// Observation is what is being watched.
type Observation interface {
	// Watch and Close are as those of an Env, but that closing ends the watch alone. The
	// instances that exist at the start come first: Started, and Ready where they are. Addr
	// of an event is empty where the instance cannot be asked directly from here.
	Watch() <-chan Event
	Close(ctx context.Context) error
}

// Closer is an optional ability of a Driver: it has something of its own, beside what it
// deploys, that must be taken down.
type Closer interface {
	// Close is called once nothing more is deployed. It is idempotent, and removes at once
	// what can be removed when ctx ends.
	Close(ctx context.Context) error
}

// Noter is an optional ability of an Env: what was deployed differs from the stack that was
// asked for, where the runtime has no words for it.
type Noter interface {
	// Notes lists the differences, each in one line for people that names the service:
	// times that were rounded above all. It is the same for equal stacks.
	Notes() []string
}

// Tracer is an optional ability of an Env: requests go through a balancer that can pass
// connections on unread, so that no answer names the instance that it comes from, and the
// balancer tells beside it where each connection went.
type Tracer interface {
	// Trace says which way the connection from a client's address (what the client has for
	// its local one) took. The address may have been used before: what is said is of the
	// last connection from there. It is settled before the client can see a byte, or the end,
	// of its connection. ok is false when none has come from there so far.
	Trace(client netip.AddrPort) (way Way, ok bool)
}

// Way is where a balancer of connections sent one of them.
type Way struct {
	Instance string    // that it was passed on to, or tried; "" when there was none
	Reason   string    // why it was not passed on, one of those in this package or a balancer's own; "" when it was
	At       time.Time // when the balancer took it, with a monotonic reading
}

// Logger is an optional ability of an Env: the last lines that an instance wrote.
type Logger interface {
	Logs(ctx context.Context, instanceID string) (string, error)
}

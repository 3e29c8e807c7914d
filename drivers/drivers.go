// Package drivers is the contract between the lab and a runtime: what a driver must do
// to deploy a stack and to scale, restart and roll its subject. It holds the contract,
// the types that it speaks in and the errors that it knows; no behaviour of any runtime
// and nothing that depends on one. Each driver lives in a package of its own below this
// one and must pass the conformance suite in drivers/drivertest.
//
// # Writing a driver
//
// Implement Driver and Env, run drivertest from a test of your package, and list the
// driver in cmd/rollout-lab, or offer it with cli.Main, as examples/driver does. Errors are
// returned raw, with context, wrapping one of the sentinels where it applies; the lab
// classifies them once. Keep no state outside the runtime: whatever a driver creates carries
// the run's ID (a label, a unit's name, an environment variable), so that Sweep finds it after
// a crash.
//
// What drivers share can be imported as well: drivers/fleet is an Env for a runtime that
// starts and stops instances and balances nothing, drivers/lifecycle is what every other Env
// has in common with it, drivers/owner names the lab's process in what is left of a run,
// drivers/ports hands out ports of this machine, and drivers/program provides the lab's
// program where there is nothing to run it.
//
// # Optional abilities
//
// A driver, or an environment, that can do more says so by implementing one of these. The
// lab asks for each by a type assertion, in this order, and does without where there is none.
//
//   - Describer, of a Driver: after Check, by rollout-lab doctor alone
//   - Versioner, of a Driver: after Check, for the record
//   - Supporter and Examiner, of a Driver: before anything is deployed, also where Check fails
//   - Capable and ProbeIntervaler, of a Driver: before Deploy, for the record of each trial
//   - Preparer, of a Driver: before each Deploy
//   - Noter, of an Env: once, after Deploy
//   - Tracer, of an Env: at any time until Close
//   - Observer, of a Driver: before the first trial, where the user wants to see what it says
//   - Faulter, of a Driver: before anything is deployed, where a scenario asks for faults
//   - Injector and Logger, of an Env: at any time until Close
//   - Closer, of a Driver: once, after the last environment was closed
package drivers

import (
	"context"
	"errors"
	"time"
)

// Sentinel errors. Drivers wrap them; callers ask with errors.Is.
var (
	// ErrUnavailable: the runtime cannot be used here. Its text says what is missing
	// and, in a Hint, how to get it.
	ErrUnavailable = errors.New("driver not available")
	// ErrNotServing: an instance that had to serve did not in time.
	ErrNotServing = errors.New("instance does not serve")
	// ErrBusy: another change of the environment is under way.
	ErrBusy = errors.New("another change is under way")
	// ErrClosed: the environment was closed.
	ErrClosed = errors.New("environment is closed")
	// ErrNoRevision: the stack has no revision of that name.
	ErrNoRevision = errors.New("no revision")
	// ErrUnsupported: the runtime has no way to do what the stack asks for.
	ErrUnsupported = errors.New("not supported by this driver")
)

// HintError is an error with advice for the person who sees it.
type HintError struct {
	Err  error
	Hint string // one sentence, lower case, no full stop
}

func (e *HintError) Error() string { return e.Err.Error() }
func (e *HintError) Unwrap() error { return e.Err }

// Driver deploys stacks on one kind of runtime. Its methods may be called concurrently.
type Driver interface {
	// Name is the driver's name as users type it: process, docker, kind, systemd.
	Name() string

	// Check reports whether the driver can run here. It must be quick (a second or
	// two), must change nothing, and must wrap ErrUnavailable, with a hint, when
	// something is missing.
	Check(ctx context.Context) error

	// Deploy starts the stack and returns once every instance of it serves, judged by
	// probing it directly and not by its health signal. On error nothing is left
	// behind; when ctx ends first it stops soon, whatever it has begun, and the error
	// wraps what ctx ended with. The caller must Close the environment.
	Deploy(ctx context.Context, stack Stack) (Env, error)

	// Sweep removes whatever the given run left behind, also when its lab was killed;
	// an empty run ID means every run whose lab no longer lives. It never touches what
	// a living lab owns unless that run is named, nor what is not a lab's, whatever it is
	// called. It is idempotent and returns what it removed, for people, and an error for
	// what it could not.
	Sweep(ctx context.Context, runID string) ([]string, error)
}

// Env is one deployed stack. Its methods may be called concurrently, but there is at
// most one of Scale, Restart and Rollout under way at a time: a second one is refused at
// once with ErrBusy, and does not disturb the first.
type Env interface {
	// URL is the base URL that the load goes to: scheme and host, no path, no final
	// slash. Its scheme is https where TLS is spoken there. It does not change while the
	// environment lives.
	URL() string

	// Endpoint is the base URL of a named port of a dependency, reachable from the lab.
	Endpoint(ctx context.Context, service, port string) (string, error)

	// Instances lists the subject's instances that exist now, oldest first.
	Instances(ctx context.Context) ([]Instance, error)

	// Scale, Restart and Rollout change the subject and return when the runtime itself
	// says that the change is complete: as many instances as asked for, all of the
	// wanted revision, all ready by the signal that the stack names, and the old ones
	// gone. When ctx ends first they stop where they are, leave the environment
	// usable, and the error says what they waited for. When they give up before, because a
	// new instance ended or will never serve, the error wraps ErrNotServing: that is the
	// subject's failure, and any other error is the runtime's. Scaling to 0 is legal.
	//
	// After a Rollout every instance that is started, by whatever change, runs what
	// Stack.At says of that revision; a rollout to the one before goes back to what that
	// ran. A revision that the stack does not have is refused with ErrNoRevision, and
	// nothing is changed.
	Scale(ctx context.Context, replicas int) error
	Restart(ctx context.Context) error
	Rollout(ctx context.Context, revision string) error

	// Watch returns what the runtime says about the subject's instances, from before
	// the first instance of the stack was started, each event once and in order. The channel is closed by
	// Close, after the last event. A driver that loses its source of events must send
	// an event of kind Lost, not hide it. Each call returns a channel of its own that
	// starts from the beginning, and a slow reader must lose nothing.
	Watch() <-chan Event

	// Close stops and removes everything that the stack consists of, and waits for it.
	// It is idempotent. Instances get their grace; when ctx ends they get none, as far as
	// the runtime lets a grace be taken back that has begun. When something could not be
	// removed the error says so, and Sweep of the run removes it once it can be. No
	// goroutine of the environment goes on after it.
	Close(ctx context.Context) error
}

// Stack is what is deployed: the subject, which is scaled, restarted and rolled, and the
// dependencies that it needs and that nobody touches.
type Stack struct {
	RunID string // stamped on everything that is created
	Name  string // of this deployment within the run: letters, digits, dashes

	Dependencies []Service // started first, in this order, one instance each; stopped last
	Subject      Service
	Replicas     int    // of the subject; 0 is legal
	Revision     string // of the subject at first

	// Revisions, unless it is nil, are what the subject runs at each revision, by its name.
	// There are no others then, and Revision is one of them. nil means that every revision
	// is the same program, which is told of its name by ${revision}. Drivers ask At and
	// Services, not this.
	Revisions map[string]Variation

	// Address, unless it is "", is where the subject answers already, as scheme and host. Such a
	// stack deploys nothing, see Capabilities.Existing; of its Subject a name, one port and
	// what it Serves are known.
	Address string

	// Objects, unless it is nil, is what the subject is instead. A driver whose runtime
	// has no such objects refuses the stack, see RefuseObjects.
	Objects *Objects

	Balancer Balancer
	Rolling  Rolling
}

// Service is a program with named ports.
//
// Args and the values of Env may hold placeholders that the driver fills in:
//
//	${instance}        the instance's ID
//	${revision}        the revision to run
//	${listen.PORT}     host:port to listen on for the named port of this instance
//	${port.PORT}       the number of that port alone
//	${addr.SERVICE.PORT}  host:port at which an instance of SERVICE is reached from here
type Service struct {
	Name  string // letters, digits, dashes
	Args  []string
	Env   map[string]string
	Ports []string // names; the first is where it serves requests
	// Wire is how the first port is spoken to, by the load and by those who ask. Where it is
	// not plain HTTP/1.1, a balancer of the lab's passes its connections on unread, unless
	// Balancer.Terminate says otherwise. Every other port is plain HTTP/1.1.
	Wire Wire

	// Image and Exec say what to run instead of the driver's own program: an image that
	// the runtime has or can get, or the path of a program. At most one of them is set;
	// a driver that cannot run it says so in Deploy. Such a program finds in its environment
	// Env, what the runtime gives to any program, and nothing of the lab's: no setting that
	// nobody asked for, and no mark to find it by.
	Image string
	Exec  string
	// Fixed are the numbers of ports, by name, at which the program listens whatever it
	// is told, for one that knows no ${listen.PORT}. A runtime in which instances share
	// one address cannot run it.
	Fixed map[string]int

	// Signal is what the runtime learns the instance's readiness from.
	Signal Probe
	// Notify: the service tells its supervisor of its readiness by sd_notify. A runtime
	// that listens to that believes it and leaves Signal alone; the others ignore it.
	Notify bool
	// Watchdog is how long a service that notifies may stay silent before its
	// supervisor kills it; 0 means for ever.
	Watchdog time.Duration
	// Socket: the runtime holds the listener of the first port and hands it to the
	// service, so that the address stays open while an instance is restarted. A driver
	// that cannot do that refuses it.
	Socket bool
	// Startup and Liveness are asked by runtimes that know such probes, and by no other:
	// until Startup succeeds nothing else is asked, and an instance that fails Liveness
	// is started again. Kind none means that there is no such probe.
	Startup, Liveness Probe
	// PreStop is how long it takes from the moment at which an instance is to stop, and is no
	// longer routed to, until it is asked to: Kubernetes has a hook for that, and drivers/fleet
	// waits in the place of runtimes that have none. StopGrace begins after it.
	PreStop time.Duration
	// Serves is a real request that an instance answers only if it truly serves. It is
	// asked directly, past the balancer, and never decides about routing.
	Serves Probe

	// StopGrace is how long an instance may take to stop after it was asked to, before
	// it is killed.
	StopGrace time.Duration
	// RestartOnExit: an instance that ends unasked is started again, at once and with
	// the same ID, as a supervisor would.
	RestartOnExit bool
	// Limits bound what one instance may use, where the runtime can see to it.
	Limits Limits
}

// Limits are the resources that an instance may use. 0 means no limit.
type Limits struct {
	CPUs   float64 // processor time a second, in seconds: 0.5 is half of one CPU
	Memory int64   // bytes
}

// ProbeKind is how an instance is asked.
type ProbeKind string

// The kinds of probe.
const (
	ProbeNone ProbeKind = "none" // a running instance is a ready one
	ProbeTCP  ProbeKind = "tcp"  // ready when the port accepts a connection
	ProbeHTTP ProbeKind = "http" // ready when the request is answered as expected
	// ProbeCommand: ready when Command, run beside the instance, exits with status 0.
	ProbeCommand ProbeKind = "command"
	// ProbeImage: ready when the health check that comes with the image says so.
	ProbeImage ProbeKind = "image"
)

// Probe is one way of asking an instance how it is.
type Probe struct {
	Kind   ProbeKind
	Port   string // name of the port asked; tcp and HTTP only
	Path   string // HTTP only
	Header map[string]string
	Status int    // HTTP only; the expected status, 0 means 200
	Body   string // HTTP only; when not "" the exact body that the answer must have
	// Of Service.Serves only, which no runtime asks by itself.
	Method   string            `json:",omitempty"` // "" means GET
	Sent     []byte            `json:",omitempty"` // the request's body
	Statuses []int             `json:",omitempty"` // expected instead of Status: any of them
	Answer   map[string]string `json:",omitempty"` // headers that the answer must have, with these values
	Matches  string            `json:",omitempty"` // a regular expression that its body must match somewhere
	Wire     Wire              // HTTP only; how the port is spoken to
	// Command only: the program and its arguments, which may hold placeholders.
	Command []string

	Interval time.Duration // from the start of one probe to the start of the next
	Timeout  time.Duration // of one probe
	Rise     int           // successes in a row that make an unready instance ready, at least 1
	Fall     int           // failures in a row that make a ready instance unready, at least 1
}

// Policy is how a balancer picks an endpoint.
type Policy string

// The balancer's policies.
const (
	RoundRobin       Policy = "round-robin"
	LeastConnections Policy = "least-connections"
)

// Balancer is how requests reach the subject, for runtimes that bring no balancer of
// their own.
type Balancer struct {
	Policy Policy // "" means RoundRobin
	// DeregisterFirst: the balancer stops routing to an instance at the moment that its stop
	// is asked for. False means that it learns of it from Signal alone.
	DeregisterFirst bool
	// Terminate, unless it is nil, is whom the balancer is to its clients: it speaks TLS with
	// them, reads their requests and sends each one to an instance, in that one's own way. A
	// driver whose runtime brings its own balancer refuses it.
	Terminate *Identity
}

// Identity is a server's certificate and the key to it.
type Identity struct {
	Certificate []byte // PEM, with what is between it and its root
	Key         []byte // PEM
}

// Rolling is how instances are replaced in a restart or a rollout. The tags are for
// scenarios, which are written in the same words.
type Rolling struct {
	MaxSurge       int `yaml:"max_surge" doc:"instances that may exist above the wanted number"`
	MaxUnavailable int `yaml:"max_unavailable" doc:"instances that may be missing below the wanted number"`
}

// Instance is one instance of the subject as the runtime sees it.
type Instance struct {
	ID       string
	Revision string
	State    State
	Addr     string            // host:port of its first port, reachable from the lab, past any balancer
	Ports    map[string]string // host:port of every port, by name
}

// State is the runtime's verdict about an instance.
type State string

// The states of an instance.
const (
	StateStarting    State = "starting"    // exists, never ready so far
	StateReady       State = "ready"       // requests are routed to it
	StateUnready     State = "unready"     // was ready, is not
	StateTerminating State = "terminating" // asked to stop, still exists
)

// Event is something that the runtime says about an instance of the subject.
type Event struct {
	At       time.Time // with a monotonic reading; the moment that it took effect
	Kind     EventKind
	Instance string
	Revision string
	Addr     string // of a Started event: host:port of the instance's first port, as in Instance.Addr
	// Detail is for people: a probe's answer, an exit status, last lines of a log. Where a process
	// ended with a status, what says so (Gone, or a Started that is not the first) has the words
	// "exit status 3", as ExitStatus reads them.
	Detail string
}

// EventKind names what happened to an instance.
type EventKind string

// The kinds of events.
const (
	Started     EventKind = "started"     // it was created and runs (again)
	Ready       EventKind = "ready"       // requests are routed to it from here on
	Unready     EventKind = "unready"     // no new request is routed to it from here on
	Terminating EventKind = "terminating" // it was asked to stop; routing may go on
	Gone        EventKind = "gone"        // it no longer exists
	Lost        EventKind = "lost"        // the source of events broke; there may be a gap here
)

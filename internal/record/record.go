// Package record is the raw evidence of a run: what was planned, what became of every
// request, what the runtime said and what direct probes saw. It defines the types and
// the files; it draws no conclusions (see timeline and judge) and imports nothing of
// the lab.
//
// Every time in a record is an offset from the trial's base, one monotonic instant;
// the wall clock appears once, as text, in the trial's description.
package record

import (
	"fmt"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// Class says what became of one request, judged at the client. Everything but OK is a
// failure.
type Class string

// The classes of a request's outcome. An HTTP answer with an unexpected status has the
// class HTTPStatus(code).
const (
	OK        Class = "ok"         // expected status, expected body, whole body, before the deadline
	Refused   Class = "refused"    // nobody listened
	Reset     Class = "reset"      // the connection was reset before the answer was complete
	Timeout   Class = "timeout"    // no complete answer by the deadline, counted from the intended time
	Truncated Class = "truncated"  // the answer began and its body was cut short
	WrongBody Class = "wrong_body" // a complete answer with another body than expected
	// WrongHeader: a complete answer of the expected status without a header that it must have.
	WrongHeader Class = "wrong_header"
	// TLS: a certificate that is not to be trusted, or a handshake that one of the two refused.
	TLS Class = "tls"
	// RefusedRetryable: a server of HTTP/2 said that it did not process the request (GOAWAY
	// with an earlier stream as its last, REFUSED_STREAM): a client that repeats loses nothing.
	RefusedRetryable Class = "refused_retryable"
	EOF              Class = "eof"     // the connection was closed before an answer began
	DNS              Class = "dns"     // the name did not resolve
	Harness          Class = "harness" // the harness's own trouble (out of descriptors or ports): the trial is invalid
	Other            Class = "other"   // none of the above; the sample's Reason holds the error's text

	// Unsent is the class of hits that the schedule had and that were never sent. No
	// sample carries it, for there is none; counts of failures do.
	Unsent Class = "unsent"
)

// HTTPStatus is the class of a complete answer with an unexpected status code.
func HTTPStatus(code int) Class { return Class(fmt.Sprintf("http_%03d", code)) }

// Expectation says what a request must meet with.
type Expectation string

// The expectations: most requests must be served, some must be denied. One whose session is
// revoked meanwhile may be either, for as long as a service may go by what it knew before, and
// must be denied from then on.
const (
	Serve       Expectation = "serve"
	Deny        Expectation = "deny"
	Either      Expectation = "either"
	DenyRevoked Expectation = "deny_revoked"
)

var expectations = []Expectation{Serve, Deny, Either, DenyRevoked}

// MustDeny says whether a request must be denied.
func (e Expectation) MustDeny() bool { return e == Deny || e == DenyRevoked }

// Sample is the outcome of one request.
type Sample struct {
	Seq      uint64        // number of the hit in the schedule, from 0
	Stream   string        // name of its stream
	Request  int           // number among the stream's requests, or among those that must be denied, from 0
	Expect   Expectation   // what it had to meet with
	Intended time.Duration // when the schedule wanted it sent, from the trial's base
	Sent     time.Duration // when it was handed to the transport
	Done     time.Duration // when its fate was known
	Class    Class
	Status   int    // HTTP status, 0 when there was no answer
	Attempts int    // connections that the transport took for it; more than 1 is a hidden retry
	Bytes    int64  // body bytes read
	Instance string // who answered, as the answer says; "" when unknown
	Revision string // what revision answered
	Reason   string // the answer's own reason for refusing, or the error's text for Other
}

// Breach reports whether a request that had to be denied was served.
func (s *Sample) Breach() bool { return s.Expect.MustDeny() && s.Status >= 200 && s.Status < 300 }

// Latency is the response time from the intended send time, the one that counts.
func (s *Sample) Latency() time.Duration { return s.Done - s.Intended }

// EventKind names what happened at an instant of the trial.
type EventKind = drivers.EventKind

// The kinds of events. The first group is what the runtime says of an instance, the
// second is the lab's own course of action.
const (
	Started     = drivers.Started
	Ready       = drivers.Ready
	Unready     = drivers.Unready
	Terminating = drivers.Terminating
	Gone        = drivers.Gone
	Lost        = drivers.Lost // the runtime's event stream broke: what follows may be incomplete

	LoadStarted    EventKind = "load_started"
	LoadEnded      EventKind = "load_ended"
	ActionStarted  EventKind = "action_started"
	ActionDone     EventKind = "action_done"     // the runtime itself says that the action is complete
	ActionFailed   EventKind = "action_failed"   // the target did not get there, or not in time; Detail holds the error
	ActionError    EventKind = "action_error"    // the runtime did not do it; Detail holds the error
	ActionStopped  EventKind = "action_stopped"  // the runtime did not complete it, and need not have; Detail says how it ended
	ActionWithheld EventKind = "action_withheld" // requests failed before it, so it was not begun
	TrialInterrupt EventKind = "interrupted"     // the trial was cut short (signal)

	// Of a fault. Event.Fault is its name and Event.Instance what it was done to, "" where that
	// is no instance of the subject.
	FaultInjected EventKind = "fault_injected" // it is in effect
	FaultProven   EventKind = "fault_proven"   // something else than what injected it says so; Detail holds what was seen
	FaultHealed   EventKind = "fault_healed"   // it was taken back, and the same something says that it is gone
	FaultError    EventKind = "fault_error"    // the lab could not inject, prove or heal it; Detail holds the error
)

// Event is something that happened at an instant: said by the runtime, or done by the lab.
type Event struct {
	At       time.Duration `json:"at_ns"`
	Kind     EventKind     `json:"kind"`
	Instance string        `json:"instance,omitempty"`
	Revision string        `json:"revision,omitempty"`
	Fault    string        `json:"fault,omitempty"`
	Detail   string        `json:"detail,omitempty"`
}

// ProbeResult is one direct request to one instance, past any balancer: the truth that
// the runtime's verdict is held against.
type ProbeResult struct {
	At       time.Duration // when it was sent
	Took     time.Duration
	Instance string
	Revision string // as the runtime says, not as the instance answers
	OK       bool   // it answered a request as a working instance must
	Class    Class
	Reason   string
}

// Pressure is a reading of the machine's CPUs. Waited is how long, in all that went before, a
// task was ready to run and waited for one; Idle how long they had nothing to do, on average
// over them. Where that is from is in PressureSources.
type Pressure struct {
	At     time.Duration
	Waited time.Duration
	Idle   time.Duration
}

// PressureSources name, for people, what of the system the readings were taken from; "" where
// it does not tell.
type PressureSources struct {
	Waited string `json:"waited,omitempty"`
	Idle   string `json:"idle,omitempty"`
}

// Stream is one of the request streams that share the schedule.
type Stream struct {
	Name   string  `json:"name"`
	Share  float64 `json:"share"`  // of the schedule, 0..1
	Method string  `json:"method"` // GET, or several: GET, POST
	Reuse  bool    `json:"reuse"`  // keep-alive; false means a new connection for each request
	// Connections are how many kept ones take turns; 0 means as few as there are requests in flight.
	Connections int `json:"connections,omitempty"`
	// Requests are what it asks, as people call them: GET /orders. Samples name them by their
	// number. None are listed where the lab made them up.
	Requests []string `json:"requests,omitempty"`
}

// Fault is something bad that a trial is planned to do beside its action.
type Fault struct {
	Name   string        `json:"name"`             // unique within the trial
	Kind   string        `json:"kind"`             // as in a scenario
	At     time.Duration `json:"at_ns"`            // planned start, from the trial's base
	For    time.Duration `json:"for_ns,omitempty"` // planned length; 0 where it is over as soon as it has happened
	Target string        `json:"target"`           // what it is done to, for people: oldest instance, service control
	How    string        `json:"how,omitempty"`    // refuse, latency 2s, for people
}

// NoAction is the action of a trial in which nothing is done.
const NoAction = "none"

// Rollback is what follows on a rollout that is taken back, and RolloutRollback the action
// of a trial in which both are done.
const (
	Rollback        = "rollback"
	RolloutRollback = "rollout-" + Rollback
)

// Revisions of the subject before and after the action; a rollout that is taken back goes to
// After and back to Before.
type Revisions struct {
	Before string `json:"before"`
	After  string `json:"after"`
	// Differ: the scenario says what each of them is, and it is not the same. Else a rollout
	// replaces a program by itself.
	Differ bool `json:"differ,omitempty"`
}

// Trial describes one trial before it runs: one deployment, one load, at most one action.
type Trial struct {
	Scenario string `json:"scenario"`
	Driver   string `json:"driver"`
	Action   string `json:"action"` // NoAction, rollout, RolloutRollback, restart, scale-out, scale-in
	Design   string `json:"design"`
	N        int    `json:"n"`       // number within its cell, from 1; repeats keep counting
	Repeats  int    `json:"repeats"` // N of the invalid trial that this one repeats, 0 when it repeats none

	Rate    float64       `json:"rate"` // requests a second
	Planned uint64        `json:"planned"`
	Timeout time.Duration `json:"timeout_ns"` // deadline of a request, from its intended time
	Streams []Stream      `json:"streams"`

	// The load's intended times lie in [LoadFrom, LoadTo); the others are windows within
	// it. All from the trial's base.
	LoadFrom     time.Duration `json:"load_from_ns"`
	LoadTo       time.Duration `json:"load_to_ns"`
	BaselineFrom time.Duration `json:"baseline_from_ns"`
	BaselineTo   time.Duration `json:"baseline_to_ns"`
	WindowFrom   time.Duration `json:"window_from_ns"` // planned start of the action
	WindowTo     time.Duration `json:"window_to_ns"`

	// Address is where a service that the lab has not deployed answers, "" of any other. How
	// many instances there are is not known then, and their numbers below are 0.
	Address string `json:"address,omitempty"`
	// UntilCalm says when the load ends that goes on until nothing fails. Planned, LoadTo and
	// WindowTo are then the latest that they may become, and End says what they became.
	UntilCalm UntilCalm `json:"until_calm,omitzero"`

	ReplicasBefore int       `json:"replicas_before"`
	ReplicasAfter  int       `json:"replicas_after"`
	Revisions      Revisions `json:"revisions"`

	Faults []Fault `json:"faults,omitempty"` // by At

	// AllowSaturation: losses count even where the machine had no CPU to spare.
	AllowSaturation bool `json:"allow_saturation,omitempty"`
	// MayStop: the runtime may stop the action or never complete it, and that is no failure; a
	// rollback behind it must complete.
	MayStop bool `json:"may_stop,omitempty"`
	// AllowUnfinished: the action need not be complete when the window ends.
	AllowUnfinished bool `json:"allow_unfinished"`

	// Pressure says where the readings of the machine's CPUs are from.
	Pressure PressureSources `json:"pressure,omitzero"`

	ProbeEvery time.Duration `json:"probe_every_ns"` // period of the direct probes of each instance
	// LabBalancer: requests went through the lab's own balancer, not through the runtime's.
	LabBalancer bool `json:"lab_balancer"`
	// Passthrough: the lab's own balancer passed connections on unread, each to one instance.
	Passthrough bool `json:"passthrough,omitempty"`
	// Routing says how the balancer learned of ready and stopping instances, for people.
	Routing string `json:"routing,omitempty"`
	// Checks say how often the runtime asks an instance whether it is ready; they are zero
	// where it asks none.
	Checks Checks `json:"checks,omitzero"`

	Began string `json:"began"` // wall clock of the trial's base, RFC 3339, for people

	// Notes say where the runtime deployed something else than was asked for.
	Notes []string `json:"notes,omitempty"`
	// Relays are what stands between the subject and its dependencies, for the sake of faults.
	Relays []Relay `json:"relays,omitempty"`
}

// Relay is a way to a dependency on which faults are made, and what it costs: measured before the
// load, on connections that are kept. It is part of what every request took, and taken out of
// nothing.
type Relay struct {
	To      string        `json:"to"`                // the dependency
	Adds    time.Duration `json:"adds_ns,omitempty"` // to a request, at the median; below 0 where that is less than what is seen
	Unknown string        `json:"unknown,omitempty"` // why it could not be measured
}

// Steps is how many steps the action has, each of which starts and ends.
func (t *Trial) Steps() int {
	if t.Action == RolloutRollback {
		return 2
	}
	return 1
}

// UntilCalm is when a load ends: when nothing has failed for so long and the runtime, where it
// is watched, has been quiet as long; but not before the action has been over for Settle, and at
// the latest when it has been over for Max. All zero where it ends at a time of its plan.
type UntilCalm struct {
	For    time.Duration `json:"for_ns"`
	Settle time.Duration `json:"settle_ns"`
	Max    time.Duration `json:"max_ns"`
}

// SharesRequests says whether each request may go to another instance, whatever connection it
// comes on: through the lab's balancer, where that reads them.
func (t *Trial) SharesRequests() bool { return t.LabBalancer && !t.Passthrough }

// Checks are the questions of a runtime to each of its instances.
type Checks struct {
	Every time.Duration `json:"every_ns"`
	Rise  int           `json:"rise"` // successes in a row that make an instance ready
	Fall  int           `json:"fall"` // failures in a row that make it unready
}

// Cost is what the trial cost the machine, for judging whether the evidence is sound.
type Cost struct {
	CPU      time.Duration `json:"cpu_ns"`          // user and system time of the lab's own process during the load
	Children time.Duration `json:"children_cpu_ns"` // of the children that it has reaped since the trial began, 0 when unknown
	MaxRSS   int64         `json:"max_rss_bytes"`   // of the lab's own process, so far
}

// End closes a trial; a trial without one was cut short.
type End struct {
	At    time.Duration `json:"at_ns"`
	Sent  uint64        `json:"sent"` // hits that the load generator says it has fired
	Error string        `json:"error,omitempty"`
	Cost  Cost          `json:"cost"`
	// Load is where a load ended that went on until nothing failed.
	Load  *LoadEnd `json:"load,omitempty"`
	Lines Lines    `json:"lines"` // filled in by TrialWriter.Close
}

// LoadEnd is where a load ended whose end was not planned.
type LoadEnd struct {
	At      time.Duration `json:"at_ns"`   // hits that were due before this, and no others, were to be fired
	Planned uint64        `json:"planned"` // how many those are
	Calm    bool          `json:"calm"`    // it ended because nothing failed any more
	Failing bool          `json:"failing"` // requests still failed when it had to end
}

// Lines is how many lines each file of a trial must hold, headers not counted: a file
// that was cut at the end of a line cannot be told from a whole one otherwise.
type Lines struct {
	Samples   uint64 `json:"samples"`
	Reference uint64 `json:"reference"`
	Probes    uint64 `json:"probes"`
	Events    uint64 `json:"events"`
	Pressure  uint64 `json:"pressure"`
}

// Package timeline turns the record of a trial into a picture of it: bins, outages,
// recovery, and one lane per instance that holds what the runtime said against what was
// true. Every function is pure. It has no opinion about good or bad; see judge.
package timeline

import "time"

// Timeline is the picture of one trial. Offsets are from the trial's base.
type Timeline struct {
	From, To time.Duration // of the load
	BinWidth time.Duration
	Bins     []Bin      // all bins from From to To, empty ones too
	Lanes    []Lane     // one per instance, by first appearance
	Action   Span       // from the start of the action to its completion; Open when it never completed
	Faults   []Fault    // the planned ones, in the order of the plan
	Pressure []Pressure // of the machine's CPUs, in order; empty where the system does not tell
}

// Bin counts the requests whose intended time lies in [From, From+width).
type Bin struct {
	From    time.Duration
	Planned int // hits that the schedule has in this bin
	OK      int
	Failed  int // Planned - OK, so a hit that was never sent is a failure
	Denied  int // of Failed: had to be served and was answered 401 or 403
	// P50 and P99 are of the response time from the intended time, over the requests
	// that were ok; 0 where there was none.
	P50, P99 time.Duration
}

// Outage is a stretch of failures: from the first one to the first of ten successes in a row,
// or of those of a whole second.
type Outage struct {
	From, To time.Duration // intended time of the first failure; of the first success of those
	LastOK   time.Duration // intended time of the last success before, From's bracket; -1 when there was none
	Failures int
	Open     bool // the record ends before it is over; To is the end of the record
}

// Len is how long the outage was.
func (o Outage) Len() time.Duration { return o.To - o.From }

// Span is a stretch of time.
type Span struct {
	From, To time.Duration
	Open     bool // it had not ended when the record did
}

// State is what an instance was, in a lane.
type State string

// The states in a lane. The verdict uses the first five, the truth Serving and NotServing.
const (
	Starting   State = "starting"
	Ready      State = "ready"
	Unready    State = "unready"
	Draining   State = "draining" // terminating and no longer routed to
	Gone       State = "gone"
	Serving    State = "serving"
	NotServing State = "not serving"
)

// StateSpan is a stretch in one state.
type StateSpan struct {
	Span
	State State
}

// Lane is one instance: what the runtime said of it, and what a direct probe saw.
type Lane struct {
	Instance, Revision string
	Verdict            []StateSpan
	Truth              []StateSpan
	FalseReady         []Span // the runtime said ready, the direct probe failed
	FalseUnready       []Span // the runtime said not ready, the direct probe succeeded
	// Sync is the time from the instance's start to its first successful direct probe; -1 when unknown.
	Sync time.Duration
	// ByAction: the instance was started after the action began.
	ByAction bool
}

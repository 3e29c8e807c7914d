// Package feed is how the control plane and a proxy speak: the messages of the streams,
// one JSON document a line in a response that does not end, and the client that follows
// such a stream and connects again when it breaks. It keeps no state of either side.
package feed

import (
	"net/url"
	"strconv"

	"github.com/rollout-lab/rollout-lab/targets/refproxy/policy"
)

// The paths that the control plane serves to proxies.
const (
	ConfigPath   = "/v1/stream/config"
	SessionsPath = "/v1/stream/sessions"
	KeysPath     = "/v1/keys"
	// FaultsPath is there only where both sides were started with faults allowed. A POST to it
	// says how far a proxy has come.
	FaultsPath = "/v1/stream/faults"
)

// Kind says what a message is.
type Kind string

// The kinds of messages.
const (
	Heartbeat Kind = "heartbeat" // the follower has everything that there is
	Config    Kind = "config"    // a generation of the configuration

	Begin   Kind = "begin"   // a snapshot of the session records starts; nothing of it counts before End
	Records Kind = "records" // some records of the snapshot
	End     Kind = "end"     // the snapshot is whole, and true as of Version
	Resume  Kind = "resume"  // no snapshot: deltas follow on from Version
	Delta   Kind = "delta"   // records that changed; within a snapshot they belong to it

	Faults Kind = "faults" // the faults that are on, all of them
)

// Fault is something that a proxy does wrong because it is told to.
type Fault string

// The faults.
const (
	SlowCheck Fault = "slow-check" // the health port takes long to answer
	Deadlock  Fault = "deadlock"   // the data plane's own loop stands still and requests wait for it; the health port answers
	DataDead  Fault = "data-dead"  // the data plane answers 503; the health port is fine
	Flap      Fault = "flap"       // readiness comes and goes
)

// AllFaults lists the faults.
func AllFaults() []Fault { return []Fault{SlowCheck, Deadlock, DataDead, Flap} }

// Message is one line of a stream. Which fields are set follows from its kind.
type Message struct {
	Kind Kind `json:"kind"`
	// Epoch names one life of a control plane. Versions and generations of different
	// epochs must not be compared.
	Epoch   string         `json:"epoch,omitempty"`
	Version uint64         `json:"version,omitempty"` // of the session records
	Total   int            `json:"total,omitempty"`   // records in the snapshot
	Records []Record       `json:"records,omitempty"`
	Config  *policy.Config `json:"config,omitempty"`
	Faults  []Fault        `json:"faults,omitempty"`
}

// Record is what is known about one session.
type Record struct {
	ID      string `json:"id"`
	Group   string `json:"group"`
	Revoked bool   `json:"revoked,omitempty"`
}

// Position is how far a follower has come: what it asks a stream to go on from. The zero
// Position asks for everything. Of the stream of faults it names the life of the follower, for
// a fault is of a process and does not come back with the next one of the same name.
type Position struct {
	Epoch   string
	Version uint64 // of the session records, or the configuration's generation
}

// Query adds who follows, and from where, to a stream's address.
func Query(instance string, from Position) url.Values {
	q := url.Values{"instance": {instance}}
	if from.Epoch != "" {
		q.Set("epoch", from.Epoch)
		q.Set("version", strconv.FormatUint(from.Version, 10))
	}
	return q
}

// ParseQuery reads what Query wrote. A version that is no number asks for everything.
func ParseQuery(q url.Values) (instance string, from Position) {
	version, err := strconv.ParseUint(q.Get("version"), 10, 64)
	if err == nil && q.Get("epoch") != "" {
		from = Position{Epoch: q.Get("epoch"), Version: version}
	}
	return q.Get("instance"), from
}

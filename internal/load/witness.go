package load

import (
	"context"
	"errors"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

// WitnessPlan is what the independent client does.
type WitnessPlan struct {
	URL     string        // scheme and host; http only
	Base    time.Time     // of the trial
	Start   time.Duration // of its schedule, from Base
	Rate    float64       // requests a second; low, it is a witness and no load
	Hits    uint64
	Timeout time.Duration // of a request, from its intended time

	Requests []Request // used in turn
}

// Names of the witness's streams: every other request takes a new connection.
const (
	WitnessFresh = "witness-new"
	WitnessReuse = "witness-keepalive"
)

// RunWitness sends requests with a client that shares nothing with Run.
func RunWitness(ctx context.Context, w WitnessPlan, sink func(record.Sample)) error {
	return errors.New("not implemented")
}

package load

import (
	"context"
	"errors"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

// ProbeOnce sends one request straight to addr (host:port) on a new connection, without
// any retry, and says what became of it: its class, the status of the answer (0 without
// one) and the reason. The timeout counts from the call.
func ProbeOnce(ctx context.Context, addr string, r Request, timeout time.Duration) (record.Class, int, string) {
	return record.Other, 0, "not implemented"
}

// ProbePlan is how a Prober asks.
type ProbePlan struct {
	Base    time.Time     // of the trial
	Period  time.Duration // from the start of one probe of an instance to the start of its next
	Timeout time.Duration // of one probe
	Request Request       // must be one that has to be served
}

// Prober asks a changing set of instances directly, each one on a schedule of its own.
type Prober struct{}

// NewProber returns a prober that has no instance to ask yet. It calls sink from one
// goroutine; a slow sink delays nothing. The caller must Close it.
func NewProber(p ProbePlan, sink func(record.ProbeResult)) (*Prober, error) {
	return nil, errors.New("not implemented")
}

// Add starts to probe an instance at addr (host:port). An instance of the same ID that
// was there before is replaced.
func (p *Prober) Add(instance, revision, addr string) {}

// Remove ends the probing of an instance. A probe that is under way still finishes and
// is still reported. It does not block; an unknown instance is ignored.
func (p *Prober) Remove(instance string) {}

// Close removes every instance and returns when the last result was handed to the sink,
// which takes at most the timeout of a probe. It is idempotent.
func (p *Prober) Close() {}

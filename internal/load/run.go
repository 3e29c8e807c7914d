package load

import (
	"context"
	"errors"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

// Run fires the plan's hits and returns when each has had its fate. It calls sink from
// one goroutine, once for each fired hit, in the order in which they ended; a slow sink
// delays no request and loses none, it costs memory. When ctx ends no further hit is
// fired, those under way still get their fate, and the error is nil: Fired says how far
// it went. A Seq lost, doubled or out of range is an error.
func Run(ctx context.Context, p Plan, sink func(record.Sample)) (Summary, error) {
	return Summary{}, errors.New("not implemented")
}

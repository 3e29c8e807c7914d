package load

import (
	"context"
	"fmt"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

// Once sends the first request of the plan's first stream as Run would, now and by itself, and
// says what became of it: what a load would meet with, before there is one. It takes at most
// the plan's timeout. Of the plan Base, Start, Rate, Hits and Deny mean nothing.
func Once(ctx context.Context, p Plan) (record.Sample, error) {
	p.Start, p.Rate, p.Hits, p.Deny = 0, 1, 1, 0
	p.Base = time.Now().Add(-time.Second) // the first hit is due a period behind it
	if err := p.Validate(); err != nil {
		return record.Sample{}, fmt.Errorf("request: %w", err)
	}
	c, err := newClient(ctx, &p, 1)
	if err != nil {
		return record.Sample{}, fmt.Errorf("request: %w", err)
	}
	defer c.close()
	var got record.Sample
	c.out = newMailbox(func(s record.Sample) { got = s })
	c.send(0)
	c.out.close()
	return got, nil
}

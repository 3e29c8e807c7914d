package fault

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/internal/target"
)

// Bounds on how a relay is measured.
const (
	overheadPairs = 100
	overheadLimit = time.Second
)

// Relays are the dependencies that a deployed stack reaches through a relay, and what that costs:
// measured here and now, before there is any load.
func Relays(ctx context.Context, env drivers.Env, stack drivers.Stack) (all []record.Relay) {
	i := slices.IndexFunc(stack.Dependencies, func(s drivers.Service) bool { return s.Name == target.RelayName })
	if i < 0 {
		return nil
	}
	for _, service := range stack.Dependencies[i].Ports {
		j := slices.IndexFunc(stack.Dependencies, func(s drivers.Service) bool { return s.Name == service })
		if j < 0 {
			continue // the operator's
		}
		relay := record.Relay{To: service}
		var err error
		if relay.Adds, err = overhead(ctx, env, service, stack.Dependencies[j].Ports[0]); err != nil {
			relay.Unknown = err.Error()
		}
		all = append(all, relay)
	}
	return all
}

// overhead asks a service with the relay and without it, in turns.
func overhead(ctx context.Context, env drivers.Env, service, port string) (time.Duration, error) {
	direct, err := env.Endpoint(ctx, service, port)
	if err != nil {
		return 0, err
	}
	relayed, err := env.Endpoint(ctx, target.RelayName, service)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*overheadLimit)
	defer cancel()
	var took [2][]time.Duration
	begun := time.Now()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	for n := 0; n <= overheadPairs && (n < 2 || time.Since(begun) < overheadLimit); n++ {
		for way, base := range []string{direct, relayed} {
			d, err := timed(ctx, transport, base)
			if err != nil {
				return 0, err
			}
			if n > 0 { // the first one makes the connection
				took[way] = append(took[way], d)
			}
		}
	}
	for _, t := range took {
		slices.Sort(t)
	}
	return took[1][len(took[1])/2] - took[0][len(took[0])/2], nil
}

// timed sends one request and reads its answer.
func timed(ctx context.Context, transport http.RoundTripper, base string) (time.Duration, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base, nil)
	if err != nil {
		return 0, err
	}
	begun := time.Now()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return time.Since(begun), errors.Join(err, resp.Body.Close())
}

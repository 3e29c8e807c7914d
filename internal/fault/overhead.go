package fault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/target"
)

// Bounds on how a relay is measured.
const (
	overheadPairs = 100
	overheadLimit = time.Second
)

// RelayNotes say, for people, which dependencies a deployed stack reaches through a relay, and
// what that costs: measured here and now, on connections that are kept, before there is any load.
// It is part of what every request in the trial took, and taken out of nothing. A step is said and
// no figure, so that trials in which it is about the same have the same note.
func RelayNotes(ctx context.Context, env drivers.Env, stack drivers.Stack) (notes []string) {
	i := slices.IndexFunc(stack.Dependencies, func(s drivers.Service) bool { return s.Name == target.RelayName })
	if i < 0 {
		return nil
	}
	for _, service := range stack.Dependencies[i].Ports {
		j := slices.IndexFunc(stack.Dependencies, func(s drivers.Service) bool { return s.Name == service })
		if j < 0 {
			continue // the operator's
		}
		note := fmt.Sprintf("connections to %s go through a relay (toxiproxy), in which the faults are made; ", service)
		cost, err := overhead(ctx, env, service, stack.Dependencies[j].Ports[0])
		if err != nil {
			note += "what it costs could not be measured: " + err.Error()
		} else {
			note += cost
		}
		notes = append(notes, note)
	}
	return notes
}

// overhead asks a service with the relay and without it, in turns.
func overhead(ctx context.Context, env drivers.Env, service, port string) (string, error) {
	direct, err := env.Endpoint(ctx, service, port)
	if err != nil {
		return "", err
	}
	relayed, err := env.Endpoint(ctx, target.RelayName, service)
	if err != nil {
		return "", err
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
				return "", err
			}
			if n > 0 { // the first one makes the connection
				took[way] = append(took[way], d)
			}
		}
	}
	for _, t := range took {
		slices.Sort(t)
	}
	adds := took[1][len(took[1])/2] - took[0][len(took[0])/2]
	for _, step := range []float64{0.5, 1, 2, 5, 10, 20, 50, 100} {
		if adds.Seconds()*1000 < step {
			return fmt.Sprintf("at the median it adds less than %v ms to a request, as measured before the load", step), nil
		}
	}
	return fmt.Sprintf("at the median it adds %v to a request, as measured before the load", adds.Round(time.Millisecond)), nil
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

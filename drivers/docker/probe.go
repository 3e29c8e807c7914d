package docker

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/rollout-lab/rollout-lab/drivers"
)

const (
	// startAllowance is how much longer than the probe itself a health check may take: the
	// engine counts the start of the process in.
	startAllowance = time.Second
	// shortestInterval is the shortest one that the engine takes.
	shortestInterval = time.Millisecond
)

// spec is what ProbeMain is told in its argument.
type spec struct {
	Addr  string        `json:"addr"` // host:port inside the container
	Probe drivers.Probe `json:"probe"`
}

// ProbeMain is the main function of a health check: it asks once, prints the answer and
// returns the status to exit with, 0 for healthy and 1 for anything else. args are those
// that follow Config.Probe.
func ProbeMain(args []string, stdout io.Writer) int {
	if len(args) != 1 {
		fmt.Fprintf(stdout, "health probe: %d arguments, want 1\n", len(args))
		return 1
	}
	var s spec
	if err := json.Unmarshal([]byte(args[0]), &s); err != nil {
		fmt.Fprintf(stdout, "health probe: %v\n", err)
		return 1
	}
	answer, err := s.Probe.Ask(context.Background(), s.Addr)
	if err != nil {
		fmt.Fprintln(stdout, answer)
		return 1
	}
	fmt.Fprintln(stdout, answer)
	return 0
}

// healthcheck is a signal as the engine understands it. prober is the command in the
// container that ProbeMain is behind, addr where the port is that it asks.
func healthcheck(p drivers.Probe, prober []string, addr string, places drivers.Places, startInterval bool) (*container.HealthConfig, error) {
	h := &container.HealthConfig{Interval: p.Interval, Timeout: p.Timeout, Retries: p.Fall}
	switch p.Kind {
	case "", drivers.ProbeNone:
		return &container.HealthConfig{Test: []string{"NONE"}}, nil
	case drivers.ProbeImage:
		// What the stack leaves open is as the image says.
	case drivers.ProbeHTTP, drivers.ProbeTCP:
		p = p.WithDefaults()
		arg, err := json.Marshal(spec{addr, p})
		if err != nil {
			return nil, err
		}
		h.Test = append([]string{"CMD"}, append(append([]string(nil), prober...), string(arg))...)
		h.Interval, h.Timeout, h.Retries = p.Interval, p.Timeout+startAllowance, p.Fall
	case drivers.ProbeCommand:
		p = p.WithDefaults()
		h.Test = []string{"CMD"}
		for _, arg := range p.Command {
			v, err := places.Expand(arg)
			if err != nil {
				return nil, fmt.Errorf("signal: %w", err)
			}
			h.Test = append(h.Test, v)
		}
		h.Interval, h.Timeout, h.Retries = p.Interval, p.Timeout, p.Fall
	default:
		return nil, fmt.Errorf("unknown kind of probe %q", p.Kind)
	}
	if h.Interval != 0 && h.Interval < shortestInterval {
		return nil, &drivers.HintError{
			Err:  fmt.Errorf("%w: a health check every %v", drivers.ErrUnsupported, h.Interval),
			Hint: "a check costs a process; 200 to 500 ms are sensible",
		}
	}
	if startInterval {
		h.StartInterval = h.Interval
	}
	return h, nil
}

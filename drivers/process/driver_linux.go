package process

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"sync"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/edge"
	"github.com/rollout-lab/rollout-lab/internal/rolling"
)

// deployLimit bounds a deployment whose caller has set no deadline.
const deployLimit = 10 * time.Minute

// Driver implements drivers.Driver. Its methods may be called concurrently.
type Driver struct {
	program []string
	ports   *portPool

	mu   sync.Mutex
	envs map[*environment]struct{}
}

// New returns a driver that runs services as Config says.
func New(config Config) *Driver {
	return &Driver{
		program: slices.Clone(config.Program),
		ports:   newPortPool(ephemeralPorts()),
		envs:    map[*environment]struct{}{},
	}
}

// Name implements drivers.Driver.
func (d *Driver) Name() string { return "process" }

// Check implements drivers.Driver: it looks for the program, the process file system and
// a loopback interface that can be listened on.
func (d *Driver) Check(context.Context) error {
	if _, err := d.path(); err != nil {
		return &drivers.HintError{
			Err:  fmt.Errorf("%w: %w", drivers.ErrUnavailable, err),
			Hint: "give the driver a program that exists and may be executed",
		}
	}
	if _, err := self(); err != nil {
		return &drivers.HintError{
			Err:  fmt.Errorf("%w: %w", drivers.ErrUnavailable, err),
			Hint: "mount the proc file system on /proc",
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return &drivers.HintError{
			Err:  fmt.Errorf("%w: %w", drivers.ErrUnavailable, err),
			Hint: "bring the loopback interface up and allow listening on 127.0.0.1",
		}
	}
	return l.Close()
}

func (d *Driver) path() (string, error) {
	if len(d.program) == 0 {
		return "", errors.New("no program to run")
	}
	return exec.LookPath(d.program[0])
}

// Deploy implements drivers.Driver.
func (d *Driver) Deploy(ctx context.Context, stack drivers.Stack) (drivers.Env, error) {
	if err := stack.Validate(); err != nil {
		return nil, err
	}
	path, err := d.path()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", drivers.ErrUnavailable, err)
	}
	lab, err := self()
	if err != nil {
		return nil, err
	}
	policy, err := edgePolicy(stack.Balancer.Policy)
	if err != nil {
		return nil, err
	}
	balancer, err := edge.New(edge.Config{Policy: policy})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, deployLimit, fmt.Errorf("not deployed within %v", deployLimit))
	defer cancel()
	e := &environment{
		driver: d, stack: stack,
		command:    append([]string{path}, d.program[1:]...),
		owner:      lab,
		deployment: rand.Text(),
		balancer:   balancer,
		nursery:    newNursery(),
		goal:       rolling.Goal{Replicas: stack.Replicas, Revision: stack.Revision},
		bounds:     rolling.Bounds{MaxSurge: stack.Rolling.MaxSurge, MaxUnavailable: stack.Rolling.MaxUnavailable},
		places:     map[string]map[string]string{},
		logs:       map[string]*tail{},
		changed:    make(chan struct{}),
		closing:    make(chan struct{}),
		closed:     make(chan struct{}),
		hurry:      make(chan struct{}),
	}
	d.mu.Lock()
	d.envs[e] = struct{}{}
	d.mu.Unlock()
	if err := e.deploy(ctx); err != nil {
		now, end := context.WithCancel(context.WithoutCancel(ctx))
		end() // nothing that does not serve deserves a grace
		if closeErr := e.Close(now); closeErr != nil {
			err = fmt.Errorf("%w; and cleaning up: %w", err, closeErr)
		}
		return nil, err
	}
	return e, nil
}

func edgePolicy(p drivers.Policy) (edge.Policy, error) {
	switch p {
	case "", drivers.RoundRobin:
		return edge.RoundRobin, nil
	case drivers.LeastConnections:
		return edge.LeastConnections, nil
	}
	return 0, fmt.Errorf("unknown balancer policy %q", p)
}

// Sweep implements drivers.Driver. Environments of the named run that this driver still
// has are closed without grace; a lab that still runs the named run elsewhere would start
// its instances again, so that one must be ended first.
func (d *Driver) Sweep(ctx context.Context, runID string) ([]string, error) {
	namespace, err := pidNamespace()
	if err != nil {
		return nil, err
	}
	match := func(m marked) bool {
		if runID != "" {
			return m.run == runID
		}
		o, err := parseOwner(m.owner)
		return err == nil && o.dead(namespace)
	}
	var killed []marked
	var errs []error
	if runID != "" {
		// What is about to be closed is told to people as well.
		if killed, err = findMarked(match); err != nil {
			return nil, err
		}
		now, end := context.WithCancel(ctx)
		end()
		for _, e := range d.envsOf(runID) {
			errs = append(errs, e.Close(now))
		}
	}
	rest, err := killMarked(ctx, match)
	errs = append(errs, err)
	for _, m := range rest {
		if !slices.ContainsFunc(killed, func(k marked) bool { return k.pid == m.pid && k.start == m.start }) {
			killed = append(killed, m)
		}
	}
	var out []string
	for _, m := range killed {
		out = append(out, m.String())
	}
	return out, errors.Join(errs...)
}

func (d *Driver) envsOf(runID string) []*environment {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []*environment
	for e := range d.envs {
		if e.stack.RunID == runID {
			out = append(out, e)
		}
	}
	return out
}

func (d *Driver) forget(e *environment) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.envs, e)
}

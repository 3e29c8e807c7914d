package process

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/edge"
	"github.com/rollout-lab/rollout-lab/internal/rolling"
)

const (
	// servesInterval is how often Deploy asks an instance whether it serves, unless
	// Service.Serves says otherwise.
	servesInterval = 50 * time.Millisecond
	// crashesAtDeploy is how often in a row an instance may end before Deploy gives up.
	crashesAtDeploy = 5
	// edgeGrace is how long the requests in the balancer may take to end once every
	// process behind it has.
	edgeGrace = 5 * time.Second
)

var errBusy = errors.New("another change is under way")

// environment implements drivers.Env and all of the optional capabilities.
type environment struct {
	driver     *Driver
	stack      drivers.Stack
	command    []string
	owner      owner
	deployment string
	balancer   *edge.Balancer
	nursery    *nursery
	bounds     rolling.Bounds
	events     drivers.EventLog

	closing chan struct{} // closed when Close begins
	closed  chan struct{} // closed when Close is done
	hurry   chan struct{} // closed when no instance gets any more grace
	rushed  sync.Once
	end     error // what Close found; valid once closed

	subjects     sync.WaitGroup // goroutines of the subject's instances
	dependencies sync.WaitGroup

	changing sync.Mutex // held by Scale, Restart or Rollout

	mu        sync.Mutex
	goal      rolling.Goal
	instances []*instance // of the subject, oldest first
	started   int         // instances of the subject so far
	deps      []*instance // in the order in which they were started
	places    map[string]map[string]string
	logs      map[string]*tail // by instance, former ones included
	ended     []rolling.Instance
	changed   chan struct{} // closed and replaced when instances changes
	isClosing bool
}

// Assert the capabilities, which callers ask for by type.
var (
	_ drivers.Killer = (*environment)(nil)
	_ drivers.Pauser = (*environment)(nil)
	_ drivers.Logger = (*environment)(nil)
)

// deploy starts everything and waits until it serves.
func (e *environment) deploy(ctx context.Context) error {
	for _, service := range e.stack.Dependencies {
		i := e.newInstance(service, service.Name+"-1", "", false)
		if err := e.launch(i); err != nil {
			return err
		}
		if err := e.awaitServing(ctx, i); err != nil {
			return err
		}
		e.mu.Lock()
		e.places[service.Name] = maps.Clone(i.addrs)
		i.everUp = true
		e.mu.Unlock()
	}
	var first []*instance
	for range e.stack.Replicas {
		i, err := e.startSubject(e.goal)
		if err != nil {
			return err
		}
		first = append(first, i)
	}
	for _, i := range first {
		if err := e.awaitServing(ctx, i); err != nil {
			return err
		}
	}
	return e.awaitRouted(ctx, first)
}

// startSubject starts one more instance of the subject.
func (e *environment) startSubject(goal rolling.Goal) (*instance, error) {
	e.mu.Lock()
	if e.isClosing {
		e.mu.Unlock()
		return nil, drivers.ErrClosed
	}
	e.started++
	id := fmt.Sprintf("%s-%d", e.stack.Subject.Name, e.started)
	e.mu.Unlock()
	i := e.newInstance(e.stack.Subject, id, goal.Revision, true)
	i.generation = goal.Generation
	if err := e.launch(i); err != nil {
		return nil, err
	}
	return i, nil
}

// awaitServing waits until an instance serves, asked directly.
func (e *environment) awaitServing(ctx context.Context, i *instance) error {
	probe := i.service.Serves
	if probe.Kind == "" || probe.Kind == drivers.ProbeNone {
		probe = drivers.Probe{Kind: drivers.ProbeTCP, Port: i.service.Ports[0]}
	}
	if probe.Interval == 0 {
		probe.Interval = servesInterval
	}
	ticker := time.NewTicker(probe.Interval)
	defer ticker.Stop()
	for {
		_, err := probe.Ask(ctx, e.addrOf(i, probe.Port))
		if err == nil {
			return nil
		}
		var cause error
		select {
		case <-ticker.C:
			if e.crashesOf(i) < crashesAtDeploy {
				continue
			}
			cause = fmt.Errorf("%w: it ended %d times", drivers.ErrNotServing, crashesAtDeploy)
		case <-i.over:
			cause = fmt.Errorf("%w: it ended", drivers.ErrNotServing)
		case <-e.closing:
			cause = drivers.ErrClosed
		case <-ctx.Done():
			cause = fmt.Errorf("%w: %w", drivers.ErrNotServing, context.Cause(ctx))
		}
		return fmt.Errorf("instance %s: %w; last answer: %w; %s", i.id, cause, err, e.story(i))
	}
}

// awaitRouted waits until the balancer routes to all of the instances.
func (e *environment) awaitRouted(ctx context.Context, instances []*instance) error {
	for {
		e.mu.Lock()
		var missing *instance
		for _, i := range instances {
			if !i.ready {
				missing = i
			}
		}
		changed := e.changed
		e.mu.Unlock()
		if missing == nil {
			return nil
		}
		var cause error
		select {
		case <-changed:
			continue
		case <-missing.over:
			cause = fmt.Errorf("%w: it ended", drivers.ErrNotServing)
		case <-e.closing:
			cause = drivers.ErrClosed
		case <-ctx.Done():
			cause = context.Cause(ctx)
		}
		return fmt.Errorf("instance %s serves, but its signal does not say so: %w; %s", missing.id, cause, e.story(missing))
	}
}

// story is what is known about an instance that is in trouble.
func (e *environment) story(i *instance) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := i.why()
	if last := i.output.last(5); last != "" {
		s += "; last output: " + last
	}
	return s
}

func (e *environment) addrOf(i *instance, port string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return i.addrs[port]
}

func (e *environment) crashesOf(i *instance) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return i.crashes
}

// notify wakes whoever waits for a change; the caller holds e.mu.
func (e *environment) notify() {
	close(e.changed)
	e.changed = make(chan struct{})
}

// URL implements drivers.Env.
func (e *environment) URL() string { return e.balancer.URL() }

// Counters is what became of the requests, by endpoint, as the balancer saw it.
func (e *environment) Counters() []edge.Counter { return e.balancer.Counters() }

// Endpoint implements drivers.Env.
func (e *environment) Endpoint(_ context.Context, service, port string) (string, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.isClosing {
		return "", drivers.ErrClosed
	}
	ports, ok := e.places[service]
	if !ok {
		return "", fmt.Errorf("no dependency %q", service)
	}
	addr, ok := ports[port]
	if !ok {
		return "", fmt.Errorf("dependency %s has no port %q", service, port)
	}
	return "http://" + addr, nil
}

// Instances implements drivers.Env.
func (e *environment) Instances(context.Context) ([]drivers.Instance, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.isClosing {
		return nil, drivers.ErrClosed
	}
	out := make([]drivers.Instance, 0, len(e.instances))
	for _, i := range e.instances {
		out = append(out, drivers.Instance{
			ID: i.id, Revision: i.revision, State: i.state(),
			Addr: i.addrs[i.service.Ports[0]], Ports: maps.Clone(i.addrs),
		})
	}
	return out, nil
}

// Scale implements drivers.Env.
func (e *environment) Scale(ctx context.Context, replicas int) error {
	if replicas < 0 {
		return fmt.Errorf("scale to %d: the number may not be negative", replicas)
	}
	return e.change(ctx, fmt.Sprintf("scale to %d", replicas), func(g *rolling.Goal) { g.Replicas = replicas })
}

// Restart implements drivers.Env.
func (e *environment) Restart(ctx context.Context) error {
	return e.change(ctx, "restart", func(g *rolling.Goal) { g.Generation++ })
}

// Rollout implements drivers.Env.
func (e *environment) Rollout(ctx context.Context, revision string) error {
	if revision == "" {
		return errors.New("rollout to a revision without a name")
	}
	return e.change(ctx, "rollout to "+revision, func(g *rolling.Goal) { g.Revision = revision })
}

// change sets a new goal and pursues it. A change that is cut short leaves its goal
// behind: the next one goes on from it.
func (e *environment) change(ctx context.Context, what string, set func(*rolling.Goal)) error {
	select {
	case <-e.closing:
		return fmt.Errorf("%s: %w", what, drivers.ErrClosed)
	default:
	}
	if !e.changing.TryLock() {
		return fmt.Errorf("%s: %w", what, errBusy)
	}
	defer e.changing.Unlock()
	e.mu.Lock()
	if e.isClosing {
		e.mu.Unlock()
		return fmt.Errorf("%s: %w", what, drivers.ErrClosed)
	}
	set(&e.goal)
	goal := e.goal
	e.ended = nil
	e.mu.Unlock()

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan struct{})
	var watching sync.WaitGroup
	defer watching.Wait()
	defer close(done)
	watching.Go(func() {
		select {
		case <-e.closing:
			cancel(drivers.ErrClosed)
		case <-done:
		}
	})
	if err := rolling.Run(ctx, &fleet{e, goal}, goal, e.bounds); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// fleet lets a change drive the subject's instances.
type fleet struct {
	env  *environment
	goal rolling.Goal
}

// Instances implements rolling.Fleet.
func (f *fleet) Instances(context.Context) ([]rolling.Instance, <-chan struct{}, error) {
	f.env.mu.Lock()
	defer f.env.mu.Unlock()
	out := append([]rolling.Instance(nil), f.env.ended...)
	for _, i := range f.env.instances {
		out = append(out, i.rolling())
	}
	return out, f.env.changed, nil
}

// Start implements rolling.Fleet.
func (f *fleet) Start(context.Context) (string, error) {
	i, err := f.env.startSubject(f.goal)
	if err != nil {
		return "", err
	}
	return i.id, nil
}

// Stop implements rolling.Fleet.
func (f *fleet) Stop(_ context.Context, id string) error {
	i, err := f.env.find(id)
	if errors.Is(err, errNoInstance) {
		return nil // it went by itself since the list was made
	}
	if err != nil {
		return err
	}
	return f.env.stop(i)
}

// Watch implements drivers.Env.
func (e *environment) Watch() <-chan drivers.Event { return e.events.Watch() }

var errNoInstance = errors.New("no such instance")

func (e *environment) find(id string) (*instance, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.isClosing {
		return nil, drivers.ErrClosed
	}
	for _, i := range e.instances {
		if i.id == id {
			return i, nil
		}
	}
	return nil, fmt.Errorf("%w: %s", errNoInstance, id)
}

// Close implements drivers.Env. The balancer lets go of the subject first, then its
// instances are stopped, then the dependencies, the last one started first.
func (e *environment) Close(ctx context.Context) error {
	stopRush := context.AfterFunc(ctx, func() { e.rushed.Do(func() { close(e.hurry) }) })
	defer stopRush()
	e.mu.Lock()
	first := !e.isClosing
	e.isClosing = true
	e.mu.Unlock()
	if !first {
		<-e.closed
		return e.end
	}
	close(e.closing)
	e.changing.Lock() // a change that was under way ends first
	defer e.changing.Unlock()
	var errs []error
	e.mu.Lock()
	subjects, deps := slices.Clone(e.instances), e.deps
	e.mu.Unlock()
	for _, i := range subjects {
		errs = append(errs, e.stop(i))
	}
	e.subjects.Wait()
	for n := len(deps) - 1; n >= 0; n-- {
		errs = append(errs, e.stop(deps[n]))
		<-deps[n].over
	}
	e.dependencies.Wait()
	e.nursery.close()

	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), edgeGrace)
	defer cancel()
	_, err := killMarked(clean, func(m marked) bool { return m.deployment == e.deployment })
	errs = append(errs, err, e.balancer.Close(clean))
	e.events.Close()
	e.driver.forget(e)
	e.end = errors.Join(errs...)
	close(e.closed)
	return e.end
}

// Kill implements drivers.Killer: SIGKILL to the instance's process group. It returns
// once the process has ended.
func (e *environment) Kill(ctx context.Context, instanceID string) error {
	c, err := e.childOf(instanceID)
	if err != nil {
		return fmt.Errorf("kill: %w", err)
	}
	if err := c.kill(); err != nil {
		return fmt.Errorf("kill %s: %w", instanceID, err)
	}
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("kill %s: waiting for the end of process %d: %w", instanceID, c.pid, context.Cause(ctx))
	}
}

// Pause implements drivers.Pauser: SIGSTOP to the instance's process group. It returns
// once the process has stopped.
func (e *environment) Pause(_ context.Context, instanceID string) error {
	c, err := e.childOf(instanceID)
	if err != nil {
		return fmt.Errorf("pause: %w", err)
	}
	if err := c.pause(); err != nil {
		return fmt.Errorf("pause %s: %w", instanceID, err)
	}
	return nil
}

// Resume implements drivers.Pauser. An instance that is not paused is left alone.
func (e *environment) Resume(_ context.Context, instanceID string) error {
	c, err := e.childOf(instanceID)
	if err != nil {
		return fmt.Errorf("resume: %w", err)
	}
	if err := c.resume(); err != nil {
		return fmt.Errorf("resume %s: %w", instanceID, err)
	}
	return nil
}

func (e *environment) childOf(instanceID string) (*child, error) {
	i, err := e.find(instanceID)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !i.running {
		return nil, fmt.Errorf("instance %s does not run: %s", instanceID, i.why())
	}
	return i.child, nil
}

// Logs implements drivers.Logger: the last 64 KiB of what an instance wrote, also of one
// that is gone.
func (e *environment) Logs(_ context.Context, instanceID string) (string, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t, ok := e.logs[instanceID]
	if !ok {
		return "", fmt.Errorf("logs: %w: %s", errNoInstance, instanceID)
	}
	return t.String(), nil
}

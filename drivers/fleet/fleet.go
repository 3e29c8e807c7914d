// Package fleet is what drivers share whose runtime brings no balancer: the instances of
// one deployed stack, the balancer that routes to those that the runtime calls ready, and
// the changes that are made to them, as internal/rolling plans them. It starts and stops nothing itself and
// asks no instance how it is: a Runtime does, and reports through the methods of Instance.
package fleet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/lifecycle"
	"github.com/rollout-lab/rollout-lab/internal/edge"
)

// cleanGrace is how long it may take to remove what is left once every instance is gone, and
// the requests in the balancer to end.
const cleanGrace = 30 * time.Second

// ErrNoInstance: there is no such instance of the subject, or none any more.
var ErrNoInstance = errors.New("no such instance")

// Runtime starts and stops instances and reports what becomes of them through their
// methods, from any goroutine. It must not call those while holding a lock that it takes
// in a method of this interface.
type Runtime interface {
	// Create brings a new instance into being and returns once the runtime has accepted
	// it. It calls SetAddrs before Started and before it returns. When it fails, nothing
	// of the instance is left and nothing more is reported of it.
	Create(ctx context.Context, i *Instance) error

	// Stop asks the instance to stop and returns before it has. The runtime gives it
	// i.Service.StopGrace, ends it then, removes what is left of it, and calls Gone, also
	// when Stop reports an error. An instance is stopped once at most; it may have ended
	// by itself meanwhile.
	Stop(ctx context.Context, i *Instance) error

	// End takes away the grace of an instance that was asked to stop. Gone follows. It may
	// be called more than once.
	End(i *Instance)
}

// Restarter is an optional capability of a Runtime: it restarts an instance in place, as
// the same instance with the same addresses. Environment.Restart then does not replace
// instances. Where none may be unavailable it starts one more for the time that it takes,
// unless the service's address stays open (Service.Socket).
type Restarter interface {
	// Restart returns when the runtime says that the restart is complete; it has reported
	// Exited, Started and SetReady by then, so that nothing said before it stands. A stop
	// that is asked for during it wins.
	Restart(ctx context.Context, i *Instance) error
}

// Config says what to deploy and how.
type Config struct {
	Stack   drivers.Stack
	Runtime Runtime
	// Clean removes what is left once every instance is gone, such as a network. It is
	// called once, by Close, with a context that has a deadline and no other end. nil
	// means that nothing can be left.
	Clean func(context.Context) error
}

// Environment implements drivers.Env. A driver embeds it and adds capabilities.
type Environment struct {
	stack    drivers.Stack
	runtime  Runtime
	clean    func(context.Context) error
	balancer *edge.Balancer
	events   drivers.EventLog
	life     *lifecycle.Life
	changed  drivers.Broadcast // of the instances

	mu        sync.Mutex
	goal      goal
	instances []*Instance // of the subject, oldest first
	started   int         // instances of the subject so far
	deps      []*Instance // in the order in which they were started
	places    map[string]map[string]string
	stopErrs  []error // of stops that were waited for

	stops sync.WaitGroup // those that are waited for
}

// New validates the stack and starts its balancer. The caller must Close the environment.
func New(config Config) (*Environment, error) {
	stack := config.Stack
	if err := stack.Validate(); err != nil {
		return nil, err
	}
	balancer, err := newBalancer(stack)
	if err != nil {
		return nil, err
	}
	clean := config.Clean
	if clean == nil {
		clean = func(context.Context) error { return nil }
	}
	e := &Environment{
		stack: stack, runtime: config.Runtime, clean: clean, balancer: balancer,
		goal:   goal{replicas: stack.Replicas, revision: stack.Revision},
		places: map[string]map[string]string{},
	}
	e.life = lifecycle.New(e.shutdown)
	return e, nil
}

// newBalancer starts the balancer in front of a stack's subject.
func newBalancer(stack drivers.Stack) (*edge.Balancer, error) {
	config := edge.Config{Policy: stack.Balancer.Policy, Wire: stack.Subject.Wire}
	if t := stack.Balancer.Terminate; t != nil {
		pair, err := tls.X509KeyPair(t.Certificate, t.Key)
		if err != nil {
			return nil, fmt.Errorf("balancer: its certificate and key: %w", err)
		}
		config.Certificate = &pair
	}
	return edge.New(config)
}

// Deploy starts the dependencies in their order and then the subject, and returns once
// every instance serves, asked directly, and the balancer routes to it. When it fails it
// closes the environment, without grace.
func (e *Environment) Deploy(ctx context.Context) error { return e.life.Deploy(ctx, e.deploy) }

func (e *Environment) deploy(ctx context.Context) error {
	for _, service := range e.stack.Dependencies {
		i := e.newInstance(service, service.Name+"-1", "", false)
		if err := e.create(ctx, i); err != nil {
			return err
		}
		if err := e.awaitServing(ctx, i); err != nil {
			return err
		}
		e.mu.Lock()
		e.places[service.Name] = maps.Clone(i.peers)
		i.everUp = true
		e.mu.Unlock()
	}
	var first []*Instance
	for range e.stack.Replicas {
		i, err := e.startSubject(ctx, e.goal)
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
func (e *Environment) startSubject(ctx context.Context, to goal) (*Instance, error) {
	at, err := e.stack.At(to.revision)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	e.started++
	id := fmt.Sprintf("%s-%d", at.Subject.Name, e.started)
	e.mu.Unlock()
	i := e.newInstance(at.Subject, id, to.revision, true)
	i.Generation = to.generation
	if err := e.create(ctx, i); err != nil {
		return nil, err
	}
	return i, nil
}

// create lets the runtime create an instance.
func (e *Environment) create(ctx context.Context, i *Instance) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	e.mu.Lock()
	if i.Subject {
		e.instances = append(e.instances, i)
	} else {
		e.deps = append(e.deps, i)
	}
	e.mu.Unlock()
	if err := e.runtime.Create(ctx, i); err != nil {
		e.abandon(i, err)
		return fmt.Errorf("instance %s: %w", i.ID, err)
	}
	return nil
}

// abandon forgets an instance that could not be created. Watchers that were told of its
// start are told of its end.
func (e *Environment) abandon(i *Instance, err error) {
	e.mu.Lock()
	was := !i.born.IsZero()
	if !was {
		e.drop(i)
	}
	e.mu.Unlock()
	if was {
		i.Gone(err.Error())
	}
}

// awaitServing waits until an instance serves, asked directly.
func (e *Environment) awaitServing(ctx context.Context, i *Instance) error {
	ctx, done := lifecycle.Until(ctx, i.over, errors.New("it ended"))
	defer done()
	err := lifecycle.AwaitServing(ctx, i.Service, func(ctx context.Context, probe drivers.Probe) error {
		_, err := probe.Ask(ctx, i.addr(probe.Port))
		return err
	}, i.hopeless)
	if err != nil {
		return fmt.Errorf("instance %s: %w; %s", i.ID, err, i.story())
	}
	return nil
}

// awaitRouted waits until the balancer routes to all of the instances at once.
func (e *Environment) awaitRouted(ctx context.Context, instances []*Instance) error {
	var missing *Instance
	err := e.changed.Wait(ctx, func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		missing = nil
		for _, i := range instances {
			if !i.ready {
				missing = i
			}
		}
		return missing == nil || missing.isOver
	})
	switch {
	case err == nil && missing == nil:
		return nil
	case err == nil:
		err = fmt.Errorf("%w: it ended", drivers.ErrNotServing)
	case missing.saidNo():
		err = fmt.Errorf("%w: %w", drivers.ErrNotServing, err)
	}
	return fmt.Errorf("instance %s is not ready by its signal: %w; %s", missing.ID, err, missing.story())
}

// drop forgets an instance of the subject; the caller holds e.mu.
func (e *Environment) drop(i *Instance) {
	same := func(other *Instance) bool { return other == i }
	e.instances = slices.DeleteFunc(e.instances, same)
	e.deps = slices.DeleteFunc(slices.Clone(e.deps), same)
	e.changed.Send()
}

// URL implements drivers.Env.
func (e *Environment) URL() string { return e.balancer.URL() }

// Trace implements drivers.Tracer.
func (e *Environment) Trace(client netip.AddrPort) (drivers.Way, bool) {
	return e.balancer.Trace(client)
}

// Closing is closed when the environment begins to close.
func (e *Environment) Closing() <-chan struct{} { return e.life.Closing() }

// Lost tells the watchers that the runtime's source of events broke.
func (e *Environment) Lost(detail string) {
	e.events.Append(drivers.Event{At: time.Now(), Kind: drivers.Lost, Detail: detail})
}

// Endpoint implements drivers.Env.
func (e *Environment) Endpoint(_ context.Context, service, port string) (string, error) {
	if err := e.life.Err(); err != nil {
		return "", err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, i := range e.deps {
		if i.Service.Name != service {
			continue
		}
		addr, ok := i.reach[port]
		if !ok {
			return "", fmt.Errorf("dependency %s has no port %q", service, port)
		}
		return "http://" + addr, nil
	}
	return "", fmt.Errorf("no dependency %q", service)
}

// Instances implements drivers.Env.
func (e *Environment) Instances(context.Context) ([]drivers.Instance, error) {
	if err := e.life.Err(); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make([]drivers.Instance, 0, len(e.instances))
	for _, i := range e.instances {
		if i.reach == nil {
			continue // it is still being created
		}
		out = append(out, i.public())
	}
	return out, nil
}

// Watch implements drivers.Env.
func (e *Environment) Watch() <-chan drivers.Event { return e.events.Watch() }

// Find returns an instance of the subject that is not gone, by its ID.
func (e *Environment) Find(id string) (*Instance, error) {
	if err := e.life.Err(); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.find(id)
}

func (e *Environment) find(id string) (*Instance, error) {
	for _, i := range e.instances {
		if i.ID == id {
			return i, nil
		}
	}
	return nil, fmt.Errorf("%w: %s", ErrNoInstance, id)
}

// Close implements drivers.Env.
func (e *Environment) Close(ctx context.Context) error { return e.life.Close(ctx) }

// heal takes faults away before the instances are stopped, so that they hear that they are to stop.
func (e *Environment) heal(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, cleanGrace)
	defer cancel()
	return e.life.HealAll(ctx)
}

// shutdown lets the balancer let go of the subject first, then stops its instances, then
// the dependencies, the last one started first.
func (e *Environment) shutdown(ctx context.Context) error {
	over := make(chan struct{})
	var forcing sync.WaitGroup
	forcing.Go(func() {
		select {
		case <-e.life.Forced():
			e.endAll()
		case <-over:
		}
	})
	errs := []error{e.heal(ctx)}
	e.mu.Lock()
	subjects, deps := slices.Clone(e.instances), slices.Clone(e.deps)
	e.mu.Unlock()
	for _, i := range subjects {
		errs = append(errs, e.stop(ctx, i))
	}
	for _, i := range subjects {
		<-i.gone
	}
	for _, i := range slices.Backward(deps) {
		errs = append(errs, e.stop(ctx, i))
		<-i.gone
	}
	close(over)
	forcing.Wait()
	e.stops.Wait()
	errs = append(errs, e.stopErrs...)
	ctx, cancel := context.WithTimeout(ctx, cleanGrace)
	defer cancel()
	errs = append(errs, e.clean(ctx), e.balancer.Close(ctx))
	e.events.Close()
	return errors.Join(errs...)
}

// endAll takes the grace from every instance that was asked to stop. Those that will be
// lose it in stop.
func (e *Environment) endAll() {
	var stopped []*Instance
	e.mu.Lock()
	for _, i := range append(slices.Clone(e.instances), e.deps...) {
		if i.asked {
			stopped = append(stopped, i)
		}
	}
	e.mu.Unlock()
	for _, i := range stopped {
		e.runtime.End(i)
	}
}

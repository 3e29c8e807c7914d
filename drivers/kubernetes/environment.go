package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/lifecycle"
)

// environment implements drivers.Env for a subject of any kind.
type environment struct {
	*site
	subject subject

	draining sync.Mutex
	drained  map[string]*drainage // by node; draining is held
}

// Assert the capabilities, which callers ask for by type.
var (
	_ drivers.Logger   = (*environment)(nil)
	_ drivers.Noter    = (*environment)(nil)
	_ drivers.Injector = (*environment)(nil)
)

// newEnvironment refuses a stack that cannot be said in Kubernetes' words, before anything
// is created.
func newEnvironment(d *Driver, c *cluster, stack drivers.Stack, l layout) (*environment, error) {
	s := &site{driver: d, cluster: c, stack: stack, layout: l}
	s.view = newView(c.dial, l.namespace, stack, s.events.Append)
	s.entry = &entry{driver: d, cluster: c, namespace: l.namespace, subject: stack.Subject.Name}
	s.explain = explainer{s}
	subject, err := newSubject(s)
	if err != nil {
		return nil, err
	}
	e := &environment{site: s, subject: subject, drained: map[string]*drainage{}}
	s.life = lifecycle.New(e.shutdown)
	return e, nil
}

// deploy creates everything and waits until it serves.
func (e *environment) deploy(ctx context.Context) error {
	generation, err := e.subject.deploy(ctx)
	if err != nil {
		return err
	}
	if err := e.awaitSubject(ctx); err != nil {
		return err
	}
	if err := e.await(ctx, generation); err != nil {
		if !errors.Is(err, drivers.ErrClosed) {
			err = fmt.Errorf("%w: %w", drivers.ErrNotServing, err)
		}
		return fmt.Errorf("deployment %s serves, but its readiness signal does not say so: %w; %s", e.deploymentName(), err, e.explain.subject(ctx))
	}
	return e.awaitEntry(ctx)
}

// Notes implements drivers.Noter.
func (e *environment) Notes() []string { return slices.Clone(e.notes) }

// URL implements drivers.Env.
func (e *environment) URL() string {
	return e.stack.Subject.Wire.Scheme() + "://" + e.entry.addr
}

// Watch implements drivers.Env.
func (e *environment) Watch() <-chan drivers.Event { return e.events.Watch() }

// Endpoint implements drivers.Env.
func (e *environment) Endpoint(_ context.Context, service, port string) (string, error) {
	if err := e.life.Err(); err != nil {
		return "", err
	}
	e.view.mu.Lock()
	defer e.view.mu.Unlock()
	addr, err := e.view.paths.endpoint(service, port)
	if err != nil {
		return "", err
	}
	return "http://" + addr, nil
}

// Instances implements drivers.Env. It tells what the watches have told, without a request.
func (e *environment) Instances(context.Context) ([]drivers.Instance, error) {
	if err := e.life.Err(); err != nil {
		return nil, err
	}
	return e.view.instances(), nil
}

// Scale implements drivers.Env.
func (e *environment) Scale(ctx context.Context, replicas int) error {
	what := fmt.Sprintf("scale to %d", replicas)
	if replicas < 0 {
		return fmt.Errorf("%s: the number may not be negative", what)
	}
	return e.change(ctx, what, func(ctx context.Context) (int64, error) {
		w := e.view.wanted()
		if w.paused { // by a change that was cancelled; resume it with the number
			w.replicas, w.paused = replicas, false
			return e.subject.apply(ctx, w)
		}
		return e.subject.scale(ctx, replicas)
	})
}

// Restart implements drivers.Env.
func (e *environment) Restart(ctx context.Context) error {
	return e.change(ctx, "restart", func(ctx context.Context) (int64, error) {
		w := e.view.wanted()
		w.restarted, w.paused = now(), false
		return e.subject.apply(ctx, w)
	})
}

// Rollout implements drivers.Env.
func (e *environment) Rollout(ctx context.Context, revision string) error {
	if _, err := e.stack.At(revision); err != nil {
		return fmt.Errorf("rollout: %w", err)
	}
	return e.change(ctx, "rollout to "+revision, func(ctx context.Context) (int64, error) {
		w := e.view.wanted()
		w.revision, w.paused = revision, false
		return e.subject.apply(ctx, w)
	})
}

// change makes one change and waits until it is complete. One that does not complete in
// time is paused, so that it stops where it is.
func (e *environment) change(ctx context.Context, what string, do func(context.Context) (generation int64, err error)) error {
	return e.life.Change(ctx, what, func(ctx context.Context) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		generation, err := do(ctx)
		if err != nil && ctx.Err() == nil {
			return err
		}
		if err == nil {
			err = e.await(ctx, generation)
		} else {
			err = context.Cause(ctx) // the request may have arrived
		}
		if err == nil || errors.Is(err, drivers.ErrClosed) {
			return err
		}
		if paused := e.pause(ctx); paused != nil {
			err = fmt.Errorf("%w; it goes on, because it could not be paused: %w", err, paused)
		}
		return fmt.Errorf("%w; %s", err, e.explain.subject(ctx))
	})
}

// pause stops a change that was cancelled.
func (e *environment) pause(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), pauseLimit, fmt.Errorf("no answer within %v", pauseLimit))
	defer cancel()
	w := e.view.wanted()
	w.paused = true
	_, err := e.subject.apply(ctx, w)
	return err
}

// await waits until the subject is as the wanted state says: by its Deployment, by its
// pods and by its endpoints.
func (e *environment) await(ctx context.Context, generation int64) error {
	still, err := e.view.wait(ctx, func() string { return e.view.missing(generation) })
	if err == nil || errors.Is(err, drivers.ErrClosed) {
		return err
	}
	return fmt.Errorf("waited for %s: %w", still, err)
}

// Close implements drivers.Env.
func (e *environment) Close(ctx context.Context) error {
	return e.life.Close(ctx)
}

// shutdown removes everything, or restores it.
func (e *environment) shutdown(ctx context.Context) error {
	defer e.driver.running.Remove(e)
	ctx, cancel := context.WithTimeoutCause(ctx, e.gracePeriod()+closeLimit, fmt.Errorf("not gone %v after every grace", closeLimit))
	defer cancel()
	if err := e.entry.check(ctx); err != nil {
		e.events.Append(drivers.Event{Kind: drivers.Lost, Detail: err.Error()})
	}
	err := e.life.HealAll(ctx)
	err = errors.Join(err, e.subject.remove(ctx))
	e.view.close()
	e.events.Close()
	return err
}

// Logs implements drivers.Logger.
func (e *environment) Logs(ctx context.Context, instanceID string) (string, error) {
	return e.logs(ctx, instanceID, logLines, false)
}

// logLines is how many lines of an instance Logs returns.
const logLines = 100

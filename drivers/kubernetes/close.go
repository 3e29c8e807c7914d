package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/kubernetes/portforward"
)

// Close implements drivers.Env.
func (e *environment) Close(ctx context.Context) error {
	e.shutting.Do(func() {
		close(e.closing)
		go e.shutdown(context.WithoutCancel(ctx))
	})
	select {
	case <-e.closed:
		return e.end
	case <-ctx.Done():
	}
	e.rushed.Do(func() { close(e.hurry) })
	<-e.closed
	return e.end
}

// shutdown removes everything: the subject, then the dependencies, the last one first.
func (e *environment) shutdown(ctx context.Context) {
	defer close(e.closed)
	defer e.driver.running.Remove(e)
	ctx, cancel := context.WithTimeoutCause(ctx, e.gracePeriod()+closeLimit, fmt.Errorf("not gone %v after every grace", closeLimit))
	defer cancel()
	e.changing.Lock() // a change that was under way has seen e.closing
	defer e.changing.Unlock()
	e.checkEntry(ctx)
	err := e.remove(ctx)
	e.stop()
	e.mu.Lock()
	forwards := make([]*portforward.Forward, 0, len(e.forwards)+len(e.deps))
	for _, f := range e.forwards {
		forwards = append(forwards, f)
	}
	for _, f := range e.deps {
		forwards = append(forwards, f)
	}
	e.mu.Unlock()
	for _, f := range forwards {
		f.Close()
	}
	e.following.Wait()
	e.events.Close()
	e.end = err
}

// checkEntry reports it when the way into the cluster has broken under the load: what was
// refused since then says nothing about the subject. A mapped port takes connections
// whatever is behind it, so that nobody takes one is the mapping's own trouble.
func (e *environment) checkEntry(ctx context.Context) {
	addr, mapped := strings.CutPrefix(e.url, "http://")
	if !mapped || len(e.driver.config.NodePorts) == 0 {
		return
	}
	if err := listens(ctx, addr); err != nil {
		e.events.Append(drivers.Event{Kind: drivers.Lost, Detail: err.Error()})
	}
}

func (e *environment) gracePeriod() time.Duration {
	var sum time.Duration
	for _, s := range e.services() {
		sum += s.StopGrace + s.PreStop
	}
	return sum
}

func (e *environment) remove(ctx context.Context) error {
	if e.foreign != nil {
		return e.removeForeign(ctx)
	}
	services := e.services()
	r := removal{e.cluster, e.layout.namespace, labels.Set{labelDeployment: e.layout.labels[labelDeployment]}.String(), e.driver.config.Processes}
	for n := len(services) - 1; n >= 0; n-- {
		selector := labels.Set(e.layout.selector(services[n].Name)).String()
		if err := r.workloads(ctx, selector); err != nil {
			return err
		}
		if err := r.pods(ctx, selector, e.hurry); err != nil {
			return err
		}
	}
	// The watch tells a little later than the list.
	if err := e.awaitAllGone(ctx); err != nil {
		return err
	}
	if e.ownNamespace() {
		return r.wholeNamespace(ctx)
	}
	return r.services(ctx)
}

func (e *environment) awaitAllGone(ctx context.Context) error {
	for {
		e.mu.Lock()
		pods, changed := len(e.tracker.pods), e.changed
		e.mu.Unlock()
		if pods == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return errors.New("the pods are gone, but the watch does not say so")
		}
	}
}

package docker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
)

// The engine is looked for again after these pauses, each twice as long as the one before.
const (
	firstBackoff = 50 * time.Millisecond
	maxBackoff   = 2 * time.Second
)

func longer(wait time.Duration) time.Duration { return min(2*wait, maxBackoff) }

// watch reads the engine's events about the containers of one deployment and hands them to
// the instances.
type watch struct {
	env    *environment
	cancel context.CancelFunc
	done   sync.WaitGroup
	last   int64 // engine's time of the latest event, ns
}

// stream is one connection to the engine's events.
type stream struct {
	messages <-chan events.Message
	errs     <-chan error
	close    context.CancelFunc
}

// newWatch returns with the stream open.
func newWatch(e *environment) *watch {
	ctx, cancel := context.WithCancel(context.Background())
	w := &watch{env: e, cancel: cancel}
	s := w.open(ctx)
	w.done.Go(func() { w.run(ctx, s) })
	return w
}

// close ends the watch and waits for its end.
func (w *watch) close() {
	w.cancel()
	w.done.Wait()
}

// open asks for the events from the last one on that was seen. The label is of this
// deployment alone, so that none is older than it; to ask for them from the beginning
// leaves no gap between the question and the first container.
func (w *watch) open(ctx context.Context) stream {
	ctx, cancel := context.WithCancel(ctx)
	args := filters.NewArgs(
		filters.Arg("type", string(events.ContainerEventType)),
		filters.Arg("label", labelDeployment+"="+w.env.labels[labelDeployment]),
	)
	for _, a := range actions {
		args.Add("event", string(a))
	}
	since := time.Unix(1, 0).UnixNano()
	if w.last != 0 {
		since = w.last
	}
	messages, errs := w.env.engine.Events(ctx, events.ListOptions{
		Since:   fmt.Sprintf("%d.%09d", since/int64(time.Second), since%int64(time.Second)),
		Filters: args,
	})
	return stream{messages, errs, cancel}
}

// run hands on the events until the watch is closed. When the stream breaks it says so,
// waits for the engine, and has every container inspected.
func (w *watch) run(ctx context.Context, s stream) {
	for {
		err := w.read(ctx, s)
		s.close()
		if ctx.Err() != nil {
			return
		}
		w.env.Lost("the engine's stream of events broke: " + err.Error())
		var ok bool
		if s, ok = w.reopen(ctx); !ok {
			return
		}
	}
}

// read hands on events until the stream breaks.
func (w *watch) read(ctx context.Context, s stream) error {
	for {
		select {
		case m := <-s.messages:
			w.last = max(w.last, m.TimeNano)
			if i := w.env.byContainer(m.Actor.ID); i != nil {
				i.reports.Put(report{event: &m})
			}
		case err := <-s.errs:
			if err == nil {
				err = errors.New("it was closed")
			}
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// reopen waits for the engine, opens the stream again and has all containers inspected.
// What the stream tells again, or what the inspection has found already, changes nothing.
func (w *watch) reopen(ctx context.Context) (s stream, ok bool) {
	for wait := firstBackoff; ; wait = longer(wait) {
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return stream{}, false
		}
		if err := w.env.engine.Alive(ctx); err != nil {
			continue
		}
		s := w.open(ctx)
		if err := w.relist(ctx); err != nil {
			s.close()
			continue
		}
		return s, true
	}
}

func (w *watch) relist(ctx context.Context) error {
	for _, i := range w.env.all() {
		if err := w.env.inspect(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

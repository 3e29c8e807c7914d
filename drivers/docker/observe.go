package docker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// composeService is the label by which compose says what a container is an instance of.
const composeService = "com.docker.compose.service"

// signals are those with which a container is asked to end, as the engine's events have them.
var signals = []string{"2", "3", "9", "15", "SIGINT", "SIGQUIT", "SIGKILL", "SIGTERM"}

// Observe implements drivers.Observer: it watches the containers that have that name, whose
// name begins with it, or that are instances of that service of compose. A container without
// a health check is ready while it runs.
func (d *Driver) Observe(ctx context.Context, what string) (drivers.Observation, error) {
	e, err := d.connect(ctx)
	if err != nil {
		return nil, err
	}
	if what == "" {
		return nil, errors.New("watch: no container is named so")
	}
	o := &observation{engine: e, what: what, seen: map[string]*observed{}}
	following, stop := context.WithCancel(context.WithoutCancel(ctx))
	o.stop = stop
	s := o.open(following)
	if err := o.relist(ctx); err != nil {
		s.close()
		return nil, errors.Join(err, o.Close(ctx))
	}
	if len(o.seen) == 0 {
		s.close()
		return nil, errors.Join(&drivers.HintError{
			Err:  fmt.Errorf("no container is called %s, has a name that begins so, or is of that compose service", what),
			Hint: "docker ps lists the names",
		}, o.Close(ctx))
	}
	o.following.Go(func() { o.follow(following, s) })
	return o, nil
}

// observation is what is said of containers that somebody else has started.
type observation struct {
	engine    *engine
	what      string
	log       drivers.EventLog
	stop      context.CancelFunc
	following sync.WaitGroup
	last      int64 // engine's time of the latest event, ns

	seen map[string]*observed // by ID; of one goroutine, after the first list
}

// observed is a container.
type observed struct {
	status
	name   string
	signal drivers.ProbeKind // image where it has a health check
	routed bool              // its last event was Ready
	asked  bool              // it was told to stop, and has not been started since
}

// Watch implements drivers.Observation.
func (o *observation) Watch() <-chan drivers.Event { return o.log.Watch() }

// Close implements drivers.Observation.
func (o *observation) Close(context.Context) error {
	o.stop()
	o.following.Wait()
	o.log.Close()
	return nil
}

// open asks for the events from now on, or from the last one on that was seen.
func (o *observation) open(ctx context.Context) stream {
	ctx, cancel := context.WithCancel(ctx)
	args := filters.NewArgs(filters.Arg("type", string(events.ContainerEventType)))
	for _, a := range append(slices.Clone(actions), events.ActionKill) {
		args.Add("event", string(a))
	}
	options := events.ListOptions{Filters: args}
	if o.last != 0 {
		options.Since = fmt.Sprintf("%d.%09d", o.last/int64(time.Second), o.last%int64(time.Second))
	}
	messages, errs := o.engine.Events(ctx, options)
	return stream{messages, errs, cancel}
}

// follow hands on the events until the observation is closed. When the stream breaks it says
// so, and lists everything again.
func (o *observation) follow(ctx context.Context, s stream) {
	for {
		err := o.read(ctx, s)
		s.close()
		if ctx.Err() != nil {
			return
		}
		o.log.Append(drivers.Event{Kind: drivers.Lost, Detail: "the engine's stream of events broke: " + err.Error()})
		for wait := firstBackoff; ; wait = longer(wait) {
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return
			}
			s = o.open(ctx)
			if o.relist(ctx) == nil {
				break
			}
			s.close()
		}
	}
}

func (o *observation) read(ctx context.Context, s stream) error {
	for {
		select {
		case m := <-s.messages:
			o.last = max(o.last, m.TimeNano)
			o.hear(ctx, m)
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

// matches reports whether a container is one of those that are watched.
func (o *observation) matches(name string, labels map[string]string) bool {
	return strings.HasPrefix(name, o.what) || labels[composeService] == o.what
}

// hear takes in an event of the engine.
func (o *observation) hear(ctx context.Context, m events.Message) {
	name := m.Actor.Attributes["name"]
	c := o.seen[m.Actor.ID]
	if c == nil && !o.matches(name, m.Actor.Attributes) {
		return
	}
	action, _, _ := strings.Cut(string(m.Action), ": ")
	switch {
	case c == nil && events.Action(action) == events.ActionStart:
		// Whether it has a health check no event tells.
		if err := o.inspect(ctx, m.Actor.ID); err != nil && !isNotFound(err) && ctx.Err() == nil {
			o.log.Append(drivers.Event{Kind: drivers.Lost, Detail: fmt.Sprintf("inspect container %s: %v", name, err)})
		}
	case c == nil:
	case events.Action(action) == events.ActionKill:
		if c.running && !c.asked && slices.Contains(signals, m.Actor.Attributes["signal"]) {
			c.asked = true
			o.say(m.Actor.ID, drivers.Terminating, "signal "+m.Actor.Attributes["signal"])
		}
	default:
		o.take(m.Actor.ID, report{event: &m})
	}
}

// relist takes in every container that there is now.
func (o *observation) relist(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	list, err := o.engine.ContainerList(ctx, container.ListOptions{})
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	left := map[string]bool{}
	for id := range o.seen {
		left[id] = true
	}
	for _, c := range list {
		named := slices.ContainsFunc(c.Names, func(name string) bool { return o.matches(strings.TrimPrefix(name, "/"), c.Labels) })
		if !named && o.seen[c.ID] == nil {
			continue
		}
		delete(left, c.ID)
		if err := o.inspect(ctx, c.ID); err != nil && !isNotFound(err) {
			return err
		}
	}
	for id := range left { // it does not run any more
		if err := o.inspect(ctx, id); isNotFound(err) {
			o.take(id, report{notFound: true})
		} else if err != nil {
			return err
		}
	}
	return nil
}

// inspect takes in how a container is now.
func (o *observation) inspect(ctx context.Context, id string) error {
	now, err := o.engine.ContainerInspect(ctx, id)
	if err != nil {
		return err
	}
	c := o.seen[id]
	if c == nil {
		c = &observed{name: strings.TrimPrefix(now.Name, "/"), signal: drivers.ProbeNone}
		if now.State.Health != nil {
			c.signal = drivers.ProbeImage
		}
		o.seen[id] = c
	}
	o.take(id, report{found: now.State})
	return nil
}

// take takes in a report on a container, and says what is new in it.
func (o *observation) take(id string, r report) {
	c := o.seen[id]
	for _, change := range c.transition(r) {
		switch change.kind {
		case started:
			c.asked = false
			o.say(id, drivers.Started, change.detail)
		case died:
			if c.routed {
				c.routed = false
				o.say(id, drivers.Unready, "container does not run")
			}
			o.say(id, drivers.Gone, change.detail)
		}
	}
	is, why := c.ready(c.signal)
	if is == c.routed || !c.running {
		return
	}
	c.routed = is
	kind := drivers.Unready
	if is {
		kind = drivers.Ready
	}
	o.say(id, kind, why)
}

// say records what became of a container. Two may have the same name, one after the other.
func (o *observation) say(id string, kind drivers.EventKind, detail string) {
	o.log.Append(drivers.Event{Kind: kind, Instance: o.seen[id].name + "@" + id[:min(8, len(id))], Detail: detail})
}

package fleet

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/lifecycle"
	"github.com/rollout-lab/rollout-lab/internal/edge"
)

// stableAfter: an instance whose process lived shorter has crashed at its start.
const stableAfter = 5 * time.Second

// Instance is one instance of a service. The exported fields never change. Its methods
// may be called concurrently; those by which a runtime reports do not wait for anything
// but each other.
type Instance struct {
	ID         string
	Revision   string
	Generation int
	Service    drivers.Service
	Subject    bool // not a dependency

	env   *Environment
	stopC chan struct{} // closed when it is asked to stop
	over  chan struct{} // closed when it has ended for good
	gone  chan struct{} // closed when it exists no more

	// Guarded by env.mu.
	reach, peers map[string]string // host:port by port name
	output       func() string
	born         time.Time
	running      bool
	stopped      bool          // stopC is closed
	asked        bool          // Runtime.Stop was called
	isOver       bool          // over is closed
	isGone       bool          // gone is closed
	barred       bool          // the balancer was told that it stops: it is not routed to again
	held         bool          // the balancer was told of a restart that has not begun
	cut          chan struct{} // closed when its process has ended while its stop is waited for; nil before
	ready        bool          // routed to
	everUp       bool          // was ready once
	crashes      int           // short lives in a row
	answer       string
	exit         string // how its process ended last
	lastOutput   string // what it wrote last before that
}

func (e *Environment) newInstance(service drivers.Service, id, revision string, subject bool) *Instance {
	return &Instance{
		ID: id, Revision: revision, Service: service, Subject: subject, env: e,
		stopC: make(chan struct{}), over: make(chan struct{}), gone: make(chan struct{}),
	}
}

// SetAddrs says where the ports of the instance are, by name: reach is host:port from the
// lab, peers is host:port from other services; nil means that they are the same.
func (i *Instance) SetAddrs(reach, peers map[string]string) {
	if peers == nil {
		peers = reach
	}
	i.env.mu.Lock()
	defer i.env.mu.Unlock()
	i.reach, i.peers = maps.Clone(reach), maps.Clone(peers)
}

// Places is what the placeholders of the instance's service stand for, given where its
// ports are to listen.
func (i *Instance) Places(listen map[string]string) drivers.Places {
	i.env.mu.Lock()
	defer i.env.mu.Unlock()
	return drivers.Places{Instance: i.ID, Revision: i.Revision, Listen: listen, Addr: maps.Clone(i.env.places)}
}

// Output says where the last lines that the instance wrote come from, for errors. It is
// called without any lock.
func (i *Instance) Output(lines func() string) {
	i.env.mu.Lock()
	defer i.env.mu.Unlock()
	i.output = lines
}

// StopAsked is closed when the instance is asked to stop.
func (i *Instance) StopAsked() <-chan struct{} { return i.stopC }

// Over is closed when the instance has ended for good.
func (i *Instance) Over() <-chan struct{} { return i.over }

// Stopping says whether the instance was asked to stop.
func (i *Instance) Stopping() bool {
	i.env.mu.Lock()
	defer i.env.mu.Unlock()
	return i.stopped
}

// Routed says whether the balancer routes to the instance.
func (i *Instance) Routed() bool {
	i.env.mu.Lock()
	defer i.env.mu.Unlock()
	return i.ready
}

// WasReady says whether the instance has ever been routed to.
func (i *Instance) WasReady() bool {
	i.env.mu.Lock()
	defer i.env.mu.Unlock()
	return i.everUp
}

// Started reports that the instance runs, for the first time or again.
func (i *Instance) Started(detail string) {
	i.env.mu.Lock()
	defer i.env.mu.Unlock()
	if i.exit != "" {
		detail += ", after " + i.exit
	}
	i.running, i.born = true, time.Now()
	if i.Subject {
		started := i.event(drivers.Started, detail)
		started.Addr = i.reach[i.Service.Ports[0]]
		i.env.events.Append(started)
	}
	i.env.changed.Send()
}

// SetReady reports what the runtime says: whether requests may go to the instance. To
// repeat it changes nothing. An instance that has ended, or whose stop the balancer was
// told of, is not routed to whatever is said of it. That of a dependency is ignored.
func (i *Instance) SetReady(ready bool, detail string) {
	i.env.mu.Lock()
	defer i.env.mu.Unlock()
	if ready {
		i.route(detail)
	} else {
		i.unroute(detail)
	}
}

// Answer reports what the instance said when it was asked last, for errors.
func (i *Instance) Answer(text string) {
	i.env.mu.Lock()
	defer i.env.mu.Unlock()
	i.answer = text
}

// Exited reports that the instance's process has ended: how, and the last lines that it
// wrote. It returns how many short lives in a row that makes; an end that was asked for is
// none.
func (i *Instance) Exited(detail, output string) (crashes int) {
	i.env.mu.Lock()
	defer i.env.mu.Unlock()
	i.running, i.exit, i.lastOutput = false, detail, output
	if i.cut != nil {
		close(i.cut)
		i.cut = nil
	}
	if !i.stopped {
		if time.Since(i.born) >= stableAfter {
			i.crashes = 0
		}
		i.crashes++
	}
	i.env.changed.Send()
	return i.crashes
}

// Ended reports that the instance's process has ended and that no other will be started.
// A change counts it no more, although it is listed while something is left of it or
// routes to it: Gone must follow.
func (i *Instance) Ended() {
	i.env.mu.Lock()
	defer i.env.mu.Unlock()
	i.ended()
}

func (i *Instance) ended() {
	if i.isOver {
		return
	}
	i.isOver, i.running = true, false
	close(i.over)
	i.env.changed.Send()
}

// Gone reports that nothing is left of the instance. Nothing may be reported after it.
func (i *Instance) Gone(detail string) {
	i.env.mu.Lock()
	defer i.env.mu.Unlock()
	if i.isGone {
		return
	}
	i.ended()
	i.unroute(detail)
	if i.Subject {
		i.env.events.Append(i.event(drivers.Gone, detail))
		i.env.drop(i)
	}
	i.isGone = true
	close(i.gone)
	i.env.changed.Send()
}

func (i *Instance) event(kind drivers.EventKind, detail string) drivers.Event {
	return drivers.Event{At: time.Now(), Kind: kind, Instance: i.ID, Revision: i.Revision, Detail: detail}
}

// route and unroute make the balancer follow what the runtime says and tell the watchers; the
// caller holds env.mu.
func (i *Instance) route(detail string) {
	if !i.Subject || i.ready || i.barred || i.held || i.isOver {
		return
	}
	i.env.balancer.Route(edge.Endpoint{ID: i.ID, Revision: i.Revision, Addr: i.reach[i.Service.Ports[0]]})
	i.ready, i.everUp = true, true
	i.env.events.Append(i.event(drivers.Ready, detail))
	i.env.changed.Send()
}

func (i *Instance) unroute(detail string) {
	if !i.ready {
		return
	}
	i.env.balancer.Unroute(i.ID)
	i.ready = false
	i.env.events.Append(i.event(drivers.Unready, detail))
	i.env.changed.Send()
}

// stop asks an instance to stop, once. It returns before it has.
func (e *Environment) stop(ctx context.Context, i *Instance) error {
	e.mu.Lock()
	if i.stopped {
		e.mu.Unlock()
		return nil
	}
	i.stopped = true
	if i.Subject && !i.isGone {
		e.events.Append(i.event(drivers.Terminating, ""))
		switch {
		case e.life.Err() != nil:
			i.barred = true
			i.unroute("the environment is closed")
		case e.deregisters(i):
			i.barred = true
			i.unroute("the balancer was told of the stop")
		}
	}
	e.changed.Send()
	wait := i.Service.PreStop > 0 && i.running && !i.isGone && e.life.Err() == nil
	if wait {
		cut := make(chan struct{})
		i.cut = cut
		e.stops.Go(func() { e.stopLater(ctx, i, cut) })
	}
	e.mu.Unlock()
	if wait {
		return nil
	}
	return e.stopNow(ctx, i)
}

// deregisters says whether the balancer is told that an instance is about to stop. A wait before
// the stop is for that: Kubernetes takes a pod out of its Service when its preStop hook begins.
func (e *Environment) deregisters(i *Instance) bool {
	return e.stack.Balancer.DeregisterFirst || i.Service.PreStop > 0
}

// stopLater stops an instance once its pre-stop wait is over, or nobody gains by it any more.
func (e *Environment) stopLater(ctx context.Context, i *Instance, cut <-chan struct{}) {
	timer := time.NewTimer(i.Service.PreStop)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-cut:
	case <-i.gone:
	case <-e.life.Closing():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanGrace)
	defer cancel()
	if err := e.stopNow(ctx, i); err != nil {
		e.mu.Lock()
		e.stopErrs = append(e.stopErrs, err)
		e.mu.Unlock()
		e.Lost(err.Error()) // whoever waits for it to be gone waits in vain
	}
}

// stopNow has the runtime stop an instance that was found to stop.
func (e *Environment) stopNow(ctx context.Context, i *Instance) error {
	e.mu.Lock()
	i.cut = nil
	close(i.stopC)
	skip := i.isGone
	e.changed.Send()
	e.mu.Unlock()
	if skip {
		return nil
	}
	err := e.runtime.Stop(ctx, i)
	e.mu.Lock()
	i.asked = true
	e.mu.Unlock()
	select {
	case <-e.life.Forced():
		e.runtime.End(i)
	default:
	}
	if err != nil {
		return fmt.Errorf("stop %s: %w", i.ID, err)
	}
	return nil
}

// state is what the runtime says of the instance; the caller holds env.mu.
func (i *Instance) state() drivers.State {
	switch {
	case i.stopped:
		return drivers.StateTerminating
	case i.ready:
		return drivers.StateReady
	case i.everUp:
		return drivers.StateUnready
	}
	return drivers.StateStarting
}

// failed says whether the instance has ended by itself, for good; the caller holds env.mu.
func (i *Instance) failed() bool { return i.isOver && !i.stopped }

// public is the instance as the contract shows it; the caller holds env.mu.
func (i *Instance) public() drivers.Instance {
	return drivers.Instance{
		ID: i.ID, Revision: i.Revision, State: i.state(),
		Addr: i.reach[i.Service.Ports[0]], Ports: maps.Clone(i.reach),
	}
}

// why says, for people, what is wrong with the instance; the caller holds env.mu.
func (i *Instance) why() string {
	var parts []string
	switch {
	case !i.running && i.exit != "":
		parts = append(parts, "process ended: "+i.exit)
		if i.lastOutput != "" {
			parts = append(parts, "last output: "+i.lastOutput)
		}
	case i.answer != "":
		parts = append(parts, "last check: "+i.answer)
	}
	if i.crashes > 1 {
		parts = append(parts, fmt.Sprintf("ended %d times in a row", i.crashes))
	}
	if len(parts) == 0 {
		return "no check so far"
	}
	return strings.Join(parts, ", ")
}

// saidNo reports whether the instance itself is why it is not routed to: it was asked and
// said no, or it had to say yes unasked. Otherwise nobody has asked, which is the runtime's
// part.
func (i *Instance) saidNo() bool {
	i.env.mu.Lock()
	defer i.env.mu.Unlock()
	return i.answer != "" || i.Service.Notify
}

// story is what is known about an instance that is in trouble.
func (i *Instance) story() string {
	i.env.mu.Lock()
	s, output, ended := i.why(), i.output, !i.running && i.exit != ""
	i.env.mu.Unlock()
	if output == nil || ended {
		return s // the last words are in it
	}
	if last := output(); last != "" {
		s += "; last output: " + last
	}
	return s
}

func (i *Instance) addr(port string) string {
	i.env.mu.Lock()
	defer i.env.mu.Unlock()
	return i.reach[port]
}

// hopeless says why the instance will never serve, nil if it may.
func (i *Instance) hopeless() error {
	i.env.mu.Lock()
	defer i.env.mu.Unlock()
	if i.crashes >= lifecycle.CrashesAtDeploy {
		return fmt.Errorf("it ended %d times", i.crashes)
	}
	return nil
}

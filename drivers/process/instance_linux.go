package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/edge"
	"github.com/rollout-lab/rollout-lab/internal/rolling"
)

const (
	// A process that lived shorter than stableAfter has crashed at its start; from the
	// second such crash in a row on, the next start is put off, twice as long each time.
	stableAfter  = 5 * time.Second
	firstBackoff = 100 * time.Millisecond
	maxBackoff   = 5 * time.Second
	// portTries is how often the first start is repeated when somebody else took a port.
	portTries = 3
)

// instance is one instance of a service. What is below mu's line in environment is
// guarded by environment.mu; id, service and the channels never change.
type instance struct {
	id         string
	revision   string
	generation int
	service    drivers.Service
	signal     drivers.Probe
	subject    bool
	output     *tail
	stopping   chan struct{} // closed when it is asked to stop
	over       chan struct{} // closed when its process has ended for good
	unrouted   chan struct{} // closed when nothing routes to it any more, after over

	ports    []int
	addrs    map[string]string // by port name
	child    *child
	running  bool
	stopped  bool // stopping is closed
	isOver   bool // over is closed
	barred   bool // the balancer was told that it stops: it is not routed to again
	ready    bool // routed to
	everUp   bool // was ready once
	crashes  int  // short lives in a row
	verdict  streak
	answer   string // of the last check
	exit     string // how its process ended last
	deadline string // set when it was killed: why
}

// streak counts the same outcome in a row.
type streak struct{ ok, failed int }

func (s *streak) add(ok bool) {
	if ok {
		*s = streak{ok: s.ok + 1}
	} else {
		*s = streak{failed: s.failed + 1}
	}
}

func (e *environment) newInstance(service drivers.Service, id, revision string, subject bool) *instance {
	return &instance{
		id: id, revision: revision, service: service, subject: subject,
		signal: service.Signal.WithDefaults(), output: &tail{},
		stopping: make(chan struct{}), over: make(chan struct{}), unrouted: make(chan struct{}),
	}
}

// state is the runtime's verdict.
func (i *instance) state() drivers.State {
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

// rolling is the instance as a change sees it.
func (i *instance) rolling() rolling.Instance {
	return rolling.Instance{
		ID: i.id, Revision: i.revision, Generation: i.generation,
		Ready: i.ready && !i.stopped, Stopping: i.stopped,
		Failed: i.isOver && !i.stopped, Why: i.why(),
	}
}

// why says, for people, what is wrong with the instance.
func (i *instance) why() string {
	var parts []string
	if !i.running && i.exit != "" {
		parts = append(parts, "process ended: "+i.exit)
		if last := i.output.last(2); last != "" {
			parts = append(parts, "last output: "+last)
		}
	} else if i.answer != "" {
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

func (i *instance) event(kind drivers.EventKind, detail string) drivers.Event {
	return drivers.Event{At: time.Now(), Kind: kind, Instance: i.id, Revision: i.revision, Detail: detail}
}

// launch starts a new instance and the goroutines that look after it.
func (e *environment) launch(i *instance) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.isClosing {
		return drivers.ErrClosed
	}
	if err := e.assignPorts(i); err != nil {
		return fmt.Errorf("instance %s: %w", i.id, err)
	}
	if i.subject {
		e.instances = append(e.instances, i)
	} else {
		e.deps = append(e.deps, i)
	}
	e.logs[i.id] = i.output
	if err := e.fork(i); err != nil {
		e.drop(i)
		close(i.over)
		return fmt.Errorf("instance %s: %w", i.id, err)
	}
	if !i.subject {
		close(i.unrouted)
		e.dependencies.Go(func() { e.supervise(i) })
		return nil
	}
	e.subjects.Go(func() { e.supervise(i) })
	if i.signal.Kind == drivers.ProbeNone {
		close(i.unrouted) // the supervisor itself routes
	} else {
		e.subjects.Go(func() { e.check(i) })
	}
	return nil
}

// assignPorts gives the instance new ports; the caller holds e.mu.
func (e *environment) assignPorts(i *instance) error {
	ports, err := e.driver.ports.take(len(i.service.Ports))
	if err != nil {
		return err
	}
	e.driver.ports.release(i.ports)
	i.ports, i.addrs = ports, map[string]string{}
	for n, name := range i.service.Ports {
		i.addrs[name] = loopback(ports[n])
	}
	return nil
}

// fork starts the instance's process; the caller holds e.mu, so that nothing that the
// process does can be told before it was started.
func (e *environment) fork(i *instance) error {
	places := drivers.Places{Instance: i.id, Revision: i.revision, Listen: i.addrs, Addr: e.places}
	args, variables, err := places.Command(i.service)
	if err != nil {
		return err
	}
	c, err := e.nursery.start(e.command[0], append(slices.Clone(e.command[1:]), args...), e.environ(i, variables), i.output)
	if err != nil {
		return fmt.Errorf("start %s: %w", e.command[0], err)
	}
	detail := fmt.Sprintf("process %d", c.pid)
	if i.exit != "" {
		detail += ", after " + i.exit
	}
	i.child, i.running = c, true
	if i.subject {
		started := i.event(drivers.Started, detail)
		started.Addr = i.addrs[i.service.Ports[0]]
		e.events.Append(started)
		if i.signal.Kind == drivers.ProbeNone {
			e.route(i, "process runs")
		}
	}
	e.notify()
	return nil
}

// environ is the lab's environment, the service's over it, and the marks over both.
func (e *environment) environ(i *instance, variables map[string]string) []string {
	// A whole run shares few cores. More threads than that in each of its many processes
	// cost switches and buy nothing.
	all := map[string]string{"GOMAXPROCS": "1"}
	for name, value := range variables {
		all[name] = value
	}
	all[markRun], all[markOwner] = e.stack.RunID, e.owner.String()
	all[markInstance], all[markDeployment] = i.id, e.deployment
	out := slices.DeleteFunc(os.Environ(), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		_, replaced := all[name]
		return replaced || isMark(variable)
	})
	for name, value := range all {
		out = append(out, name+"="+value)
	}
	return out
}

// supervise looks after the processes of an instance until it is gone.
func (e *environment) supervise(i *instance) {
	tries := 0
	for {
		e.attend(i)
		again, delay := e.settle(i, &tries)
		if !again {
			break
		}
		if !e.restart(i, delay) {
			break
		}
	}
	e.mu.Lock()
	i.isOver = true
	e.notify()
	e.mu.Unlock()
	close(i.over)
	<-i.unrouted
	e.mu.Lock()
	defer e.mu.Unlock()
	if i.subject {
		if !i.stopped {
			failed := i.rolling()
			failed.Failed = true
			e.ended = append(e.ended, failed)
		}
		detail := i.exit
		if i.deadline != "" {
			detail += " (" + i.deadline + ")"
		}
		e.events.Append(i.event(drivers.Gone, detail))
	}
	e.drop(i)
}

// drop forgets an instance that has no process; the caller holds e.mu.
func (e *environment) drop(i *instance) {
	e.driver.ports.release(i.ports)
	e.instances = slices.DeleteFunc(e.instances, func(other *instance) bool { return other == i })
	e.notify()
}

// attend waits until the present process has ended and enforces the grace once the
// instance was asked to stop.
func (e *environment) attend(i *instance) {
	e.mu.Lock()
	c := i.child
	e.mu.Unlock()
	var grace <-chan time.Time
	stopping := i.stopping
	var hurry <-chan struct{} // only an instance that was asked to stop has a grace to lose
	for {
		select {
		case <-c.done:
			return
		case <-stopping:
			timer := time.NewTimer(i.service.StopGrace)
			defer timer.Stop()
			grace, stopping, hurry = timer.C, nil, e.hurry
		case <-grace:
			grace = nil
			e.killFor(i, c, fmt.Sprintf("killed after its grace of %v", i.service.StopGrace))
		case <-hurry:
			hurry = nil
			e.killFor(i, c, "killed: the environment was closed without grace")
		}
	}
}

func (e *environment) killFor(i *instance, c *child, why string) {
	err := c.kill()
	if errors.Is(err, os.ErrProcessDone) {
		return
	}
	if err != nil {
		why = err.Error()
	}
	e.mu.Lock()
	i.deadline = why
	e.mu.Unlock()
}

// settle takes note of the end of a process and says whether to start another one, and
// after which delay.
func (e *environment) settle(i *instance, tries *int) (again bool, delay time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := i.child
	i.running, i.exit = false, c.state
	if i.subject && i.signal.Kind == drivers.ProbeNone {
		e.unroute(i, "process ended: "+c.state)
	}
	e.notify()
	if i.stopped {
		return false, 0
	}
	// On its very first start it may have lost a port to somebody who bound it after it
	// was found free. That is nobody's failure, so it gets others.
	if i.crashes == 0 && !i.everUp && *tries < portTries && e.lostPort(i) {
		*tries++
		if e.assignPorts(i) == nil {
			return true, 0
		}
	}
	if !i.service.RestartOnExit {
		return false, 0
	}
	if time.Since(c.born) >= stableAfter {
		i.crashes = 0
	}
	i.crashes++
	return true, backoff(i.crashes)
}

// backoff is how long the next start is put off after so many crashes in a row.
func backoff(crashes int) time.Duration {
	if crashes <= 1 {
		return 0
	}
	d := firstBackoff
	for range crashes - 2 {
		if d *= 2; d >= maxBackoff {
			return maxBackoff
		}
	}
	return d
}

func (e *environment) lostPort(i *instance) bool {
	return slices.ContainsFunc(i.ports, func(port int) bool { return !portIsFree(port) })
}

// restart starts the instance's next process, as often as it takes, and returns false
// when it was asked to stop meanwhile.
func (e *environment) restart(i *instance, delay time.Duration) bool {
	for {
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case <-i.stopping:
			timer.Stop()
			return false
		}
		e.mu.Lock()
		if i.stopped {
			e.mu.Unlock()
			return false
		}
		err := e.fork(i)
		if err != nil {
			i.exit = err.Error()
			i.crashes++
			delay = backoff(max(i.crashes, 2))
		}
		e.mu.Unlock()
		if err == nil {
			return true
		}
	}
}

// stop asks an instance to stop, once. It returns before it has.
func (e *environment) stop(i *instance) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if i.stopped {
		return nil
	}
	i.stopped = true
	if i.subject {
		e.events.Append(i.event(drivers.Terminating, ""))
		switch {
		case e.isClosing:
			i.barred = true
			e.unroute(i, "the environment is closed")
		case e.stack.Balancer.ToldOfStop:
			i.barred = true
			e.unroute(i, "the balancer was told of the stop")
		}
	}
	close(i.stopping)
	e.notify()
	if !i.running {
		return nil
	}
	if err := i.child.terminate(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", i.id, err)
	}
	return nil
}

// route and unroute make the balancer follow the verdict and tell the watchers; the
// caller holds e.mu.
func (e *environment) route(i *instance, detail string) {
	if i.ready || i.barred {
		return
	}
	e.balancer.Route(edge.Endpoint{ID: i.id, Revision: i.revision, Addr: i.addrs[i.service.Ports[0]]})
	i.ready, i.everUp = true, true
	e.events.Append(i.event(drivers.Ready, detail))
	e.notify()
}

func (e *environment) unroute(i *instance, detail string) {
	if !i.ready {
		return
	}
	e.balancer.Unroute(i.id)
	i.ready = false
	e.events.Append(i.event(drivers.Unready, detail))
	e.notify()
}

// check asks the instance for its signal as a plain balancer does, from its start until
// its process has ended for good and nothing routes to it.
func (e *environment) check(i *instance) {
	defer close(i.unrouted)
	ticker := time.NewTicker(i.signal.Interval)
	defer ticker.Stop()
	over := i.over // nil once its end was noticed
	late := 0      // checks that began after the end
	for {
		if over == nil {
			late++
		}
		answer, err := i.signal.Ask(context.Background(), e.addrOf(i, i.signal.Port))
		e.judge(i, answer, err == nil, late)
		select {
		case <-over:
			over = nil
			if !e.routed(i) {
				return
			}
			<-ticker.C // what is routed to stays so until enough checks have failed, at their pace
		case <-ticker.C:
			if over == nil && !e.routed(i) {
				return
			}
		}
	}
}

func (e *environment) routed(i *instance) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return i.ready
}

// judge takes one check's outcome into the verdict.
func (e *environment) judge(i *instance, answer string, ok bool, late int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	i.answer = answer
	i.verdict.add(ok)
	switch {
	case ok && i.verdict.ok >= i.signal.Rise && !i.isOver:
		e.route(i, answer)
	case !ok && i.verdict.failed >= i.signal.Fall:
		e.unroute(i, answer)
	case late > i.signal.Fall:
		e.unroute(i, "dropped: its process is gone, but something answers there: "+answer)
	}
}

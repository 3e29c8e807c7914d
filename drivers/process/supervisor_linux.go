package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/fleet"
	"github.com/rollout-lab/rollout-lab/drivers/ports"
)

const (
	// From the second crash at the start in a row on, the next start is put off, twice as
	// long each time.
	firstBackoff = 100 * time.Millisecond
	maxBackoff   = 5 * time.Second
	// portTries is how often the first start is repeated when somebody else took a port.
	portTries = 3
)

// supervisor implements fleet.Runtime for one environment: a supervisor, and the checks of a
// plain balancer.
type supervisor struct {
	driver      *Driver
	environment *environment
	marks       marks // but for the instance
	command     []string
	spawner     *spawner
	tasks       sync.WaitGroup // goroutines of the instances

	mu      sync.Mutex
	members map[*fleet.Instance]*member
	logs    map[string]*tail // by instance, former ones included
}

// member is what the supervisor knows of an instance.
type member struct {
	*fleet.Instance
	signal   drivers.Probe
	output   *tail
	forced   chan struct{} // closed when it gets no more grace
	unrouted chan struct{} // closed when nothing routes to it any more, after its end

	// guarded by supervisor.mu.
	ports     []int
	addrs     map[string]string // by port name
	child     *child
	running   bool
	stopped   bool
	isForced  bool          // forced is closed
	deadline  string        // set when it was killed: why
	unhealthy string        // why its present process is being ended, "" while it is not
	back      chan struct{} // closed when it may be started again; nil unless a fault keeps it away
	group     *group        // that its processes are put into; nil unless a fault bounds them

	// Of the supervising goroutine.
	tries int
	died  bool   // a process of it has ended, but for a port
	exit  string // how its process ended last

	// Of the checking goroutine.
	checks streak
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

// Create implements fleet.Runtime: it starts the instance's first process and the
// goroutines that look after it.
func (s *supervisor) Create(_ context.Context, i *fleet.Instance) error {
	m := &member{
		Instance: i, signal: i.Service.Signal.WithDefaults(), output: &tail{},
		forced: make(chan struct{}), unrouted: make(chan struct{}),
	}
	if err := s.assignPorts(m); err != nil {
		return err
	}
	s.mu.Lock()
	s.members[i], s.logs[i.ID] = m, m.output
	s.mu.Unlock()
	i.Output(func() string { return m.output.last(5) })
	if _, err := s.fork(m); err != nil {
		s.forget(m)
		return err
	}
	// Its checks begin only now, so that nothing is told of it before its start.
	if checked := i.Subject && m.signal.Kind != drivers.ProbeNone; checked {
		s.tasks.Go(func() { s.check(m) })
	} else {
		close(m.unrouted) // the supervisor itself routes
	}
	s.tasks.Go(func() { s.supervise(m) })
	return nil
}

// assignPorts gives the instance new ports.
func (s *supervisor) assignPorts(m *member) error {
	numbers, err := s.driver.ports.Take(len(m.Service.Ports))
	if err != nil {
		return err
	}
	addrs := map[string]string{}
	for n, name := range m.Service.Ports {
		addrs[name] = ports.Loopback(numbers[n])
	}
	s.mu.Lock()
	was := m.ports
	m.ports, m.addrs = numbers, addrs
	s.mu.Unlock()
	s.driver.ports.Release(was)
	m.SetAddrs(addrs, nil)
	return nil
}

func (s *supervisor) forget(m *member) {
	s.mu.Lock()
	delete(s.members, m.Instance)
	s.mu.Unlock()
	s.driver.ports.Release(m.ports)
}

// fork starts a process of the instance, unless it was asked to stop: then it returns
// false.
func (s *supervisor) fork(m *member) (bool, error) {
	s.mu.Lock()
	if m.stopped {
		s.mu.Unlock()
		return false, nil
	}
	c, err := s.start(m)
	if err == nil && m.group != nil {
		if err = m.group.add(c.pid); err != nil {
			err = errors.Join(fmt.Errorf("bound process %d: %w", c.pid, err), c.kill())
			<-c.done
		}
	}
	if err == nil {
		m.child, m.running = c, true
	}
	s.mu.Unlock()
	if err != nil {
		return false, err
	}
	s.tasks.Go(func() { s.live(m, c) })
	m.Started(fmt.Sprintf("process %d", c.pid))
	if m.signal.Kind == drivers.ProbeNone {
		m.SetReady(true, "process runs")
	}
	return true, nil
}

// start starts a process; the caller holds mu.
func (s *supervisor) start(m *member) (*child, error) {
	args, variables, err := m.Places(m.addrs).Command(m.Service)
	if err != nil {
		return nil, err
	}
	mine := s.marks
	mine.instance = m.ID
	var cmd *exec.Cmd
	if m.Service.Exec != "" {
		cmd = exec.Command(m.Service.Exec, args...)
		cmd.Env = environ(variables)
		file, err := mine.put(cmd)
		if err != nil {
			return nil, err
		}
		defer file.Close()
	} else {
		cmd = exec.Command(s.command[0], append(slices.Clone(s.command[1:]), args...)...)
		cmd.Env = append(environ(variables), mine.environ()...)
	}
	cmd.Stdout, cmd.Stderr = m.output, m.output
	c, err := s.spawner.start(cmd)
	if err != nil {
		err = fmt.Errorf("start %s: %w", cmd.Path, err)
		if m.Service.Exec != "" && (errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)) {
			return nil, &drivers.HintError{Err: err, Hint: "exec is a program that may be executed here: a path from the root or from the working directory, or a name that is in PATH"}
		}
		return nil, err
	}
	return c, nil
}

// environ is the environment of the lab, without what concerns it alone, and the service's
// over it.
func environ(variables map[string]string) []string {
	out := slices.DeleteFunc(os.Environ(), func(variable string) bool { return strings.HasPrefix(variable, variablePrefix) })
	for name, value := range variables {
		out = append(out, name+"="+value) // the last one of a name counts
	}
	return out
}

// supervise looks after the processes of an instance until it is gone.
func (s *supervisor) supervise(m *member) {
	for {
		s.awaitEnd(m)
		again, delay := s.afterEnd(m)
		if s.awaitBack(m) {
			again, delay = !m.Stopping(), 0
		}
		if !again || !s.restart(m, delay) {
			break
		}
	}
	m.Ended()
	<-m.unrouted
	s.forget(m)
	s.mu.Lock()
	detail := m.exit
	if m.deadline != "" {
		detail += " (" + m.deadline + ")"
	}
	s.mu.Unlock()
	m.Gone(detail)
}

// awaitBack waits for as long as a fault keeps the instance away, and says whether one did.
func (s *supervisor) awaitBack(m *member) bool {
	s.mu.Lock()
	back := m.back
	s.mu.Unlock()
	if back == nil {
		return false
	}
	select {
	case <-back:
	case <-m.StopAsked():
	}
	s.mu.Lock()
	m.back = nil
	s.mu.Unlock()
	return true
}

// awaitEnd waits until the present process has ended and enforces the grace once the
// instance was asked to stop.
func (s *supervisor) awaitEnd(m *member) {
	s.mu.Lock()
	c := m.child
	s.mu.Unlock()
	var grace <-chan time.Time
	stopping := m.StopAsked()
	var forced <-chan struct{} // only an instance that was asked to stop has a grace to lose
	for {
		select {
		case <-c.done:
			return
		case <-stopping:
			timer := time.NewTimer(m.Service.StopGrace)
			defer timer.Stop()
			grace, stopping, forced = timer.C, nil, m.forced
		case <-grace:
			grace = nil
			s.killFor(m, c, fmt.Sprintf("killed after its grace of %v", m.Service.StopGrace))
		case <-forced:
			forced = nil
			s.killFor(m, c, "killed: the environment was closed without grace")
		}
	}
}

func (s *supervisor) killFor(m *member, c *child, why string) {
	err := c.kill()
	if errors.Is(err, os.ErrProcessDone) {
		return
	}
	if err != nil {
		why = err.Error()
	}
	s.mu.Lock()
	m.deadline = why
	s.mu.Unlock()
}

// afterEnd takes note of the end of a process and says whether to start another one, and
// after which delay.
func (s *supervisor) afterEnd(m *member) (again bool, delay time.Duration) {
	s.mu.Lock()
	m.running, m.exit = false, m.child.state
	stopped, unhealthy := m.stopped, m.unhealthy
	if unhealthy != "" {
		m.exit += " (" + unhealthy + ")"
		m.unhealthy = ""
	}
	s.mu.Unlock()
	if m.signal.Kind == drivers.ProbeNone {
		m.SetReady(false, "process ended: "+m.exit)
	}
	// On its very first start it may have lost a port to somebody who bound it after it
	// was found free. That is nobody's failure, so it gets others.
	if !stopped && m.first() && m.tries < portTries && s.lostPort(m) {
		m.tries++
		if s.assignPorts(m) == nil {
			return true, 0
		}
	}
	m.died = true
	crashes := m.Exited(m.exit, m.output.last(2))
	if stopped || !m.Service.RestartOnExit && unhealthy == "" {
		return false, 0
	}
	return true, backoff(crashes)
}

// first says whether the instance was never ready and has not ended so far but for a port.
func (m *member) first() bool { return !m.died && !m.WasReady() }

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

func (s *supervisor) lostPort(m *member) bool {
	return slices.ContainsFunc(m.ports, func(port int) bool { return !ports.Free(port) })
}

// restart starts the instance's next process, as often as it takes, and returns false
// when it was asked to stop meanwhile.
func (s *supervisor) restart(m *member, delay time.Duration) bool {
	for {
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case <-m.StopAsked():
			timer.Stop()
			return false
		}
		runs, err := s.fork(m)
		if err == nil {
			return runs
		}
		s.mu.Lock()
		m.exit = err.Error()
		s.mu.Unlock()
		delay = backoff(max(m.Exited(err.Error(), ""), 2))
	}
}

// Stop implements fleet.Runtime.
func (s *supervisor) Stop(_ context.Context, i *fleet.Instance) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, ok := s.members[i]
	if !ok {
		return nil // it has ended by itself
	}
	m.stopped = true
	if !m.running {
		return nil
	}
	if err := m.child.terminate(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// End implements fleet.Runtime.
func (s *supervisor) End(i *fleet.Instance) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m, ok := s.members[i]; ok && !m.isForced {
		m.isForced = true
		close(m.forced)
	}
}

// clean waits for the goroutines and kills what the processes have left behind.
func (s *supervisor) clean(ctx context.Context) error {
	s.tasks.Wait()
	s.spawner.close()
	_, err := killMarked(ctx, func(m marked) bool { return m.deployment == s.marks.deployment })
	s.driver.running.Remove(s.environment)
	return err
}

// childOf returns the process of an instance that runs.
func (s *supervisor) childOf(i *fleet.Instance) (*child, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, ok := s.members[i]
	if !ok || !m.running {
		how := "it has ended"
		if ok && m.exit != "" {
			how = m.exit
		}
		return nil, fmt.Errorf("instance %s does not run: %s", i.ID, how)
	}
	return m.child, nil
}

// check asks the instance for its signal as a plain balancer does, from its start until
// its process has ended for good and nothing routes to it.
func (s *supervisor) check(m *member) {
	defer close(m.unrouted)
	ticker := time.NewTicker(m.signal.Interval)
	defer ticker.Stop()
	over := m.Over() // nil once its end was noticed
	late := 0        // checks that began after the end
	for {
		if over == nil {
			late++
		}
		answer, err := m.signal.Ask(context.Background(), s.addrOf(m, m.signal.Port))
		m.checked(answer, err == nil, late)
		select {
		case <-over:
			over = nil
			if !m.Routed() {
				return
			}
			<-ticker.C // what is routed to stays so until enough checks have failed, at their pace
		case <-ticker.C:
			if over == nil && !m.Routed() {
				return
			}
		}
	}
}

func (s *supervisor) addrOf(m *member, port string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return m.addrs[port]
}

// checked takes one check's outcome into account.
func (m *member) checked(answer string, ok bool, late int) {
	m.Answer(answer)
	m.checks.add(ok)
	switch {
	case ok && m.checks.ok >= m.signal.Rise:
		m.SetReady(true, answer)
	case !ok && m.checks.failed >= m.signal.Fall:
		m.SetReady(false, answer)
	}
	if late > m.signal.Fall {
		m.SetReady(false, "dropped: its process is gone, but something answers there: "+answer)
	}
}

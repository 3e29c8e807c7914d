package systemd

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	systemd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/fleet"
	"github.com/rollout-lab/rollout-lab/drivers/owner"
	"github.com/rollout-lab/rollout-lab/drivers/ports"
)

const (
	// linkLimit is how long a call waits for a bus that is lost at the moment.
	linkLimit = 10 * time.Second
	// A lost bus is tried again after firstRetry, then twice as late each time.
	firstRetry = 20 * time.Millisecond
	lastRetry  = time.Second
)

// manager is a fleet.Runtime: the units of one environment, on one systemd.
type manager struct {
	driver *Driver
	host   *host
	// environment is what the units belong to.
	environment *environment
	stack       drivers.Stack
	owner       owner.Owner
	lost        func(detail string) // tells the environment that events may be missing

	follow func()
	stop   context.CancelFunc // ends what follow began
	work   sync.WaitGroup

	changed drivers.Broadcast // of link or ended

	mu     sync.Mutex
	link   *link // nil while the bus is lost
	ended  error // why there will be no link any more
	units  map[dbus.ObjectPath]*unit
	names  map[string]string // the unit of every instance, also of former ones
	byID   map[string]*unit
	errors []error // of what went wrong without a caller
}

var (
	_ fleet.Runtime   = (*manager)(nil)
	_ fleet.Restarter = (*manager)(nil)
)

// newManager connects to the host's bus. From follow on it follows that until clean.
func newManager(ctx context.Context, d *Driver, h *host, stack drivers.Stack, o owner.Owner, lost func(string)) (*manager, error) {
	l, err := connect(ctx, h.address)
	if err != nil {
		return nil, err
	}
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	m := &manager{
		driver: d, host: h, stack: stack, owner: o, lost: lost, stop: stop, link: l,
		units: map[dbus.ObjectPath]*unit{}, names: map[string]string{}, byID: map[string]*unit{},
	}
	m.follow = func() {
		m.work.Go(func() { m.watch(watching, l) })
		m.work.Go(func() {
			select {
			case why := <-h.ended:
				m.hostEnded(why)
			case <-watching.Done():
			}
		})
	}
	return m, nil
}

// watch passes on what systemd says and connects again whenever the connection breaks.
func (m *manager) watch(ctx context.Context, l *link) {
	defer func() { m.setLink(nil) }()
	for {
		stopped := context.AfterFunc(ctx, func() { l.listener.Close() })
		for s := range l.signals {
			m.signal(s)
		}
		stopped()
		m.setLink(nil)
		l.close()
		if ctx.Err() != nil {
			return
		}
		m.lost("the connection to systemd broke")
		if l = m.reconnect(ctx); l == nil {
			return
		}
	}
}

// reconnect tries until there is a connection again, and reads what was missed.
func (m *manager) reconnect(ctx context.Context) *link {
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
		l, err := connect(ctx, m.host.address)
		if err != nil {
			continue // the environment was told that the bus is lost; it still is
		}
		if err := m.reread(ctx, l); err != nil {
			l.close()
			continue
		}
		m.setLink(l)
		return l
	}
}

// reread reads every unit anew. What is told meanwhile waits in the link and comes after.
func (m *manager) reread(ctx context.Context, l *link) error {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	for _, u := range m.all() {
		service, err := l.read(ctx, u.name)
		if err != nil {
			return err
		}
		var listener state
		if u.socket != "" {
			if listener, err = l.read(ctx, u.socket); err != nil {
				return err
			}
		}
		u.reread(service, listener)
	}
	return nil
}

func (m *manager) all() []*unit {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Values(m.byID))
}

func (m *manager) signal(s *dbus.Signal) {
	switch s.Name {
	case changedSignal:
		if len(s.Body) < 2 {
			return
		}
		iface, _ := s.Body[0].(string)
		changed, _ := s.Body[1].(map[string]dbus.Variant)
		m.mu.Lock()
		u := m.units[s.Path]
		m.mu.Unlock()
		if u != nil {
			u.tell(s.Path, iface, changed)
		}
	case removedSignal:
		if len(s.Body) < 2 {
			return
		}
		name, _ := s.Body[0].(string)
		m.mu.Lock()
		u := m.units[unitPath(name)]
		m.mu.Unlock()
		if u != nil {
			u.drop(name)
		}
	}
}

// setLink puts a connection into use, nil for none.
func (m *manager) setLink(l *link) {
	m.mu.Lock()
	m.link = l
	m.mu.Unlock()
	m.changed.Send()
}

// takeLink takes the connection out of use.
func (m *manager) takeLink() *link {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.link
	m.link = nil
	return l
}

// linked returns the connection, and waits for one when it is lost.
func (m *manager) linked(ctx context.Context) (*link, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, linkLimit, fmt.Errorf("no connection to systemd within %v", linkLimit))
	defer cancel()
	var l *link
	var ended error
	err := m.changed.Wait(ctx, func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		l, ended = m.link, m.ended
		return l != nil || ended != nil
	})
	if ended != nil {
		return nil, ended
	}
	return l, err
}

// hostEnded ends every unit because the host has ended.
func (m *manager) hostEnded(why string) {
	m.mu.Lock()
	m.ended = fmt.Errorf("the systemd host is gone: %s", why)
	m.mu.Unlock()
	m.changed.Send()
	m.lost(why)
	for _, u := range m.all() {
		u.lose(why)
	}
}

// Create implements fleet.Runtime.
func (m *manager) Create(ctx context.Context, i *fleet.Instance) error {
	l, err := m.linked(ctx)
	if err != nil {
		return err
	}
	numbers, err := m.portsFor(i.Service)
	if err != nil {
		return err
	}
	mk := mark{m.stack.RunID, m.stack.Name, i.ID, m.owner.String()}
	name := unitName(mk)
	u := &unit{
		manager: m, instance: i, name: name + ".service", title: mk.String(), ports: slices.Collect(maps.Values(numbers)),
		reports: drivers.NewQueue[report](), ends: map[process]state{},
	}
	addrs := make(map[string]string, len(numbers))
	for port, number := range numbers {
		addrs[port] = ports.Loopback(number)
	}
	i.SetAddrs(addrs, nil)
	c, err := m.command(i, addrs)
	if err != nil {
		m.driver.ports.Release(u.ports)
		return err
	}
	if i.Service.Socket {
		u.socket = name + ".socket"
	}
	i.Output(u.lastWords)
	m.add(u)
	service := serviceProperties(i.Service, mk, c, m.host.version, m.driver.config.StartTimeout)
	u.begin = func(ctx context.Context, calls *systemd.Conn) error {
		return m.start(ctx, calls, u, mk, service, addrs[i.Service.Ports[0]])
	}
	if err := u.begin(ctx, l.calls); err != nil {
		m.release(u)
		return fmt.Errorf("unit %s: %w", u.name, err)
	}
	m.work.Go(u.work)
	u.mu.Lock()
	u.accepted = true
	u.enqueueAgain()
	u.mu.Unlock()
	return nil
}

// start has systemd accept the units. It does not wait until they run: the properties
// tell of that.
func (m *manager) start(ctx context.Context, calls *systemd.Conn, u *unit, mk mark, service []systemd.Property, addr string) error {
	// Not cut short by the caller: of a call that was, nobody knows what became.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callLimit)
	defer cancel()
	if u.socket == "" {
		_, err := calls.StartTransientUnitContext(ctx, u.name, "fail", service, nil)
		return err
	}
	// The service comes as the socket's companion, and is started once the socket holds
	// its listener, so that it is handed that.
	socket := socketProperties(mk, u.instance.Service.Ports[0], addr)
	done := make(chan string, 1)
	aux := []systemd.PropertyCollection{{Name: u.name, Properties: service}}
	if _, err := calls.StartTransientUnitAux(ctx, u.socket, "fail", socket, aux, done); err != nil {
		return err
	}
	err := error(nil)
	select {
	case result := <-done:
		if result != "done" {
			err = fmt.Errorf("socket %s: the job ended with %q: %s", u.socket, result, u.lastWords())
		}
	case <-ctx.Done():
		err = fmt.Errorf("socket %s: waiting for its job: %w", u.socket, context.Cause(ctx))
	}
	if err == nil {
		_, err = calls.StartUnitContext(ctx, u.name, "replace", nil)
	}
	if err != nil {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), callLimit)
		defer cancel()
		err = errors.Join(err, u.remove(clean))
	}
	return err
}

// portsFor finds numbers for the ports of a service, by name.
func (m *manager) portsFor(s drivers.Service) (map[string]int, error) {
	var free []string
	for _, port := range s.Ports {
		if s.Fixed[port] == 0 {
			free = append(free, port)
		}
	}
	numbers, err := m.driver.ports.Take(len(free))
	if err != nil {
		return nil, err
	}
	out := maps.Clone(s.Fixed)
	if out == nil {
		out = map[string]int{}
	}
	for n, port := range free {
		out[port] = numbers[n]
	}
	return out, nil
}

// command is what an instance runs.
func (m *manager) command(i *fleet.Instance, addrs map[string]string) (command, error) {
	args, env, err := i.Places(addrs).Command(i.Service)
	if err != nil {
		return command{}, err
	}
	argv := append(slices.Clone(m.host.program), args...)
	if i.Service.Exec != "" {
		argv = append([]string{i.Service.Exec}, args...)
	}
	return command{argv, env}, nil
}

func (m *manager) add(u *unit) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.byID[u.instance.ID] = u
	m.names[u.instance.ID] = u.name
	for _, name := range u.names() {
		m.units[unitPath(name)] = u
	}
}

// release forgets a unit that is no more.
func (m *manager) release(u *unit) {
	m.driver.ports.Release(u.ports)
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.byID, u.instance.ID)
	for _, name := range u.names() {
		delete(m.units, unitPath(name))
	}
}

func (m *manager) find(id string) (*unit, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	u, ok := m.byID[id]
	if !ok {
		return nil, fmt.Errorf("%w: %s", fleet.ErrNoInstance, id)
	}
	return u, nil
}

// clean ends the manager once all of its units are gone.
func (m *manager) clean(ctx context.Context) error {
	m.stop()
	m.work.Wait()
	if l := m.takeLink(); l != nil { // follow was never called
		l.close()
	}
	m.driver.running.Remove(m.environment)
	m.mu.Lock()
	errs := m.errors
	m.mu.Unlock()
	return errors.Join(append(errs, m.host.close(ctx))...)
}

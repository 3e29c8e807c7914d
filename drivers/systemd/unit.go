package systemd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	systemd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/fleet"
)

const (
	// callLimit bounds one call to systemd that has nothing to wait for.
	callLimit = 10 * time.Second
	// stopMargin is how much longer than its grace a stop may take until systemd says
	// that it is done.
	stopMargin = 15 * time.Second
	// lastLines is how many lines of the journal go into an error.
	lastLines = 8
)

// unit is one instance as a unit of systemd. What is told of it is dealt with in order by
// a goroutine of its own, so that no unit waits for another's journal.
type unit struct {
	manager  *manager
	instance *fleet.Instance
	name     string // of the service
	title    string // how systemd's own lines in the journal call it beside that
	socket   string // of the socket unit, "" when there is none
	ports    []int
	begin    func(context.Context, *systemd.Conn) error // has systemd accept the units
	reports  *drivers.Queue[report]

	changed drivers.Broadcast // of running or seen

	mu       sync.Mutex
	service  state   // as told, also before it was dealt with
	listener state   // of the socket unit
	accepted bool    // systemd has taken the unit
	away     bool    // a fault keeps it away: its end is none
	restarts int     // under way: its end is none
	removed  bool    // systemd has dropped the unit
	running  process // the process dealt with last; zero when none runs
	seen     process // the last one that what was dealt with told of, even if it has ended
	words    string  // what it wrote before an earlier end

	ends map[process]state // what systemd said when a process of it had ended
}

// tell takes a change of a property into account. Of the two messages that systemd sends
// for one change the unit's comes second, and only then do they fit together.
func (u *unit) tell(path dbus.ObjectPath, iface string, changed map[string]dbus.Variant) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if path == unitPath(u.socket) {
		u.listener = u.listener.with(changed)
	} else {
		u.service = u.service.with(changed)
	}
	if iface == unitInterface {
		u.enqueue()
	}
}

// reread replaces what was told by what was read.
func (u *unit) reread(service, listener state) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.service, u.listener = service, listener
	u.removed = u.removed || service.load == "not-found"
	u.enqueue()
}

// drop takes note that systemd has forgotten the unit.
func (u *unit) drop(name string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if name == u.name {
		u.removed = true
		u.service.job, u.service.mainPID = 0, 0
		u.enqueue()
	}
}

// lose ends the unit because its whole systemd has.
func (u *unit) lose(why string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.removed, u.accepted, u.restarts, u.away = true, true, 0, false
	u.service.active, u.service.sub, u.service.result = "failed", "lost", why
	u.service.mainPID, u.service.job, u.listener.active = 0, 0, "failed"
	u.enqueue()
}

// enqueue hands the present state to the worker; the caller holds u.mu.
func (u *unit) enqueue() {
	final := u.accepted && u.restarts == 0 && !u.away && (u.removed || u.service.ended())
	u.reports.Put(report{u.service, u.listener, final})
}

// enqueueAgain has the worker look at the present state once more, after accepted or
// restarts have changed; the caller holds u.mu.
func (u *unit) enqueueAgain() {
	if u.service.active != "" || u.removed {
		u.enqueue()
	}
}

// work deals with what is told until the end of the unit.
func (u *unit) work() {
	s := status{notifies: u.instance.Service.Notify, socket: u.socket != ""}
	for range u.reports.Ready() {
		for _, r := range u.reports.Take() {
			if r.final {
				u.instance.SetReady(false, r.service.String()) // before systemd is asked
				r.final = !u.comesBack()
			}
			for _, c := range s.transition(r) {
				u.pass(c, r)
			}
			u.dealtWith(r.service.process)
			if r.final {
				u.finish(r.service, s.started)
				return
			}
		}
	}
}

// pass tells the fleet what is new.
func (u *unit) pass(c change, r report) {
	switch c.kind {
	case unready:
		u.instance.SetReady(false, c.detail)
	case ended:
		u.mu.Lock()
		if r.service.process == c.process {
			u.ends[c.process] = r.service
		} else {
			u.ends[c.process] = state{result: c.detail} // what systemd says is about a later one
		}
		u.mu.Unlock()
		u.exited(c.detail, r.final)
	case started:
		u.instance.Started(fmt.Sprintf("process %d of %s", c.process.pid, u.name))
		u.setRunning(c.process)
	case answered:
		u.instance.Answer(c.detail)
	case ready:
		if !u.restarting() {
			u.instance.SetReady(true, c.detail)
		}
	}
}

// comesBack says whether systemd is about to start again what seems to have ended: on its
// way there the unit is inactive or failed for a moment, of which systemd tells too. Asked
// after that moment it says what it has in mind.
func (u *unit) comesBack() bool {
	u.mu.Lock()
	removed := u.removed
	u.mu.Unlock()
	if removed || !u.instance.Service.RestartOnExit || u.instance.Stopping() {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	l, err := u.manager.linked(ctx)
	if err != nil {
		return true // what was missed is read once there is a connection again
	}
	now, err := l.read(ctx, u.name)
	return err != nil || !now.ended()
}

// restarting says whether a restart has been asked for whose end was not seen: until then
// ready is the state before it, which somebody may have taken back already.
func (u *unit) restarting() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.restarts > 0 && u.socket == ""
}

func (u *unit) setRunning(p process) {
	u.mu.Lock()
	u.running = p
	u.mu.Unlock()
	u.changed.Send()
}

func (u *unit) dealtWith(p process) {
	u.mu.Lock()
	u.seen = p
	u.mu.Unlock()
	u.changed.Send()
}

// exited reports the end of a process. When another one follows at once nobody waits for
// the journal: its lines are fetched aside, for the case that the next one ends as well.
func (u *unit) exited(how string, final bool) {
	u.mu.Lock()
	words, asked := u.words, u.restarts > 0
	u.mu.Unlock()
	asked = asked || u.instance.Stopping()
	again := u.instance.Service.RestartOnExit && !final
	if !asked && !again {
		words = u.lastWords()
	}
	u.instance.Exited(how, words)
	u.setRunning(process{})
	if !asked && again {
		u.manager.work.Go(func() {
			words := u.lastWords()
			u.mu.Lock()
			u.words = words
			u.mu.Unlock()
		})
	}
}

// lastWords are the last lines of the journal about the unit, systemd's own included, on
// one line.
func (u *unit) lastWords() string {
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	out, err := u.manager.host.journal(ctx, "--unit", u.name, lastLines)
	if err != nil {
		return "(the journal cannot be read: " + err.Error() + ")"
	}
	var lines []string
	for line := range strings.Lines(out) {
		line = strings.ReplaceAll(strings.TrimSpace(line), " - "+u.title, "")
		if line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines[max(len(lines)-lastLines, 0):], " | ")
}

// finish removes what is left of a unit that has ended, and reports that it is gone.
func (u *unit) finish(s state, started bool) {
	if !started {
		// It failed before it had a process, or faster than anybody looked.
		u.instance.Started("accepted by systemd")
		words := ""
		if !u.instance.Stopping() {
			words = u.lastWords()
		}
		u.instance.Exited(s.end(), words)
	}
	u.instance.Ended()
	detail := s.end()
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	if err := u.remove(ctx); err != nil {
		detail += fmt.Sprintf(" (%v)", err)
	}
	u.manager.release(u)
	u.instance.Gone(detail)
}

// remove has systemd forget the unit and its socket.
func (u *unit) remove(ctx context.Context) error {
	u.mu.Lock()
	removed := u.removed
	u.mu.Unlock()
	if removed && u.socket == "" {
		return nil
	}
	l, err := u.manager.linked(ctx)
	if err != nil {
		return err
	}
	var errs []error
	if u.socket != "" {
		errs = append(errs, stopAndWait(ctx, l.calls, u.socket))
	}
	for _, name := range []string{u.name, u.socket} {
		if name != "" {
			errs = append(errs, ignoreUnknown(l.calls.ResetFailedUnitContext(ctx, name)))
		}
	}
	return errors.Join(errs...)
}

// stopAndWait stops a unit and waits until systemd says that it has.
func stopAndWait(ctx context.Context, calls *systemd.Conn, name string) error {
	done := make(chan string, 1)
	if _, err := calls.StopUnitContext(ctx, name, "replace", done); err != nil {
		return ignoreUnknown(err)
	}
	select {
	case result := <-done:
		if result != "done" {
			return fmt.Errorf("stop %s: the job ended with %q", name, result)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop %s: waiting for its job: %w", name, context.Cause(ctx))
	}
}

// ignoreUnknown drops the error that says that there is no such unit.
func ignoreUnknown(err error) error {
	var e dbus.Error
	if errors.As(err, &e) && e.Name == "org.freedesktop.systemd1.NoSuchUnit" {
		return nil
	}
	return err
}

// awaitOther waits until a process is no longer the one that runs.
func (u *unit) awaitOther(ctx context.Context, p process) error {
	if err := u.await(ctx, func() bool { return u.running != p }); err != nil {
		return fmt.Errorf("waiting for the end of process %d: %w", p.pid, err)
	}
	return nil
}

// awaitSeen waits until what was told of a process has been dealt with. A job's end comes
// by another connection than the changes that it made, and may overtake them.
func (u *unit) awaitSeen(ctx context.Context, p process) error {
	if err := u.await(ctx, func() bool { return u.seen.start >= p.start }); err != nil {
		return fmt.Errorf("waiting for word of process %d: %w", p.pid, err)
	}
	return nil
}

// await waits until cond, which is called with u.mu held and looks at running and seen.
func (u *unit) await(ctx context.Context, cond func() bool) error {
	return u.changed.Wait(ctx, func() bool {
		u.mu.Lock()
		defer u.mu.Unlock()
		return cond()
	})
}

// process is the one that runs.
func (u *unit) process() (process, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.running == (process{}) {
		return process{}, fmt.Errorf("instance %s does not run: %v", u.instance.ID, u.service)
	}
	return u.running, nil
}

// names are the units that there are for the instance, the one to stop first before.
func (u *unit) names() []string {
	return slices.DeleteFunc([]string{u.socket, u.name}, func(name string) bool { return name == "" })
}

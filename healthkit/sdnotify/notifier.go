package sdnotify

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/rollout-lab/rollout-lab/healthkit"
)

// Errors of a Notifier, to be tested with errors.Is.
var (
	// ErrNoManager is returned where a message was asked for and there is no
	// service manager to send it to.
	ErrNoManager = errors.New("no service manager: NOTIFY_SOCKET is not set")
	// ErrAddress is returned for a NOTIFY_SOCKET that is neither an absolute
	// path nor an abstract socket.
	ErrAddress = errors.New("unsupported NOTIFY_SOCKET")
	// ErrRunning is returned by a second Run beside the first.
	ErrRunning = errors.New("notifier already running")
)

// Defaults of Options.
const (
	DefaultDrainBudget    = 90 * time.Second
	DefaultExtend         = 10 * time.Second
	DefaultStatusInterval = 100 * time.Millisecond
	DefaultSendTimeout    = time.Second
	DefaultBarrierTimeout = 5 * time.Second
)

// Options configure a Notifier. Zero fields mean the defaults.
type Options struct {
	// DrainBudget is how long after the lame duck begins EXTEND_TIMEOUT_USEC
	// may keep systemd from killing the process.
	DrainBudget time.Duration
	// Extend is what one EXTEND_TIMEOUT_USEC asks for. It is renewed after
	// half of it.
	Extend time.Duration
	// StatusInterval is the shortest time between messages that change nothing
	// but the text, so that a flapping component does not flood systemd. The
	// last text is always sent.
	StatusInterval time.Duration
	// SendTimeout is how long one message may wait for room in the receiver's
	// queue. A message that failed is tried again after as long.
	SendTimeout time.Duration
	// BarrierTimeout is how long the end of Run may wait until systemd has read
	// everything.
	BarrierTimeout time.Duration
	// OnError, if set, gets every failed send, on the goroutine of Run. Failures
	// are kept in Stats as well.
	OnError func(error)
}

// Stats is what a Notifier has done.
type Stats struct {
	// Told is what has been sent; the service manager may not have read it.
	Told Told
	// Sent and Failed count messages. A message that failed and then went
	// through counts in both.
	Sent, Failed uint64
	// Triggered tells whether WATCHDOG=trigger was sent. It is the last thing
	// that the watchdog is told.
	Triggered bool
	LastError error
}

// Notifier tells one service manager. Its methods are safe for concurrent use.
type Notifier struct {
	address  string
	watchdog time.Duration
	opts     Options
	send     func(message string) error
	wait     func(context.Context) error
	poke     chan struct{}

	running sync.Mutex // held by Run

	mu           sync.Mutex
	begun, ended uint64
	stats        Stats
}

// New reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, and leaves the
// environment as it is. Without NOTIFY_SOCKET the Notifier is not enabled and
// does nothing. The error says what is wrong with a variable that is set.
func New(opts Options) (*Notifier, error) {
	for _, o := range []struct {
		d     *time.Duration
		usual time.Duration
		name  string
	}{
		{&opts.DrainBudget, DefaultDrainBudget, "drain budget"},
		{&opts.Extend, DefaultExtend, "extension"},
		{&opts.StatusInterval, DefaultStatusInterval, "status interval"},
		{&opts.SendTimeout, DefaultSendTimeout, "send timeout"},
		{&opts.BarrierTimeout, DefaultBarrierTimeout, "barrier timeout"},
	} {
		if *o.d < 0 {
			return nil, fmt.Errorf("notify service manager: %w: negative %s %v", healthkit.ErrOptions, o.name, *o.d)
		}
		if *o.d == 0 {
			*o.d = o.usual
		}
	}
	n := &Notifier{address: os.Getenv("NOTIFY_SOCKET"), opts: opts, poke: make(chan struct{}, 1)}
	if n.address == "" {
		return n, nil
	}
	if n.address[0] != '/' && n.address[0] != '@' || len(n.address) == 1 {
		return nil, fmt.Errorf("notify service manager: %w: %q", ErrAddress, n.address)
	}
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return nil, fmt.Errorf("notify service manager: %w", err)
	}
	n.watchdog = interval
	n.send = func(message string) error { return send(n.address, message, opts.SendTimeout) }
	n.wait = func(ctx context.Context) error { return barrier(ctx, n.address, opts.SendTimeout) }
	return n, nil
}

// Enabled tells whether there is a service manager to notify.
func (n *Notifier) Enabled() bool { return n.address != "" }

// Watchdog returns WATCHDOG_USEC, and zero when this process is not to be
// watched. WATCHDOG=1 is sent twice as often.
func (n *Notifier) Watchdog() time.Duration { return n.watchdog }

// String says in words what the Notifier will do, for a log line at the start.
func (n *Notifier) String() string {
	if !n.Enabled() {
		return ErrNoManager.Error() + "; nothing will be sent"
	}
	text := "notifies the service manager at " + strconv.Quote(n.address)
	if n.watchdog == 0 {
		return text + ", no watchdog"
	}
	return text + ", watchdog every " + (n.watchdog / 2).String()
}

// Stats returns what has been done until now.
func (n *Notifier) Stats() Stats {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.stats
}

// Reload announces a reload (RELOADING=1), as a unit of Type=notify-reload must
// on SIGHUP. The caller calls done, once or more, when the reload is over
// (READY=1). Reloads may overlap; the last one to end ends it. It does not wait
// for the messages to be sent.
func (n *Notifier) Reload() (done func()) {
	n.mu.Lock()
	n.begun++
	n.mu.Unlock()
	n.wake()
	return sync.OnceFunc(func() {
		n.mu.Lock()
		n.ended++
		n.mu.Unlock()
		n.wake()
	})
}

func (n *Notifier) wake() {
	select {
	case n.poke <- struct{}{}:
	default:
	}
}

// Barrier waits until the service manager has read everything that was sent
// before. Without one it returns ErrNoManager; ctx bounds the wait.
func (n *Notifier) Barrier(ctx context.Context) error {
	if !n.Enabled() {
		return ErrNoManager
	}
	if err := n.wait(ctx); err != nil {
		return fmt.Errorf("notify barrier at %s: %w", n.address, err)
	}
	return nil
}

// Run tells the service manager every change of the registry, last value wins,
// until ctx ends or the registry is closed; then it tells the last state and
// waits, at most Options.BarrierTimeout, until all of it has been read, so that
// the process may exit. It is a healthkit.Follower; where it is not one of those of
// Registry.Run, let it run until after Registry.Shutdown: ending it
// earlier ends the watchdog and the extensions as well.
//
// When the Notifier is not enabled Run returns nil at once. A message that
// cannot be sent is kept in Stats, told to Options.OnError and tried again; the
// error of Run says that the last state did not get through.
func (n *Notifier) Run(ctx context.Context, r *healthkit.Registry) error {
	if !n.Enabled() {
		return nil
	}
	if !n.running.TryLock() {
		return ErrRunning
	}
	defer n.running.Unlock()

	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for range r.Watch(ctx) {
			n.wake()
		}
	}()
	t := &teller{n: n, told: n.Stats().Told}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for open := true; open; {
		select {
		case <-n.poke:
		case <-timer.C:
		case <-ended:
			open = false
			continue
		}
		timer.Reset(t.step(r, time.Now()))
	}
	t.statusAt, t.retryAt = time.Time{}, time.Time{} // now or never
	if _, err := t.tell(r.Snapshot(), time.Now()); err != nil {
		return fmt.Errorf("notify service manager of the last state: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), n.opts.BarrierTimeout,
		fmt.Errorf("no answer within %v", n.opts.BarrierTimeout))
	defer cancel()
	return n.Barrier(ctx)
}

// teller is the state of one Run. Each of its times is when something is due;
// the zero time is due now.
type teller struct {
	n                           *Notifier
	told                        Told
	statusAt, retryAt           time.Time
	pingAt, extendAt, stopBegan time.Time
	triggered                   bool
}

// idle is how long step lets Run sleep when nothing is due by the clock.
const idle = time.Hour

// step sends what is due at now and returns when to come again. It takes the
// snapshot itself: what a frozen process was told before is no basis for
// WATCHDOG=1.
func (t *teller) step(r *healthkit.Registry, now time.Time) time.Duration {
	s := r.Snapshot()
	next, _ := t.tell(s, now) // failures are kept by Notifier.failed
	next = min(next, t.watch(s, now))
	return min(next, t.extend(s, now))
}

// tell sends what Next says.
func (t *teller) tell(s *healthkit.Snapshot, now time.Time) (again time.Duration, err error) {
	if d := t.retryAt.Sub(now); d > 0 {
		return d, nil
	}
	for {
		message, after := Next(t.told, s, t.n.moment())
		if message == "" {
			return idle, nil
		}
		textOnly := strings.HasPrefix(message, "STATUS=")
		if d := t.statusAt.Sub(now); textOnly && d > 0 {
			return d, nil
		}
		if err := t.n.deliver(message); err != nil {
			t.retryAt = now.Add(t.n.opts.SendTimeout)
			return t.n.opts.SendTimeout, err
		}
		t.told = after
		t.statusAt = now.Add(t.n.opts.StatusInterval)
		t.n.mu.Lock()
		t.n.stats.Told = after
		t.n.mu.Unlock()
	}
}

// watch serves the watchdog.
func (t *teller) watch(s *healthkit.Snapshot, now time.Time) time.Duration {
	if t.n.watchdog == 0 || t.triggered {
		return idle
	}
	message := Watchdog(s, now)
	proven := message != "" && message != daemon.SdNotifyWatchdog
	if !proven && now.Before(t.pingAt) {
		return min(t.pingAt.Sub(now), untilProven(s, now))
	}
	if message != "" {
		if err := t.n.deliver(message); err != nil {
			t.pingAt = now.Add(min(t.n.opts.SendTimeout, t.n.watchdog/8))
			return t.pingAt.Sub(now)
		}
		if proven {
			t.triggered = true
			t.n.mu.Lock()
			t.n.stats.Triggered = true
			t.n.mu.Unlock()
			return idle
		}
	}
	t.pingAt = now.Add(t.n.watchdog / 2)
	return min(t.n.watchdog/2, untilProven(s, now))
}

func untilProven(s *healthkit.Snapshot, now time.Time) time.Duration {
	if at, ok := provenAt(s); ok {
		return at.Sub(now)
	}
	return idle
}

// extend asks for more time to stop.
func (t *teller) extend(s *healthkit.Snapshot, now time.Time) time.Duration {
	if s.Phase <= healthkit.PhaseServing || s.Phase == healthkit.PhaseStopped {
		return idle
	}
	if t.stopBegan.IsZero() {
		t.stopBegan = s.PhaseSince
	}
	if d := t.extendAt.Sub(now); d > 0 {
		return d
	}
	step := t.n.opts.Extend
	t.extendAt = now.Add(step / 2)
	if message := Extension(s, t.stopBegan, now, step, t.n.opts.DrainBudget); message != "" {
		if err := t.n.deliver(message); err != nil {
			t.extendAt = now.Add(min(t.n.opts.SendTimeout, step/8))
		}
	}
	return t.extendAt.Sub(now)
}

func (n *Notifier) moment() Moment {
	usec, _ := strings.CutPrefix(strings.TrimSpace(daemon.SdNotifyMonotonicUsec()), "MONOTONIC_USEC=")
	monotonic, err := strconv.ParseUint(usec, 10, 64)
	if err != nil {
		monotonic = 0 // the system has no such clock
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return Moment{Monotonic: monotonic, Begun: n.begun, Ended: n.ended}
}

// deliver sends one message and keeps what came of it.
func (n *Notifier) deliver(message string) error {
	err := n.send(message)
	if err != nil {
		head, _, _ := strings.Cut(message, "=")
		err = fmt.Errorf("send %s to %s: %w", head, n.address, err)
	}
	n.mu.Lock()
	if err == nil {
		n.stats.Sent++
	} else {
		n.stats.Failed++
		n.stats.LastError = err
	}
	n.mu.Unlock()
	if err != nil && n.opts.OnError != nil {
		n.opts.OnError(err)
	}
	return err
}

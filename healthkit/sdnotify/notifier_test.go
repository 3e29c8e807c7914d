//go:build unix && go1.25

package sdnotify

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/rollout-lab/rollout-lab/healthkit"
)

func newNotifier(t *testing.T, o Options) *Notifier {
	t.Helper()
	n, err := New(o)
	must(t, err)
	return n
}

// running is a Notifier that runs in a synctest bubble against the real socket.
type running struct {
	*Notifier
	m    *manager
	done chan error
	stop context.CancelFunc
}

// start runs n. Its barrier is answered at once: a read of a pipe would keep
// the clock of the bubble from moving.
func start(t *testing.T, m *manager, n *Notifier, r *healthkit.Registry) *running {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	n.wait = func(context.Context) error { return nil }
	run := &running{Notifier: n, m: m, done: make(chan error, 1), stop: stop}
	go func() { run.done <- n.Run(ctx, r) }()
	return run
}

// sent returns what has been sent since the last time.
func (r *running) sent() []string {
	synctest.Wait()
	return r.m.drain()
}

func (r *running) end(t *testing.T) {
	t.Helper()
	r.stop()
	must(t, <-r.done)
}

func heads(messages []string) []string {
	var out []string
	for _, m := range messages {
		head, _, _ := strings.Cut(m, "\n")
		if key, _, _ := strings.Cut(head, "="); key == "STATUS" || key == "EXTEND_TIMEOUT_USEC" {
			head = key
		}
		out = append(out, head)
	}
	return out
}

func wantHeads(t *testing.T, when string, got []string, want ...string) {
	t.Helper()
	if got := heads(got); !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", when, got, want)
	}
}

func TestRunTellsALifeInOrder(t *testing.T) {
	m := listen(t)
	synctest.Test(t, func(t *testing.T) {
		n := newNotifier(t, Options{DrainBudget: 12 * time.Second})
		r := healthkit.New(healthkit.Config{})
		c := register(t, r, "a", healthkit.Options{})
		run := start(t, m, n, r)
		wantHeads(t, "begin", run.sent(), "STATUS")
		c.Ready()
		wantHeads(t, "ready", run.sent(), "READY=1")
		must(t, r.Advance(healthkit.PhaseLameDuck, "SIGTERM"))
		wantHeads(t, "lame duck", run.sent(), "STOPPING=1", "EXTEND_TIMEOUT_USEC")
		time.Sleep(time.Second)
		must(t, r.Advance(healthkit.PhaseDraining, "SIGTERM"))
		wantHeads(t, "draining", run.sent(), "STATUS")
		time.Sleep(30 * time.Second)
		synctest.Wait()
		m.drain()
		// 10 s asked for at 0 s, renewed every 5 s, never past the budget.
		if want := []string{"10000000", "7000000", "2000000"}; !slices.Equal(m.unit.extends, want) {
			t.Errorf("extensions: got %q, want %q", m.unit.extends, want)
		}
		must(t, r.Advance(healthkit.PhaseStopped, ""))
		wantHeads(t, "stopped", run.sent(), "STATUS")
		must(t, r.Close(t.Context()))
		must(t, <-run.done) // the end of the registry is the end of Run
		run.stop()
		if s := n.Stats(); s.Failed != 0 || s.LastError != nil || int(s.Sent) != len(m.log)-len(m.drain()) {
			t.Errorf("got stats %+v, want %d sent and no failure", s, len(m.log))
		}
	})
}

func TestRunTellsExpiryByTheClock(t *testing.T) {
	m := listen(t)
	synctest.Test(t, func(t *testing.T) {
		n := newNotifier(t, Options{})
		r := healthkit.New(healthkit.Config{})
		c := register(t, r, "a", healthkit.Options{TTL: time.Minute})
		run := start(t, m, n, r)
		c.Ready()
		run.sent()
		time.Sleep(time.Minute)
		run.sent()
		if want := "not ready: a stale"; !strings.HasPrefix(m.unit.status, want) {
			t.Errorf("got status %q, want %q...", m.unit.status, want)
		}
		run.end(t)
		must(t, r.Close(t.Context()))
	})
}

func TestWatchdogFollowsProgress(t *testing.T) {
	m := listen(t)
	t.Setenv("WATCHDOG_USEC", "10000000")
	synctest.Test(t, func(t *testing.T) {
		n := newNotifier(t, Options{})
		r := healthkit.New(healthkit.Config{AllowEmpty: true})
		p, err := r.RegisterLoop("loop", 8*time.Second)
		must(t, err)
		run := start(t, m, n, r)
		pings := func(when string, want int) {
			t.Helper()
			run.sent()
			if m.unit.pings != want {
				t.Errorf("%s: got %d pings, want %d", when, m.unit.pings, want)
			}
			m.unit.pings = 0
		}
		pings("begin", 1)
		for range 10 {
			time.Sleep(5 * time.Second)
			p.Tick()
			pings("ticking", 1)
		}
		time.Sleep(8*time.Second - time.Millisecond)
		pings("up to the limit", 1)
		time.Sleep(4 * time.Second)
		pings("stuck", 0)
		p.Tick()
		time.Sleep(5 * time.Second)
		pings("late but alive", 1)
		if m.unit.triggers != 0 {
			t.Errorf("got %d triggers for a loop that goes on, want 0", m.unit.triggers)
		}
		time.Sleep(3 * time.Second)
		pings("stuck again", 0)
		time.Sleep(8 * time.Second)
		pings("stuck for good", 0)
		if m.unit.triggers != 1 {
			t.Errorf("got %d triggers for a proven deadlock, want 1", m.unit.triggers)
		}
		time.Sleep(time.Hour)
		pings("triggered", 0)
		if m.unit.triggers != 1 || !n.Stats().Triggered {
			t.Errorf("got %d triggers an hour later, stats %+v; want one, kept", m.unit.triggers, n.Stats())
		}
		run.end(t)
		must(t, r.Close(t.Context()))
	})
}

// The proof does not wait for the next WATCHDOG=1.
func TestTriggerComesWithTheProof(t *testing.T) {
	m := listen(t)
	t.Setenv("WATCHDOG_USEC", "3600000000")
	synctest.Test(t, func(t *testing.T) {
		n := newNotifier(t, Options{})
		r := healthkit.New(healthkit.Config{AllowEmpty: true})
		_, err := r.RegisterLoop("loop", time.Second)
		must(t, err)
		run := start(t, m, n, r)
		time.Sleep(2*time.Second - time.Nanosecond)
		run.sent()
		if m.unit.triggers != 0 {
			t.Error("triggered before the proof")
		}
		time.Sleep(time.Nanosecond)
		run.sent()
		if m.unit.triggers != 1 {
			t.Errorf("got %d triggers at the proof, want 1", m.unit.triggers)
		}
		run.end(t)
		must(t, r.Close(t.Context()))
	})
}

func TestNoWatchdogNoTrigger(t *testing.T) {
	m := listen(t)
	synctest.Test(t, func(t *testing.T) {
		n := newNotifier(t, Options{})
		r := healthkit.New(healthkit.Config{AllowEmpty: true})
		_, err := r.RegisterLoop("loop", time.Second)
		must(t, err)
		run := start(t, m, n, r)
		time.Sleep(time.Hour)
		run.sent()
		if m.unit.pings+m.unit.triggers != 0 {
			t.Errorf("got %d pings and %d triggers of a unit without a watchdog, want none", m.unit.pings, m.unit.triggers)
		}
		if !strings.Contains(m.unit.status, "loop has not ticked") {
			t.Errorf("status %q does not name the stuck loop", m.unit.status)
		}
		run.end(t)
		must(t, r.Close(t.Context()))
	})
}

func TestReload(t *testing.T) {
	m := listen(t)
	synctest.Test(t, func(t *testing.T) {
		n := newNotifier(t, Options{})
		r := healthkit.New(healthkit.Config{AllowEmpty: true})
		run := start(t, m, n, r)
		run.sent()
		before := n.moment().Monotonic
		done := n.Reload()
		got := run.sent()
		wantHeads(t, "begun", got, "RELOADING=1")
		if runtime.GOOS == "linux" && len(got) == 1 {
			_, usec, _ := strings.Cut(strings.Split(got[0], "\n")[1], "MONOTONIC_USEC=")
			at, err := strconv.ParseUint(usec, 10, 64)
			if err != nil || at < before || at > n.moment().Monotonic {
				t.Errorf("got time %q (%v), want between %d and %d", usec, err, before, n.moment().Monotonic)
			}
		}
		second := n.Reload()
		wantHeads(t, "second begun", run.sent(), "RELOADING=1")
		done()
		done()
		wantHeads(t, "first over", run.sent())
		second()
		wantHeads(t, "both over", run.sent(), "READY=1")
		run.end(t)
	})
}

func TestStatusIsNoFlood(t *testing.T) {
	m := listen(t)
	synctest.Test(t, func(t *testing.T) {
		n := newNotifier(t, Options{})
		r := healthkit.New(healthkit.Config{})
		c := register(t, r, "a", healthkit.Options{Optional: true})
		b := register(t, r, "b", healthkit.Options{})
		run := start(t, m, n, r)
		b.Ready()
		run.sent()
		for i := range 1000 {
			c.Degraded(fmt.Sprint("round ", i))
			time.Sleep(time.Millisecond)
			synctest.Wait()
		}
		time.Sleep(DefaultStatusInterval)
		got := len(run.sent())
		if got < 9 || got > 11 {
			t.Errorf("got %d messages for 1000 changes of text in 1 s, want about 10", got)
		}
		if want := "degraded: a degraded: round 999"; m.unit.status != want {
			t.Errorf("got last status %q, want %q", m.unit.status, want)
		}
		c.Ready()
		run.sent()
		c.Degraded("once more") // held back by the interval, told at the end
		run.end(t)
		run.sent()
		if want := "degraded: a degraded: once more"; m.unit.status != want {
			t.Errorf("got status %q after the end, want %q", m.unit.status, want)
		}
	})
}

func TestFailedSendIsKeptAndTriedAgain(t *testing.T) {
	m := listen(t)
	synctest.Test(t, func(t *testing.T) {
		var told []error
		n := newNotifier(t, Options{OnError: func(err error) { told = append(told, err) }})
		broken := errors.New("no buffer space")
		through := n.send
		var full atomic.Bool
		n.send = func(message string) error {
			if full.Load() {
				return broken
			}
			return through(message)
		}
		full.Store(true)
		r := healthkit.New(healthkit.Config{AllowEmpty: true})
		run := start(t, m, n, r)
		wantHeads(t, "broken", run.sent())
		if s := n.Stats(); s.Failed != 1 || !errors.Is(s.LastError, broken) || s.Told.Ready {
			t.Errorf("got stats %+v, want one failure, kept, and READY untold", s)
		}
		full.Store(false)
		time.Sleep(DefaultSendTimeout)
		wantHeads(t, "mended", run.sent(), "READY=1")
		if s := n.Stats(); s.Failed != 1 || s.Sent != 1 || !s.Told.Ready || len(told) != 1 {
			t.Errorf("got stats %+v and %d errors, want one failure and one success", s, len(told))
		}
		full.Store(true)
		must(t, r.Advance(healthkit.PhaseLameDuck, "SIGTERM"))
		run.sent()
		run.stop()
		if err := <-run.done; !errors.Is(err, broken) {
			t.Errorf("Run: got %v, want the error of the last message", err)
		}
	})
}

func TestRunEndsWithABarrier(t *testing.T) {
	m := listen(t)
	n := newNotifier(t, Options{})
	r := healthkit.New(healthkit.Config{AllowEmpty: true})
	must(t, r.Advance(healthkit.PhaseLameDuck, "SIGTERM"))
	must(t, r.Advance(healthkit.PhaseDraining, "SIGTERM"))
	must(t, r.Advance(healthkit.PhaseStopped, ""))
	must(t, r.Close(t.Context()))
	done := make(chan error, 1)
	go func() { done <- n.Run(t.Context(), r) }()
	for m.unit.barriers == 0 {
		select {
		case err := <-done:
			t.Fatalf("Run ended before the barrier was read: %v", err)
		default:
		}
		m.next()
	}
	must(t, <-done)
	wantHeads(t, "all", m.log, "READY=1", "STOPPING=1", "BARRIER=1")
}

func TestBarrierOfADeafManager(t *testing.T) {
	listen(t)
	n := newNotifier(t, Options{})
	gone := errors.New("gave up")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Millisecond, gone)
	defer cancel()
	if err := n.Barrier(ctx); !errors.Is(err, gone) {
		t.Errorf("got %v, want %v", err, gone)
	}
}

// A queue that is full blocks a datagram; it must not block the process.
func TestFullQueueIsAnError(t *testing.T) {
	listen(t)
	n := newNotifier(t, Options{SendTimeout: 5 * time.Millisecond})
	for range 10000 {
		if err := n.deliver("STATUS=x"); err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, syscall.ENOBUFS) {
				t.Errorf("got %v, want a deadline", err)
			}
			return
		}
	}
	t.Error("10,000 messages that nobody reads went through")
}

func TestManagerThatIsGone(t *testing.T) {
	m := listen(t)
	m.conn.Close()
	n := newNotifier(t, Options{})
	r := healthkit.New(healthkit.Config{AllowEmpty: true})
	must(t, r.Close(t.Context()))
	err := n.Run(t.Context(), r)
	if !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want the connection refused", err)
	}
}

func TestAbstractSocket(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("abstract sockets are Linux's")
	}
	m := listenAt(t, fmt.Sprintf("@rollout-lab-test-%d", os.Getpid()))
	n := newNotifier(t, Options{})
	must(t, n.deliver("READY=1"))
	if got := m.next(); got != "READY=1" {
		t.Errorf("got %q, want READY=1", got)
	}
}

func TestEnvironment(t *testing.T) {
	path := filepath.Join(os.TempDir(), "none")
	me, other := strconv.Itoa(os.Getpid()), strconv.Itoa(os.Getpid()+1)
	for _, c := range []struct {
		name, socket, usec, pid string
		enabled                 bool
		watchdog                time.Duration
		fails                   bool
		says                    string
	}{
		{name: "nothing set", says: "no service manager: NOTIFY_SOCKET is not set; nothing will be sent"},
		{name: "watchdog without a socket", usec: "1000000", says: "no service manager: NOTIFY_SOCKET is not set; nothing will be sent"},
		{name: "no watchdog", socket: path, enabled: true, says: "notifies the service manager at " + strconv.Quote(path) + ", no watchdog"},
		{name: "watchdog of whoever reads it", socket: path, usec: "3000000", enabled: true, watchdog: 3 * time.Second, says: "notifies the service manager at " + strconv.Quote(path) + ", watchdog every 1.5s"},
		{name: "our watchdog", socket: "@x", usec: "3000000", pid: me, enabled: true, watchdog: 3 * time.Second, says: `notifies the service manager at "@x", watchdog every 1.5s`},
		{name: "another's watchdog", socket: "@x", usec: "3000000", pid: other, enabled: true, says: `notifies the service manager at "@x", no watchdog`},
		{name: "relative path", socket: "run/notify", fails: true},
		{name: "a virtual machine's socket", socket: "vsock:2:1234", fails: true},
		{name: "abstract without a name", socket: "@", fails: true},
		{name: "interval that is no number", socket: path, usec: "soon", fails: true},
		{name: "no interval at all", socket: path, usec: "0", fails: true},
		{name: "process that is no number", socket: path, usec: "1", pid: "me", fails: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("NOTIFY_SOCKET", c.socket)
			t.Setenv("WATCHDOG_USEC", c.usec)
			t.Setenv("WATCHDOG_PID", c.pid)
			n, err := New(Options{})
			if (err != nil) != c.fails {
				t.Fatalf("New: got error %v, want one: %v", err, c.fails)
			}
			if err != nil {
				return
			}
			if n.Enabled() != c.enabled || n.Watchdog() != c.watchdog || n.String() != c.says {
				t.Errorf("got enabled %v, watchdog %v, %q; want %v, %v, %q", n.Enabled(), n.Watchdog(), n, c.enabled, c.watchdog, c.says)
			}
			if os.Getenv("NOTIFY_SOCKET") != c.socket || os.Getenv("WATCHDOG_USEC") != c.usec {
				t.Error("New changed the environment")
			}
		})
	}
}

func TestWithoutAManagerNothingHappens(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	n := newNotifier(t, Options{})
	must(t, n.Run(t.Context(), healthkit.New(healthkit.Config{})))
	n.Reload()()
	if err := n.Barrier(t.Context()); !errors.Is(err, ErrNoManager) {
		t.Errorf("Barrier: got %v, want ErrNoManager", err)
	}
	if s := n.Stats(); s != (Stats{}) {
		t.Errorf("got stats %+v, want none", s)
	}
}

func TestNegativeOptionsAreRefused(t *testing.T) {
	if _, err := New(Options{Extend: -1}); !errors.Is(err, healthkit.ErrOptions) {
		t.Errorf("got %v, want ErrOptions", err)
	}
}

func TestSecondRunIsRefused(t *testing.T) {
	m := listen(t)
	synctest.Test(t, func(t *testing.T) {
		n := newNotifier(t, Options{})
		r := healthkit.New(healthkit.Config{})
		run := start(t, m, n, r)
		run.sent()
		if err := n.Run(t.Context(), r); !errors.Is(err, ErrRunning) {
			t.Errorf("got %v, want ErrRunning", err)
		}
		run.end(t)
	})
}

// The library's own sender and this one reach the same place in order.
func TestOrderWithTheLibrarysSender(t *testing.T) {
	m := listen(t)
	n := newNotifier(t, Options{})
	for range 3 {
		must(t, n.deliver("STATUS=ours"))
		if ok, err := daemon.SdNotify(false, "STATUS=library"); !ok || err != nil {
			t.Fatalf("SdNotify: got %v, %v", ok, err)
		}
	}
	want := slices.Repeat([]string{"STATUS=ours", "STATUS=library"}, 3)
	if got := m.drain(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

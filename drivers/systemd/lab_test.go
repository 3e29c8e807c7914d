package systemd_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/drivertest"
	"github.com/rollout-lab/rollout-lab/drivers/systemd"
)

// patience bounds every wait of these tests.
const patience = 30 * time.Second

// bad makes a revision of the subject bad, see drivertest.NewStack.
func bad(what string) func(*drivers.Stack) {
	return func(s *drivers.Stack) { s.Subject.Args = append(slices.Clone(s.Subject.Args), "-bad", what) }
}

// deploy deploys a stack until the end of the test.
func deploy(t *testing.T, d *systemd.Driver, mutate ...func(*drivers.Stack)) *drivertest.Bench {
	t.Helper()
	h := harness()
	h.Driver = func(testing.TB) drivers.Driver { return d }
	began := time.Now()
	b := h.Deploy(t, mutate...)
	t.Logf("deployed after %v", time.Since(began).Round(time.Millisecond))
	return b
}

// is selects the events of a kind.
func is(kind drivers.EventKind) func(drivers.Event) bool {
	return func(e drivers.Event) bool { return e.Kind == kind }
}

// stopsRollout rolls to a revision that cannot become ready, and demands that the rollout
// stops by itself with the old instances serving.
func stopsRollout(t *testing.T, what string) error {
	t.Helper()
	d := newDriver(t, func(c *systemd.Config) { c.StartTimeout = time.Second })
	env := deploy(t, d, bad(what+"@v2")).Env
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	began := time.Now()
	err := env.Rollout(ctx, "v2")
	t.Logf("after %v: %v", time.Since(began).Round(time.Millisecond), err)
	if err == nil || ctx.Err() != nil {
		t.Fatalf("rollout: got %v, want it to stop by itself", err)
	}
	for range 4 {
		if answer, err := drivertest.Get(env.URL() + "/"); err != nil || !strings.Contains(answer, " v1 ") {
			t.Errorf("through the balancer: %q, %v, want an old instance", answer, err)
		}
	}
	return err
}

func TestNeverReadyFailsAtItsTimeout(t *testing.T) {
	err := stopsRollout(t, "unready")
	for _, want := range []string{"result timeout", "start operation timed out"} {
		if err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %q: %v", want, err)
		}
	}
}

// TestReadyOfAChildIsIgnored: with NotifyAccess=main nobody else's word counts, and the
// error says that there was one.
func TestReadyOfAChildIsIgnored(t *testing.T) {
	err := stopsRollout(t, "child")
	if want := "reception only permitted for main PID"; err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("the error lacks %q: %v", want, err)
	}
}

// TestSocketOutlivesARestart: with one instance and nothing else to take its place, no
// connection is refused while it is restarted; those that come wait.
func TestSocketOutlivesARestart(t *testing.T) {
	b := deploy(t, newDriver(t), func(s *drivers.Stack) {
		s.Replicas, s.Subject.Socket, s.Rolling = 1, true, drivers.Rolling{MaxUnavailable: 1}
	})
	env, addr := b.Env, b.Instances()[0].Addr
	before, err := drivertest.Get("http://" + addr + "/")
	if err != nil {
		t.Fatal(err)
	}
	const requests, every = 400, 5 * time.Millisecond
	for _, url := range []string{"http://" + addr + "/", env.URL() + "/"} {
		took, errs := make([]time.Duration, requests), make([]error, requests)
		var asking sync.WaitGroup
		restarted := make(chan error, 1)
		ticker := time.NewTicker(every)
		var restart time.Duration
		for n := range requests {
			if n == requests/4 {
				go func() {
					from := time.Now()
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					defer cancel()
					err := env.Restart(ctx)
					restart = time.Since(from)
					restarted <- err
				}()
			}
			sent := <-ticker.C
			asking.Go(func() {
				_, errs[n] = drivertest.Get(url)
				took[n] = time.Since(sent)
			})
		}
		ticker.Stop()
		asking.Wait()
		if err := <-restarted; err != nil {
			t.Errorf("restart: %v", err)
		}
		failed := slices.DeleteFunc(slices.Clone(errs), func(err error) bool { return err == nil })
		for _, err := range failed {
			// The balancer keeps connections, and the target says nothing on them before it
			// closes them; what that loses is no matter of the socket.
			if url == env.URL()+"/" && !strings.Contains(err.Error(), "refused") {
				t.Logf("%s: %v", url, err)
				continue
			}
			t.Errorf("%s: %v", url, err)
		}
		slices.Sort(took)
		t.Logf("%s: restart took %v; latency p50 %v p90 %v p99 %v max %v", url, restart,
			took[requests/2], took[requests*9/10], took[requests*99/100], took[requests-1])
	}
	if after, err := drivertest.Get("http://" + addr + "/"); err != nil || after == before {
		t.Errorf("answer %q, %v; want another process than %q", after, err, before)
	}
}

func TestWatchdogIsNamed(t *testing.T) {
	b := deploy(t, newDriver(t), func(s *drivers.Stack) {
		s.Replicas, s.Subject.Watchdog, s.Subject.RestartOnExit = 1, 500*time.Millisecond, true
	})
	events, id := b.Events(), b.Instances()[0].ID
	events.Await("ready", is(drivers.Ready))
	frozen := time.Now()
	if _, err := b.Env.(drivers.Injector).Inject(t.Context(), drivers.Fault{Kind: drivers.FaultPause, Instance: id}); err != nil {
		t.Fatal(err)
	}
	down := events.Await("unready", is(drivers.Unready))
	up := events.Await("a new process", is(drivers.Started))
	if !strings.Contains(up.Detail, "watchdog") {
		t.Errorf("started again with %q, want it to name the watchdog", up.Detail)
	}
	back := events.Await("ready again", is(drivers.Ready))
	t.Logf("watchdog of 500ms: noticed %v, started again %v, ready %v after the freeze",
		down.At.Sub(frozen), up.At.Sub(frozen), back.At.Sub(frozen))
}

// cut is a proxy before a socket whose connections can be cut.
type cut struct {
	listener net.Listener
	to       string
	late     time.Duration // how long after systemd has sent them signals come through

	mu    sync.Mutex
	conns []net.Conn
}

func newCut(t *testing.T, address string, late time.Duration) (*cut, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bus")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c := &cut{listener: l, to: strings.TrimPrefix(address, "unix:path="), late: late}
	go c.accept()
	t.Cleanup(func() { l.Close(); c.all() })
	return c, "unix:path=" + path
}

func (c *cut) accept() {
	for {
		in, err := c.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("unix", c.to)
		if err != nil {
			in.Close()
			continue
		}
		c.mu.Lock()
		c.conns = append(c.conns, in, out)
		c.mu.Unlock()
		go func() { io.Copy(out, in); out.Close() }()
		go func() { c.back(in, out); in.Close() }()
	}
}

// back passes on what systemd sends. What subscribes to changes gets all of it late.
func (c *cut) back(in, out net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := out.Read(buf)
		if err != nil {
			return
		}
		if c.late > 0 && bytes.Contains(buf[:n], []byte("PropertiesChanged")) {
			<-time.After(c.late)
		}
		if _, err := in.Write(buf[:n]); err != nil {
			return
		}
	}
}

// all cuts every connection.
func (c *cut) all() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		conn.Close()
	}
	c.conns = nil
}

// TestRestartAwaitsWhatWasToldOfIt: calls and signals come by two connections. When a job
// is done whose signals are still on their way, its unit is not what it was before it.
func TestRestartAwaitsWhatWasToldOfIt(t *testing.T) {
	d := newDriver(t)
	d.Through(func(address string) (string, error) {
		_, through := newCut(t, address, 100*time.Millisecond)
		return through, nil
	})
	b := deploy(t, d)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := b.Env.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	routed, settled, began := map[string]bool{}, false, 0
	b.Events().Await("two instances, another, and the two again", func(e drivers.Event) bool {
		switch e.Kind {
		case drivers.Ready:
			routed[e.Instance] = true
			began++
		case drivers.Unready:
			delete(routed, e.Instance)
		}
		settled = settled || len(routed) == 2
		if settled && len(routed) < 2 {
			t.Errorf("%d instances are routed to after %s of %s (%s), want at least 2", len(routed), e.Kind, e.Instance, e.Detail)
		}
		return began == 5
	})
}

// TestLostBus: what happens while there is no bus is read once there is one again, the
// gap is admitted, and nothing is told twice.
func TestLostBus(t *testing.T) {
	d := newDriver(t)
	var c *cut
	d.Through(func(address string) (string, error) {
		var through string
		c, through = newCut(t, address, 0)
		return through, nil
	})
	b := deploy(t, d)
	b.MayLose = true
	list, events := b.Instances(), b.Events()
	for range list {
		events.Await("ready", is(drivers.Ready))
	}
	for round := range 4 { // an even number: in the end it is ready
		c.all()
		// Over the network, not over the bus: the first instance's word about itself.
		says := round%2 == 1
		b.Set(list[0], "ready", says)
		lost, want := false, map[bool]drivers.EventKind{true: drivers.Ready, false: drivers.Unready}[says]
		e := events.Await(string(want), func(e drivers.Event) bool {
			lost = lost || e.Kind == drivers.Lost
			return e.Kind != drivers.Lost
		})
		if e.Kind != want || e.Instance != list[0].ID {
			t.Errorf("after cut %d: event %s of %s, want %s of %s and nothing else", round, e.Kind, e.Instance, want, list[0].ID)
		}
		if !lost && round == 0 {
			t.Log("the event came before the loss was noticed") // both are right
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := b.Env.Scale(ctx, 3); err != nil {
		t.Errorf("scale after the cuts: %v", err)
	}
}

// TestTheFolderOfAKilledLabIsSwept: what it shared with its container is on this machine.
func TestTheFolderOfAKilledLabIsSwept(t *testing.T) {
	if os.Getenv(hostEnv) != "" {
		t.Skip("there is no container, and no folder")
	}
	lab := harness().StartLab(t)
	drivertest.SweepAlone(t)
	dirs := func() (of []string) { // there may be folders of other labs, dead ones included
		marks, err := filepath.Glob(filepath.Join(os.TempDir(), "rollout-lab-systemd-*", "mark"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range marks {
			if text, err := os.ReadFile(path); err == nil && strings.Contains(string(text), lab.RunID) {
				of = append(of, filepath.Dir(path))
			}
		}
		return of
	}
	if before := dirs(); len(before) != 1 {
		t.Fatalf("shared folders of run %s: %q; want one", lab.RunID, before)
	}
	lab.Kill()
	removed, err := newDriver(t).Sweep(t.Context(), "")
	if err != nil || !slices.ContainsFunc(removed, func(s string) bool { return strings.Contains(s, lab.RunID) }) {
		t.Errorf("sweep removed %q, %v; want what is of run %s", removed, err, lab.RunID)
	}
	if after := dirs(); len(after) != 0 {
		t.Errorf("shared folders of run %s after the sweep: %q", lab.RunID, after)
	}
}

// TestReadyIsRoutedAtOnce: nothing is polled between what a service says and the balancer.
func TestReadyIsRoutedAtOnce(t *testing.T) {
	b := deploy(t, newDriver(t), func(s *drivers.Stack) { s.Replicas = 1 })
	events, i := b.Events(), b.Instances()[0]
	events.Await("ready", is(drivers.Ready))
	var lags []time.Duration
	for n := range 40 {
		says, want := n%2 == 1, drivers.Unready
		if says {
			want = drivers.Ready
		}
		before := time.Now()
		b.Set(i, "ready", says)
		e := events.Await(string(want), func(drivers.Event) bool { return true })
		if e.Kind != want {
			t.Fatalf("event %s, want %s", e.Kind, want)
		}
		lags = append(lags, e.At.Sub(before))
	}
	slices.Sort(lags)
	t.Logf("from the request to say so to the balancer: p50 %v, max %v", lags[len(lags)/2], lags[len(lags)-1])
}

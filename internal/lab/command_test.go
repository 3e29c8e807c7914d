//go:build unix

package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/external"
	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/scenarios"
)

// site is a service at an address that commands can change: whoever writes an order into its
// pipe has it done, and can wait for that at the other pipe.
type site struct {
	dir, addr string

	mu       sync.Mutex
	server   *http.Server
	status   int
	down     time.Duration // how long it was down in all, by its own clock
	requests atomic.Int64
	reading  sync.WaitGroup
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{dir: t.TempDir(), status: http.StatusOK, addr: "127.0.0.1:0"}
	for _, name := range []string{"orders", "done"} {
		if err := syscall.Mkfifo(filepath.Join(s.dir, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.listen(t)
	// For writing as well, or a pipe would end with its first writer.
	orders, err := os.OpenFile(filepath.Join(s.dir, "orders"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	done, err := os.OpenFile(filepath.Join(s.dir, "done"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	s.reading.Go(func() {
		lines := bufio.NewScanner(orders)
		for lines.Scan() {
			s.obey(t, lines.Text())
			fmt.Fprintln(done, "done")
		}
	})
	t.Cleanup(func() {
		orders.Close()
		s.reading.Wait()
		done.Close()
		s.server.Close()
	})
	return s
}

func (s *site) listen(t *testing.T) {
	l, err := net.Listen("tcp", s.addr)
	if err != nil {
		t.Error(err)
		return
	}
	s.addr = l.Addr().String()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s.requests.Add(1)
		s.mu.Lock()
		defer s.mu.Unlock()
		w.WriteHeader(s.status)
	})}
	go s.server.Serve(l) //nolint:errcheck // it ends with Close
}

// obey does what an order says: a status for every answer, or a time to be down for, which may
// begin after another time.
func (s *site) obey(t *testing.T, order string) {
	var status int
	if _, err := fmt.Sscanf(order, "answer %d", &status); err == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.status = status
		return
	}
	var wait, down string
	if _, err := fmt.Sscanf(order, "down %s after %s", &down, &wait); err != nil {
		t.Errorf("order %q: %v", order, err)
		return
	}
	length, err1 := time.ParseDuration(down)
	before, err2 := time.ParseDuration(wait)
	if err := errors.Join(err1, err2); err != nil {
		t.Error(err)
		return
	}
	time.Sleep(before)
	began := time.Now()
	s.server.Close()
	time.Sleep(length)
	s.listen(t)
	s.down += time.Since(began)
}

// script is a line for the shell. In it ORDERS and DONE are the site's pipes.
func (s *site) script(line string) string {
	return strings.NewReplacer("ORDERS", filepath.Join(s.dir, "orders"), "DONE", filepath.Join(s.dir, "done"), "DIR", s.dir).Replace(line)
}

// scenario measures a line for the shell against the site.
func (s *site) scenario(t *testing.T, line string, change ...string) *scenarios.Scenario {
	t.Helper()
	text := fmt.Sprintf(`
name: command
target: {url: "http://%s"}
load: {rate: 50, timeout: 1s}
phases: {baseline: {from: 200ms, to: 1s}}
action: {kind: command, run: [sh, -c, '%s'], timeout: 20s, settle: 1s, max: 20s}
designs: [{name: command}]
gates: [{design: command, metric: failed, op: <=, limit: 0}]
`, s.addr, s.script(line))
	out, err := scenarios.Parse("command.yaml", []byte(strings.NewReplacer(change...).Replace(text)), scenarios.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// calmInTests is shorter than what users get, and longer than what a busy machine takes.
const calmInTests = 1500 * time.Millisecond

func runCommand(t *testing.T, ctx context.Context, s *scenarios.Scenario) (*judge.Run, string, error) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "run")
	err := Run(ctx, Config{RunID: NewRunID(time.Now()), Dir: dir, Scenarios: []*scenarios.Scenario{s}, Drivers: []drivers.Driver{external.New()}, Command: "test", calm: calmInTests})
	if _, statErr := os.Stat(dir); errors.Is(statErr, fs.ErrNotExist) {
		return nil, dir, err
	}
	return mustJudge(t, dir), dir, err
}

func only(t *testing.T, r *judge.Run) *judge.Trial {
	t.Helper()
	if len(r.Cells) != 1 || len(r.Cells[0].Trials) != 1 {
		t.Fatalf("%d cells, want one with one trial: %v", len(r.Cells), r.Reasons)
	}
	trial := &r.Cells[0].Trials[0]
	t.Logf("valid %v %v, failures %v, lost %d of %d, causes %v", trial.Valid, trial.InvalidReasons, trial.Failures, trial.Failed, trial.Planned, trial.Causes)
	return trial
}

// The outage of a restart in place is the time for which the service was down, and it is in
// the numbers whenever the command says that it is done.
func TestACommandThatRestartsInPlace(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ line, change string }{
		"waits for it":        {`echo down 700ms after 0s > ORDERS; read x < DONE`, ""},
		"returns before it":   {`echo down 700ms after 2s > ORDERS`, "settle: 4s"},
		"returns long before": {`echo down 700ms after 1200ms > ORDERS`, ""}, // within the calm that would end the load
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			site := newSite(t)
			s := site.scenario(t, tt.line, "settle: 1s", max(tt.change, "settle: 1s"))
			r, dir, err := runCommand(t, t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			trial := only(t, r)
			skipIfBusy(t, trial)
			if r.Verdict != judge.Fail || !trial.Valid {
				t.Errorf("verdict %s, valid %v, want a fail that rests on a valid trial", r.Verdict, trial.Valid)
			}
			slack := 2*time.Second/50 + trial.ScheduleLag.P99
			if got := trial.LongestOutage.Len(); got < site.down-slack || got > site.down+slack {
				t.Errorf("an outage of %v, and the service was down for %v", got, site.down)
			}
			if trial.Sent != trial.Planned || trial.Causes[0].Cause != judge.Refused {
				t.Errorf("%d of %d were sent, mostly lost by %s; want all, and refused", trial.Sent, trial.Planned, trial.Causes[0].Cause)
			}
			if calm := trial.Window.To - trial.LongestOutage.To; calm < calmInTests-slack {
				t.Errorf("the load ended %v behind the outage, want %v", calm, calmInTests)
			}
			if _, err := os.Stat(filepath.Join(dir, trial.Folder, commandFile)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestACommandThatIsAPass(t *testing.T) {
	t.Parallel()
	site := newSite(t)
	r, _, err := runCommand(t, t.Context(), site.scenario(t, "echo nothing to do"))
	if err != nil {
		t.Fatal(err)
	}
	trial := only(t, r)
	skipIfBusy(t, trial)
	if r.Verdict != judge.Pass {
		t.Errorf("verdict %s: %v", r.Verdict, r.Reasons)
	}
	if n := trial.Window.Len(); n < calmInTests || n > 2*calmInTests {
		t.Errorf("the load went on for %v behind the command, want %v and little more", n, calmInTests)
	}
}

func TestACommandThatDoesNotDoItsWork(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ line, change, want string }{
		"fails":     {`echo the reason; exit 3`, "timeout: 20s", "exit status 3; last output: the reason"},
		"hangs":     {`echo $$ > DIR/pid; echo waiting; sleep 600; true`, "timeout: 1s", "not ended within 1s; last output: waiting"},
		"breaks it": {`echo answer 500 > ORDERS; read x < DONE`, "max: 6s", "never-calm"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			site := newSite(t)
			old, _, _ := strings.Cut(tt.change, ":")
			if old += ": 20s"; !strings.Contains("timeout: 20s max: 20s", old) {
				t.Fatal(old)
			}
			r, _, err := runCommand(t, t.Context(), site.scenario(t, tt.line, old, tt.change))
			if err != nil {
				t.Fatal(err)
			}
			trial := only(t, r)
			if pid, err := os.ReadFile(filepath.Join(site.dir, "pid")); err == nil {
				var n int
				fmt.Sscan(string(pid), &n)
				if syscall.Kill(-n, 0) == nil {
					t.Errorf("something of process group %d lives on", n)
				}
			}
			skipIfBusy(t, trial)
			if r.Verdict != judge.Fail || trial.Outcome() != judge.OutcomeFailed {
				t.Errorf("verdict %s, outcome %s; want a failure of the target", r.Verdict, trial.Outcome())
			}
			if len(trial.Failures) != 1 || !strings.Contains(trial.Failures[0].String(), tt.want) {
				t.Errorf("got %v, want %q", trial.Failures, tt.want)
			}
		})
	}
}

// What fails before shows nothing of the command, which is not run then, and not tried again.
func TestACommandIsWithheldWhereTheServiceFailsBefore(t *testing.T) {
	t.Parallel()
	site := newSite(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { // the first request is answered well, and later ones are not
		for site.requests.Load() < 5 && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		site.obey(t, "answer 503")
	}()
	r, _, err := runCommand(t, t.Context(), site.scenario(t, "touch DIR/run"))
	if err != nil {
		t.Fatal(err)
	}
	trial := only(t, r)
	if _, err := os.Stat(filepath.Join(site.dir, "run")); err == nil {
		t.Error("the command was run")
	}
	skipIfBusy(t, trial)
	if r.Verdict != judge.Inconclusive || len(trial.InvalidReasons) != 1 || trial.InvalidReasons[0].Kind != judge.ActionWithheld {
		t.Errorf("verdict %s because of %v, want inconclusive because the action was withheld", r.Verdict, trial.InvalidReasons)
	}
}

func TestNoLoadWhereThereIsNothingToMeasure(t *testing.T) {
	t.Parallel()
	site := newSite(t)
	refusing := *site.scenario(t, "true")
	refusing.Target.URL = "http://127.0.0.1:1"
	missing := site.scenario(t, "true", "run: [sh,", "run: [no-such-program,")
	missingReset := site.scenario(t, "true", "timeout: 20s", "timeout: 20s, reset: [no-such-program]")
	site.status = http.StatusNotFound
	notFound := site.scenario(t, "true")
	for name, tt := range map[string]struct {
		s        *scenarios.Scenario
		requests int64
		want     string
	}{
		"nobody listens":  {&refusing, 0, "http://127.0.0.1:1/: connection refused: nobody listens there"},
		"another answer":  {notFound, 1, "answered 404"},
		"no such command": {missing, 0, "command no-such-program: executable file not found"},
		"no such reset":   {missingReset, 0, "command no-such-program: executable file not found"},
	} {
		t.Run(name, func(t *testing.T) {
			before := site.requests.Load()
			r, _, err := runCommand(t, t.Context(), tt.s)
			var env *EnvironmentError
			if !errors.As(err, &env) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if got := site.requests.Load() - before; got != tt.requests {
				t.Errorf("%d requests were sent, want %d", got, tt.requests)
			}
			if r != nil && (r.Verdict == judge.Pass || len(r.Cells) > 0) {
				t.Errorf("verdict %s, %d cells", r.Verdict, len(r.Cells))
			}
		})
	}
}

func TestTheResetBetweenTrials(t *testing.T) {
	t.Parallel()
	t.Run("takes back", func(t *testing.T) {
		t.Parallel()
		site := newSite(t)
		reset := site.script(`[sh, -c, "echo reset >> DIR/story"]`)
		r, _, err := runCommand(t, t.Context(), site.scenario(t, "echo run >> DIR/story", "timeout: 20s", "timeout: 20s, reset: "+reset, "designs:", "trials: 2\ndesigns:"))
		if err != nil {
			t.Fatal(err)
		}
		story, err := os.ReadFile(filepath.Join(site.dir, "story"))
		if err != nil || string(story) != "run\nreset\nrun\n" {
			t.Errorf("story %q (%v), want the reset between the two runs", story, err)
		}
		if len(r.Cells) != 1 || len(r.Cells[0].Trials) != 2 {
			t.Fatalf("verdict %s: %v", r.Verdict, r.Reasons)
		}
		skipIfBusy(t, &r.Cells[0].Trials[0])
		skipIfBusy(t, &r.Cells[0].Trials[1])
		if r.Verdict != judge.Pass {
			t.Errorf("verdict %s: %v", r.Verdict, r.Reasons)
		}
	})
	t.Run("fails", func(t *testing.T) {
		t.Parallel()
		site := newSite(t)
		r, _, err := runCommand(t, t.Context(), site.scenario(t, "true", "timeout: 20s", `timeout: 20s, reset: [sh, -c, "echo no backup; exit 1"]`, "designs:", "trials: 2\ndesigns:"))
		var env *EnvironmentError
		if !errors.As(err, &env) || !strings.Contains(err.Error(), "reset before the next trial: exit status 1; last output: no backup") {
			t.Errorf("got %v", err)
		}
		if r.Verdict != judge.Inconclusive || !r.Partial {
			t.Errorf("verdict %s, partial %v; want that a trial is missing", r.Verdict, r.Partial)
		}
	})
}

func TestAnInterruptEndsTheCommand(t *testing.T) {
	t.Parallel()
	site := newSite(t)
	stop := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	pids := make(chan int, 1)
	go func() {
		for t.Context().Err() == nil {
			text, err := os.ReadFile(filepath.Join(site.dir, "pid"))
			if n := 0; err == nil && strings.HasSuffix(string(text), "\n") {
				fmt.Sscan(string(text), &n)
				pids <- n
				break
			}
			time.Sleep(time.Millisecond)
		}
		cancel(stop)
	}()
	r, _, err := runCommand(t, ctx, site.scenario(t, `echo $$ > DIR/pid; sleep 600; true`))
	if !errors.Is(err, stop) {
		t.Errorf("got %v, want what the context ended with", err)
	}
	if n := <-pids; syscall.Kill(-n, 0) == nil {
		t.Errorf("something of process group %d lives on", n)
	}
	if r.Verdict == judge.Pass || !r.Partial {
		t.Errorf("verdict %s, partial %v", r.Verdict, r.Partial)
	}
	if trial := only(t, r); trial.Failed > 0 {
		t.Errorf("%d requests that were never due count as lost", trial.Failed)
	}
}

// An instance that is on its way keeps the load going, however little fails.
func TestCalm(t *testing.T) {
	s, err := scenarios.Measurement{URL: "http://host", Path: "/", Status: "200", Rate: 10, Trials: record.TrialRange{Least: 1, Most: 1}, Baseline: time.Second,
		Run: []string{"true"}, Timeout: time.Minute, Settle: 7 * time.Second, Max: time.Minute}.Scenario(scenarios.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := newCalm(s, scenarios.Calm)
	until := func(at time.Duration, class record.Class) {
		for ; c.known() < at; c.sample(record.Sample{Seq: c.next, Intended: c.known(), Done: c.known(), Class: class}) {
		}
	}
	expect := func(what string, wantCalm, wantFailing bool) {
		t.Helper()
		if calm, failing := c.reached(10 * time.Second); calm != wantCalm || failing != wantFailing {
			t.Errorf("%s: calm %v, failing %v; want %v and %v", what, calm, failing, wantCalm, wantFailing)
		}
	}
	until(2*time.Second, record.OK)
	if failed, known := c.baseline(); failed != 0 || !known {
		t.Errorf("%d failed in the baseline phase, known %v", failed, known)
	}
	until(16*time.Second, record.OK)
	expect("calm for 5 s, not settled for 7", false, false)
	until(17*time.Second, record.OK)
	expect("settled", true, false)
	c.sample(record.Sample{Seq: c.next + 1, Done: 18 * time.Second, Class: record.Timeout}) // one before it is still out
	expect("failing", false, true)
	c.sample(record.Sample{Seq: c.next, Class: record.OK})
	until(24*time.Second, record.OK)
	expect("calm again", true, false)
	c.hear(drivers.Event{Kind: drivers.Terminating, Instance: "a"}, 20*time.Second)
	until(40*time.Second, record.OK)
	expect("one is stopping", false, false)
	c.hear(drivers.Event{Kind: drivers.Gone, Instance: "a"}, 38*time.Second)
	expect("the runtime said something just now", false, false)
	until(44*time.Second, record.OK)
	expect("all is quiet", true, false)
}

// The load at an address goes on until a fault beside the command is over and calm has followed.
func TestAFaultBesideACommand(t *testing.T) {
	t.Parallel()
	site := newSite(t)
	s := site.scenario(t, "true", "designs:", site.script(`faults: [{kind: command, at: 300ms, for: 2s, inject: [touch, DIR/broken], heal: [rm, DIR/broken], proof: [test, -e, DIR/broken]}]
designs:`))
	r, dir, err := runCommand(t, t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	_, events := faultsOf(t, dir)
	if len(events) != 3 || !strings.HasPrefix(events[2], "fault_healed command") {
		t.Errorf("events %q, want it healed", events)
	}
	if trial := only(t, r); trial.Window.To-trial.Window.From < 2300*time.Millisecond+calmInTests {
		t.Errorf("the window is %v long, and the fault and the calm behind it are longer", trial.Window)
	}
}

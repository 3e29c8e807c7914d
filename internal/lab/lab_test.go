package lab

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/load"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/scenarios"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/upstream"
)

const shortScenario = `
name: short
about: A second of load on a server inside the test.
target: {refproxy: {sessions: 100, sync_rate: 100000, routes: 1}}
replicas: 2
load: {rate: 200, timeout: 1s, deny: 0%, streams: {keepalive-get: 1, keepalive-post: 1, newconn-get: 1}}
phases:
  baseline: {from: 100ms, to: 500ms}
  window: {from: 500ms, to: 1500ms}
action: {kind: rollout, timeout: 5s}
rolling: {max_surge: 1, max_unavailable: 0}
trials: 1
designs: [naive, stack-aware]
gates:
  - {design: stack-aware, metric: failed, op: <=, limit: 0}
`

func short(t *testing.T, change ...string) *scenarios.Scenario {
	t.Helper()
	s, err := scenarios.Parse("short.yaml", []byte(strings.NewReplacer(change...).Replace(shortScenario)), scenarios.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// memoryDriver deploys an HTTP server of its own: a runtime that a test can make fail.
type memoryDriver struct {
	checkErr, deployErr, actionErr, closeErr error
	rolloutErr                               map[string]error // of a rollout to a revision, instead of actionErr
	// failBaseline makes this many of a deployment's first requests fail.
	failFirst int64
	// failAfterAction makes this many of the first requests after a rollout fail.
	failAfterAction int64
	notes           []string
	tls             *tls.Config // nil means none
	// handle answers instead of the reference target, once the answer names who gives it.
	handle func(w http.ResponseWriter, r *http.Request, revision string)

	deploys, closes atomic.Int64
}

func (d *memoryDriver) Name() string                                    { return "memory" }
func (d *memoryDriver) Check(context.Context) error                     { return d.checkErr }
func (d *memoryDriver) Sweep(context.Context, string) ([]string, error) { return nil, nil }

func (d *memoryDriver) Deploy(_ context.Context, stack drivers.Stack) (drivers.Env, error) {
	d.deploys.Add(1)
	if d.deployErr != nil {
		return nil, d.deployErr
	}
	e := &memoryEnv{driver: d, stack: stack, revision: stack.Revision, changed: make(chan struct{})}
	e.server = httptest.NewUnstartedServer(http.HandlerFunc(e.serve))
	e.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	if e.server.TLS, e.server.EnableHTTP2 = d.tls, stack.Subject.Wire.Multiplexed(); d.tls != nil {
		e.server.StartTLS()
	} else {
		e.server.Start()
	}
	for i := range stack.Replicas {
		e.say(drivers.Started, i)
		e.say(drivers.Ready, i)
	}
	return e, nil
}

type memoryEnv struct {
	driver *memoryDriver
	stack  drivers.Stack
	server *httptest.Server
	served atomic.Int64
	after  atomic.Int64 // of them, those after a rollout

	mu       sync.Mutex
	revision string
	events   []drivers.Event
	closed   bool
	changed  chan struct{}
}

func (e *memoryEnv) serve(w http.ResponseWriter, r *http.Request) {
	n := e.served.Add(1)
	e.mu.Lock()
	revision := e.revision
	e.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("Rollout-Lab-Instance", e.id(int(n)%e.stack.Replicas))
	w.Header().Set("Rollout-Lab-Revision", revision)
	if revision != e.stack.Revision && e.after.Add(1) <= e.driver.failAfterAction || n <= e.driver.failFirst {
		http.Error(w, "not yet", http.StatusServiceUnavailable)
		return
	}
	if e.driver.handle != nil {
		e.driver.handle(w, r, revision)
		return
	}
	fmt.Fprint(w, upstream.Answer(r.Method, r.URL.Path, body))
}

func (e *memoryEnv) id(i int) string { return fmt.Sprintf("i%d", i) }

func (e *memoryEnv) say(kind drivers.EventKind, i int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.events = append(e.events, drivers.Event{At: time.Now(), Kind: kind, Instance: e.id(i), Revision: e.revision, Addr: e.server.Listener.Addr().String()})
	close(e.changed)
	e.changed = make(chan struct{})
}

func (e *memoryEnv) URL() string     { return e.server.URL }
func (e *memoryEnv) Notes() []string { return e.driver.notes }
func (e *memoryEnv) Endpoint(context.Context, string, string) (string, error) {
	return e.server.URL, nil
}

func (e *memoryEnv) Instances(context.Context) ([]drivers.Instance, error) {
	var out []drivers.Instance
	for i := range e.stack.Replicas {
		out = append(out, drivers.Instance{ID: e.id(i), Revision: e.revision, State: drivers.StateReady, Addr: e.server.Listener.Addr().String()})
	}
	return out, nil
}

func (e *memoryEnv) Scale(context.Context, int) error { return e.driver.actionErr }
func (e *memoryEnv) Restart(context.Context) error    { return e.driver.actionErr }
func (e *memoryEnv) Rollout(ctx context.Context, revision string) error {
	e.mu.Lock()
	e.revision = revision
	e.mu.Unlock()
	err, own := e.driver.rolloutErr[revision]
	if !own {
		err = e.driver.actionErr
	}
	if errors.Is(err, errAtDeadline) {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return err
}

// errAtDeadline makes an action wait until its time is over.
var errAtDeadline = errors.New("not ready in time")

func (e *memoryEnv) Watch() <-chan drivers.Event {
	out := make(chan drivers.Event)
	go func() {
		defer close(out)
		for next := 0; ; {
			e.mu.Lock()
			events, closed, changed := e.events[next:], e.closed, e.changed
			e.mu.Unlock()
			for _, ev := range events {
				out <- ev
			}
			next += len(events)
			if len(events) == 0 {
				if closed {
					return
				}
				<-changed
			}
		}
	}()
	return out
}

func (e *memoryEnv) Close(context.Context) error {
	e.server.Close()
	for i := range e.stack.Replicas {
		e.say(drivers.Gone, i)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.closed {
		e.closed = true
		e.driver.closes.Add(1)
		close(e.changed)
		e.changed = make(chan struct{})
	}
	return e.driver.closeErr
}

func runLab(t *testing.T, ctx context.Context, d drivers.Driver, ss ...*scenarios.Scenario) (string, error) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "run")
	err := Run(ctx, Config{RunID: NewRunID(time.Now()), Dir: dir, Scenarios: ss, Drivers: []drivers.Driver{d}, Command: "test"})
	if d, ok := d.(*memoryDriver); ok && d.deployErr == nil && d.closes.Load() != d.deploys.Load() {
		t.Errorf("%d deployments, %d were closed", d.deploys.Load(), d.closes.Load())
	}
	return dir, err
}

func mustJudge(t *testing.T, dir string) *judge.Run {
	t.Helper()
	r, err := Judge(dir)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestDesignsTakeTurnsForwardsAndBackwards(t *testing.T) {
	s := short(t, "trials: 1", "trials: 3")
	var got []string
	for _, p := range newSchedule([]*scenarios.Scenario{s}, []drivers.Driver{&memoryDriver{}}, false).rest() {
		got = append(got, fmt.Sprintf("%s%d", p.design.Name, p.n))
	}
	want := []string{"naive1", "stack-aware1", "stack-aware2", "naive2", "naive3", "stack-aware3"}
	if !slices.Equal(got, want) {
		t.Errorf("order %v, want %v", got, want)
	}
}

func TestRunRecordsEveryRequestAndJudgesFromTheRecord(t *testing.T) {
	t.Parallel()
	s := short(t)
	notes := []string{"proxy: interval of signal is 1s, not 200ms"}
	dir, err := runLab(t, t.Context(), &memoryDriver{notes: notes}, s)
	if err != nil {
		t.Fatal(err)
	}
	r := mustJudge(t, dir)
	if len(r.Cells) != 2 {
		t.Fatalf("%d cells, want 2", len(r.Cells))
	}
	files, err := record.OpenRun(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range r.Cells {
		last := c.Trials[len(c.Trials)-1]
		data, err := files.Trial(last.Folder)
		if err != nil {
			t.Fatal(err)
		}
		if _, told := openCPUs(os.DirFS("/")).read(time.Now()); told && (len(data.Pressure) < 5 || data.Pressure[len(data.Pressure)-1].At < time.Second) {
			t.Errorf("%s: the pressure on the CPUs was recorded %d times, want the whole trial: %v", c.Key(), len(data.Pressure), data.Pressure)
		}
		for _, tr := range c.Trials {
			t.Logf("%s trial %d: valid %v %v", c.Key(), tr.Meta.N, tr.Valid, tr.InvalidReasons)
		}
		if !slices.Equal(last.Meta.Notes, notes) {
			t.Errorf("%s: notes %q, want those of the environment", c.Key(), last.Meta.Notes)
		}
		skipIfBusy(t, &last)
		if last.Sent != 200 || last.OK != 200 {
			t.Errorf("%s: sent %d, ok %d in the window, want 200 and 200; errors %v", c.Key(), last.Sent, last.OK, last.Errors)
		}
		if last.Window.From < 500*time.Millisecond {
			t.Errorf("%s: the action began at %v, want it at the start of the window", c.Key(), last.Window.From)
		}
		if last.Convergence == nil {
			t.Errorf("%s: the action's end is not in the record", c.Key())
		}
		if len(last.Timeline.Lanes) != 2 {
			t.Errorf("%s: %d lanes, want 2", c.Key(), len(last.Timeline.Lanes))
		}
		if n := last.Reference.Planned; n < 15 || n > 35 { // in a second, at 25 in the mean
			t.Errorf("%s: the reference client sent %d requests in the window, want about 25", c.Key(), n)
		}
	}
}

func TestAnInvalidTrialIsRepeatedTwiceAndStaysInTheRecord(t *testing.T) {
	t.Parallel()
	// The first requests of every deployment fail in the baseline phase: no trial is valid.
	s := short(t, "designs: [naive, stack-aware]", "designs: [stack-aware]")
	d := &memoryDriver{failFirst: 60}
	dir, err := runLab(t, t.Context(), d, s)
	if err != nil {
		t.Fatal(err)
	}
	r := mustJudge(t, dir)
	if got := len(r.Cells[0].Trials); got != 3 {
		t.Fatalf("%d trials, want 1 and 2 repeats", got)
	}
	for i, tr := range r.Cells[0].Trials {
		if tr.Valid {
			t.Errorf("trial %d is valid", tr.Meta.N)
		}
		if want := min(i, 1); tr.Meta.Repeats != want {
			t.Errorf("trial %d repeats %d, want %d", tr.Meta.N, tr.Meta.Repeats, want)
		}
	}
	if r.Verdict != judge.Inconclusive {
		t.Errorf("verdict %s, want inconclusive", r.Verdict)
	}
}

// A trial that is valid and lost requests is what was looked for. A repeat would look for a
// luckier one.
func TestAValidTrialIsNotRepeatedWhateverItLost(t *testing.T) {
	t.Parallel()
	s := short(t, "designs: [naive, stack-aware]", "designs: [stack-aware]")
	d := &memoryDriver{failAfterAction: 20}
	dir, err := runLab(t, t.Context(), d, s)
	if err != nil {
		t.Fatal(err)
	}
	trials := mustJudge(t, dir).Cells[0].Trials
	valid := slices.IndexFunc(trials, func(tr judge.Trial) bool { return tr.Valid })
	if valid < 0 {
		t.Skipf("the machine is too busy for a valid trial: %v", trials[0].InvalidReasons)
	}
	if trials[valid].Failed == 0 {
		t.Error("the valid trial lost nothing")
	}
	if valid != len(trials)-1 {
		t.Errorf("trial %d is valid, and %d more came behind it", trials[valid].Meta.N, len(trials)-1-valid)
	}
}

func TestAFailedActionIsNeverAPass(t *testing.T) {
	t.Parallel()
	s := short(t, "designs: [naive, stack-aware]", "designs: [stack-aware]")
	dir, err := runLab(t, t.Context(), &memoryDriver{actionErr: errors.New("no quorum")}, s)
	if err != nil {
		t.Fatal(err)
	}
	r := mustJudge(t, dir)
	if r.Verdict == judge.Pass {
		t.Error("verdict is pass")
	}
	if got := len(r.Cells[0].Trials); got != 1 {
		t.Errorf("%d trials: what the target did was repeated", got)
	}
	if reasons := fmt.Sprint(r.Cells[0].Trials[0].InvalidReasons); !strings.Contains(reasons, "no quorum") {
		t.Errorf("reasons %q do not name the error", reasons)
	}
}

// What the target did not do is a fail, at deploy and later, and is neither repeated nor an
// error of the run: CI must not take it for a machine's trouble.
func TestATargetThatFailsIsAFail(t *testing.T) {
	notReady := fmt.Errorf("rollout to v2: %w: 0 of 3 are ready", drivers.ErrNotServing)
	for name, d := range map[string]*memoryDriver{
		"never ready":     {actionErr: notReady},
		"not in its time": {actionErr: errAtDeadline},
		"wrong at deploy": {deployErr: fmt.Errorf("%w: it answers 404", drivers.ErrNotServing)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := short(t, "designs: [naive, stack-aware]", "designs: [stack-aware]")
			s.Action.Timeout = 200 * time.Millisecond
			dir, err := runLab(t, t.Context(), d, s)
			if err != nil {
				t.Fatal(err)
			}
			r := mustJudge(t, dir)
			skipIfAnyBusy(t, r, false)
			if r.Verdict != judge.Fail {
				t.Errorf("verdict %s, want fail: %v", r.Verdict, r.Reasons)
			}
			if got := d.deploys.Load(); got != int64(s.Trials.Most) {
				t.Errorf("%d deployments for %d trials: a failure must not be repeated", got, s.Trials.Most)
			}
		})
	}
}

// preparing is a driver that needs something first.
type preparing struct {
	memoryDriver
	err      error
	prepared time.Time
	left     time.Duration // of the deployment's time when that began
}

func (p *preparing) Prepare(context.Context) error {
	p.prepared = time.Now()
	return p.err
}

func (p *preparing) Deploy(ctx context.Context, stack drivers.Stack) (drivers.Env, error) {
	deadline, _ := ctx.Deadline()
	p.left = deadline.Sub(p.prepared)
	return p.memoryDriver.Deploy(ctx, stack)
}

// What a driver needs first takes nothing of the target's time, and is none of its failures.
func TestADriverPreparesBeforeTheTargetsTimeBegins(t *testing.T) {
	s := short(t, "designs: [naive, stack-aware]", "designs: [stack-aware]")
	d := &preparing{memoryDriver: memoryDriver{deployErr: errors.New("enough")}}
	if _, err := runLab(t, t.Context(), d, s); err == nil || !strings.Contains(err.Error(), "enough") {
		t.Fatalf("got %v, want the error of the deployment", err)
	}
	if d.prepared.IsZero() || d.left < deployTimeout {
		t.Errorf("prepared at %v, and %v were left of the deployment's %v", d.prepared, d.left, deployTimeout)
	}
	d = &preparing{err: errors.New("no cluster")}
	_, err := runLab(t, t.Context(), d, s)
	if err == nil || !strings.Contains(err.Error(), "no cluster") || errors.Is(err, drivers.ErrNotServing) {
		t.Errorf("got %v, want what was missing", err)
	}
	if n := d.deploys.Load(); n != 0 {
		t.Errorf("%d deployments without what they need", n)
	}
}

func TestTroubleWithTheEnvironment(t *testing.T) {
	for _, tc := range []struct {
		name   string
		driver *memoryDriver
		want   string
		record bool
	}{
		{"driver not there", &memoryDriver{checkErr: fmt.Errorf("%w: no engine", drivers.ErrUnavailable)}, "no engine", false},
		{"deployment fails", &memoryDriver{deployErr: errors.New("no room")}, "no room", true},
		{"clean-up fails", &memoryDriver{closeErr: errors.New("will not die")}, "will not die", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir, err := runLab(t, t.Context(), tc.driver, short(t))
			var env *EnvironmentError
			if !errors.As(err, &env) || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("error %v, want an EnvironmentError with %q", err, tc.want)
			}
			if !tc.record {
				return
			}
			r := mustJudge(t, dir)
			if r.Verdict == judge.Pass {
				t.Error("verdict is pass")
			}
			for _, s := range r.End.Skipped {
				if s.Unavailable {
					t.Errorf("the driver is there, and %q says that it is not", s.Why)
				}
			}
		})
	}
}

// What says why nothing was run says the way out as well.
func TestTheHintOfADeploymentThatFailedIsRecorded(t *testing.T) {
	for _, tc := range []struct {
		name        string
		err         error
		hint        string
		unavailable bool
	}{
		{"no hint", errors.New("no room"), "", false},
		{"a hint", &drivers.HintError{Err: fmt.Errorf("image: %w", drivers.ErrUnsupported), Hint: "use another driver"}, "use another driver", false},
		{"no driver", &drivers.HintError{Err: fmt.Errorf("%w: no engine", drivers.ErrUnavailable), Hint: "start it"}, "start it", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir, _ := runLab(t, t.Context(), &memoryDriver{deployErr: fmt.Errorf("web: %w", tc.err)}, short(t))
			all := mustJudge(t, dir).End.Skipped
			if len(all) == 0 {
				t.Fatal("nothing was skipped")
			}
			if got := all[0]; got.Hint != tc.hint || got.Unavailable != tc.unavailable || !strings.Contains(got.Why, tc.err.Error()) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// A run whose load could not be measured if everything hung is refused before anything is
// deployed. (Seen once: a hang that ran out of files was called the harness's trouble, and a
// repeat in which nothing hung made it a pass.)
func TestALoadThatCannotBeHeldIsRefused(t *testing.T) {
	d := &memoryDriver{}
	dir, err := runLab(t, t.Context(), d, short(t, "rate: 200, timeout: 1s", "rate: 100000, timeout: 2s", "to: 1500ms", "to: 10s"))
	var env *EnvironmentError
	var limit *load.LimitError
	if !errors.As(err, &env) || !errors.As(err, &limit) || !strings.Contains(err.Error(), "scenario short on memory") {
		t.Fatalf("error %v, want an EnvironmentError with a LimitError", err)
	}
	if d.deploys.Load() != 0 {
		t.Errorf("%d deployments, want none", d.deploys.Load())
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the run's folder: %v, want none", err)
	}
}

func TestAnInterruptedRunIsCleanedUpAndReadable(t *testing.T) {
	t.Parallel()
	cause := errors.New("stopped by the test")
	ctx, cancel := context.WithCancelCause(t.Context())
	dir := filepath.Join(t.TempDir(), "run")
	d := &memoryDriver{}
	err := Run(ctx, Config{RunID: "r", Dir: dir, Scenarios: []*scenarios.Scenario{short(t)}, Drivers: []drivers.Driver{d},
		Progress: func(u Update) {
			if u.Phase == PhaseWindow && u.OK+u.Failed >= 120 { // 100 of them come before the window
				cancel(cause)
			}
		}})
	if !errors.Is(err, cause) {
		t.Fatalf("error %v, want the cause", err)
	}
	if d.deploys.Load() != 1 || d.closes.Load() != 1 {
		t.Errorf("%d deployments, %d closed, want 1 and 1", d.deploys.Load(), d.closes.Load())
	}
	r := mustJudge(t, dir)
	if !r.Partial || r.Verdict == judge.Pass {
		t.Errorf("partial %v, verdict %s", r.Partial, r.Verdict)
	}
	if r.End == nil || !r.End.Interrupted {
		t.Errorf("end %+v does not say interrupted", r.End)
	}
	if tr := r.Cells[0].Trials[0]; tr.Sent == 0 || tr.Valid {
		t.Errorf("sent %d, valid %v: want what there is, and not valid", tr.Sent, tr.Valid)
	}
}

func TestADamagedTrialCostsTheVerdictAndNothingElse(t *testing.T) {
	t.Parallel()
	dir, err := runLab(t, t.Context(), &memoryDriver{}, short(t))
	if err != nil {
		t.Fatal(err)
	}
	samples, err := filepath.Glob(filepath.Join(dir, "trials", "*-naive-1", "samples.csv"))
	if err != nil || len(samples) != 1 {
		t.Fatalf("samples of naive: %v, %v", samples, err)
	}
	text, err := os.ReadFile(samples[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(samples[0], bytes.Replace(text, []byte(",ok,"), []byte(",ok"), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	r := mustJudge(t, dir)
	if r.Verdict != judge.Inconclusive || !r.Partial {
		t.Errorf("verdict %s, partial %v, want an inconclusive partial run", r.Verdict, r.Partial)
	}
	if reasons := fmt.Sprint(r.Reasons); !strings.Contains(reasons, "samples.csv") {
		t.Errorf("reasons do not name the file: %s", reasons)
	}
	if !slices.ContainsFunc(r.Cells, func(c judge.Cell) bool { return c.Design == "stack-aware" && len(c.Trials) > 0 }) {
		t.Error("the other trial is gone as well")
	}
}

func TestChoosingADesignDoesNotDropWhatTheScenarioAsksFor(t *testing.T) {
	s, err := scenarios.Load("quickstart", scenarios.Options{})
	if err != nil {
		t.Fatal(err)
	}
	whole := describeScenario(s)
	if err := s.WithDesigns([]string{"naive"}); err != nil {
		t.Fatal(err)
	}
	got := describeScenario(s)
	if len(got.Gates) != len(whole.Gates) || len(got.Positive) != len(whole.Positive) {
		t.Errorf("%d gates and %d controls, want %d and %d: a run of naive alone would pass", len(got.Gates), len(got.Positive), len(whole.Gates), len(whole.Positive))
	}
}

// TestAControlOfSomeDriversIsRecordedAsOne: judge must not ask it of the others.
func TestAControlOfSomeDriversIsRecordedAsOne(t *testing.T) {
	s, err := scenarios.Load("scale-in", scenarios.Options{})
	if err != nil {
		t.Fatal(err)
	}
	got := describeScenario(s)
	if !slices.Equal(got.Positive, []string{"naive"}) || !slices.Equal(got.PositiveOn["naive"], []string{"process"}) {
		t.Errorf("positive controls %q on %v", got.Positive, got.PositiveOn)
	}
}

func TestTheRecordNamesWhatTheScenarioAsked(t *testing.T) {
	s := short(t, "kind: rollout", "kind: scale, to: 5")
	got := plannedTrial{scenario: s, driver: &memoryDriver{}, design: s.Designs[1], n: 2}.describe()
	if got.Action != "scale-out" || got.ReplicasBefore != 2 || got.ReplicasAfter != 5 || got.Planned != 499 {
		t.Errorf("described as %+v", got)
	}
	if got.WindowTo != 1500*time.Millisecond || got.LoadTo != 1500*time.Millisecond+scenarios.Tail {
		t.Errorf("window to %v, load to %v: the load must go on behind the window", got.WindowTo, got.LoadTo)
	}
	if got.Revisions != (record.Revisions{Before: "v1", After: "v1"}) {
		t.Errorf("revisions %+v: scaling changes none", got.Revisions)
	}
}

// sparing is a driver whose instances are far away, behind the lab's balancer.
type sparing struct {
	drivers.Driver
	every time.Duration
}

func (sparing) Name() string { return "far" }
func (sparing) Capabilities() drivers.Capabilities {
	return drivers.Capabilities{LabBalancer: true, Routing: "by smoke signals"}
}
func (s sparing) ProbeInterval() time.Duration { return s.every }

func TestTheRecordHoldsWhatADriverSaysOfItself(t *testing.T) {
	s, err := scenarios.Load("quickstart", scenarios.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for every, want := range map[time.Duration]time.Duration{
		200 * time.Millisecond: 200 * time.Millisecond,
		time.Millisecond:       probePeriod, // not more often than anybody's
	} {
		p := plannedTrial{scenario: s, driver: sparing{every: every}, design: s.Designs[0], n: 1}
		if got := p.describe().ProbeEvery; got != want {
			t.Errorf("with %v: asked every %v, want %v", every, got, want)
		}
		if got := p.describe(); !got.LabBalancer || got.Routing != "by smoke signals" {
			t.Errorf("the record does not hold the driver's capabilities: %+v", got)
		}
	}
}

// askedValid and tooBusy count the tests that asked for a valid trial, and those of them for which
// the machine was too busy. Each is counted once for a trial that it looks at.
var askedValid, tooBusy atomic.Int32

// mostTooBusy is the share of them that may be skipped where the machine is to be fit for them.
const mostTooBusy = 0.5

// enoughWasTested says whether what was skipped leaves enough to call the rest a test.
func enoughWasTested() error {
	asked, busy := askedValid.Load(), tooBusy.Load()
	if !slices.Contains(strings.Split(os.Getenv("ROLLOUT_LAB_REQUIRE"), ","), "process") || float64(busy) <= mostTooBusy*float64(asked) {
		return nil
	}
	return fmt.Errorf("the machine was too busy for %d of %d trials that have to be valid, so most was not tested", busy, asked)
}

// skipIfBusy ends a test that asks for a pass on a machine that was too busy for one.
func skipIfBusy(t *testing.T, trial *judge.Trial) {
	t.Helper()
	askedValid.Add(1)
	for _, r := range trial.InvalidReasons {
		if r.Kind == judge.LoadLate || r.Kind == judge.HarnessFailed {
			tooBusy.Add(1)
			t.Skipf("the machine is too busy for a valid trial: %v", r)
		}
	}
}

// What a suite leaves out is in the record: a reader would else miss nothing.
func TestWhatIsLeftOutIsInTheRecord(t *testing.T) {
	out := []record.LeftOut{{Scenario: "node-drain", Driver: "process", Why: "no nodes"}}
	if got := describeRun(t.Context(), Config{LeftOut: out}, time.Now(), nil, nil).LeftOut; !slices.Equal(got, out) {
		t.Errorf("the record has left out %v, want %v", got, out)
	}
}

//go:build linux

package drivertest

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/process"
)

func TestMain(m *testing.M) {
	// A broken driver is mostly waited for, so more of them fit in than there are cores.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	Main(m)
}

// verdict is a testing.TB that keeps to itself what a case says.
type verdict struct {
	testing.TB // the real one, for what a case may not be kept from

	mu       sync.Mutex
	failures []string
	skipped  string
	cleanups []func()
}

func (v *verdict) Helper() {}

func (v *verdict) Errorf(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.failures = append(v.failures, fmt.Sprintf(format, args...))
}

func (v *verdict) Error(args ...any) { v.Errorf("%s", fmt.Sprintln(args...)) }

func (v *verdict) Fatal(args ...any) {
	v.Error(args...)
	runtime.Goexit()
}

func (v *verdict) Fatalf(format string, args ...any) {
	v.Errorf(format, args...)
	runtime.Goexit()
}

func (v *verdict) Skipf(format string, args ...any) {
	v.skipped = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func (v *verdict) Cleanup(f func()) { v.cleanups = append(v.cleanups, f) }

// judge runs a case as testing would, and returns what it found.
func judge(t *testing.T, c testCase, h Harness) *verdict {
	t.Helper()
	v := &verdict{TB: t}
	alone := func(f func()) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			f()
		}()
		<-done
	}
	alone(func() { c.run(v, h) })
	for _, f := range slices.Backward(v.cleanups) {
		alone(f)
	}
	return v
}

func find(t *testing.T, name string) testCase {
	t.Helper()
	for _, c := range cases {
		if c.name == name {
			return c
		}
	}
	t.Fatalf("the suite has no case %s", name)
	return testCase{}
}

func goodDriver(t testing.TB) drivers.Driver {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return process.New(process.Config{Program: []string{self}})
}

// thisProgram runs this test as a program that the good driver does not know.
func thisProgram(t testing.TB, s *drivers.Service) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s.Exec = self
}

// withVariable is an environment with one more variable.
func withVariable(env map[string]string, name, value string) map[string]string {
	env = maps.Clone(env)
	env[name] = value
	return env
}

// brokenDriver is a good one in which some things go wrong. A nil field means that they
// go right.
type brokenDriver struct {
	drivers.Driver
	deploy func(ctx context.Context, good drivers.Driver, s drivers.Stack) (drivers.Env, error)
	sweep  func(ctx context.Context, good drivers.Driver, runID string) ([]string, error)
	env    func(good drivers.Env) *brokenEnv
	as     func(d *brokenDriver) drivers.Driver // with abilities
	within time.Duration                        // each operation has; 0 means 3 s
}

func (d *brokenDriver) Deploy(ctx context.Context, s drivers.Stack) (drivers.Env, error) {
	deploy := d.deploy
	if deploy == nil {
		deploy = func(ctx context.Context, good drivers.Driver, s drivers.Stack) (drivers.Env, error) {
			return good.Deploy(ctx, s)
		}
	}
	env, err := deploy(ctx, d.Driver, s)
	if err != nil || d.env == nil {
		return env, err
	}
	broken := d.env(env)
	broken.runID = s.RunID
	return broken, nil
}

func (d *brokenDriver) Faults(ctx context.Context) map[drivers.FaultKind]error {
	return d.Driver.(drivers.Faulter).Faults(ctx)
}

func (d *brokenDriver) Sweep(ctx context.Context, runID string) ([]string, error) {
	if d.sweep == nil {
		return d.Driver.Sweep(ctx, runID)
	}
	return d.sweep(ctx, d.Driver, runID)
}

type brokenEnv struct {
	drivers.Env
	runID     string
	instances func(context.Context) ([]drivers.Instance, error)
	scale     func(context.Context, int) error
	restart   func(context.Context) error
	rollout   func(context.Context, string) error
	watch     func() <-chan drivers.Event
	close     func(context.Context) error
	url       func() string
	notes     func() []string
	inject    func(context.Context, drivers.Fault) (drivers.Injection, error)
	logs      func(context.Context, string) (string, error)
	trace     func(netip.AddrPort) (drivers.Way, bool)
}

func (e *brokenEnv) Notes() []string {
	if e.notes != nil {
		return e.notes()
	}
	return nil
}

func (e *brokenEnv) URL() string {
	if e.url != nil {
		return e.url()
	}
	return e.Env.URL()
}

func (e *brokenEnv) Instances(ctx context.Context) ([]drivers.Instance, error) {
	if e.instances != nil {
		return e.instances(ctx)
	}
	return e.Env.Instances(ctx)
}

func (e *brokenEnv) Scale(ctx context.Context, n int) error {
	if e.scale != nil {
		return e.scale(ctx, n)
	}
	return e.Env.Scale(ctx, n)
}

func (e *brokenEnv) Restart(ctx context.Context) error {
	if e.restart != nil {
		return e.restart(ctx)
	}
	return e.Env.Restart(ctx)
}

func (e *brokenEnv) Rollout(ctx context.Context, revision string) error {
	if e.rollout != nil {
		return e.rollout(ctx, revision)
	}
	return e.Env.Rollout(ctx, revision)
}

func (e *brokenEnv) Watch() <-chan drivers.Event {
	if e.watch != nil {
		return e.watch()
	}
	return e.Env.Watch()
}

func (e *brokenEnv) Close(ctx context.Context) error {
	if e.close != nil {
		return e.close(ctx)
	}
	return e.Env.Close(ctx)
}

// claims is an injection that nobody has made, and what its proof says of it.
type claims struct {
	there bool
	err   error
}

func (c claims) Proof(context.Context) (string, bool, error) { return "so it is said", c.there, c.err }
func (claims) Heal(context.Context) error                    { return nil }

// injected is an injection of a good driver in which something goes wrong.
type injected struct {
	drivers.Injection
	proof func(context.Context) (string, bool, error)
	heal  func(context.Context) error
}

func (i *injected) Proof(ctx context.Context) (string, bool, error) { return i.proof(ctx) }
func (i *injected) Heal(ctx context.Context) error                  { return i.heal(ctx) }

// injects is a driver whose faults of a kind are broken.
func injects(kind drivers.FaultKind, breaks func(drivers.Injector, *injected)) *brokenDriver {
	return with(func(good drivers.Env, e *brokenEnv) {
		e.inject = func(ctx context.Context, f drivers.Fault) (drivers.Injection, error) {
			i, err := good.(drivers.Injector).Inject(ctx, f)
			if err != nil || f.Kind != kind {
				return i, err
			}
			out := &injected{i, i.Proof, i.Heal}
			breaks(good.(drivers.Injector), out)
			return out, nil
		}
	})
}

// slowly gives a broken driver more time, for instances that have little of a processor.
func slowly(d *brokenDriver) *brokenDriver {
	d.within = 6 * time.Second
	return d
}

// pretends is a driver that does nothing about the faults of a kind, and proves them.
func pretends(kind drivers.FaultKind) *brokenDriver {
	return with(func(good drivers.Env, e *brokenEnv) {
		e.inject = func(ctx context.Context, f drivers.Fault) (drivers.Injection, error) {
			if f.Kind == kind {
				return claims{true, nil}, nil
			}
			return good.(drivers.Injector).Inject(ctx, f)
		}
	})
}

// always is a proof that says the same whatever there is.
func always(there bool) func(context.Context) (string, bool, error) {
	return claims{there, nil}.Proof
}

// once is a proof that says yes for once.
func once() func(context.Context) (string, bool, error) {
	asked := 0
	return func(ctx context.Context) (string, bool, error) {
		asked++
		return claims{asked == 1, nil}.Proof(ctx)
	}
}

func nothing(context.Context) error { return nil }

// The abilities of the driver underneath.
func (e *brokenEnv) Inject(ctx context.Context, f drivers.Fault) (drivers.Injection, error) {
	if e.inject != nil {
		return e.inject(ctx, f)
	}
	return e.Env.(drivers.Injector).Inject(ctx, f)
}
func (e *brokenEnv) Trace(client netip.AddrPort) (drivers.Way, bool) {
	if e.trace != nil {
		return e.trace(client)
	}
	return e.Env.(drivers.Tracer).Trace(client)
}
func (e *brokenEnv) Logs(ctx context.Context, id string) (string, error) {
	if e.logs != nil {
		return e.logs(ctx, id)
	}
	return e.Env.(drivers.Logger).Logs(ctx, id)
}

// changeStack is a driver that deploys something else than it was asked for.
func changeStack(change func(*drivers.Stack)) *brokenDriver {
	return &brokenDriver{deploy: func(ctx context.Context, good drivers.Driver, s drivers.Stack) (drivers.Env, error) {
		change(&s)
		return good.Deploy(ctx, s)
	}}
}

// filterEvents is an environment whose watchers are told only what keep lets through,
// and as it changes it.
func filterEvents(keep func(n int, e *drivers.Event) bool) *brokenDriver {
	return &brokenDriver{env: func(good drivers.Env) *brokenEnv {
		return &brokenEnv{Env: good, watch: func() <-chan drivers.Event {
			out := make(chan drivers.Event, 1000)
			go func() {
				defer close(out)
				n := 0
				for e := range good.Watch() {
					if keep(n, &e) {
						out <- e
					}
					n++
				}
			}()
			return out
		}}
	}}
}

// with is an environment that mutate breaks.
func with(mutate func(good drivers.Env, e *brokenEnv)) *brokenDriver {
	return &brokenDriver{env: func(good drivers.Env) *brokenEnv {
		e := &brokenEnv{Env: good}
		mutate(good, e)
		return e
	}}
}

// broken is a driver that is broken on purpose.
type broken struct {
	name   string
	driver *brokenDriver
	finds  string // the case that must fail
	says   string // part of what it says
}

// TestTheSuiteFindsBrokenDrivers runs, for each driver that is broken on purpose, the
// case that must notice, and looks at the reason that it gives.
func TestTheSuiteFindsBrokenDrivers(t *testing.T) {
	for _, tt := range []broken{
		{"leaves a process behind", with(func(good drivers.Env, e *brokenEnv) {
			// It forgets what it was asked to close and says that all is well.
			e.close = func(context.Context) error { return nil }
		}), "Close", "left"},
		{"says that a rollout is complete before it is", with(func(good drivers.Env, e *brokenEnv) {
			var background sync.WaitGroup
			e.rollout = func(_ context.Context, revision string) error {
				background.Go(func() { _ = good.Rollout(context.Background(), revision) })
				return nil
			}
			e.close = func(ctx context.Context) error {
				err := good.Close(ctx)
				background.Wait()
				return err
			}
		}), "Rollout", "want ready at v2"},
		{"says that it scaled before it did", with(func(good drivers.Env, e *brokenEnv) {
			var background sync.WaitGroup
			e.scale = func(_ context.Context, n int) error {
				background.Go(func() { _ = good.Scale(context.Background(), n) })
				return nil
			}
			e.close = func(ctx context.Context) error {
				err := good.Close(ctx)
				background.Wait()
				return err
			}
		}), "Scale", "instances, want 4"},
		{"loses an instance", with(func(good drivers.Env, e *brokenEnv) {
			e.scale = func(ctx context.Context, n int) error { return good.Scale(ctx, max(n-1, 0)) }
		}), "Scale", "3 instances, want 4"},
		{"does not list an instance", with(func(good drivers.Env, e *brokenEnv) {
			e.instances = func(ctx context.Context) ([]drivers.Instance, error) {
				list, err := good.Instances(ctx)
				return list[:max(len(list)-1, 0)], err
			}
		}), "Deploy", "2 instances, want 3"},
		{"starts one instance too few", changeStack(func(s *drivers.Stack) { s.Replicas-- }), "Deploy", "2 instances, want 3"},
		{"calls whatever runs ready", changeStack(func(s *drivers.Stack) { s.Subject.Signal = drivers.Probe{Kind: drivers.ProbeNone} }), "SignalDecides", "unready"},
		{"rolls on without waiting for readiness", changeStack(func(s *drivers.Stack) { s.Subject.Signal = drivers.Probe{Kind: drivers.ProbeNone} }), "NeverReady", ""},
		{"claims that everything is ready", with(func(good drivers.Env, e *brokenEnv) {
			e.instances = func(ctx context.Context) ([]drivers.Instance, error) {
				list, err := good.Instances(ctx)
				for n := range list {
					list[n].State = drivers.StateReady
				}
				return list, err
			}
		}), "NeverReady", "against its signal"},
		{"deploys what does not serve", changeStack(func(s *drivers.Stack) { s.Subject.Serves = drivers.Probe{} }), "SignalLies", "was deployed"},
		{"asks the truth instead of the signal", changeStack(func(s *drivers.Stack) { s.Subject.Signal, s.Subject.Signal.Interval = s.Subject.Serves, look }), "SignalDecides", "in vain"},
		{"drops the end of instances", filterEvents(func(_ int, e *drivers.Event) bool { return e.Kind != drivers.Gone }), "Scale", "Gone"},
		{"drops the request to stop", filterEvents(func(_ int, e *drivers.Event) bool { return e.Kind != drivers.Terminating }), "Scale", "terminating"},
		{"drops its first event", filterEvents(func(n int, _ *drivers.Event) bool { return n > 0 }), "Deploy", ""},
		{"tells an event twice", func() *brokenDriver {
			return with(func(good drivers.Env, e *brokenEnv) {
				e.watch = func() <-chan drivers.Event {
					out := make(chan drivers.Event, 1000)
					go func() {
						defer close(out)
						for event := range good.Watch() {
							out <- event
							if event.Kind == drivers.Ready {
								out <- event
							}
						}
					}()
					return out
				}
			})
		}(), "Deploy", "it was ready"},
		{"tells no address", filterEvents(func(_ int, e *drivers.Event) bool { e.Addr = ""; return true }), "Deploy", "no address"},
		{"tells no time", filterEvents(func(_ int, e *drivers.Event) bool { e.At = time.Time{}; return true }), "Deploy", "no time"},
		{"does not replay", with(func(good drivers.Env, e *brokenEnv) {
			calls := 0
			e.watch = func() <-chan drivers.Event {
				all := good.Watch()
				if calls++; calls > 1 {
					<-all // what came first is not told again
				}
				return all
			}
		}), "Watch", "differs"},
		{"does not restart", with(func(_ drivers.Env, e *brokenEnv) { e.restart = func(context.Context) error { return nil } }), "Restart", "was not replaced"},
		{"restarts to the first revision", with(func(good drivers.Env, e *brokenEnv) {
			e.restart = func(ctx context.Context) error { return good.Rollout(ctx, before) }
		}), "Rollout", "at v2"},
		{"runs the same program at every revision", changeStack(func(s *drivers.Stack) {
			s.Subject.Args, s.Subject.Env, s.Revisions = s.Revisions[before].Args, s.Revisions[before].Env, nil
		}), "Revisions", "arguments"},
		{"keeps the environment of the first revision", changeStack(func(s *drivers.Stack) {
			v := s.Revisions[after]
			v.Env = s.Revisions[before].Env
			s.Revisions = map[string]drivers.Variation{before: s.Revisions[before], after: v}
		}), "Revisions", "environment of another"},
		{"adds a revision to what the subject is", changeStack(func(s *drivers.Stack) {
			v := s.Revisions[after]
			v.Env = withVariable(v.Env, "DRIVERTEST_LEFT", s.Subject.Env["DRIVERTEST_LEFT"])
			s.Revisions = map[string]drivers.Variation{before: s.Revisions[before], after: v}
		}), "Revisions", "environment of another"},
		{"rolls to a revision that there is not", with(func(good drivers.Env, e *brokenEnv) {
			e.rollout = func(ctx context.Context, revision string) error {
				if err := good.Rollout(ctx, revision); !errors.Is(err, drivers.ErrNoRevision) {
					return err
				}
				return nil
			}
		}), "Revisions", "want ErrNoRevision"},
		{"goes on to the last revision instead of back", with(func(good drivers.Env, e *brokenEnv) {
			last := ""
			e.rollout = func(ctx context.Context, revision string) error {
				if last == "" {
					last = revision
				}
				return good.Rollout(ctx, last)
			}
		}), "Revisions", "at v1"},
		{"replaces everything at once", changeStack(func(s *drivers.Stack) { s.Rolling = drivers.Rolling{MaxSurge: 10, MaxUnavailable: 10} }), "Restart", "instances"},
		{"starts first where it must stop first", changeStack(func(s *drivers.Stack) { s.Rolling = drivers.Rolling{MaxSurge: 1} }), "StopFirst", "exist"},
		{"sets a variable of its own", changeStack(func(s *drivers.Stack) { s.Subject.Env = withVariable(s.Subject.Env, "GOMAXPROCS", "1") }), "Environment", "GOMAXPROCS=1"},
		{"marks the environment", changeStack(func(s *drivers.Stack) { s.Subject.Env = withVariable(s.Subject.Env, "ROLLOUT_LAB_X", s.RunID) }), "Environment", "ROLLOUT_LAB_X="},
		{"forgets a variable", changeStack(func(s *drivers.Stack) { s.Subject.Env = withVariable(s.Subject.Env, "DRIVERTEST_REVISION", "") }), "Environment", "want \"v1\""},
		{"gives no grace", changeStack(func(s *drivers.Stack) { s.Subject.StopGrace = 0 }), "Drain", ""},
		{"kills before the grace is over", changeStack(func(s *drivers.Stack) { s.Subject.StopGrace /= 100 }), "StopGrace", "want its grace"},
		{"says plain where TLS is spoken", with(func(good drivers.Env, e *brokenEnv) {
			e.url = func() string { return strings.Replace(good.URL(), "https", "http", 1) }
		}), "TLS", "HTTP request to an HTTPS server"},
		{"tells the way of no connection", with(func(_ drivers.Env, e *brokenEnv) {
			e.trace = func(netip.AddrPort) (drivers.Way, bool) { return drivers.Way{}, false }
		}), "H2C", "by what the environment says"},
		{"tells that a connection went nowhere for no reason", with(func(good drivers.Env, e *brokenEnv) {
			e.trace = func(client netip.AddrPort) (drivers.Way, bool) {
				way, ok := good.(drivers.Tracer).Trace(client)
				way.Reason = ""
				return way, ok
			}
		}), "HTTP2", "nobody to go to"},
		{"asks for the signal without TLS", changeStack(func(s *drivers.Stack) { s.Subject.Signal.Wire = drivers.Wire{} }), "SignalOverTLS", "deploy"},
		{"reads what it is to pass on", changeStack(func(s *drivers.Stack) {
			s.Balancer.Terminate = &drivers.Identity{Certificate: []byte(s.Subject.Env[certificateEnv]), Key: []byte(s.Subject.Env[keyEnv])}
		}), "TLS", "by what the environment says"},
		{"passes on what it is to read", changeStack(func(s *drivers.Stack) { s.Balancer.Terminate = nil }), "Terminate", "want ErrUnsupported"},
		{"does not tell the balancer", changeStack(func(s *drivers.Stack) { s.Balancer.DeregisterFirst = false }), "DeregisterFirst", "let go"},
		{"moves its URL", func() *brokenDriver {
			return with(func(good drivers.Env, e *brokenEnv) {
				n := 0
				e.url = func() string { n++; return good.URL() + strings.Repeat("/", n-1) }
			})
		}(), "Deploy", "URL changed"},
		{"cannot be closed twice", with(func(good drivers.Env, e *brokenEnv) {
			n := 0
			e.close = func(ctx context.Context) error {
				if n++; n > 1 {
					return errors.New("closed before")
				}
				return good.Close(ctx)
			}
		}), "Close", "close again"},
		{"waits for the grace whatever its context says", with(func(good drivers.Env, e *brokenEnv) {
			e.close = func(context.Context) error {
				ctx, cancel := context.WithTimeout(context.Background(), 6*time.Second)
				defer cancel()
				return good.Close(ctx)
			}
		}), "CloseWithoutGrace", "waits for a grace"},
		{"does not listen to its context", with(func(good drivers.Env, e *brokenEnv) {
			e.rollout = func(ctx context.Context, revision string) error {
				ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 6*time.Second)
				defer cancel()
				return good.Rollout(ctx, revision)
			}
		}), "NeverReady", "after its context had ended"},
		{"sweeps the living", &brokenDriver{sweep: func(ctx context.Context, good drivers.Driver, runID string) ([]string, error) {
			if runID == "" {
				runID = everyRun
			}
			return good.Sweep(ctx, runID)
		}}, "Sweep", "list instances"},
		{"sweeps nothing", &brokenDriver{sweep: func(context.Context, drivers.Driver, string) ([]string, error) {
			return []string{"everything"}, nil
		}}, "Sweep", "left"},
		{"accepts nonsense", &brokenDriver{deploy: func(ctx context.Context, good drivers.Driver, s drivers.Stack) (drivers.Env, error) {
			if s.Validate() != nil {
				s = NewStack(replicas(0))
			}
			return good.Deploy(ctx, s)
		}}, "DeployRefuses", "deployed"},
		{"does not restart what ends", changeStack(func(s *drivers.Stack) { s.Subject.RestartOnExit = false }), "Kill", "in vain"},
		{"freezes nothing", with(func(_ drivers.Env, e *brokenEnv) {
			e.inject = func(context.Context, drivers.Fault) (drivers.Injection, error) { return claims{true, nil}, nil }
		}), "Pause", "in vain"},
		{"says that it has frozen, and that it has thawed", injects(drivers.FaultPause, func(_ drivers.Injector, i *injected) { i.proof = always(false) }), "Pause", "not there"},
		{"says that a fault is there when it is healed", injects(drivers.FaultPause, func(_ drivers.Injector, i *injected) { i.proof = always(true) }), "Pause", "still there"},
		{"proves a fault with nothing to say", injects(drivers.FaultPause, func(_ drivers.Injector, i *injected) {
			proof := i.proof
			i.proof = func(ctx context.Context) (string, bool, error) {
				_, there, err := proof(ctx)
				return "", there, err
			}
		}), "Pause", "want a line"},
		{"thaws nothing and says that it did", injects(drivers.FaultPause, func(_ drivers.Injector, i *injected) { i.proof, i.heal = once(), nothing }), "Pause", "both to be ready again"},
		{"thaws once", injects(drivers.FaultPause, func(_ drivers.Injector, i *injected) {
			heal, n := i.heal, 0
			i.heal = func(ctx context.Context) error {
				if n++; n > 1 {
					return errors.New("it is not frozen")
				}
				return heal(ctx)
			}
		}), "Pause", "heal: it is not frozen"},
		{"kills nothing and says that it did", pretends(drivers.FaultKill), "Kill", "serve again"},
		{"asks it to end instead of killing it", injects(drivers.FaultKill, func(_ drivers.Injector, i *injected) { i.proof = always(false) }), "KillForGood", "not there"},
		{"forgets who killed it", injects(drivers.FaultKill, func(_ drivers.Injector, i *injected) { i.proof = once() }), "Kill", "not there"},
		{"kills whom nobody knows", with(func(good drivers.Env, e *brokenEnv) {
			e.inject = func(ctx context.Context, f drivers.Fault) (drivers.Injection, error) {
				if f.Instance == "nobody" {
					return claims{true, nil}, nil
				}
				return good.(drivers.Injector).Inject(ctx, f)
			}
		}), "Kill", "does not exist"},
		{"stops nothing and says that it did", pretends(drivers.FaultStop), "Stop", "that was stopped answers"},
		{"stops a dependency once and for all", injects(drivers.FaultStop, func(_ drivers.Injector, i *injected) { i.proof, i.heal = once(), nothing }), "Stop", "does not answer once"},
		{"stops a dependency for a moment", injects(drivers.FaultStop, func(_ drivers.Injector, i *injected) {
			proof := i.proof
			i.proof = func(ctx context.Context) (string, bool, error) {
				seen, there, err := proof(ctx)
				if there { // else nobody would ever see it stopped
					err = errors.Join(err, i.Injection.Heal(ctx))
				}
				return seen, there, err
			}
		}), "Stop", "that was stopped answers"},
		{"lets what is frozen have its whole grace", with(func(good drivers.Env, e *brokenEnv) {
			e.close = func(ctx context.Context) error {
				<-time.After(2 * time.Second)
				return good.Close(ctx)
			}
		}), "FaultsAtClose", "was not thawed"},
		{"injects on after it was told to stop, and says that it did not", with(func(good drivers.Env, e *brokenEnv) {
			e.inject = func(ctx context.Context, f drivers.Fault) (drivers.Injection, error) {
				i, err := good.(drivers.Injector).Inject(context.WithoutCancel(ctx), f)
				if err == nil {
					err = ctx.Err()
				}
				return i, err
			}
		}), "FaultsCancelled", "there already"},
		{"takes faults after it was closed", with(func(good drivers.Env, e *brokenEnv) {
			e.inject = func(ctx context.Context, f drivers.Fault) (drivers.Injection, error) {
				if i, err := good.(drivers.Injector).Inject(ctx, f); !errors.Is(err, drivers.ErrClosed) {
					return i, err
				}
				return claims{true, nil}, nil
			}
		}), "FaultsAtClose", "want ErrClosed"},
		{"asks nobody whether it lives", &brokenDriver{
			deploy: func(ctx context.Context, good drivers.Driver, s drivers.Stack) (drivers.Env, error) {
				s.Subject.Liveness = drivers.Probe{}
				return good.Deploy(ctx, s)
			},
			as: func(d *brokenDriver) drivers.Driver {
				return &supporting{d, drivers.Honours("liveness")}
			},
		}, "Liveness", "in vain"},
		{"tells the wrong instance's last words", with(func(good drivers.Env, e *brokenEnv) {
			e.logs = func(ctx context.Context, id string) (string, error) {
				list, err := good.Instances(ctx)
				if err != nil || len(list) == 0 {
					return "", err
				}
				return good.(drivers.Logger).Logs(ctx, list[0].ID)
			}
		}), "Logs", "lacks"},
		{"lets a second change wait", with(func(good drivers.Env, e *brokenEnv) {
			e.scale = func(ctx context.Context, n int) error {
				for {
					if err := good.Scale(ctx, n); !errors.Is(err, drivers.ErrBusy) {
						return err
					}
					<-time.After(look)
				}
			}
		}), "Busy", "it waits"},
		{"says nothing of a second change that it drops", with(func(good drivers.Env, e *brokenEnv) {
			e.restart = func(ctx context.Context) error {
				if err := good.Restart(ctx); !errors.Is(err, drivers.ErrBusy) {
					return err
				}
				return nil
			}
		}), "Busy", "want ErrBusy"},
		{"does not name what a second change is refused for", with(func(good drivers.Env, e *brokenEnv) {
			e.scale = func(ctx context.Context, n int) error {
				if err := good.Scale(ctx, n); err != nil {
					return errors.New("not now")
				}
				return nil
			}
		}), "Busy", "want ErrBusy"},
		{"gives up a change for a second one", with(func(good drivers.Env, e *brokenEnv) {
			var stop context.CancelFunc
			e.rollout = func(ctx context.Context, revision string) error {
				if stop != nil {
					stop()
				}
				ctx, stop = context.WithCancel(ctx)
				return good.Rollout(ctx, revision)
			}
		}), "Busy", "ended with a second change"},
		{"deploys on after it was told to stop", &brokenDriver{deploy: func(ctx context.Context, good drivers.Driver, s drivers.Stack) (drivers.Env, error) {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			return good.Deploy(ctx, s)
		}}, "DeployCancelled", "context.Canceled"},
		{"leaves what it had begun to deploy", &brokenDriver{deploy: func(ctx context.Context, good drivers.Driver, s drivers.Stack) (drivers.Env, error) {
			env, err := good.Deploy(ctx, s)
			if err != nil {
				left := NewStack(replicas(0))
				left.RunID = s.RunID
				_, leftErr := good.Deploy(context.WithoutCancel(ctx), left)
				err = errors.Join(err, leftErr)
			}
			return env, err
		}}, "DeployCancelled", "left"},
		{"closes itself once", &brokenDriver{as: func(d *brokenDriver) drivers.Driver { return &closing{brokenDriver: d} }}, "Describes", "close the driver: closed before"},
		{"has another version each time", &brokenDriver{as: func(d *brokenDriver) drivers.Driver {
			return &talking{brokenDriver: d, lines: []string{"fine"}, every: 1}
		}}, "Describes", "the same each time"},
		{"describes itself in paragraphs", &brokenDriver{as: func(d *brokenDriver) drivers.Driver {
			return &talking{brokenDriver: d, lines: []string{"a\nb"}, every: 1}
		}}, "Describes", "want a line"},
		{"describes itself with nothing", &brokenDriver{as: func(d *brokenDriver) drivers.Driver { return &talking{brokenDriver: d, every: 1} }}, "Describes", "nothing to say"},
		{"has instances asked all the time", &brokenDriver{as: func(d *brokenDriver) drivers.Driver { return &talking{brokenDriver: d, lines: []string{"fine"}} }}, "Describes", "instances are asked every 0s"},
		{"hides that the balancer is the lab's", &brokenDriver{}, "Describes", "is claimed: false"},
		{"does not say how it routes", &brokenDriver{as: func(d *brokenDriver) drivers.Driver { return &routing{d, drivers.Capabilities{LabBalancer: true}} }}, "Describes", "how it routes"},
		{"notes something else each time", with(func(_ drivers.Env, e *brokenEnv) {
			n := 0
			e.notes = func() []string { n++; return []string{fmt.Sprintf("target: stops %d ms late", n)} }
		}), "Notes", "something else"},
		{"notes something without saying of whom", with(func(_ drivers.Env, e *brokenEnv) {
			e.notes = func() []string { return []string{"a time was rounded"} }
		}), "Notes", "names a service"},
		{"restarts what should stay dead", changeStack(func(s *drivers.Stack) { s.Subject.RestartOnExit = true }), "KillForGood", "gone"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.mustBeFound(t, Harness{Left: Processes, SomebodyElses: thisProgram})
		})
	}
}

// mustBeFound runs the case that must notice what is broken.
func (tt broken) mustBeFound(t *testing.T, h Harness) {
	t.Helper()
	var runs sync.Map
	h.Timeout = cmp.Or(tt.driver.within, 3*time.Second)
	h.Driver = func(t testing.TB) drivers.Driver {
		d := *tt.driver
		d.Driver = &remembering{Driver: goodDriver(t), runs: &runs}
		if d.as != nil {
			return d.as(&d)
		}
		return &d
	}
	// Whatever the broken one leaves behind is no longer needed.
	defer runs.Range(func(_, env any) bool {
		if err := env.(drivers.Env).Close(context.Background()); err != nil {
			t.Errorf("clean up: %v", err)
		}
		return true
	})
	got := judge(t, find(t, tt.finds), h)
	all := strings.Join(got.failures, "\n")
	t.Logf("found: %s", all)
	if len(got.failures) == 0 {
		t.Errorf("%s let it pass (skipped: %q)", tt.finds, got.skipped)
	} else if !strings.Contains(strings.ToLower(all), strings.ToLower(tt.says)) {
		t.Errorf("%s failed for another reason; it says nothing of %q:\n%s", tt.finds, tt.says, all)
	}
}

// everyRun makes a remembering driver sweep all that it has.
const everyRun = "every run"

// remembering is a good driver that keeps its environments, so that a test can close
// what a broken wrapper around it has lost.
type remembering struct {
	drivers.Driver
	runs *sync.Map // run ID -> drivers.Env
}

func (r *remembering) Deploy(ctx context.Context, s drivers.Stack) (drivers.Env, error) {
	env, err := r.Driver.Deploy(ctx, s)
	if err == nil {
		r.runs.Store(s.RunID, env)
	}
	return env, err
}

func (r *remembering) Faults(ctx context.Context) map[drivers.FaultKind]error {
	return r.Driver.(drivers.Faulter).Faults(ctx)
}

func (r *remembering) Sweep(ctx context.Context, runID string) ([]string, error) {
	if runID != everyRun {
		return r.Driver.Sweep(ctx, runID)
	}
	var out []string
	var errs []error
	r.runs.Range(func(id, _ any) bool {
		removed, err := r.Driver.Sweep(ctx, id.(string))
		out, errs = append(out, removed...), append(errs, err)
		return true
	})
	return out, errors.Join(errs...)
}

// TestTheSuitePassesAGoodDriver: the wrapping and judging above fail nobody by themselves.
// The driver underneath passes the whole suite in its own tests.
func TestTheSuitePassesAGoodDriver(t *testing.T) {
	h := Harness{Left: Processes, SomebodyElses: thisProgram, Driver: func(t testing.TB) drivers.Driver {
		return &brokenDriver{Driver: goodDriver(t), env: func(good drivers.Env) *brokenEnv { return &brokenEnv{Env: good} }}
	}}
	for _, name := range []string{"Deploy", "Scale", "Rollout", "Revisions", "NeverReady", "Sweep", "Kill", "Pause", "Stop", "FaultsAtClose", "FaultsCancelled", "Environment"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := find(t, name)
			if got := judge(t, c, h); len(got.failures) > 0 || got.skipped != "" {
				t.Errorf("failures %q, skipped %q", got.failures, got.skipped)
			}
		})
	}
}

// TestTheSuiteFindsWhatBrokenDriversLeave does so for the cases that look at everything
// that goes on, in this process or on this machine, or at how much of it an instance gets: one
// after the other.
func TestTheSuiteFindsWhatBrokenDriversLeave(t *testing.T) {
	var going sync.WaitGroup
	forever := make(chan struct{})
	defer func() {
		close(forever)
		going.Wait()
	}()
	goOn := func() { going.Go(func() { <-forever }) }
	everybodys := func(ctx context.Context, good drivers.Driver, runID string) ([]string, error) {
		removed, err := good.Sweep(ctx, runID)
		for _, lab := range runsOfLabs() {
			more, moreErr := good.Sweep(ctx, lab)
			removed, err = append(removed, more...), errors.Join(err, moreErr)
		}
		return removed, err
	}
	var endBystander func()
	foreign := func(t testing.TB) func(context.Context) error {
		untouched, end, err := startBystander()
		if err != nil {
			t.Fatal(err)
		}
		endBystander = end
		t.Cleanup(end)
		return untouched
	}
	// A lab may leave a file beside its processes, which have to be swept soon: they would be
	// found by other tests on this machine.
	files := t.TempDir()
	t.Setenv("DRIVERTEST_FILES", cmp.Or(os.Getenv("DRIVERTEST_FILES"), files)) // a lab has those of its parent
	leftover := func(runID string) string { return filepath.Join(os.Getenv("DRIVERTEST_FILES"), runID) }
	left := func(ctx context.Context, runID string) ([]string, error) {
		out, err := Processes(ctx, runID)
		if _, statErr := os.Stat(leftover(runID)); statErr == nil {
			out = append(out, "file "+leftover(runID))
		}
		return out, err
	}
	var o obstruction
	for _, tt := range []broken{
		{"leaves a goroutine of an environment", with(func(drivers.Env, *brokenEnv) { goOn() }), "NothingGoesOn", "found unexpected goroutines"},
		{"leaves a goroutine of a deployment that failed", &brokenDriver{deploy: func(ctx context.Context, good drivers.Driver, s drivers.Stack) (drivers.Env, error) {
			env, err := good.Deploy(ctx, s)
			if err != nil {
				goOn()
			}
			return env, err
		}}, "NothingGoesOn", "found unexpected goroutines"},
		{"sweeps what a living lab has", &brokenDriver{sweep: everybodys}, "KilledLab", "living lab"},
		{"sweeps what a living lab has and says nothing", &brokenDriver{sweep: func(ctx context.Context, good drivers.Driver, runID string) ([]string, error) {
			_, err := everybodys(ctx, good, runID)
			return nil, err
		}}, "KilledLab", "of a living lab there was"},
		{"finds half of what a killed lab left", &brokenDriver{deploy: func(ctx context.Context, good drivers.Driver, s drivers.Stack) (drivers.Env, error) {
			if IsLab() {
				if err := os.WriteFile(leftover(s.RunID), nil, 0o600); err != nil {
					return nil, err
				}
			}
			return good.Deploy(ctx, s)
		}}, "KilledLab", "after a Sweep of what a killed lab left"},
		{"finds only what was deployed to its end", &brokenDriver{deploy: func(ctx context.Context, good drivers.Driver, s drivers.Stack) (drivers.Env, error) {
			if !IsLab() {
				return good.Deploy(ctx, s)
			}
			if err := os.WriteFile(leftover(s.RunID), nil, 0o600); err != nil {
				return nil, err
			}
			env, err := good.Deploy(ctx, s)
			return env, errors.Join(err, os.Remove(leftover(s.RunID)))
		}}, "KilledDeploy", "while it deployed"},
		{"finds nothing of the faults of a killed lab", with(func(good drivers.Env, e *brokenEnv) {
			e.inject = func(ctx context.Context, f drivers.Fault) (drivers.Injection, error) {
				i, err := good.(drivers.Injector).Inject(ctx, f)
				if err == nil && IsLab() {
					err = os.WriteFile(leftover(e.runID), nil, 0o600)
				}
				return i, err
			}
		}), "KilledFaults", "in the middle of its faults"},
		{"throttles nothing and says that it did", pretends(drivers.FaultCPU), "CPU", "no processor at all"},
		{"throttles for a moment and says that it still does", slowly(injects(drivers.FaultCPU, func(_ drivers.Injector, i *injected) {
			i.proof = always(true)
			if err := i.Injection.Heal(context.Background()); err != nil {
				panic(err)
			}
		})), "CPU", "a share to be kept at once"},
		{"throttles for good and says that it does not", slowly(injects(drivers.FaultCPU, func(_ drivers.Injector, i *injected) { i.proof, i.heal = once(), nothing })), "CPU", "to get what another one gets"},
		{"throttles until the instance ends", slowly(with(func(good drivers.Env, e *brokenEnv) {
			var throttled drivers.Injection
			e.inject = func(ctx context.Context, f drivers.Fault) (drivers.Injection, error) {
				if f.Kind == drivers.FaultKill {
					if err := throttled.Heal(ctx); err != nil {
						return nil, err
					}
				}
				i, err := good.(drivers.Injector).Inject(ctx, f)
				if f.Kind == drivers.FaultCPU {
					throttled = i
				}
				return i, err
			}
		})), "CPU", "a share to be kept when it is started again"},
		{"does not say what a killed lab left", &brokenDriver{sweep: func(ctx context.Context, good drivers.Driver, runID string) ([]string, error) {
			_, err := good.Sweep(ctx, runID)
			return nil, err
		}}, "KilledLab", "does not say what it removed"},
		{"sweeps what is not the lab's", &brokenDriver{sweep: func(ctx context.Context, good drivers.Driver, runID string) ([]string, error) {
			endBystander()
			return good.Sweep(ctx, runID)
		}}, "Foreign", "after a Sweep"},
		{"closes what is not its own", with(func(good drivers.Env, e *brokenEnv) {
			e.close = func(ctx context.Context) error { endBystander(); return good.Close(ctx) }
		}), "Foreign", "after Close"},
		{"says nothing of what it cannot remove", o.driver(false, true, true), "CloseFails", "Close says that all is well"},
		{"says nothing of what it cannot sweep", o.driver(true, false, true), "CloseFails", "Sweep says that all is well"},
		{"never sweeps again what it could not", o.driver(true, true, false), "CloseFails", "cannot remove"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.mustBeFound(t, Harness{Foreign: foreign, Obstruct: o.put, Left: left})
		})
	}
	t.Run("none of it", func(t *testing.T) {
		good := Harness{Left: Processes, Foreign: foreign, Obstruct: o.put, Driver: func(t testing.TB) drivers.Driver {
			d := o.driver(true, true, true)
			d.Driver = goodDriver(t)
			return d
		}}
		for _, name := range []string{"NothingGoesOn", "CPU", "KilledLab", "KilledDeploy", "KilledFaults", "Foreign", "CloseFails"} {
			t.Run(name, func(t *testing.T) {
				if got := judge(t, find(t, name), good); len(got.failures) > 0 || got.skipped != "" {
					t.Errorf("failures %q, skipped %q", got.failures, got.skipped)
				}
			})
		}
	})
}

// obstruction makes the clean-up of drivers fail while it is put up.
type obstruction struct {
	up  bool
	had bool // it was put up once
}

func (o *obstruction) put(testing.TB, string) (clear func()) {
	o.up, o.had = true, true
	return func() { o.up = false }
}

// driver is one that says that it cannot remove something, when it closes an environment and
// when it sweeps, and that can later on, or not.
func (o *obstruction) driver(atClose, atSweep, again bool) *brokenDriver {
	cannot := errors.New("cannot remove the network: it is in use")
	d := with(func(good drivers.Env, e *brokenEnv) {
		o.had = false
		e.close = func(ctx context.Context) error {
			err := good.Close(ctx)
			if o.up && atClose {
				err = errors.Join(err, cannot)
			}
			return err
		}
	})
	d.sweep = func(ctx context.Context, good drivers.Driver, runID string) ([]string, error) {
		removed, err := good.Sweep(ctx, runID)
		if (o.up && atSweep) || (o.had && !again) {
			err = errors.Join(err, cannot)
		}
		return removed, err
	}
	return d
}

// runsOfLabs are the runs of which labs that this process has started have processes.
func runsOfLabs() []string {
	parent := func(pid string) string {
		stat, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if err != nil || len(fields) < 2 {
			return ""
		}
		return fields[1]
	}
	files, _ := filepath.Glob("/proc/[0-9]*/environ") // the pattern is a good one
	var out []string
	for _, f := range files {
		lab := parent(filepath.Base(filepath.Dir(f)))
		if lab == "" || parent(lab) != strconv.Itoa(os.Getpid()) {
			continue
		}
		environ, _ := os.ReadFile(f) // it may have ended
		for v := range strings.SplitSeq(string(environ), "\x00") {
			if run, ok := strings.CutPrefix(v, "ROLLOUT_LAB_RUN="); ok && !slices.Contains(out, run) {
				out = append(out, run)
			}
		}
	}
	return out
}

// closing is a driver that can be closed once.
type closing struct {
	*brokenDriver
	closed bool
}

func (c *closing) Close(context.Context) error {
	if c.closed {
		return errors.New("closed before")
	}
	c.closed = true
	return nil
}

// talking is a driver that says a lot of itself.
type talking struct {
	*brokenDriver
	lines    []string
	every    time.Duration
	versions int
}

func (d *talking) Describe(context.Context) []string { return d.lines }
func (d *talking) ProbeInterval() time.Duration      { return d.every }
func (d *talking) Version(context.Context) string {
	d.versions++
	return fmt.Sprint("version ", d.versions)
}

// routing is a driver with capabilities.
type routing struct {
	*brokenDriver
	capabilities drivers.Capabilities
}

func (d *routing) Capabilities() drivers.Capabilities { return d.capabilities }

// supporting is a driver that says what it makes of what a stack asks for.
type supporting struct {
	*brokenDriver
	support drivers.Support
}

func (d *supporting) Support() drivers.Support { return d.support }

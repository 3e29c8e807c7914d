//go:build linux

package drivertest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
)

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

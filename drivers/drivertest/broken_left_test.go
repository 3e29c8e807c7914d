//go:build linux

package drivertest

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/rollout-lab/rollout-lab/drivers"
)

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

//go:build linux

package drivertest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/process"
)

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

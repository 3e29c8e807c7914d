//go:build linux

package drivertest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
)

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

// TestTheSuiteFindsBrokenFaults: the same, of what is done to instances and dependencies.
func TestTheSuiteFindsBrokenFaults(t *testing.T) {
	for _, tt := range []broken{
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
		{"restarts what should stay dead", changeStack(func(s *drivers.Stack) { s.Subject.RestartOnExit = true }), "KillForGood", "gone"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.mustBeFound(t, Harness{Left: Processes, SomebodyElses: thisProgram})
		})
	}
}

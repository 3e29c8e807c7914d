// Package healthtest helps to test a service that has a healthkit registry: to wait for what it
// says instead of sleeping, and to run it through its whole life. In a bubble of testing/synctest
// all of it takes no time.
package healthtest

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/healthkit"
)

func init() {
	// Run listens to signals, and the first one in a process to do so must not be in a bubble: the
	// runtime ends the process.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt)
	signal.Stop(signals)
}

// Patience is how long everything here but Service.Wait waits before the test fails.
const Patience = 10 * time.Second

// Await waits until a snapshot is as wanted, and returns it. Otherwise the test ends here, and says
// what it waited for and how the registry is instead. A state that is left again at once may be
// missed.
func Await(t testing.TB, r *healthkit.Registry, what string, is func(*healthkit.Snapshot) bool) *healthkit.Snapshot {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	for s := range r.Watch(ctx) {
		if is(s) {
			return s
		}
	}
	why := fmt.Sprintf("within %v", Patience)
	if ctx.Err() == nil {
		why = "before the registry was closed"
	}
	s := r.Snapshot()
	t.Fatalf("never %s %s; it is %s, phase %s", what, why, s.Reason(), s.Phase)
	return nil
}

// AwaitReady waits until the process is ready.
func AwaitReady(t testing.TB, r *healthkit.Registry) *healthkit.Snapshot {
	t.Helper()
	return Await(t, r, "ready", (*healthkit.Snapshot).Ready)
}

// AwaitState waits until a component, or a group, is in a state.
func AwaitState(t testing.TB, r *healthkit.Registry, component string, state healthkit.State) healthkit.ComponentStatus {
	t.Helper()
	var c healthkit.ComponentStatus
	Await(t, r, fmt.Sprintf("%s %s", component, state), func(s *healthkit.Snapshot) (is bool) {
		c, is = s.Component(component)
		return is && c.State == state
	})
	return c
}

// AwaitCause waits until the process is not ready and a component is the reason: not one that waits
// for another in trouble, but the one at the root.
func AwaitCause(t testing.TB, r *healthkit.Registry, component string) healthkit.Cause {
	t.Helper()
	var found healthkit.Cause
	Await(t, r, "not ready because of "+component, func(s *healthkit.Snapshot) bool {
		for _, cause := range s.Causes() {
			if cause.Component == component {
				found = cause
				return true
			}
		}
		return false
	})
	return found
}

// Service is a service that runs in a test.
type Service struct {
	t     testing.TB
	r     *healthkit.Registry
	tell  context.CancelFunc // tells it to stop
	told  bool
	ended chan struct{} // closed when it has returned
	err   error
}

// Start runs a service, which is to go through its life by the registry's Run or Shutdown, until
// its context ends. The test fails when it returns before it is told to. At the end of the test it
// is told, and waited for.
func Start(t testing.TB, r *healthkit.Registry, run func(context.Context) error) *Service {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	s := &Service{t: t, r: r, tell: cancel, ended: make(chan struct{})}
	go func() {
		defer close(s.ended)
		if s.err = run(ctx); ctx.Err() == nil {
			t.Errorf("the service has ended before it was told to: %v", s.err)
		}
	}()
	t.Cleanup(func() {
		cancel()
		s.await(Patience)
	})
	return s
}

// Terminate tells the service to stop, as SIGTERM does, and returns once it is a lame duck: unready,
// so that balancers turn away, and serving as before, for as long as it is set to. A test can see
// now that it does.
func (s *Service) Terminate() {
	s.t.Helper()
	s.told = true
	s.tell()
	late := time.NewTimer(Patience)
	defer late.Stop()
	select {
	case <-s.r.Stopping():
	case <-s.ended: // all of it may be over already
	case <-late.C:
		s.t.Fatalf("no lame duck within %v; phase %s", Patience, s.r.Phase())
	}
}

// Wait tells the service to stop, unless it has been told, and waits for its end. The test fails
// when that takes longer than limit, which is what the runtime would grant, when the service
// returns an error, or when it has not gone through its life to the end.
func (s *Service) Wait(limit time.Duration) {
	s.t.Helper()
	if !s.told {
		s.Terminate()
	}
	if !s.await(limit) {
		return
	}
	if s.err != nil {
		s.t.Errorf("the service returns: %v", s.err)
	}
	if phase := s.r.Phase(); phase != healthkit.PhaseStopped {
		s.t.Errorf("the service has ended in phase %s, want %s", phase, healthkit.PhaseStopped)
	}
}

// await waits for the end.
func (s *Service) await(limit time.Duration) bool {
	s.t.Helper()
	late := time.NewTimer(limit)
	defer late.Stop()
	select {
	case <-s.ended:
		return true
	case <-late.C:
		s.t.Errorf("the service has not ended %v after it was told to; phase %s, %d in flight", limit, s.r.Phase(), s.r.InFlight())
		return false
	}
}

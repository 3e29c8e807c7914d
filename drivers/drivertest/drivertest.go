// Package drivertest is the conformance suite that every driver must pass. It deploys a
// small target program of its own and looks at a driver from outside alone: through the
// contract, through requests, and through the harness's own list of what exists. It is
// not a test of any design's health: the targets that lie are there to see that a driver
// believes the signal it was given and nothing else.
//
// # Testing a driver
//
// A driver of any module is tested like this. The services that it deploys run the test
// binary itself, or a program like it, whose TestMain is Main:
//
//	func TestMain(m *testing.M) { drivertest.Main(m) }
//
//	func TestConformance(t *testing.T) {
//		drivertest.Run(t, drivertest.Harness{
//			Driver: func(t testing.TB) drivers.Driver {
//				d := mydriver.New(...)
//				if err := d.Check(t.Context()); err != nil {
//					t.Skip(err)
//				}
//				return d
//			},
//			Left: func(ctx context.Context, runID string) ([]string, error) { ... },
//		})
//	}
//
// Some cases kill a lab. For that the suite runs the test binary once more, in a process of
// its own, with the same test and nothing else, see Harness.StartLab. What comes before Run
// in a test is therefore done there too. The suite counts goroutines, so the test must not be
// parallel to others.
//
// A driver's own tests keep what is true of it alone. Harness.Deploy and the methods of Bench
// are there for them.
package drivertest

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// Main is the TestMain of a test binary that the suite's targets run: a process that was
// started to be a target becomes one, and any other runs the tests.
func Main(m *testing.M) {
	if IsTarget() {
		TargetMain()
	}
	os.Exit(m.Run())
}

// Harness is what the suite needs to know of a driver.
type Harness struct {
	// Driver returns a driver whose services run this test binary, or a program like it,
	// whose main function is TargetMain. It skips the test where the driver cannot run.
	Driver func(t testing.TB) drivers.Driver

	// Left lists what exists of a run, found without the driver's help: processes,
	// containers, units.
	Left func(ctx context.Context, runID string) ([]string, error)

	// Foreign, unless it is nil, makes something that looks like the lab's and is somebody
	// else's. It removes it at the end of the test. The returned function says how it was
	// touched.
	Foreign func(t testing.TB) (untouched func(context.Context) error)

	// SomebodyElses has a service run the suite's target as a program that is not the
	// driver's own: it sets Exec or Image, and Args where the target listens at ports of its
	// own. nil means that the driver runs no other program.
	SomebodyElses func(t testing.TB, s *drivers.Service)

	// Obstruct, unless it is nil, makes that something of a deployed run cannot be removed
	// until clear is called, once or more often.
	Obstruct func(t testing.TB, runID string) (clear func())

	// Shared: Driver returns one driver again and again, which the suite must not close.
	Shared bool

	// Timeout bounds each operation of the driver; 0 means a minute. The suite waits for
	// it only when something is broken.
	Timeout time.Duration

	// PushBased: the runtime asks no instance for its signal, but is told by it (see
	// drivers.Service.Notify). The suite's target tells what its signal says.
	PushBased bool

	// FailsWithin is how long the driver is given to find that a stack does not serve; 0
	// means 2 s.
	FailsWithin time.Duration

	// What follows are properties of runtimes that a driver cannot change. Each takes a
	// demand back; a driver that sets one says so in its documentation.

	// AlwaysRestarts: what ends is started again also where Service.RestartOnExit is false.
	AlwaysRestarts bool
	// SurgeExcludesTerminating: an instance that was asked to stop no longer counts against
	// Rolling.MaxSurge.
	SurgeExcludesTerminating bool
	// AsyncRouting: the events Ready and Unready come when the runtime has decided, and its
	// balancer follows a little later.
	AsyncRouting bool
	// TerminatingFallback: when no other is left, the balancer routes to an instance that
	// was asked to stop and still says that it is ready.
	TerminatingFallback bool
}

func (h Harness) failsWithin() time.Duration {
	if h.FailsWithin == 0 {
		return 2 * time.Second
	}
	return h.FailsWithin
}

func (h Harness) timeout() time.Duration {
	if h.Timeout == 0 {
		return time.Minute
	}
	return h.Timeout
}

// driver returns a driver until the end of the test, which then takes down what the driver
// has made for itself.
func (h Harness) driver(t testing.TB) drivers.Driver {
	t.Helper()
	d := h.Driver(t)
	if c, ok := d.(drivers.Closer); ok && !h.Shared {
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), h.timeout())
			defer cancel()
			for range 2 { // it is idempotent
				if err := c.Close(ctx); err != nil {
					t.Errorf("close the driver: %v", err)
				}
			}
		})
	}
	return d
}

// nothingLeft says what exists of a run.
func (h Harness) nothingLeft(ctx context.Context, runID string) error {
	left, err := h.Left(ctx, runID)
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("left: %s", strings.Join(left, "; "))
	}
	return err
}

// await asks until there is no error any more, and returns the last one if there is.
func (h Harness) await(ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), h.timeout())
	defer cancel()
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return err
		}
	}
}

// testCase is one part of the suite.
type testCase struct {
	name string
	run  func(t testing.TB, h Harness)
}

// cases are the suite, the plainest first.
var cases = []testCase{
	{"Deploy", testDeploy},
	{"Scale", testScale},
	{"Restart", testRestart},
	{"Rollout", testRollout},
	{"Revisions", testRevisions},
	{"Watch", testWatch},
	{"NeverReady", testNeverReady},
	{"StopFirst", testStopFirst},
	{"EndsAtOnce", testEndsAtOnce},
	{"Cancel", testCancel},
	{"Busy", testBusy},
	{"SignalDecides", testSignalDecides},
	{"SignalLies", testSignalLies},
	{"NoSignal", testNoSignal},
	{"DeployFails", testDeployFails},
	{"DeployRefuses", testDeployRefuses},
	{"DeployCancelled", testDeployCancelled},
	{"Drain", testDrain},
	{"StopGrace", testStopGrace},
	{"DeregisterFirst", testDeregisterFirst},
	{"TLS", testTLS},
	{"HTTP2", testHTTP2},
	{"H2C", testH2C},
	{"SignalOverTLS", testSignalOverTLS},
	{"Terminate", testTerminate},
	{"Close", testClose},
	{"CloseWithoutGrace", testCloseWithoutGrace},
	{"CloseFails", testCloseFails},
	{"Sweep", testSweep},
	{"KilledLab", testKilledLab},
	{"KilledDeploy", testKilledDeploy},
	{"Apart", testApart},
	{"Foreign", testForeign},
	{"Environment", testEnvironment},
	{"NothingGoesOn", testNothingGoesOn},
	{"Kill", testKill},
	{"KillForGood", testKillForGood},
	{"Pause", testPause},
	{"Stop", testStop},
	{"CPU", testCPU},
	{"Evict", testEvict},
	{"NodeDrain", testNodeDrain},
	{"KilledDrain", testKilledDrain},
	{"FaultsAtClose", testFaultsAtClose},
	{"FaultsCancelled", testFaultsCancelled},
	{"KilledFaults", testKilledFaults},
	{"Liveness", testLiveness},
	{"Logs", testLogs},
	{"Notes", testNotes},
	{"Describes", testDescribes},
}

// Run runs the suite, or only the cases of the given names: a driver that is tested twice
// repeats what differs.
func Run(t *testing.T, h Harness, only ...string) {
	for _, name := range only {
		if !slices.ContainsFunc(cases, func(c testCase) bool { return c.name == name }) {
			t.Fatalf("the suite has no case %s", name)
		}
	}
	for _, c := range cases {
		if len(only) == 0 || slices.Contains(only, c.name) {
			t.Run(c.name, func(t *testing.T) { c.run(t, h) })
		}
	}
}

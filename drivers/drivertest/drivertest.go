// Package drivertest is the conformance suite that every driver must pass. It deploys a
// small target program of its own and looks at a driver from outside alone: through the
// contract, through requests, and through the harness's own list of what exists. It is
// not a test of any design's health: the targets that lie are there to see that a driver
// believes the signal it was given and nothing else.
package drivertest

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// Harness is what the suite needs to know of a driver.
type Harness struct {
	// Driver returns a driver whose services run this test binary, or a program like it,
	// whose main function is TargetMain. It skips the test where the driver cannot run.
	Driver func(t testing.TB) drivers.Driver

	// Left lists what exists of a run, found without the driver's help: processes,
	// containers, units.
	Left func(ctx context.Context, runID string) ([]string, error)

	// Timeout bounds each operation of the driver; 0 means a minute. The suite waits for
	// it only when something is broken.
	Timeout time.Duration

	// Told: the runtime asks no instance for its signal, but is told by it (see
	// drivers.Service.Notify). The suite's target tells what its signal says.
	Told bool

	// FailsWithin is how long the driver is given to find that a stack does not serve; 0
	// means 2 s.
	FailsWithin time.Duration

	// What follows are properties of runtimes that a driver cannot change. Each takes a
	// demand back; a driver that sets one says so in its documentation.

	// RestartsAll: what ends is started again also where Service.RestartOnExit is false.
	RestartsAll bool
	// StoppingIsExtra: an instance that was asked to stop no longer counts against
	// Rolling.MaxSurge.
	StoppingIsExtra bool
	// RoutesLater: the events Ready and Unready come when the runtime has decided, and its
	// balancer follows a little later.
	RoutesLater bool
	// FallsBack: when no other is left, the balancer routes to an instance that was asked to
	// stop and still says that it is ready.
	FallsBack bool
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
	{"Watch", testWatch},
	{"NeverReady", testNeverReady},
	{"StopFirst", testStopFirst},
	{"EndsAtOnce", testEndsAtOnce},
	{"Cancel", testCancel},
	{"SignalDecides", testSignalDecides},
	{"SignalLies", testSignalLies},
	{"NoSignal", testNoSignal},
	{"DeployFails", testDeployFails},
	{"DeployRefuses", testDeployRefuses},
	{"Drain", testDrain},
	{"StopGrace", testStopGrace},
	{"DeregisterFirst", testDeregisterFirst},
	{"Close", testClose},
	{"CloseWithoutGrace", testCloseWithoutGrace},
	{"Sweep", testSweep},
	{"Apart", testApart},
	{"Kill", testKill},
	{"KillForGood", testKillForGood},
	{"Pause", testPause},
	{"Logs", testLogs},
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

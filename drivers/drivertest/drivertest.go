// Package drivertest is the conformance suite that every driver must pass. It deploys a
// small target program of its own and looks at a driver from outside alone: through the
// contract, through requests, and through the harness's own list of what exists. It is
// not a test of any design's health: the targets that lie are there to see that a driver
// believes the signal it was given and nothing else.
package drivertest

import (
	"context"
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

	// Failing is after which time the suite gives up a deployment that cannot succeed. It
	// must suffice to start an instance; 0 means 2 s.
	Failing time.Duration
}

func (h Harness) failing() time.Duration {
	if h.Failing == 0 {
		return 2 * time.Second
	}
	return h.Failing
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
	{"ToldOfStop", testToldOfStop},
	{"Close", testClose},
	{"CloseWithoutGrace", testCloseWithoutGrace},
	{"Sweep", testSweep},
	{"Apart", testApart},
	{"Kill", testKill},
	{"KillForGood", testKillForGood},
	{"Pause", testPause},
	{"Logs", testLogs},
}

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.run(t, h) })
	}
}

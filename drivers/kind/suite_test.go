//go:build !e2e

package kind_test

import "testing"

// long says whether what takes minutes is tested as well.
const long = false

// The suite runs in lanes beside each other, twice and each time in part, so that every case
// that can be shown runs once and all of them take a few minutes: most of that is waiting. kind's own driver
// shows what making and removing comes to, for which each deployment has a namespace of its
// own, and Kubernetes takes five seconds to remove one. How instances are changed and routed
// to is the same code in any namespace, and shown in one that stays. With the tag e2e either
// driver runs the whole suite.
var (
	lanesOfKind = [][]string{
		{"Deploy", "Rollout", "DeployRefuses", "DeployCancelled", "Describes", "Foreign", "Environment"},
		{"Close", "CloseWithoutGrace", "Sweep", "KilledLab", "KilledFaults", "Apart"},
		{"Kill", "Pause", "CPU", "FaultsAtClose", "FaultsCancelled"},
	}
	lanesOfAnyCluster = [][]string{
		{"Deploy", "Scale", "Restart", "Revisions", "Watch", "NeverReady", "StopFirst", "EndsAtOnce", "Cancel", "Busy", "Logs", "Terminate", "Stop", "Evict"},
		{"SignalDecides", "SignalLies", "NoSignal", "Drain", "StopGrace", "DeregisterFirst", "Close", "Sweep", "DeployFails", "Notes", "SignalOverTLS"},
	}
)

// beside lets a test run beside others that let it too, after all that do not.
func beside(t *testing.T) {
	t.Helper()
	t.Parallel()
}

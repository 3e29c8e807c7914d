//go:build e2e

package kind_test

import "testing"

const long = true

var (
	lanesOfKind = [][]string{nil} // one, with all cases
	// lanesOfAnyCluster have all cases but two that do not hold: a driver with a namespace adopts
	// what is there (DeployRefuses), and without access to nodes to kill is to delete (Kill).
	lanesOfAnyCluster = [][]string{{
		"Deploy", "Scale", "Restart", "Rollout", "Revisions", "Watch", "NeverReady", "StopFirst", "EndsAtOnce", "Cancel", "Busy",
		"SignalDecides", "SignalLies", "NoSignal", "DeployFails", "DeployCancelled", "Drain", "StopGrace",
		"DeregisterFirst", "TLS", "HTTP2", "H2C", "SignalOverTLS", "Terminate", "Close", "CloseWithoutGrace", "CloseFails", "Sweep", "KilledLab", "Apart",
		"NothingGoesOn", "KillForGood", "Stop", "Evict", "FaultsAtClose", "FaultsCancelled", "KilledFaults", "Logs", "Notes", "Describes",
	}}
)

// beside does nothing: what takes long is better understood alone.
func beside(*testing.T) {}

package scenarios

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestCatalogueIsSound(t *testing.T) {
	plain := []string{"control", "origin", "origin-handover", "quickstart", "restart", "rollout", "scale-in", "scale-out"}
	chaos := []string{
		"bad-config", "bad-revision", "control-outage", "cpu-pressure", "crash-after-ready", "crash-loop", "deadlock",
		"dependency-flap", "dependency-outage", "dependency-slow", "evict-one", "freeze-one", "grace-too-short", "kill-one", "node-drain",
		"revoke-under-stall", "rollout-under-outage",
	}
	want := slices.Sorted(slices.Values(slices.Concat(plain, chaos)))
	if diff := cmp.Diff(want, Names()); diff != "" {
		t.Fatalf("names (-want +got):\n%s", diff)
	}
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) {
			s, err := Load(name, offered)
			if err != nil {
				t.Fatal(err)
			}
			if s.Name != name {
				t.Errorf("the scenario in %s.yaml is called %q", name, s.Name)
			}
			if s.About == "" {
				t.Error("it has no about")
			}
			if len(s.Gates) == 0 {
				t.Error("it has no gates, so it can never pass")
			}
			again, err := Parse("again.yaml", []byte(s.Source), offered)
			if err != nil {
				t.Fatalf("parse its Source: %v\n%s", err, s.Source)
			}
			again.File = s.File
			if diff := cmp.Diff(s, again); diff != "" {
				t.Errorf("its Source gives another scenario (-want +got):\n%s", diff)
			}
			if chaotic := slices.Contains(chaos, name); chaotic != (s.Suite == "chaos") {
				t.Errorf("it is of suite %q", s.Suite)
			}
			if s.Suite != "" && len(s.PositiveControls) == 0 {
				t.Error("no design must fail: it cannot show that it tells them apart")
			}
			// The action and the faults must fit into the window with the calm behind them that
			// recovery is told by; but origin says that it does not, and a revision that goes on
			// crashing never recovers.
			if got := stackAwareTakes(s); name != "origin" && name != "crash-after-ready" && got+5*time.Second > s.Phases.Window.To-s.Phases.Window.From {
				t.Errorf("stack-aware takes about %v: too long for a window of %v", got, s.Phases.Window.To-s.Phases.Window.From)
			}
		})
	}
}

// stackAwareTakes estimates how long it takes until the faults are over, and from then on the
// action with the design stack-aware.
func stackAwareTakes(s *Scenario) time.Duration {
	var over time.Duration
	for _, f := range s.Faults {
		over = max(over, f.At+f.For)
	}
	if s.Action.MayStop {
		return over + s.Action.Timeout
	}
	return over + actionTakes(s)
}

func actionTakes(s *Scenario) time.Duration {
	d, _ := BuiltinDesign("stack-aware")
	in := s.Target.Refproxy.SyncTime() + 300*time.Millisecond // the process starts, the probe sees it
	out := d.LameDuck + d.CloseWait
	switch s.ActionName() {
	case "none":
		return 0
	case "scale-out":
		return in
	case "scale-in":
		return out
	default:
		batch := max(s.Rolling.MaxSurge, s.Rolling.MaxUnavailable)
		rounds := (s.Replicas + batch - 1) / batch
		return time.Duration(rounds) * (in + out)
	}
}

package scenarios

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestCatalogueIsSound(t *testing.T) {
	want := []string{"control", "kill-one", "origin", "origin-handover", "quickstart", "restart", "rollout", "scale-in", "scale-out"}
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
			// The action must fit into the window with the calm behind it that recovery is
			// told by; origin is the known exception, and says so.
			if got := stackAwareTakes(s); name != "origin" && got+5*time.Second > s.Phases.Window.To-s.Phases.Window.From {
				t.Errorf("stack-aware takes about %v: too long for a window of %v", got, s.Phases.Window.To-s.Phases.Window.From)
			}
		})
	}
}

// stackAwareTakes estimates how long the action takes with the design stack-aware.
func stackAwareTakes(s *Scenario) time.Duration {
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

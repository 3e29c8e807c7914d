package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/lab"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/scenarios"
)

// limited is a driver that can do some faults and deploys nothing.
type limited struct {
	drivers.Driver // of which nothing else is asked
	faults         map[drivers.FaultKind]error
}

func (limited) Name() string                                         { return "limited" }
func (limited) Check(context.Context) error                          { return nil }
func (d limited) Faults(context.Context) map[drivers.FaultKind]error { return d.faults }

var onlyKill = limited{faults: map[drivers.FaultKind]error{
	drivers.FaultKill:  nil,
	drivers.FaultStop:  nil,
	drivers.FaultPause: &drivers.HintError{Err: fmt.Errorf("%w: no freezer", drivers.ErrUnavailable), Hint: "mount it"},
}}

func TestASuiteIsItsScenarios(t *testing.T) {
	names, err := suiteScenarios("chaos", nil)
	if err != nil || !slices.Contains(names, "kill-one") || slices.Contains(names, "quickstart") {
		t.Errorf("chaos: %q, %v", names, err)
	}
	if again, err := suiteScenarios("chaos", []string{"kill-one"}); err != nil || slices.Contains(again, "kill-one") || len(again) != len(names)-1 {
		t.Errorf("chaos beside kill-one: %q, %v", again, err)
	}
	if names, err := suiteScenarios("", nil); names != nil || err != nil {
		t.Errorf("no suite: %q, %v", names, err)
	}
	var usage *usageError
	if _, err := suiteScenarios("chaso", nil); !errors.As(err, &usage) || usage.hint != "did you mean chaos?" {
		t.Errorf("a suite that is none: %v", err)
	}
}

// faulty are scenarios with a fault each, of the kinds.
func faulty(t *testing.T, kinds ...string) (all []*scenarios.Scenario) {
	t.Helper()
	text, err := scenarios.Text("kill-one")
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range kinds {
		what := strings.NewReplacer("name: kill-one", "name: "+kind, "{kind: kill, at: 1s}", "{kind: "+kind+", at: 1s}").Replace(string(text))
		if kind != "kill" && kind != "evict" {
			what = strings.Replace(what, "at: 1s}", "at: 1s, for: 1s}", 1)
		}
		s, err := scenarios.Parse(kind+".yaml", []byte(what), scenarios.Options{})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}

// Of a suite what a driver cannot do is left out on it alone, and said; what is named is not left
// out.
func TestWhatASuiteLeavesOut(t *testing.T) {
	ss, ds := faulty(t, "kill", "pause", "evict"), []drivers.Driver{onlyKill}
	names := func(ss []*scenarios.Scenario) (out []string) {
		for _, s := range ss {
			out = append(out, s.Name)
		}
		return out
	}
	var stderr bytes.Buffer
	left, out, err := withoutImpossible(t.Context(), &stderr, ss, nil, ds)
	if diff := cmp.Diff([]string{"kill"}, names(left)); diff != "" || err != nil {
		t.Errorf("left (-want +got):\n%s%v", diff, err)
	}
	if diff := cmp.Diff([]record.LeftOut{
		{Scenario: "pause", Driver: "limited", Why: "fault pause on limited: driver not available: no freezer"},
		{Scenario: "evict", Driver: "limited", Why: "fault evict on limited: not supported by this driver"},
	}, out); diff != "" {
		t.Errorf("left out (-want +got):\n%s", diff)
	}
	want := "note: pause is left out on limited: fault pause on limited: driver not available: no freezer\nnote: evict is left out on limited: fault evict on limited: not supported by this driver\n"
	if diff := cmp.Diff(want, stderr.String()); diff != "" {
		t.Errorf("said (-want +got):\n%s", diff)
	}
	left, _, err = withoutImpossible(t.Context(), &stderr, ss, []string{"pause"}, ds)
	if diff := cmp.Diff([]string{"kill", "pause"}, names(left)); diff != "" || err != nil {
		t.Errorf("with one that is named (-want +got):\n%s%v", diff, err)
	}
	if _, err := lab.Review(t.Context(), left, ds); report(err, &stderr) != ExitEnvironment || !strings.Contains(stderr.String(), "hint: mount it") {
		t.Errorf("the one that is named: %v, want exit %d and the hint:\n%s", err, ExitEnvironment, stderr.String())
	}
	if _, _, err := withoutImpossible(t.Context(), &stderr, ss[1:], nil, ds); report(err, &stderr) != ExitEnvironment {
		t.Errorf("nothing left: %v, want exit %d", err, ExitEnvironment)
	}
}

// TestASuiteLosesNoScenarioThatOneDriverCanDo: it is run where it can be, and the driver that
// cannot is asked for nothing.
func TestASuiteLosesNoScenarioThatOneDriverCanDo(t *testing.T) {
	able := abler{limited{faults: map[drivers.FaultKind]error{drivers.FaultKill: nil, drivers.FaultPause: nil}}}
	ds := []drivers.Driver{onlyKill, able}
	var stderr bytes.Buffer
	left, _, err := withoutImpossible(t.Context(), &stderr, faulty(t, "kill", "pause", "evict"), nil, ds)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{}
	for _, s := range left {
		got[s.Name] = s.NotOn
	}
	if diff := cmp.Diff(map[string][]string{"kill": nil, "pause": {"limited"}}, got); diff != "" {
		t.Errorf("left, and on which drivers they are not (-want +got):\n%s", diff)
	}
	if n := strings.Count(stderr.String(), "note: pause is left out on limited: "); n != 1 || strings.Contains(stderr.String(), "pause is left out on able") {
		t.Errorf("said:\n%s", stderr.String())
	}
	if all := lab.Faults(t.Context(), left, ds); len(all) > 0 {
		t.Errorf("what is left is still asked of a driver that cannot: %v", all[0])
	}
}

// TestASuiteIsNotLeftToADriverThatDeploysNothing: one that is there for a scenario beside the suite
// would make no trial of it, and nobody would miss them.
func TestASuiteIsNotLeftToADriverThatDeploysNothing(t *testing.T) {
	var stderr bytes.Buffer
	left, _, err := withoutImpossible(t.Context(), &stderr, faulty(t, "kill", "pause"), nil, []drivers.Driver{onlyKill, finder{}})
	if err != nil || len(left) != 1 || left[0].Name != "kill" || strings.Count(stderr.String(), "\n") != 1 {
		t.Errorf("left %v, %v; said:\n%s", left, err, stderr.String())
	}
}

// finder is a driver that deploys nothing.
type finder struct{ drivers.Driver }

func (finder) Name() string                       { return "finder" }
func (finder) Capabilities() drivers.Capabilities { return drivers.Capabilities{Existing: true} }

// abler is a driver of another name.
type abler struct{ limited }

func (abler) Name() string { return "able" }

func TestDoctorTellsTheFaults(t *testing.T) {
	var out bytes.Buffer
	tellFaults(t.Context(), &out, onlyKill)
	want := "  faults: kill, stop\n  no fault pause: driver not available: no freezer\n    hint: mount it\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

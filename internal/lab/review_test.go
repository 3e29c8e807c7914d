package lab

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/target"
	"github.com/rollout-lab/rollout-lab/scenarios"
)

// choosy is a driver that has answers and deploys nothing.
type choosy struct {
	drivers.Driver
	support  drivers.Support
	findings []drivers.Finding
}

func (choosy) Name() string                                               { return "choosy" }
func (c choosy) Support() drivers.Support                                 { return c.support }
func (c choosy) Examine(context.Context, drivers.Stack) []drivers.Finding { return c.findings }

const reviewed = `name: reviewed
target:
  exec: ./shop
  args: ["$${listen.data}"]
limits: {cpus: 1, memory: 64}
replicas: 2
load: {rate: 100}
phases: {baseline: {from: 1s, to: 2s}, window: {from: 2s, to: 4s}}
action: {kind: rollout}
designs:
  - name: a
    signal: {kind: tcp, port: data}
    liveness: {kind: tcp, port: data}
  - name: b
    signal: {kind: tcp, port: data}
    liveness: {kind: tcp, port: data}
    startup: {kind: tcp, port: data}
    socket: true
`

func TestReviewAsksTheDriversThemselves(t *testing.T) {
	s, err := scenarios.Parse("reviewed.yaml", []byte(reviewed), scenarios.Options{})
	if err != nil {
		t.Fatal(err)
	}
	d := choosy{
		support: drivers.Support{}.
			With(drivers.Answer{How: drivers.Refused, Why: "nothing limits it", Hint: "another driver"}, "limits.cpus", "limits.memory").
			With(drivers.Answer{How: drivers.Refused, Why: "nobody holds it", Hint: "take it away"}, "socket").
			With(drivers.Answer{How: drivers.Noted, Why: "nobody asks"}, "startup", "liveness"),
		findings: []drivers.Finding{{Feature: "exec", Message: "it is not there", Hint: "build it", Fatal: true}},
	}
	remarks, err := Review(t.Context(), []*scenarios.Scenario{s}, []drivers.Driver{d})
	var problems scenarios.Errors
	if !errors.As(err, &problems) {
		t.Fatalf("got %v, want problems", err)
	}
	line := func(all []*scenarios.Error) (out []string) {
		for _, e := range all {
			out = append(out, fmt.Sprintf("%s:%d: %s (%s)", e.File, e.Line, e.Message, e.Hint))
		}
		return out
	}
	if diff := cmp.Diff([]string{
		"reviewed.yaml:5: limits.cpus, limits.memory refused on choosy: nothing limits it (another driver)",
		"reviewed.yaml:3: choosy: it is not there (build it)",
		"reviewed.yaml:18: socket refused on choosy: nobody holds it (take it away)",
	}, line(problems)); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"reviewed.yaml:13: liveness, startup noted on choosy: nobody asks (designs a, b) ()"}, line(remarks)); diff != "" {
		t.Errorf("remarks (-want +got):\n%s", diff)
	}

	// A driver that says nothing of itself is not asked, and one that honours all has nothing to say.
	for _, silent := range []drivers.Driver{choosy{}, struct{ drivers.Driver }{choosy{}}} {
		if remarks, err := Review(t.Context(), []*scenarios.Scenario{s}, []drivers.Driver{silent}); err != nil || remarks != nil {
			t.Errorf("got %v, %v", remarks, err)
		}
	}
}

// What each driver makes of the builtin designs is in their description: no remarks of them.
func TestBuiltinDesignsAreNotRemarkedOn(t *testing.T) {
	s, err := scenarios.Load("quickstart", scenarios.Options{})
	if err != nil {
		t.Fatal(err)
	}
	d := choosy{support: drivers.Support{}.With(drivers.Answer{How: drivers.Noted, Why: "nobody asks"}, "startup", "liveness", "notify")}
	remarks, err := Review(t.Context(), []*scenarios.Scenario{s}, []drivers.Driver{d})
	if err != nil || remarks != nil {
		t.Errorf("got %v, %v", remarks, err)
	}
}

func TestReviewRefusesADriverWithoutAnEntry(t *testing.T) {
	text := strings.Replace(reviewed, "  exec: ./shop\n", "  on: {process: {exec: ./shop}}\n", 1)
	s, err := scenarios.Parse("reviewed.yaml", []byte(text), scenarios.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = Review(t.Context(), []*scenarios.Scenario{s}, []drivers.Driver{choosy{}})
	var problem *scenarios.Error
	if !errors.As(err, &problem) || problem.Line != 3 || !strings.Contains(err.Error(), "no entry for driver choosy") || !strings.Contains(err.Error(), "it has process") {
		t.Errorf("got %v", err)
	}
}

// patient is a driver that deploys for ever.
type patient struct{ drivers.Driver }

func (patient) Deploy(ctx context.Context, _ drivers.Stack) (drivers.Env, error) {
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

// How long a deployment may take is the scenario's to say, and the error says so.
func TestADeploymentEndsWithItsTimeout(t *testing.T) {
	s, err := scenarios.Parse("slow.yaml", []byte(reviewed+"deploy_timeout: 20ms\n"), scenarios.Options{})
	if err != nil {
		t.Fatal(err)
	}
	tr := trial{plannedTrial: plannedTrial{scenario: s, driver: patient{}}}
	_, err = tr.deploy(t.Context(), target.Target{})
	var h *drivers.HintError
	if !errors.As(err, &h) || !strings.Contains(h.Hint, "deploy_timeout") || !strings.Contains(h.Hint, "its path") || !strings.Contains(err.Error(), "within 20ms") {
		t.Errorf("got %v", err)
	}
}

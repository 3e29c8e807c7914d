package fault_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/process"
	"github.com/rollout-lab/rollout-lab/internal/fault"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/internal/target"
	"github.com/rollout-lab/rollout-lab/scenarios"
	"github.com/rollout-lab/rollout-lab/targets/refproxy"
)

// itself is the argument that makes this program the reference target.
const itself = "refproxy"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == itself {
		os.Exit(refproxy.Main(context.Background(), os.Args[2:], os.Getenv, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// patience bounds every wait of these tests.
const patience = time.Minute

// deployed is a scenario's stack that runs.
type deployed struct {
	*testing.T
	scenario *scenarios.Scenario
	target   target.Target
	env      drivers.Env
}

// deploy runs the reference proxy as children of this process, with what a scenario's faults
// need.
func deploy(t *testing.T, action string, faults ...string) *deployed {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	driver := process.New(process.Config{Program: []string{self, itself}})
	if err := driver.Check(t.Context()); err != nil {
		t.Skip(err)
	}
	s, err := scenarios.Parse("a.yaml", []byte(`
name: a
target: {refproxy: {sessions: 100, sync_rate: 10000}}
replicas: 2
load: {rate: 10}
phases: {baseline: {from: 1s, to: 2s}, window: {from: 2s, to: 60s}}
action: `+action+`
designs: [naive]
faults:
`+strings.Join(faults, "\n")), scenarios.Options{Drivers: []string{"process"}})
	if err != nil {
		t.Fatal(err)
	}
	d := &deployed{T: t, scenario: s}
	if d.target, err = target.Build(s, s.Designs[0], "process"); err != nil {
		t.Fatal(err)
	}
	d.target.Stack.RunID, d.target.Stack.Name = fmt.Sprintf("fault-%d", os.Getpid()), "a"
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if d.env, err = driver.Deploy(ctx, d.target.Stack); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.env.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return d
}

// run does the scenario's faults at once, one after another, and returns the events of each. With
// until it goes on to that event, and no further.
func (d *deployed) run(f scenarios.Fault, feigned bool, until record.EventKind) []record.Event {
	d.Helper()
	ctx, cancel := context.WithTimeout(d.Context(), patience)
	defer cancel()
	var mu sync.Mutex
	var events []record.Event
	f.At = 0
	_, after := d.scenario.Target.RevisionNames()
	plan := fault.Plan{
		Faults: []scenarios.Fault{f}, Env: d.env, Stack: d.target.Stack, After: after, Base: time.Now(),
		Folder: d.TempDir(), Revocation: d.target.Revocation, Feigned: feigned,
		Event: func(e record.Event) {
			mu.Lock()
			defer mu.Unlock()
			events = append(events, e)
			if e.Kind == until {
				cancel()
			}
		},
	}
	plan.Run(ctx)
	return events
}

// say is what events there were, for people.
func say(events []record.Event) string {
	var lines []string
	for _, e := range events {
		lines = append(lines, fmt.Sprintf("%s %s: %s", e.Kind, e.Instance, e.Detail))
	}
	return strings.Join(lines, "\n")
}

// lasting are faults that are healed, and what their proof sees.
var lasting = []struct{ fault, seen string }{
	{"kind: outage, service: upstream, mode: refuse, for: 1s", "refused"},
	{"kind: outage, service: control, mode: blackhole, for: 1s", "no answer within"},
	{"kind: network, service: upstream, toxic: latency, latency: 400ms, jitter: 100ms, for: 2s", "no answer within"},
	{"kind: network, service: control, toxic: bandwidth, rate: 20, for: 2s", "no answer within"},
	{"kind: network, service: upstream, toxic: reset, for: 1s", "reset"},
	{"kind: network, service: upstream, toxic: slicer, for: 1s", "pieces"},
	{"kind: stall, for: 1500ms", "brings nothing"},
	{"kind: bad-config, for: 1s", "generation 2, which is refused"},
	{"kind: deadlock, for: 2s, instances: all", "a request is not answered within 500ms; its readiness: 200"},
	{"kind: data-dead, for: 1s, instances: newest", "a request: 503; its readiness: 200"},
	{"kind: flap, for: 4s, instances: oldest", "comes and goes"},
	// The last one: who is asked whether it is alive and does not answer is started again.
	{"kind: slow-check, for: 3s, instances: 1", "its readiness is not answered within 1.2s"},
}

// apart are the faults as a scenario has them, each at a time of its own.
func apart() (faults []string) {
	for i, l := range lasting {
		faults = append(faults, fmt.Sprintf("  - {%s, at: %ds}", l.fault, 1+4*i))
	}
	return faults
}

// TestLastingFaults: each is injected, proven from outside, healed and gone, for each instance
// that it is done to; and what was not injected is not proven.
func TestLastingFaults(t *testing.T) {
	t.Parallel()
	d := deploy(t, "{kind: none}", apart()...)
	for i, l := range lasting {
		f := d.scenario.Faults[i]
		t.Run(f.Name, func(t *testing.T) {
			touched := 1
			if f.ToInstances() {
				touched = f.Selection().Of(2)
			}
			events := d.run(f, false, "")
			counts := map[record.EventKind]int{}
			for _, e := range events {
				counts[e.Kind]++
				if e.Kind == record.FaultProven && !strings.Contains(e.Detail, l.seen) {
					t.Errorf("proven by %q, want %q", e.Detail, l.seen)
				}
			}
			for _, kind := range []record.EventKind{record.FaultInjected, record.FaultProven, record.FaultHealed} {
				if counts[kind] != touched || len(events) != 3*touched {
					t.Fatalf("want each event %d times:\n%s", touched, say(events))
				}
			}
		})
	}
}

// TestFeignedFaults: the same, when what was injected is taken back at once and nobody is told.
func TestFeignedFaults(t *testing.T) {
	t.Parallel()
	d := deploy(t, "{kind: none}", append(apart(), "  - {kind: revoke, at: 56s}")...)
	for i := range d.scenario.Faults {
		f := d.scenario.Faults[i]
		t.Run(f.Name, func(t *testing.T) {
			if f.For = min(f.For, 1500*time.Millisecond); f.Kind == scenarios.Revoke {
				if events := d.run(f, true, ""); len(events) != 2 || events[1].Kind != record.FaultError {
					t.Errorf("a revocation that was feigned:\n%s", say(events))
				}
				return
			}
			for _, e := range d.run(f, true, "") {
				if e.Kind == record.FaultProven {
					t.Errorf("proven, and it was not there: %s", e.Detail)
				}
			}
		})
	}
}

func TestRelays(t *testing.T) {
	d := deploy(t, "{kind: none}", "  - {kind: outage, service: upstream, for: 1s}")
	relays := fault.Relays(t.Context(), d.env, d.target.Stack)
	if len(relays) != 1 || relays[0].To != "upstream" || relays[0].Adds == 0 || relays[0].Unknown != "" {
		t.Errorf("relays %+v", relays)
	}
	if err := d.env.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if relays := fault.Relays(t.Context(), d.env, d.target.Stack); len(relays) != 1 || relays[0].Unknown == "" {
		t.Errorf("of what is not there: %+v", relays)
	}
	if relays := fault.Relays(t.Context(), d.env, drivers.Stack{}); relays != nil {
		t.Errorf("without a relay: %+v", relays)
	}
}

func TestRevokeIsProvenByTheRecordItself(t *testing.T) {
	t.Parallel()
	d := deploy(t, "{kind: none}", "  - {kind: revoke}")
	if r := d.target.Revocation; r == nil || r.Session == "" || r.MaxAge != 5*time.Second {
		t.Fatalf("revocation %+v, want one with the target's maximum age", r)
	}
	events := d.run(d.scenario.Faults[0], false, "")
	if len(events) != 2 || events[1].Kind != record.FaultProven || !strings.Contains(events[1].Detail, "as revoked: true") {
		t.Errorf("events:\n%s", say(events))
	}
}

// TestRevisionsThatMisbehave: each is proven by what its instances do in a rollout, and a good
// revision is none of them.
func TestRevisionsThatMisbehave(t *testing.T) {
	for mode, seen := range map[string]string{
		scenarios.NeverReady: "asks the control plane for no sessions", scenarios.CrashAtStart: ", after exit status 70",
		scenarios.CrashAfterReady: "ended by itself after it was ready: process", scenarios.WrongAnswers: `answers 200 and "this is not`,
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			d := deploy(t, "{kind: rollout}", "  - {kind: revision, mode: "+mode+"}")
			ctx, cancel := context.WithCancel(t.Context())
			var rolling sync.WaitGroup
			defer rolling.Wait()
			defer cancel()
			rolling.Go(func() { _ = d.env.Rollout(ctx, "v2") }) // it cannot come to a good end
			events := d.run(d.scenario.Faults[0], false, record.FaultProven)
			if len(events) != 2 || events[1].Kind != record.FaultProven || !strings.Contains(events[1].Detail, seen) {
				t.Errorf("events:\n%s", say(events))
			}
		})
	}
}

// killOne kills an instance and returns once the runtime has started it again.
func killOne(t *testing.T, ctx context.Context, env drivers.Env) {
	t.Helper()
	there, err := env.Instances(ctx)
	if err != nil {
		t.Fatal(err)
	}
	victim := there[0].ID
	if _, err := env.(drivers.Injector).Inject(ctx, drivers.Fault{Kind: drivers.FaultKill, Instance: victim}); err != nil {
		t.Fatal(err)
	}
	starts := 0
	for e := range env.Watch() {
		if e.Kind == drivers.Started && e.Instance == victim {
			starts++
		}
		if starts == 2 {
			return
		}
	}
	t.Fatal("the environment ended first")
}

// TestGoodRevisionIsNotProvenBad: where the revision behaves after all, nothing proves that it
// does not.
func TestGoodRevisionIsNotProvenBad(t *testing.T) {
	for _, mode := range []string{scenarios.NeverReady, scenarios.CrashAtStart, scenarios.CrashAfterReady, scenarios.WrongAnswers} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			d := deploy(t, "{kind: rollout}", "  - {kind: revision, mode: "+mode+"}")
			// The first revision behaves; it is looked at as if it were the one that does not.
			_, after := d.scenario.Target.RevisionNames()
			before := d.target.Stack.Revision
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			var events []record.Event
			plan := fault.Plan{
				Faults: d.scenario.Faults, Env: d.env, Stack: d.target.Stack, After: before, Base: time.Now(),
				Event: func(e record.Event) { events = append(events, e) },
			}
			if err := d.env.Restart(ctx); err != nil { // instances of it start and end, as asked to
				t.Fatal(err)
			}
			killOne(t, ctx, d.env) // which is no crash of its own
			looking, stop := context.WithTimeout(t.Context(), 2*time.Second)
			defer stop()
			plan.Run(looking)
			if len(events) != 2 || events[1].Kind != record.FaultError || before == after {
				t.Errorf("events:\n%s", say(events))
			}
		})
	}
}

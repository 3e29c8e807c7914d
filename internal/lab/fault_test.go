package lab

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/scenarios"
)

// breaking is a driver whose instances can be frozen, and which keeps the order of things.
type breaking struct {
	*memoryDriver
	cannot map[drivers.FaultKind]error

	mu     sync.Mutex
	frozen map[string]bool
	story  []string
}

func newBreaking() *breaking {
	return &breaking{memoryDriver: &memoryDriver{}, frozen: map[string]bool{}, cannot: map[drivers.FaultKind]error{drivers.FaultPause: nil}}
}

func (d *breaking) Faults(context.Context) map[drivers.FaultKind]error { return d.cannot }

func (d *breaking) Deploy(ctx context.Context, s drivers.Stack) (drivers.Env, error) {
	e, err := d.memoryDriver.Deploy(ctx, s)
	return &breakingEnv{e, d}, err
}

func (d *breaking) did(what string, instance string, frozen bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.story = append(d.story, what)
	d.frozen[instance] = frozen
}

type breakingEnv struct {
	drivers.Env
	driver *breaking
}

func (e *breakingEnv) Close(ctx context.Context) error {
	e.driver.did("close", "", false)
	return e.Env.Close(ctx)
}

func (e *breakingEnv) Inject(_ context.Context, f drivers.Fault) (drivers.Injection, error) {
	e.driver.did("inject "+f.Instance, f.Instance, true)
	return freeze{e.driver, f.Instance}, nil
}

type freeze struct {
	driver   *breaking
	instance string
}

func (f freeze) Proof(context.Context) (string, bool, error) {
	f.driver.mu.Lock()
	defer f.driver.mu.Unlock()
	return fmt.Sprintf("frozen: %v", f.driver.frozen[f.instance]), f.driver.frozen[f.instance], nil
}

func (f freeze) Heal(context.Context) error {
	f.driver.did("heal "+f.instance, f.instance, false)
	return nil
}

// withFault is the short scenario with one design and a fault.
func withFault(t *testing.T, fault string) *scenarios.Scenario {
	return short(t, "designs: [naive, stack-aware]", "designs: [stack-aware]", "\nrolling:", "\nfaults: ["+fault+"]\nrolling:", "action: {kind: rollout, timeout: 5s}", "action: {kind: none}")
}

// faultsOf are the faults of a run's first trial, and what the events say of them.
func faultsOf(t *testing.T, dir string) (planned []record.Fault, events []string) {
	t.Helper()
	run, err := record.OpenRun(dir)
	if err != nil {
		t.Fatal(err)
	}
	trial, err := run.Trial(run.Folders[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range trial.Events {
		if e.Fault != "" {
			events = append(events, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", e.Kind, e.Fault, e.Instance, e.Detail)))
		}
	}
	return trial.Trial.Faults, events
}

func TestAFaultIsOnRecord(t *testing.T) {
	t.Parallel()
	d := newBreaking()
	dir, err := runLab(t, t.Context(), d, withFault(t, "{kind: pause, at: 100ms, for: 200ms, instances: newest}"))
	if err != nil {
		t.Fatal(err)
	}
	planned, events := faultsOf(t, dir)
	want := []record.Fault{{Name: "pause", Kind: "pause", At: 600 * time.Millisecond, For: 200 * time.Millisecond, Target: "the newest instance"}}
	if diff := cmp.Diff(want, planned); diff != "" {
		t.Errorf("planned (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"fault_injected pause i1", "fault_proven pause i1 frozen: true", "fault_healed pause i1 frozen: false"}, events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	// On a machine that is too busy the trial is repeated.
	if diff := cmp.Diff([]string{"inject i1", "heal i1", "close"}, d.story[:3]); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

// Ctrl-C in the middle of a fault heals it before the environment is closed.
func TestAFaultIsHealedWhenTheRunIsInterrupted(t *testing.T) {
	t.Parallel()
	cause := errors.New("stopped by the test")
	ctx, cancel := context.WithCancelCause(t.Context())
	d := newBreaking()
	dir := filepath.Join(t.TempDir(), "run")
	err := Run(ctx, Config{RunID: "r", Dir: dir, Scenarios: []*scenarios.Scenario{withFault(t, "{kind: pause, for: 900ms, instances: all}")}, Drivers: []drivers.Driver{d},
		Progress: func(Update) {
			d.mu.Lock()
			defer d.mu.Unlock()
			if len(d.story) == 2 {
				cancel(cause)
			}
		}})
	if !errors.Is(err, cause) {
		t.Fatalf("error %v, want the cause", err)
	}
	slices.Sort(d.story[:2])
	slices.Sort(d.story[2:4])
	if diff := cmp.Diff([]string{"inject i0", "inject i1", "heal i0", "heal i1", "close"}, d.story); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	if _, events := faultsOf(t, dir); len(events) != 6 {
		t.Errorf("events %q, want all six", events)
	}
}

func TestAFaultThatADriverCannotDoIsRefusedBeforeAnythingIsDeployed(t *testing.T) {
	s := withFault(t, "{kind: kill}")
	missing := &drivers.HintError{Err: fmt.Errorf("%w: no right to kill", drivers.ErrUnavailable), Hint: "become somebody else"}
	for name, tt := range map[string]struct {
		driver     drivers.Driver
		says, hint string
		is         error
	}{
		"that knows no faults":  {&memoryDriver{}, "fault kill on memory: not supported by this driver", "rollout-lab doctor says which faults each driver can do", drivers.ErrUnsupported},
		"that knows other ones": {newBreaking(), "fault kill on memory: not supported by this driver", "rollout-lab doctor says which faults each driver can do", drivers.ErrUnsupported},
		"that lacks something":  {&breaking{memoryDriver: &memoryDriver{}, cannot: map[drivers.FaultKind]error{drivers.FaultKill: missing}}, "fault kill on memory: driver not available: no right to kill", "become somebody else", drivers.ErrUnavailable},
		"that can":              {&breaking{memoryDriver: &memoryDriver{}, cannot: map[drivers.FaultKind]error{drivers.FaultKill: nil}}, "", "", nil},
		"that is not there":     {&memoryDriver{checkErr: drivers.ErrUnavailable}, "", "", nil}, // which the run says
	} {
		_, err := Review(t.Context(), []*scenarios.Scenario{s}, []drivers.Driver{tt.driver})
		if tt.says == "" {
			if err != nil {
				t.Errorf("a driver %s: %v", name, err)
			}
			continue
		}
		var environment *EnvironmentError
		var hint *drivers.HintError
		if !errors.As(err, &environment) || !errors.Is(err, tt.is) || !errors.As(err, &hint) {
			t.Fatalf("a driver %s: %v, want an EnvironmentError with a hint", name, err)
		}
		if !strings.Contains(err.Error(), "short.yaml:11:") || !strings.Contains(err.Error(), tt.says) || hint.Hint != tt.hint {
			t.Errorf("a driver %s: %v (hint: %s), want %q with its line", name, err, hint.Hint, tt.says)
		}
	}
}

// TestAFeignedFaultIsNotProven: what was taken back in silence is called a fault by nobody.
func TestAFeignedFaultIsNotProven(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "run")
	err := Run(t.Context(), Config{RunID: "r", Dir: dir, Scenarios: []*scenarios.Scenario{withFault(t, "{kind: pause, at: 100ms, for: 200ms}")}, Drivers: []drivers.Driver{newBreaking()}, feignFaults: true})
	if err != nil {
		t.Fatal(err)
	}
	_, events := faultsOf(t, dir)
	if diff := cmp.Diff([]string{"fault_injected pause i0", "fault_error pause i0 nothing else says that it was there: frozen: false", "fault_healed pause i0 frozen: false"}, events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

package fault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/scenarios"
)

// runtime is an environment that keeps, of each instance, which faults are there.
type runtime struct {
	drivers.Env // of which nothing else is asked

	mu        sync.Mutex
	instances []drivers.Instance
	there     map[string]drivers.FaultKind

	injecting, proving, healing  time.Duration // how long each takes
	injectErr, proofErr, healErr error
	lies                         string // never, always or late: what a proof that lies says
	at                           time.Time
}

func newRuntime(ids ...string) *runtime {
	r := &runtime{there: map[string]drivers.FaultKind{}}
	for _, id := range ids {
		r.instances = append(r.instances, drivers.Instance{ID: id, Revision: "v1", State: drivers.StateReady})
	}
	return r
}

func (r *runtime) Instances(context.Context) ([]drivers.Instance, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.instances), nil
}

func wait(ctx context.Context, long time.Duration) error {
	select {
	case <-time.After(long):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (r *runtime) Inject(ctx context.Context, f drivers.Fault) (drivers.Injection, error) {
	if err := wait(ctx, r.injecting); err != nil {
		return nil, err
	}
	if r.injectErr != nil {
		return nil, r.injectErr
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.there[f.Instance], r.at = f.Kind, time.Now()
	return injection{r, f}, nil
}

// left are the faults that are still there.
func (r *runtime) left() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.there)
}

type injection struct {
	*runtime
	fault drivers.Fault
}

func (i injection) Proof(ctx context.Context) (string, bool, error) {
	if err := wait(ctx, i.proving); err != nil {
		return "", false, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	kind, there := i.there[i.fault.Instance]
	switch {
	case i.lies == "never", i.lies == "late" && time.Since(i.at) < time.Second:
		there = false
	case i.lies == "always":
		there = true
	}
	return fmt.Sprintf("%s %s", i.fault.Instance, kind), there, i.proofErr
}

func (i injection) Heal(ctx context.Context) error {
	if err := wait(ctx, i.healing); err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.healErr == nil {
		delete(i.there, i.fault.Instance)
	}
	return i.healErr
}

// story runs faults and tells what came of them, a line each, from the planned start of the
// window, which is a second behind the base. It ends after a time, unless that is 0.
func story(t *testing.T, r *runtime, end time.Duration, faults ...scenarios.Fault) (lines []string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		const from = time.Second
		p := Plan{
			Faults: faults, Env: r, After: "v2", Base: time.Now(), From: from,
			Event: func(e record.Event) {
				mu.Lock()
				defer mu.Unlock()
				lines = append(lines, strings.TrimSpace(fmt.Sprintf("%v %s %s %s %s", e.At-from, e.Kind, e.Fault, e.Instance, e.Detail)))
			},
		}
		ctx := t.Context()
		if end > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeoutCause(ctx, from+end, errors.New("the load has ended"))
			defer cancel()
		}
		p.Run(ctx)
	})
	return lines
}

func pause(at, long time.Duration, instances string) scenarios.Fault {
	return scenarios.Fault{Kind: scenarios.Pause, Name: "pause", At: at, For: long, Instances: instances}
}

func kill(at time.Duration, instances string) scenarios.Fault {
	return scenarios.Fault{Kind: scenarios.Kill, Name: "kill", At: at, Instances: instances}
}

func told(t *testing.T, got []string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestAFaultIsInjectedProvenAndHealed(t *testing.T) {
	r := newRuntime("a", "b")
	r.injecting, r.proving, r.healing = 10*time.Millisecond, 20*time.Millisecond, 30*time.Millisecond
	told(t, story(t, r, 0, pause(2*time.Second, 4*time.Second, "1")),
		"2.01s fault_injected pause a",
		"2.03s fault_proven pause a a pause",
		"6.06s fault_healed pause a a",
	)
	if r.left() != 0 {
		t.Error("it is still there")
	}
}

func TestWhatDoesNotLastIsNotHealed(t *testing.T) {
	r := newRuntime("a", "b")
	r.lies = "late"
	told(t, story(t, r, 0, kill(0, "newest")),
		"0s fault_injected kill b",
		"1s fault_proven kill b b kill",
	)
}

func TestEveryTouchedInstanceHasItsOwnEvents(t *testing.T) {
	r := newRuntime("a", "b", "c")
	lines := story(t, r, 0, pause(0, time.Second, "50%"), scenarios.Fault{Kind: scenarios.CPU, Name: "cpu", At: 3 * time.Second, For: time.Second, Instances: "all", Share: .1})
	slices.Sort(lines)
	told(t, lines,
		"0s fault_injected pause a", "0s fault_injected pause b",
		"0s fault_proven pause a a pause", "0s fault_proven pause b b pause",
		"1s fault_healed pause a a", "1s fault_healed pause b b",
		"3s fault_injected cpu a 10% of a processor", "3s fault_injected cpu b 10% of a processor", "3s fault_injected cpu c 10% of a processor",
		"3s fault_proven cpu a a cpu", "3s fault_proven cpu b b cpu", "3s fault_proven cpu c c cpu",
		"4s fault_healed cpu a a", "4s fault_healed cpu b b", "4s fault_healed cpu c c",
	)
}

// Whenever the trial ends, what is there is healed, and healed means gone.
func TestAFaultIsHealedWhereverTheTrialEnds(t *testing.T) {
	for _, end := range []time.Duration{time.Second, 2005 * time.Millisecond, 2015 * time.Millisecond, 3 * time.Second, 6010 * time.Millisecond, 6015 * time.Millisecond, 7 * time.Second} {
		r := newRuntime("a")
		r.injecting, r.proving, r.healing = 10*time.Millisecond, 10*time.Millisecond, 10*time.Millisecond
		lines := story(t, r, end, pause(2*time.Second, 4*time.Second, "all"))
		if r.left() != 0 {
			t.Errorf("ended at %v: it is still there: %q", end, lines)
		}
		injected := strings.Contains(strings.Join(lines, "\n"), "fault_injected")
		if healed := strings.Contains(strings.Join(lines, "\n"), "fault_healed"); healed != injected || injected != (end > 2010*time.Millisecond) {
			t.Errorf("ended at %v: %q", end, lines)
		}
	}
}

func TestWhatGoesWrongIsAnEvent(t *testing.T) {
	for _, tt := range []struct {
		name  string
		set   func(*runtime)
		fault scenarios.Fault
		want  []string
	}{
		{"no injection", func(r *runtime) { r.injectErr = errors.New("no way") }, pause(0, time.Second, "1"), []string{"0s fault_error pause a inject: no way"}},
		{"injection that never ends", func(r *runtime) { r.injecting = time.Hour }, pause(0, time.Second, "1"), []string{"10s fault_error pause a inject: the load has ended"}},
		{"no proof", func(r *runtime) { r.lies = "never" }, pause(0, 2*time.Second, "1"), []string{
			"0s fault_injected pause a", "2s fault_error pause a nothing else says that it was there: a pause", "2s fault_healed pause a a",
		}},
		{"no proof of what does not last", func(r *runtime) { r.lies = "never" }, kill(0, "1"), []string{
			"0s fault_injected kill a", "5s fault_error kill a nothing else says that it was there: a kill",
		}},
		{"a proof that never answers", func(r *runtime) { r.proving = time.Hour }, pause(0, time.Second, "1"), []string{
			"0s fault_injected pause a", "1s fault_error pause a nothing else says that it was there: no answer",
			"6s fault_error pause a still there 5s after it was healed: no answer",
		}},
		{"a proof that fails", func(r *runtime) { r.proofErr = errors.New("who?") }, kill(0, "1"), []string{
			"0s fault_injected kill a", "5s fault_error kill a nothing else says that it was there: who?",
		}},
		{"no healing", func(r *runtime) { r.healErr = errors.New("stuck") }, pause(0, time.Second, "1"), []string{
			"0s fault_injected pause a", "0s fault_proven pause a a pause", "1s fault_error pause a heal: stuck",
		}},
		{"a healing that never ends", func(r *runtime) { r.healing = time.Hour }, pause(0, time.Second, "1"), []string{
			"0s fault_injected pause a", "0s fault_proven pause a a pause", "31s fault_error pause a heal: not healed within 30s",
		}},
		{"a healing that did nothing", func(r *runtime) { r.lies = "always" }, pause(0, time.Second, "1"), []string{
			"0s fault_injected pause a", "0s fault_proven pause a a pause", "6s fault_error pause a still there 5s after it was healed: a",
		}},
		{"no such instance", func(r *runtime) {}, kill(0, "first-new"), []string{
			"5s fault_error kill  it is done to the first new instance, and there are 1, of which 1 are ready (not within 5s)",
		}},
		{"a kind that nobody knows", func(r *runtime) {}, scenarios.Fault{Kind: "plague", Name: "plague"}, []string{"0s fault_error plague  inject: plague: not supported by this driver"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRuntime("a")
			tt.set(r)
			told(t, story(t, r, 10*time.Second, tt.fault), tt.want...)
		})
	}
}

// A fault that was taken back in silence is not called proven by anybody.
func TestAFeignedFaultIsNotProven(t *testing.T) {
	for kind := range driverKinds {
		r := newRuntime("a")
		var lines []string
		synctest.Test(t, func(t *testing.T) {
			p := Plan{Faults: []scenarios.Fault{{Kind: kind, Name: "it", For: time.Second, Instances: "1"}}, Env: r, Base: time.Now(), Feigned: true,
				Event: func(e record.Event) { lines = append(lines, string(e.Kind)) }}
			p.Run(t.Context())
		})
		if !slices.Contains(lines, "fault_error") || slices.Contains(lines, "fault_proven") {
			t.Errorf("%s: %q", kind, lines)
		}
	}
}

func TestWhichInstancesAreChosen(t *testing.T) {
	instances := func(text string) (out []drivers.Instance) { // id:revision:state
		for _, one := range strings.Fields(text) {
			p := strings.Split(one, ":")
			out = append(out, drivers.Instance{ID: p[0], Revision: p[1], State: drivers.State(p[2])})
		}
		return out
	}
	const rolling = "a:v1:terminating b:v1:unready c:v1:ready d:v2:ready e:v2:starting"
	for _, tt := range []struct{ selects, there, want string }{
		{"1", "a:v1:ready b:v1:ready", "a"},
		{"2", "a:v1:ready b:v1:ready c:v1:ready", "a b"},
		{"1", rolling, "c"},
		{"2", rolling, "c d"},
		{"3", rolling, "none"},
		{"all", rolling, "b c d e"},
		{"all", "a:v1:terminating", "none"},
		{"50%", rolling, "c d"},
		{"75%", rolling, "none"},
		{"34%", "a:v1:ready b:v1:ready c:v1:ready", "a b"},
		{"oldest", rolling, "b"},
		{"newest", rolling, "e"},
		{"first-new", rolling, "d"},
		{"first-new", "a:v1:ready", "none"},
		{"oldest", "", "none"},
	} {
		chosen, err := choose((&scenarios.Fault{Instances: tt.selects}).Selection(), instances(tt.there), "v2")
		var ids []string
		for _, i := range chosen {
			ids = append(ids, i.ID)
		}
		if got := strings.Join(ids, " "); err == nil && got != tt.want || err != nil && tt.want != "none" {
			t.Errorf("%s of %q: %q, %v; want %s", tt.selects, tt.there, got, err, tt.want)
		}
	}
}

// The first instance of a revision is waited for.
func TestAFaultWaitsForWhatItIsDoneTo(t *testing.T) {
	r := newRuntime("a")
	var lines []string
	synctest.Test(t, func(t *testing.T) {
		p := Plan{Faults: []scenarios.Fault{kill(0, "first-new")}, Env: r, After: "v2", Base: time.Now(),
			Event: func(e record.Event) { lines = append(lines, fmt.Sprint(e.At, " ", e.Kind, " ", e.Instance)) }}
		go func() {
			time.Sleep(720 * time.Millisecond)
			r.mu.Lock()
			defer r.mu.Unlock()
			r.instances = append(r.instances, drivers.Instance{ID: "b", Revision: "v2", State: drivers.StateStarting})
		}()
		p.Run(t.Context())
	})
	told(t, lines, "750ms fault_injected b", "750ms fault_proven b")
}

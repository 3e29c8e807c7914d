//go:build linux

package process_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/drivertest"
	"github.com/rollout-lab/rollout-lab/drivers/owner"
)

// eventually asks until the answer is true, for so long.
func eventually(t *testing.T, within time.Duration, what string, ask func() bool) {
	t.Helper()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for !ask() {
		select {
		case <-ticker.C:
		case <-deadline.C:
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}

func leftOf(t *testing.T, runID string) []string {
	t.Helper()
	files, err := drivertest.Processes(t.Context(), runID)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// orphaning has instances leave a process behind that ignores everything.
func orphaning(s *drivers.Stack) { s.Subject.Args = append(s.Subject.Args, "-bad", "parent@") }

// TestTheChildrenOfAKilledLabEndWithIt: the kernel takes them along. Nobody has to sweep
// but for what they have started themselves.
func TestTheChildrenOfAKilledLabEndWithIt(t *testing.T) {
	lab := harness().StartLab(t, orphaning)
	drivertest.SweepAlone(t)
	const want = 1 + 2 + 2 // a dependency, two instances, their orphans
	if children := leftOf(t, lab.RunID); len(children) != want {
		t.Errorf("%d processes of the run, want %d: %v", len(children), want, children)
	}
	lab.Kill()
	killed := time.Now()
	eventually(t, 2*time.Second, "the children of the killed lab to be gone", func() bool { return len(leftOf(t, lab.RunID)) == 2 })
	t.Logf("the children were gone %v after the lab was killed", time.Since(killed))
	removed, err := newDriver(t).Sweep(t.Context(), "")
	ours := slices.DeleteFunc(removed, func(s string) bool { return !strings.Contains(s, lab.RunID) })
	if err != nil || len(ours) != 2 {
		t.Errorf("sweep removed %v, %v; want the two orphans", ours, err)
	}
}

// TestChildrenOutliveTheThreadThatAskedForThem: the kernel kills a child when the thread
// that forked it ends, so that thread must not be a caller's.
func TestChildrenOutliveTheThreadThatAskedForThem(t *testing.T) {
	stack := drivertest.NewStack()
	driver := newDriver(t)
	type result struct {
		env drivers.Env
		err error
	}
	deployed := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlocked, so the thread ends with the goroutine
		env, err := driver.Deploy(context.Background(), stack)
		deployed <- result{env, err}
	}()
	r := <-deployed
	if r.err != nil {
		t.Fatal(r.err)
	}
	defer func() {
		if err := r.env.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	scaled := make(chan error)
	go func() {
		runtime.LockOSThread()
		scaled <- r.env.Scale(context.Background(), 3)
	}()
	if err := <-scaled; err != nil {
		t.Fatal(err)
	}
	if err := r.env.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(leftOf(t, stack.RunID)); n != 1+3 {
		t.Errorf("%d processes, want a dependency and three instances", n)
	}
	if err := r.env.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for e := range r.env.Watch() {
		if e.Kind == drivers.Gone && e.Detail != "exit status 0" {
			t.Errorf("%s ended with %s, want it to end by itself when it was asked to", e.Instance, e.Detail)
		}
	}
}

// TestChildrenAreMarkedAndApart: a group of its own for each, the environment of the lab and
// that of the service over it, and nothing of the marks of an outer lab.
func TestChildrenAreMarkedAndApart(t *testing.T) {
	t.Setenv("ROLLOUT_LAB_RUN", "outer")
	t.Setenv("GOMAXPROCS", "7")
	self, err := owner.Self()
	if err != nil {
		t.Fatal(err)
	}
	stack := drivertest.NewStack()
	stack.Subject.Env["GOMAXPROCS"] = "2"
	harness().Deploy(t, func(s *drivers.Stack) { *s = stack })
	seen := map[string]string{} // instance -> GOMAXPROCS
	for _, f := range leftOf(t, stack.RunID) {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		variables := map[string][]string{}
		for v := range strings.SplitSeq(string(b), "\x00") {
			name, value, _ := strings.Cut(v, "=")
			variables[name] = append(variables[name], value)
		}
		if got := variables["ROLLOUT_LAB_RUN"]; !slices.Equal(got, []string{stack.RunID}) {
			t.Errorf("ROLLOUT_LAB_RUN is %q, want %s alone", got, stack.RunID)
		}
		if got := variables["ROLLOUT_LAB_OWNER"]; !slices.Equal(got, []string{self.String()}) {
			t.Errorf("ROLLOUT_LAB_OWNER is %q, want this process, %s", got, self)
		}
		seen[strings.Join(variables["ROLLOUT_LAB_INSTANCE"], ",")] = strings.Join(variables["GOMAXPROCS"], ",")

		pid := filepath.Base(filepath.Dir(f))
		stat, err := os.ReadFile(filepath.Join(filepath.Dir(f), "stat"))
		if err != nil {
			t.Fatal(err)
		}
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if group := fields[2]; group != pid {
			t.Errorf("process %s is in group %s, want its own: an interrupt from the terminal would reach it", pid, group)
		}
	}
	want := map[string]string{"backend-1": "7", "target-1": "2", "target-2": "2"}
	if fmt.Sprint(seen) != fmt.Sprint(want) {
		t.Errorf("GOMAXPROCS by instance: %v, want %v", seen, want)
	}
}

// TestAPlainBalancerFindsOutByItsChecks: who is not told of a stop routes to the dead
// until the checks have failed, and the events say so.
func TestAPlainBalancerFindsOutByItsChecks(t *testing.T) {
	env := harness().Deploy(t, func(s *drivers.Stack) {
		s.Subject.Signal.Interval, s.Subject.Signal.Fall = 150*time.Millisecond, 3
	}).Env
	scaled := make(chan error, 1)
	go func() { scaled <- env.Scale(context.WithoutCancel(t.Context()), 1) }()

	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	var lost int
	var err error
	for ended := false; !ended; {
		resp, getErr := client.Get(env.URL())
		if getErr != nil {
			t.Fatal(getErr) // the balancer itself always answers
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			lost++
		}
		select {
		case err = <-scaled:
			ended = true
		default:
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if lost == 0 {
		t.Error("no request was lost while the checks had still to find out")
	}
	for range 10 {
		resp, err := client.Get(env.URL())
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("status %d after the change was complete", resp.StatusCode)
		}
	}

	if err := env.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	at := map[drivers.EventKind]time.Time{}
	var order []drivers.EventKind
	var unready string
	for e := range env.Watch() {
		if e.Instance == "target-2" {
			order = append(order, e.Kind)
			at[e.Kind] = e.At
			if e.Kind == drivers.Unready {
				unready = e.Detail
			}
		}
	}
	want := []drivers.EventKind{drivers.Started, drivers.Ready, drivers.Terminating, drivers.Unready, drivers.Gone}
	if !slices.Equal(order, want) {
		t.Errorf("events %v, want %v", order, want)
	}
	// Three failures are two intervals apart; the ticker may run a little ahead.
	if blind := at[drivers.Unready].Sub(at[drivers.Terminating]); blind < 250*time.Millisecond {
		t.Errorf("unready %v after the stop was asked for: three failed checks take longer", blind)
	}
	if !strings.Contains(unready, "refused") {
		t.Errorf("unready with %q, want what the check was answered", unready)
	}
}

// TestDeployGivesUpOnACrashLoop: what is started again and again is not waited for.
func TestDeployGivesUpOnACrashLoop(t *testing.T) {
	stack := drivertest.NewStack()
	stack.Subject.RestartOnExit = true
	stack.Subject.Args = append(stack.Subject.Args, "-bad", "exits@")
	_, err := newDriver(t).Deploy(t.Context(), stack)
	if !errors.Is(err, drivers.ErrNotServing) || !strings.Contains(fmt.Sprint(err), "I cannot go on") || !strings.Contains(fmt.Sprint(err), "exit status 3") {
		t.Errorf("got %v, want ErrNotServing with the exit status and the last output", err)
	}
	if left := leftOf(t, stack.RunID); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

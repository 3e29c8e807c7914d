//go:build linux

package process_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/drivertest"
	"github.com/rollout-lab/rollout-lab/drivers/process"
)

// TestAProgramOfSomebodyElsesRuns: the driver's own program would end at once.
func TestAProgramOfSomebodyElsesRuns(t *testing.T) {
	stack := drivertest.NewStack(somebodyElses(t))
	env, err := process.New(process.Config{Program: []string{"false", "own-argument"}}).Deploy(t.Context(), stack)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := env.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	list, err := env.Instances(t.Context())
	if err != nil || len(list) != stack.Replicas {
		t.Errorf("%d instances, %v; want %d", len(list), err, stack.Replicas)
	}
}

// somebodyElses runs the suite's target as a program that the driver does not know.
func somebodyElses(t *testing.T) func(*drivers.Stack) {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	return func(s *drivers.Stack) { s.Subject.Exec, s.Dependencies[0].Exec = path, path }
}

// holding lists the processes that hold a file that names a run.
func holding(t *testing.T, runID string) []string {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, l := range links {
		if file, err := os.Readlink(l); err == nil && strings.Contains(file, runID) {
			out = append(out, l+" -> "+file)
		}
	}
	return out
}

// sweepOf sweeps and returns what was removed of a run.
func sweepOf(t *testing.T, of, runID string) []string {
	t.Helper()
	removed, err := newDriver(t).Sweep(t.Context(), runID)
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(removed, func(s string) bool { return !strings.Contains(s, of) })
}

// TestAnotherProgramIsMarkedApartFromItsEnvironment: what a program of somebody else's leaves
// behind, out of its group and with an output of its own, is found all the same.
func TestAnotherProgramIsMarkedApartFromItsEnvironment(t *testing.T) {
	const processes = 1 + 2 + 2 // a dependency, two instances, their orphans
	t.Run("closed", func(t *testing.T) {
		b := harness().Deploy(t, somebodyElses(t), orphaning)
		if in := leftOf(t, b.Stack.RunID); len(in) != 0 {
			t.Errorf("the run is in the environment of %v", in)
		}
		if has := holding(t, b.Stack.RunID); len(has) != processes {
			t.Errorf("%d processes are marked, want %d: %v", len(has), processes, has)
		}
		if err := b.Env.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if has := holding(t, b.Stack.RunID); len(has) != 0 {
			t.Errorf("left: %v", has)
		}
	})
	t.Run("killed", func(t *testing.T) {
		lab := harness().StartLab(t, somebodyElses(t), orphaning)
		drivertest.SweepAlone(t)
		if removed := sweepOf(t, lab.RunID, ""); len(removed) != 0 {
			t.Errorf("sweep removed %v of a lab that lives", removed)
		}
		lab.Kill()
		eventually(t, 2*time.Second, "the children of the killed lab to be gone", func() bool { return len(holding(t, lab.RunID)) == 2 })
		if removed := sweepOf(t, lab.RunID, ""); len(removed) != 2 {
			t.Errorf("sweep removed %v of a killed lab, want the two orphans", removed)
		}
	})
	t.Run("named", func(t *testing.T) {
		lab := harness().StartLab(t, somebodyElses(t), orphaning)
		if removed := sweepOf(t, lab.RunID, lab.RunID); len(removed) != processes {
			t.Errorf("sweep of the run removed %d, want %d: %v", len(removed), processes, removed)
		}
		resp, err := http.Get(lab.URL)
		if err != nil {
			t.Fatalf("sweep of the run ended its lab as well: %v", err)
		}
		resp.Body.Close()
	})
}

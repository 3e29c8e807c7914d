//go:build linux

package process_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/drivertest"
	"github.com/rollout-lab/rollout-lab/drivers/process"
)

func TestMain(m *testing.M) {
	if drivertest.IsTarget() {
		drivertest.TargetMain()
	}
	if runID := os.Getenv(labEnv); runID != "" {
		if err := runLab(runID); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func program() (string, error) { return os.Executable() }

func newDriver(t testing.TB) *process.Driver {
	t.Helper()
	self, err := program()
	if err != nil {
		t.Fatal(err)
	}
	return process.New(process.Config{Program: []string{self}})
}

// left finds processes by their environment, as ps would, with nothing of the driver.
func left(_ context.Context, runID string) ([]string, error) {
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return nil, err
	}
	var out []string
	for _, f := range files {
		// What cannot be read has ended or is somebody else's.
		if b, err := os.ReadFile(f); err == nil && strings.Contains(string(b), runID) {
			out = append(out, f)
		}
	}
	return out, nil
}

func TestConformance(t *testing.T) {
	drivertest.Run(t, drivertest.Harness{
		Driver: func(t testing.TB) drivers.Driver { return newDriver(t) },
		Left:   left,
	})
}

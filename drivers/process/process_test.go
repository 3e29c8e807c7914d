//go:build linux

package process_test

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/drivertest"
	"github.com/rollout-lab/rollout-lab/drivers/process"
)

func TestMain(m *testing.M) { drivertest.Main(m) }

func program() (string, error) { return os.Executable() }

func newDriver(t testing.TB) *process.Driver {
	t.Helper()
	self, err := program()
	if err != nil {
		t.Fatal(err)
	}
	return process.New(process.Config{Program: []string{self}})
}

func harness() drivertest.Harness {
	return drivertest.Harness{
		Driver: func(t testing.TB) drivers.Driver { return newDriver(t) },
		Left:   left,
		SomebodyElses: func(t testing.TB, s *drivers.Service) {
			self, err := program()
			if err != nil {
				t.Fatal(err)
			}
			s.Exec = self
		},
		// As a shell that was started from an instance: with its run, without its other marks.
		Foreign: drivertest.Bystander("ROLLOUT_LAB_RUN=somebody-elses"),
	}
}

func TestConformance(t *testing.T) { drivertest.Run(t, harness()) }

// left lists the processes and the control groups of a run.
func left(ctx context.Context, runID string) ([]string, error) {
	out, err := drivertest.Processes(ctx, runID)
	if err != nil {
		return nil, err
	}
	err = filepath.WalkDir("/sys/fs/cgroup", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return nil // there are none, or it is gone
		}
		if entry.IsDir() && strings.Contains(entry.Name(), runID) {
			out = append(out, path)
		}
		return nil
	})
	return out, err
}

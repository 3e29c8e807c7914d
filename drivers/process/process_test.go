//go:build linux

package process_test

import (
	"context"
	"os"
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
		Driver:  func(t testing.TB) drivers.Driver { return newDriver(t) },
		Left:    drivertest.Processes,
		Foreign: foreign,
	}
}

// foreign is a process that carries the run of a lab in its environment, as a shell that was
// started from an instance would, but none of the driver's other marks.
func foreign(t testing.TB) func(context.Context) error {
	untouched, end, err := drivertest.Bystander("ROLLOUT_LAB_RUN=somebody-elses")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(end)
	return untouched
}

func TestConformance(t *testing.T) { drivertest.Run(t, harness()) }

//go:build linux

package process_test

import (
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
		Driver: func(t testing.TB) drivers.Driver { return newDriver(t) },
		Left:   drivertest.Processes,
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

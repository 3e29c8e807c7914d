//go:build unix

package plain

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rollout-lab/rollout-lab/cli"
	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/drivertest"
)

func TestMain(m *testing.M) { drivertest.Main(m) }

func TestConformance(t *testing.T) {
	drivertest.Run(t, drivertest.Harness{
		Driver: func(t testing.TB) drivers.Driver {
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			d := New(self)
			if err := d.Check(t.Context()); err != nil {
				t.Skip(err)
			}
			return d
		},
		SomebodyElses: func(t testing.TB, s *drivers.Service) {
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			s.Exec = self
		},
		Left:    left,
		Foreign: drivertest.Bystander(),
	})
}

// left finds processes by what they have open, as lsof would, with nothing of the driver.
func left(_ context.Context, runID string) ([]string, error) {
	links, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return nil, err
	}
	var out []string
	for _, link := range links {
		// What cannot be read has ended. The test itself has the file open as well.
		file, err := os.Readlink(link)
		if err == nil && strings.Contains(file, ","+runID+",") && !strings.HasPrefix(link, fmt.Sprintf("/proc/%d/", os.Getpid())) {
			out = append(out, link)
		}
	}
	return out, nil
}

// TestRunByName: a program of this module offers the driver like any built-in one, and as the
// first of its list without being asked for.
func TestRunByName(t *testing.T) {
	if err := New("true").Check(t.Context()); err != nil {
		t.Skip(err)
	}
	bin := filepath.Join(t.TempDir(), "plain-lab")
	if out, err := exec.Command("go", "build", "-o", bin, "./cmd/plain-lab").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	dir := filepath.Join(t.TempDir(), "run")
	out, err := exec.Command(bin, "run", "testdata/small.yaml", "--out", dir).CombinedOutput()
	// A machine too busy for even this load makes the trial invalid, never wrong.
	var exit *exec.ExitError
	if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == cli.ExitInconclusive) || !strings.Contains(string(out), "small on plain") {
		t.Errorf("run: %v\n%s", err, out)
	}
	out, err = exec.Command(bin, "doctor").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "driver plain") {
		t.Errorf("doctor: %v\n%s", err, out)
	}
}

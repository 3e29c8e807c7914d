//go:build e2e && linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/cli"
	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/dockerengine"
)

// manyFaults is a scenario in which something of every kind is there for a minute. What a driver
// cannot do here is left out.
const manyFaults = `name: many-faults
about: Several faults at once, for a lab that is killed in the middle of them.
target: {refproxy: {sessions: 200, sync_rate: 10000, routes: 10}}
replicas: 3
load: {rate: 100, timeout: 2s, deny: 0%%}
phases:
  baseline: {from: 1s, to: 2s}
  window: {from: 2s, to: 70s}
action: {kind: none}
faults:
%strials: 1
designs: [stack-aware]
`

// faultsOf are the lines of the faults that a driver can do here.
func faultsOf(t *testing.T, driver string) []string {
	t.Helper()
	all := builtin()
	d, err := all[slices.IndexFunc(all, func(o cli.Driver) bool { return o.Name == driver })].New(testLog{t})
	if err != nil {
		t.Fatal(err)
	}
	can := d.(drivers.Faulter).Faults(t.Context())
	var out []string
	for _, f := range []struct {
		kind drivers.FaultKind
		line string
	}{
		{drivers.FaultPause, "{kind: pause, at: 0s, for: 60s, instances: oldest}"},
		{drivers.FaultCPU, "{kind: cpu, at: 0s, for: 60s, instances: newest, share: 1%}"},
		{drivers.FaultStop, "{kind: outage, at: 0s, for: 60s, service: upstream, mode: kill}"},
		{drivers.FaultStop, "{kind: network, at: 0s, for: 60s, service: control, toxic: latency, latency: 200ms}"},
	} {
		if why, known := can[f.kind]; known && why == nil {
			out = append(out, "  - "+f.line+"\n")
		} else {
			t.Logf("%s cannot do %s here: %v", driver, f.kind, why)
		}
	}
	return out
}

// TestE2EKilledAmidFaults: of a lab that is killed while its faults are there nothing stays frozen,
// throttled, stopped or in between after clean, and nothing else of it.
func TestE2EKilledAmidFaults(t *testing.T) {
	for _, driver := range []string{"process", "docker", "systemd"} {
		t.Run(driver, func(t *testing.T) {
			needDriver(t, driver)
			faults := faultsOf(t, driver)
			bin, dir := labBinary(t), t.TempDir()
			file := filepath.Join(dir, "many.yaml")
			if err := os.WriteFile(file, fmt.Appendf(nil, manyFaults, strings.Join(faults, "")), 0o600); err != nil {
				t.Fatal(err)
			}
			var before []string
			if driver != "process" {
				before = inEngine(t)
			}
			out := filepath.Join(dir, "run")
			cmd := exec.Command(bin, "run", file, "--driver", driver, "--out", out)
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			var said bytes.Buffer
			cmd.Stdout, cmd.Stderr = &said, &said
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			proven := awaitProofs(t, out, len(faults), ended, &said)
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			<-ended // it was killed: that is its error
			t.Logf("killed amid:\n%s", strings.Join(proven, "\n"))
			run := runID(t, out)
			left := leftOfFaults(t, driver, run)
			cleaned, err := exec.Command(bin, "clean", "--driver", driver).CombinedOutput()
			if err != nil {
				t.Errorf("clean: %v\n%s", err, cleaned)
			}
			t.Logf("%d things were left; clean says:\n%s", len(left), cleaned)
			if left := leftOfFaults(t, driver, run); len(left) > 0 {
				t.Errorf("after clean there are still %q", left)
			}
			if driver != "process" {
				nothingNewInEngine(t, before)
			}
		})
	}
}

// awaitProofs waits until so many faults of the run were proven, and returns what was seen.
func awaitProofs(t *testing.T, dir string, want int, ended <-chan error, said *bytes.Buffer) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		var proven []string
		files, err := filepath.Glob(filepath.Join(dir, "trials", "*", "events.ndjson"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(text)) {
				switch {
				case strings.Contains(line, `"fault_error"`):
					t.Fatalf("a fault went wrong: %s", line)
				case strings.Contains(line, `"fault_proven"`):
					proven = append(proven, strings.TrimSpace(line))
				}
			}
		}
		if len(proven) >= want {
			return proven
		}
		select {
		case <-tick.C:
		case err := <-ended:
			t.Fatalf("the run has ended: %v\n%s", err, said)
		case <-ctx.Done():
			t.Fatalf("of %d faults %d were proven: %q", want, len(proven), proven)
		}
	}
}

// leftOfFaults lists what a driver could leave of a run, found without it: containers, control
// groups, and processes that carry the run's mark.
func leftOfFaults(t *testing.T, driver, run string) []string {
	t.Helper()
	out := stamped(t, run)
	if driver != "process" {
		out = append(out, strings.Fields(dockerCommand(t, "ps", "--all", "--no-trunc", "--quiet", "--filter", "label="+dockerengine.LabelRun+"="+run))...)
	}
	err := filepath.WalkDir("/sys/fs/cgroup", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && strings.Contains(entry.Name(), run) {
			out = append(out, "control group "+path)
		}
		return nil // what cannot be read is somebody else's, or gone
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

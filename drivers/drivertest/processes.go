package drivertest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Processes lists the processes of this machine whose environment names a run, as ps would
// and with nothing of a driver: Harness.Left where instances are such processes.
func Processes(_ context.Context, runID string) ([]string, error) {
	if _, err := os.Stat("/proc/self/environ"); err != nil {
		return nil, fmt.Errorf("look for processes: %w", err)
	}
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

// Bystander is Harness.Foreign where instances are processes of this machine: a process of
// the suite's target that has nothing of a lab but the given variables.
func Bystander(env ...string) func(testing.TB) (untouched func(context.Context) error) {
	return func(t testing.TB) func(context.Context) error {
		t.Helper()
		untouched, end, err := startBystander(env...)
		if err != nil {
			t.Fatalf("start a process of somebody else's: %v", err)
		}
		t.Cleanup(end)
		return untouched
	}
}

func startBystander(env ...string) (untouched func(context.Context) error, end func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.Command(self, "-instance", "bystander")
	cmd.Env = append(append(os.Environ(), targetEnv+"=1"), env...)
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // how it ended is in its state
	}()
	untouched = func(context.Context) error {
		select {
		case <-ended:
			return errors.New("the bystander has ended: " + cmd.ProcessState.String())
		default:
			return nil
		}
	}
	end = func() {
		_ = cmd.Process.Kill() // it may have ended
		<-ended
	}
	return untouched, end, nil
}

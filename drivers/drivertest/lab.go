package drivertest

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
)

const (
	// labEnv is set in the environment of a process that is to be a lab.
	labEnv = "DRIVERTEST_LAB"
	// labSays begins the lines in which a lab says the ID of its run, and then where it has
	// deployed.
	labSays = "drivertest-lab: "
)

// Lab is a lab in a process of its own, which can be killed.
type Lab struct {
	RunID string
	URL   string // of the stack that it has deployed

	cmd  *exec.Cmd
	out  *bufio.Scanner
	kill func() // once
}

// IsLab says whether this process was started by StartLab to be a lab.
func IsLab() bool { return os.Getenv(labEnv) != "" }

// StartLab starts a lab that deploys one stack and keeps it. The lab is this test binary,
// run once more with the same test alone: there StartLab deploys and does not return. Call
// it first in a test. Whatever becomes of this process, the lab does not survive it.
func (h Harness) StartLab(t testing.TB, mutate ...func(*drivers.Stack)) *Lab {
	t.Helper()
	lab := h.startLab(t, mutate...)
	lab.URL = lab.says(t, h.timeout())
	return lab
}

// startLab starts a lab that may not have deployed yet.
func (h Harness) startLab(t testing.TB, mutate ...func(*drivers.Stack)) *Lab {
	t.Helper()
	return h.startLabThat(t, func(*Bench) {}, mutate...)
}

// startLabThat starts a lab that does something once it has deployed, and only then says where.
func (h Harness) startLabThat(t testing.TB, does func(*Bench), mutate ...func(*drivers.Stack)) *Lab {
	t.Helper()
	if IsLab() {
		h.beLab(t, does, mutate...)
	}
	h.driver(t) // skips the test where there is none
	self, err := os.Executable()
	if err != nil {
		t.Fatalf("find own program file: %v", err)
	}
	cmd := exec.Command(self, "-test.run="+thisTestAlone(t.Name()), "-test.count=1", "-test.timeout=0")
	cmd.Env = append(os.Environ(), labEnv+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatalf("start a lab: %v", err)
	}
	if _, err := cmd.StdinPipe(); err != nil { // it ends when this process does
		t.Fatalf("start a lab: %v", err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start a lab: %v", err)
	}
	lab := &Lab{cmd: cmd, out: bufio.NewScanner(out), kill: sync.OnceFunc(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()         // says that it was killed
	})}
	t.Cleanup(lab.Kill)
	lab.RunID = lab.says(t, h.timeout())
	return lab
}

// thisTestAlone is the pattern that selects one test of that name and no other.
func thisTestAlone(name string) string {
	parts := strings.Split(name, "/")
	for n, p := range parts {
		parts[n] = "^" + regexp.QuoteMeta(p) + "$"
	}
	return strings.Join(parts, "/")
}

// says reads what the lab says next.
func (l *Lab) says(t testing.TB, within time.Duration) string {
	t.Helper()
	late := time.AfterFunc(within, func() { _ = l.cmd.Process.Kill() })
	defer late.Stop()
	var other []string
	for l.out.Scan() {
		if said, ok := strings.CutPrefix(l.out.Text(), labSays); ok {
			return said
		}
		other = append(other, l.out.Text())
	}
	t.Fatalf("the lab has ended, or has not deployed within %v (%v):\n%s", within, l.out.Err(), strings.Join(other, "\n"))
	return ""
}

// Kill kills the lab as an operating system that is out of memory would, without any
// warning, and waits until it has ended. It may be called more than once.
func (l *Lab) Kill() { l.kill() }

// beLab is what a lab does: it says its run, deploys, does what it is to do, says where it has
// deployed, and waits for the end of whoever started it.
func (h Harness) beLab(t testing.TB, does func(*Bench), mutate ...func(*drivers.Stack)) {
	t.Helper()
	b := h.undeployed(t, mutate...)
	fmt.Printf("\n%s%s\n", labSays, b.Stack.RunID)
	b.deploy()
	does(b)
	fmt.Printf("\n%s%s\n", labSays, b.url)
	_, _ = io.Copy(io.Discard, os.Stdin) // until there is nobody left to write
	b.tearDown()
	t.Skip("this was the lab of another process")
}

// sweepersWait is how long a test waits for the tests of other processes that sweep.
const sweepersWait = 5 * time.Minute

// SweepAlone keeps the suite's other runs on this machine, those of other drivers' tests too,
// from sweeping until the end of the test: each would find what a lab has left that this one
// has killed. In a lab of another process it does nothing: whoever started that sweeps.
func SweepAlone(t testing.TB) {
	t.Helper()
	if IsLab() {
		return
	}
	f, err := os.OpenFile(filepath.Join(os.TempDir(), "drivertest-sweeps.lock"), os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		t.Fatalf("sweep alone: %v", err)
	}
	t.Cleanup(func() { f.Close() })
	late := time.After(sweepersWait)
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for !tryLock(f) {
		select {
		case <-ticker.C:
		case <-late:
			t.Fatalf("other tests on this machine have been sweeping for %v", sweepersWait)
		}
	}
}

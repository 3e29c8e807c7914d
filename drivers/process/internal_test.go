//go:build linux

package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/owner"
	"github.com/rollout-lab/rollout-lab/drivers/ports"
)

func TestTailKeepsTheEnd(t *testing.T) {
	var small tail
	fmt.Fprint(&small, "one\n\ntwo\nthree")
	if got, want := small.String(), "one\n\ntwo\nthree"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := small.last(2), "two | three"; got != want {
		t.Errorf("last(2) = %q, want %q", got, want)
	}
	if got, want := small.last(9), "one | two | three"; got != want {
		t.Errorf("last(9) = %q, want %q", got, want)
	}

	var long tail
	for n := range 50_000 {
		fmt.Fprintf(&long, "line %d\n", n)
	}
	got := long.String()
	if len(got) > tailSize || len(got) < tailSize-100 {
		t.Errorf("%d bytes are kept, want almost %d", len(got), tailSize)
	}
	if !strings.HasPrefix(got, "line ") || !strings.HasSuffix(got, "line 49999\n") {
		t.Errorf("kept %q ... %q, want whole lines up to the last one", got[:20], got[len(got)-20:])
	}
	if cap(long.buf) > 4*tailSize {
		t.Errorf("it holds %d bytes to keep %d", cap(long.buf), tailSize)
	}

	var one tail
	one.Write([]byte(strings.Repeat("x", 3*tailSize)))
	if got := len(one.String()); got != tailSize {
		t.Errorf("one long line: %d bytes are kept, want %d", got, tailSize)
	}
}

func TestBackoff(t *testing.T) {
	for crashes, want := range map[int]time.Duration{
		0: 0, 1: 0, 2: firstBackoff, 3: 2 * firstBackoff, 5: 8 * firstBackoff, 8: maxBackoff, 1000: maxBackoff,
	} {
		if got := backoff(crashes); got != want {
			t.Errorf("after %d crashes: %v, want %v", crashes, got, want)
		}
	}
}

// TestKillSparesTheNextOwnerOfAnID: a process is found by its marks, but when it is to be
// killed its ID stands for another process.
func TestKillSparesTheNextOwnerOfAnID(t *testing.T) {
	stranger := exec.Command("/proc/self/exe", "-test.run=^TestHelperBlocks$")
	stranger.Env = append(os.Environ(), "PROCESS_TEST_BLOCK=1", markRun+"=r", markOwner+"=o", markInstance+"=i")
	in, err := stranger.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		in.Close()
		if err := stranger.Wait(); err != nil {
			t.Errorf("the stranger did not end by itself: %v", err)
		}
	}()
	start, _, err := owner.Started(stranger.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	for what, m := range map[string]marked{
		"another start time": {pid: stranger.Process.Pid, start: start - 1, marks: marks{run: "r", owner: "o", instance: "i"}},
		"another owner":      {pid: stranger.Process.Pid, start: start, marks: marks{run: "r", owner: "else", instance: "i"}},
		"another run":        {pid: stranger.Process.Pid, start: start, marks: marks{run: "else", owner: "o", instance: "i"}},
	} {
		if fd, err := m.kill(); fd != -1 || err != nil {
			t.Errorf("%s: kill = %d, %v, want nothing done", what, fd, err)
		}
	}
}

// TestMarksInAName: any run and instance comes back as it was.
func TestMarksInAName(t *testing.T) {
	want := marks{run: "a,b/c d%2C", owner: "1-2-a-b-c", instance: "ünit-1", deployment: "D"}
	cmd := exec.Command("true")
	file, err := want.put(cmd)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if n := len(cmd.ExtraFiles) + 2; n != markDescriptor {
		t.Fatalf("it becomes descriptor %d, want %d", n, markDescriptor)
	}
	name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", cmd.ExtraFiles[len(cmd.ExtraFiles)-1].Fd()))
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := parseMarks(name); !ok || got != want {
		t.Errorf("from %s: got %+v, %v, want %+v", name, got, ok, want)
	}
	for _, other := range []string{"", "/dev/null", "/tmp/x (deleted)", "/memfd:rollout-lab,a (deleted)", "/memfd:x,a,b,c,d (deleted)", "/memfd:rollout-lab,a,b,c,%zz (deleted)"} {
		if m, ok := parseMarks(other); ok {
			t.Errorf("%q has marks %+v", other, m)
		}
	}
}

// TestHelperBlocks is a process that lives until its input ends.
func TestHelperBlocks(t *testing.T) {
	if os.Getenv("PROCESS_TEST_BLOCK") == "" {
		t.Skip("runs as a child of other tests")
	}
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		t.Fatal(err)
	}
}

func TestStreak(t *testing.T) {
	var s streak
	for n, step := range []struct {
		ok   bool
		want streak
	}{{true, streak{ok: 1}}, {true, streak{ok: 2}}, {false, streak{failed: 1}}, {false, streak{failed: 2}}, {true, streak{ok: 1}}} {
		if s.add(step.ok); s != step.want {
			t.Errorf("step %d: %+v, want %+v", n, s, step.want)
		}
	}
}

func TestCheck(t *testing.T) {
	if err := New(Config{Program: []string{os.Args[0]}}).Check(t.Context()); err != nil {
		t.Errorf("a program that exists: %v", err)
	}
	for _, program := range [][]string{nil, {"/nowhere/program"}, {"no-such-program-in-path"}} {
		err := New(Config{Program: program}).Check(t.Context())
		var hint *drivers.HintError
		if !errors.Is(err, drivers.ErrUnavailable) || !errors.As(err, &hint) || hint.Hint == "" {
			t.Errorf("program %q: got %v, want ErrUnavailable with a hint", program, err)
		}
	}
}

// TestAnOccupiedPortIsLeftAlone: the pool hands out a port that somebody else has bound
// since it was looked at. The instance gets another one and nobody sees a failure.
func TestAnOccupiedPortIsLeftAlone(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	d := New(Config{Program: []string{os.Args[0], "-test.run=^TestHelperListens$", "--"}})
	lost := l.Addr().(*net.TCPAddr).Port
	first := true
	others, err := ports.New().Take(4)
	if err != nil {
		t.Fatal(err)
	}
	d.ports = ports.Of(append([]int{lost}, others...), func(port int) bool {
		if port == lost && first {
			first = false
			return true
		}
		return ports.Free(port)
	})
	env, err := d.Deploy(t.Context(), drivers.Stack{
		RunID: "occupied-port-test", Name: "t", Replicas: 1, Revision: "v1", Rolling: drivers.Rolling{MaxSurge: 1},
		Subject: drivers.Service{
			Name: "listener", Ports: []string{"data"}, StopGrace: time.Second,
			Env:    map[string]string{"PROCESS_TEST_LISTEN": "${listen.data}"},
			Signal: drivers.Probe{Kind: drivers.ProbeHTTP, Port: "data", Interval: 10 * time.Millisecond, Timeout: 100 * time.Millisecond},
			Serves: drivers.Probe{Kind: drivers.ProbeHTTP, Port: "data", Interval: 10 * time.Millisecond, Timeout: 100 * time.Millisecond},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := env.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	list, err := env.Instances(t.Context())
	if err != nil || len(list) != 1 {
		t.Fatalf("instances: %+v, %v", list, err)
	}
	if first || list[0].Addr == l.Addr().String() || list[0].State != drivers.StateReady {
		t.Errorf("instance %+v, want it ready at another address than %s, which it was given first", list[0], l.Addr())
	}
}

// TestHelperListens is a service that ends at once when its port is taken.
func TestHelperListens(t *testing.T) {
	addr := os.Getenv("PROCESS_TEST_LISTEN")
	if addr == "" {
		t.Skip("runs as a child of other tests")
	}
	t.Fatal(http.ListenAndServe(addr, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
}

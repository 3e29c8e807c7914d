package owner

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseStat(t *testing.T) {
	const rest = " 1 2 3 0 -1 4 0 0 0 0 1 2 0 0 20 0 5 0 4711 99 1"
	for name, c := range map[string]struct {
		text  string
		start uint64
		ended bool
		fails bool
	}{
		"running":              {"7 (lab) R" + rest, 4711, false, false},
		"not waited for":       {"7 (lab) Z" + rest, 4711, true, false},
		"ending":               {"7 (lab) X" + rest, 4711, true, false},
		"a name like a state":  {"7 (a) Z 1 2) S" + rest, 4711, false, false},
		"nothing":              {"", 0, false, true},
		"too short":            {"7 (lab) R 1 2 3", 0, false, true},
		"without parentheses":  {"7 lab R" + rest, 0, false, true},
		"a start that is none": {"7 (lab) R 1 2 3 0 -1 4 0 0 0 0 1 2 0 0 20 0 5 0 x 99", 0, false, true},
	} {
		start, ended, err := parseStat([]byte(c.text))
		if start != c.start || ended != c.ended || (err != nil) != c.fails {
			t.Errorf("%s: %d, %t, %v; want %d, %t, an error: %t", name, start, ended, err, c.start, c.ended, c.fails)
		}
	}
}

// TestAnEndedProcessThatNobodyWaitedFor has its ID still, and is dead.
func TestAnEndedProcessThatNobodyWaitedFor(t *testing.T) {
	self, err := Self()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestHelperBlocks$")
	cmd.Env = append(os.Environ(), "OWNER_TEST_BLOCK=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	o := self
	o.pid = cmd.Process.Pid
	if o.start, _, err = Started(o.pid); err != nil {
		t.Fatal(err)
	}
	if o.deadTo(self) {
		t.Error("a living process is called dead")
	}
	in.Close()
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, o.pid, &info, unix.WEXITED|unix.WNOWAIT, nil)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EINTR) {
			t.Fatal(err)
		}
	}
	if !o.deadTo(self) {
		t.Error("a process that has ended and was not waited for is called living")
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if !o.deadTo(self) {
		t.Error("a process that does not exist is called living")
	}
	if _, _, err := Started(o.pid); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("start of a process that does not exist: %v", err)
	}
}

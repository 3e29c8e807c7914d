//go:build unix

package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func run(t *testing.T, ctx context.Context, script string) (file string, err error) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "output")
	stop, err := Run(ctx, []string{"sh", "-c", script}, file)
	t.Cleanup(stop)
	return file, err
}

func TestACommandThatSucceeds(t *testing.T) {
	file, err := run(t, t.Context(), "echo out; echo err >&2; cat")
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "out\nerr\n" {
		t.Errorf("the file holds %q (%v), want what it said", text, err)
	}
}

func TestACommandThatFailsKeepsItsLastLines(t *testing.T) {
	_, err := run(t, t.Context(), `for i in 1 2 3 4 5 6 7 8 9 10 11 12; do echo "line $i"; done; printf '\033[31mthe reason\033[0m\n\n' >&2; exit 3`)
	exit, ok := errors.AsType[*ExitError](err)
	if !ok {
		t.Fatalf("got %v, want an ExitError", err)
	}
	if exit.How != "exit status 3" || exit.Code != 3 || !strings.HasSuffix(exit.Tail, "line 12 | [31mthe reason[0m") || strings.Contains(exit.Tail, "line 1 |") {
		t.Errorf("got %q and %q", exit.How, exit.Tail)
	}
}

func TestACommandThatDoesNotExist(t *testing.T) {
	for _, argv := range [][]string{{"no-such-program-here"}, {"/no/such/file"}, {""}, nil} {
		file := filepath.Join(t.TempDir(), "output")
		_, err := Run(t.Context(), argv, file)
		if err == nil || errors.As(err, new(*ExitError)) {
			t.Errorf("%q: got %v, want that there is none", argv, err)
		}
		if Find(argv) == nil {
			t.Errorf("%q was found", argv)
		}
		if _, err := os.Stat(file); err == nil {
			t.Errorf("%q: it left a file", argv)
		}
	}
	if err := Find([]string{"no-such-program-here"}); !errors.Is(err, exec.ErrNotFound) || !strings.Contains(err.Error(), "no-such-program-here") {
		t.Errorf("got %v", err)
	}
}

// pids reads the process IDs that a script has written, once all are there.
func pids(t *testing.T, file string, n int) (all []int) {
	t.Helper()
	for ctx := t.Context(); ctx.Err() == nil; time.Sleep(time.Millisecond) {
		text, err := os.ReadFile(file)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		lines := strings.Fields(string(text))
		if len(lines) < n {
			continue
		}
		for _, line := range lines {
			pid, err := strconv.Atoi(line)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, pid)
		}
		return all
	}
	t.Fatal("the script did not write its process IDs")
	return nil
}

// gone reports whether a process has ended; one that nobody has waited for has, too.
func gone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return syscall.Kill(pid, 0) != nil
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(after, "Z")
}

// A command that hangs is ended with all that it has started, also what will not end when it
// is asked to.
func TestACommandThatHangsIsEndedWithItsChildren(t *testing.T) {
	for name, script := range map[string]string{
		"ends when asked to": `sleep 600 & echo $! >> %[1]s; echo $$ >> %[1]s; echo waiting; wait`,
		"child does not":     `sh -c 'trap "" TERM; echo $$ >> %[1]s; while :; do sleep 0.1; done' & echo $$ >> %[1]s; echo waiting; wait`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list := filepath.Join(t.TempDir(), "pids")
			ctx, cancel := context.WithCancelCause(t.Context())
			started := make(chan []int, 1)
			go func() { started <- pids(t, list, 2); cancel(errors.New("not ended within 1m0s")) }()
			_, err := run(t, ctx, fmt.Sprintf(script, list))
			exit, ok := errors.AsType[*ExitError](err)
			if !ok || exit.How != "not ended within 1m0s" || exit.Tail != "waiting" {
				t.Errorf("got %v", err)
			}
			for _, pid := range <-started {
				if !gone(pid) {
					t.Errorf("process %d of the command lives on", pid)
				}
			}
		})
	}
}

// A script that starts a service in the background and ends has done its work: the service
// stays, and may go on writing.
func TestWhatACommandLeavesRunningIsLeftAlone(t *testing.T) {
	list := filepath.Join(t.TempDir(), "pids")
	file := filepath.Join(t.TempDir(), "output")
	if err := syscall.Mkfifo(list+".go", 0o600); err != nil {
		t.Fatal(err)
	}
	stop, err := Run(t.Context(), []string{"sh", "-c", fmt.Sprintf(`sh -c 'read line < %[1]s.go; echo served' & echo $! > %[1]s`, list)}, file)
	stop()
	if err != nil {
		t.Fatal(err)
	}
	if gone(pids(t, list, 1)[0]) {
		t.Fatal("what the command has started ended with it")
	}
	if err := os.WriteFile(list+".go", []byte("go\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if string(text) == "served\n" {
			return
		}
		if err := t.Context().Err(); err != nil {
			t.Fatalf("it has written %q", text)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestTheOutputIsBounded(t *testing.T) {
	f, err := os.OpenFile(filepath.Join(t.TempDir(), "output"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(strings.Repeat("x", maxOutput) + "the end\n"); err != nil {
		t.Fatal(err)
	}
	cut(f)
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > keptOutput+100 {
		t.Errorf("the file has %d bytes", info.Size())
	}
	if got := tail(f); !strings.HasSuffix(got, "the end") {
		t.Errorf("the end is %q", got[max(0, len(got)-20):])
	}
}

package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rollout-lab/rollout-lab/drivers/owner"
)

// marks are on everything that the driver starts, and inherited by what that starts. The
// lab's own program has them in its environment. That of any other holds nothing of the
// lab's: there they are in the name of a file without a name in any folder, which the program
// is given as a descriptor that it has no use for.
type marks struct {
	run        string
	owner      string // the lab's process, see package owner
	instance   string
	deployment string // random, one for each Env
}

// The variables that hold the marks. variablePrefix begins whatever the lab sets.
const (
	variablePrefix = "ROLLOUT_LAB_"
	markRun        = variablePrefix + "RUN"
	markOwner      = variablePrefix + "OWNER"
	markInstance   = variablePrefix + "INSTANCE"
	markDeployment = variablePrefix + "DEPLOYMENT"
)

func (m marks) environ() []string {
	return []string{markRun + "=" + m.run, markOwner + "=" + m.owner, markInstance + "=" + m.instance, markDeployment + "=" + m.deployment}
}

// environMarks reads the marks of a process in its environment.
func environMarks(pid int) (m marks, ok bool) {
	environ, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "environ"))
	if err != nil {
		return marks{}, false
	}
	for variable := range strings.SplitSeq(string(environ), "\x00") {
		name, value, _ := strings.Cut(variable, "=")
		switch name {
		case markRun:
			m.run = value
		case markOwner:
			m.owner = value
		case markInstance:
			m.instance = value
		case markDeployment:
			m.deployment = value
		}
	}
	return m, m.run != "" && m.owner != "" && m.instance != ""
}

const (
	// markDescriptor is the number of the descriptor: above those that scripts name, and
	// below those that shells take for themselves, from 63 down.
	markDescriptor = 47
	// namePrefix begins a name that is made of marks, which follow it, escaped, with commas
	// between them.
	namePrefix = "rollout-lab,"
)

// name is the marks as the name of a file.
func (m marks) name() string {
	name := strings.TrimSuffix(namePrefix, ",")
	for _, part := range []string{m.run, m.owner, m.instance, m.deployment} {
		name += "," + url.QueryEscape(part)
	}
	return name
}

// put gives the marks to a command as a descriptor, which is to be closed once that runs.
func (m marks) put(cmd *exec.Cmd) (io.Closer, error) {
	name := m.name()
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("mark %s: %w", name, err)
	}
	file := os.NewFile(uintptr(fd), name)
	const first = 3 // of ExtraFiles; a nil in it is no descriptor
	cmd.ExtraFiles = append(make([]*os.File, markDescriptor-first), file)
	return file, nil
}

// fileMarks reads the marks of a process in the name of its file. A lab has the same file for
// the moment in which it starts a program, and is none of its own instances.
func fileMarks(pid int) (marks, bool) {
	file, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "fd", strconv.Itoa(markDescriptor)))
	if err != nil {
		return marks{}, false
	}
	m, ok := parseMarks(file)
	if o, err := owner.Parse(m.owner); err == nil && o.PID() == pid {
		return marks{}, false
	}
	return m, ok
}

// parseMarks reads marks in the name of a file, or in that of one without a name in any folder,
// as the process file system shows it.
func parseMarks(file string) (marks, bool) {
	file = strings.TrimPrefix(strings.TrimSuffix(file, " (deleted)"), "/memfd:")
	name, ours := strings.CutPrefix(file, namePrefix)
	parts := strings.Split(name, ",")
	if !ours || len(parts) != 4 {
		return marks{}, false
	}
	for n, part := range parts {
		var err error
		if parts[n], err = url.QueryUnescape(part); err != nil {
			return marks{}, false
		}
	}
	return marks{run: parts[0], owner: parts[1], instance: parts[2], deployment: parts[3]}, true
}

// marked is a process that carries the marks.
type marked struct {
	marks
	pid     int
	start   uint64
	command string
}

func (m marked) String() string {
	return fmt.Sprintf("process %d (instance %s of run %s): %s", m.pid, m.instance, m.run, m.command)
}

// readMarks reads the marks of a process; ok is false when it has none, has ended, or is
// none of this user's.
func readMarks(pid int) (m marked, ok bool) {
	m.pid = pid
	if m.marks, ok = environMarks(pid); !ok {
		if m.marks, ok = fileMarks(pid); !ok {
			return marked{}, false
		}
	}
	start, ended, err := owner.Started(pid)
	if err != nil || ended {
		return marked{}, false
	}
	m.start = start
	if line, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline")); err == nil {
		m.command = strings.TrimSpace(strings.ReplaceAll(string(line), "\x00", " "))
	}
	return m, true
}

// findMarked lists the marked processes that match, but never this one.
func findMarked(match func(marked) bool) ([]marked, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("look for processes: %w", err)
	}
	var out []marked
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if m, ok := readMarks(pid); ok && match(m) {
			out = append(out, m)
		}
	}
	return out, nil
}

// sweepRounds bounds how often killMarked looks again for what was forked meanwhile.
const sweepRounds = 20

// killMarked kills every marked process that matches, until there is none, and returns
// what it killed.
func killMarked(ctx context.Context, match func(marked) bool) ([]marked, error) {
	var killed []marked
	for range sweepRounds {
		found, err := findMarked(match)
		if err != nil || len(found) == 0 {
			return killed, err
		}
		var ends []int
		for _, m := range found {
			fd, err := m.kill()
			if err != nil {
				closeAll(ends)
				return killed, err
			}
			if fd >= 0 {
				ends, killed = append(ends, fd), append(killed, m)
			}
		}
		err = awaitEnds(ctx, ends)
		closeAll(ends)
		if err != nil {
			return killed, err
		}
	}
	return killed, fmt.Errorf("marked processes keep appearing: something starts them faster than they are killed")
}

// kill sends SIGKILL to the process and, when it leads one, to its group, after making
// sure that its ID still stands for the process that carries the marks. It returns a
// descriptor that becomes readable when the process has ended, -1 when it already had.
func (m marked) kill() (fd int, err error) {
	fd, err = unix.PidfdOpen(m.pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return -1, nil
	}
	if err != nil {
		return -1, fmt.Errorf("open process %d: %w", m.pid, err)
	}
	// The descriptor stands for whoever has the ID now. If that is still the same
	// process, it can never come to stand for another one.
	again, ok := readMarks(m.pid)
	if !ok || again.start != m.start || again.owner != m.owner || again.run != m.run {
		unix.Close(fd)
		return -1, nil
	}
	if leader, err := unix.Getpgid(m.pid); err == nil && leader == m.pid {
		err = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, unix.PIDFD_SIGNAL_PROCESS_GROUP)
		if err == nil || errors.Is(err, unix.ESRCH) {
			return fd, nil
		}
		// Before Linux 6.9 a descriptor reaches its process alone; the others of the group
		// carry the marks too and are found one by one.
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		unix.Close(fd)
		return -1, fmt.Errorf("kill %v: %w", m, err)
	}
	return fd, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// endPoll is how long one wait for the end of processes lasts before ctx is looked at.
const endPoll = 50 * time.Millisecond

// awaitEnds waits until all the processes have ended.
func awaitEnds(ctx context.Context, fds []int) error {
	pending := make([]unix.PollFd, len(fds))
	for i, fd := range fds {
		pending[i] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	}
	deadline := time.Now().Add(5 * time.Second) // when ctx has none
	for len(pending) > 0 {
		if _, err := unix.Poll(pending, int(endPoll.Milliseconds())); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for killed processes: %w", err)
		}
		pending = slices.DeleteFunc(pending, func(p unix.PollFd) bool { return p.Revents != 0 })
		if len(pending) == 0 {
			return nil
		}
		if err := context.Cause(ctx); err != nil {
			return fmt.Errorf("%d killed processes have not ended: %w", len(pending), err)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d killed processes have not ended after 5 s", len(pending))
		}
	}
	return nil
}

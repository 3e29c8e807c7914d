package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// outputDelay is how long the output of a process that has ended may be held open by
// something that escaped from its group.
const outputDelay = 500 * time.Millisecond

// cldStopped is the code by which waitid says that a child was stopped.
const cldStopped = 5

// spawner starts children. The kernel's promise to kill a child with its parent is about
// the thread that forked it, so one goroutine starts all of them and keeps its thread.
type spawner struct {
	starts chan start
	done   chan struct{}
}

type start struct {
	cmd    *exec.Cmd
	result chan error
}

func newSpawner() *spawner {
	s := &spawner{starts: make(chan start), done: make(chan struct{})}
	go func() {
		defer close(s.done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for next := range s.starts {
			next.result <- next.cmd.Start()
		}
	}()
	return s
}

// close ends the spawner, which nothing may use any more. Children that are still alive
// may die of it.
func (s *spawner) close() {
	close(s.starts)
	<-s.done
}

// child is one process and its group.
type child struct {
	pid  int
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended, its group is killed and its output read

	mu    sync.Mutex
	ended bool // its ID may be somebody else's from here on

	// Valid once done is closed.
	state string // how it ended
	end   unix.WaitStatus
}

// start runs a command and watches it.
func (s *spawner) start(cmd *exec.Cmd) (*child, error) {
	cmd.WaitDelay = outputDelay
	// A group of its own: an interrupt from the terminal is for the lab, which then stops
	// its children in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	next := start{cmd, make(chan error, 1)}
	s.starts <- next
	if err := <-next.result; err != nil {
		return nil, err
	}
	c := &child{pid: cmd.Process.Pid, cmd: cmd, done: make(chan struct{})}
	go c.wait()
	return c, nil
}

func (c *child) wait() {
	defer close(c.done)
	// Looking without reaping keeps the ID from being used again until the group, which
	// has the same one, has been killed.
	_, waitErr := waitFor(c.pid, unix.WEXITED)
	c.mu.Lock()
	if waitErr == nil {
		// What is left of the group has lost its leader. It may be empty.
		if err := unix.Kill(-c.pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			waitErr = fmt.Errorf("kill the rest of its group: %w", err)
		}
	}
	c.ended = true
	c.mu.Unlock()
	err := c.cmd.Wait()
	if c.cmd.ProcessState != nil {
		if status, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus); ok {
			c.end = unix.WaitStatus(status)
		}
	}
	switch {
	case c.cmd.ProcessState == nil:
		c.state = fmt.Sprintf("lost: %v", errors.Join(waitErr, err))
	case waitErr != nil:
		c.state = fmt.Sprintf("%v (%v)", c.cmd.ProcessState, waitErr)
	case errors.Is(err, exec.ErrWaitDelay):
		c.state = c.cmd.ProcessState.String() + " (something that it started holds its output open)"
	default:
		c.state = c.cmd.ProcessState.String()
	}
}

// waitFor blocks until one of the changes has happened to a child, says which one (CLD_...),
// and reaps nothing.
func waitFor(pid int, changes int) (code int32, err error) {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, pid, &info, changes|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return info.Code, err
		}
	}
}

// signal sends to the process alone, or to its whole group. os.ErrProcessDone means that
// it has ended.
func (c *child) signal(sig unix.Signal, group bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return os.ErrProcessDone
	}
	pid := c.pid
	if group {
		pid = -pid
	}
	if err := unix.Kill(pid, sig); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("signal %v to process %d: %w", sig, c.pid, err)
	}
	return nil
}

// terminate asks the process to end. Like systemd it thaws what is frozen, or the
// question would not be heard.
func (c *child) terminate() error {
	if err := c.signal(unix.SIGTERM, false); err != nil {
		return err
	}
	return c.signal(unix.SIGCONT, true)
}

func (c *child) kill() error { return c.signal(unix.SIGKILL, true) }

// pause freezes the group and returns once its leader has stopped. os.ErrProcessDone means
// that it has ended instead.
func (c *child) pause() error {
	if err := c.signal(unix.SIGSTOP, true); err != nil {
		return err
	}
	code, err := waitFor(c.pid, unix.WSTOPPED|unix.WEXITED)
	if errors.Is(err, unix.ECHILD) || err == nil && code != cldStopped {
		return os.ErrProcessDone
	}
	return err
}

func (c *child) resume() error { return c.signal(unix.SIGCONT, true) }

package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/fleet"
)

var _ fleet.Breaker = (*supervisor)(nil)

// Faults implements drivers.Faulter.
func (d *Driver) Faults(context.Context) map[drivers.FaultKind]error {
	h, err := findHierarchy()
	if err == nil {
		_, err = h.parent()
	}
	if err != nil {
		err = noShares(err)
	}
	return map[drivers.FaultKind]error{
		drivers.FaultKill: nil, drivers.FaultPause: nil, drivers.FaultStop: nil, drivers.FaultCPU: err,
	}
}

// Break implements fleet.Breaker.
func (s *supervisor) Break(ctx context.Context, i *fleet.Instance, f drivers.Fault) (drivers.Injection, error) {
	c, err := s.childOf(i)
	if err != nil {
		return nil, err
	}
	switch f.Kind {
	case drivers.FaultKill:
		return killed{c}, c.killNow(ctx)
	case drivers.FaultPause:
		return frozen{c}, c.pause()
	case drivers.FaultStop:
		return s.keepAway(ctx, i, c)
	case drivers.FaultCPU:
		return s.throttle(ctx, i, f.CPUs)
	}
	return nil, drivers.ErrUnsupported
}

// killNow kills the group and returns once the process has ended.
func (c *child) killNow(ctx context.Context) error {
	if err := c.kill(); err != nil {
		return err
	}
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for the end of process %d: %w", c.pid, context.Cause(ctx))
	}
}

// killed is a process that was killed.
type killed struct{ child *child }

// Proof is the status with which the kernel says that the process has ended.
func (k killed) Proof(context.Context) (seen string, there bool, err error) {
	select {
	case <-k.child.done:
	default:
		return fmt.Sprintf("process %d has not ended", k.child.pid), false, nil
	}
	end := k.child.end
	return fmt.Sprintf("process %d has ended: %s", k.child.pid, k.child.state), end.Signaled() && end.Signal() == unix.SIGKILL, nil
}

func (killed) Heal(context.Context) error { return nil }

// frozen is a group of processes that was stopped.
type frozen struct{ child *child }

// Proof is the state of each process of the group, as the kernel shows it.
func (f frozen) Proof(context.Context) (seen string, there bool, err error) {
	members, err := processGroup(f.child.pid)
	if err != nil {
		return "", false, err
	}
	if len(members) == 0 {
		return fmt.Sprintf("process %d has ended", f.child.pid), false, nil
	}
	states, there := "", true
	for _, p := range members {
		states, there = states+p.state, there && p.state == "T"
	}
	return fmt.Sprintf("process %d and its group are in state %s", f.child.pid, states), there, nil
}

// Heal thaws the group. One that has ended needs no healing.
func (f frozen) Heal(context.Context) error {
	if err := f.child.resume(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// memberOf is what the supervisor knows of an instance that is not gone; the caller holds mu.
func (s *supervisor) memberOf(i *fleet.Instance) (*member, error) {
	m, ok := s.members[i]
	if !ok {
		return nil, errors.New("it has ended")
	}
	return m, nil
}

// away is an instance whose process was killed and that gets no other one.
type away struct {
	killed
	supervisor *supervisor
	member     *member
	comeBack   func()
}

// endLimit is how long the kernel may take to end what was killed.
const endLimit = 10 * time.Second

// keepAway kills an instance's process and starts no other until the fault is healed.
func (s *supervisor) keepAway(ctx context.Context, i *fleet.Instance, c *child) (drivers.Injection, error) {
	back := make(chan struct{})
	s.mu.Lock()
	m, err := s.memberOf(i)
	if err == nil {
		m.back = back
	}
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	a := away{killed{c}, s, m, sync.OnceFunc(func() { close(back) })}
	// Whoever gives up in the middle of it does not know whether there is something to undo.
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), endLimit, fmt.Errorf("it has not ended within %v", endLimit))
	defer cancel()
	if err := c.killNow(ctx); err != nil {
		return nil, errors.Join(err, a.Heal(ctx))
	}
	return a, nil
}

// Proof implements drivers.Injection.
func (a away) Proof(ctx context.Context) (seen string, there bool, err error) {
	if seen, there, err = a.killed.Proof(ctx); !there || err != nil {
		return seen, there, err
	}
	a.supervisor.mu.Lock()
	defer a.supervisor.mu.Unlock()
	if a.member.running {
		return fmt.Sprintf("%s, and process %d runs", seen, a.member.child.pid), false, nil
	}
	return seen + ", and no other runs", true, nil
}

// Heal lets the instance's next process be started.
func (a away) Heal(context.Context) error {
	a.comeBack()
	return nil
}

// throttled is an instance whose processes get a share of a processor.
type throttled struct {
	supervisor *supervisor
	member     *member
	group      *group
	want       string // the quota
	first      share  // when it was injected
}

// throttle bounds the present processes of an instance, and all that follow them.
func (s *supervisor) throttle(ctx context.Context, i *fleet.Instance, cpus float64) (_ drivers.Injection, err error) {
	mine := s.marks
	mine.instance = i.ID
	g, err := newGroup(mine, cpus)
	if err != nil {
		return nil, err
	}
	t := throttled{supervisor: s, group: g, want: quota(cpus)}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.Heal(context.WithoutCancel(ctx)))
		}
	}()
	s.mu.Lock()
	t.member, err = s.memberOf(i)
	var c *child
	if err == nil {
		t.member.group, c = g, t.member.child // nothing is started in between
	}
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if err := g.addGroup(c.pid); err != nil {
		return nil, err
	}
	if t.first, err = g.share(c.pid); errors.Is(err, fs.ErrNotExist) {
		err = os.ErrProcessDone
	}
	return t, err
}

// Proof is what the kernel says of the group that the process is in: its quota, and in how many
// periods that has been used up since.
func (t throttled) Proof(context.Context) (seen string, there bool, err error) {
	c, err := t.supervisor.childOf(t.member.Instance)
	if err != nil {
		return err.Error(), false, nil
	}
	now, err := t.group.share(c.pid)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return fmt.Sprintf("process %d has ended", c.pid), false, nil
	}
	if err != nil {
		return "", false, err
	}
	waited := now.throttled - t.first.throttled
	return fmt.Sprintf("the control group of process %d has a quota of %s of %d us and had to wait in %d periods", c.pid, now.quota, cpuPeriod, waited),
		now.quota == t.want && waited > 0, nil
}

// Heal takes the bound away.
func (t throttled) Heal(ctx context.Context) error {
	if t.member != nil {
		t.supervisor.mu.Lock()
		t.member.group = nil
		t.supervisor.mu.Unlock()
	}
	return t.group.remove(ctx)
}

// aProcess is one of a group of processes.
type aProcess struct {
	pid   int
	state string // a letter
}

// processGroup lists the processes of a group that have not ended.
func processGroup(group int) ([]aProcess, error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	var out []aProcess
	for _, file := range files {
		stat, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		// What stands before the last bracket is a name, with whatever is in it.
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])) // state, parent, group
		if len(fields) < 3 || fields[2] != strconv.Itoa(group) || fields[0] == "Z" || fields[0] == "X" {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			return nil, err
		}
		out = append(out, aProcess{pid, fields[0]})
	}
	return out, nil
}

package systemd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/fleet"
)

// The numbers of Linux: it is the container's kernel that reads them, and not every
// system that this is compiled for knows them.
const (
	sigCont = syscall.Signal(18)
	sigStop = syscall.Signal(19)
)

var _ fleet.Breaker = (*manager)(nil)

// Faults implements drivers.Faulter.
func (d *Driver) Faults(ctx context.Context) map[drivers.FaultKind]error {
	c, err := d.choose(ctx)
	if err != nil {
		return map[drivers.FaultKind]error{drivers.FaultKill: err, drivers.FaultPause: err, drivers.FaultStop: err, drivers.FaultCPU: err}
	}
	defer c.close()
	return map[drivers.FaultKind]error{
		drivers.FaultKill: nil, drivers.FaultPause: nil, drivers.FaultStop: nil, drivers.FaultCPU: c.noShares(),
	}
}

// noShares says why no unit can be given a share of a processor.
func (c *choice) noShares() error {
	why, hint := "", "use --systemd-host system, a machine with control groups of version 2, or the docker driver"
	switch {
	case c.kind == HostContainer && c.cgroup == "1":
		why = "in a container with control groups of version 1 systemd has its own hierarchy and no other"
	case c.kind == HostUser && c.cgroup == "1":
		why = "with control groups of version 1 the systemd of a user has its own hierarchy and no other"
	case c.kind == HostSystem && c.cgroup == "1" && !offered("/sys/fs/cgroup/cpu/cgroup.procs"):
		why, hint = "systemd has its own hierarchy of control groups here and no other", "use a machine with control groups of version 2, or the docker driver"
	case c.kind == HostUser && !c.delegated("cpu"):
		why = "the systemd of this user was not given the cpu controller"
	default:
		return nil
	}
	return &drivers.HintError{
		Err:  fmt.Errorf("%w: %s", drivers.ErrUnavailable, why),
		Hint: hint,
	}
}

// offered says whether there is such a file of the kernel's, and not for reading alone, as in a
// container, where systemd goes without.
func offered(file string) bool {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err == nil {
		return f.Close() == nil
	}
	return errors.Is(err, fs.ErrPermission) // for others than this process
}

// delegated says whether a systemd of this machine has a controller for its units.
func (c *choice) delegated(controller string) bool {
	calls, err := call(c.address)
	if err != nil {
		return false
	}
	defer calls.Close()
	quoted, err := calls.GetManagerProperty("ControlGroup")
	if err != nil {
		return false
	}
	group, err := strconv.Unquote(quoted)
	if err != nil {
		return false
	}
	controllers, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", group, "cgroup.controllers"))
	return err == nil && slices.Contains(strings.Fields(string(controllers)), controller)
}

// Break implements fleet.Breaker.
func (m *manager) Break(ctx context.Context, i *fleet.Instance, f drivers.Fault) (drivers.Injection, error) {
	u, err := m.find(i.ID)
	if err != nil {
		return nil, err
	}
	p, err := u.process()
	if err != nil {
		return nil, err
	}
	switch f.Kind {
	case drivers.FaultKill:
		if err := m.kill(ctx, u, syscall.SIGKILL); err != nil {
			return nil, err
		}
		return killed{u, p}, u.awaitOther(ctx, p)
	case drivers.FaultStop:
		return u.keepAway(ctx, p)
	case drivers.FaultPause:
		f := frozen{u, p}
		if err := m.kill(ctx, u, sigStop); err != nil {
			return nil, errors.Join(err, f.Heal(context.WithoutCancel(ctx)))
		}
		return f, nil
	case drivers.FaultCPU:
		return u.throttle(ctx, f.CPUs)
	}
	return nil, drivers.ErrUnsupported
}

// killed is a unit whose processes were killed.
type killed struct {
	unit    *unit
	process process // the main one
}

// Proof is what systemd has told of the end of the main process.
func (k killed) Proof(context.Context) (seen string, there bool, err error) {
	k.unit.mu.Lock()
	end, ended := k.unit.ends[k.process]
	k.unit.mu.Unlock()
	if !ended {
		return fmt.Sprintf("process %d has not ended", k.process.pid), false, nil
	}
	return fmt.Sprintf("process %d has ended: %s", k.process.pid, end.end()),
		end.code == signalled && end.exit == int32(syscall.SIGKILL), nil
}

func (killed) Heal(context.Context) error { return nil }

// frozen is a unit whose processes were stopped. systemd takes no notice of it, but its
// watchdog does where there is one.
type frozen struct {
	unit    *unit
	process process // the main one
}

// Proof is the state of the main process, as the kernel of systemd's machine shows it.
func (f frozen) Proof(ctx context.Context) (seen string, there bool, err error) {
	if now, err := f.unit.process(); err != nil || now != f.process {
		return fmt.Sprintf("process %d has ended", f.process.pid), false, nil
	}
	stat, err := f.unit.manager.host.read(ctx, fmt.Sprintf("/proc/%d/stat", f.process.pid))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Sprintf("process %d has ended", f.process.pid), false, nil
	}
	if err != nil {
		return "", false, err
	}
	// What stands before the last bracket is a name, with whatever is in it.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) == 0 {
		return "", false, fmt.Errorf("cannot read the state of process %d from %q", f.process.pid, stat)
	}
	return fmt.Sprintf("process %d is in state %s", f.process.pid, fields[0]), string(fields[0]) == "T", nil
}

// Heal thaws what is frozen. A unit that is gone needs no healing.
func (f frozen) Heal(ctx context.Context) error {
	return f.unit.manager.kill(ctx, f.unit, sigCont)
}

// away is a unit whose processes were killed and that systemd has forgotten.
type away struct{ killed }

// keepAway kills a unit's processes and has systemd forget it, so that nothing starts it again.
func (u *unit) keepAway(ctx context.Context, p process) (drivers.Injection, error) {
	if u.socket != "" {
		return nil, fmt.Errorf("%w: systemd holds its listener open and would start it again", drivers.ErrUnsupported)
	}
	// Whoever gives up in the middle of it does not know whether there is something to undo.
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), 2*callLimit, fmt.Errorf("it has not gone within %v", 2*callLimit))
	defer cancel()
	l, err := u.manager.linked(ctx)
	if err != nil {
		return nil, err
	}
	u.mu.Lock()
	u.away = true
	u.mu.Unlock()
	a := away{killed{u, p}}
	err = u.manager.kill(ctx, u, syscall.SIGKILL)
	if err == nil { // what systemd is about to start again is stopped before it is
		err = stopAndWait(ctx, l.calls, u.name)
	}
	if err == nil {
		err = ignoreUnknown(l.calls.ResetFailedUnitContext(ctx, u.name))
	}
	if err == nil {
		err = u.await(ctx, func() bool { return u.running == process{} && u.removed })
	}
	if err != nil {
		return nil, errors.Join(err, a.Heal(context.WithoutCancel(ctx)))
	}
	return a, nil
}

// Proof implements drivers.Injection.
func (a away) Proof(ctx context.Context) (seen string, there bool, err error) {
	if seen, there, err = a.killed.Proof(ctx); !there || err != nil {
		return seen, there, err
	}
	l, err := a.unit.manager.linked(ctx)
	if err != nil {
		return "", false, err
	}
	now, err := l.read(ctx, a.unit.name)
	if err != nil {
		return "", false, err
	}
	return fmt.Sprintf("%s, and unit %s is %v", seen, a.unit.name, now), now.mainPID == 0 && now.ended(), nil
}

// Heal has systemd start the unit again, as it was. It is no error that it is there already.
func (a away) Heal(ctx context.Context) error {
	u := a.unit
	l, err := u.manager.linked(ctx)
	if err != nil {
		return err
	}
	u.mu.Lock()
	again := u.away && u.removed
	u.away = false
	if again {
		u.service, u.removed, u.accepted = state{}, false, false
	}
	u.enqueueAgain()
	u.mu.Unlock()
	if !again {
		return nil
	}
	err = u.begin(ctx, l.calls)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.accepted = true
	if err != nil {
		u.away, u.removed = true, true
	}
	u.enqueueAgain()
	return err
}

// throttled is a unit that has got a share of a processor.
type throttled struct {
	unit *unit
	want uint64 // of a second, in microseconds
	wait int    // periods in which it had to wait, when it was injected
}

// noQuota is the share of a unit that has none.
const noQuota = math.MaxUint64

// throttle gives the unit a share while it runs.
func (u *unit) throttle(ctx context.Context, cpus float64) (drivers.Injection, error) {
	t := throttled{unit: u, want: uint64(math.Round(cpus * 1e6))}
	if err := t.set(ctx, t.want); err != nil {
		return nil, errors.Join(err, t.Heal(context.WithoutCancel(ctx)))
	}
	var err error
	if t.wait, err = u.waited(ctx); err != nil {
		return nil, errors.Join(err, t.Heal(context.WithoutCancel(ctx)))
	}
	return t, nil
}

func (t throttled) set(ctx context.Context, quota uint64) error {
	l, err := t.unit.manager.linked(ctx)
	if err != nil {
		return err
	}
	return l.calls.SetUnitPropertiesContext(ctx, t.unit.name, true, property("CPUQuotaPerSecUSec", quota))
}

// waited is in how many periods the kernel let the unit wait, so far.
func (u *unit) waited(ctx context.Context) (periods int, err error) {
	l, err := u.manager.linked(ctx)
	if err != nil {
		return 0, err
	}
	p, err := l.calls.GetServicePropertyContext(ctx, u.name, "ControlGroup")
	if err != nil {
		return 0, err
	}
	file := filepath.Join("/sys/fs/cgroup", text(p.Value), "cpu.stat")
	if u.manager.host.cgroup == "1" {
		file = filepath.Join("/sys/fs/cgroup/cpu", text(p.Value), "cpu.stat")
	}
	stat, err := u.manager.host.read(ctx, file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(stat)) {
		if n, ok := strings.CutPrefix(line, "nr_throttled "); ok {
			periods, err = strconv.Atoi(strings.TrimSpace(n))
			return periods, err
		}
	}
	return 0, fmt.Errorf("%s does not say how often the unit had to wait", file)
}

// Proof is what systemd says of the unit's share, and in how many periods the kernel let it wait
// since.
func (t throttled) Proof(ctx context.Context) (seen string, there bool, err error) {
	l, err := t.unit.manager.linked(ctx)
	if err != nil {
		return "", false, err
	}
	p, err := l.calls.GetServicePropertyContext(ctx, t.unit.name, "CPUQuotaPerSecUSec")
	if err != nil {
		return "", false, err
	}
	quota, _ := p.Value.Value().(uint64)
	wait, err := t.unit.waited(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Sprintf("unit %s does not run", t.unit.name), false, nil
	}
	if err != nil {
		return "", false, err
	}
	if wait < t.wait { // it has begun anew: it was started again since
		t.wait = 0
	}
	return fmt.Sprintf("unit %s has a quota of %d us a second and had to wait in %d periods", t.unit.name, quota, wait-t.wait),
		quota == t.want && wait > t.wait, nil
}

// Heal sets the share again that the unit had. A unit that is gone needs no healing, and has taken
// along what systemd keeps of a transient one.
func (t throttled) Heal(ctx context.Context) error {
	was := uint64(noQuota)
	if cpus := t.unit.instance.Service.Limits.CPUs; cpus > 0 {
		was = uint64(cpus * 1e6)
	}
	return ignoreUnknown(t.set(ctx, was))
}

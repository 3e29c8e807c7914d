//go:build unix

// Package plain is a driver as somebody else would write one, in a module of its own: each
// instance is a child process that is started and stopped with nothing but os/exec. The
// conformance suite holds it to the same promises as the built-in drivers, and
// cmd/plain-lab is rollout-lab with it in place of them.
//
// It is here to be read and copied. What it leaves out that drivers/process has: children
// that die with the lab (here clean ends them), freezing, and the output of instances that
// are gone.
package plain

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/fleet"
	"github.com/rollout-lab/rollout-lab/drivers/owner"
	"github.com/rollout-lab/rollout-lab/drivers/ports"
)

// Driver implements drivers.Driver.
type Driver struct {
	program []string
	ports   *ports.Pool
	running drivers.Running
}

// New returns a driver whose services are the program with their arguments behind its own,
// unless they name a program themselves.
func New(program ...string) *Driver {
	return &Driver{program: program, ports: ports.New()}
}

// Name implements drivers.Driver.
func (d *Driver) Name() string { return "plain" }

// Capabilities implements drivers.Capable.
func (d *Driver) Capabilities() drivers.Capabilities {
	return drivers.Capabilities{
		LabBalancer: true,
		Routing:     "The balancer asks each instance by the design's own signal, and learns of the end of a process at once.",
	}
}

// Check implements drivers.Driver.
func (d *Driver) Check(context.Context) error {
	_, err := owner.Self()
	if err == nil {
		_, err = exec.LookPath(d.program[0])
	}
	if err != nil {
		return &drivers.HintError{Err: fmt.Errorf("%w: %w", drivers.ErrUnavailable, err), Hint: "it takes Linux, and a program that may be executed"}
	}
	return nil
}

// Deploy implements drivers.Driver. The fleet does what all drivers do that have no
// balancer of their own; it starts and stops instances through the runtime.
func (d *Driver) Deploy(ctx context.Context, stack drivers.Stack) (drivers.Env, error) {
	if err := d.Support().Refuse(d.Name(), stack); err != nil {
		return nil, err
	}
	self, err := owner.Self()
	if err != nil {
		return nil, err
	}
	mark, err := newMark(stack.RunID, self)
	if err != nil {
		return nil, err
	}
	r := &runtime{driver: d, mark: mark, processes: map[*fleet.Instance]*process{}}
	env, err := fleet.New(fleet.Config{Stack: stack, Runtime: r, Clean: r.clean})
	if err != nil {
		return nil, errors.Join(err, mark.Close())
	}
	r.env = env
	d.running.Add(env, stack.RunID)
	if err := env.Deploy(ctx); err != nil {
		return nil, err
	}
	return env, nil
}

// Support implements drivers.Supporter: what child processes on one loopback address can be.
func (*Driver) Support() drivers.Support {
	refused := drivers.Answer{How: drivers.Refused, Why: "it is a child process on the loopback interface", Hint: "use a driver that isolates instances"}
	ignored := drivers.Answer{How: drivers.Noted, Why: "the signal alone decides"}
	return drivers.Honours(fleet.Features...).
		With(drivers.Answer{How: drivers.Honoured}, "exec", "args", "env", "signal.kind=none", "signal.kind=tcp", "signal.kind=http",
			"signal.port", "signal.path", "signal.scheme", "signal.interval", "signal.timeout", "signal.rise", "signal.fall", "stop_grace").
		With(fleet.PreStop, "pre_stop").
		With(drivers.NoObjects, "deployment", "deployment=adopted").
		With(refused, "image", "ports", "limits.cpus", "limits.memory", "socket", "signal.kind=command", "signal.kind=image").
		With(ignored, "startup", "liveness", "notify", "watchdog")
}

// Sweep implements drivers.Driver.
func (d *Driver) Sweep(ctx context.Context, runID string) ([]string, error) {
	matches := func(m marked) bool {
		return m.run == runID || runID == "" && m.by.Dead()
	}
	found, err := findMarked(matches)
	errs := []error{err}
	if runID != "" {
		// A living lab would start its instances again.
		errs = append(errs, d.running.Close(ctx, runID))
	}
	// Only what still has its mark is killed: the ID of what has ended may be another's.
	rest, err := killMarked(matches)
	errs = append(errs, err)
	maps.Copy(found, rest)
	var removed []string
	for pid, m := range found {
		removed = append(removed, fmt.Sprintf("process %d of run %s", pid, m.run))
	}
	return removed, errors.Join(errs...)
}

// A mark is a file without a name in any folder that each process of a deployment has open,
// and whatever that process starts. The process file system tells the name that it once had,
// and by that finds them all, with nothing of the lab in anybody's environment.
const markPrefix = "plain-lab"

func newMark(runID string, by owner.Owner) (*os.File, error) {
	f, err := os.CreateTemp("", strings.Join([]string{markPrefix, runID, by.String(), "*"}, ","))
	if err != nil {
		return nil, err
	}
	return f, os.Remove(f.Name())
}

// marked is what a process's mark says.
type marked struct {
	file string // of the one deployment
	run  string
	by   owner.Owner
}

// findMarked lists the processes, by ID, that labs of this driver have started and that match.
func findMarked(match func(marked) bool) (map[int]marked, error) {
	links, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return nil, err
	}
	out := map[int]marked{}
	for _, link := range links {
		file, err := os.Readlink(link)
		if err != nil || !strings.Contains(file, markPrefix) {
			continue // it has ended, or is somebody else's
		}
		file = strings.TrimSuffix(file, " (deleted)")
		parts := strings.Split(filepath.Base(file), ",")
		pid, err := strconv.Atoi(strings.Split(link, "/")[2])
		if err != nil || len(parts) != 4 || parts[0] != markPrefix {
			continue
		}
		by, err := owner.Parse(parts[2])
		m := marked{file, parts[1], by}
		if err == nil && by.PID() != pid && match(m) {
			out[pid] = m
		}
	}
	return out, nil
}

// killMarked kills them and says which.
func killMarked(match func(marked) bool) (map[int]marked, error) {
	found, err := findMarked(match)
	errs := []error{err}
	for pid, m := range found {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			errs = append(errs, fmt.Errorf("kill process %d of run %s: %w", pid, m.run, err))
		}
	}
	return found, errors.Join(errs...)
}

package process

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"slices"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/fleet"
	"github.com/rollout-lab/rollout-lab/drivers/owner"
	"github.com/rollout-lab/rollout-lab/drivers/ports"
)

// Driver implements drivers.Driver. Its methods may be called concurrently.
type Driver struct {
	program []string
	ports   *ports.Pool
	running drivers.Running
}

// New returns a driver that runs services as Config says.
func New(config Config) *Driver {
	return &Driver{
		program: slices.Clone(config.Program),
		ports:   ports.New(),
	}
}

// Name implements drivers.Driver.
func (d *Driver) Name() string { return "process" }

// Capabilities implements drivers.Capable.
func (d *Driver) Capabilities() drivers.Capabilities {
	return drivers.Capabilities{
		LabBalancer: true,
		Routing:     "The balancer asks each instance by the design's own signal and learns of one that stopped only when that has failed fall times in a row; without a signal it learns of the end of a process at once.",
	}
}

// Check implements drivers.Driver: it looks for the program, the process file system and
// a loopback interface that can be listened on.
func (d *Driver) Check(context.Context) error {
	if _, err := d.path(); err != nil {
		return &drivers.HintError{
			Err:  fmt.Errorf("%w: %w", drivers.ErrUnavailable, err),
			Hint: "give the driver a program that exists and may be executed",
		}
	}
	if _, err := owner.Self(); err != nil {
		return &drivers.HintError{
			Err:  fmt.Errorf("%w: %w", drivers.ErrUnavailable, err),
			Hint: "mount the proc file system on /proc",
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return &drivers.HintError{
			Err:  fmt.Errorf("%w: %w", drivers.ErrUnavailable, err),
			Hint: "bring the loopback interface up and allow listening on 127.0.0.1",
		}
	}
	return l.Close()
}

func (d *Driver) path() (string, error) {
	if len(d.program) == 0 {
		return "", errors.New("no program to run")
	}
	return exec.LookPath(d.program[0])
}

// Deploy implements drivers.Driver.
func (d *Driver) Deploy(ctx context.Context, stack drivers.Stack) (drivers.Env, error) {
	if err := d.Support().Refuse(d.Name(), stack); err != nil {
		return nil, err
	}
	path, err := d.path()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", drivers.ErrUnavailable, err)
	}
	lab, err := owner.Self()
	if err != nil {
		return nil, err
	}
	v := &supervisor{
		driver: d, marks: marks{run: stack.RunID, owner: lab.String(), deployment: rand.Text()},
		command: append([]string{path}, d.program[1:]...),
		spawner: newSpawner(),
		members: map[*fleet.Instance]*member{},
		logs:    map[string]*tail{},
	}
	e, err := fleet.New(fleet.Config{Stack: stack, Runtime: v, Clean: v.clean})
	if err != nil {
		return nil, err
	}
	env := &environment{Environment: e, supervisor: v}
	v.environment = env
	d.running.Add(env, stack.RunID)
	if err := e.Deploy(ctx); err != nil {
		return nil, err
	}
	return env, nil
}

// Examine implements drivers.Examiner.
func (*Driver) Examine(_ context.Context, stack drivers.Stack) []drivers.Finding {
	return drivers.ExamineExec(stack)
}

// Sweep implements drivers.Driver. Environments of the named run that this driver still
// has are closed without grace; a lab that still runs the named run elsewhere would start
// its instances again, so that one must be ended first.
func (d *Driver) Sweep(ctx context.Context, runID string) ([]string, error) {
	if _, err := owner.Self(); err != nil {
		return nil, err // nobody would be dead then
	}
	matches := func(m marks) bool {
		if runID != "" {
			return m.run == runID
		}
		o, err := owner.Parse(m.owner)
		return err == nil && o.Dead()
	}
	match := func(m marked) bool { return matches(m.marks) }
	groups, err := findGroups(matches)
	if err != nil {
		return nil, err
	}
	var killed []marked
	var errs []error
	if runID != "" {
		// What is about to be closed is told to people as well.
		if killed, err = findMarked(match); err != nil {
			return nil, err
		}
		errs = append(errs, d.running.Close(ctx, runID))
	}
	rest, err := killMarked(ctx, match)
	errs = append(errs, err)
	for _, m := range rest {
		if !slices.ContainsFunc(killed, func(k marked) bool { return k.pid == m.pid && k.start == m.start }) {
			killed = append(killed, m)
		}
	}
	var out []string
	for _, m := range killed {
		out = append(out, m.String())
	}
	for _, g := range groups {
		if err := removeGroup(ctx, g.dir, g.home); err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, g.String())
	}
	return out, errors.Join(errs...)
}

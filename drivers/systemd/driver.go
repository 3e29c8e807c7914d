package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	systemd "github.com/coreos/go-systemd/v22/dbus"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/fleet"
	"github.com/rollout-lab/rollout-lab/drivers/owner"
	"github.com/rollout-lab/rollout-lab/internal/dockerengine"
)

// Check implements drivers.Driver: it looks for a systemd that answers, or for an engine
// that could run one, and for the program.
func (d *Driver) Check(ctx context.Context) error {
	c, err := d.choose(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	_, err = d.program()
	return err
}

// Prepare builds what Deploy would build first, the image of a host container, so that no
// deployment takes that long. It does nothing where nothing is missing.
func (d *Driver) Prepare(ctx context.Context) error {
	c, err := d.choose(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	if c.engine == nil {
		return nil
	}
	_, err = d.image(ctx, c.engine)
	return err
}

// Describe implements drivers.Describer: it says, for people, what the driver would use and what lies about.
func (d *Driver) Describe(ctx context.Context) []string {
	c, err := d.choose(ctx)
	if err != nil {
		return []string{err.Error()}
	}
	defer c.close()
	out := []string{"systemd " + c.version, "control groups of version " + c.cgroup}
	switch {
	case c.number == 0:
		out = append(out, "reloads with notification (notify-reload): known once its container runs")
	case c.number >= 253:
		out = append(out, "reloads with notification (notify-reload): yes")
	default:
		out = append(out, "reloads with notification (notify-reload): no, they came with version 253")
	}
	found, err := d.resources(ctx)
	for _, l := range found {
		out = append(out, "there is "+l.what)
	}
	if err != nil {
		out = append(out, err.Error())
	}
	return out
}

// Deploy implements drivers.Driver. In a container it starts that first, and builds its
// image when there is none (see Prepare).
func (d *Driver) Deploy(ctx context.Context, stack drivers.Stack) (drivers.Env, error) {
	if err := stack.Validate(); err != nil {
		return nil, err
	}
	if err := d.Support().Refuse(d.Name(), stack); err != nil {
		return nil, err
	}
	c, err := d.choose(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.limits(stack); err != nil {
		c.close()
		return nil, err
	}
	lab, err := owner.Self()
	if err != nil {
		c.close()
		return nil, err
	}
	h, err := d.open(ctx, c, mark{run: stack.RunID, stack: stack.Name, owner: lab.String()})
	if err != nil {
		return nil, err
	}
	env := &environment{}
	m, err := newManager(ctx, d, h, stack, lab, func(detail string) { env.Lost(detail) })
	if err != nil {
		return nil, errors.Join(err, h.close(context.WithoutCancel(ctx)))
	}
	env.manager, m.environment = m, env
	env.Environment, err = fleet.New(fleet.Config{Stack: stack, Runtime: m, Clean: m.clean})
	if err != nil {
		return nil, errors.Join(err, m.clean(context.WithoutCancel(ctx)))
	}
	d.running.Add(env, stack.RunID)
	m.follow()
	if err := env.Deploy(ctx); err != nil {
		return nil, err
	}
	return env, nil
}

// limits refuses what would be asked for and not enforced: in a container with control
// groups of version 1 systemd has its own hierarchy and no other.
func (c *choice) limits(stack drivers.Stack) error {
	if c.kind != HostContainer || c.cgroup != "1" {
		return nil
	}
	for _, s := range stack.Services() {
		if s.Limits != (drivers.Limits{}) {
			return &drivers.HintError{
				Err:  fmt.Errorf("systemd: service %s: limits in a container with control groups of version 1: %w", s.Name, drivers.ErrUnsupported),
				Hint: "use --systemd-host system, a machine with control groups of version 2, or the docker driver",
			}
		}
	}
	return nil
}

// resource is something of a run: a unit, a container or a folder.
type resource struct {
	what       string // for people
	run, owner string
	dir        string // that goes with it
	remove     func(ctx context.Context) error
}

// Sweep implements drivers.Driver: units by their names and containers by their labels,
// wherever a systemd or an engine can be reached. Environments of the named run that this
// driver still has are closed without grace.
func (d *Driver) Sweep(ctx context.Context, runID string) ([]string, error) {
	if _, err := owner.Self(); err != nil {
		return nil, err // nobody would be dead then
	}
	match := func(all []resource) []resource {
		return slices.DeleteFunc(all, func(l resource) bool { return !sweeps(runID, l.run, l.owner) })
	}
	var removed []string
	var errs []error
	if runID != "" {
		found, err := d.resources(ctx)
		errs = append(errs, err)
		errs = append(errs, d.running.Close(ctx, runID))
		// What was just closed is told to people as well.
		for _, l := range match(found) {
			removed = append(removed, l.what)
		}
	}
	found, err := d.resources(ctx)
	errs = append(errs, err)
	for _, l := range match(found) {
		if err := l.remove(ctx); err != nil {
			errs = append(errs, fmt.Errorf("remove %s: %w", l.what, err))
			continue
		}
		if !slices.Contains(removed, l.what) {
			removed = append(removed, l.what)
		}
	}
	return removed, errors.Join(errs...)
}

// resources lists what exists of any run on every systemd and engine that can be reached.
// One that cannot be is passed over: nothing can be left where nothing could be made.
func (d *Driver) resources(ctx context.Context) ([]resource, error) {
	var out []resource
	var errs []error
	for _, kind := range []string{HostUser, HostSystem, HostContainer} {
		if d.config.Host != "" && d.config.Host != kind {
			continue
		}
		c, err := d.tryHost(ctx, kind)
		if err != nil {
			continue
		}
		var found []resource
		if kind == HostContainer {
			found, err = containers(ctx, c.engine)
			found = append(found, folders(found)...)
		} else {
			found, err = units(ctx, c)
		}
		c.close()
		out, errs = append(out, found...), append(errs, err)
	}
	return out, errors.Join(errs...)
}

// units lists the units of a native systemd.
func units(ctx context.Context, c *choice) ([]resource, error) {
	calls, err := call(c.address)
	if err != nil {
		return nil, err
	}
	defer calls.Close()
	list, err := calls.ListUnitsByPatternsContext(ctx, nil, []string{prefix + "*.service", prefix + "*.socket"})
	if err != nil {
		return nil, fmt.Errorf("list units: %w", err)
	}
	// Sockets first: one whose service is stopped would start it again.
	slices.SortStableFunc(list, func(a, b systemd.UnitStatus) int {
		return strings.Compare(filepath.Ext(b.Name), filepath.Ext(a.Name))
	})
	var out []resource
	for _, u := range list {
		m, ok := parseMark(u.Description)
		if !ok {
			continue
		}
		out = append(out, resource{
			what: fmt.Sprintf("unit %s (instance %s of run %s)", u.Name, m.instance, m.run),
			run:  m.run, owner: m.owner,
			remove: func(ctx context.Context) error { return removeUnit(ctx, c.address, u.Name) },
		})
	}
	return out, nil
}

// removeUnit ends a unit without grace and has systemd forget it.
func removeUnit(ctx context.Context, address, name string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*callLimit)
	defer cancel()
	l, err := connect(ctx, address)
	if err != nil {
		return err
	}
	defer l.close()
	stopped := make(chan string, 1)
	if _, err := l.calls.StopUnitContext(ctx, name, "replace", stopped); err != nil {
		return ignoreUnknown(err)
	}
	if strings.HasSuffix(name, ".service") {
		// It may have no process any more, which systemd would call an error.
		_ = l.calls.KillUnitWithTarget(ctx, name, systemd.All, int32(syscall.SIGKILL))
	}
	select {
	case <-stopped:
	case <-ctx.Done():
		return fmt.Errorf("waiting for its job: %w", context.Cause(ctx))
	}
	return ignoreUnknown(l.calls.ResetFailedUnitContext(ctx, name))
}

// containers lists the host containers of an engine.
func containers(ctx context.Context, engine *dockerengine.Engine) ([]resource, error) {
	list, err := engine.Labelled(ctx, dockerengine.Filter(dockerengine.LabelDriver+"="+driverName))
	if err != nil {
		return nil, err
	}
	var out []resource
	for _, r := range list {
		run, dir := r.Labels[dockerengine.LabelRun], r.Labels[labelDir]
		out = append(out, resource{
			what: fmt.Sprintf("%s %.12s (stack %s of run %s)", r.Kind, r.ID, r.Labels[labelStack], run),
			dir:  dir, run: run, owner: r.Labels[dockerengine.LabelOwner],
			remove: func(ctx context.Context) error {
				defer engine.Close()
				if err := r.Remove(ctx); err != nil {
					return err
				}
				if err := removeGroups(ctx, run, r.Labels[labelStack]); err != nil {
					return err
				}
				// A label is only text: nothing is removed that this driver would not have made.
				if strings.HasPrefix(filepath.Base(dir), dirPrefix) && filepath.IsAbs(dir) {
					return os.RemoveAll(dir)
				}
				return nil
			},
		})
	}
	return out, nil
}

// folders lists the shared folders whose container is none of those found: their lab was
// killed before it had made one.
func folders(found []resource) []resource {
	marks, err := filepath.Glob(filepath.Join(os.TempDir(), dirPrefix+"*", markFile))
	if err != nil {
		return nil // it says so of a bad pattern alone
	}
	var out []resource
	for _, path := range marks {
		dir := filepath.Dir(path)
		text, err := os.ReadFile(path)
		if err != nil {
			continue // removed meanwhile, or somebody else's
		}
		m, ok := parseMark(string(text))
		if !ok || slices.ContainsFunc(found, func(l resource) bool { return l.dir == dir }) {
			continue
		}
		out = append(out, resource{
			what: fmt.Sprintf("folder %s (stack %s of run %s)", dir, m.stack, m.run), run: m.run, owner: m.owner,
			remove: func(context.Context) error { return os.RemoveAll(dir) },
		})
	}
	return out
}

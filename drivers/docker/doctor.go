package docker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/owner"
	"github.com/rollout-lab/rollout-lab/internal/dockerengine"
)

// Describe implements drivers.Describer: it says, for people, what the engine here can and
// cannot do, a line for each, and what former runs have left behind. It changes nothing. A
// line about something that is wrong begins with "no" or "cannot".
func (d *Driver) Describe(ctx context.Context) []string {
	e, err := d.connect(ctx)
	if err != nil {
		return []string{"no engine: " + err.Error()}
	}
	lines := []string{fmt.Sprintf("%v, %s, at %v", e, e.Arch, e.Address)}
	if e.startInterval() {
		lines = append(lines, "health checks have a start interval")
	} else {
		lines = append(lines, "no start interval of health checks before API "+startIntervalAPI+": the first check comes one interval after the start")
	}
	return append(lines, e.environment(ctx), d.describeProgram(e.Arch), d.describePorts(), e.describeOrphans(ctx))
}

// environment is what the engine runs containers in.
func (e *engine) environment(ctx context.Context) string {
	info, err := e.Info(ctx)
	if err != nil {
		return "no information about the engine: " + err.Error()
	}
	root := "with root"
	if slices.ContainsFunc(info.SecurityOptions, func(s string) bool { return strings.Contains(s, "name=rootless") }) {
		root = "rootless"
	}
	line := fmt.Sprintf("%s, cgroup v%s, %d CPUs, %d MiB", root, info.CgroupVersion, info.NCPU, info.MemTotal>>20)
	var missing []string
	if !info.CPUCfsQuota {
		missing = append(missing, "CPU")
	}
	if !info.MemoryLimit {
		missing = append(missing, "memory")
	}
	if len(missing) > 0 {
		line += ", no limits of " + strings.Join(missing, " and ")
	}
	return line
}

func (d *Driver) describeProgram(arch string) string {
	err := d.source().Static(arch)
	if err == nil {
		return "the program is static and goes into an image as it is"
	}
	if buildErr := d.source().Check(arch); buildErr != nil {
		return "no program for an image: " + withHint(buildErr)
	}
	return fmt.Sprintf("the program is built from %s for an image (%v)", d.config.Source, err)
}

func withHint(err error) string {
	var hint *drivers.HintError
	if errors.As(err, &hint) {
		return fmt.Sprintf("%v (%s)", err, hint.Hint)
	}
	return err.Error()
}

func (d *Driver) describePorts() string {
	numbers, err := d.ports.Take(1)
	if err != nil {
		return err.Error()
	}
	d.ports.Release(numbers)
	return fmt.Sprintf("ports on 127.0.0.1 can be bound, such as %d", numbers[0])
}

// describeOrphans counts what runs have left whose lab has ended, and what living labs
// or such as cannot be judged from here have.
func (e *engine) describeOrphans(ctx context.Context) string {
	_, err := owner.Self() // without that nobody would be dead
	var all []dockerengine.Resource
	if err == nil {
		all, err = e.find(ctx, "")
	}
	if err != nil {
		return "cannot check for orphaned resources: " + err.Error()
	}
	running := slices.DeleteFunc(slices.Clone(all), orphaned)
	return countOrphans(len(all)-len(running), len(running))
}

func countOrphans(orphans, running int) string {
	out := ""
	if orphans > 0 {
		out = " (rollout-lab clean removes them)"
	}
	return fmt.Sprintf("%d orphaned resources%s, %d resources of running labs", orphans, out, running)
}

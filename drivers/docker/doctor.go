package docker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/owner"
)

// Describe implements drivers.Describer: it says, for people, what the engine here can and cannot do, a line for each, and
// what former runs have left behind. It changes nothing. A line about something that is
// wrong begins with "no".
func (d *Driver) Describe(ctx context.Context) []string {
	e, err := d.connect(ctx)
	if err != nil {
		return []string{"no engine: " + err.Error()}
	}
	lines := []string{fmt.Sprintf("%v, %s, at %s", e, e.arch, e.where.host)}
	if e.startInterval() {
		lines = append(lines, "health checks have a start interval")
	} else {
		lines = append(lines, "no start interval of health checks before API "+startIntervalAPI+": the first check comes one interval after the start")
	}
	lines = append(lines, e.environment(ctx), d.describeProgram(e.arch), d.describePorts())
	return append(lines, e.describeLeftovers(ctx)...)
}

// environment is what the engine runs containers in.
func (e *engine) environment(ctx context.Context) string {
	info, err := e.client.Info(ctx)
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

// describeLeftovers counts what runs have left whose lab has ended, and what living labs
// or such as cannot be judged from here have.
func (e *engine) describeLeftovers(ctx context.Context) []string {
	if _, err := owner.Self(); err != nil {
		return []string{"no look for leftovers: " + err.Error()}
	}
	all, err := e.find(ctx, "", func(leftover) bool { return true })
	if err != nil {
		return []string{"no look for leftovers: " + err.Error()}
	}
	dead := 0
	for _, l := range all {
		if o, err := owner.Parse(l.labels[labelOwner]); err == nil && o.Dead() {
			dead++
		}
	}
	return []string{fmt.Sprintf("%d leftovers of labs that have ended, %d things of labs that may live", dead, len(all)-dead)}
}

package docker

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/fleet"
)

// Support implements drivers.Supporter.
func (*Driver) Support() drivers.Support {
	return drivers.Honours(fleet.Features...).
		With(drivers.Answer{How: drivers.Honoured}, "image", "args", "env", "ports", "limits.cpus", "limits.memory",
			"signal.kind=none", "signal.kind=tcp", "signal.kind=http", "signal.kind=command", "signal.kind=image",
			"signal.port", "signal.path", "signal.scheme", "signal.interval", "signal.timeout", "signal.fall", "stop_grace").
		With(fleet.PreStop, "pre_stop").
		With(drivers.NoObjects, "deployment", "deployment=adopted").
		With(drivers.Answer{How: drivers.Refused, Why: "a program of this machine is not in the container", Hint: "give an image that holds the program, under target.on for this driver alone"}, "exec").
		With(drivers.Answer{How: drivers.Refused, Why: "the engine takes one good answer", Hint: "set rise to 1"}, "signal.rise").
		With(drivers.Answer{How: drivers.Refused, Why: "nothing here holds a listener open for an instance", Hint: "use a driver that is a service manager, such as systemd"}, "socket").
		With(drivers.Answer{How: drivers.Noted, Why: "the signal alone is asked, and an instance that ends is started again"}, "startup", "liveness").
		With(drivers.Answer{How: drivers.Noted, Why: "nothing listens to notifications: the signal alone decides"}, "notify", "watchdog")
}

// Examine implements drivers.Examiner: it looks whether the engine has the images. One that it
// has not is pulled by Deploy, which nobody can know before to succeed.
func (d *Driver) Examine(ctx context.Context, stack drivers.Stack) []drivers.Finding {
	engine, err := d.connect(ctx)
	if err != nil {
		return nil
	}
	var out []drivers.Finding
	var seen []string
	for _, s := range stack.Services() {
		if s.Image == "" || slices.Contains(seen, s.Image) {
			continue
		}
		seen = append(seen, s.Image)
		if _, err := engine.ImageInspect(ctx, s.Image); isNotFound(err) {
			out = append(out, drivers.Finding{
				Feature: "image", Message: "the engine has no image " + s.Image + ", and will try to pull it",
				Hint: "build it, or load it with docker load, if no registry has it",
			})
		}
	}
	return out
}

// Exposes implements drivers.Exposer.
func (d *Driver) Exposes(ctx context.Context, image string) ([]int, error) {
	engine, err := d.connect(ctx)
	if err != nil {
		return nil, err
	}
	found, err := fetchImage(ctx, engine, image)
	if err != nil || found.Config == nil {
		return nil, err
	}
	var out []int
	for port := range found.Config.ExposedPorts {
		if n, err := strconv.Atoi(strings.TrimSuffix(port, "/tcp")); err == nil { // else it is UDP
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out, nil
}

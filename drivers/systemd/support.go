package systemd

import (
	"context"
	"path/filepath"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/fleet"
)

// Support implements drivers.Supporter.
func (*Driver) Support() drivers.Support {
	refused := func(why, hint string) drivers.Answer {
		return drivers.Answer{How: drivers.Refused, Why: why, Hint: hint}
	}
	pathless := refused("systemd starts a program by its whole path and looks nothing up in PATH", "give its whole path, or ./NAME for one beside the scenario")
	pathless.When = func(s drivers.Service) bool { return !filepath.IsAbs(s.Exec) }
	silent := refused("a service that does not notify cannot say that it is alive", "set notify: true, or take watchdog away")
	silent.When = func(s drivers.Service) bool { return !s.Notify }
	return drivers.Honours(fleet.Features...).
		With(drivers.Answer{How: drivers.Honoured}, "args", "env", "limits.cpus", "limits.memory", "signal.kind=none", "notify", "socket", "stop_grace").
		With(pathless, "exec").
		With(silent, "watchdog").
		With(fleet.PreStop, "pre_stop").
		With(drivers.NoObjects, "deployment", "deployment=adopted").
		With(refused("a program is run here, not an image", "give target.exec a program, under target.on for this driver alone"), "image").
		With(refused("all instances share one address, so each must be told its own port", "leave target.ports out, and give the program $${listen.data} or $${port.data} in args or env"), "ports").
		With(refused("there is no image whose health check could be asked", "a signal of another kind"), "signal.kind=image").
		With(drivers.Answer{How: drivers.Noted, Why: "systemd asks nobody: a unit is ready once it runs, or once it says so where it notifies"},
			"signal.kind=tcp", "signal.kind=http", "signal.kind=command", "signal.port", "signal.path", "signal.scheme", "signal.interval", "signal.timeout", "signal.rise", "signal.fall", "startup", "liveness")
}

// Examine implements drivers.Examiner. Programs in a container are on its file system, which is
// not there before it is.
func (d *Driver) Examine(ctx context.Context, stack drivers.Stack) []drivers.Finding {
	c, err := d.choose(ctx)
	if err != nil {
		return nil
	}
	defer c.close()
	if c.kind == HostContainer {
		return nil
	}
	return drivers.ExamineExec(stack)
}

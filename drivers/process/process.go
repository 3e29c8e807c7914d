// Package process is the driver that needs nothing installed: every instance is a child
// process on the loopback interface, in a process group of its own, and requests reach
// the subject through internal/edge. It isolates nothing from anything, and it is no
// service manager: what it starts dies with it.
//
// # What is the runtime here
//
// The runtime is a supervisor, which knows processes, and a plain balancer, which knows
// addresses, and what the one knows the other must be told or find out. The balancer
// finds out by active checks as Service.Signal describes them: a new connection for each
// check, nothing repeated, the first check at the start of the instance, Rise successes
// in a row to route to it and Fall failures in a row to stop. With Balancer.DeregisterFirst it
// is told, in addition, of every stop that is asked for, before the process is.
//
// A process that ends is therefore still routed to until Fall checks have failed, as with
// any balancer that is not told. So that the record shows it, the instance is Gone only
// when its process has ended and the balancer has let go of the address: Terminating, the
// end of the process, Unready, Gone. Rolling plans count it until then, which makes a
// change take longer by that time and costs no request that would not have failed anyway.
// An address whose owner is gone for good is dropped after Fall+1 checks even if
// something else should answer there by then.
//
// Liveness is the supervisor's: it asks as a kubelet does, once Startup has succeeded, and ends a
// process that fails Fall times, as at any stop: after PreStop, with its grace. The next one is
// the same instance with the same addresses. Startup holds back nothing else.
//
// With signal none a running process is a ready one, so the balancer learns of its end
// when the supervisor does, at once.
//
// # Faults
//
// kill and pause are SIGKILL and SIGSTOP to the process group, proven by the status with which the
// kernel says that the process has ended and by the states of the group. A dependency that is
// stopped gets no other process until it is healed. cpu is a control group of the instance, of
// either version, which all of its processes are put into until it is healed; it takes one
// that this process may make. Nothing of a group outlives its instance but an empty folder, which
// carries the marks and is removed by Sweep.
//
// # Leaving nothing behind
//
// A child is killed by the kernel when the lab dies, whatever it dies of. Children of
// children are not, so all of them inherit marks by which Sweep and Close find them: the run,
// the lab's process and the instance. The driver's own program has the marks in its
// environment. A program of somebody else's (Service.Exec) has the environment of the lab,
// that of its service over it, and nothing else; its marks are the name of a file that it
// holds open as descriptor 47. A grandchild of such a program is not found when it has left
// the process group and closed what it did not open itself, as some daemons do.
package process

import (
	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/fleet"
)

// Config says how services are run.
type Config struct {
	// Program is the command that a Service's Args are appended to; its first element is
	// looked up in PATH when it has no slash. It is required.
	Program []string
}

// Support implements drivers.Supporter.
func (*Driver) Support() drivers.Support {
	const isolate = "use a driver that isolates instances, such as docker"
	refused := func(why, hint string) drivers.Answer {
		return drivers.Answer{How: drivers.Refused, Why: why, Hint: hint}
	}
	return drivers.Honours(fleet.Features...).
		With(drivers.Answer{How: drivers.Honoured}, "exec", "args", "env", "signal.kind=none", "signal.kind=tcp", "signal.kind=http",
			"signal.port", "signal.path", "signal.scheme", "signal.interval", "signal.timeout", "signal.rise", "signal.fall", "liveness", "stop_grace").
		With(fleet.PreStop, "pre_stop").
		With(drivers.NoObjects, "deployment", "deployment=adopted").
		With(refused("a program is run here, not an image", "give target.exec a program, under target.on for this driver alone"), "image").
		With(refused("all instances share one address, so each must be told its own port", "leave target.ports out, and give the program $${listen.data} or $${port.data} in args or env"), "ports").
		With(refused("nothing here limits a process", isolate), "limits.cpus", "limits.memory").
		With(refused("nothing here holds a listener open for an instance", "use a driver that is a service manager, such as systemd"), "socket").
		With(refused("only what can be asked over the network is asked of a process", "a signal of kind http or tcp"), "signal.kind=command", "signal.kind=image").
		With(drivers.Answer{How: drivers.Emulated, Why: "it puts off the liveness probe and nothing else: the signal is asked from the start on"}, "startup").
		With(drivers.Answer{How: drivers.Noted, Why: "nothing listens to notifications: the signal alone decides"}, "notify", "watchdog")
}

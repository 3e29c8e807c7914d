package kubernetes

import (
	"slices"
	"strings"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// Support implements drivers.Supporter.
func (d *Driver) Support() drivers.Support { return SupportOf(d.config) }

// SupportOf is what a driver of that Config makes of the features.
func SupportOf(c Config) drivers.Support {
	refused := func(why, hint string) drivers.Answer {
		return drivers.Answer{How: drivers.Refused, Why: why, Hint: hint}
	}
	rounded := func(of func(drivers.Service) time.Duration) drivers.Answer {
		return drivers.Answer{
			How: drivers.Emulated, Why: "Kubernetes counts in whole seconds: it is rounded up", Told: true,
			When: func(s drivers.Service) bool { return of(s)%time.Second != 0 },
		}
	}
	named := refused("kubelet fills in no name of an instance in the command of a probe", "leave ${instance} out of the command")
	named.When = func(s drivers.Service) bool {
		return slices.ContainsFunc(s.Signal.Command, func(arg string) bool { return strings.Contains(arg, "${instance}") })
	}
	plainH2 := refused("kubelet speaks HTTP/2 within TLS only", "a signal of kind tcp, or one on port health")
	plainH2.When = func(s drivers.Service) bool { return s.Signal.Wire.Protocol == drivers.H2C }
	once := drivers.Answer{How: drivers.Emulated, Why: "its times are rounded up to whole seconds, and one success is enough", Told: true}
	program := refused("a program of this machine is not in a pod", "give an image that holds the program, under target.on for this driver alone")
	if c.Pack != nil {
		program = drivers.Answer{How: drivers.Emulated, Why: "the program is put into an image of its own, FROM scratch, so it has to be static"}
	}
	adopted := drivers.Answer{How: drivers.Honoured}
	if c.Namespace == "" {
		adopted = refused("no namespace is named in which it would be (--kubernetes-namespace)", "give the target its manifests, or use --driver kubernetes with the --kubernetes-namespace that it is in")
	}
	const itself = "Kubernetes decides that itself"
	return drivers.Honours("image", "args", "env", "ports", "deployment", "protocol", "tls", "limits.cpus", "limits.memory", "rolling.max_surge", "rolling.max_unavailable",
		"signal.kind=none", "signal.kind=tcp", "signal.port", "signal.path", "signal.scheme", "signal.rise", "signal.fall").
		With(program, "exec").
		With(adopted, "deployment=adopted").
		With(named, "signal.kind=command").
		With(plainH2, "signal.kind=http").
		With(rounded(func(s drivers.Service) time.Duration { return s.Signal.Interval }), "signal.interval").
		With(rounded(func(s drivers.Service) time.Duration { return s.Signal.Timeout }), "signal.timeout").
		With(rounded(func(s drivers.Service) time.Duration { return s.StopGrace }), "stop_grace").
		With(rounded(func(s drivers.Service) time.Duration { return s.PreStop }), "pre_stop").
		With(once, "startup", "liveness").
		With(refused("Kubernetes runs no health check of an image", "a signal of another kind"), "signal.kind=image").
		With(refused("nothing here holds a listener open for an instance", "use a driver that is a service manager, such as systemd"), "socket").
		With(refused("the runtime has a balancer of its own", "take balancer.tls: terminate away, or run on a driver that has no balancer of its own"), "balancer.tls").
		With(drivers.Answer{How: drivers.Noted, Why: "kube-proxy picks the pod"}, "balancer.policy").
		With(drivers.Answer{How: drivers.Noted, Why: itself + ": a pod is out of its Service from the moment that it is being deleted"}, "deregister_first").
		With(drivers.Answer{How: drivers.Noted, Why: "nothing listens to notifications: the signal alone decides"}, "notify", "watchdog")
}

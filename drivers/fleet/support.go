package fleet

import "github.com/rollout-lab/rollout-lab/drivers"

// Features are what a driver honours by embedding an Environment, whatever its runtime is.
var Features = []drivers.Feature{
	"protocol", "tls", "balancer.policy", "balancer.tls", "rolling.max_surge", "rolling.max_unavailable", "deregister_first",
}

// PreStop is what an Environment makes of Service.PreStop.
var PreStop = drivers.Answer{
	How: drivers.Emulated,
	Why: "the lab takes the instance out of its balancer, as Kubernetes does when a preStop hook begins, waits that long, and only then asks it to stop",
}

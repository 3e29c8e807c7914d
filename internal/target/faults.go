package target

import (
	"maps"
	"slices"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/load"
	"github.com/rollout-lab/rollout-lab/scenarios"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/admin"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/credential"
)

// The dependencies of the reference proxy. Those who tell them to do something wrong look for
// them by these names, and for a port called admin.
const (
	UpstreamName = "upstream"
	ControlName  = "control"
	// RelayName is what stands between the proxy and the other two, with a port for each of them
	// that is called as that is, where a scenario's faults need it.
	RelayName = "relay"
)

// AdminToken is what a dependency of a stack wants to be shown by who tells it to do something,
// "" where nobody can.
func AdminToken(stack drivers.Stack, service string) string {
	for _, s := range stack.Dependencies {
		if s.Name == service {
			return s.Env[admin.TokenVariable]
		}
	}
	return ""
}

// serving are the ports of the dependencies that proxies ask.
var serving = map[string]string{UpstreamName: "data", ControlName: "api"}

// relayed are the dependencies whose connections are to go through the relay.
func relayed(s *scenarios.Scenario) (names []string) {
	for _, f := range s.Faults {
		outage := f.Kind == scenarios.Outage && f.Mode != scenarios.KillNoBack
		if (outage || f.Kind == scenarios.Network) && !slices.Contains(names, f.Service) {
			names = append(names, f.Service)
		}
	}
	slices.Sort(names)
	return names
}

// relayService is the relay in front of some dependencies.
func relayService(names []string) drivers.Service {
	args, ports := []string{"relay", "--admin-listen", "${listen.admin}"}, []string{"admin"}
	for _, name := range names {
		args = append(args, "--link", name+"=${listen."+name+"}>${addr."+name+"."+serving[name]+"}")
		ports = append(ports, name)
	}
	return drivers.Service{
		Name: RelayName, Args: args, Ports: ports, StopGrace: 2 * time.Second,
		Serves: drivers.Probe{Kind: drivers.ProbeHTTP, Port: "admin", Path: admin.HealthPath},
	}
}

// reach is how proxies are told to reach a dependency.
func reach(name string, relayed []string) string {
	if slices.Contains(relayed, name) {
		return "http://${addr." + RelayName + "." + name + "}"
	}
	return "http://${addr." + name + "." + serving[name] + "}"
}

// told are the faults that a proxy does because the control plane tells it to.
var told = []scenarios.FaultKind{scenarios.SlowCheck, scenarios.Deadlock, scenarios.DataDead, scenarios.Flap}

func asks(s *scenarios.Scenario, kinds ...scenarios.FaultKind) bool {
	return slices.ContainsFunc(s.Faults, func(f scenarios.Fault) bool { return slices.Contains(kinds, f.Kind) })
}

// misbehaving are the revisions of the proxy where the one after is to be wrong: the same
// program, told to be. It is nil where there is no such fault.
func misbehaving(s *scenarios.Scenario, subject drivers.Service) map[string]drivers.Variation {
	i := slices.IndexFunc(s.Faults, func(f scenarios.Fault) bool { return f.Kind == scenarios.BadRevision })
	if i < 0 {
		return nil
	}
	before, after := s.Target.RevisionNames()
	at := func(more ...string) drivers.Variation {
		return drivers.Variation{Args: slices.Concat(subject.Args, more), Env: maps.Clone(subject.Env)}
	}
	return map[string]drivers.Variation{before: at(), after: at("--misbehave", s.Faults[i].Mode)}
}

// revocation is the session that a fault revokes, nil where none does. Other requests do not use it.
func (c *credentials) revocation(s *scenarios.Scenario) *load.Revocation {
	if !asks(s, scenarios.Revoke) || len(c.active) < 2 {
		return nil
	}
	last := len(c.active) - 1
	c.doomed, c.active = c.active[last], c.active[:last]
	return &load.Revocation{Session: credential.SessionID(c.numbers[last]), MaxAge: s.Target.Refproxy.MaxAge}
}

// everyDoomed is how often a request is of the session that is to be revoked.
const everyDoomed = 8

// doom makes some of a stream's requests those of the session that is to be revoked.
func (c *credentials) doom(requests []load.Request, r *load.Revocation) {
	for n := everyDoomed - 1; r != nil && n < len(requests); n += everyDoomed {
		requests[n].Header, requests[n].Revocation = bearer(c.doomed), r
	}
}

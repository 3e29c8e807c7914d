package target

import (
	"maps"
	"slices"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/load"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/scenarios"
)

// ownName is what a service of the user's own is called within its stack.
const ownName = "service"

// buildOwn deploys a service of the user's own, which has no dependencies.
func buildOwn(s *scenarios.Scenario, d scenarios.Design) (Target, error) {
	t := s.Target
	env := maps.Clone(t.Env)
	if env == nil {
		env = map[string]string{}
	}
	maps.Copy(env, d.Env)
	ports, fixed := []string{"data"}, map[string]int{}
	if t.Ports.Data != 0 {
		fixed["data"] = t.Ports.Data
	}
	if t.Ports.Health != nil {
		ports = append(ports, "health")
		if *t.Ports.Health != 0 {
			fixed["health"] = *t.Ports.Health
		}
	}
	requests, truth := ownRequests(&t)
	return Target{
		Stack: drivers.Stack{Subject: drivers.Service{
			Name: ownName, Image: t.Image, Exec: s.Path(t.Exec),
			Args: slices.Concat(t.Args, d.Args), Env: env, Ports: ports, Fixed: fixed,
			Serves: serves(truth, s.Target.Wire()),
		}},
		Streams: ownStreams(s.Load, requests),
		Truth:   truth,
	}, nil
}

// buildDeployed is a Deployment that somebody else describes: how it is run is not the lab's
// business, what is asked of it is.
func buildDeployed(s *scenarios.Scenario, d scenarios.Design) (Target, error) {
	requests, truth := ownRequests(&s.Target)
	objects := &drivers.Objects{Manifests: s.ManifestsOf(d), Deployment: s.Target.Deployment, Service: s.Target.Service, Port: s.Target.Port}
	return Target{
		Stack: drivers.Stack{
			Subject:  drivers.Service{Name: ownName, Ports: []string{"data"}, Serves: serves(truth, s.Target.Wire()), Wire: s.Target.Wire()},
			Replicas: s.Replicas, Revision: RevisionBefore, Objects: objects,
		},
		Streams: ownStreams(s.Load, requests),
		Truth:   truth,
	}, nil
}

// ownRequests are what is asked of a service of the user's own, and the one of them that
// tells whether an instance works.
func ownRequests(t *scenarios.Target) (all []load.Request, truth load.Request) {
	asked, probe := t.Asked()
	for i := range asked {
		all = append(all, ownRequest(&asked[i]))
	}
	return all, all[probe]
}

func ownRequest(r *scenarios.Request) load.Request {
	return load.Request{
		Method: r.Method, Path: r.Path, Header: r.Header, Body: r.Sent,
		Expect: record.Serve, Statuses: r.Expect.Status.Codes(), WantBody: r.Expect.Body, AnyBody: r.Expect.Body == "",
	}
}

// ownStreams ask the same requests over and over, in the ways that differ in a rollout.
func ownStreams(l scenarios.Traffic, requests []load.Request) []load.Stream {
	var out []load.Stream
	for _, name := range streamNames(l.Streams) {
		out = append(out, load.Stream{Name: name, Weight: l.Streams[name], Reuse: name == "keepalive", Requests: requests})
	}
	return out
}

// serves is the question to an instance whether it truly serves.
func serves(truth load.Request, wire drivers.Wire) drivers.Probe {
	return drivers.Probe{
		Kind: drivers.ProbeHTTP, Port: "data", Path: truth.Path, Header: truth.Header,
		Status: truth.Statuses[0], Body: truth.WantBody, Wire: wire,
		Interval: 50 * time.Millisecond, Timeout: time.Second,
	}
}

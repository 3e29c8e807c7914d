package target

import (
	"fmt"
	"maps"
	"net/http"
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
	truth := ownTruth(t.Request)
	streams, err := ownStreams(s.Load, truth)
	if err != nil {
		return Target{}, err
	}
	return Target{
		Stack: drivers.Stack{Subject: drivers.Service{
			Name: ownName, Image: t.Image, Exec: t.Exec,
			Args: slices.Concat(t.Args, d.Args), Env: env, Ports: ports, Fixed: fixed,
			Serves: serves(truth),
		}},
		Streams: streams,
		Truth:   truth,
	}, nil
}

// buildDeployed is a Deployment that somebody else describes: how it is run is not the lab's
// business, what is asked of it is.
func buildDeployed(s *scenarios.Scenario, d scenarios.Design) (Target, error) {
	truth := ownTruth(s.Target.Request)
	streams, err := ownStreams(s.Load, truth)
	if err != nil {
		return Target{}, err
	}
	objects := &drivers.Objects{Manifests: s.ManifestsOf(d), Deployment: s.Target.Deployment, Service: s.Target.Service, Port: s.Target.Port}
	return Target{
		Stack: drivers.Stack{
			Subject:  drivers.Service{Name: ownName, Ports: []string{"data"}, Serves: serves(truth)},
			Replicas: s.Replicas, Revision: RevisionBefore, Objects: objects,
		},
		Streams: streams,
		Truth:   truth,
	}, nil
}

// ownTruth is the request of a service of the user's own.
func ownTruth(r *scenarios.Request) load.Request {
	return load.Request{
		Method: http.MethodGet, Path: r.Path, Header: r.Header,
		Expect: record.Serve, Statuses: []int{r.Status}, WantBody: r.Body, AnyBody: r.Body == "",
	}
}

// ownStreams ask the same request over and over, in the ways that differ in a rollout.
func ownStreams(l scenarios.Traffic, request load.Request) ([]load.Stream, error) {
	var out []load.Stream
	for _, name := range streamNames(l.Streams) {
		s := load.Stream{Name: name, Weight: l.Streams[name]}
		r := request
		switch name {
		case "keepalive-get":
			s.Reuse = true
		case "keepalive-post":
			s.Reuse, r.Method, r.Body = true, http.MethodPost, postBody(0)
		case "newconn-get":
		default:
			return nil, fmt.Errorf("stream %q: want keepalive-get, keepalive-post or newconn-get", name)
		}
		s.Requests = []load.Request{r}
		out = append(out, s)
	}
	return out, nil
}

// serves is the question to an instance whether it truly serves.
func serves(truth load.Request) drivers.Probe {
	return drivers.Probe{
		Kind: drivers.ProbeHTTP, Port: "data", Path: truth.Path, Header: truth.Header,
		Status: truth.Statuses[0], Body: truth.WantBody,
		Interval: 50 * time.Millisecond, Timeout: time.Second,
	}
}

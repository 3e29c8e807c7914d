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
	if t.Ports.Two {
		ports = append(ports, "health")
		if t.Ports.Health != 0 {
			fixed["health"] = t.Ports.Health
		}
	}
	truth := load.Request{
		Method: http.MethodGet, Path: t.Request.Path, Header: t.Request.Header,
		Expect: record.Serve, Statuses: []int{t.Request.Status}, WantBody: t.Request.Body, AnyBody: t.Request.Body == "",
	}
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

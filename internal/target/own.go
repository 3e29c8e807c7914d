package target

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
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
	at := func(r scenarios.Revision) drivers.Variation {
		v := t.At(r)
		v.Exec, v.Args = s.Path(v.Exec), slices.Concat(v.Args, d.Args)
		maps.Copy(v.Env, d.Env)
		return v
	}
	is := at(scenarios.Revision{})
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
			Name: ownName, Image: is.Image, Exec: is.Exec,
			Args: is.Args, Env: is.Env, Ports: ports, Fixed: fixed,
			Serves: serves(truth, s.Target.Wire()),
		}, Revisions: revisions(s, at)},
		Streams: ownStreams(s.Load, requests),
		Truth:   truth,
		Asked:   true,
	}, nil
}

// revisions are what the subject runs before and after a rollout, by name; nil where the
// scenario does not say.
func revisions(s *scenarios.Scenario, at func(scenarios.Revision) drivers.Variation) map[string]drivers.Variation {
	r := s.Target.Revisions
	if r == nil {
		return nil
	}
	return map[string]drivers.Variation{r.Before.Name: at(r.Before), r.After.Name: at(r.After)}
}

// buildDeployed is a Deployment that somebody else describes: how it is run is not the lab's
// business, what is asked of it is.
func buildDeployed(s *scenarios.Scenario, d scenarios.Design) (Target, error) {
	requests, truth := ownRequests(&s.Target)
	manifests := s.ManifestsOf(d)
	if r := s.Target.Revisions; r != nil {
		manifests = s.ManifestsAt(d, r.Before)
	}
	objects := &drivers.Objects{Manifests: manifests, Deployment: s.Target.Deployment, Service: s.Target.Service, Port: s.Target.Port}
	before, _ := s.Target.RevisionNames()
	return Target{
		Stack: drivers.Stack{
			Subject:  drivers.Service{Name: ownName, Ports: []string{"data"}, Serves: serves(truth, s.Target.Wire()), Wire: s.Target.Wire()},
			Replicas: s.Replicas, Revision: before, Objects: objects,
			Revisions: revisions(s, func(r scenarios.Revision) drivers.Variation {
				return drivers.Variation{Manifests: s.ManifestsAt(d, r)}
			}),
		},
		Streams: ownStreams(s.Load, requests),
		Truth:   truth,
		Asked:   true,
	}, nil
}

// buildAddress is what answers at an address: of how it is run nothing is known.
func buildAddress(s *scenarios.Scenario) (Target, error) {
	requests, truth := ownRequests(&s.Target)
	return Target{
		Stack: drivers.Stack{
			Subject: drivers.Service{Name: ownName, Ports: []string{"data"}, Serves: serves(truth, s.Target.Wire()), Wire: s.Target.Wire()},
			Address: s.Target.URL,
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
	return all, all[max(probe, 0)]
}

func ownRequest(r *scenarios.Request) load.Request {
	e := r.Expect
	out := load.Request{
		Method: r.Method, Path: r.Path, Header: r.Header, Body: r.Sent, Weight: r.Weight,
		Expect: record.Serve, Statuses: e.Status.Codes(), WantHeader: e.Header, WantBody: e.Body, AnyBody: e.Body == "" && e.BodyMatches == "",
	}
	if e.BodyMatches != "" {
		out.Match = regexp.MustCompile(e.BodyMatches) // the scenario's check has compiled it
	}
	return out
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
	p := drivers.Probe{
		Kind: drivers.ProbeHTTP, Port: "data", Path: truth.Path, Header: truth.Header,
		Method: truth.Method, Sent: truth.Body, Wire: wire,
		Status: truth.Statuses[0], Statuses: truth.Statuses, Answer: truth.WantHeader, Body: truth.WantBody,
		Interval: 50 * time.Millisecond, Timeout: time.Second,
	}
	if truth.Match != nil {
		p.Matches = truth.Match.String()
	}
	return p
}

// requestNotes say of the requests what a report must not leave to a reader to find.
func requestNotes(t *scenarios.Target) (notes []string) {
	if t.TLS != nil && t.TLS.Insecure {
		notes = append(notes, "no certificate is verified (target.tls.insecure): whoever answers is taken for the target")
	}
	if r := t.Requests; r != nil && len(r.Hosts) > 0 && !t.Address() {
		notes = append(notes, fmt.Sprintf("of the targets in %s only the paths count: requests for %s go to the target", r.File, strings.Join(r.Hosts, ", ")))
	}
	return notes
}

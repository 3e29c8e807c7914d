// Package target turns a scenario's target and a design into a stack to deploy and the
// requests to ask of it. It is the only place that knows the command line of the
// reference target; it deploys nothing and sends nothing.
package target

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/load"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/scenarios"
)

// Target is what one trial deploys and asks.
type Target struct {
	Stack   drivers.Stack
	Streams []load.Stream
	// Front is how the requests are to be sent: as the subject is spoken to, or as a balancer
	// that TLS ends at.
	Front drivers.Wire
	// Truth is a request that an instance answers as expected only when it works.
	Truth load.Request
	// Revocation is that of a session that some of the requests use, nil where no fault revokes one.
	Revocation *load.Revocation
	// Asked: somebody has said what is asked, and knows the requests by their names.
	Asked bool
	// Notes say how the requests, or the revisions, differ from what a reader would take them for.
	Notes []string
}

// ErrNoTarget: the scenario names no target that this version knows.
var ErrNoTarget = errors.New("scenario has no target")

// Build makes the target of a scenario with a design, as both are on the driver of that
// name. Stack.RunID and Stack.Name are left to the caller.
func Build(s *scenarios.Scenario, d scenarios.Design, driver string) (Target, error) {
	s, err := s.For(driver)
	if err != nil {
		return Target{}, err
	}
	t, err := assemble(s, d.For(driver))
	for i := range t.Streams {
		if stream := &t.Streams[i]; stream.Reuse {
			stream.Connections = s.Connections(stream.Name)
		}
	}
	if err != nil {
		return t, err
	}
	t.Front, t.Notes = t.Stack.Subject.Wire, requestNotes(&s.Target)
	if s.Target.Revisions != nil && !s.Target.RevisionsDiffer() {
		t.Notes = append(t.Notes, "the revisions before and after are the same program: nothing that they run differs")
	}
	if s.Balancer.TLS == scenarios.Terminate {
		t.Stack.Balancer.Terminate, t.Front, err = terminate(t.Front.Protocol)
	}
	return t, err
}

func assemble(s *scenarios.Scenario, d scenarios.Design) (Target, error) {
	var t Target
	var err error
	switch {
	case s.Target.Refproxy != nil:
		t, err = buildRefproxy(s, d)
	case s.Target.Deployed():
		return buildDeployed(s, d)
	case s.Target.Address():
		return buildAddress(s)
	case s.Target.Image != "", s.Target.Exec != "", s.Target.Revisions != nil:
		t, err = buildOwn(s, d)
	default:
		err = fmt.Errorf("%s: %w", s.Name, ErrNoTarget)
	}
	if err != nil {
		return Target{}, err
	}
	subject := &t.Stack.Subject
	for _, p := range []struct {
		probe *drivers.Probe
		of    scenarios.Signal
	}{{&subject.Signal, d.Signal}, {&subject.Startup, d.Startup}, {&subject.Liveness, d.Liveness}} {
		*p.probe = p.of.Probe()
		p.probe.Wire = s.Target.SignalWire(p.of)
	}
	subject.Notify, subject.Watchdog, subject.Socket = d.Notify, d.Watchdog, d.Socket
	subject.PreStop, subject.StopGrace, subject.RestartOnExit = d.PreStop, d.StopGrace, true
	subject.Limits = s.Limits.Driver()
	subject.Wire = s.Target.Wire()
	t.Stack.Replicas = s.Replicas
	t.Stack.Revision, _ = s.Target.RevisionNames()
	t.Stack.Balancer = drivers.Balancer{Policy: s.Balancer.Policy, DeregisterFirst: d.DeregisterFirst}
	t.Stack.Rolling = s.Rolling
	return t, nil
}

// RecordStreams describes the streams for the record, with shares that add up to 1.
func (t *Target) RecordStreams() []record.Stream {
	total := 0
	for _, s := range t.Streams {
		total += s.Weight
	}
	out := make([]record.Stream, len(t.Streams))
	for i, s := range t.Streams {
		out[i] = record.Stream{Name: s.Name, Share: float64(s.Weight) / float64(total), Method: methods(s.Requests), Reuse: s.Reuse, Connections: s.Connections}
		if t.Asked {
			out[i].Requests = names(s.Requests)
		}
	}
	return out
}

// methods are those of requests, each once.
func methods(requests []load.Request) string {
	var all []string
	for _, r := range requests {
		if !slices.Contains(all, r.Method) {
			all = append(all, r.Method)
		}
	}
	return strings.Join(all, ", ")
}

// names are what people call requests: the method and the path, without its query.
func names(requests []load.Request) []string {
	out := make([]string, len(requests))
	for i, r := range requests {
		path, _, _ := strings.Cut(r.Path, "?")
		out[i] = r.Method + " " + path
	}
	return out
}

// streamNames lists a load's streams in the order in which reports show them.
func streamNames(weights map[string]int) []string {
	names := make([]string, 0, len(weights))
	for name, weight := range weights {
		if weight > 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

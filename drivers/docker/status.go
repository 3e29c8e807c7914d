package docker

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// actions are the events of the engine that say something about a container's readiness.
var actions = []events.Action{
	events.ActionStart, events.ActionDie, events.ActionPause, events.ActionUnPause,
	events.ActionOOM, events.ActionDestroy, events.ActionHealthStatus,
}

// report is what was learnt of a container: an event, or what an inspection found. One
// that is empty says nothing new.
type report struct {
	event    *events.Message
	found    *container.State
	notFound bool
}

// gaveUp says whether the engine was found to leave the container as it is: one that it is
// about to start again is marked so from the moment of its end on.
func (r report) gaveUp() bool {
	return r.found != nil && !r.found.Running && !r.found.Restarting
}

// status is what the engine has said of a container so far. Events and inspections may
// tell the same thing twice; that changes nothing.
type status struct {
	running bool
	paused  bool
	deleted bool
	oom     bool   // it ran out of memory since it was started
	health  string // "", healthy or unhealthy; of the present run
	since   int64  // engine's time of the start of the present run, ns
}

// changeKind is something that became of a container.
type changeKind int

const (
	started   changeKind = iota // it runs (again)
	died                        // its first process has ended
	unhealthy                   // its health check says so
	deleted                     // it exists no more
)

// change is what became of a container, and how that is told.
type change struct {
	kind   changeKind
	detail string
}

// transition takes a report in and returns what is new in it.
func (s *status) transition(r report) []change {
	switch {
	case s.deleted:
		return nil
	case r.event != nil:
		return s.event(*r.event)
	case r.found != nil:
		return s.sync(r.found)
	case r.notFound:
		return s.delete()
	}
	return nil
}

func (s *status) event(m events.Message) []change {
	// What is older than the present run was seen by the inspection that found the run.
	if m.TimeNano < s.since {
		return nil
	}
	action, health, _ := strings.Cut(string(m.Action), ": ")
	switch events.Action(action) {
	case events.ActionStart:
		return s.start(m.TimeNano)
	case events.ActionDie:
		return s.die("exit status " + cmp.Or(m.Actor.Attributes["exitCode"], "unknown"))
	case events.ActionPause:
		s.paused = true
	case events.ActionUnPause:
		s.paused = false
	case events.ActionOOM:
		s.oom = true
	case events.ActionHealthStatus:
		return s.check(health)
	case events.ActionDestroy:
		return s.delete()
	}
	return nil
}

func (s *status) start(at int64) []change {
	if s.running {
		return nil
	}
	*s = status{running: true, since: at}
	return []change{{started, "container"}}
}

func (s *status) die(how string) []change {
	if !s.running {
		return nil
	}
	if s.oom {
		how += ", out of memory"
	}
	s.running, s.paused, s.health = false, false, ""
	return []change{{died, how}}
}

func (s *status) check(health string) []change {
	if !s.running || s.health == health || health != container.Healthy && health != container.Unhealthy {
		return nil
	}
	s.health = health
	if health == container.Unhealthy {
		return []change{{unhealthy, ""}}
	}
	return nil
}

// sync takes in what an inspection found, as events may have been missed.
func (s *status) sync(now *container.State) []change {
	at, err := time.Parse(time.RFC3339Nano, now.StartedAt)
	if err != nil || at.Year() <= 1 {
		return nil // it was never started
	}
	// The start event comes a moment after the start that it tells of, so that a known run
	// is the present one unless this one began later.
	var out []change
	if at.UnixNano() > s.since {
		out = append(out, s.die("its end was not seen")...)
		out = append(out, s.start(at.UnixNano())...)
	}
	s.oom = s.oom || now.OOMKilled
	if !now.Running || now.Restarting {
		return append(out, s.die(fmt.Sprintf("exit status %d", now.ExitCode))...)
	}
	s.paused = now.Paused
	if now.Health != nil {
		out = append(out, s.check(now.Health.Status)...)
	}
	return out
}

func (s *status) delete() []change {
	out := s.die("removed")
	s.deleted = true
	return append(out, change{deleted, "removed"})
}

// ready is the engine's verdict on a container with this kind of signal, and why.
func (s *status) ready(kind drivers.ProbeKind) (ok bool, why string) {
	switch {
	case !s.running:
		return false, "container does not run"
	case s.paused:
		return false, "container is paused"
	case kind == "" || kind == drivers.ProbeNone:
		return true, "container runs"
	case s.health == "":
		return false, "health: starting"
	}
	return s.health == container.Healthy, "health: " + s.health
}

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

// status is what the engine has said of a container. It is folded from events, and from
// what an inspection finds when events may have been missed. Both may tell the same thing
// twice; that changes nothing.
type status struct {
	running bool
	paused  bool
	gone    bool
	oom     bool   // it ran out of memory since it was started
	health  string // "", healthy or unhealthy; of the present run
	since   int64  // engine's time of the start of the present run, ns
}

// change is something that became of a container.
type change int

const (
	started change = iota // it runs (again)
	died                  // its first process has ended
	sick                  // its health check says unhealthy
	removed               // it exists no more
)

// happening is a change and how it is told.
type happening struct {
	change change
	detail string
}

// fold takes an event in.
func (s *status) fold(m events.Message) []happening {
	// What is older than the present run was seen by the inspection that found the run.
	if m.TimeNano < s.since || s.gone {
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
		out := s.die("removed")
		s.gone = true
		return append(out, happening{removed, "removed"})
	}
	return nil
}

func (s *status) start(at int64) []happening {
	if s.running {
		return nil
	}
	*s = status{running: true, since: at}
	return []happening{{started, "container"}}
}

func (s *status) die(how string) []happening {
	if !s.running {
		return nil
	}
	if s.oom {
		how += ", out of memory"
	}
	s.running, s.paused, s.health = false, false, ""
	return []happening{{died, how}}
}

func (s *status) check(health string) []happening {
	if !s.running || s.health == health || health != container.Healthy && health != container.Unhealthy {
		return nil
	}
	s.health = health
	if health == container.Unhealthy {
		return []happening{{sick, ""}}
	}
	return nil
}

// adopt takes in what an inspection found.
func (s *status) adopt(now *container.State) []happening {
	if s.gone {
		return nil
	}
	at, err := time.Parse(time.RFC3339Nano, now.StartedAt)
	if err != nil || at.Year() <= 1 {
		return nil // it was never started
	}
	// The start event comes a moment after the start that it tells of, so that a known run
	// is the present one unless this one began later.
	var out []happening
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

// vanish takes in that an inspection found no such container.
func (s *status) vanish() []happening {
	if s.gone {
		return nil
	}
	out := s.die("removed")
	s.gone = true
	return append(out, happening{removed, "removed"})
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

package proxy

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollout-lab/rollout-lab/targets/refproxy/policy"
)

// phase is how far a subsystem is.
type phase int

const (
	starting phase = iota // cannot decide anything yet
	ready                 // has what it needs
	degraded              // goes on with the last good state, because newer could not be had
)

// status is what a subsystem says about itself.
type status struct {
	phase      phase
	reason     string            // why it is not ready
	generation policy.Generation // of the configuration that it serves, 0 for none
	broken     bool              // degraded because news cannot arrive
}

// subsystem is the part that all of the proxy's parts share: a name and what they say
// about themselves. The data plane asks it when it has to refuse, the health model when
// it is asked, and whoever observes it is told of every change, in order.
type subsystem struct {
	name string

	heard atomic.Pointer[time.Time] // when its state was last known to be as new as can be

	mu        sync.Mutex
	now       status
	observers []func(status) // must not call back
}

// fresh takes note that its state is as new as can be.
func (s *subsystem) fresh() {
	now := time.Now()
	s.heard.Store(&now)
}

// age is how long ago that was the last time, 0 for one that is only just getting its state.
func (s *subsystem) age() time.Duration {
	if heard := s.heard.Load(); heard != nil {
		return time.Since(*heard)
	}
	return 0
}

// set changes the status. Saying the same again is how a subsystem tells an observer that
// its state is still fresh.
func (s *subsystem) set(now status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = now
	s.tell()
}

// update changes the status depending on what it is.
func (s *subsystem) update(change func(status) status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = change(s.now)
	s.tell()
}

// status is what the subsystem said last.
func (s *subsystem) status() status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// watch has every status from now on observed, beginning with the one that there is.
func (s *subsystem) watch(observe func(status)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.observers = append(s.observers, observe)
	observe(s.now)
}

// tell tells the observers. The caller holds the lock, so they hear it in order.
func (s *subsystem) tell() {
	for _, observe := range s.observers {
		observe(s.now)
	}
}

// trouble notes that news cannot be had for now: a subsystem without state is still
// starting, one that has some goes on with it and is degraded.
func (now status) trouble(reason string) status {
	if now.phase != starting {
		now.phase, now.broken = degraded, true
	}
	now.reason = reason
	return now
}

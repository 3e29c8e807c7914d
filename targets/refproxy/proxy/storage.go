package proxy

import (
	"errors"
	"fmt"
	"sync"

	"github.com/rollout-lab/rollout-lab/targets/refproxy/feed"
)

// storage holds the session records: a snapshot that counts only once it is whole, and
// then each change.
type storage struct {
	subsystem

	records   sync.RWMutex
	sessions  map[string]session // nil until the first snapshot is whole
	staged    map[string]session // of a snapshot under way, else nil
	total     int                // records of the snapshot under way
	said      int                // records staged when the status was last set
	position  feed.Position      // of sessions
	following feed.Position      // of staged
	groups    map[string]string  // one copy of each group's name
}

// session is what is kept of a session record.
type session struct {
	group   string
	revoked bool
}

func newStorage() *storage {
	s := &storage{groups: make(map[string]string)}
	s.name = "storage"
	s.set(status{reason: "initial sync not begun"})
	return s
}

// lookup returns the record of a session. Nothing can be said before the first snapshot
// is whole: synced is false then.
func (s *storage) lookup(id string) (record session, known, synced bool) {
	s.records.RLock()
	defer s.records.RUnlock()
	if s.sessions == nil {
		return session{}, false, false
	}
	record, known = s.sessions[id]
	return record, known, true
}

// progress says how far the initial sync is.
func (s *storage) progress() string {
	s.records.RLock()
	defer s.records.RUnlock()
	if s.staged == nil {
		return s.status().reason
	}
	return fmt.Sprintf("initial sync %d/%d", len(s.staged), s.total)
}

// from is where the stream is to go on.
func (s *storage) from() feed.Position {
	s.records.RLock()
	defer s.records.RUnlock()
	return s.position
}

// message takes one message of the stream.
func (s *storage) message(m feed.Message) error {
	s.records.Lock()
	fresh, err := s.apply(m)
	synced, staged, total := s.sessions != nil, len(s.staged), s.total
	s.records.Unlock()
	if err != nil {
		return err
	}
	switch {
	case fresh:
		s.fresh()
		s.set(status{phase: ready})
	case !synced && (staged == 0 || staged-s.said >= total/20):
		// A twentieth at a time: each status is one more version of the health model.
		s.said = staged
		s.set(status{reason: fmt.Sprintf("initial sync %d/%d", staged, total)})
	}
	return nil
}

// apply changes the records and reports whether they are known to be as new as can be.
func (s *storage) apply(m feed.Message) (fresh bool, err error) {
	switch m.Kind {
	case feed.Begin:
		s.staged, s.total, s.said = make(map[string]session, m.Total), m.Total, 0
		s.following = feed.Position{Epoch: m.Epoch, Version: m.Version}
	case feed.Records:
		if s.staged == nil {
			return false, errors.New("records outside of a snapshot")
		}
		s.put(s.staged, m.Records)
	case feed.Delta:
		if s.staged != nil {
			s.put(s.staged, m.Records)
			return false, nil
		}
		if s.sessions == nil || m.Version <= s.position.Version {
			return false, fmt.Errorf("delta to version %d does not follow on version %d", m.Version, s.position.Version)
		}
		s.put(s.sessions, m.Records)
		s.position.Version = m.Version
		return true, nil
	case feed.End:
		if s.staged == nil || len(s.staged) != m.Total {
			return false, fmt.Errorf("snapshot ends with %d of %d records", len(s.staged), m.Total)
		}
		s.sessions, s.staged = s.staged, nil
		s.position = feed.Position{Epoch: s.following.Epoch, Version: m.Version}
		return true, nil
	case feed.Resume:
		if s.sessions == nil || m.Epoch != s.position.Epoch || m.Version != s.position.Version {
			return false, errors.New("stream goes on from a version that is not here")
		}
		s.staged = nil
		return true, nil
	case feed.Heartbeat:
		return s.sessions != nil && s.staged == nil, nil
	default:
		return false, errors.New("unexpected kind")
	}
	return false, nil
}

func (s *storage) put(into map[string]session, records []feed.Record) {
	for _, r := range records {
		group, ok := s.groups[r.Group]
		if !ok {
			s.groups[r.Group] = r.Group
			group = r.Group
		}
		into[r.ID] = session{group: group, revoked: r.Revoked}
	}
}

// broken takes note that the stream broke. What was staged is of no use: the next
// connection starts the snapshot again.
func (s *storage) broken(err error) {
	s.records.Lock()
	s.staged = nil
	s.records.Unlock()
	s.update(func(now status) status { return now.trouble("stream broken: " + err.Error()) })
}

package proxy

import (
	"errors"
	"fmt"
	"testing"

	"github.com/rollout-lab/rollout-lab/targets/refproxy/feed"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/policy"
)

// configuration is a good configuration with a number of routes beside /app/.
func configuration(routes int) policy.Config {
	c := policy.Config{Generation: 1, Routes: []policy.Route{{Prefix: "/app/", Allow: []string{"staff"}}}}
	for n := range routes {
		c.Routes = append(c.Routes, policy.Route{Prefix: fmt.Sprintf("/other-%d/", n)})
	}
	return c
}

// Messages of a stream of two sessions.
var (
	begin  = feed.Message{Kind: feed.Begin, Epoch: "e", Version: 1, Total: 2}
	first  = feed.Message{Kind: feed.Records, Records: []feed.Record{{ID: "x", Group: "g"}}}
	second = feed.Message{Kind: feed.Records, Records: []feed.Record{{ID: "y", Group: "g"}}}
	end    = feed.Message{Kind: feed.End, Version: 1, Total: 2}
	resume = feed.Message{Kind: feed.Resume, Epoch: "e", Version: 1}
	beat   = feed.Message{Kind: feed.Heartbeat}
)

// revoke is a delta that revokes a session.
func revoke(id string, version uint64) feed.Message {
	return feed.Message{Kind: feed.Delta, Version: version, Records: []feed.Record{{ID: id, Group: "g", Revoked: true}}}
}

func TestStorageAppliesWhatMakesSense(t *testing.T) {
	broken := feed.Message{Kind: "broken"} // stands for the end of the connection
	tests := []struct {
		name     string
		messages []feed.Message
		fails    bool   // the last message
		x        string // what is known of session x after that
		phase    phase
		version  uint64
	}{
		{"nothing", nil, false, "unsynced", starting, 0},
		{"beginning", []feed.Message{begin}, false, "unsynced", starting, 0},
		{"all but the end", []feed.Message{begin, first, second}, false, "unsynced", starting, 0},
		{"heartbeat in mid-snapshot", []feed.Message{begin, first, beat}, false, "unsynced", starting, 0},
		{"whole", []feed.Message{begin, first, second, end}, false, "active", ready, 1},
		{"end of a snapshot with a gap", []feed.Message{begin, first, end}, true, "unsynced", starting, 0},
		{"end without a beginning", []feed.Message{end}, true, "unsynced", starting, 0},
		{"records without a beginning", []feed.Message{first}, true, "unsynced", starting, 0},
		{"delta without a snapshot", []feed.Message{revoke("x", 2)}, true, "unsynced", starting, 0},
		{"resume without a snapshot", []feed.Message{resume}, true, "unsynced", starting, 0},
		{"change in mid-snapshot", []feed.Message{begin, first, second, revoke("x", 2), {Kind: feed.End, Version: 2, Total: 2}}, false, "revoked", ready, 2},
		{"change", []feed.Message{begin, first, second, end, revoke("x", 2)}, false, "revoked", ready, 2},
		{"change of another", []feed.Message{begin, first, second, end, revoke("y", 2)}, false, "active", ready, 2},
		{"change from the past", []feed.Message{begin, first, second, end, revoke("x", 1)}, true, "active", ready, 1},
		{"configuration", []feed.Message{begin, first, second, end, {Kind: feed.Config}}, true, "active", ready, 1},
		{"broken before the end", []feed.Message{begin, first, broken, second}, true, "unsynced", starting, 0},
		{"broken after the end", []feed.Message{begin, first, second, end, broken}, false, "active", degraded, 1},
		{"gone on from there", []feed.Message{begin, first, second, end, broken, resume}, false, "active", ready, 1},
		{"gone on from elsewhere", []feed.Message{begin, first, second, end, broken, {Kind: feed.Resume, Epoch: "e", Version: 2}}, true, "active", degraded, 1},
		{"other epoch, under way", []feed.Message{begin, first, second, end, broken, {Kind: feed.Begin, Epoch: "f", Version: 1, Total: 1}, second, beat}, false, "active", degraded, 1},
		{"other epoch, whole", []feed.Message{begin, first, second, end, broken, {Kind: feed.Begin, Epoch: "f", Version: 1, Total: 1}, second, {Kind: feed.End, Version: 1, Total: 1}}, false, "unknown", ready, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newStorage()
			var err error
			for i, m := range tt.messages {
				if err != nil {
					t.Fatalf("message %d: %v", i-1, err)
				}
				if m.Kind == broken.Kind {
					s.broken(errors.New("gone"))
					continue
				}
				err = s.message(m)
			}
			if (err != nil) != tt.fails {
				t.Errorf("last message: error %v, want one: %v", err, tt.fails)
			}
			if got := describe(s, "x"); got != tt.x {
				t.Errorf("session x is %s, want %s", got, tt.x)
			}
			if got := s.status().phase; got != tt.phase {
				t.Errorf("phase %v, want %v", got, tt.phase)
			}
			if got := s.from().Version; got != tt.version {
				t.Errorf("version %d, want %d", got, tt.version)
			}
		})
	}
}

func describe(s *storage, id string) string {
	record, known, synced := s.lookup(id)
	switch {
	case !synced:
		return "unsynced"
	case !known:
		return "unknown"
	case record.revoked:
		return "revoked"
	}
	return "active"
}

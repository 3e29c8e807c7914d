package control

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/time/rate"

	"github.com/rollout-lab/rollout-lab/targets/refproxy/admin"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/feed"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/policy"
)

// A snapshot goes out in batches that follow each other about every batchEvery: short
// enough for an even rate, long enough that a batch is worth its line.
const (
	batchEvery = 10 * time.Millisecond
	maxBatch   = 1000
)

// writeTimeout bounds how long a follower that reads nothing, because it is frozen, may
// hold a stream.
const writeTimeout = 30 * time.Second

// subscriber is one stream that is being followed. The plane's lock guards it.
type subscriber struct{ Subscriber }

// Streams serves the streams and the signing keys to proxies.
func (p *Plane) Streams() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+feed.ConfigPath, func(w http.ResponseWriter, r *http.Request) {
		p.serve(w, r, "config", (*stream).config)
	})
	mux.HandleFunc("GET "+feed.SessionsPath, func(w http.ResponseWriter, r *http.Request) {
		p.serve(w, r, "sessions", (*stream).sessions)
	})
	mux.HandleFunc("GET "+feed.KeysPath, func(w http.ResponseWriter, _ *http.Request) {
		admin.WriteJSON(w, http.StatusOK, p.issuer.Keys())
	})
	if p.options.AllowFaults {
		mux.HandleFunc("GET "+feed.FaultsPath, func(w http.ResponseWriter, r *http.Request) {
			p.serve(w, r, "faults", (*stream).faults)
		})
		mux.HandleFunc("POST "+feed.FaultsPath, p.acknowledge)
	}
	return mux
}

// serve runs one stream until its follower is gone.
func (p *Plane) serve(w http.ResponseWriter, r *http.Request, name string,
	run func(*stream, context.Context, feed.Position) error) {
	instance, from := feed.ParseQuery(r.URL.Query())
	sub := &subscriber{Subscriber{Instance: instance, Stream: name, Since: time.Now()}}
	p.mu.Lock()
	p.subscribers[sub] = struct{}{}
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.subscribers, sub)
	}()

	w.Header().Set("Content-Type", "application/x-ndjson")
	heartbeat := time.NewTicker(p.options.Heartbeat)
	defer heartbeat.Stop()
	s := &stream{
		plane: p, sub: sub, heartbeat: heartbeat.C,
		lines: json.NewEncoder(w), conn: http.NewResponseController(w),
	}
	// A follower must see at once that it is connected, also when there is nothing to
	// send because the streams are stalled.
	if err := s.conn.Flush(); err != nil {
		return
	}
	// The error says that the follower is gone or frozen. It comes back by itself, and
	// says on its own side what happened, so there is nobody to tell it here.
	_ = run(s, r.Context(), from)
}

// stream sends one follower what it follows.
type stream struct {
	plane     *Plane
	sub       *subscriber
	heartbeat <-chan time.Time
	lines     *json.Encoder
	conn      *http.ResponseController
}

// config sends the generation that there is, and then each new one.
func (s *stream) config(ctx context.Context, from feed.Position) error {
	p := s.plane
	sent := policy.Generation(0)
	if from.Epoch == p.epoch {
		sent = policy.Generation(from.Version)
		// A follower that came back must not wait to hear that it missed nothing.
		if err := s.send(ctx, feed.Message{Kind: feed.Heartbeat}); err != nil {
			return err
		}
	}
	for {
		// What is sent after a stall must be what there is then, not what there was.
		if err := s.unstalled(ctx); err != nil {
			return err
		}
		p.mu.Lock()
		c, changed := p.config, p.changed
		p.mu.Unlock()
		if c.Generation != sent {
			if err := s.send(ctx, feed.Message{Kind: feed.Config, Epoch: p.epoch, Config: c}); err != nil {
				return err
			}
			sent = c.Generation
			s.progress(uint64(sent), 0)
			continue
		}
		if err := s.idle(ctx, changed, nil); err != nil {
			return err
		}
	}
}

// sessions sends a snapshot of the session records, unless the follower has one that can
// be gone on from, and then each change.
func (s *stream) sessions(ctx context.Context, from feed.Position) error {
	p := s.plane
	_, now := p.since(1)
	version := from.Version
	if from.Epoch == p.epoch && version >= 1 && version <= now {
		if err := s.send(ctx, feed.Message{Kind: feed.Resume, Epoch: p.epoch, Version: version}); err != nil {
			return err
		}
	} else {
		var err error
		if version, err = s.snapshot(ctx); err != nil {
			return err
		}
	}
	s.progress(version, 0)
	for {
		p.mu.Lock()
		changed := p.changed
		p.mu.Unlock()
		records, now := p.since(version)
		if len(records) > 0 {
			if err := s.send(ctx, feed.Message{Kind: feed.Delta, Version: now, Records: records}); err != nil {
				return err
			}
			version = now
			s.progress(version, 0)
			continue
		}
		if err := s.idle(ctx, changed, nil); err != nil {
			return err
		}
	}
}

// snapshot sends all session records at the rate of the options and returns the version
// that they are true as of.
func (s *stream) snapshot(ctx context.Context) (uint64, error) {
	p := s.plane
	total := p.options.Sessions
	_, begun := p.since(1)
	err := s.send(ctx, feed.Message{Kind: feed.Begin, Epoch: p.epoch, Version: begun, Total: total})
	if err != nil {
		return 0, err
	}
	size := batchSize(p.options.SyncRate)
	pace := rate.NewLimiter(rate.Limit(p.options.SyncRate), size)
	// A limiter starts full. Emptied, all of the records take total/rate, not all but
	// the first batch.
	pace.AllowN(time.Now(), size)
	for n := 0; n < total; n += size {
		to := min(n+size, total)
		if err := s.wait(ctx, pace.ReserveN(time.Now(), to-n).Delay()); err != nil {
			return 0, err
		}
		err := s.send(ctx, feed.Message{Kind: feed.Records, Records: p.records(n, to)})
		if err != nil {
			return 0, err
		}
		s.progress(0, to)
	}
	// A batch holds its records as they were when it was sent. Repeating what changed
	// since the beginning makes the whole snapshot true as of one version.
	records, version := p.since(begun)
	if len(records) > 0 {
		if err := s.send(ctx, feed.Message{Kind: feed.Delta, Version: version, Records: records}); err != nil {
			return 0, err
		}
	}
	return version, s.send(ctx, feed.Message{Kind: feed.End, Version: version, Total: total})
}

// batchSize is how many records go into one batch at a rate of records a second.
func batchSize(perSecond float64) int {
	return int(min(max(perSecond*batchEvery.Seconds(), 1), maxBatch))
}

// wait waits, with heartbeats.
func (s *stream) wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	return s.idle(ctx, nil, timer.C)
}

// idle sends heartbeats until one of the channels is ready; nil ones never are.
func (s *stream) idle(ctx context.Context, changed <-chan struct{}, due <-chan time.Time) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
			return nil
		case <-due:
			return nil
		case <-s.heartbeat:
			if err := s.send(ctx, feed.Message{Kind: feed.Heartbeat}); err != nil {
				return err
			}
		}
	}
}

// unstalled waits until the streams are not stalled.
func (s *stream) unstalled(ctx context.Context) error {
	for {
		s.plane.mu.Lock()
		stalled, changed := s.plane.stalled, s.plane.changed
		s.plane.mu.Unlock()
		if !stalled {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// send sends one message, once the streams are not stalled.
func (s *stream) send(ctx context.Context, m feed.Message) error {
	if err := s.unstalled(ctx); err != nil {
		return err
	}
	return s.write(m)
}

// write sends one message at once.
func (s *stream) write(m feed.Message) error {
	if err := s.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return fmt.Errorf("bound write: %w", err)
	}
	if err := s.lines.Encode(m); err != nil {
		return err
	}
	return s.conn.Flush()
}

// progress notes for the status what was sent last.
func (s *stream) progress(position uint64, records int) {
	s.plane.mu.Lock()
	defer s.plane.mu.Unlock()
	s.sub.Position, s.sub.Records = position, records
}

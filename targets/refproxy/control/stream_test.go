package control_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollout-lab/rollout-lab/targets/refproxy/control"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/credential"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/feed"
)

// newPlane returns a control plane with 100 sessions at 100 records a second.
func newPlane(t *testing.T, change func(*control.Options)) *control.Plane {
	t.Helper()
	o := control.Options{Seed: make([]byte, credential.SeedSize), Sessions: 100, SyncRate: 100, Routes: 2}
	if change != nil {
		change(&o)
	}
	p, err := control.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// line is a message with the time at which it was sent, from the begin of the stream.
type line struct {
	feed.Message
	at time.Duration
}

// wire is a response that hands over each message.
type wire struct {
	header http.Header
	begun  time.Time
	lines  chan line
}

func (w *wire) Header() http.Header              { return w.header }
func (w *wire) WriteHeader(int)                  {}
func (w *wire) Flush()                           {}
func (w *wire) SetWriteDeadline(time.Time) error { return nil }
func (w *wire) Write(p []byte) (int, error) {
	l := line{at: time.Since(w.begun)}
	if err := json.Unmarshal(p, &l.Message); err != nil {
		return 0, err
	}
	w.lines <- l
	return len(p), nil
}

// open follows a stream without a network, so that it can be used where time is not real.
// The stream ends with the test.
func open(t *testing.T, p *control.Plane, path string, from feed.Position) <-chan line {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &wire{header: make(http.Header), begun: time.Now(), lines: make(chan line, 10_000)}
	r := httptest.NewRequestWithContext(ctx, "GET", path+"?"+feed.Query("a", from).Encode(), nil)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.Streams().ServeHTTP(w, r)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return w.lines
}

// until takes lines up to and with the first of a kind.
func until(t *testing.T, lines <-chan line, kind feed.Kind) []line {
	t.Helper()
	var got []line
	for {
		select {
		case l := <-lines:
			if got = append(got, l); l.Kind == kind {
				return got
			}
		case <-time.After(time.Minute):
			t.Fatalf("no message of kind %q after %v", kind, got)
		}
	}
}

func TestSnapshotTakesSessionsOverRate(t *testing.T) {
	for name, tt := range map[string]struct {
		sessions int
		rate     float64
		want     time.Duration
	}{
		"slower than a batch":    {3, 2, 1500 * time.Millisecond},
		"one record":             {1, 10, 100 * time.Millisecond},
		"batches that do not go": {1005, 1000, 1005 * time.Millisecond},
		"the origin's":           {30_000, 1000, 30 * time.Second},
		"fast":                   {250_000, 1e6, 250 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPlane(t, func(o *control.Options) { o.Sessions, o.SyncRate = tt.sessions, tt.rate })
				lines := until(t, open(t, p, feed.SessionsPath, feed.Position{}), feed.End)
				end := lines[len(lines)-1]
				// The limiter keeps fractions of a record; what it rounds is nanoseconds.
				if d := (end.at - tt.want).Abs(); d > time.Microsecond {
					t.Errorf("snapshot took %v, want %v", end.at, tt.want)
				}
				var records []feed.Record
				for _, l := range lines {
					records = append(records, l.Records...)
				}
				if len(records) != tt.sessions || end.Total != tt.sessions {
					t.Fatalf("%d records, total %d, want %d", len(records), end.Total, tt.sessions)
				}
				for n, r := range records {
					if r.ID != credential.SessionID(n) || r.Revoked != credential.Revoked(n) {
						t.Fatalf("record %d is %+v", n, r)
					}
				}
			})
		})
	}
}

func TestSnapshotIsTrueAsOfItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlane(t, nil)
		lines := open(t, p, feed.SessionsPath, feed.Position{})
		first := until(t, lines, feed.Records)
		// Sent already, so that no later batch says it.
		revoked := first[len(first)-1].Records[0].ID
		if _, err := p.Revoke(revoked); err != nil {
			t.Fatal(err)
		}
		rest := until(t, lines, feed.End)
		if end := rest[len(rest)-1]; end.Version != 2 {
			t.Errorf("snapshot ends at version %d, want 2", end.Version)
		}
		delta := rest[len(rest)-2]
		if delta.Kind != feed.Delta || len(delta.Records) != 1 ||
			delta.Records[0].ID != revoked || !delta.Records[0].Revoked {
			t.Errorf("before the end came %+v, want the revocation of %s", delta, revoked)
		}
	})
}

func TestDeltaFollowsSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlane(t, nil)
		lines := open(t, p, feed.SessionsPath, feed.Position{})
		until(t, lines, feed.End)
		version, err := p.Revoke(credential.SessionID(5))
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		got := until(t, lines, feed.Delta)
		if took := time.Since(begun); took != 0 {
			t.Errorf("delta came after %v, want at once", took)
		}
		want := feed.Message{Kind: feed.Delta, Version: version, Records: []feed.Record{
			{ID: credential.SessionID(5), Group: "staff", Revoked: true},
		}}
		if diff := cmp.Diff(want, got[len(got)-1].Message); diff != "" {
			t.Errorf("delta (-want +got):\n%s", diff)
		}
	})
}

func TestSessionsGoOnFromAVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlane(t, nil)
		epoch := p.Status().Epoch
		for n := range 3 {
			if _, err := p.Revoke(credential.SessionID(n)); err != nil {
				t.Fatal(err)
			}
		}
		for name, tt := range map[string]struct {
			from feed.Position
			want feed.Kind
		}{
			"version that it knows": {feed.Position{Epoch: epoch, Version: 2}, feed.Resume},
			"newest version":        {feed.Position{Epoch: epoch, Version: 4}, feed.Resume},
			"version of the future": {feed.Position{Epoch: epoch, Version: 5}, feed.Begin},
			"version 0":             {feed.Position{Epoch: epoch}, feed.Begin},
			"other epoch":           {feed.Position{Epoch: "other", Version: 2}, feed.Begin},
			"nothing yet":           {feed.Position{}, feed.Begin},
		} {
			lines := open(t, p, feed.SessionsPath, tt.from)
			if got := (<-lines).Kind; got != tt.want {
				t.Errorf("%s: first message is %q, want %q", name, got, tt.want)
			}
			if tt.from.Version != 2 || tt.want != feed.Resume {
				continue
			}
			delta := <-lines
			if delta.Kind != feed.Delta || delta.Version != 4 || len(delta.Records) != 2 {
				t.Errorf("%s: then came %+v, want two changes up to version 4", name, delta)
			}
		}
	})
}

func TestStreamsHaveAHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlane(t, func(o *control.Options) { o.Sessions, o.SyncRate = 2, 0.1 })
		for _, path := range []string{feed.ConfigPath, feed.SessionsPath} {
			lines := open(t, p, path, feed.Position{})
			var at []time.Duration
			for range 3 {
				got := until(t, lines, feed.Heartbeat)
				at = append(at, got[len(got)-1].at)
			}
			// Also while a snapshot is under way, which takes 20 s here.
			if want := []time.Duration{time.Second, 2 * time.Second, 3 * time.Second}; !slices.Equal(at, want) {
				t.Errorf("%s: heartbeats at %v, want %v", path, at, want)
			}
		}
	})
}

func TestConfigStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlane(t, nil)
		lines := open(t, p, feed.ConfigPath, feed.Position{})
		first := <-lines
		if first.Kind != feed.Config || first.Config.Generation != 1 || len(first.Config.Routes) != 4 {
			t.Fatalf("first message is %+v, want generation 1 with 4 routes", first)
		}
		p.Publish(false)
		second := <-lines
		if second.Kind != feed.Config || second.Config.Generation != 2 {
			t.Errorf("after a publication came %+v, want generation 2", second)
		}
		// A follower that has it is told so, and is sent only what is new.
		again := open(t, p, feed.ConfigPath, feed.Position{Epoch: first.Epoch, Version: 2})
		if got := <-again; got.Kind != feed.Heartbeat || got.at != 0 {
			t.Errorf("follower at generation 2 gets %+v, want a heartbeat at once", got)
		}
		other := open(t, p, feed.ConfigPath, feed.Position{Epoch: "other", Version: 2})
		if got := <-other; got.Kind != feed.Config {
			t.Errorf("follower of another epoch gets %+v, want the configuration", got)
		}
	})
}

func TestStallSilencesStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlane(t, nil)
		config := open(t, p, feed.ConfigPath, feed.Position{})
		sessions := open(t, p, feed.SessionsPath, feed.Position{})
		until(t, config, feed.Config)
		until(t, sessions, feed.Records)
		synctest.Wait()
		p.Stall(true)
		drain(sessions) // what was on its way
		p.Publish(false)
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := len(drain(config)) + len(drain(sessions)); n != 0 {
			t.Errorf("%d messages in an hour of silence", n)
		}
		p.Stall(false)
		got := until(t, config, feed.Config)
		if g := got[len(got)-1].Config.Generation; g != 2 {
			t.Errorf("after the silence came generation %d, want 2", g)
		}
		// The silence must not have saved up records beyond one batch.
		begun := time.Now()
		until(t, sessions, feed.End)
		if took := time.Since(begun); took < 900*time.Millisecond {
			t.Errorf("rest of the snapshot took %v, want close to a second", took)
		}
	})
}

func TestStallEndsWithTheNewestGeneration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlane(t, nil)
		p.Stall(true)
		lines := open(t, p, feed.ConfigPath, feed.Position{})
		synctest.Wait()
		p.Publish(false)
		p.Publish(true)
		p.Stall(false)
		if got := (<-lines).Config.Generation; got != 3 {
			t.Errorf("first generation after a stall is %d, want the newest, 3", got)
		}
	})
}

// drain takes the lines that are there.
func drain(lines <-chan line) (got []line) {
	for {
		select {
		case l := <-lines:
			got = append(got, l)
		default:
			return got
		}
	}
}

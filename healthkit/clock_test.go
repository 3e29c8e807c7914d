//go:build go1.25

package healthkit

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// setClock gives the registry a wall clock that can be set; verdicts do not go by it.
func setClock(r *Registry) (step func(time.Duration)) {
	var offset time.Duration
	r.wall = func() time.Time { return time.Now().Round(0).Add(offset) }
	return func(d time.Duration) { offset += d }
}

func TestTimesSurviveAStepOfTheWallClock(t *testing.T) {
	for _, by := range []time.Duration{8 * time.Hour, -8 * time.Hour, 150 * time.Millisecond, 30 * 365 * 24 * time.Hour} {
		t.Run(by.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := New(Config{Generations: GenerationPolicy{Agree: true}})
				step := setClock(r)
				c := mustRegister(t, r, "c", Options{TTL: 24 * time.Hour, Generational: true})
				loop, err := r.RegisterLoop("loop", 24*time.Hour)
				if err != nil {
					t.Fatal(err)
				}
				defer loop.Close()
				c.Failed(errors.New("refused"))
				c.Ready()
				c.Generation(1)
				time.Sleep(time.Hour)
				age := func(at time.Time) time.Duration { return r.wall().Sub(at) }
				old := r.Snapshot()
				step(by)
				time.Sleep(wallCheck)
				s := r.Snapshot()
				want := time.Hour + wallCheck
				status, _ := s.Component("c")
				for name, at := range map[string]time.Time{
					"since": status.Since, "last error": status.LastErrorAt, "generation": status.GenerationSince,
					"created": s.Created, "first ready": s.FirstReady, "phase": s.PhaseSince, "loop": s.Loops[0].Since,
				} {
					if got := age(at); got != want {
						t.Errorf("%s: age %v, want %v", name, got, want)
					}
				}
				if s.Version <= old.Version || !s.Ready() {
					t.Errorf("version %d after %d, ready %v, want another snapshot with the same verdict", s.Version, old.Version, s.Ready())
				}
				// What happens after the step happens now.
				c.Failed(errors.New("refused"))
				if status, _ = r.Snapshot().Component("c"); age(status.Since) != 0 || age(status.LastErrorAt) != 0 {
					t.Errorf("a failure of this instant is %v old", age(status.Since))
				}
				if _, body := get(t, r.Handler(), http.MethodGet, "/readyz?verbose"); !strings.Contains(body, "c failed: refused (generation 1) since "+stamp(r.wall())) {
					t.Errorf("?verbose does not say %s:\n%s", stamp(r.wall()), body)
				}
				closeRegistry(t, r)
			})
		})
	}
}

// A clock that drifts, or is looked at late, is no clock that was set.
func TestSmallDifferencesOfTheWallClockAreNoChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{})
		step := setClock(r)
		mustRegister(t, r, "c", Options{}).Ready()
		first := r.Snapshot()
		step(99 * time.Millisecond)
		time.Sleep(time.Minute)
		if s := r.Snapshot(); s != first {
			t.Errorf("99 ms made version %d of %d", s.Version, first.Version)
		}
		// They add up.
		step(2 * time.Millisecond)
		time.Sleep(wallCheck)
		s := r.Snapshot()
		if got, want := s.Created.Sub(first.Created), 101*time.Millisecond; got != want {
			t.Errorf("created is moved by %v, want %v", got, want)
		}
		held := r.wall
		r.wall = func() time.Time { defer time.Sleep(3 * time.Second); return held() }
		time.Sleep(wallCheck)
		if later := r.Snapshot(); later != s {
			t.Error("who is held up between two clocks takes it for a step")
		}
	})
}

// The clock that services have: a snapshot's times can be subtracted without it.
func TestTimesAreMonotonicToo(t *testing.T) {
	r := New(Config{})
	mustRegister(t, r, "c", Options{}).Ready()
	for range 2 {
		s := r.Snapshot()
		if !strings.Contains(s.PhaseSince.String(), " m=") {
			t.Errorf("%v has no monotonic part", s.PhaseSince)
		}
		// As after a step.
		r.anchor, r.anchored = time.Now(), r.now()
		r.snapshot.Store(nil)
	}
}

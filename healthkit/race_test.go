//go:build go1.25

package healthkit

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// 64 reporters and 64 probers, with registrations, retractions, expiries and
// ticks between them. What is asserted holds at any moment; in the end, when
// everyone has reported ready, the process is.
func TestReportersAndProbers(t *testing.T) {
	const workers, rounds = 64, 60
	r := New(Config{Generations: GenerationPolicy{Agree: true, Grace: time.Millisecond}})
	anchor := mustRegister(t, r, "anchor", Options{})
	anchor.Ready()
	failure := errors.New("no route")
	var all sync.WaitGroup
	for i := range workers {
		name := fmt.Sprintf("component-%02d", i)
		opts := modelOptions[i%len(modelOptions)]
		if opts.TTL > 0 {
			opts.TTL = time.Hour // the expiries come from ReadyFor
		}
		all.Go(func() {
			c, err := r.Register(name, opts)
			if err != nil {
				t.Error(err)
				return
			}
			token, err := r.RegisterLoop(name, time.Minute)
			if err != nil {
				t.Error(err)
				return
			}
			defer token.Close()
			for k := range rounds {
				token.Tick()
				switch (k + i) % 6 {
				case 0:
					c.Failed(failure)
				case 1:
					c.ReadyFor(time.Microsecond)
				case 2:
					c.Degraded("slow")
				case 3:
					c.Generation(uint64(k / 20))
				case 4:
					c.Ready()
				case 5:
					if k%20 == 5 {
						c.Retract()
						if c, err = r.Register(name, opts); err != nil {
							t.Error(err)
							return
						}
					}
				}
			}
			c.Generation(99)
			for range 3 {
				c.Ready()
			}
		})
		all.Go(func() {
			var last uint64
			h := r.Handler()
			for k := range rounds {
				s := r.Snapshot()
				if s.Version < last {
					t.Errorf("version fell from %d to %d", last, s.Version)
				}
				last = s.Version
				if again, _ := s.ReadyWithout(); again != s.Ready() {
					t.Errorf("snapshot %d: counters say %v, components say %v", s.Version, s.Ready(), again)
				}
				if (len(s.Causes()) == 0) != s.Ready() {
					t.Errorf("snapshot %d: ready %v, causes %v", s.Version, s.Ready(), s.Causes())
				}
				path := []string{"/readyz", "/livez", "/readyz?verbose", "/statusz"}[k%4]
				h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil))
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	watched := make(chan uint64)
	go func() {
		var last uint64
		for s := range r.Watch(ctx) {
			if s.Version <= last {
				t.Errorf("watch: version %d after %d", s.Version, last)
			}
			last = s.Version
		}
		watched <- last
	}()
	all.Wait()
	// Those that recover in time rather than count need the clock; a retraction
	// does not.
	for _, c := range r.Snapshot().Components {
		if c.Pending != "" {
			r.byName[c.Name].Retract()
		}
	}
	if s := r.Snapshot(); !s.Ready() {
		t.Errorf("got %s, want ready", s.Reason())
	}
	if err := r.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if got, want := <-watched, r.Version(); got != want {
		t.Errorf("watch ended with version %d, want %d", got, want)
	}
	cancel()
}

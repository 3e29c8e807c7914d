package main

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollout-lab/rollout-lab/healthkit"
)

// An outage of what every instance shares lasts an hour. A restart does not repair it, and
// an instance that nobody can replace with a better one has to keep its requests.
func TestOutageOfTheDatabase(t *testing.T) {
	silent := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	refused := func(context.Context) error { return errors.New("connection refused") }
	var deaf chan struct{}
	tests := map[string]struct {
		ping, fetch func(context.Context) error
		ready, live bool
	}{
		"it refuses":                {refused, refused, true, true},
		"it does not answer":        {silent, silent, true, true},
		"only the query is held up": {fine, silent, false, true},
		// This is what the limit of the loop is for, and what a timeout that
		// the driver does not heed looks like.
		"the loop is stuck": {fine, func(context.Context) error { <-deaf; return nil }, false, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				deaf = make(chan struct{})
				var down atomic.Bool
				turns := func(outage func(context.Context) error) func(context.Context) error {
					return func(ctx context.Context) error {
						if down.Load() {
							return outage(ctx)
						}
						return nil
					}
				}
				during(t, turns(tt.ping), turns(tt.fetch))
				registry := healthkit.New(healthkit.Config{Expect: []string{"records", "database"}})
				if _, err := startParts(t.Context(), registry); err != nil {
					t.Fatal(err)
				}
				over := sync.OnceFunc(func() {
					down.Store(false)
					close(deaf)
				})
				defer func() {
					over()
					if _, err := registry.Shutdown(t.Context(), healthkit.ShutdownPlan{}); err != nil {
						t.Error(err)
					}
				}()
				time.Sleep(time.Minute)
				if s := registry.Snapshot(); !s.Ready() || s.Degraded() || !s.Live() {
					t.Fatalf("before the outage: %s, %s", s.Reason(), s.LiveReason())
				}
				down.Store(true)
				time.Sleep(40 * time.Second) // the limit of the loop and the TTL are over
				for range 3600 {
					time.Sleep(time.Second)
					if s := registry.Snapshot(); s.Ready() != tt.ready || s.Live() != tt.live {
						t.Fatalf("got ready %v, live %v: %s, %s", s.Ready(), s.Live(), s.Reason(), s.LiveReason())
					}
				}
				if s := registry.Snapshot(); tt.ready && !strings.Contains(s.Reason(), "records failed") {
					t.Errorf("the outage does not show: %s", s.Reason())
				}
				over()
				time.Sleep(time.Minute)
				if s := registry.Snapshot(); !s.Ready() || s.Degraded() || !s.Live() {
					t.Errorf("after the outage: %s, %s", s.Reason(), s.LiveReason())
				}
			})
		})
	}
}

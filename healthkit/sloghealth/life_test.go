//go:build go1.25

package sloghealth_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollout-lab/rollout-lab/healthkit"
	"github.com/rollout-lab/rollout-lab/healthkit/sloghealth"
)

func advance(t *testing.T, r *healthkit.Registry, p healthkit.Phase, reason string) {
	t.Helper()
	if err := r.Advance(p, reason); err != nil {
		t.Fatal(err)
	}
}

// TestLife is the log of a process from its beginning to its end.
func TestLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := healthkit.New(healthkit.Config{})
		database := register(t, r, "database", healthkit.Options{OnFailure: healthkit.FailShared})
		cache := register(t, r, "cache", healthkit.Options{Optional: true})
		records := register(t, r, "records", healthkit.Options{TTL: time.Minute, DependsOn: []string{"database"}})
		loop, err := r.RegisterLoop("sync", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		var log lines
		done := make(chan struct{})
		go func() {
			defer close(done)
			if err := sloghealth.To(log.logger(slog.LevelDebug))(t.Context(), r); err != nil {
				t.Error(err)
			}
		}()
		for _, step := range []struct {
			name string
			do   func()
			want string
		}{
			{"nothing has happened", func() {}, ""},
			{"what does not change a state", func() { records.Starting("1 of 2"); records.Starting("2 of 2") }, ""},
			{"failed before it was ever ready", func() { database.Failed(errors.New("refused")) }, `
level=ERROR msg="component changed" component=database from=starting to=failed reason=refused
`},
			{"ready", func() {
				time.Sleep(2 * time.Second)
				database.Ready()
				cache.Ready()
				records.Ready()
			}, `
level=INFO msg="component changed" component=cache from=starting to=ready
level=INFO msg="component changed" component=database from=failed to=ready
level=INFO msg="component changed" component=records from=starting to=ready
level=INFO msg=ready after=2s
`},
			{"optional fails", func() { cache.Failed(errors.New("gone\naway")) }, `
level=WARN msg="component changed" component=cache from=ready to=failed reason="gone\naway"
`},
			{"a new reason", func() { cache.Failed(errors.New("still")) }, ""},
			{"shared fails, and what depends on it", func() { database.Failed(errors.New("down")); records.Failed(errors.New("no rows")) }, `
level=WARN msg="component changed" component=database from=ready to=failed reason=down
level=WARN msg="component changed" component=records from=ready to=failed reason="no rows"
`},
			{"shared is back", func() { database.Ready() }, `
level=INFO msg="component changed" component=database from=failed to=ready
level=WARN msg="not ready" reason="records failed: no rows"
`},
			{"less than it should be", func() { records.Degraded("slow") }, `
level=WARN msg="component changed" component=records from=failed to=degraded reason=slow
level=INFO msg=ready
`},
			{"silent", func() { time.Sleep(time.Minute) }, `
level=ERROR msg="component changed" component=records from=degraded to=stale reason="no report within its time to live; last was degraded: slow"
level=WARN msg="not ready" reason="records stale: no report within its time to live; last was degraded: slow"
`},
			{"twice before anybody looks", func() { records.Ready(); records.Failed(errors.New("x")); records.Ready() }, `
level=INFO msg="component changed" component=records from=stale to=ready changes=3
level=INFO msg=ready
`},
			{"there and back", func() { records.Failed(errors.New("x")); records.Ready() }, `
level=INFO msg="component changed" component=records from=ready to=ready changes=2
`},
			{"retracted", func() { cache.Retract() }, `
level=INFO msg="component retracted" component=cache from=failed
`},
			{"another one of that name", func() { register(t, r, "cache", healthkit.Options{Optional: true}) }, ""},
			{"stuck", func() { go keep(t, records); time.Sleep(time.Hour) }, `
level=ERROR msg="loop stuck" loop=sync limit=1h0m0s
`},
			{"goes on", loop.Tick, `
level=INFO msg="loop resumed" loop=sync limit=1h0m0s
`},
			{"told to stop", func() { loop.Close(); advance(t, r, healthkit.PhaseLameDuck, "SIGTERM") }, `
level=INFO msg="phase changed" from=serving to=lame-duck reason=SIGTERM
`},
			{"fails on its way out", func() { database.Ready(); records.Failed(errors.New("cancelled")) }, `
level=WARN msg="component changed" component=records from=ready to=failed reason=cancelled
`},
			{"closed", func() {
				advance(t, r, healthkit.PhaseDraining, "")
				if err := r.Close(t.Context()); err != nil {
					t.Error(err)
				}
				<-done
			}, `
level=INFO msg="phase changed" from=lame-duck to=stopped reason=closed
`},
		} {
			step.do()
			synctest.Wait()
			if got, want := log.take(), strings.TrimPrefix(step.want, "\n"); got != want {
				t.Errorf("%s:\n%swant:\n%s", step.name, got, want)
			}
		}
	})
}

// keep has a component report for as long as it can.
func keep(t *testing.T, c *healthkit.Component) {
	for again := time.NewTicker(30 * time.Second); t.Context().Err() == nil; {
		c.Ready()
		select {
		case <-again.C:
		case <-t.Context().Done():
			again.Stop()
		}
	}
}

func TestLivenessIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := healthkit.New(healthkit.Config{AllowEmpty: true})
		c := register(t, r, "c", healthkit.Options{Optional: true, LivenessOverride: true})
		c.Ready()
		ctx, cancel := context.WithCancel(t.Context())
		var log lines
		done := make(chan struct{})
		go func() {
			defer close(done)
			if err := sloghealth.To(log.logger(slog.LevelError))(ctx, r); err != nil {
				t.Error(err)
			}
		}()
		synctest.Wait()
		c.Failed(errors.New("x"))
		synctest.Wait()
		if got, want := log.take(), "level=ERROR msg=\"component changed\" component=c from=ready to=failed reason=x\n"; got != want {
			t.Errorf("got:\n%swant:\n%s", got, want)
		}
		cancel()
		<-done
	})
}

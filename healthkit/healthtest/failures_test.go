//go:build go1.25

package healthtest_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollout-lab/rollout-lab/healthkit"
	"github.com/rollout-lab/rollout-lab/healthkit/healthtest"
)

// TestWhatIsNotAsWantedFails, in time, and says how it is instead.
func TestWhatIsNotAsWantedFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := healthkit.New(healthkit.Config{})
		register(t, r, "store", healthkit.Options{}).Failed(errors.New("no route"))
		register(t, r, "front", healthkit.Options{DependsOn: []string{"store"}})
		const is = "; it is not ready: store failed: no route (blocks front), phase starting"
		end := make(chan struct{})
		defer close(end)
		until := func(ctx context.Context) error { <-ctx.Done(); return nil }
		plan := healthkit.RunPlan{LameDuck: time.Second, Budget: time.Minute}
		for name, tt := range map[string]struct {
			test  func(t testing.TB)
			want  string
			after time.Duration
		}{
			"ready":           {func(t testing.TB) { healthtest.AwaitReady(t, r) }, "never ready within 10s" + is, healthtest.Patience},
			"state":           {func(t testing.TB) { healthtest.AwaitState(t, r, "store", healthkit.Ready) }, "never store ready within 10s" + is, healthtest.Patience},
			"no such":         {func(t testing.TB) { healthtest.AwaitState(t, r, "stroe", healthkit.Starting) }, "never stroe starting within 10s" + is, healthtest.Patience},
			"not at the root": {func(t testing.TB) { healthtest.AwaitCause(t, r, "front") }, "never not ready because of front within 10s" + is, healthtest.Patience},
			"closed": {func(t testing.TB) {
				closed := healthkit.New(healthkit.Config{})
				if err := closed.Close(context.Background()); err != nil {
					t.Errorf("%v", err)
				}
				healthtest.AwaitReady(t, closed)
			}, "never ready before the registry was closed; it is not ready: stopped: closed; no required component is registered, phase stopped", 0},
			"ends by itself": {func(t testing.TB) {
				r := healthkit.New(healthkit.Config{})
				s := healthtest.Start(t, r, func(context.Context) error { return errors.New("port in use") })
				synctest.Wait()
				s.Terminate()
			}, "the service has ended before it was told to: port in use", 0},
			"heeds nothing": {func(t testing.TB) {
				healthtest.Start(t, healthkit.New(healthkit.Config{}), func(context.Context) error { <-end; return nil }).Terminate()
			}, "no lame duck within 10s; phase starting\nthe service has not ended 10s after it was told to; phase starting, 0 in flight", 2 * healthtest.Patience},
			"takes too long": {func(t testing.TB) {
				r := healthkit.New(healthkit.Config{AllowEmpty: true})
				release := r.Hold()
				s := healthtest.Start(t, r, func(ctx context.Context) error { _, err := r.Run(ctx, plan); return err })
				healthtest.AwaitReady(t, r)
				s.Wait(5 * time.Second)
				release()
			}, "the service has not ended 5s after it was told to; phase draining, 1 in flight", 5 * time.Second},
			"has no drain": {func(t testing.TB) {
				healthtest.Start(t, healthkit.New(healthkit.Config{}), until).Wait(time.Second)
			}, "the service has ended in phase starting, want stopped", 0},
			"fails": {func(t testing.TB) {
				r := healthkit.New(healthkit.Config{AllowEmpty: true})
				healthtest.Start(t, r, func(ctx context.Context) error {
					_, err := r.Run(ctx, plan)
					return errors.Join(err, errors.New("lost a job"))
				}).Wait(time.Minute)
			}, "the service returns: lost a job", time.Second},
			"nothing": {func(t testing.TB) {
				r := healthkit.New(healthkit.Config{AllowEmpty: true})
				healthtest.Start(t, r, func(ctx context.Context) error { _, err := r.Run(ctx, plan); return err }).Wait(2 * time.Second)
			}, "", time.Second},
		} {
			begun := time.Now()
			if got := failure(tt.test); got != tt.want {
				t.Errorf("%s: says\n%s\nwant\n%s", name, got, tt.want)
			}
			if took := time.Since(begun); took != tt.after {
				t.Errorf("%s: after %v, want %v", name, took, tt.after)
			}
		}
	})
}

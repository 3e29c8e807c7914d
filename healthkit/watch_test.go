//go:build go1.25

package healthkit

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestWaitReady(t *testing.T) {
	errPatience := errors.New("no patience left")
	for _, tt := range []struct {
		name string
		do   func(r *Registry, c *Component)
		want error
		text string
		took time.Duration
	}{
		{"ready already", func(_ *Registry, c *Component) { c.Ready() }, nil, "", 0},
		{"ready after a while", func(_ *Registry, c *Component) {
			time.AfterFunc(2*time.Second, c.Ready)
		}, nil, "", 2 * time.Second},
		{"ready by the clock alone", func(_ *Registry, c *Component) {
			c.Ready()
			c.Failed(nil)
			c.Ready()
		}, nil, "", 3 * time.Second},
		{"never", func(_ *Registry, c *Component) { c.Failed(errors.New("refused")) }, errPatience,
			"wait until ready: not ready: late expected, not registered; c failed: refused: no patience left", 5 * time.Second},
		{"told to stop", func(r *Registry, _ *Component) {
			time.AfterFunc(time.Second, func() {
				if err := r.Advance(PhaseLameDuck, "SIGTERM"); err != nil {
					t.Error(err)
				}
			})
		}, ErrPhase, "lame-duck: SIGTERM", time.Second},
		{"closed before", func(r *Registry, _ *Component) { closeRegistry(t, r) }, ErrPhase, "stopped: closed", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				config := Config{}
				if tt.want == errPatience {
					config.Expect = []string{"late"}
				}
				r := New(config)
				c := mustRegister(t, r, "c", Options{Hysteresis: Hysteresis{RecoverFor: 3 * time.Second}})
				tt.do(r, c)
				ctx, cancel := context.WithTimeoutCause(t.Context(), 5*time.Second, errPatience)
				defer cancel()
				begun := time.Now()
				err := r.WaitReady(ctx)
				if !errors.Is(err, tt.want) || (err != nil) != (tt.want != nil) {
					t.Errorf("got %v, want %v", err, tt.want)
				}
				if err != nil && !strings.Contains(err.Error(), tt.text) {
					t.Errorf("got %q, want %q", err, tt.text)
				}
				if got := time.Since(begun); got != tt.took {
					t.Errorf("took %v, want %v", got, tt.took)
				}
				closeRegistry(t, r)
			})
		})
	}
}

func TestWaitReadyWithAContextThatHasEnded(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r := New(Config{})
	if err := r.WaitReady(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	mustRegister(t, r, "c", Options{}).Ready()
	if err := r.WaitReady(ctx); err != nil {
		t.Errorf("ready, got %v", err)
	}
}

//go:build go1.25

package healthkit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// probes are all the questions whose answer is a verdict on readiness.
var probes = []struct{ method, target string }{
	{http.MethodGet, "/readyz"}, {http.MethodHead, "/readyz"}, {http.MethodGet, "/readyz?verbose"},
	{http.MethodGet, "/readyz?exclude=nobody"}, {http.MethodGet, "/readyz?verbose&exclude=nobody"},
}

// A probe must not wait for a check: in the bubble, time stands still while
// anybody can run, so an answer that takes any time at all has waited. A check
// that never returns would even end the test as a deadlock.
func TestProbesDoNotWaitForChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{})
		release := make(chan struct{})
		for i := range 30 {
			check := []CheckFunc{
				func(context.Context) error { <-release; return nil },                                       // hangs, deaf
				func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },                          // hangs until its timeout
				func(context.Context) error { time.Sleep(time.Minute); return nil },                         // slow
				func(context.Context) error { return nil },                                                  // fine
				func(context.Context) error { time.Sleep(time.Second); panic(fmt.Sprint("check ", i)) },     // slow and panics
				func(context.Context) error { time.Sleep(time.Second); return errors.New("no connection") }, // slow and fails
			}[i%6]
			if _, err := r.RegisterCheck(fmt.Sprintf("check-%02d", i), check, CheckOptions{Interval: time.Second, Timeout: 5 * time.Second}); err != nil {
				t.Fatal(err)
			}
		}
		for range 40 {
			begun := time.Now()
			for _, p := range probes {
				if status, _ := get(t, r.Handler(), p.method, p.target); status != http.StatusServiceUnavailable {
					t.Errorf("%s %s got %d, want 503", p.method, p.target, status)
				}
			}
			for _, target := range []string{"/livez", "/livez?verbose", "/statusz"} {
				if status, _ := get(t, r.Handler(), http.MethodGet, target); status != http.StatusOK {
					t.Errorf("%s got %d, want 200", target, status)
				}
			}
			if r.Ready() || !r.Live() || len(r.Snapshot().Causes()) == 0 {
				t.Errorf("got ready %v, live %v", r.Ready(), r.Live())
			}
			if took := time.Since(begun); took != 0 {
				t.Fatalf("probes waited %v", took)
			}
			time.Sleep(300 * time.Millisecond)
		}
		close(release)
		closeRegistry(t, r)
	})
}

// A check that panics fails itself: not the process, not the probe, not the
// checks beside it, and it is run again.
func TestPanicIsTheChecksOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{})
		defer closeRegistry(t, r)
		var calm atomic.Bool
		add := func(name string, check CheckFunc) {
			if _, err := r.RegisterCheck(name, check, CheckOptions{Interval: time.Second}); err != nil {
				t.Fatal(err)
			}
		}
		add("fine", func(context.Context) error { return nil })
		add("bad", func(context.Context) error {
			if !calm.Load() {
				panic("index out of range\nREADY=1")
			}
			return nil
		})
		synctest.Wait()
		status, body := get(t, r.Handler(), http.MethodGet, "/readyz?verbose")
		if status != 503 || !strings.Contains(body, "[-]bad failed: panic: index out of range READY=1") || !strings.Contains(body, "[+]fine ready") {
			t.Errorf("got %d %q", status, body)
		}
		calm.Store(true)
		time.Sleep(time.Second)
		synctest.Wait()
		if !r.Ready() {
			t.Errorf("after the panic: %s", r.Snapshot().Reason())
		}
	})
}

// Every way to have no result must read as not ready, on every question.
func TestNever200WithoutAResult(t *testing.T) {
	hang := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	tests := []struct {
		name string
		cfg  Config
		fill func(t *testing.T, r *Registry)
	}{
		{"empty set", Config{}, func(*testing.T, *Registry) {}},
		{"only optional components", Config{}, func(t *testing.T, r *Registry) { mustRegister(t, r, "a", Options{Optional: true}).Ready() }},
		{"everything retracted", Config{}, func(t *testing.T, r *Registry) {
			c := mustRegister(t, r, "a", Options{})
			c.Ready()
			c.Retract()
		}},
		{"empty group", Config{}, func(t *testing.T, r *Registry) {
			if _, err := r.RegisterGroup("g", GroupOptions{AtLeast: 1}); err != nil {
				t.Fatal(err)
			}
		}},
		{"expected and not registered", Config{Expect: []string{"a", "b"}}, func(t *testing.T, r *Registry) { mustRegister(t, r, "a", Options{}).Ready() }},
		{"before the first report", Config{}, func(t *testing.T, r *Registry) { mustRegister(t, r, "a", Options{}) }},
		{"one of two has reported", Config{}, func(t *testing.T, r *Registry) {
			mustRegister(t, r, "a", Options{}).Ready()
			mustRegister(t, r, "b", Options{})
		}},
		{"before the first result of a check", Config{}, func(t *testing.T, r *Registry) {
			if _, err := r.RegisterCheck("a", hang, CheckOptions{Timeout: time.Hour}); err != nil {
				t.Fatal(err)
			}
		}},
		{"no generation", Config{}, func(t *testing.T, r *Registry) { mustRegister(t, r, "a", Options{Generational: true}).Ready() }},
		{"nobody to agree", Config{Generations: GenerationPolicy{Agree: true}}, func(t *testing.T, r *Registry) { mustRegister(t, r, "a", Options{}).Ready() }},
		{"fail-open before the first readiness", Config{}, func(t *testing.T, r *Registry) {
			mustRegister(t, r, "a", Options{OnFailure: FailOpen}).Failed(errors.New("down"))
		}},
		{"fail-shared before the first readiness", Config{}, func(t *testing.T, r *Registry) {
			mustRegister(t, r, "a", Options{OnFailure: FailShared}).Failed(errors.New("down"))
		}},
		{"stale", Config{}, func(t *testing.T, r *Registry) {
			mustRegister(t, r, "a", Options{TTL: time.Second}).Ready()
			time.Sleep(time.Second)
		}},
		{"stale by the report's own time", Config{}, func(t *testing.T, r *Registry) {
			mustRegister(t, r, "a", Options{}).ReadyFor(time.Second)
			time.Sleep(time.Second)
		}},
		{"stale, fail-open and fail-shared", Config{}, func(t *testing.T, r *Registry) {
			mustRegister(t, r, "a", Options{TTL: time.Second, OnFailure: FailOpen}).Ready()
			mustRegister(t, r, "b", Options{TTL: time.Second, OnFailure: FailShared}).Ready()
			time.Sleep(time.Second)
		}},
		{"stale and nobody looks but the probe", Config{}, func(t *testing.T, r *Registry) {
			mustRegister(t, r, "a", Options{TTL: time.Second}).Ready()
			r.timer.Stop()
			time.Sleep(time.Second)
		}},
		{"stale while a check hangs", Config{}, func(t *testing.T, r *Registry) {
			runs := 0
			_, err := r.RegisterCheck("a", func(ctx context.Context) error {
				if runs++; runs > 1 {
					return hang(ctx)
				}
				return nil
			}, CheckOptions{Interval: time.Second, Timeout: time.Minute, Options: Options{TTL: 2 * time.Minute}})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Minute)
		}},
		{"closed", Config{AllowEmpty: true}, func(t *testing.T, r *Registry) {
			mustRegister(t, r, "a", Options{}).Ready()
			closeRegistry(t, r)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for i, p := range probes {
					r := New(tt.cfg)
					tt.fill(t, r)
					if status, body := get(t, r.Handler(), p.method, p.target); status != http.StatusServiceUnavailable {
						t.Errorf("probe %d: %s %s got %d %q, want 503", i, p.method, p.target, status, body)
					}
					if r.Ready() || r.Snapshot().Ready() || r.Snapshot().Degraded() || len(r.Snapshot().Causes()) == 0 {
						t.Errorf("got ready %v, snapshot %q", r.Ready(), r.Snapshot().Reason())
					}
					closeRegistry(t, r)
				}
			})
		})
	}
}

// The probe command says no for whatever is no clear yes.
func TestProbeCommandNeverSaysYesByAccident(t *testing.T) {
	r := New(Config{})
	_, url := serve(t, r.Handler())
	var stdout, stderr bytes.Buffer
	if got := ProbeCommand(t.Context(), []string{"--addr", url}, &stdout, &stderr); got != 1 || !strings.Contains(stdout.String(), "no required component is registered") {
		t.Errorf("got exit %d, %q", got, stdout.String())
	}
}

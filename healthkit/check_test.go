//go:build go1.25

package healthkit

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func closeRegistry(t *testing.T, r *Registry) {
	t.Helper()
	if err := r.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestCheckResults(t *testing.T) {
	tests := []struct {
		name   string
		check  CheckFunc
		state  State
		reason string
	}{
		{"nil is ready", func(context.Context) error { return nil }, Ready, ""},
		{"error is failed", func(context.Context) error { return errors.New("no route") }, Failed, "no route"},
		{"wrapped degraded", func(context.Context) error { return fmt.Errorf("one of two: %w", ErrDegraded) }, Degraded, "one of two: degraded"},
		{"panic", func(context.Context) error { panic("boom") }, Failed, "panic: boom"},
		{"nil dereference", func(context.Context) error { var r *Registry; r.Ready(); return nil }, Failed, "panic: "},
		{"panic in the error's text", func(context.Context) error { return textPanics{} }, Failed, "panic: no text"},
		{"ends its goroutine", func(context.Context) error { runtime.Goexit(); return nil }, Failed, "check ended its goroutine"},
		{"obeys the timeout", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, Failed, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := New(Config{})
				defer closeRegistry(t, r)
				begin := make(chan struct{})
				check := func(ctx context.Context) error {
					<-begin
					return tt.check(ctx)
				}
				if _, err := r.RegisterCheck("it", check, CheckOptions{Interval: time.Second, Timeout: 100 * time.Millisecond}); err != nil {
					t.Fatal(err)
				}
				if r.Ready() {
					t.Error("ready before the first result")
				}
				close(begin)
				time.Sleep(200 * time.Millisecond)
				synctest.Wait()
				c, _ := r.Snapshot().Component("it")
				if c.State != tt.state || !strings.Contains(c.Reason, tt.reason) {
					t.Errorf("got %s %q, want %s %q", c.State, c.Reason, tt.state, tt.reason)
				}
			})
		})
	}
}

type textPanics struct{}

func (textPanics) Error() string { panic("no text") }

func TestCheckIsRunAgainAfterAPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{})
		defer closeRegistry(t, r)
		runs := 0
		_, err := r.RegisterCheck("it", func(context.Context) error {
			if runs++; runs == 2 {
				panic("boom")
			}
			return nil
		}, CheckOptions{Interval: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		var got []bool
		for range 3 {
			synctest.Wait()
			got = append(got, r.Ready())
			time.Sleep(time.Second)
		}
		if want := []bool{true, false, true}; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

// A check that hangs and ignores its context is a failure of its own, never
// runs twice, never goes unnoticed and holds nobody up.
func TestHungCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{})
		var runs, inside atomic.Int32
		release := make(chan struct{})
		_, err := r.RegisterCheck("hung", func(context.Context) error {
			if inside.Add(1) > 1 {
				t.Error("two runs at a time")
			}
			defer inside.Add(-1)
			if runs.Add(1) == 2 {
				<-release
			}
			return nil
		}, CheckOptions{Interval: time.Second, Timeout: 500 * time.Millisecond, Options: Options{OnFailure: FailOpen}})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !r.Ready() {
			t.Fatal("not ready after the first run")
		}
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		if c, _ := r.Snapshot().Component("hung"); c.State != Failed || !strings.Contains(c.Reason, "timed out after 500ms") {
			t.Errorf("got %s %q, want failed by the timeout", c.State, c.Reason)
		}
		// Time stands still in the bubble while nobody waits for it: a probe
		// that waited for the check would show here.
		begun := time.Now()
		r.Snapshot().Reason()
		if status, _ := get(t, r.Handler(), "GET", "/readyz?verbose"); status != 200 {
			t.Errorf("got status %d, want 200: the check is fail-open", status)
		}
		if took := time.Since(begun); took != 0 {
			t.Errorf("a probe waited %v", took)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := stateOf(t, r, "hung"); got != Failed {
			t.Errorf("after an hour: got %s, want failed, reported anew each interval", got)
		}
		if got := runs.Load(); got != 2 {
			t.Errorf("got %d runs, want 2", got)
		}

		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := r.Close(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "hung") {
			t.Errorf("close: got %v, want one that names the hung check", err)
		}
		close(release)
		if err := r.Close(context.Background()); err != nil {
			t.Errorf("second close: %v", err)
		}
	})
}

func TestLateSuccessIsStillATimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{})
		defer closeRegistry(t, r)
		_, err := r.RegisterCheck("slow", func(context.Context) error {
			time.Sleep(time.Second)
			return nil
		}, CheckOptions{Interval: 10 * time.Second, Timeout: 500 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := stateOf(t, r, "slow"); got != Failed {
			t.Errorf("got %s, want failed", got)
		}
	})
}

func TestCloseCancelsRunningChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{})
		_, err := r.RegisterCheck("it", func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}, CheckOptions{Timeout: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		begun := time.Now()
		closeRegistry(t, r)
		if took := time.Since(begun); took != 0 {
			t.Errorf("close waited %v for a check that obeys its context", took)
		}
		if got := stateOf(t, r, "it"); got != Starting {
			t.Errorf("got %s, want starting: a cancelled run is no result", got)
		}
	})
}

func TestRetractedCheckEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{})
		defer closeRegistry(t, r)
		ended := false
		c, err := r.RegisterCheck("it", func(ctx context.Context) error {
			<-ctx.Done()
			ended = true
			return ctx.Err()
		}, CheckOptions{Timeout: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		c.Retract()
		synctest.Wait()
		if !ended {
			t.Error("the check was not cancelled")
		}
		if _, ok := r.Snapshot().Component("it"); ok {
			t.Error("the component is still there")
		}
	})
}

func TestRefusals(t *testing.T) {
	ok := func(context.Context) error { return nil }
	closed := New(Config{})
	closeRegistry(t, closed)
	r := New(Config{})
	mustRegister(t, r, "taken", Options{})
	register := func(name string, o Options) error { _, err := r.Register(name, o); return err }
	check := func(r *Registry, name string, f CheckFunc, o CheckOptions) error {
		_, err := r.RegisterCheck(name, f, o)
		return err
	}
	loop := func(r *Registry, name string, d time.Duration) error { _, err := r.RegisterLoop(name, d); return err }
	if err := loop(r, "loop", time.Second); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		err  error
		want error
	}{
		{"empty name", register("", Options{}), ErrName},
		{"name with a newline", register("a\nREADY=1", Options{}), ErrName},
		{"name with a space", register("a b", Options{}), ErrName},
		{"taken", register("taken", Options{}), ErrDuplicate},
		{"negative ttl", register("a", Options{TTL: -1}), ErrOptions},
		{"negative hysteresis", register("a", Options{Hysteresis: Hysteresis{FailCount: -1}}), ErrOptions},
		{"unknown policy", register("a", Options{OnFailure: 9}), ErrOptions},
		{"no function", check(r, "a", nil, CheckOptions{}), ErrOptions},
		{"negative interval", check(r, "a", ok, CheckOptions{Interval: -1}), ErrOptions},
		{"ttl below the interval", check(r, "a", ok, CheckOptions{Interval: time.Minute, Options: Options{TTL: time.Second}}), ErrOptions},
		{"check of a taken name", check(r, "taken", ok, CheckOptions{}), ErrDuplicate},
		{"loop without a limit", loop(r, "a", 0), ErrOptions},
		{"loop of a taken name", loop(r, "loop", time.Second), ErrDuplicate},
		{"loop of a bad name", loop(r, "", time.Second), ErrName},
		{"check after close", check(closed, "a", ok, CheckOptions{}), ErrClosed},
		{"loop after close", loop(closed, "a", time.Second), ErrClosed},
	}
	for _, tt := range tests {
		if !errors.Is(tt.err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, tt.err, tt.want)
		}
	}
	if got := len(r.Snapshot().Components); got != 1 {
		t.Errorf("got %d components after refusals, want 1", got)
	}
}

//go:build go1.25

package healthkit

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

type stopPart struct {
	name  string
	needs []string
	takes time.Duration // of its hook; negative: it has none
}

// stopTimes shuts a registry of the parts down and returns when each hook began
// and ended, in the time of the bubble.
func stopTimes(t *testing.T, parts []stopPart) map[string][2]time.Duration {
	t.Helper()
	r := New(Config{AllowEmpty: true})
	times := make(map[string][2]time.Duration)
	var mu sync.Mutex
	base := time.Now()
	for _, p := range parts {
		c := mustRegister(t, r, p.name, Options{DependsOn: p.needs})
		if p.takes < 0 {
			continue
		}
		c.OnStop(func(context.Context) error {
			begun := time.Since(base)
			time.Sleep(p.takes)
			mu.Lock()
			defer mu.Unlock()
			if _, twice := times[p.name]; twice {
				t.Errorf("%s was stopped twice", p.name)
			}
			times[p.name] = [2]time.Duration{begun, time.Since(base)}
			return nil
		})
	}
	report, err := r.Shutdown(t.Context(), ShutdownPlan{})
	if err != nil || report.Overran != nil || report.NotStopped != nil {
		t.Errorf("got %+v, %v", report, err)
	}
	return times
}

func TestStopOrder(t *testing.T) {
	const s = time.Second
	tests := []struct {
		name  string
		parts []stopPart
		want  map[string][2]time.Duration
	}{
		// The names run against the order, and something else is busy all the
		// time: neither the alphabet nor idleness may stand in for it.
		{"dependents first", []stopPart{{"a-db", nil, s}, {"b-auth", []string{"a-db"}, s}, {"c-proxy", []string{"b-auth", "a-db", "a-db"}, s}, {"long", nil, 9 * s}},
			map[string][2]time.Duration{"c-proxy": {0, s}, "b-auth": {s, 2 * s}, "a-db": {2 * s, 3 * s}, "long": {0, 9 * s}}},
		{"independent ones together", []stopPart{{"a", nil, s}, {"b", nil, 3 * s}, {"c", nil, 2 * s}},
			map[string][2]time.Duration{"a": {0, s}, "b": {0, 3 * s}, "c": {0, 2 * s}}},
		{"the last dependent decides", []stopPart{{"db", nil, s}, {"fast", []string{"db"}, s}, {"slow", []string{"db"}, 5 * s}},
			map[string][2]time.Duration{"fast": {0, s}, "slow": {0, 5 * s}, "db": {5 * s, 6 * s}}},
		{"order holds across one without a hook", []stopPart{{"a-db", nil, s}, {"b-auth", []string{"a-db"}, -1}, {"c-proxy", []string{"b-auth"}, s}, {"long", nil, 9 * s}},
			map[string][2]time.Duration{"c-proxy": {0, s}, "a-db": {s, 2 * s}, "long": {0, 9 * s}}},
		{"a circle is cut at the first name", []stopPart{{"a", []string{"b"}, s}, {"b", []string{"a"}, s}, {"top", []string{"a"}, s}},
			map[string][2]time.Duration{"top": {0, s}, "a": {s, 2 * s}, "b": {2 * s, 3 * s}}},
		{"itself and nobody", []stopPart{{"a", []string{"a", "nobody"}, s}, {"long", nil, 9 * s}}, map[string][2]time.Duration{"a": {0, s}, "long": {0, 9 * s}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if got := stopTimes(t, tt.parts); !reflect.DeepEqual(got, tt.want) {
					t.Errorf("got %v, want %v", got, tt.want)
				}
			})
		})
	}
}

// Members of a group stop after what depends on the group.
func TestGroupMembersStopAfterDependentsOfTheGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{})
		if _, err := r.RegisterGroup("replicas", GroupOptions{AtLeast: 1}); err != nil {
			t.Fatal(err)
		}
		var order []string
		hook := func(c *Component, takes time.Duration) {
			c.OnStop(func(context.Context) error {
				time.Sleep(takes)
				order = append(order, c.Name())
				return nil
			})
		}
		hook(mustRegister(t, r, "a-replica", Options{Group: "replicas"}), 0)
		hook(mustRegister(t, r, "store", Options{DependsOn: []string{"replicas"}}), time.Second)
		if _, err := r.Shutdown(t.Context(), ShutdownPlan{}); err != nil {
			t.Fatal(err)
		}
		if want := []string{"store", "a-replica"}; !slices.Equal(order, want) {
			t.Errorf("got %v, want %v", order, want)
		}
	})
}

// A component that is being stopped is draining, however long it takes, and one
// that has stopped by itself stays so.
func TestStateWhileStopping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{})
		fresh := mustRegister(t, r, "fresh", Options{TTL: time.Second})
		fresh.Ready()
		early := mustRegister(t, r, "early", Options{})
		early.Stopped("nothing left to do")
		var during, other State
		fresh.OnStop(func(context.Context) error {
			time.Sleep(10 * time.Second)
			during = stateOf(t, r, "fresh")
			return nil
		})
		early.OnStop(func(context.Context) error { other = stateOf(t, r, "early"); return nil })
		if _, err := r.Shutdown(t.Context(), ShutdownPlan{}); err != nil {
			t.Fatal(err)
		}
		if during != Draining || other != Stopped || stateOf(t, r, "fresh") != Stopped {
			t.Errorf("got %s while it stops, %s after; %s for the one that had stopped", during, stateOf(t, r, "fresh"), other)
		}
	})
}

func TestStopNamesWhatOverran(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		r := New(Config{})
		stop := func(name string, needs []string, hook func(context.Context) error) {
			c := mustRegister(t, r, name, Options{DependsOn: needs})
			c.Ready()
			c.OnStop(hook)
		}
		fine := func(context.Context) error { return nil }
		stop("hung", []string{"below"}, func(context.Context) error { <-release; return nil })
		stop("obeys", nil, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		stop("broken", nil, func(context.Context) error { return errors.New("disk full") })
		stop("panics", nil, func(context.Context) error { panic("boom") })
		stop("below", nil, fine)
		stop("other", nil, fine)

		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		begun := time.Now()
		report, err := r.Shutdown(ctx, ShutdownPlan{Stop: 5 * time.Second})
		if took := time.Since(begun); took != 10*time.Second {
			t.Errorf("took %v, want the whole budget of 10s", took)
		}
		if want := []string{"hung", "obeys"}; !slices.Equal(report.Overran, want) {
			t.Errorf("got overran %v, want %v", report.Overran, want)
		}
		if want := []string{"below"}; !slices.Equal(report.NotStopped, want) {
			t.Errorf("got not stopped %v, want %v", report.NotStopped, want)
		}
		for _, part := range []string{"stop broken: disk full", "stop panics: panic: boom", "stop hung: ", "stop below: no time was left"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("error %q lacks %q", err, part)
			}
		}
		for name, want := range map[string]string{"hung": "draining stop overran", "broken": "stopped stop failed: disk full", "other": "stopped "} {
			c, _ := r.Snapshot().Component(name)
			if got := c.State.String() + " " + c.Reason; !strings.HasPrefix(got, want) {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		close(release)
		synctest.Wait()
	})
}

// One hook that hangs takes its own time and not that of what it depends on.
func TestStopEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		r := New(Config{})
		mustRegister(t, r, "hung", Options{DependsOn: []string{"above"}}).OnStop(func(context.Context) error { <-release; return nil })
		mustRegister(t, r, "above", Options{DependsOn: []string{"db"}}).OnStop(func(context.Context) error { <-release; return nil })
		closed := false
		mustRegister(t, r, "db", Options{}).OnStop(func(context.Context) error { closed = true; return nil })
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		report, err := r.Shutdown(ctx, ShutdownPlan{StopEach: 2 * time.Second})
		if !closed || report.Stop != 4*time.Second || !slices.Equal(report.Overran, []string{"above", "hung"}) || report.NotStopped != nil {
			t.Errorf("got db closed %v, %+v, %v", closed, report, err)
		}
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "stop hung: not done within 2s") {
			t.Errorf("got %v", err)
		}
		close(release)
		synctest.Wait()
	})
}

// Requests in flight that do not end leave the hooks the time kept for them.
func TestStopKeepsItsPartOfTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{AllowEmpty: true})
		release := r.Hold()
		var had time.Duration
		mustRegister(t, r, "db", Options{}).OnStop(func(ctx context.Context) error {
			deadline, _ := ctx.Deadline()
			had = time.Until(deadline)
			return nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		report, err := r.Shutdown(ctx, ShutdownPlan{Stop: 3 * time.Second})
		if had != 3*time.Second || report.Aborted != 1 || report.Finish != 7*time.Second || err == nil {
			t.Errorf("hook had %v; got %+v, %v", had, report, err)
		}
		release()
		release()
		if got := r.InFlight(); got != 0 {
			t.Errorf("got %d in flight, want 0", got)
		}
	})
}

// The check of a component that is being stopped ends with it: what it would
// find is the stop.
func TestStopEndsTheCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{})
		c, err := r.RegisterCheck("db", func(context.Context) error { return nil }, CheckOptions{Interval: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		c.OnStop(func(context.Context) error { time.Sleep(10 * time.Second); return nil })
		if _, err := r.Shutdown(t.Context(), ShutdownPlan{}); err != nil {
			t.Fatal(err)
		}
		if s, _ := r.Snapshot().Component("db"); s.State != Stopped || s.Rejected != 0 {
			t.Errorf("got %s with %d reports rejected, want stopped and none", s.State, s.Rejected)
		}
	})
}

//go:build go1.25

package healthkit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestStaleIsNotReadyAtTheVeryMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{})
		defer closeRegistry(t, r)
		c := mustRegister(t, r, "sync", Options{TTL: time.Second})
		c.Ready()
		time.Sleep(time.Second - 1)
		if !r.Ready() {
			t.Error("stale too early")
		}
		c.Ready() // the same state, but news
		time.Sleep(time.Second - 1)
		if !r.Ready() {
			t.Error("a repeated report did not renew the time to live")
		}
		time.Sleep(time.Nanosecond)
		if r.Ready() {
			t.Error("ready on a stale report")
		}
		if got, want := r.Snapshot().Reason(), "sync stale: no report within its time to live; last was ready"; !strings.Contains(got, want) {
			t.Errorf("got %q, want it to hold %q", got, want)
		}
		c.Ready()
		if !r.Ready() {
			t.Error("a fresh report did not help")
		}
		if s, _ := r.Snapshot().Component("sync"); s.Transitions != 3 {
			t.Errorf("got %d transitions, want 3: ready, stale, ready", s.Transitions)
		}
	})
}

// The timer is only a help. A verdict that has run out is not given even when
// the timer never fires, as after the process was stopped.
func TestStaleWithoutATimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{})
		defer closeRegistry(t, r)
		mustRegister(t, r, "sync", Options{TTL: time.Second}).Ready()
		if _, err := r.RegisterLoop("loop", time.Second); err != nil {
			t.Fatal(err)
		}
		r.timer.Stop()
		time.Sleep(time.Second)
		if status, _ := get(t, r.Handler(), "GET", "/readyz"); status != 503 {
			t.Errorf("readyz: got %d, want 503", status)
		}
		if r.Live() {
			t.Error("live without a tick")
		}
	})
}

// A report that comes too late is a recovery, also when nobody has looked in
// between: the outage must be counted.
func TestLateReportIsARecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{})
		defer closeRegistry(t, r)
		c := mustRegister(t, r, "sync", Options{TTL: time.Second})
		c.Ready()
		r.timer.Stop()
		time.Sleep(2 * time.Second)
		c.Ready()
		if s, _ := r.Snapshot().Component("sync"); s.State != Ready || s.Transitions != 3 {
			t.Errorf("got %s after %d transitions, want ready after 3", s.State, s.Transitions)
		}
	})
}

func TestHysteresis(t *testing.T) {
	h := Hysteresis{FailCount: 3, FailFor: 2 * time.Second, RecoverCount: 2, RecoverFor: time.Second}
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{})
		defer closeRegistry(t, r)
		c := mustRegister(t, r, "upstream", Options{Hysteresis: h})
		down := errors.New("connection refused")
		expect := func(when string, want State, pending bool) {
			t.Helper()
			got, _ := r.Snapshot().Component("upstream")
			if got.State != want || (got.Pending != "") != pending {
				t.Errorf("%s: got %s, pending %q; want %s, pending %v", when, got.State, got.Pending, want, pending)
			}
		}
		c.Ready()
		expect("the first readiness is not held back", Ready, false)
		c.Failed(down)
		c.Failed(down)
		expect("two of three", Ready, true)
		c.Ready()
		expect("a good report ends the row", Ready, false)
		c.Failed(down)
		c.Failed(down)
		c.Failed(down)
		expect("three, but not for long enough", Ready, true)
		time.Sleep(2*time.Second - 1)
		expect("just before", Ready, true)
		time.Sleep(time.Nanosecond)
		expect("three for two seconds", Failed, false)
		c.Ready()
		expect("one good report of two", Failed, true)
		time.Sleep(time.Second)
		expect("one good report for long enough", Failed, true)
		c.Ready()
		expect("two for long enough", Ready, false)
		c.Starting("restarts")
		expect("starting is not held back", Starting, false)
	})
}

func TestGenerations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{Generations: GenerationPolicy{Agree: true, Grace: time.Second}})
		defer closeRegistry(t, r)
		a := mustRegister(t, r, "a", Options{Generational: true})
		b := mustRegister(t, r, "b", Options{Generational: true})
		a.Ready()
		b.Ready()
		expect := func(when string, want bool, text string) {
			t.Helper()
			if got := r.Ready(); got != want {
				t.Errorf("%s: got %v, want %v", when, got, want)
			}
			if got := r.Snapshot().Reason(); !strings.Contains(got, text) {
				t.Errorf("%s: got %q, want it to hold %q", when, got, text)
			}
		}
		expect("no generation yet", false, "have a=none b=none")
		a.Generation(1)
		b.Generation(2)
		expect("never agreed: no grace", false, "a=1 b=2")
		a.Generation(2)
		expect("agreed", true, "ready")
		a.Generation(3)
		expect("pending within the grace", true, "degraded: generations: want one and the same; have a=3 b=2")
		time.Sleep(time.Second)
		expect("the grace is over", false, "a=3 b=2")
		b.Generation(3)
		expect("agreed again", true, "ready")
		r.RequireGeneration(4)
		expect("a new floor has the grace too", true, "at least 4")
		time.Sleep(time.Second)
		expect("below the floor", false, "at least 4")
		a.Generation(4)
		b.Generation(4)
		expect("at the floor", true, "ready")
		mustRegister(t, r, "c", Options{Generational: true}).Ready()
		expect("a newcomer without a generation has no grace", false, "c=none")
	})
}

func TestFailOpenNeedsAFirstReadiness(t *testing.T) {
	r := New(Config{})
	mustRegister(t, r, "local", Options{}).Ready()
	shared := mustRegister(t, r, "shared", Options{OnFailure: FailOpen})
	down := errors.New("down for all")
	shared.Failed(down)
	if r.Ready() {
		t.Error("fail-open let a process in that never saw its dependency")
	}
	shared.Ready()
	shared.Failed(down)
	if s := r.Snapshot(); !s.Ready() || !s.Degraded() {
		t.Errorf("got %s, want ready and degraded", s.Reason())
	}
}

func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{})
		defer closeRegistry(t, r)
		mustRegister(t, r, "db", Options{}).Failed(errors.New("gone"))
		loop, err := r.RegisterLoop("loop", time.Second)
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			time.Sleep(time.Second - 1)
			if !r.Live() {
				t.Fatal("not live though it ticks, or because a dependency failed")
			}
			loop.Tick()
		}
		time.Sleep(time.Second)
		if r.Live() {
			t.Error("live without a tick for a second")
		}
		if status, body := get(t, r.Handler(), "GET", "/livez?verbose"); status != 503 || !strings.Contains(body, "loop has not ticked within 1s") {
			t.Errorf("got %d %q", status, body)
		}
		loop.Tick()
		if !r.Live() {
			t.Error("not live after a tick")
		}
		loop.Idle()
		time.Sleep(time.Hour)
		if !r.Live() {
			t.Error("an idle loop need not tick")
		}
		loop.Tick()
		time.Sleep(time.Second)
		if r.Live() {
			t.Error("the first tick after idleness did not start the clock")
		}
		if got := r.Snapshot().Loops[0].Stalls; got != 2 {
			t.Errorf("got %d stalls, want 2", got)
		}
		loop.Close()
		if !r.Live() {
			t.Error("a loop that ended keeps the process from being live")
		}
	})
}

func TestLivenessOverride(t *testing.T) {
	r := New(Config{})
	c := mustRegister(t, r, "engine", Options{LivenessOverride: true})
	if !r.Live() {
		t.Error("a component that starts is no reason to restart")
	}
	c.Failed(errors.New("cannot recover"))
	if r.Live() {
		t.Error("the override has no effect")
	}
	if got, want := r.Snapshot().LiveReason(), "not live: engine failed: cannot recover"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRootCauses(t *testing.T) {
	type part struct {
		name  string
		state State
		needs []string
	}
	tests := []struct {
		name  string
		parts []part
		want  []string // component<-affected,affected
	}{
		{"chain", []part{{"db", Failed, nil}, {"auth", Failed, []string{"db"}}, {"proxy", Starting, []string{"auth"}}}, []string{"db<-auth,proxy"}},
		{"two roots", []part{{"db", Failed, nil}, {"net", Failed, nil}, {"proxy", Failed, []string{"db", "net"}}}, []string{"db<-proxy", "net<-proxy"}},
		{"dependency is fine", []part{{"db", Ready, nil}, {"proxy", Failed, []string{"db"}}}, []string{"proxy<-"}},
		{"a circle has no root", []part{{"a", Failed, []string{"b"}}, {"b", Failed, []string{"a"}}}, []string{"a<-", "b<-"}},
		{"circle above a root", []part{{"a", Failed, []string{"b"}}, {"b", Failed, []string{"a", "db"}}, {"db", Failed, nil}}, []string{"db<-a,b"}},
		{"depends on itself", []part{{"a", Failed, []string{"a"}}}, []string{"a<-"}},
		{"unknown dependency", []part{{"a", Failed, []string{"nobody"}}}, []string{"a<-"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := New(Config{})
			for _, p := range tt.parts {
				c := mustRegister(t, r, p.name, Options{DependsOn: p.needs})
				switch p.state {
				case Ready:
					c.Ready()
				case Failed:
					c.Failed(errors.New("down"))
				case Starting:
					c.Starting("waits")
				}
			}
			var got []string
			for _, c := range r.Snapshot().Causes() {
				got = append(got, c.Component+"<-"+strings.Join(c.Affects, ","))
			}
			if strings.Join(got, " ") != strings.Join(tt.want, " ") {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestLifecycleMoves(t *testing.T) {
	phases := []Phase{PhaseStarting, PhaseServing, PhaseLameDuck, PhaseDraining, PhaseStopped}
	legal := map[[2]Phase]bool{
		{PhaseStarting, PhaseLameDuck}: true, {PhaseServing, PhaseLameDuck}: true,
		{PhaseLameDuck, PhaseDraining}: true, {PhaseDraining, PhaseStopped}: true,
	}
	for _, from := range phases {
		for _, to := range phases {
			r := New(Config{})
			r.phase.Store(uint32(from))
			err := r.Advance(to, "")
			if want := legal[[2]Phase{from, to}] || from == to; want != (err == nil) {
				t.Errorf("%s to %s: got %v, legal %v", from, to, err, want)
			}
			if err != nil && r.Phase() != from {
				t.Errorf("%s to %s: a refused move ended in %s", from, to, r.Phase())
			}
		}
	}
}

func TestLateReadinessDoesNotEndALameDuck(t *testing.T) {
	r := New(Config{})
	c := mustRegister(t, r, "a", Options{})
	if err := r.Advance(PhaseLameDuck, "SIGTERM"); err != nil {
		t.Fatal(err)
	}
	c.Ready()
	if r.Ready() || r.Phase() != PhaseLameDuck || r.Started() {
		t.Errorf("got ready %v, phase %s, started %v", r.Ready(), r.Phase(), r.Started())
	}
	if got, want := r.Snapshot().Reason(), "not ready: lame-duck: SIGTERM"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSameReasonOfAnotherState(t *testing.T) {
	r := New(Config{})
	c := mustRegister(t, r, "a", Options{})
	for range 2 {
		c.Failed(errors.New("slow"))
		if got := stateOf(t, r, "a"); got != Failed {
			t.Errorf("got %s, want failed", got)
		}
		c.Degraded("slow")
		if got := stateOf(t, r, "a"); got != Degraded {
			t.Errorf("got %s, want degraded", got)
		}
	}
}

func TestSnapshotDoesNotChange(t *testing.T) {
	r := New(Config{})
	c := mustRegister(t, r, "a", Options{})
	before := r.Snapshot()
	if again := r.Snapshot(); again != before {
		t.Error("a snapshot was built though nothing changed")
	}
	c.Ready()
	if before.Ready() || before.Components[0].State != Starting {
		t.Error("an old snapshot changed")
	}
	if after := r.Snapshot(); after.Version <= before.Version || !after.Ready() {
		t.Errorf("got version %d ready %v after version %d", after.Version, after.Ready(), before.Version)
	}
}

func TestWatchGivesTheLastValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{})
		c := mustRegister(t, r, "a", Options{TTL: time.Second})
		gate := make(chan struct{})
		type seen struct {
			version uint64
			state   State
			phase   Phase
		}
		var got []seen
		done := make(chan struct{})
		go func() {
			defer close(done)
			for s := range r.Watch(context.Background()) {
				got = append(got, seen{s.Version, s.Components[0].State, s.Phase})
				<-gate
			}
		}()
		synctest.Wait()
		// While the consumer is busy with the first one, much happens.
		for range 100 {
			c.Ready()
			c.Degraded("slow")
		}
		c.Ready()
		gate <- struct{}{}
		synctest.Wait()
		// Nobody reports: the expiry alone must be news.
		gate <- struct{}{}
		time.Sleep(time.Second)
		synctest.Wait()
		close(gate)
		closeRegistry(t, r)
		<-done
		want := []struct {
			state State
			phase Phase
		}{{Starting, PhaseStarting}, {Ready, PhaseServing}, {Stale, PhaseServing}, {Stale, PhaseStopped}}
		if len(got) != len(want) {
			t.Fatalf("got %v, want %v", got, want)
		}
		for i, w := range want {
			if got[i].state != w.state || got[i].phase != w.phase || i > 0 && got[i].version <= got[i-1].version {
				t.Errorf("snapshot %d: got %v, want %v", i, got[i], w)
			}
		}
	})
}

// Two probes and the timer come at the same moment. The verdict must have
// changed before the deadline that sends a probe to the lock is taken away.
func TestProbesBesideTheTimer(t *testing.T) {
	r := New(Config{})
	defer closeRegistry(t, r)
	for i := range 100 {
		mustRegister(t, r, fmt.Sprintf("bystander-%d", i), Options{}).Ready()
	}
	c := mustRegister(t, r, "sync", Options{})
	for range 10000 {
		c.ReadyFor(20 * time.Microsecond)
		expires := c.expires.Load()
		var probes sync.WaitGroup
		for range 2 {
			probes.Go(func() {
				for {
					past := r.now() >= expires
					if ready := r.Ready(); past && ready {
						t.Error("ready after the report has expired")
					}
					if past {
						return
					}
				}
			})
		}
		probes.Wait()
		if t.Failed() {
			return
		}
	}
}

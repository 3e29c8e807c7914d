package proxy

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/healthkit"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/control"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/credential"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/feed"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/upstream"
)

// allowed starts a stack in which faults are allowed, and waits until it serves.
func allowed(t *testing.T, mode Mode) *stack {
	t.Helper()
	k := start(t, func(s *setup) {
		s.options.Health, s.options.AllowFaults, s.control.AllowFaults = mode, true, true
	})
	k.synced()
	k.healthy("/readyz", 200)
	return k
}

// fault turns a fault on or off.
func (k *stack) fault(f feed.Fault, on bool) {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(k.t.Context(), patience)
	defer cancel()
	if err := k.plane.SetFault(ctx, "a", f, on); err != nil {
		k.t.Fatal(err)
	}
}

// within asks for something and gives up after a time, which is then said.
func (k *stack) within(limit time.Duration, ask func(*stack) answer) answer {
	impatient := *k
	client := *k.client
	client.Timeout = limit
	impatient.client = &client
	return ask(&impatient)
}

// aLittle is how long what hangs is waited for.
const aLittle = 300 * time.Millisecond

func TestDataDead(t *testing.T) {
	for _, mode := range []Mode{Naive, StackAware} {
		t.Run(string(mode), func(t *testing.T) {
			k := allowed(t, mode)
			k.get("/app/", 1).expect(t, "before", 200, "")
			k.fault(feed.DataDead, true)
			k.get("/app/", 1).expect(t, "meanwhile", 503, "data plane is dead")
			for _, path := range []string{"/readyz", "/livez"} {
				if got := k.probe(path); got.status != 200 {
					t.Errorf("%s answers %d %q, want 200: health knows nothing of it", path, got.status, got.body)
				}
			}
			k.fault(feed.DataDead, false)
			k.get("/app/", 1).expect(t, "afterwards", 200, "")
		})
	}
}

// TestDeadlock: requests hang and the health port answers. Who has no progress to go by never
// notices; who has is not alive, and is well again when it is over.
func TestDeadlock(t *testing.T) {
	for mode, noticed := range map[Mode]bool{Naive: false, Shallow: false, StackAware: true} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel() // most of it is waiting
			k := allowed(t, mode)
			k.fault(feed.Deadlock, true)
			hang := k.within(aLittle, func(k *stack) answer { return k.get("/app/", 1) })
			if hang.err == nil {
				t.Errorf("a request is answered %d, want none", hang.status)
			}
			if got := k.get(HealthPrefix+"readyz", 1); got.status != 200 {
				t.Errorf("health by way of the data port is %d %v, want 200", got.status, got.err)
			}
			begun := time.Now()
			if noticed {
				k.healthy("/livez", 503)
				if took := time.Since(begun); took < workLimit-2*workEvery-aLittle {
					t.Errorf("not alive after %v, want its limit of %v", took, workLimit)
				}
			} else {
				for time.Since(begun) < workLimit+time.Second {
					if got := k.probe("/livez"); got.status != 200 {
						t.Fatalf("/livez answers %d: what does it know of it?", got.status)
					}
				}
			}
			k.fault(feed.Deadlock, false)
			k.healthy("/livez", 200)
			k.get("/app/", 1).expect(t, "afterwards", 200, "")
		})
	}
}

// TestDeadlockEndsWithTheProcess: what hangs does not keep the proxy from stopping.
func TestDeadlockEndsWithTheProcess(t *testing.T) {
	k := start(t, func(s *setup) {
		s.options.AllowFaults, s.control.AllowFaults = true, true
		s.options.LameDuck, s.options.CloseWait, s.options.StopGrace = 0, 0, aLittle
	})
	k.ready()
	k.fault(feed.Deadlock, true)
	got := make(chan answer, 1)
	authorization := "Bearer " + token(t, credential.SessionID(1), time.Hour)
	go func() { got <- k.ask("GET", "/app/", authorization, "") }()
	k.within(aLittle, func(k *stack) answer { return k.get("/app/", 1) })
	if err := k.stop(); err == nil {
		t.Error("Run = nil, want an error that says that a request was cut")
	}
	if a := <-got; a.err == nil {
		t.Errorf("the request is answered %d, want it cut", a.status)
	}
}

func TestSlowCheck(t *testing.T) {
	k := allowed(t, StackAware)
	k.fault(feed.SlowCheck, true)
	for what, ask := range map[string]func(*stack) answer{
		"/readyz":           func(k *stack) answer { return k.probe("/readyz") },
		"/livez":            func(k *stack) answer { return k.probe("/livez") },
		"by the other port": func(k *stack) answer { return k.get(HealthPrefix+"readyz", 1) },
	} {
		if got := k.within(aLittle, ask); got.err == nil {
			t.Errorf("%s answers %d within %v, want nothing before %v", what, got.status, aLittle, SlowCheck)
		}
	}
	k.get("/app/", 1).expect(t, "a request meanwhile", 200, "")
	k.fault(feed.SlowCheck, false)
	if got := k.probe("/readyz"); got.status != 200 {
		t.Errorf("afterwards /readyz answers %d %v", got.status, got.err)
	}
}

func TestFlap(t *testing.T) {
	for _, mode := range []Mode{Naive, StackAware} {
		t.Run(string(mode), func(t *testing.T) {
			k := allowed(t, mode)
			told := k.proxy.health.told
			heard := make(chan bool, 100)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go func() {
				for s := range told.Watch(ctx) {
					heard <- s.Ready()
				}
			}()
			k.fault(feed.Flap, true)
			for range 2 {
				k.healthy("/readyz", 503)
				k.get("/app/", 1).expect(t, "while it is unready", 200, "")
				k.healthy("/readyz", 200)
			}
			if got := k.probe("/livez").status; got != 200 {
				t.Errorf("/livez answers %d", got)
			}
			k.fault(feed.Flap, false)
			for begun := time.Now(); time.Since(begun) < FlapEvery+aLittle; {
				if got := k.probe("/readyz").status; got != 200 {
					t.Fatalf("afterwards /readyz answers %d", got)
				}
			}
			// Who is told, and does not ask, has heard of it as well.
			downs := 0
			for len(heard) > 0 {
				if !<-heard {
					downs++
				}
			}
			if downs < 2 {
				t.Errorf("%d times unready to those who are told, want 2 or more", downs)
			}
		})
	}
}

// TestFaultsNeedPermission: neither side does anything wrong that was not started for it.
func TestFaultsNeedPermission(t *testing.T) {
	for name, change := range map[string]func(*setup){
		"neither":                func(*setup) {},
		"the control plane only": func(s *setup) { s.control.AllowFaults = true },
		"the proxy only":         func(s *setup) { s.options.AllowFaults = true },
	} {
		t.Run(name, func(t *testing.T) {
			k := start(t, change)
			k.synced()
			ctx, cancel := context.WithTimeout(t.Context(), aLittle)
			defer cancel()
			if err := k.plane.SetFault(ctx, "a", feed.DataDead, true); !errors.Is(err, control.ErrNoInstance) {
				t.Errorf("SetFault = %v, want ErrNoInstance", err)
			}
			k.get("/app/", 1).expect(t, "a request", 200, "")
			if k.proxy.faults == nil {
				k.get(HealthPrefix+"readyz", 1).expect(t, "health by way of the data port", 404, "no route")
			}
		})
	}
}

// TestFaultOfAProcess: what one life was told the next one, of the same name, is not.
func TestFaultOfAProcess(t *testing.T) {
	k := allowed(t, Naive)
	k.fault(feed.DataDead, true)
	o := k.proxy.options
	o.Listener = nil
	if err := k.stop(); err != nil {
		t.Fatal(err)
	}
	next := run(t, k.plane, o)
	next.synced()
	for begun := time.Now(); len(k.plane.Status().Subscribers) != 3; {
		if time.Since(begun) > patience {
			t.Fatalf("the next life does not follow the streams: %+v", k.plane.Status().Subscribers)
		}
	}
	next.get("/app/", 1).expect(t, "the next life", 200, "")
	if got := k.plane.Status().Faults; len(got) != 0 {
		t.Errorf("the control plane says %v, want nothing", got)
	}
}

func TestNeverReady(t *testing.T) {
	for mode, want := range map[Mode]int{Naive: 200, StackAware: 503} {
		k := start(t, func(s *setup) { s.options.Health, s.options.Misbehave = mode, NeverReady })
		for _, name := range []string{"config", "authenticate", "authorize", "proxy"} {
			k.await(name, "ready", func(now status) bool { return now.phase == ready })
		}
		if got := k.probe("/readyz").status; got != want {
			t.Errorf("%s: /readyz answers %d, want %d", mode, got, want)
		}
		k.get("/app/", 1).expect(t, string(mode), 503, "storage: initial sync not begun")
	}
}

func TestWrongAnswers(t *testing.T) {
	k := start(t, func(s *setup) { s.options.Misbehave = WrongAnswers })
	k.synced()
	got := k.get("/app/x", 1)
	got.expect(t, "request", 200, "")
	if got.body != wrongAnswer || got.body == upstream.Answer("GET", "/app/x", nil) {
		t.Errorf("body %q, want a wrong one", got.body)
	}
	k.get("/forbidden/", 1).expect(t, "what it refuses", 403, "denied")
}

func TestCrashes(t *testing.T) {
	if _, err := New(Options{
		Instance: "a", Revision: "r", Control: "http://127.0.0.1:1", Upstream: "http://127.0.0.1:1", Health: Naive,
		StopGrace: time.Second, Misbehave: CrashAtStart,
	}); !errors.Is(err, ErrCrash) {
		t.Errorf("at start: New = %v, want ErrCrash", err)
	}
	k := start(t, func(s *setup) { s.options.Misbehave = CrashAfterReady })
	k.ready()
	k.get("/app/", 1).expect(t, "once it is ready", 200, "")
	if err := k.wait(); !errors.Is(err, ErrCrash) {
		t.Errorf("Run = %v, want ErrCrash", err)
	}
	k.unreachable(k.proxy.Addr().String())
}

// TestFailsClosedAtTheMaximumAge: on the last good state up to its maximum age, then not at all,
// whatever the mode tells of it; what is known to be denied stays denied.
func TestFailsClosedAtTheMaximumAge(t *testing.T) {
	const maxAge = 500 * time.Millisecond
	for _, closed := range []bool{true, false} {
		k := start(t, func(s *setup) {
			s.options.Health, s.options.StaleAfter, s.options.FailClosed = Shallow, maxAge, closed
		})
		k.synced()
		k.plane.Stall(true)
		begun := time.Now()
		if _, err := k.plane.Revoke(credential.SessionID(1)); err != nil {
			t.Fatal(err)
		}
		for {
			a := k.get("/app/", 1)
			since := time.Since(begun) // after the answer: what is refused may have been asked a little before
			if a.status == 503 {
				a.expect(t, "too old", 503, "heard from the control plane")
				if !closed || since < maxAge-100*time.Millisecond {
					t.Fatalf("fail closed %v: refused %v after the stall, at a maximum age of %v", closed, since, maxAge)
				}
				break
			}
			a.expect(t, "revoked session that it has not heard of", 200, "")
			if since > 2*maxAge {
				if closed {
					t.Fatalf("still served %v after the stall, at a maximum age of %v", since, maxAge)
				}
				break
			}
		}
		k.get("/forbidden/", 2).expect(t, "a route that nobody may use", 403, "denied")
		if got := k.probe("/readyz").status; got != 200 {
			t.Errorf("/readyz of a shallow one answers %d", got)
		}
		k.plane.Stall(false)
		k.await("storage", "at version 2", func(status) bool { return k.proxy.parts.storage.from().Version == 2 })
		k.get("/app/", 1).expect(t, "once it has heard of it", 403, "revoked")
		k.await("config", "ready", func(now status) bool { return now.phase == ready })
		for begun := time.Now(); k.get("/app/", 2).status != 200; {
			if time.Since(begun) > patience {
				t.Fatal("another session is never served again")
			}
		}
	}
}

// TestFailsClosedWithoutAControlPlane is the same where the control plane is away, not silent.
func TestFailsClosedWithoutAControlPlane(t *testing.T) {
	k := start(t, func(s *setup) {
		s.options.Health, s.options.StaleAfter, s.options.FailClosed = StackAware, 500*time.Millisecond, true
	})
	k.ready()
	k.cutControl()
	k.await("storage", "broken", func(now status) bool { return now.broken })
	k.snapshot("unready", func(s *healthkit.Snapshot) bool { return !s.Ready() })
	for begun := time.Now(); ; {
		a := k.get("/app/", 1)
		if a.status == 503 && strings.Contains(a.body, "heard from the control plane") {
			return
		}
		a.expect(t, "by the last good state", 200, "")
		if time.Since(begun) > patience {
			t.Fatal("served for ever")
		}
	}
}

package drivertest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// testDeploy: when Deploy returns, everything serves and is routed to.
func testDeploy(t testing.TB, h Harness) {
	b := h.Deploy(t, replicas(3))
	list := b.Instances()
	for _, i := range list {
		if i.State != drivers.StateReady {
			t.Errorf("instance %s is %s when Deploy returns, want ready", i.ID, i.State)
		}
		if _, err := Get("http://" + i.Addr + "/"); err != nil {
			t.Errorf("instance %s does not serve when Deploy returns: %v", i.ID, err)
		}
	}
	b.expect(3, before)

	var base string
	b.Must("endpoint of the dependency", func(ctx context.Context) (err error) {
		base, err = b.Env.Endpoint(ctx, dependency, "data")
		return err
	})
	if _, err := Get(base + "/"); err != nil {
		t.Errorf("the dependency at %s: %v", base, err)
	}
	for _, unknown := range [][2]string{{"nobody", "data"}, {dependency, "nowhere"}} {
		if got, err := b.Env.Endpoint(context.Background(), unknown[0], unknown[1]); err == nil {
			t.Errorf("port %s of %s, which does not exist, is at %q", unknown[1], unknown[0], got)
		}
	}
}

// testScale: out, in, to nothing and back, with the older instances left alone.
func testScale(t testing.TB, h Harness) {
	b := h.Deploy(t)
	first := b.expect(2, before)
	b.scale(4)
	out := b.expect(4, before)
	for id, boot := range first {
		if out[id] != boot {
			t.Errorf("scaling out disturbed instance %s", id)
		}
	}
	b.scale(1)
	in := b.expect(1, before)
	for id, boot := range in {
		if out[id] != boot {
			t.Errorf("scaling in disturbed instance %s", id)
		}
	}
	for id := range out {
		if _, left := in[id]; left {
			continue
		}
		b.AwaitEvent(drivers.Terminating, id, before)
		b.AwaitEvent(drivers.Gone, id, before)
	}
	b.scale(0)
	b.expect(0, before)
	var status *statusError
	if answer, err := Get(b.url + "/"); !errors.As(err, &status) || status.status < 500 {
		// A balancer on another machine may refuse instead, but it must not hang or serve.
		if err == nil || isTimeout(err) {
			t.Errorf("with no instance the balancer answers %q, %v", answer, err)
		}
	}
	b.scale(2)
	b.expect(2, before)
	if err := b.Env.Scale(context.Background(), -1); err == nil {
		t.Error("scaling to -1 succeeded")
	}
	b.expect(2, before)
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// testRestart: every process is another one, the revision and the number are the same.
func testRestart(t testing.TB, h Harness) {
	b := h.Deploy(t)
	was := b.expect(2, before)
	b.Must("restart", b.Env.Restart)
	replaced(b, was, b.expect(2, before))
	b.withinBounds()
}

// testRollout: every process is another one of the new revision; the same revision again
// changes nothing.
func testRollout(t testing.TB, h Harness) {
	b := h.Deploy(t)
	was := b.expect(2, before)
	b.rollout(after)
	now := b.expect(2, after)
	replaced(b, was, now)
	b.withinBounds()
	b.rollout(after)
	if diff := cmp.Diff(now, b.expect(2, after)); diff != "" {
		t.Errorf("a rollout to the present revision changed instances (-before +after):\n%s", diff)
	}
	// A restart keeps the revision of the rollout, not that of the stack.
	b.Must("restart", b.Env.Restart)
	b.expect(2, after)
}

// replaced demands that no process of before is left.
func replaced(b *Bench, before, after map[string]string) {
	b.Helper()
	for _, boot := range before {
		if slices.Contains(slices.Collect(maps.Values(after)), boot) {
			b.Errorf("process %s was not replaced", boot)
		}
	}
}

// withinBounds demands of the events that the number of instances has stayed within the
// stack's bounds since all of the first ones were ready.
func (b *Bench) withinBounds() {
	b.Helper()
	n, r := b.Stack.Replicas, b.Stack.Rolling
	events := b.events.soFar()
	settled := false
	for k := range events {
		ready, exist := fold(events[:k+1])
		if b.harness.SurgeExcludesTerminating {
			exist = slices.DeleteFunc(exist, func(id string) bool { return stops(events[:k+1], id) })
		}
		settled = settled || len(ready) == n
		if len(exist) > n+r.MaxSurge {
			b.Errorf("after event %d %d instances exist, want at most %d\n%s", k, len(exist), n+r.MaxSurge, story(events[:k+1]))
			return
		}
		if settled && len(ready) < n-r.MaxUnavailable {
			b.Errorf("after event %d %d instances are ready, want at least %d\n%s", k, len(ready), n-r.MaxUnavailable, story(events[:k+1]))
			return
		}
	}
	if !settled {
		b.Errorf("by the events there never were %d ready instances\n%s", n, story(events))
	}
}

// stops says whether an instance was asked to stop.
func stops(events []drivers.Event, instance string) bool {
	return slices.ContainsFunc(events, func(e drivers.Event) bool {
		return e.Kind == drivers.Terminating && e.Instance == instance
	})
}

// routed demands that requests go where the events say, at once or, with a balancer that
// follows later, in the end.
func (b *Bench) routed(what string, ask func() error) {
	b.Helper()
	if b.harness.AsyncRouting {
		b.Eventually(what, func(context.Context) error { return ask() })
		return
	}
	if err := ask(); err != nil {
		b.Error(err)
	}
}

// testStopFirst: with no surge and one unavailable an old instance goes before a new one
// comes.
func testStopFirst(t testing.TB, h Harness) {
	b := h.Deploy(t, func(s *drivers.Stack) { s.Rolling = drivers.Rolling{MaxUnavailable: 1} })
	was := b.expect(2, before)
	b.Must("restart", b.Env.Restart)
	replaced(b, was, b.expect(2, before))
	b.withinBounds()
	b.rollout(after)
	b.expect(2, after)
	b.withinBounds()
}

// testWatch: every watcher is told the same from the beginning, however late and slow.
func testWatch(t testing.TB, h Harness) {
	b := h.Deploy(t)
	unread := b.Env.Watch()
	b.rollout(after)
	late := record(b.Env.Watch())
	b.scale(1)
	b.expect(1, after)
	b.Must("close", b.Env.Close)
	want, ended := b.events.all(h.timeout())
	if !ended {
		t.Fatal("the watch was not closed by Close")
	}
	for name, r := range map[string]*recorded{"late": late, "unread until the end": record(unread), "after the end": record(b.Env.Watch())} {
		got, ended := r.all(h.timeout())
		if !ended {
			t.Errorf("%s: the watch was not closed by Close", name)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: the watch differs from the first one (-first +this):\n%s", name, diff)
		}
	}
	for kind, least := range map[drivers.EventKind]int{drivers.Started: 4, drivers.Ready: 4, drivers.Terminating: 4, drivers.Gone: 4} {
		n := 0
		for _, e := range want {
			if e.Kind == kind {
				n++
			}
		}
		if n < least {
			t.Errorf("%d events %s, want at least %d: two instances, replaced\n%s", n, kind, least, story(want))
		}
	}
}

// testNeverReady: a revision that never becomes ready stops at the surge, the old
// instances serve on, the error tells, and the way back is open.
func testNeverReady(t testing.TB, h Harness) {
	b := h.Deploy(t, bad(badUnready, after))
	was := b.expect(2, before)
	change := b.background(func(ctx context.Context) error { return b.Env.Rollout(ctx, after) })
	started := b.AwaitEvent(drivers.Started, "", after)
	b.asked(started.Instance, 5)
	if list := b.Instances(); len(list) != 3 {
		t.Errorf("%d instances while the new one is not ready, want 2 old ones and 1 surge: %+v", len(list), list)
	}
	b.serveOn(was)
	err := change.cancel()
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled rollout: got %v, want context.Canceled", err)
	}
	if err != nil && len(err.Error()) < len(started.Instance)+len(context.Canceled.Error()) {
		t.Errorf("the error does not say what it waited for: %v", err)
	}
	b.serveOn(was)
	b.withinBounds()
	b.rollout(before)
	if diff := cmp.Diff(was, b.expect(2, before)); diff != "" {
		t.Errorf("rolling back replaced instances that had the right revision (-before +after):\n%s", diff)
	}
}

// asked waits until an instance's signal was asked for that often since now, or, where
// the runtime asks nobody, has the instance tell it that often.
func (b *Bench) asked(instance string, times int) {
	b.Helper()
	if b.harness.PushBased {
		for range times {
			b.Eventually(instance+" to tell its supervisor", func(ctx context.Context) error {
				_, err := b.askHealth(ctx, http.MethodPost, instance, "/tell")
				return err
			})
		}
		return
	}
	first := -1
	b.Eventually(fmt.Sprintf("%s to be asked %d times", instance, times), func(ctx context.Context) error {
		s, err := b.askHealth(ctx, http.MethodGet, instance, "/asked")
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(s)
		if err != nil {
			return err
		}
		if first < 0 {
			first = n
		}
		if n < first+times {
			return fmt.Errorf("asked %d times", n-first)
		}
		return nil
	})
}

// askHealth asks the health port of an instance, which must be listed.
func (b *Bench) askHealth(ctx context.Context, method, instance, path string) (string, error) {
	list, err := b.Env.Instances(ctx)
	if err != nil {
		return "", err
	}
	for _, i := range list {
		if i.ID == instance {
			return ask(method, "http://"+i.Ports["health"]+path)
		}
	}
	return "", fmt.Errorf("%s is not listed", instance)
}

// serveOn demands that all of these processes are still ready and that requests reach
// them and nobody else.
func (b *Bench) serveOn(boots map[string]string) {
	b.Helper()
	for _, i := range b.Instances() {
		boot, ours := boots[i.ID]
		if !ours {
			if i.State == drivers.StateReady {
				b.Errorf("instance %s is ready, against its signal", i.ID)
			}
			continue
		}
		answer, err := Get("http://" + i.Addr + "/")
		if _, _, got := parseAnswer(answer); err != nil || got != boot || i.State != drivers.StateReady {
			b.Errorf("old instance %s (%s) answers %q, %v; want it to serve on as %s", i.ID, i.State, answer, err, boot)
		}
	}
	for range 3 * len(boots) {
		answer, err := Get(b.url + "/")
		if err != nil {
			b.Errorf("a request through the balancer failed: %v", err)
			continue
		}
		if id, _, boot := parseAnswer(answer); boots[id] != boot {
			b.Errorf("a request through the balancer reached %q, want one of %v", answer, boots)
		}
	}
}

// testEndsAtOnce: a revision whose instances end at once stops the rollout too.
func testEndsAtOnce(t testing.TB, h Harness) {
	b := h.Deploy(t, bad(badExits, after))
	was := b.expect(2, before)
	// It is up to the runtime whether it gives up by itself or tries until it is told to
	// stop, as one that restarts what ends would.
	change := b.background(func(ctx context.Context) error { return b.Env.Rollout(ctx, after) })
	b.Eventually("the exit status of one that has ended, in an event", func(context.Context) error {
		for _, e := range b.events.soFar() {
			if status, ok := drivers.ExitStatus(e.Detail); ok && status != 0 && e.Revision == after {
				return nil
			}
		}
		return errors.New("none has it")
	})
	b.oldOnesAnswer(was, 20)
	if err := change.cancel(); err == nil {
		t.Error("a rollout of instances that end at once succeeded")
	}
	b.serveOn(was)
	b.rollout(before)
	if diff := cmp.Diff(was, b.expect(2, before)); diff != "" {
		t.Errorf("rolling back replaced instances that had the right revision (-before +after):\n%s", diff)
	}
}

// oldOnesAnswer lets some time pass, in which requests are answered by these processes.
func (b *Bench) oldOnesAnswer(boots map[string]string, requests int) {
	b.Helper()
	n := 0
	b.Eventually("requests to be answered", func(context.Context) error {
		answer, err := Get(b.url + "/")
		if err != nil {
			b.Fatalf("a request through the balancer failed: %v", err)
		}
		if id, _, boot := parseAnswer(answer); boots[id] != boot {
			b.Fatalf("a request through the balancer reached %q, want one of %v", answer, boots)
		}
		if n++; n < requests {
			return fmt.Errorf("%d answered", n)
		}
		return nil
	})
}

// testCancel: a change that is cancelled leaves the environment usable, whichever it is.
func testCancel(t testing.TB, h Harness) {
	b := h.Deploy(t, bad(badUnready, after))
	b.expect(2, before)
	ended, end := context.WithCancel(context.Background())
	end()
	for what, change := range map[string]func(context.Context) error{
		"scale":   func(ctx context.Context) error { return b.Env.Scale(ctx, 3) },
		"restart": b.Env.Restart,
		"rollout": func(ctx context.Context) error { return b.Env.Rollout(ctx, after) },
	} {
		if err := change(ended); !errors.Is(err, context.Canceled) {
			t.Errorf("%s under an ended context: got %v, want context.Canceled", what, err)
		}
	}
	b.rollout(before)
	b.scale(1)
	b.expect(1, before)
	change := b.background(func(ctx context.Context) error { return b.Env.Rollout(ctx, after) })
	b.AwaitEvent(drivers.Started, "", after)
	if err := change.cancel(); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled rollout: got %v, want context.Canceled", err)
	}
	b.rollout(before)
	b.scale(2)
	b.expect(2, before)
}

// testSignalDecides: whoever serves but says that it is not ready is not routed to, and
// is again once it says so.
func testSignalDecides(t testing.TB, h Harness) {
	b := h.Deploy(t)
	boots := b.expect(2, before)
	list := b.Instances()
	b.Set(list[0], "ready", false)
	b.AwaitEvent(drivers.Unready, list[0].ID, before)
	if _, err := Get("http://" + list[0].Addr + "/"); err != nil {
		t.Errorf("the unready instance must go on serving: %v", err)
	}
	b.routed("only the instance that is ready to be reached", func() error {
		for range 6 {
			answer, err := Get(b.url + "/")
			if id, _, _ := parseAnswer(answer); err != nil || id != list[1].ID {
				return fmt.Errorf("through the balancer: %q, %v; want the instance that is ready, %s", answer, err, list[1].ID)
			}
		}
		return nil
	})
	for _, i := range b.Instances() {
		if want := map[string]drivers.State{list[0].ID: drivers.StateUnready, list[1].ID: drivers.StateReady}[i.ID]; i.State != want {
			t.Errorf("instance %s is %s, want %s", i.ID, i.State, want)
		}
	}
	b.Set(list[0], "ready", true)
	b.Eventually("both to be ready again", func(context.Context) error {
		if ready, _ := fold(b.events.soFar()); len(ready) != 2 {
			return fmt.Errorf("ready: %v", ready)
		}
		return nil
	})
	if diff := cmp.Diff(boots, b.expect(2, before)); diff != "" {
		t.Errorf("instances were replaced (-before +after):\n%s", diff)
	}
}

// testSignalLies: a driver believes the signal when it rolls, and the truth when it
// deploys.
func testSignalLies(t testing.TB, h Harness) {
	b := h.Deploy(t, bad(badLies, after))
	b.expect(2, before)
	b.rollout(after)
	list := b.Instances()
	if len(list) != 2 {
		t.Fatalf("%d instances, want 2: %+v", len(list), list)
	}
	for _, i := range list {
		if i.State != drivers.StateReady || i.Revision != after {
			t.Errorf("instance %s is %s at revision %s, want ready at %s as its signal says", i.ID, i.State, i.Revision, after)
		}
	}
	b.routed("the new instances to be reached", func() error {
		var status *statusError
		if answer, err := Get(b.url + "/"); !errors.As(err, &status) || status.status != http.StatusServiceUnavailable {
			return fmt.Errorf("through the balancer: %q, %v; want the instance's own 503", answer, err)
		}
		return nil
	})
	deployFails(t, h, bad(badLies, ""))
}

// testNoSignal: without a signal, whoever runs is ready.
func testNoSignal(t testing.TB, h Harness) {
	b := h.Deploy(t, bad(badUnready, ""), func(s *drivers.Stack) {
		s.Subject.Signal, s.Subject.Notify = drivers.Probe{Kind: drivers.ProbeNone}, false
	})
	b.expect(2, before)
	b.rollout(after)
	// What is ready by running need not listen yet, so this waits where expect does not.
	b.Eventually("the new revision to serve", func(context.Context) error {
		for _, i := range b.Instances() {
			if _, err := Get("http://" + i.Addr + "/"); err != nil {
				return err
			}
		}
		return nil
	})
	b.expect(2, after)
	b.scale(0)
	b.expect(0, after)
}

// deployFails demands that a stack which cannot serve is not deployed and leaves nothing
// behind.
func deployFails(t testing.TB, h Harness, mutate ...func(*drivers.Stack)) error {
	t.Helper()
	b := h.undeployed(t, mutate...)
	ctx, cancel := context.WithTimeout(context.Background(), h.failsWithin())
	defer cancel()
	env, err := b.Driver.Deploy(ctx, b.Stack)
	if err == nil {
		t.Error("a stack that does not serve was deployed")
		b.Must("close", env.Close)
	} else if !errors.Is(err, drivers.ErrNotServing) {
		t.Errorf("deploy: got %v, want ErrNotServing", err)
	}
	b.NothingLeft()
	return err
}

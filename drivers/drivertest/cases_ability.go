package drivertest

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// testLogs: what an instance wrote can be read.
func testLogs(t testing.TB, h Harness) {
	b := h.Deploy(t)
	logger := ability[drivers.Logger](b)
	for id, boot := range b.expect(2, before) {
		b.Eventually("the log of "+id, func(ctx context.Context) error {
			log, err := logger.Logs(ctx, id)
			if err == nil && !strings.Contains(log, boot) {
				err = fmt.Errorf("log %q lacks %q", log, boot)
			}
			return err
		})
	}
}

// testNotes: equal stacks have equal notes, each of one line that names a service.
func testNotes(t testing.TB, h Harness) {
	odd := func(s *drivers.Stack) {
		s.Subject.StopGrace += 1234567 // nanoseconds, which some runtimes cannot say
	}
	var all [][]string
	for range 2 {
		b := h.Deploy(t, replicas(1), odd)
		notes := ability[drivers.Noter](b).Notes()
		for _, n := range notes {
			if !oneLine(n) || (!strings.Contains(n, subject) && !strings.Contains(n, dependency)) {
				t.Errorf("note %q: want one line that names a service", n)
			}
		}
		if diff := cmp.Diff(notes, ability[drivers.Noter](b).Notes()); diff != "" {
			t.Errorf("asked again the environment notes something else (-first +second):\n%s", diff)
		}
		all = append(all, notes)
	}
	if diff := cmp.Diff(all[0], all[1]); diff != "" {
		t.Errorf("equal stacks have other notes (-first +second):\n%s", diff)
	}
}

// oneLine says whether a text is one line with something in it.
func oneLine(s string) bool { return strings.TrimSpace(s) != "" && !strings.ContainsAny(s, "\r\n") }

// testDescribes: what a driver says of itself can be printed and compared, and is true.
func testDescribes(t testing.TB, h Harness) {
	b := h.Deploy(t, replicas(0))
	b.Must("check", b.Driver.Check)
	if p, ok := b.Driver.(drivers.Preparer); ok {
		b.Must("prepare what is there already", p.Prepare)
	}
	if v, ok := b.Driver.(drivers.Versioner); ok {
		ctx := context.Background()
		if one, two := v.Version(ctx), v.Version(ctx); !oneLine(one) || one != two {
			t.Errorf("versions %q and %q, want one line, the same each time", one, two)
		}
	}
	if d, ok := b.Driver.(drivers.Describer); ok {
		lines := d.Describe(context.Background())
		for _, l := range lines {
			if !oneLine(l) {
				t.Errorf("it describes itself with %q, want a line", l)
			}
		}
		if len(lines) == 0 {
			t.Error("it has nothing to say of itself")
		}
	}
	if p, ok := b.Driver.(drivers.ProbeIntervaler); ok && p.ProbeInterval() <= 0 {
		t.Errorf("instances are asked every %v, want a time", p.ProbeInterval())
	}
	b.balancerIsAsClaimed()
}

// balancerIsAsClaimed compares whose balancer it is with the answer that it gives where there
// is no instance: the lab's names itself and its reason.
func (b *Bench) balancerIsAsClaimed() {
	b.Helper()
	c := drivers.CapabilitiesOf(b.Driver)
	if c != drivers.CapabilitiesOf(b.Driver) {
		b.Errorf("its capabilities change: %+v, then %+v", c, drivers.CapabilitiesOf(b.Driver))
	}
	if _, says := b.Driver.(drivers.Capable); says && !oneLine(c.Routing) {
		b.Errorf("it says with %q how it routes, want one line", c.Routing)
	}
	labs := false
	resp, err := client.Get(b.url + "/")
	if err == nil {
		labs = resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get(drivers.ReasonHeader) != ""
		err = resp.Body.Close()
	}
	if labs != c.LabBalancer {
		b.Errorf("that requests go through the lab's own balancer is claimed: %t; by the answer without an instance it is true: %t (%v)", c.LabBalancer, labs, err)
	}
}

// ability returns an optional ability of the environment, or skips the case.
func ability[A any](b *Bench) A {
	b.Helper()
	a, ok := b.Env.(A)
	if !ok {
		b.Skipf("the driver has no %T", (*A)(nil))
	}
	return a
}

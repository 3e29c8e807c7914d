package drivertest

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// testTLS, testHTTP2 and testH2C: a subject is reached in the protocol that it speaks, directly
// and through the balancer.
func testTLS(t testing.TB, h Harness)   { testProtocol(t, h, drivers.H1) }
func testHTTP2(t testing.TB, h Harness) { testProtocol(t, h, drivers.H2) }
func testH2C(t testing.TB, h Harness)   { testProtocol(t, h, drivers.H2C) }

func testProtocol(t testing.TB, h Harness, protocol drivers.Protocol) {
	b := h.Deploy(t, speaking(t, protocol))
	was := b.expect(2, before)
	b.speaksAt(b.Stack.Subject.Wire.Scheme())
	b.tellsWays(was)
	b.keepsConnections(was)
	b.scale(0)
	b.sendsNobody()
}

// speaksAt demands the scheme of the URL.
func (b *Bench) speaksAt(scheme string) {
	b.Helper()
	if u, err := url.Parse(b.url); err != nil || u.Scheme != scheme || u.Path != "" || u.Host == "" {
		b.Errorf("URL %s (%v), want scheme %s and a host", b.url, err, scheme)
	}
}

// tracer is the environment's way of telling where connections went. Where the lab's own
// balancer passes them on nobody else can tell.
func (b *Bench) tracer() drivers.Tracer {
	b.Helper()
	tracer, ok := b.Env.(drivers.Tracer)
	if !ok && drivers.CapabilitiesOf(b.Driver).LabBalancer {
		b.Fatalf("the lab's balancer passes connections on, and the environment does not tell where they went")
	}
	return tracer
}

// tellsWays demands that each connection went where the environment says.
func (b *Bench) tellsWays(boots map[string]string) {
	b.Helper()
	tracer := b.tracer()
	if tracer == nil {
		return
	}
	for range 2 * len(boots) {
		asker := asks(b, b.Stack.Subject.Wire, false)
		answer, err := askWith(asker.Client, http.MethodGet, b.url+"/")
		if err != nil {
			b.Fatalf("through the balancer: %v", err)
		}
		id, _, _ := parseAnswer(answer)
		if way, ok := tracer.Trace(asker.local); !ok || way.Instance != id || way.Reason != "" || way.At.IsZero() {
			b.Errorf("a connection that %s answered on went, by what the environment says, %+v (%t)", id, way, ok)
		}
	}
}

// keepsConnections demands that a connection stays with its instance when that is taken out,
// and that new ones go elsewhere.
func (b *Bench) keepsConnections(boots map[string]string) {
	b.Helper()
	kept := asks(b, b.Stack.Subject.Wire, true)
	answer, err := askWith(kept.Client, http.MethodGet, b.url+"/")
	if err != nil {
		b.Fatalf("through the balancer: %v", err)
	}
	id, _, boot := parseAnswer(answer)
	first := kept.local
	for _, i := range b.Instances() {
		if i.ID == id {
			b.Set(i, "ready", false)
			b.AwaitEvent(drivers.Unready, id, "")
		}
	}
	others := map[string]string{}
	for other, boot := range boots {
		if other != id {
			others[other] = boot
		}
	}
	if b.harness.AsyncRouting {
		b.Eventually("new connections to go elsewhere", func(context.Context) error {
			answer, err := b.get(b.url + "/")
			if err == nil && strings.Contains(answer, boot) {
				err = errors.New("one went to the instance that is not ready")
			}
			return err
		})
	} else {
		b.reachesAll(others)
	}
	again, err := askWith(kept.Client, http.MethodGet, b.url+"/")
	if err != nil || again != answer || kept.local != first {
		b.Errorf("on the connection that %s had: got %q, %v, want %q on the same one", id, again, err, answer)
	}
}

// sendsNobody demands that a connection that no instance takes ends without an answer, and that
// the environment knows why.
func (b *Bench) sendsNobody() {
	b.Helper()
	asker := asks(b, b.Stack.Subject.Wire, false)
	answer, err := askWith(asker.Client, http.MethodGet, b.url+"/")
	if err == nil || isTimeout(err) {
		b.Errorf("with no instance the balancer answers %q, %v, want a connection that ends", answer, err)
	}
	tracer := b.tracer()
	if tracer == nil {
		return
	}
	if way, ok := tracer.Trace(asker.local); !ok || way.Instance != "" || way.Reason != drivers.NoInstanceReason {
		b.Errorf("a connection with nobody to go to went, by what the environment says, %+v (%t)", way, ok)
	}
}

// testSignalOverTLS: a signal that is asked at a port that speaks TLS decides as any other, and
// nobody verifies a certificate for it.
func testSignalOverTLS(t testing.TB, h Harness) {
	if h.PushBased {
		t.Skipf("the runtime asks for no signal")
	}
	b := h.Deploy(t, speaking(t, drivers.H1), func(s *drivers.Stack) {
		s.Subject.Signal.Port, s.Subject.Signal.Path = "data", "/"
		s.Subject.Signal.Wire = drivers.Wire{TLS: &drivers.TLS{Insecure: true}}
	})
	b.expect(2, before)
	out := b.Instances()[0]
	b.Set(out, "serving", false)
	b.AwaitEvent(drivers.Unready, out.ID, "")
	b.Set(out, "serving", true)
	b.AwaitNth(2, drivers.Ready, out.ID)
}

// testTerminate: TLS ends at the lab's balancer, which reads the requests and sends each one on
// as the instances are spoken to; where the runtime has its own, the stack is refused.
func testTerminate(t testing.TB, h Harness) {
	id, trust := identity(t)
	terminate := func(s *drivers.Stack) { s.Balancer.Terminate = &id }
	if d := h.driver(t); !drivers.CapabilitiesOf(d).LabBalancer {
		b := h.undeployed(t, terminate)
		b.Must("deploy", func(ctx context.Context) error {
			if err := b.deployed(b.Driver.Deploy(ctx, b.Stack)); !errors.Is(err, drivers.ErrUnsupported) {
				t.Errorf("deploy with a balancer that TLS ends at: got %v, want ErrUnsupported", err)
			}
			return nil
		})
		b.NothingLeft()
		return
	}
	for _, subject := range []func(*drivers.Stack){func(*drivers.Stack) {}, speaking(t, drivers.H2)} {
		b := h.Deploy(t, subject, terminate)
		b.speaksAt("https")
		for _, protocol := range []drivers.Protocol{drivers.H1, drivers.H2} {
			b.sharesOut(asks(b, drivers.Wire{Protocol: protocol, TLS: trust}, true))
		}
	}
}

// sharesOut demands that the requests of one connection reach every instance.
func (b *Bench) sharesOut(kept *asker) {
	b.Helper()
	reached := map[string]bool{}
	for range 4 * len(b.Instances()) {
		answer, err := askWith(kept.Client, http.MethodGet, b.url+"/")
		if err != nil {
			b.Fatalf("through the balancer that TLS ends at: %v", err)
		}
		id, _, _ := parseAnswer(answer)
		reached[id] = true
	}
	if len(reached) != len(b.Instances()) {
		b.Errorf("the requests of one connection reached %v, want every instance", reached)
	}
}

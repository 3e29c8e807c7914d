package fleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// breaking is a runtime that can do faults, and remembers what it did.
type breaking struct {
	*servers
	breaks func(ctx context.Context) error // what comes of an injection

	mu    sync.Mutex
	story []string
}

func (b *breaking) say(what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.story = append(b.story, what)
}

func (b *breaking) said() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.story)
}

func (b *breaking) Stop(ctx context.Context, i *Instance) error {
	b.say("stop " + i.ID)
	return b.servers.Stop(ctx, i)
}

func (b *breaking) Break(ctx context.Context, i *Instance, f drivers.Fault) (drivers.Injection, error) {
	b.say(fmt.Sprintf("%s %s", f.Kind, i.ID))
	if b.breaks != nil {
		if err := b.breaks(ctx); err != nil {
			return nil, err
		}
	}
	out := &crack{runtime: b, instance: i, kind: f.Kind}
	if f.Kind == drivers.FaultStop {
		out.addr = i.addr(i.Service.Ports[0])
		b.take(i).Close()
	}
	return out, nil
}

// crack is a fault that such a runtime has done.
type crack struct {
	runtime  *breaking
	instance *Instance
	kind     drivers.FaultKind
	addr     string
}

func (c *crack) Proof(context.Context) (string, bool, error) { return "it is said", true, nil }

func (c *crack) Heal(context.Context) error {
	c.runtime.say(fmt.Sprintf("heal %s %s", c.kind, c.instance.ID))
	if c.kind != drivers.FaultStop {
		return nil
	}
	l, err := net.Listen("tcp", c.addr)
	if err != nil {
		return err
	}
	server := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.NotFoundHandler()}}
	server.Start()
	c.runtime.servers.mu.Lock()
	defer c.runtime.servers.mu.Unlock()
	c.runtime.running[c.instance] = server
	return nil
}

func TestARuntimeWithoutFaultsRefusesThem(t *testing.T) {
	e := deploy(t, newServers())
	if _, err := e.Inject(t.Context(), drivers.Fault{Kind: drivers.FaultKill, Instance: "web-1"}); !errors.Is(err, drivers.ErrUnsupported) {
		t.Errorf("got %v, want ErrUnsupported", err)
	}
}

// What is frozen hears of its stop: whatever lasts is healed before the first instance is stopped,
// but for a dependency that is away, which would be started for nothing.
func TestCloseHealsBeforeItStops(t *testing.T) {
	b := &breaking{servers: newServers()}
	e := deploy(t, b)
	var all []drivers.Injection
	for _, f := range []drivers.Fault{
		{Kind: drivers.FaultKill, Instance: "web-2"},
		{Kind: drivers.FaultPause, Instance: "web-1"},
		{Kind: drivers.FaultCPU, Instance: "web-2", CPUs: 0.5},
		{Kind: drivers.FaultCPU, Instance: "web-1", CPUs: 0.5},
	} {
		i, err := e.Inject(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, i)
	}
	if err := all[3].Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		if err := i.Heal(t.Context()); err != nil {
			t.Errorf("heal what is closed: %v", err)
		}
	}
	want := []string{
		"kill web-2", "pause web-1", "cpu web-2", "cpu web-1", "heal cpu web-1",
		"heal cpu web-2", "heal pause web-1", "stop web-1", "stop web-2", "stop backend-1",
	}
	if got := b.said(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, err := e.Inject(t.Context(), drivers.Fault{Kind: drivers.FaultKill, Instance: "web-1"}); !errors.Is(err, drivers.ErrClosed) {
		t.Errorf("after Close: got %v, want ErrClosed", err)
	}
}

func TestAFaultIsThereOnce(t *testing.T) {
	b := &breaking{servers: newServers()}
	e := deploy(t, b)
	freeze := drivers.Fault{Kind: drivers.FaultPause, Instance: "web-1"}
	first, err := e.Inject(t.Context(), freeze)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Inject(t.Context(), freeze); err == nil || !strings.Contains(err.Error(), "there already") {
		t.Errorf("a second time: got %v", err)
	}
	if err := first.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Inject(t.Context(), freeze); err != nil {
		t.Errorf("once it is healed: %v", err)
	}
	for range 2 { // what does not last is never there
		if _, err := e.Inject(t.Context(), drivers.Fault{Kind: drivers.FaultKill, Instance: "web-1"}); err != nil {
			t.Error(err)
		}
	}
	b.breaks = func(context.Context) error { return errors.New("no") }
	thaw := drivers.Fault{Kind: drivers.FaultPause, Instance: "web-2"}
	if _, err := e.Inject(t.Context(), thaw); err == nil {
		t.Error("an injection that failed was one")
	}
	b.breaks = nil
	if _, err := e.Inject(t.Context(), thaw); err != nil {
		t.Errorf("after one that failed: %v", err)
	}
}

func TestFaultsOfNothingAreRefused(t *testing.T) {
	b := &breaking{servers: newServers()}
	e := deploy(t, b)
	for what, f := range map[string]drivers.Fault{
		"an instance that is not there":  {Kind: drivers.FaultPause, Instance: "web-9"},
		"a dependency by its instance":   {Kind: drivers.FaultPause, Instance: "backend-1"},
		"a dependency that is not there": {Kind: drivers.FaultStop, Service: "web"},
		"no share at all":                {Kind: drivers.FaultCPU, Instance: "web-1"},
	} {
		if _, err := e.Inject(t.Context(), f); err == nil {
			t.Errorf("%s: it was injected", what)
		}
	}
	if got := b.said(); len(got) > 0 {
		t.Errorf("the runtime was asked for %q", got)
	}
}

// Close ends an injection that is under way, and waits for it.
func TestCloseEndsAnInjection(t *testing.T) {
	b := &breaking{servers: newServers()}
	e := deploy(t, b)
	begun := make(chan struct{})
	b.breaks = func(ctx context.Context) error {
		close(begun)
		<-ctx.Done()
		b.say("given up")
		return context.Cause(ctx)
	}
	injecting := make(chan error, 1)
	go func() {
		_, err := e.Inject(context.Background(), drivers.Fault{Kind: drivers.FaultPause, Instance: "web-1"})
		injecting <- err
	}()
	<-begun
	if err := e.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-injecting; !errors.Is(err, drivers.ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
	if got := b.said(); len(got) < 3 || got[1] != "given up" {
		t.Errorf("got %q: something was stopped while a fault was being injected", got)
	}
}

// A dependency that is away is proven by its address, whatever its runtime says, and is healed
// once it serves there.
func TestADependencyIsAway(t *testing.T) {
	b := &breaking{servers: newServers()}
	e := deploy(t, b)
	url, err := e.Endpoint(t.Context(), "backend", "data")
	if err != nil {
		t.Fatal(err)
	}
	away, err := e.Inject(t.Context(), drivers.Fault{Kind: drivers.FaultStop, Service: "backend"})
	if err != nil {
		t.Fatal(err)
	}
	if seen, there, err := away.Proof(t.Context()); err != nil || !there || !strings.Contains(seen, "refused") {
		t.Errorf("while it is away: %q, %t, %v", seen, there, err)
	}
	if err := away.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if seen, there, err := away.Proof(t.Context()); err != nil || there || !strings.Contains(seen, "accepts a connection") {
		t.Errorf("once it is healed: %q, %t, %v", seen, there, err)
	}
	if again, err := e.Endpoint(t.Context(), "backend", "data"); err != nil || again != url {
		t.Errorf("it was at %s and is at %s (%v)", url, again, err)
	}
}

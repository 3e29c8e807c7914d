//go:build go1.25

package grpchealth

import (
	"context"
	"errors"
	"maps"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/rollout-lab/rollout-lab/healthkit"
	"github.com/rollout-lab/rollout-lab/healthkit/grpc/grpcserve"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	serving    = healthpb.HealthCheckResponse_SERVING
	notServing = healthpb.HealthCheckResponse_NOT_SERVING
	unknown    = healthpb.HealthCheckResponse_SERVICE_UNKNOWN
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func register(t testing.TB, r *healthkit.Registry, name string, o healthkit.Options) *healthkit.Component {
	t.Helper()
	c, err := r.Register(name, o)
	must(t, err)
	return c
}

// stack is a health server behind a gRPC server, and a client of it.
type stack struct {
	registry *healthkit.Registry
	health   *Server
	grpc     *grpc.Server
	client   healthpb.HealthClient
	served   chan error
}

func serve(t *testing.T, lis net.Listener, target string, dial func(context.Context, string) (net.Conn, error), r *healthkit.Registry, services map[string][]string) *stack {
	t.Helper()
	h, err := New(r, Options{Services: services})
	must(t, err)
	s := &stack{registry: r, health: h, grpc: grpc.NewServer(), served: make(chan error, 1)}
	h.Register(s.grpc)
	go func() { s.served <- s.grpc.Serve(lis) }()
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithContextDialer(dial))
	must(t, err)
	s.client = healthpb.NewHealthClient(conn)
	t.Cleanup(func() {
		conn.Close()
		s.grpc.Stop()
		if err := <-s.served; err != nil {
			t.Error(err)
		}
		must(t, r.Close(context.Background()))
	})
	return s
}

func inMemory(t *testing.T, r *healthkit.Registry, services map[string][]string) *stack {
	lis := bufconn.Listen(1 << 16)
	return serve(t, lis, "passthrough:///memory", func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }, r, services)
}

func onNetwork(t *testing.T, r *healthkit.Registry, services map[string][]string) *stack {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	return serve(t, lis, "passthrough:///"+lis.Addr().String(), func(ctx context.Context, a string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", a)
	}, r, services)
}

// bound is how long a test waits for what should happen at once.
func bound(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func (s *stack) check(t *testing.T, service string) healthpb.HealthCheckResponse_ServingStatus {
	t.Helper()
	resp, err := s.client.Check(bound(t), &healthpb.HealthCheckRequest{Service: service})
	must(t, err)
	return resp.Status
}

func (s *stack) watch(t *testing.T, service string) grpc.ServerStreamingClient[healthpb.HealthCheckResponse] {
	t.Helper()
	stream, err := s.client.Watch(bound(t), &healthpb.HealthCheckRequest{Service: service})
	must(t, err)
	return stream
}

func wantNext(t *testing.T, stream grpc.ServerStreamingClient[healthpb.HealthCheckResponse], when string, want healthpb.HealthCheckResponse_ServingStatus) {
	t.Helper()
	resp, err := stream.Recv()
	if err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	if resp.Status != want {
		t.Fatalf("%s: got %v, want %v", when, resp.Status, want)
	}
}

func wantEnd(t *testing.T, stream grpc.ServerStreamingClient[healthpb.HealthCheckResponse], want codes.Code) {
	t.Helper()
	if resp, err := stream.Recv(); status.Code(err) != want {
		t.Fatalf("got %v, %v; want the stream ended with %v", resp, err, want)
	}
}

func TestCheckAndList(t *testing.T) {
	r := healthkit.New(healthkit.Config{})
	storage := register(t, r, "storage", healthkit.Options{})
	mail := register(t, r, "mail", healthkit.Options{Optional: true})
	s := inMemory(t, r, map[string][]string{"shop.Cart": {"storage"}, "shop.Mail": {"mail", "storage"}, "shop.All": nil, "shop.Late": {"late"}})

	var late *healthkit.Component
	type verdicts struct {
		all, cart, mail, late healthpb.HealthCheckResponse_ServingStatus
	}
	for _, step := range []struct {
		name string
		do   func()
		want verdicts
	}{
		{"nothing reported", func() {}, verdicts{notServing, notServing, notServing, notServing}},
		{"storage ready, optional mail not yet", storage.Ready, verdicts{serving, serving, notServing, notServing}},
		{"all ready", mail.Ready, verdicts{serving, serving, serving, notServing}},
		{"a component that comes late", func() { late = register(t, r, "late", healthkit.Options{Optional: true}); late.Ready() }, verdicts{serving, serving, serving, serving}},
		{"degraded serves", func() { mail.Degraded("slow") }, verdicts{serving, serving, serving, serving}},
		{"optional failed", func() { mail.Failed(errors.New("refused")) }, verdicts{serving, serving, notServing, serving}},
		{"storage failed", func() { storage.Failed(errors.New("disk")) }, verdicts{notServing, notServing, notServing, serving}},
		{"retracted", func() { late.Retract(); storage.Ready() }, verdicts{serving, serving, notServing, notServing}},
		{"lame duck", func() { must(t, r.Advance(healthkit.PhaseLameDuck, "SIGTERM")) }, verdicts{notServing, notServing, notServing, notServing}},
	} {
		step.do()
		want := map[string]healthpb.HealthCheckResponse_ServingStatus{"": step.want.all, "shop.All": step.want.all, "shop.Cart": step.want.cart, "shop.Mail": step.want.mail, "shop.Late": step.want.late}
		resp, err := s.client.List(bound(t), &healthpb.HealthListRequest{})
		must(t, err)
		listed := map[string]healthpb.HealthCheckResponse_ServingStatus{}
		for name, status := range resp.Statuses {
			listed[name] = status.Status
			if got := s.check(t, name); got != want[name] {
				t.Errorf("%s: Check(%q) = %v, want %v", step.name, name, got, want[name])
			}
		}
		if !maps.Equal(listed, want) {
			t.Errorf("%s: List = %v, want %v", step.name, listed, want)
		}
	}
	if _, err := s.client.Check(bound(t), &healthpb.HealthCheckRequest{Service: "shop.None"}); status.Code(err) != codes.NotFound {
		t.Errorf("Check of a service that is not mapped: got %v, want NotFound", err)
	}
}

func TestStatusOfOneComponent(t *testing.T) {
	for _, c := range []struct {
		name string
		opts healthkit.Options
		do   func(*healthkit.Component)
		want healthpb.HealthCheckResponse_ServingStatus
	}{
		{"starting", healthkit.Options{}, func(c *healthkit.Component) {}, notServing},
		{"failed, fail-open, ready before", healthkit.Options{OnFailure: healthkit.FailOpen}, func(c *healthkit.Component) { c.Ready(); c.Failed(nil) }, serving},
		{"failed, fail-open, never ready", healthkit.Options{OnFailure: healthkit.FailOpen}, func(c *healthkit.Component) { c.Failed(nil) }, notServing},
		{"failed, fail-shared, ready before", healthkit.Options{OnFailure: healthkit.FailShared}, func(c *healthkit.Component) { c.Ready(); c.Failed(nil) }, serving},
		{"optional and failed", healthkit.Options{Optional: true}, func(c *healthkit.Component) { c.Ready(); c.Failed(nil) }, notServing},
		{"member of a group, ready", healthkit.Options{Group: "g"}, func(c *healthkit.Component) { c.Ready() }, serving},
		{"member of a group, failed", healthkit.Options{Group: "g"}, func(c *healthkit.Component) { c.Failed(nil) }, notServing},
		{"draining", healthkit.Options{}, func(c *healthkit.Component) { c.Ready(); c.Draining("") }, notServing},
		{"stopped", healthkit.Options{}, func(c *healthkit.Component) { c.Ready(); c.Stopped("") }, notServing},
		{"behind the required generation", healthkit.Options{Generational: true}, func(c *healthkit.Component) { c.Ready(); c.Generation(1) }, notServing},
		{"at the required generation", healthkit.Options{Generational: true}, func(c *healthkit.Component) { c.Ready(); c.Generation(2) }, serving},
	} {
		r := healthkit.New(healthkit.Config{Generations: healthkit.GenerationPolicy{AtLeast: 2}})
		if _, err := r.RegisterGroup("g", healthkit.GroupOptions{AtLeast: 2, Optional: true}); err != nil {
			t.Fatal(err)
		}
		register(t, r, "other", healthkit.Options{}) // keeps the process unready: the service is judged by itself
		comp := register(t, r, "c", c.opts)
		c.do(comp)
		if got := Status(r.Snapshot(), "c"); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
		if got := Status(r.Snapshot(), "c", "other"); got != notServing {
			t.Errorf("%s: with a part that is starting: got %v, want NOT_SERVING", c.name, got)
		}
		if got := Status(r.Snapshot()); got != notServing {
			t.Errorf("%s: the process: got %v, want NOT_SERVING", c.name, got)
		}
	}
}

func TestWatchSendsChangesAndNothingElse(t *testing.T) {
	r := healthkit.New(healthkit.Config{})
	a := register(t, r, "a", healthkit.Options{})
	b := register(t, r, "b", healthkit.Options{})
	s := inMemory(t, r, map[string][]string{"x.A": {"a"}})
	all, service := s.watch(t, ""), s.watch(t, "x.A")
	wantNext(t, all, "begin", notServing)
	wantNext(t, service, "begin", notServing)
	a.Ready()
	wantNext(t, service, "a ready", serving)
	b.Ready()
	wantNext(t, all, "both ready", serving)
	b.Degraded("no change of the verdict")
	b.Failed(nil)
	wantNext(t, all, "b failed", notServing)
	a.Failed(nil)
	wantNext(t, service, "a failed; b was no concern of this service", notServing)
	a.Ready()
	b.Ready()
	wantNext(t, all, "recovered", serving)
	wantNext(t, service, "recovered", serving)
}

// memory is the server's end of a stream that goes nowhere, so that the clock of
// a synctest bubble can move.
type memory struct {
	grpc.ServerStream
	ctx  context.Context
	sent chan healthpb.HealthCheckResponse_ServingStatus
}

func (m *memory) Context() context.Context { return m.ctx }

func (m *memory) Send(resp *healthpb.HealthCheckResponse) error {
	m.sent <- resp.Status
	return nil
}

func TestWatchTellsExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := healthkit.New(healthkit.Config{})
		a := register(t, r, "a", healthkit.Options{TTL: time.Minute})
		h, err := New(r, Options{})
		must(t, err)
		a.Ready()
		ctx, cancel := context.WithCancel(t.Context())
		stream := &memory{ctx: ctx, sent: make(chan healthpb.HealthCheckResponse_ServingStatus)}
		ended := make(chan error)
		go func() { ended <- h.Watch(&healthpb.HealthCheckRequest{}, stream) }()
		begin := time.Now()
		for _, want := range []struct {
			status healthpb.HealthCheckResponse_ServingStatus
			at     time.Duration
		}{{serving, 0}, {notServing, time.Minute}} {
			if got := <-stream.sent; got != want.status || time.Since(begin) != want.at {
				t.Errorf("got %v at %v, want %v at %v", got, time.Since(begin), want.status, want.at)
			}
		}
		cancel()
		if err := <-ended; status.Code(err) != codes.Canceled {
			t.Errorf("got %v, want Canceled", err)
		}
		must(t, r.Close(context.Background()))
	})
}

// A client that reads slowly misses what was undone, and gets the last.
func TestWatchOfASlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := healthkit.New(healthkit.Config{})
		a := register(t, r, "a", healthkit.Options{})
		h, err := New(r, Options{})
		must(t, err)
		stream := &memory{ctx: t.Context(), sent: make(chan healthpb.HealthCheckResponse_ServingStatus)}
		ended := make(chan error)
		go func() { ended <- h.Watch(&healthpb.HealthCheckRequest{}, stream) }()
		synctest.Wait() // the first message waits for its reader
		for range 100 {
			a.Ready()
			a.Failed(nil)
		}
		a.Ready()
		got := []healthpb.HealthCheckResponse_ServingStatus{<-stream.sent, <-stream.sent}
		if want := []healthpb.HealthCheckResponse_ServingStatus{notServing, serving}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		h.Shutdown()
		if got := <-stream.sent; got != notServing {
			t.Errorf("got %v after Shutdown, want NOT_SERVING", got)
		}
		if err := <-ended; status.Code(err) != codes.Unavailable {
			t.Errorf("got %v, want Unavailable", err)
		}
	})
}

func TestWatchOfAnUnknownServiceStays(t *testing.T) {
	r := healthkit.New(healthkit.Config{AllowEmpty: true})
	s := inMemory(t, r, nil)
	stream := s.watch(t, "x.None")
	wantNext(t, stream, "begin", unknown)
	must(t, r.Advance(healthkit.PhaseLameDuck, "SIGTERM"))
	must(t, r.Advance(healthkit.PhaseDraining, "SIGTERM"))
	wantEnd(t, stream, codes.Unavailable) // and nothing before it
}

func TestWatchThroughTheLife(t *testing.T) {
	r := healthkit.New(healthkit.Config{AllowEmpty: true})
	s := inMemory(t, r, nil)
	stream := s.watch(t, "")
	wantNext(t, stream, "begin", serving)
	must(t, r.Advance(healthkit.PhaseLameDuck, "SIGTERM"))
	wantNext(t, stream, "lame duck", notServing)
	other := s.watch(t, "")
	wantNext(t, other, "a lame duck takes a watcher", notServing)
	must(t, r.Advance(healthkit.PhaseDraining, "SIGTERM"))
	wantEnd(t, stream, codes.Unavailable)
	wantEnd(t, other, codes.Unavailable)
	late := s.watch(t, "")
	wantNext(t, late, "a watcher during the drain", notServing)
	wantEnd(t, late, codes.Unavailable)
}

func TestWatchEndsWithItsClient(t *testing.T) {
	r := healthkit.New(healthkit.Config{AllowEmpty: true})
	s := inMemory(t, r, nil)
	ctx, cancel := context.WithCancel(bound(t))
	stream, err := s.client.Watch(ctx, &healthpb.HealthCheckRequest{})
	must(t, err)
	wantNext(t, stream, "begin", serving)
	cancel()
	wantEnd(t, stream, codes.Canceled)
	// GracefulStop returns only when the server's side of the stream is over.
	s.grpc.GracefulStop()
}

func TestGracefulStopIsNotHeldUp(t *testing.T) {
	for _, c := range []struct {
		name string
		stop func(*testing.T, *stack)
	}{
		{"the registry drains", func(t *testing.T, s *stack) {
			must(t, s.registry.Advance(healthkit.PhaseLameDuck, "SIGTERM"))
			must(t, s.registry.Advance(healthkit.PhaseDraining, "SIGTERM"))
			s.grpc.GracefulStop()
		}},
		{"the registry is closed", func(t *testing.T, s *stack) {
			must(t, s.registry.Close(bound(t)))
			s.grpc.GracefulStop()
		}},
		{"Shutdown", func(t *testing.T, s *stack) { s.health.Shutdown(); s.health.Shutdown(); s.grpc.GracefulStop() }},
		{"the drain of the core", func(t *testing.T, s *stack) {
			_, err := s.registry.Shutdown(bound(t), healthkit.ShutdownPlan{Reason: "SIGTERM", Servers: []healthkit.Server{&grpcserve.Server{Server: s.grpc}}})
			must(t, err)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := onNetwork(t, healthkit.New(healthkit.Config{AllowEmpty: true}), nil)
			streams := []grpc.ServerStreamingClient[healthpb.HealthCheckResponse]{s.watch(t, ""), s.watch(t, ""), s.watch(t, "")}
			for _, stream := range streams {
				wantNext(t, stream, "begin", serving)
			}
			done := make(chan struct{})
			go func() { defer close(done); c.stop(t, s) }()
			for _, stream := range streams {
				wantNext(t, stream, "stop", notServing)
				wantEnd(t, stream, codes.Unavailable)
			}
			select {
			case <-done:
			case <-bound(t).Done():
				t.Fatal("GracefulStop is held up")
			}
		})
	}
}

func TestShutdownIsForGood(t *testing.T) {
	r := healthkit.New(healthkit.Config{})
	a := register(t, r, "a", healthkit.Options{})
	a.Ready()
	s := inMemory(t, r, map[string][]string{"x.A": {"a"}})
	s.health.Shutdown()
	a.Failed(nil)
	a.Ready()
	if got := []healthpb.HealthCheckResponse_ServingStatus{s.check(t, ""), s.check(t, "x.A")}; !slices.Equal(got, []healthpb.HealthCheckResponse_ServingStatus{notServing, notServing}) {
		t.Errorf("got %v after Shutdown, want NOT_SERVING", got)
	}
}

func TestTheProcessCannotBeMapped(t *testing.T) {
	if _, err := New(healthkit.New(healthkit.Config{}), Options{Services: map[string][]string{"": {"a"}}}); !errors.Is(err, healthkit.ErrOptions) {
		t.Errorf("got %v, want ErrOptions", err)
	}
}

func BenchmarkCheck(b *testing.B) {
	r := healthkit.New(healthkit.Config{AllowEmpty: true})
	s, err := New(r, Options{})
	must(b, err)
	req := &healthpb.HealthCheckRequest{}
	for b.Loop() {
		if _, err := s.Check(b.Context(), req); err != nil {
			b.Fatal(err)
		}
	}
}

func TestNamesOfServicesThatMeetNothing(t *testing.T) {
	r := healthkit.New(healthkit.Config{})
	register(t, r, "storage", healthkit.Options{})
	_, err := New(r, Options{Services: map[string][]string{"shop.Cart": {"storgae"}, "shop.Mail": {"storage"}}})
	must(t, err)
	err = r.Validate()
	if !errors.Is(err, healthkit.ErrUnknown) || err.Error() != "storgae, gRPC service shop.Cart: name meets nothing (is it storage?)" {
		t.Errorf("got %v", err)
	}
	if _, err := New(r, Options{Services: map[string][]string{"shop.Cart": {"my storage"}}}); !errors.Is(err, healthkit.ErrName) {
		t.Errorf("got %v, want ErrName", err)
	}
}

package grpcserve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/rollout-lab/rollout-lab/healthkit"
	"github.com/rollout-lab/rollout-lab/healthkit/grpc/grpchealth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gated holds every call until it is released or, if it obeys, cancelled.
type gated struct {
	testpb.UnimplementedTestServiceServer
	entered chan struct{}
	release chan struct{}
	ignores bool // its context
}

func newGated() *gated {
	return &gated{entered: make(chan struct{}, 1), release: make(chan struct{})}
}

func (g *gated) wait(ctx context.Context) error {
	g.entered <- struct{}{}
	cancelled := ctx.Done()
	if g.ignores {
		cancelled = nil
	}
	select {
	case <-g.release:
		return nil
	case <-cancelled:
		return ctx.Err()
	}
}

func (g *gated) EmptyCall(ctx context.Context, _ *testpb.Empty) (*testpb.Empty, error) {
	return &testpb.Empty{}, g.wait(ctx)
}

func (g *gated) StreamingOutputCall(_ *testpb.StreamingOutputCallRequest, s testpb.TestService_StreamingOutputCallServer) error {
	return g.wait(s.Context())
}

// noted is a listener that tells when it is closed.
type noted struct {
	net.Listener
	once   sync.Once
	closed chan struct{}
}

func (n *noted) Close() error {
	defer n.once.Do(func() { close(n.closed) })
	return n.Listener.Close()
}

type service struct {
	registry *healthkit.Registry
	server   *Server
	gate     *gated
	addr     *noted
	probes   net.Listener
	conn     *grpc.ClientConn
}

// newService has a server with health that nobody runs yet, and a client.
func newService(t *testing.T, gate *gated, opts ...grpc.ServerOption) *service {
	t.Helper()
	s := &service{registry: healthkit.New(healthkit.Config{AllowEmpty: true}), gate: gate}
	s.server = New(s.registry, opts...)
	testpb.RegisterTestServiceServer(s.server, gate)
	health, err := grpchealth.New(s.registry, grpchealth.Options{})
	if err != nil {
		t.Fatal(err)
	}
	healthpb.RegisterHealthServer(s.server, health)
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	s.addr, s.probes = &noted{Listener: listen(), closed: make(chan struct{})}, listen()
	s.conn, err = grpc.NewClient(s.addr.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.conn.Close() })
	return s
}

type outcome struct {
	report healthkit.ShutdownReport
	err    error
}

func (s *service) run(ctx context.Context, budget, finish time.Duration) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		report, err := s.registry.Run(ctx, healthkit.RunPlan{
			Endpoints:      []healthkit.Endpoint{{Listener: s.addr, Server: s.server}},
			HealthListener: s.probes,
			Budget:         budget, LameDuck: -1, CloseWait: -1, Finish: finish, Stop: -1,
		})
		done <- outcome{report, err}
	}()
	return done
}

func (s *service) call(ctx context.Context) <-chan error {
	result := make(chan error, 1)
	go func() {
		_, err := testpb.NewTestServiceClient(s.conn).EmptyCall(ctx, &testpb.Empty{})
		result <- err
	}()
	return result
}

// A call in flight and an open Watch when the shutdown begins: the call is
// finished, the Watch does not hold it up, new calls are refused, the probes
// answer to the last.
func TestDrain(t *testing.T) {
	s := newService(t, newGated())
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	told, tell := context.WithCancel(ctx)
	done := s.run(told, 20*time.Second, 10*time.Second)

	watch, err := healthpb.NewHealthClient(s.conn).Watch(ctx, &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := watch.Recv(); err != nil || got.Status != healthpb.HealthCheckResponse_SERVING {
		t.Fatalf("watch got %v, %v; want SERVING", got, err)
	}
	call := s.call(ctx)
	<-s.gate.entered
	if got := s.registry.InFlight(); got != 1 {
		t.Errorf("got %d in flight, want 1: the call, not the watch", got)
	}

	tell()
	if got, err := watch.Recv(); err != nil || got.Status != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Errorf("watch got %v, %v; want NOT_SERVING", got, err)
	}
	if _, err := watch.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("watch ended with %v, want Unavailable", err)
	}
	// The listener is closed once the server has begun to stop. Its port is free then, and
	// whoever listens there next is not this server: dialling would prove nothing.
	<-s.addr.closed
	// A call that is sent before the client has read the GOAWAY is still taken.
	if !s.conn.WaitForStateChange(ctx, connectivity.Ready) {
		t.Fatal("the client was not told to go away")
	}
	if err := <-s.call(ctx); status.Code(err) != codes.Unavailable {
		t.Errorf("a new call got %v, want Unavailable", err)
	}
	resp, err := http.Get("http://" + s.probes.Addr().String() + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("readyz got %d, want 503", resp.StatusCode)
	}
	select {
	case got := <-done:
		t.Fatalf("ended with a call in flight: %+v, %v", got.report, got.err)
	default:
	}
	close(s.gate.release)
	if err := <-call; err != nil {
		t.Errorf("the call in flight: %v", err)
	}
	if got := <-done; got.err != nil || got.report.Aborted != 0 || got.report.CutShort {
		t.Errorf("got %+v, %v", got.report, got.err)
	}
	if got := s.registry.Phase(); got != healthkit.PhaseStopped {
		t.Errorf("got phase %s, want stopped", got)
	}
}

// Calls that do not end are cut when the budget is over: one that obeys its
// context and one that does not, whether or not grpc waits for handlers.
func TestDrainBudget(t *testing.T) {
	for _, waits := range []bool{false, true} {
		for _, ignores := range []bool{false, true} {
			t.Run(fmt.Sprintf("waits %v, ignores %v", waits, ignores), func(t *testing.T) {
				gate := newGated()
				gate.ignores = ignores
				s := newService(t, gate, grpc.WaitForHandlers(waits))
				told, tell := context.WithCancel(t.Context())
				done := s.run(told, 200*time.Millisecond, 0)
				call := s.call(t.Context())
				<-gate.entered
				tell()
				if err := <-call; status.Code(err) != codes.Unavailable && status.Code(err) != codes.Canceled {
					t.Errorf("the call got %v, want Unavailable or Canceled", err)
				}
				got := <-done
				if !errors.Is(got.err, context.DeadlineExceeded) || !strings.Contains(got.err.Error(), "1 requests in flight were aborted") || strings.Contains(got.err.Error(), "have not ended") {
					t.Errorf("got %v", got.err)
				}
				if got.report.Aborted != 1 {
					t.Errorf("got %d aborted, want 1", got.report.Aborted)
				}
				close(gate.release)
			})
		}
	}
}

func TestStreamsAreInFlight(t *testing.T) {
	s := newService(t, newGated())
	told, tell := context.WithCancel(t.Context())
	done := s.run(told, 20*time.Second, 10*time.Second)
	stream, err := testpb.NewTestServiceClient(s.conn).StreamingOutputCall(t.Context(), &testpb.StreamingOutputCallRequest{})
	if err != nil {
		t.Fatal(err)
	}
	<-s.gate.entered
	if got := s.registry.InFlight(); got != 1 {
		t.Errorf("got %d in flight, want 1", got)
	}
	tell()
	close(s.gate.release)
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("the stream ended with %v, want EOF", err)
	}
	if got := <-done; got.err != nil {
		t.Error(got.err)
	}
}

func TestStoppedBeforeItServes(t *testing.T) {
	s := New(healthkit.New(healthkit.Config{}))
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(l); err != nil {
		t.Errorf("serve: %v, want nil as healthkit.Server demands", err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept: %v, want a closed listener", err)
	}
}

// Package grpchealth answers the gRPC health protocol (grpc.health.v1) from a
// healthkit registry.
//
// The service "" is the process: SERVING exactly when the registry is ready.
// Other services are named in [Options.Services] with the components they need,
// so that a server of several services can lose one and keep the others.
// NOT_SERVING covers everything else, a lame duck included; gRPC has no word
// for degraded.
//
// Liveness is not told here: a gRPC client that finds a process stuck can do no
// more than turn away, and it turns away on readiness.
package grpchealth

import (
	"context"
	"fmt"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/rollout-lab/rollout-lab/healthkit"
)

// Options configure a Server.
type Options struct {
	// Services maps the full name of a gRPC service ("package.Service") to the
	// components that it needs. They may be registered later; until then, and
	// after they are retracted, the service is not serving. A service that
	// names no component has the verdict of the process. Names that no component
	// has are told by Registry.Validate and in ?verbose.
	Services map[string][]string
}

// Server implements grpc.health.v1.Health. It is safe for concurrent use.
type Server struct {
	healthpb.UnimplementedHealthServer
	registry *healthkit.Registry
	services map[string][]string
	stopped  context.Context
	stop     context.CancelFunc
}

var _ healthpb.HealthServer = (*Server)(nil)

// New returns a Server for the registry. It starts no goroutine. The error
// wraps healthkit.ErrOptions: the service "" is the process and cannot be
// mapped; or healthkit.ErrName for a name that no component can have.
func New(r *healthkit.Registry, opts Options) (*Server, error) {
	services := map[string][]string{"": nil}
	for name, components := range opts.Services {
		if name == "" {
			return nil, fmt.Errorf("gRPC health: %w: the service without a name is the process", healthkit.ErrOptions)
		}
		if err := r.Mention("gRPC service "+name, components...); err != nil {
			return nil, fmt.Errorf("gRPC health: %w", err)
		}
		services[name] = slices.Clone(components)
	}
	s := &Server{registry: r, services: services}
	s.stopped, s.stop = context.WithCancel(context.Background())
	return s, nil
}

// Register registers the Server with a gRPC server.
func (s *Server) Register(g grpc.ServiceRegistrar) { healthpb.RegisterHealthServer(g, s) }

// Status returns the verdict of a snapshot on a service that needs the named
// components; on the process when it names none.
//
// A component that the service names counts also when it is optional to the
// process or a member of a group; otherwise the rules are those by which a
// component makes the process ready, failure policies and excuses included.
func Status(s *healthkit.Snapshot, components ...string) healthpb.HealthCheckResponse_ServingStatus {
	ok := s.Ready()
	if len(components) > 0 {
		ok = s.Phase <= healthkit.PhaseServing && !slices.ContainsFunc(components, func(name string) bool { return !carries(s, name) })
	}
	if ok {
		return healthpb.HealthCheckResponse_SERVING
	}
	return healthpb.HealthCheckResponse_NOT_SERVING
}

// carries tells whether a service can rely on the named component.
func carries(s *healthkit.Snapshot, name string) bool {
	c, ok := s.Component(name)
	if !ok {
		return false
	}
	if c.Generational && !s.Generations.Met && !s.Generations.Tolerated {
		return false
	}
	// The core's own rule, asked as if the process required this component.
	c.Optional, c.Group = false, ""
	return !c.Blocking()
}

// judge is Status, and NOT_SERVING of everything after Shutdown.
func (s *Server) judge(snapshot *healthkit.Snapshot, components []string) healthpb.HealthCheckResponse_ServingStatus {
	if s.stopped.Err() != nil {
		return healthpb.HealthCheckResponse_NOT_SERVING
	}
	return Status(snapshot, components...)
}

// Check implements grpc.health.v1.Health. The code is NotFound for a service
// that is not mapped.
func (s *Server) Check(_ context.Context, req *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	components, ok := s.services[req.GetService()]
	if !ok {
		return nil, status.Errorf(codes.NotFound, "unknown service %q", req.GetService())
	}
	return &healthpb.HealthCheckResponse{Status: s.judge(s.registry.Snapshot(), components)}, nil
}

// List implements grpc.health.v1.Health: all services at one version.
func (s *Server) List(context.Context, *healthpb.HealthListRequest) (*healthpb.HealthListResponse, error) {
	snapshot := s.registry.Snapshot()
	statuses := make(map[string]*healthpb.HealthCheckResponse, len(s.services))
	for name, components := range s.services {
		statuses[name] = &healthpb.HealthCheckResponse{Status: s.judge(snapshot, components)}
	}
	return &healthpb.HealthListResponse{Statuses: statuses}, nil
}

// Watch implements grpc.health.v1.Health. It sends the status and then each
// change, in order; a client that reads slowly may miss a change that was
// undone, never the last one. For a service that is not mapped it sends
// SERVICE_UNKNOWN and stays.
//
// The stream ends with the code Unavailable, after NOT_SERVING, as soon as the
// process drains or Shutdown is called, so it does not hold up GracefulStop. A
// lame duck keeps its streams: NOT_SERVING is what makes clients turn away.
func (s *Server) Watch(req *healthpb.HealthCheckRequest, stream grpc.ServerStreamingServer[healthpb.HealthCheckResponse]) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	defer context.AfterFunc(s.stopped, cancel)()

	components, known := s.services[req.GetService()]
	sent := healthpb.HealthCheckResponse_ServingStatus(-1)
	tell := func(now healthpb.HealthCheckResponse_ServingStatus) error {
		if !known {
			now = healthpb.HealthCheckResponse_SERVICE_UNKNOWN
		}
		if now == sent {
			return nil
		}
		sent = now
		return stream.Send(&healthpb.HealthCheckResponse{Status: now})
	}
	for snapshot := range s.registry.Watch(ctx) {
		if err := tell(s.judge(snapshot, components)); err != nil {
			return err
		}
		if snapshot.Phase >= healthkit.PhaseDraining {
			break
		}
	}
	if err := stream.Context().Err(); err != nil {
		return status.FromContextError(err).Err()
	}
	if err := tell(healthpb.HealthCheckResponse_NOT_SERVING); err != nil {
		return err
	}
	return status.Error(codes.Unavailable, "the server is draining")
}

// Shutdown makes every service NOT_SERVING for good and ends all streams of
// Watch. It does not wait and is idempotent. Call it before GracefulStop where
// the registry is not drained first; Registry.Shutdown and Advance do as
// much.
func (s *Server) Shutdown() { s.stop() }

// Package grpcserve lets a gRPC server take part in the life that healthkit
// runs: its calls count as in flight, and it is drained within the budget. The
// probes of the gRPC health protocol are those of package grpchealth, to be
// registered on the same server or another.
package grpcserve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"google.golang.org/grpc"

	"github.com/rollout-lab/rollout-lab/healthkit"
)

// Server is a *grpc.Server that is also a healthkit.Server.
type Server struct{ *grpc.Server }

var _ healthkit.Server = (*Server)(nil)

// New returns a gRPC server with the options given, whose calls are counted by
// Registry.Hold while they last. Calls of grpc.health.v1 are not counted: a
// client that watches stays as long as it is let.
func New(r *healthkit.Registry, opts ...grpc.ServerOption) *Server {
	own := []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			if isHealth(info.FullMethod) {
				return next(ctx, req)
			}
			defer r.Hold()()
			return next(ctx, req)
		}),
		grpc.ChainStreamInterceptor(func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
			if isHealth(info.FullMethod) {
				return next(srv, stream)
			}
			defer r.Hold()()
			return next(srv, stream)
		}),
	}
	return &Server{grpc.NewServer(append(own, opts...)...)}
}

func isHealth(method string) bool { return strings.HasPrefix(method, "/grpc.health.v1.Health/") }

// Serve is as that of grpc.Server, but that a server which was told to stop before it
// could begin has ended in order, too.
func (s *Server) Serve(l net.Listener) error {
	if err := s.Server.Serve(l); !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}

// Shutdown closes the listeners and tells every client to go away (GOAWAY): a
// client sends new calls elsewhere, and those that the server had not begun may
// be sent again without harm. It returns when the calls in flight are finished.
// When ctx ends first the connections are cut, which cancels the contexts of the
// calls, and the error says so; a handler that ignores its context is not
// waited for.
func (s *Server) Shutdown(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.GracefulStop()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	// GracefulStop has no deadline of its own: Stop takes its connections away,
	// and it returns when the handlers have.
	s.Stop()
	return fmt.Errorf("calls in flight were aborted: %w", context.Cause(ctx))
}

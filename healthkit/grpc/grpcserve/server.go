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
	"sync"

	"google.golang.org/grpc"

	"github.com/rollout-lab/rollout-lab/healthkit"
)

// Server is a *grpc.Server that is also a healthkit.Server.
type Server struct {
	*grpc.Server

	mu     sync.Mutex
	closed chan struct{}
}

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
	return &Server{Server: grpc.NewServer(append(own, opts...)...)}
}

func isHealth(method string) bool { return strings.HasPrefix(method, "/grpc.health.v1.Health/") }

// Serve is as that of grpc.Server, but that a server which was told to stop before it
// could begin has ended in order, too, and that it does not outlast Close.
func (s *Server) Serve(l net.Listener) error {
	ended := make(chan error, 1)
	go func() { ended <- s.Server.Serve(l) }()
	select {
	case err := <-ended:
		if !errors.Is(err, grpc.ErrServerStopped) {
			return err
		}
	case <-s.closing():
	}
	return nil
}

// closing returns a channel that Close closes.
func (s *Server) closing() chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed == nil {
		s.closed = make(chan struct{})
	}
	return s.closed
}

// Shutdown closes the listeners and tells every client to go away (GOAWAY): a
// client sends new calls elsewhere, and those that the server had not begun may
// be sent again without harm. It returns when the calls in flight are finished,
// or with an error when ctx ends first; what is in flight is then for Close.
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
		return fmt.Errorf("calls are in flight: %w", context.Cause(ctx))
	}
}

// Close cuts the connections, which cancels the contexts of the calls in flight. It
// waits for no handler, whatever grpc.WaitForHandlers says: one that ignores its
// context would void every budget.
func (s *Server) Close() error {
	go s.Stop()
	closed := s.closing()
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-closed:
	default:
		close(closed)
	}
	return nil
}

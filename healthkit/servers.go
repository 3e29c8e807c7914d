package healthkit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

const (
	// overtime is how long what has been told that its time is over may take to
	// return, before it is left behind.
	overtime = time.Second
	// healthEnd is how long a health server that closes waits for its answers. A
	// profile that somebody takes is no reason to stay.
	healthEnd = 2 * time.Second
)

// Server takes requests from a listener until it is shut down. *http.Server is
// one; healthkit/grpc/grpcserve makes one of a *grpc.Server.
type Server interface {
	// Serve accepts connections until Shutdown, and then returns nil or
	// http.ErrServerClosed at once.
	Serve(net.Listener) error
	// Shutdown stops accepting, lets requests in flight finish and returns.
	// When ctx ends first it returns an error; what is in flight is then cut
	// by Shutdown itself or, if the server has one, by a Close method.
	Shutdown(ctx context.Context) error
}

// shutdownServers shuts the servers down together and closes hard those that
// are not done when ctx ends. It calls cut, if there is one, before these are
// closed: handlers that heed their context are gone after that.
func shutdownServers(ctx context.Context, servers []Server, cut func()) []error {
	var errs []error
	var failed []Server
	for i, err := range each(ctx, servers, func(s Server) error { return s.Shutdown(ctx) }) {
		if err != nil {
			errs = append(errs, fmt.Errorf("shut down %s: %w", serverName(servers[i]), err))
			failed = append(failed, servers[i])
		}
	}
	if len(failed) > 0 && ctx.Err() != nil && cut != nil {
		cut()
	}
	for i, err := range each(ctx, failed, closeServer) {
		if err != nil {
			errs = append(errs, fmt.Errorf("close %s: %w", serverName(failed[i]), err))
		}
	}
	return errs
}

func closeServer(s Server) error {
	if c, ok := s.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// endHealth closes the servers of the probes. An answer that is cut is no error.
func endHealth(ctx context.Context, servers []Server) []error {
	ctx, cancel := context.WithTimeout(ctx, healthEnd)
	defer cancel()
	var errs []error
	for _, err := range shutdownServers(ctx, servers, nil) {
		if ctx.Err() == nil || !errors.Is(err, ctx.Err()) {
			errs = append(errs, err)
		}
	}
	return errs
}

// each calls do for every server at the same time and returns what they returned. One
// that has not when ctx is long over is left behind, and has an error that says so.
func each(ctx context.Context, servers []Server, do func(Server) error) []error {
	late, stop := afterEnd(ctx)
	defer stop()
	errs := make([]error, len(servers))
	results := make([]chan error, len(servers))
	for i, s := range servers {
		results[i] = make(chan error, 1)
		go func() { results[i] <- do(s) }()
	}
	for i, result := range results {
		select {
		case errs[i] = <-result:
		case <-late.Done():
			select {
			case errs[i] = <-result:
			default:
				errs[i] = fmt.Errorf("it does not return: %w", context.Cause(ctx))
			}
		}
	}
	return errs
}

// afterEnd returns a context that ends when ctx has been over for some time, for what
// is expected to return when ctx ends.
func afterEnd(ctx context.Context) (context.Context, context.CancelFunc) {
	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	detach := context.AfterFunc(ctx, func() { time.AfterFunc(overtime, cancel) })
	return late, func() {
		detach()
		cancel()
	}
}

func serverName(s Server) string {
	switch s := s.(type) {
	case *http.Server:
		return "server " + s.Addr
	case *GracefulServer:
		return "server " + s.http.Addr
	}
	return fmt.Sprintf("%T", s)
}

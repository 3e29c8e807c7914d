package grpcserve_test

import (
	"context"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	testpb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/rollout-lab/rollout-lab/healthkit"
	"github.com/rollout-lab/rollout-lab/healthkit/grpc/grpchealth"
	"github.com/rollout-lab/rollout-lab/healthkit/grpc/grpcserve"
)

type echo struct {
	testpb.UnimplementedTestServiceServer
}

func (echo) EmptyCall(context.Context, *testpb.Empty) (*testpb.Empty, error) {
	return &testpb.Empty{}, nil
}

// A gRPC service with its health on the same port. A real one gives Addr and
// HealthAddr instead of listeners, leaves the durations at their defaults, and
// is ended by SIGTERM.
func Example() {
	registry := healthkit.New(healthkit.Config{Expect: []string{"storage"}})
	storage, err := registry.Register("storage", healthkit.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	health, err := grpchealth.New(registry, grpchealth.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	server := grpcserve.New(registry)
	testpb.RegisterTestServiceServer(server, echo{})
	healthpb.RegisterHealthServer(server, health)

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, terminate := context.WithCancel(context.Background())
	defer terminate()
	ended := make(chan error, 1)
	go func() {
		_, err := registry.Run(ctx, healthkit.RunPlan{
			Endpoints: []healthkit.Endpoint{{Listener: listener, Server: server}},
			LameDuck:  time.Millisecond, CloseWait: time.Millisecond,
		})
		ended <- err
	}()

	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()
	status := func() healthpb.HealthCheckResponse_ServingStatus {
		resp, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
		if err != nil {
			fmt.Println(err)
		}
		return resp.GetStatus()
	}
	fmt.Println("before the sync:", status())
	storage.Ready()
	fmt.Println("after it:", status())
	_, err = testpb.NewTestServiceClient(conn).EmptyCall(ctx, &testpb.Empty{})
	fmt.Println("a call:", err)
	terminate()
	fmt.Println("drained in order:", <-ended == nil, registry.Phase())
	// Output:
	// before the sync: NOT_SERVING
	// after it: SERVING
	// a call: <nil>
	// drained in order: true stopped
}

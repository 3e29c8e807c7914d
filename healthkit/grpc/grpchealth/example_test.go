package grpchealth_test

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollout-lab/rollout-lab/healthkit"
	"github.com/rollout-lab/rollout-lab/healthkit/grpc/grpchealth"
)

// Two services of one server: the cart goes on when mail is lost.
func Example() {
	registry := healthkit.New(healthkit.Config{})
	storage, err := registry.Register("storage", healthkit.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	mail, err := registry.Register("mail", healthkit.Options{Optional: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	health, err := grpchealth.New(registry, grpchealth.Options{Services: map[string][]string{
		"shop.Cart": {"storage"},
		"shop.Mail": {"storage", "mail"},
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	health.Register(grpc.NewServer())

	storage.Ready()
	mail.Failed(fmt.Errorf("connection refused"))
	for _, service := range []string{"", "shop.Cart", "shop.Mail"} {
		answer, err := health.Check(context.Background(), &healthpb.HealthCheckRequest{Service: service})
		fmt.Printf("%q %v %v\n", service, answer.GetStatus(), err)
	}
	// Output:
	// "" SERVING <nil>
	// "shop.Cart" SERVING <nil>
	// "shop.Mail" NOT_SERVING <nil>
}

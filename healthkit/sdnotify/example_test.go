package sdnotify_test

import (
	"context"
	"fmt"
	"os"

	"github.com/rollout-lab/rollout-lab/healthkit"
	"github.com/rollout-lab/rollout-lab/healthkit/sdnotify"
)

// A service that also runs without systemd, as here.
func Example() {
	os.Unsetenv("NOTIFY_SOCKET")
	registry := healthkit.New(healthkit.Config{})
	notifier, err := sdnotify.New(sdnotify.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(notifier)

	told := make(chan error, 1)
	go func() { told <- notifier.Run(context.Background(), registry) }()

	// ... serve; on SIGTERM call registry.Shutdown, which ends Run as well.
	if _, err := registry.Shutdown(context.Background(), healthkit.ShutdownPlan{Reason: "SIGTERM"}); err != nil {
		fmt.Println(err)
	}
	if err := <-told; err != nil {
		fmt.Println(err)
	}
	// Output: no service manager: NOTIFY_SOCKET is not set; nothing will be sent
}

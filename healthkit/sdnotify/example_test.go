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

	ctx, terminate := context.WithCancel(context.Background())
	terminate() // a signal does
	if _, err := registry.Run(ctx, healthkit.RunPlan{
		// ... and Endpoints.
		Followers: []healthkit.Follower{notifier.Run},
	}); err != nil {
		fmt.Println(err)
	}
	// Output: no service manager: NOTIFY_SOCKET is not set; nothing will be sent
}

package healthkit_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/rollout-lab/rollout-lab/healthkit"
)

// A service whose proxy part cannot work before its storage has synced. The
// probe names the storage, not everything that waits for it.
func Example() {
	registry := healthkit.New(healthkit.Config{Expect: []string{"storage", "proxy"}})
	storage, err := registry.Register("storage", healthkit.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	proxy, err := registry.Register("proxy", healthkit.Options{DependsOn: []string{"storage"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	probe := func() {
		answer := httptest.NewRecorder()
		registry.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/readyz", nil))
		fmt.Println(answer.Code, registry.Snapshot().Reason())
	}

	storage.Starting("synced 10 of 100 records")
	proxy.Starting("waits for storage")
	probe()
	storage.Ready()
	proxy.Ready()
	probe()
	storage.Failed(errors.New("stream closed"))
	probe()
	// Output:
	// 503 not ready: storage starting: synced 10 of 100 records (blocks proxy)
	// 200 ready
	// 503 not ready: storage failed: stream closed
}

// On SIGTERM: unready at once, then answers with Connection: close, then the
// requests in flight, and the probes last.
func ExampleRegistry_Shutdown() {
	registry := healthkit.New(healthkit.Config{AllowEmpty: true})
	data := &http.Server{Handler: registry.Middleware(http.NotFoundHandler())}
	health := &http.Server{Handler: registry.Handler()}

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	report, err := registry.Shutdown(ctx, healthkit.ShutdownPlan{
		Reason:  "SIGTERM",
		Servers: []*http.Server{data},
		Health:  health,
		// A real plan has LameDuck: 5 * time.Second, CloseWait: time.Second and
		// a context with a deadline.
	})
	fmt.Println(registry.Phase(), report.Aborted, err)
	// Output: stopped 0 <nil>
}

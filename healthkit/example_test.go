package healthkit_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

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

// An HTTP service. A real one gives Addr: ":8080" and HealthAddr: ":8081" instead
// of listeners, leaves the durations at their defaults, and is ended by SIGTERM.
func ExampleRegistry_Run_httpService() {
	registry := healthkit.New(healthkit.Config{Expect: []string{"storage"}})
	storage, err := registry.Register("storage", healthkit.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	storage.OnStop(func(context.Context) error { fmt.Println("storage closed"); return nil })

	data, probes := listen(), listen()
	ctx, terminate := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		_, err := registry.Run(ctx, healthkit.RunPlan{
			Endpoints: []healthkit.Endpoint{{Listener: data, Server: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				io.WriteString(w, "served")
			})}}},
			HealthListener: probes,
			LameDuck:       time.Millisecond, CloseWait: time.Millisecond,
		})
		ended <- err
	}()

	fmt.Println("before the sync:", get("http://"+probes.Addr().String()+"/readyz"))
	storage.Ready()
	fmt.Println("after it:", get("http://"+probes.Addr().String()+"/readyz"))
	fmt.Println("a request:", get("http://"+data.Addr().String()))
	terminate()
	fmt.Println("drained in order:", <-ended == nil, registry.Phase())
	// Output:
	// before the sync: 503 not ready, see ?verbose
	// after it: 200 ok
	// a request: 200 served
	// storage closed
	// drained in order: true stopped
}

// A worker with no port: liveness is told by its loop, and the stop waits for
// the job in hand. Probes come through HealthAddr, or systemd is told by
// healthkit/sdnotify.
func ExampleRegistry_Run_worker() {
	registry := healthkit.New(healthkit.Config{})
	queue, err := registry.Register("queue", healthkit.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	loop, err := registry.Progress("jobs", time.Minute)
	if err != nil {
		fmt.Println(err)
		return
	}
	queue.OnStop(func(context.Context) error { fmt.Println("queue closed"); return nil })
	queue.Ready()

	ctx, terminate := context.WithCancel(context.Background())
	go func() {
		defer loop.Close()
		loop.Tick() // once per round; Idle while it waits for work
		release := registry.Hold()
		defer release()
		terminate() // SIGTERM comes in the middle of a job
		fmt.Println("job done")
	}()
	_, err = registry.Run(ctx, healthkit.RunPlan{})
	fmt.Println(registry.Phase(), err)
	// Output:
	// job done
	// queue closed
	// stopped <nil>
}

// Two of three replicas suffice.
func ExampleRegistry_RegisterGroup() {
	registry := healthkit.New(healthkit.Config{})
	if _, err := registry.RegisterGroup("replicas", healthkit.GroupOptions{AtLeast: 2}); err != nil {
		fmt.Println(err)
		return
	}
	for i := range 3 {
		replica, err := registry.Register(fmt.Sprintf("replica-%d", i), healthkit.Options{Group: "replicas"})
		if err != nil {
			fmt.Println(err)
			return
		}
		replica.Failed(errors.New("connection refused"))
		if i > 0 {
			replica.Ready()
		}
		fmt.Println(registry.Snapshot().Reason())
	}
	// Output:
	// not ready: replica-0 failed: connection refused (blocks replicas); replicas starting: 0 of 1 members serve, at least 2 must
	// not ready: replica-0 failed: connection refused (blocks replicas)
	// ready, degraded: replica-0 failed: connection refused; replicas degraded: 2 of 3 members serve, at least 2 must
}

func listen() net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	return l
}

func get(url string) string {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, strings.TrimSpace(string(body)))
}

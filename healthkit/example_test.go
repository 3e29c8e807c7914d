package healthkit_test

import (
	"bufio"
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
	data := healthkit.Graceful(&http.Server{Handler: registry.Middleware(http.NotFoundHandler())})
	health := &http.Server{Handler: registry.Handler()}

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	report, err := registry.Shutdown(ctx, healthkit.ShutdownPlan{
		Reason:  "SIGTERM",
		Servers: []healthkit.Server{data},
		Health:  []healthkit.Server{health},
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

// A worker with no port: liveness is told by its loop, which takes no job more once the
// process has been told to stop; the stop waits for the one in hand. Probes come through
// HealthAddr, or systemd is told by healthkit/sdnotify.
func ExampleRegistry_Run_worker() {
	registry := healthkit.New(healthkit.Config{})
	queue, err := registry.Register("queue", healthkit.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	loop, err := registry.RegisterLoop("jobs", time.Minute)
	if err != nil {
		fmt.Println(err)
		return
	}
	queue.OnStop(func(context.Context) error { fmt.Println("queue closed"); return nil })
	queue.Ready()

	jobs := make(chan int, 100)
	for job := range cap(jobs) {
		jobs <- job
	}
	ctx, terminate := context.WithCancel(context.Background())
	release := registry.Hold() // for as long as the loop goes round
	go func() {
		defer release()
		defer loop.Close()
		work(registry, loop, jobs, func(job int) {
			if job == 2 {
				terminate() // SIGTERM comes in the middle of a job
				<-registry.Stopping()
			}
			fmt.Println("did job", job)
		})
	}()
	_, err = registry.Run(ctx, healthkit.RunPlan{})
	fmt.Println(registry.Phase(), err)
	// Output:
	// did job 0
	// did job 1
	// did job 2
	// queue closed
	// stopped <nil>
}

// work takes jobs until the process is told to stop.
func work(registry *healthkit.Registry, loop *healthkit.Loop, jobs <-chan int, do func(job int)) {
	taking, cancel := registry.WithStopping(context.Background())
	defer cancel()
	for taking.Err() == nil {
		loop.Idle() // waiting for a job is no deadlock
		select {
		case job := <-jobs:
			loop.Tick() // from here on it is, when the limit of the loop is over
			do(job)
		case <-taking.Done():
		}
	}
}

// An event stream would last longer than any budget. When the drain begins its clients are
// sent away; the balancer has turned away by then, so that they come to another instance.
func ExampleComponent_OnDrain() {
	registry := healthkit.New(healthkit.Config{})
	events, err := registry.Register("events", healthkit.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	events.Ready()
	leave := make(chan struct{})
	events.OnDrain(func(context.Context) error { close(leave); return nil })
	stream := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: hello\n\n")
		http.NewResponseController(w).Flush()
		select {
		case <-leave:
			io.WriteString(w, "retry: 100\n\n") // and then the stream ends
		case <-req.Context().Done():
		}
	})

	l := listen()
	ctx, terminate := context.WithCancel(context.Background())
	defer terminate()
	ended := make(chan error, 1)
	go func() {
		_, err := registry.Run(ctx, healthkit.RunPlan{
			Endpoints: []healthkit.Endpoint{{Listener: l, Server: &http.Server{Handler: stream}}},
			LameDuck:  time.Millisecond, CloseWait: time.Millisecond,
		})
		ended <- err
	}()
	resp, err := http.Get("http://" + l.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	terminate()
	text, err := io.ReadAll(resp.Body)
	fmt.Printf("%q %v\n", text, err)
	fmt.Println(registry.Phase() >= healthkit.PhaseDraining, <-ended)
	// Output:
	// "data: hello\n\nretry: 100\n\n" <nil>
	// true <nil>
}

// A WebSocket is hijacked: its server forgets it, and Middleware waits for its handler. So
// a drain hook sends the close frame (1001, going away), and the client does the rest.
func ExampleComponent_OnDrain_webSocket() {
	registry := healthkit.New(healthkit.Config{})
	chat, err := registry.Register("chat", healthkit.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	chat.Ready()
	leave := make(chan struct{})
	chat.OnDrain(func(context.Context) error { close(leave); return nil })
	talk := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		// A WebSocket library does this part.
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			io.Copy(io.Discard, conn) // what the client says
		}()
		select {
		case <-leave:
			conn.Write([]byte{0x88, 2, 1001 >> 8, 1001 & 0xff})
			<-gone // it closes in turn; a real one gives it a deadline
		case <-gone:
		}
	})

	l := listen()
	ctx, terminate := context.WithCancel(context.Background())
	defer terminate()
	ended := make(chan error, 1)
	go func() {
		_, err := registry.Run(ctx, healthkit.RunPlan{
			Endpoints: []healthkit.Endpoint{{Listener: l, Server: &http.Server{Handler: talk}}},
			LameDuck:  time.Millisecond, CloseWait: time.Millisecond,
		})
		ended <- err
	}()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	io.WriteString(client, "GET / HTTP/1.1\r\nHost: chat\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	frames := bufio.NewReader(client)
	if _, err := http.ReadResponse(frames, nil); err != nil {
		fmt.Println(err)
		return
	}
	terminate()
	frame := make([]byte, 4)
	_, err = io.ReadFull(frames, frame)
	fmt.Printf("%x %v\n", frame, err)
	client.Close()
	fmt.Println(<-ended)
	// Output:
	// 880203e9 <nil>
	// <nil>
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

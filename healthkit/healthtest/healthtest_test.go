package healthtest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/healthkit"
	"github.com/rollout-lab/rollout-lab/healthkit/healthtest"
)

func register(t *testing.T, r *healthkit.Registry, name string, o healthkit.Options) *healthkit.Component {
	t.Helper()
	c, err := r.Register(name, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestServiceIsRunThroughItsLife, on real ports.
func TestServiceIsRunThroughItsLife(t *testing.T) {
	r := healthkit.New(healthkit.Config{Expect: []string{"store"}})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: healthtest.Patience}
	get := func() string {
		resp, err := client.Get("http://" + l.Addr().String())
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return fmt.Sprintf("%d %s %v", resp.StatusCode, body, err)
	}
	s := healthtest.Start(t, r, func(ctx context.Context) error {
		_, err := r.Run(ctx, healthkit.RunPlan{
			Endpoints: []healthkit.Endpoint{{Listener: l, Server: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, "served")
			})}}},
			HealthAddr: "127.0.0.1:0", Budget: time.Minute, LameDuck: time.Second, CloseWait: -1,
		})
		return err
	})
	store := register(t, r, "store", healthkit.Options{})
	front := register(t, r, "front", healthkit.Options{DependsOn: []string{"store"}})
	front.Starting("waits for the store")
	store.Failed(errors.New("no route"))
	if cause := healthtest.AwaitCause(t, r, "store"); cause.Text != "failed: no route" || len(cause.Affects) != 1 {
		t.Errorf("cause %+v", cause)
	}
	store.Ready()
	front.Ready()
	if c := healthtest.AwaitState(t, r, "store", healthkit.Ready); c.Transitions != 2 {
		t.Errorf("status %+v", c)
	}
	if s := healthtest.AwaitReady(t, r); !s.Ready() {
		t.Error("not ready")
	}
	s.Terminate()
	if phase, ready := r.Phase(), r.Ready(); phase < healthkit.PhaseLameDuck || ready {
		t.Errorf("phase %s, ready %v", phase, ready)
	}
	if got := get(); got != "200 served <nil>" && r.Phase() == healthkit.PhaseLameDuck {
		t.Errorf("a lame duck answers %s", got)
	}
	s.Wait(time.Minute)
	if got := get(); !strings.Contains(got, "refused") {
		t.Errorf("after its end it answers %s", got)
	}
}

// recorder is a test that may fail.
type recorder struct {
	testing.TB
	mu      sync.Mutex
	said    []string
	cleanup []func()
}

func (r *recorder) Helper()                  {}
func (r *recorder) Context() context.Context { return context.Background() }
func (r *recorder) Cleanup(f func())         { r.cleanup = append(r.cleanup, f) }

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said = append(r.said, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

// failure is what a test says that fails.
func failure(test func(t testing.TB)) string {
	r := &recorder{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			for _, f := range r.cleanup {
				f()
			}
		}()
		test(r)
	}()
	<-done
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.said, "\n")
}

// A test of a service: it is ready when its store is, serves on when it is told to stop, and ends in
// the time that the runtime grants.
func Example() {
	serve := func(ctx context.Context, r *healthkit.Registry) error {
		_, err := r.Run(ctx, healthkit.RunPlan{HealthAddr: "127.0.0.1:0"})
		return err
	}
	_ = func(t *testing.T) {
		registry := healthkit.New(healthkit.Config{Expect: []string{"store"}})
		service := healthtest.Start(t, registry, func(ctx context.Context) error { return serve(ctx, registry) })
		healthtest.AwaitReady(t, registry)
		service.Terminate()
		// Requests are still answered here.
		service.Wait(30 * time.Second)
	}
}

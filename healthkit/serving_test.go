//go:build go1.25

package healthkit

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A service with one port: who polls /drainz there sees the whole shutdown, and the 200.
func TestRunWithOnePort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{AllowEmpty: true})
		port := newMemory()
		entered, release := make(chan struct{}), make(chan struct{})
		mux := http.NewServeMux()
		mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "served") })
		mux.HandleFunc("/slow", func(w http.ResponseWriter, _ *http.Request) {
			close(entered)
			<-release
			io.WriteString(w, "finished")
		})
		client := port.client(t)
		expect := func(path string, status int, body string, closing bool) {
			t.Helper()
			gotStatus, gotBody, gotClosing, err := fetch(client, "http://one"+path)
			if err != nil || gotStatus != status || gotBody != body || gotClosing != closing {
				t.Errorf("%s got %d %q, close %v, %v; want %d %q, close %v", path, gotStatus, gotBody, gotClosing, err, status, body, closing)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := start(ctx, r, RunPlan{
			Endpoints: []Endpoint{{Listener: port, Server: &http.Server{Handler: mux}, Probes: true}},
			Budget:    25 * time.Second, LameDuck: 5 * time.Second, CloseWait: time.Second, HealthLinger: time.Second,
		})
		expect("/readyz", 200, "ok", false)
		expect("/drainz", 503, "serving, 0 in flight\n", false)
		slow := make(chan string, 1)
		go func() {
			_, body, _, _ := fetch(port.client(t), "http://one/slow")
			slow <- body
		}()
		<-entered
		cancel()
		synctest.Wait()
		expect("/drainz", 503, "lame-duck, 1 in flight\n", false)
		expect("/", 200, "served", false)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		expect("/drainz", 503, "draining, 1 in flight\n", true)
		expect("/", 200, "served", true)
		time.Sleep(time.Second)
		synctest.Wait()
		expect("/drainz", 503, "draining, 1 in flight\n", true)
		expect("/", 503, "the process is stopping\n", true)
		close(release)
		if got := <-slow; got != "finished" {
			t.Errorf("request in flight got %q", got)
		}
		synctest.Wait()
		expect("/drainz", 200, "drained\n", true)
		expect("/livez", 200, "ok", true)
		expect("/", 503, "the process is stopping\n", true)
		if got := <-done; got.err != nil || got.report.CutShort || got.report.Aborted != 0 {
			t.Errorf("got %+v, %v", got.report, got.err)
		}
		<-port.closed
	})
}

// TestAProbeLeavesItsConnectionGraceful: a balancer asks and sends on the same connection.
func TestAProbeLeavesItsConnectionGraceful(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{AllowEmpty: true})
		port := newMemory()
		ctx, cancel := context.WithCancel(t.Context())
		done := start(ctx, r, RunPlan{
			Endpoints: []Endpoint{{Listener: port, Server: &http.Server{Handler: http.NotFoundHandler()}, Probes: true}},
			LameDuck:  -1, CloseWait: -1,
		})
		conn, err := port.dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		answers := bufio.NewReader(conn)
		probe := func() {
			t.Helper()
			if _, err := io.WriteString(conn, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
				t.Error(err)
			}
			answer, err := http.ReadResponse(answers, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, answer.Body); err != nil {
				t.Error(err)
			}
		}
		probe()
		cancel()
		time.Sleep(100 * time.Millisecond) // it has not been silent for long
		synctest.Wait()
		probe()
		if got := <-done; got.err != nil {
			t.Error(got.err)
		}
	})
}

// Whoever mounts the probes inside of what is counted does not count them.
func TestProbesAreNotInFlight(t *testing.T) {
	r := New(Config{})
	counts := map[string]int{}
	h := r.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) { counts[req.URL.Path] = r.InFlight() }))
	for path, want := range map[string]int{"/": 1, "/readyz": 0, "/readyz/storage": 0, "/livez": 0, "/startupz": 0, "/drainz": 0, "/statusz": 0, "/readyzz": 1, "/a/readyz": 1} {
		call(h, path)
		if got, ok := counts[path]; !ok || got != want {
			t.Errorf("%s counts %d, called %v; want %d", path, got, ok, want)
		}
	}
}

// Metrics and profiles are asked for while the process ends, and hold nothing up.
func TestRunHealthHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{AllowEmpty: true})
		data, health := newMemory(), newMemory()
		client := health.client(t)
		profiling := make(chan struct{})
		mux := http.NewServeMux()
		mux.Handle("/", r.Handler())
		mux.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "up 1") })
		mux.HandleFunc("/profile", func(_ http.ResponseWriter, req *http.Request) {
			close(profiling)
			<-req.Context().Done()
		})
		store := mustRegister(t, r, "store", Options{})
		store.Ready()
		var closed error
		var metrics, drain string
		store.OnStop(func(context.Context) error {
			_, _, _, closed = fetch(data.client(t), "http://d/")
			_, metrics, _, _ = fetch(client, "http://h/metrics")
			_, drain, _, _ = fetch(client, "http://h/drainz")
			return nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := start(ctx, r, RunPlan{
			Endpoints:      []Endpoint{{Listener: data, Server: &http.Server{}}},
			HealthListener: health, Health: mux, LameDuck: -1, CloseWait: -1,
		})
		go fetch(health.client(t), "http://h/profile")
		<-profiling
		begun := time.Now()
		cancel()
		got := <-done
		if took := time.Since(begun); got.err != nil || got.report.Aborted != 0 || took > healthEnd+time.Second {
			t.Errorf("took %v with a profile in flight, got %+v, %v", took, got.report, got.err)
		}
		if closed == nil || metrics != "up 1" || drain != "draining, 0 in flight\n" {
			t.Errorf("as the store stops: data port %v, metrics %q, drainz %q", closed, metrics, drain)
		}
	})
}

// Nobody routes to a process that was never ready, unless somebody does.
func TestShutdownOfWhatWasNeverReady(t *testing.T) {
	for name, tt := range map[string]struct {
		before func(*Component, *Registry)
		waits  bool
	}{
		"never ready":          {func(c *Component, _ *Registry) { c.Failed(errors.New("no route")) }, false},
		"ready once":           {func(c *Component, _ *Registry) { c.Ready(); c.Failed(errors.New("no route")) }, true},
		"asked all the same":   {func(_ *Component, r *Registry) { call(r.Middleware(http.NotFoundHandler()), "/") }, true},
		"asked by other means": {func(_ *Component, r *Registry) { r.Hold()() }, true},
		"probed":               {func(_ *Component, r *Registry) { call(r.Middleware(r.Handler()), "/readyz") }, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := New(Config{})
				tt.before(mustRegister(t, r, "it", Options{}), r)
				begun := time.Now()
				report, err := r.Shutdown(t.Context(), ShutdownPlan{LameDuck: 5 * time.Second, CloseWait: time.Second})
				want := ShutdownReport{}
				if tt.waits {
					want = ShutdownReport{LameDuck: 5 * time.Second, CloseWait: time.Second}
				}
				if took := time.Since(begun); err != nil || took != want.LameDuck+want.CloseWait || report.LameDuck != want.LameDuck || report.CloseWait != want.CloseWait || report.CutShort {
					t.Errorf("took %v, got %+v, %v; want %+v", took, report, err, want)
				}
			})
		})
	}
}

// The natural thing to give would lose what it has just accepted, and nobody would know.
func TestShutdownNamesWhatIsNotGraceful(t *testing.T) {
	r := New(Config{})
	plain := &http.Server{Addr: "127.0.0.1:8080"}
	_, err := r.Shutdown(t.Context(), ShutdownPlan{Servers: []Server{plain}})
	if !errors.Is(err, ErrOptions) || !strings.Contains(err.Error(), "server 127.0.0.1:8080 was not made Graceful") {
		t.Errorf("got %v", err)
	}
	if err := plain.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("serves on: %v", err)
	}
}

// Who is told of the registry is told of its end, too, and is waited for.
func TestRunFollowers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{AllowEmpty: true})
		broken := errors.New("nobody listens")
		var told []Phase
		var following context.Context
		mustRegister(t, r, "it", Options{}).OnStop(func(context.Context) error { return following.Err() })
		ctx, cancel := context.WithCancel(t.Context())
		done := start(ctx, r, RunPlan{Followers: []Follower{
			func(ctx context.Context, r *Registry) error {
				following = ctx
				for s := range r.Watch(ctx) {
					told = append(told, s.Phase)
				}
				<-ctx.Done()
				time.Sleep(3 * time.Second) // a barrier
				told = append(told, r.Phase())
				return broken
			},
			func(context.Context, *Registry) error { return nil },
		}})
		synctest.Wait()
		begun := time.Now()
		cancel()
		if got := <-done; !errors.Is(got.err, broken) || time.Since(begun) != 3*time.Second {
			t.Errorf("got %+v, %v after %v", got.report, got.err, time.Since(begun))
		}
		if len(told) < 2 || told[0] != PhaseServing || told[len(told)-1] != PhaseStopped {
			t.Errorf("told of %v", told)
		}
	})
}

func TestRunLeavesADeafFollowerBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end, ctx := make(chan struct{}), cancelled(t)
		defer close(end)
		begun := time.Now()
		got := <-start(ctx, New(Config{}), RunPlan{Budget: 10 * time.Second, Followers: []Follower{
			func(context.Context, *Registry) error { <-end; return nil },
		}})
		if took := time.Since(begun); got.err == nil || !strings.Contains(got.err.Error(), "1 followers have not ended") || took != 10*time.Second+overtime {
			t.Errorf("got %+v, %v after %v", got.report, got.err, took)
		}
	})
}

func TestRunOfRefusedPlansFollowsNothing(t *testing.T) {
	_, err := New(Config{}).Run(t.Context(), RunPlan{HealthAddr: "256.0.0.1:0", Followers: []Follower{
		func(context.Context, *Registry) error { t.Error("followed"); return nil },
	}})
	if err == nil {
		t.Error("listens where nobody can")
	}
}

func cancelled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// deaf is a server that does not heed the end of its time.
type deaf struct{ end chan struct{} }

func (d deaf) Serve(net.Listener) error       { <-d.end; return nil }
func (d deaf) Shutdown(context.Context) error { <-d.end; return nil }
func (d deaf) Close() error                   { <-d.end; return nil }

func TestRunLeavesADeafServerBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{})
		d := deaf{make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		done := start(ctx, r, RunPlan{Budget: 10 * time.Second, Stop: -1, Endpoints: []Endpoint{{Listener: newMemory(), Server: d}}})
		synctest.Wait()
		begun := time.Now()
		cancel()
		got := <-done
		if took := time.Since(begun); took > 10*time.Second+3*overtime {
			t.Errorf("took %v of a budget of 10s", took)
		}
		for _, want := range []string{"shut down healthkit.deaf: it does not return", "close healthkit.deaf: it does not return", "1 servers have not ended"} {
			if got.err == nil || !strings.Contains(got.err.Error(), want) {
				t.Errorf("got %v, want %q", got.err, want)
			}
		}
		close(d.end)
		synctest.Wait()
	})
}

// Servers that were cut have ended: the error is that, and nothing else.
func TestRunOutOfTimeNamesNoServerThatEnds(t *testing.T) {
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			r := New(Config{AllowEmpty: true})
			data := newMemory()
			entered, release := make(chan struct{}), make(chan struct{})
			ctx, cancel := context.WithCancel(t.Context())
			done := start(ctx, r, RunPlan{
				Budget: time.Second, Stop: -1,
				Endpoints: []Endpoint{{Listener: data, Server: &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
					close(entered)
					<-release
				})}}},
			})
			go fetch(data.client(t), "http://d/")
			<-entered
			cancel()
			if got := <-done; got.err == nil || strings.Contains(got.err.Error(), "have not ended") {
				t.Errorf("got %v", got.err)
			}
			close(release)
			synctest.Wait()
		})
	}
}

func call(h http.Handler, path string) {
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil))
}

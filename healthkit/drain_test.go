//go:build go1.25

package healthkit

import (
	"context"
	"errors"
	"io"
	"net/http"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestStoppingClosesWithTheLameDuck(t *testing.T) {
	for name, end := range map[string]func(*Registry) error{
		"lame duck": func(r *Registry) error { return r.Advance(PhaseLameDuck, "told") },
		"close":     func(r *Registry) error { return r.Close(t.Context()) },
		"shutdown": func(r *Registry) error {
			_, err := r.Shutdown(t.Context(), ShutdownPlan{})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := New(Config{AllowEmpty: true})
			ctx, cancel := r.WithStopping(t.Context())
			defer cancel()
			if closed(r.Stopping()) || ctx.Err() != nil {
				t.Fatal("stopping before anybody has said so")
			}
			if err := end(r); err != nil {
				t.Fatal(err)
			}
			if !closed(r.Stopping()) || r.Ready() {
				t.Errorf("stopping %v, ready %v; want a lame duck that says so", closed(r.Stopping()), r.Ready())
			}
			<-ctx.Done()
			if cause := context.Cause(ctx); !errors.Is(cause, ErrStopping) {
				t.Errorf("got cause %v", cause)
			}
			late, cancel := r.WithStopping(t.Context())
			defer cancel()
			<-late.Done()
		})
	}
}

// A loop that has seen the one asks the other whether to take one job more.
func TestWithStoppingHasEndedWhenStoppingCloses(t *testing.T) {
	for range 100 {
		r := New(Config{})
		ctx, cancel := r.WithStopping(t.Context())
		defer cancel()
		if err := r.Advance(PhaseLameDuck, "told"); err != nil {
			t.Error(err)
		}
		<-r.Stopping()
		if cause := context.Cause(ctx); !errors.Is(cause, ErrStopping) {
			t.Fatalf("got cause %v", cause)
		}
	}
}

func TestWithStoppingEndsWithItsParentAndByItself(t *testing.T) {
	r := New(Config{})
	parent, end := context.WithCancelCause(t.Context())
	ctx, cancel := r.WithStopping(parent)
	defer cancel()
	why := errors.New("the parent's reason")
	end(why)
	if cause := context.Cause(ctx); cause != why {
		t.Errorf("got cause %v, want %v", cause, why)
	}
	ctx, cancel = r.WithStopping(t.Context())
	cancel()
	if cause := context.Cause(ctx); cause != context.Canceled {
		t.Errorf("got cause %v, want %v", cause, context.Canceled)
	}
	if closed(r.Stopping()) {
		t.Error("a context that was given up stopped the process")
	}
}

// Four consumers whose queue is never empty. Told to stop only when their work in flight
// was over, they would work through the budget.
func TestWorkersStopBetweenJobs(t *testing.T) {
	const job = 20 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{})
		queue := mustRegister(t, r, "queue", Options{})
		queue.Ready()
		var mu sync.Mutex
		begunAfter, stopped := 0, false
		for range 4 {
			release := r.Hold()
			go func() {
				defer release()
				for !closed(r.Stopping()) {
					mu.Lock()
					if r.Phase() > PhaseServing {
						begunAfter++
					}
					mu.Unlock()
					time.Sleep(job)
				}
			}()
		}
		queue.OnStop(func(context.Context) error { stopped = true; return nil })
		ctx, cancel := context.WithCancel(t.Context())
		done := start(ctx, r, RunPlan{Budget: 5 * time.Second})
		time.Sleep(10*job + job/2)
		told := time.Now()
		cancel()
		got := <-done
		if took := time.Since(told); got.err != nil || got.report.Aborted != 0 || took > job {
			t.Errorf("took %v, got %+v, %v; want it within the job in hand", took, got.report, got.err)
		}
		if begunAfter != 0 || !stopped {
			t.Errorf("%d jobs were begun after the signal, the queue was closed: %v", begunAfter, stopped)
		}
	})
}

// What lasts as long as its client ends with the drain, neither before, when balancers still
// send here, nor with the budget.
func TestLongRequestsEndWithTheDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{})
		events := mustRegister(t, r, "events", Options{})
		events.Ready()
		leave := make(chan struct{})
		var mu sync.Mutex
		var at time.Duration
		var phase Phase
		told := time.Now()
		events.OnDrain(func(context.Context) error {
			mu.Lock()
			defer mu.Unlock()
			at, phase = time.Since(told), r.Phase()
			close(leave)
			return nil
		})
		data := newMemory()
		mux := http.NewServeMux()
		mux.HandleFunc("/events", func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, "hello")
			http.NewResponseController(w).Flush()
			<-leave
		})
		mux.HandleFunc("/socket", func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			<-leave
			io.WriteString(conn, "bye")
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := start(ctx, r, RunPlan{
			Endpoints: []Endpoint{{Listener: data, Server: &http.Server{Handler: mux}}},
			Budget:    25 * time.Second, LameDuck: 5 * time.Second, CloseWait: time.Second,
		})
		texts := make(chan string, 2)
		for _, path := range []string{"/events", "/socket"} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://d"+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if path == "/socket" {
				req.Header.Set("Connection", "Upgrade")
				req.Header.Set("Upgrade", "websocket")
			}
			resp, err := data.client(t).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				defer resp.Body.Close()
				text, err := io.ReadAll(resp.Body)
				if err != nil {
					t.Errorf("%s: %v", path, err)
				}
				texts <- string(text)
			}()
		}
		synctest.Wait()
		if r.InFlight() != 2 {
			t.Fatalf("%d in flight, want 2", r.InFlight())
		}
		told = time.Now()
		cancel()
		got := <-done
		if took := time.Since(told); got.err != nil || got.report.Aborted != 0 || took > 7*time.Second {
			t.Errorf("took %v, got %+v, %v", took, got.report, got.err)
		}
		if at != 5*time.Second || phase != PhaseDraining {
			t.Errorf("sent away after %v in phase %s, want after the lame duck", at, phase)
		}
		if a, b := <-texts, <-texts; a+b != "hellobye" && a+b != "byehello" {
			t.Errorf("clients got %q and %q", a, b)
		}
	})
}

func TestDrainHooks(t *testing.T) {
	for name, tt := range map[string]struct {
		hook    func(ctx context.Context) error
		want    string // of the error
		overran []string
		takes   time.Duration
	}{
		"in order":             {hook: func(context.Context) error { time.Sleep(time.Second); return nil }, takes: time.Second},
		"an error":             {hook: func(context.Context) error { return errors.New("no route") }, want: "drain it: no route"},
		"a panic":              {hook: func(context.Context) error { panic("boom") }, want: "drain it: panic: boom"},
		"it ends its own":      {hook: func(context.Context) error { runtime.Goexit(); return nil }, want: "drain it: hook ended its goroutine"},
		"gives up in time":     {hook: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, want: "drain it: context deadline exceeded", overran: []string{"it"}, takes: 8 * time.Second},
		"does not heed at all": {hook: func(context.Context) error { time.Sleep(time.Minute); return nil }, want: "drain it: context deadline exceeded", overran: []string{"it"}, takes: 8 * time.Second},
		"none":                 {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := New(Config{})
				it := mustRegister(t, r, "it", Options{})
				var calls atomic.Int64
				stoppedAfter := time.Duration(-1)
				begun := time.Now()
				it.OnDrain(func(context.Context) error { t.Error("a hook that was replaced was called"); return nil })
				it.OnDrain(nil)
				if tt.hook != nil {
					it.OnDrain(func(ctx context.Context) error { calls.Add(1); return tt.hook(ctx) })
				}
				it.OnStop(func(context.Context) error { stoppedAfter = time.Since(begun); return nil })
				gone := mustRegister(t, r, "gone", Options{})
				gone.OnDrain(func(context.Context) error { t.Error("a component that was retracted was drained"); return nil })
				gone.Retract()
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				report, err := r.Shutdown(ctx, ShutdownPlan{Stop: 2 * time.Second})
				if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
					t.Errorf("got %v, want %q", err, tt.want)
				}
				if !reflect.DeepEqual(report.Overran, tt.overran) || report.Finish != tt.takes || stoppedAfter != tt.takes {
					t.Errorf("got %+v, stopped after %v; want overran %v, and the stop after %v", report, stoppedAfter, tt.overran, tt.takes)
				}
				time.Sleep(time.Minute) // for the one that was left behind
				if tt.hook != nil && calls.Load() != 1 {
					t.Errorf("called %d times", calls.Load())
				}
			})
		})
	}
}

// Hooks do not wait for each other, nor for requests, nor these for them.
func TestDrainHooksRunBesideWhatIsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{})
		for name, takes := range map[string]time.Duration{"a": 2 * time.Second, "b": 3 * time.Second} {
			mustRegister(t, r, name, Options{DependsOn: []string{"a", "b"}}).OnDrain(func(context.Context) error { time.Sleep(takes); return nil })
		}
		release := r.Hold()
		time.AfterFunc(4*time.Second, release)
		report, err := r.Shutdown(t.Context(), ShutdownPlan{CloseWait: time.Second})
		if err != nil || report.CloseWait != time.Second || report.Finish != 3*time.Second {
			t.Errorf("got %+v, %v; want all of it within 4 s", report, err)
		}
	})
}

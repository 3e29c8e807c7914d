//go:build go1.25

package healthkit

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestShutdownInOrder(t *testing.T) {
	r := New(Config{})
	mustRegister(t, r, "a", Options{}).Ready()
	entered, release := make(chan struct{}), make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "served") })
	mux.HandleFunc("/slow", func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-release
		io.WriteString(w, "finished")
	})
	data, dataURL := serve(t, r.Middleware(mux))
	health, healthURL := serve(t, r.Handler())
	client := newClient(t)

	expect := func(when string, wantReady int, wantClose bool) {
		t.Helper()
		if status, _, _, err := fetch(client, healthURL+"/readyz"); err != nil || status != wantReady {
			t.Errorf("%s: readyz got %d, %v; want %d", when, status, err, wantReady)
		}
		if status, body, closing, err := fetch(client, dataURL); err != nil || status != 200 || body != "served" || closing != wantClose {
			t.Errorf("%s: data got %d %q close %v, %v; want it served with close %v", when, status, body, closing, err, wantClose)
		}
	}
	expect("before", 200, false)

	// The first two steps are taken by hand, so that no clock decides what is
	// seen; TestShutdownBudget has their lengths.
	if err := r.Advance(PhaseLameDuck, "SIGTERM"); err != nil {
		t.Fatal(err)
	}
	expect("lame duck", 503, false)
	slow := make(chan string, 1)
	go func() {
		_, body, _, err := fetch(newClient(t), dataURL+"/slow")
		if err != nil {
			body = err.Error()
		}
		slow <- body
	}()
	<-entered
	if err := r.Advance(PhaseDraining, "SIGTERM"); err != nil {
		t.Fatal(err)
	}
	expect("closing", 503, true)
	type outcome struct {
		report ShutdownReport
		err    error
	}
	ended := make(chan outcome, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	go func() {
		report, err := r.Shutdown(ctx, ShutdownPlan{Servers: []Server{data}, Health: []Server{health}})
		ended <- outcome{report, err}
	}()

	// The data listener closes while a request is in flight; probes go on.
	for {
		c, err := net.DialTimeout("tcp", data.http.Addr, time.Second)
		if err != nil {
			break
		}
		c.Close()
	}
	if status, body, _, err := fetch(client, healthURL+"/drainz"); err != nil || status != 503 || body != "draining, 1 in flight\n" {
		t.Errorf("drainz got %d %q, %v; want 503 with one in flight", status, body, err)
	}
	close(release)
	if got := <-slow; got != "finished" {
		t.Errorf("request in flight: got %q, want finished", got)
	}
	got := <-ended
	if got.err != nil {
		t.Errorf("shutdown: %v", got.err)
	}
	if got.report.CutShort || got.report.Aborted != 0 || got.report.Finish == 0 {
		t.Errorf("got report %+v", got.report)
	}
	if r.Phase() != PhaseStopped {
		t.Errorf("got phase %s, want stopped", r.Phase())
	}
	if _, _, _, err := fetch(client, healthURL+"/readyz"); err == nil {
		t.Error("the health listener is still open")
	}
}

func TestShutdownBudgetRunsOut(t *testing.T) {
	r := New(Config{})
	mustRegister(t, r, "a", Options{}).Ready()
	entered, release := make(chan struct{}), make(chan struct{})
	data, dataURL := serve(t, r.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(entered)
		<-release
	})))
	var client sync.WaitGroup
	client.Go(func() {
		if _, _, _, err := fetch(newClient(t), dataURL); err == nil {
			t.Error("the aborted request got an answer")
		}
	})
	<-entered
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	report, err := r.Shutdown(ctx, ShutdownPlan{LameDuck: time.Hour, Finish: 100 * time.Millisecond, Servers: []Server{data}})
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "1 requests in flight were aborted") {
		t.Errorf("got %v, want an error that says what was aborted", err)
	}
	if !report.CutShort || report.Aborted != 1 || r.Phase() != PhaseStopped {
		t.Errorf("got %+v in phase %s, want it cut short, 1 aborted, stopped", report, r.Phase())
	}
	close(release)
	client.Wait()
}

// The lengths of the steps, with the clock of the bubble.
func TestShutdownBudget(t *testing.T) {
	tests := []struct {
		name     string
		budget   time.Duration
		before   time.Duration // as a lame duck already
		plan     ShutdownPlan
		lame     time.Duration
		closing  time.Duration
		total    time.Duration
		cutShort bool
	}{
		{name: "enough", budget: 10 * time.Second, plan: ShutdownPlan{LameDuck: 2 * time.Second, CloseWait: time.Second, Finish: 5 * time.Second}, lame: 2 * time.Second, closing: time.Second, total: 3 * time.Second},
		{name: "no budget", plan: ShutdownPlan{LameDuck: 2 * time.Second, CloseWait: time.Second}, lame: 2 * time.Second, closing: time.Second, total: 3 * time.Second},
		{name: "time as a lame duck counts", budget: 10 * time.Second, before: 1500 * time.Millisecond, plan: ShutdownPlan{LameDuck: 2 * time.Second}, lame: 500 * time.Millisecond, total: 500 * time.Millisecond},
		{name: "the health server lingers", budget: 10 * time.Second, plan: ShutdownPlan{LameDuck: time.Second, Health: []Server{&http.Server{}}, HealthLinger: 3 * time.Second}, lame: time.Second, total: 4 * time.Second},
		{name: "lame duck is cut to keep the finish", budget: 10 * time.Second, plan: ShutdownPlan{LameDuck: 20 * time.Second, CloseWait: time.Second, Finish: 4 * time.Second}, lame: 6 * time.Second, total: 6 * time.Second, cutShort: true},
		{name: "stop is kept too", budget: 10 * time.Second, plan: ShutdownPlan{LameDuck: 20 * time.Second, Finish: 4 * time.Second, Stop: time.Second}, lame: 5 * time.Second, total: 5 * time.Second, cutShort: true},
		{name: "nothing but finish", budget: time.Second, plan: ShutdownPlan{LameDuck: time.Second, CloseWait: time.Second, Finish: 4 * time.Second}, cutShort: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := New(Config{AllowEmpty: true})
				if tt.before > 0 {
					if err := r.Advance(PhaseLameDuck, "preStop"); err != nil {
						t.Fatal(err)
					}
					time.Sleep(tt.before)
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if tt.budget > 0 {
					ctx, cancel = context.WithTimeout(ctx, tt.budget)
					defer cancel()
				}
				begun := time.Now()
				got, err := r.Shutdown(ctx, tt.plan)
				if err != nil {
					t.Fatal(err)
				}
				if took := time.Since(begun); took != tt.total {
					t.Errorf("took %v, want %v", took, tt.total)
				}
				want := ShutdownReport{LameDuck: tt.lame, CloseWait: tt.closing, CutShort: tt.cutShort}
				if !reflect.DeepEqual(got, want) {
					t.Errorf("got %+v, want %+v", got, want)
				}
				if _, err := r.Shutdown(ctx, tt.plan); !errors.Is(err, ErrPhase) {
					t.Errorf("second shutdown: got %v, want ErrPhase", err)
				}
			})
		})
	}
}

// Two that hear of the same signal. One of them does the work, once.
func TestTwoShutdowns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{})
		it := mustRegister(t, r, "it", Options{})
		drains, stops := 0, 0
		it.OnDrain(func(context.Context) error { drains++; return nil })
		it.OnStop(func(context.Context) error { stops++; time.Sleep(time.Second); return nil })
		release := r.Hold()
		results := make(chan error, 2)
		begun := time.Now()
		for range 2 {
			go func() {
				_, err := r.Shutdown(context.Background(), ShutdownPlan{})
				results <- err
			}()
		}
		synctest.Wait()
		hurried, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := r.Shutdown(hurried, ShutdownPlan{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("one that has no time: %v", err)
		}
		time.AfterFunc(time.Second, release)
		one, two := <-results, <-results
		if one == nil {
			one, two = two, one
		}
		if two != nil || !errors.Is(one, ErrPhase) {
			t.Errorf("got %v and %v, want none and ErrPhase", two, one)
		}
		if took := time.Since(begun); drains != 1 || stops != 1 || took != 3*time.Second {
			t.Errorf("drained %d times, stopped %d times, in %v", drains, stops, took)
		}
	})
}

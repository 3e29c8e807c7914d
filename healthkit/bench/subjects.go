package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"time"

	sundheit "github.com/AppsFlyer/go-sundheit"
	"github.com/AppsFlyer/go-sundheit/checks"
	sundheithttp "github.com/AppsFlyer/go-sundheit/http"
	alexhealth "github.com/alexliesenfeld/health"
	hellofresh "github.com/hellofresh/health-go/v5"
	"github.com/heptiolabs/healthcheck"
	grpchealth "google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollout-lab/rollout-lab/healthkit"
)

// probe asks once and says whether the answer was yes.
type probe func() (ok bool)

// subject is a library with n passing checks, set up as its documentation says
// and, where there is a choice, for the cheapest probe.
type subject struct {
	name string
	// open returns the brief and the verbose probe. The latter is nil when the
	// library has none. stop ends what open has started.
	open func(n int) (brief, verbose probe, stop func(), err error)
}

// pusher is a library to which components report.
type pusher struct {
	name string
	open func(n int) (same, flip func(), stop func(), err error)
}

// sink is a ResponseWriter that costs next to nothing of its own.
type sink struct {
	header http.Header
	status int
	bytes  int
}

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) WriteHeader(status int)      { s.status = status }
func (s *sink) Write(b []byte) (int, error) { s.bytes += len(b); return len(b), nil }

func ask(h http.Handler, target string) probe {
	w := &sink{header: make(http.Header)}
	req := httptest.NewRequest(http.MethodGet, target, nil)
	return func() bool {
		clear(w.header)
		w.status = http.StatusOK
		w.bytes = 0
		h.ServeHTTP(w, req)
		return w.status == http.StatusOK && w.bytes > 0
	}
}

func checkName(i int) string { return fmt.Sprintf("component-%03d", i) }

func pass(context.Context) error { return nil }

func nothing() {}

var subjects = []subject{
	{"floor (no library)", openFloor},
	{"healthkit", openHealthkit},
	{"grpc health, called directly", openGRPC},
	{"heptiolabs/healthcheck", openHeptio},
	{"alexliesenfeld/health", openAlex},
	{"go-sundheit", openSundheit},
	{"hellofresh/health-go", openHellofresh},
}

var pushers = []pusher{
	{"healthkit", pushHealthkit(0)},
	{"healthkit, with a time to live", pushHealthkit(time.Hour)},
	{"grpc health", pushGRPC},
}

// openFloor is what an honest probe has to do at least: look at a counter and,
// for staleness, at the clock, and write constant bytes.
func openFloor(int) (brief, verbose probe, stop func(), err error) {
	var failing atomic.Int64
	base := time.Now()
	contentType, ok := []string{"text/plain; charset=utf-8"}, []byte("ok")
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if failing.Load() > 0 || time.Since(base) > time.Hour {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		w.Header()["Content-Type"] = contentType
		_, _ = w.Write(ok)
	})
	return ask(h, "/readyz"), ask(h, "/readyz?verbose"), nothing, nil
}

func openHealthkit(n int) (brief, verbose probe, stop func(), err error) {
	r := healthkit.New(healthkit.Config{})
	for i := range n {
		if _, err := r.RegisterCheck(checkName(i), pass, healthkit.CheckOptions{Interval: time.Hour}); err != nil {
			return nil, nil, nil, err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	stop = func() { _ = r.Close(context.Background()) } // nothing to wait for that could fail
	if err := r.WaitReady(ctx); err != nil {
		stop()
		return nil, nil, nil, err
	}
	return ask(r.Handler(), "/readyz"), ask(r.Handler(), "/readyz?verbose"), stop, nil
}

func openGRPC(n int) (brief, verbose probe, stop func(), err error) {
	s := grpchealth.NewServer()
	for i := range n {
		s.SetServingStatus(checkName(i), healthpb.HealthCheckResponse_SERVING)
	}
	ctx := context.Background()
	brief = func() bool {
		resp, err := s.Check(ctx, &healthpb.HealthCheckRequest{})
		return err == nil && resp.Status == healthpb.HealthCheckResponse_SERVING
	}
	verbose = func() bool {
		resp, err := s.List(ctx, &healthpb.HealthListRequest{})
		return err == nil && len(resp.Statuses) == n+1
	}
	return brief, verbose, s.Shutdown, nil
}

func openHeptio(n int) (brief, verbose probe, stop func(), err error) {
	h := healthcheck.NewHandler()
	for i := range n {
		h.AddReadinessCheck(checkName(i), func() error { return nil })
	}
	return ask(h, "/ready"), ask(h, "/ready?full=1"), nothing, nil
}

func openAlex(n int) (brief, verbose probe, stop func(), err error) {
	open := func(more ...alexhealth.CheckerOption) alexhealth.Checker {
		for i := range n {
			more = append(more, alexhealth.WithCheck(alexhealth.Check{Name: checkName(i), Check: pass}))
		}
		return alexhealth.NewChecker(more...)
	}
	short, long := open(alexhealth.WithDisabledDetails()), open()
	stop = func() { short.Stop(); long.Stop() }
	return ask(alexhealth.NewHandler(short), "/"), ask(alexhealth.NewHandler(long), "/"), stop, nil
}

func openSundheit(n int) (brief, verbose probe, stop func(), err error) {
	h := sundheit.New()
	for i := range n {
		check := &checks.CustomCheck{CheckName: checkName(i), CheckFunc: func(context.Context) (any, error) { return nil, nil }}
		if err := h.RegisterCheck(check, sundheit.ExecutionPeriod(time.Hour), sundheit.InitiallyPassing(true)); err != nil {
			return nil, nil, nil, err
		}
	}
	handler := sundheithttp.HandleHealthJSON(h)
	return ask(handler, "/?type=short"), ask(handler, "/"), h.DeregisterAll, nil
}

func openHellofresh(n int) (brief, verbose probe, stop func(), err error) {
	h, err := hellofresh.New()
	if err != nil {
		return nil, nil, nil, err
	}
	for i := range n {
		if err := h.Register(hellofresh.Config{Name: checkName(i), Check: pass}); err != nil {
			return nil, nil, nil, err
		}
	}
	return ask(h.Handler(), "/"), nil, nothing, nil
}

func pushHealthkit(ttl time.Duration) func(n int) (same, flip func(), stop func(), err error) {
	return func(n int) (same, flip func(), stop func(), err error) {
		r := healthkit.New(healthkit.Config{})
		var last *healthkit.Component
		for i := range n {
			if last, err = r.Register(checkName(i), healthkit.Options{TTL: ttl}); err != nil {
				return nil, nil, nil, err
			}
			last.Ready()
		}
		down, k := errors.New("connection refused"), 0
		flip = func() {
			if k++; k%2 == 0 {
				last.Ready()
			} else {
				last.Failed(down)
			}
		}
		return last.Ready, flip, func() { _ = r.Close(context.Background()) }, nil
	}
}

func pushGRPC(n int) (same, flip func(), stop func(), err error) {
	s := grpchealth.NewServer()
	for i := range n {
		s.SetServingStatus(checkName(i), healthpb.HealthCheckResponse_SERVING)
	}
	name, k := checkName(n-1), 0
	same = func() { s.SetServingStatus(name, healthpb.HealthCheckResponse_SERVING) }
	flip = func() {
		if k++; k%2 == 0 {
			s.SetServingStatus(name, healthpb.HealthCheckResponse_SERVING)
		} else {
			s.SetServingStatus(name, healthpb.HealthCheckResponse_NOT_SERVING)
		}
	}
	return same, flip, s.Shutdown, nil
}

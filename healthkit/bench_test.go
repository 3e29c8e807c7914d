package healthkit

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// sink is a ResponseWriter that costs nothing of its own.
type sink struct {
	header http.Header
	status int
	bytes  int
}

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) WriteHeader(status int)      { s.status = status }
func (s *sink) Write(b []byte) (int, error) { s.bytes += len(b); return len(b), nil }

var sizes = []int{1, 10, 100}

func filled(b testing.TB, n int, opts Options) (*Registry, []*Component) {
	b.Helper()
	r := New(Config{})
	var all []*Component
	for i := range n {
		c, err := r.Register(fmt.Sprintf("component-%03d", i), opts)
		if err != nil {
			b.Fatal(err)
		}
		c.Ready()
		all = append(all, c)
	}
	if !r.Ready() {
		b.Fatal("not ready: " + r.Snapshot().Reason())
	}
	return r, all
}

func forSizes(b *testing.B, opts Options, run func(b *testing.B, r *Registry, all []*Component)) {
	for _, n := range sizes {
		b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) {
			r, all := filled(b, n, opts)
			b.ReportAllocs()
			b.ResetTimer()
			run(b, r, all)
		})
	}
}

func benchProbe(b *testing.B, h http.Handler, target string, want int) {
	w := &sink{header: make(http.Header)}
	req := httptest.NewRequest(http.MethodGet, target, nil)
	for b.Loop() {
		w.status = http.StatusOK
		h.ServeHTTP(w, req)
	}
	if w.status != want || w.bytes == 0 {
		b.Fatalf("got status %d and %d bytes, want %d and a body", w.status, w.bytes, want)
	}
}

// BenchmarkFloor is a lower bound, not a library: what any honest probe has to
// do at least (a counter, a clock read for staleness, a header, constant bytes).
func BenchmarkFloor(b *testing.B) {
	var failing atomic.Int64
	base := time.Now()
	expires := int64(time.Hour)
	body := []byte("ok")
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if failing.Load() > 0 || int64(time.Since(base)) > expires {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		w.Header()["Content-Type"] = textPlain
		_, _ = w.Write(body)
	})
	b.ReportAllocs()
	benchProbe(b, h, "/readyz", http.StatusOK)
}

func BenchmarkReady(b *testing.B) {
	forSizes(b, Options{}, func(b *testing.B, r *Registry, _ []*Component) {
		for b.Loop() {
			if !r.Ready() {
				b.Fatal("not ready")
			}
		}
	})
}

func BenchmarkReadyTTL(b *testing.B) {
	forSizes(b, Options{TTL: time.Hour}, func(b *testing.B, r *Registry, _ []*Component) {
		for b.Loop() {
			if !r.Ready() {
				b.Fatal("not ready")
			}
		}
	})
}

func BenchmarkProbeBrief(b *testing.B) {
	forSizes(b, Options{TTL: time.Hour}, func(b *testing.B, r *Registry, _ []*Component) {
		benchProbe(b, r.Handler(), "/readyz", http.StatusOK)
	})
}

func BenchmarkProbeBriefUnready(b *testing.B) {
	forSizes(b, Options{TTL: time.Hour}, func(b *testing.B, r *Registry, all []*Component) {
		all[0].Failed(errors.New("connection refused"))
		benchProbe(b, r.Handler(), "/readyz", http.StatusServiceUnavailable)
	})
}

func BenchmarkProbeVerbose(b *testing.B) {
	forSizes(b, Options{TTL: time.Hour}, func(b *testing.B, r *Registry, _ []*Component) {
		benchProbe(b, r.Handler(), "/readyz?verbose", http.StatusOK)
	})
}

func BenchmarkPushSame(b *testing.B) {
	forSizes(b, Options{}, func(b *testing.B, _ *Registry, all []*Component) {
		for b.Loop() {
			all[0].Ready()
		}
	})
}

func BenchmarkPushSameFailed(b *testing.B) {
	err := errors.New("connection refused")
	forSizes(b, Options{}, func(b *testing.B, _ *Registry, all []*Component) {
		for b.Loop() {
			all[0].Failed(err)
		}
	})
}

func BenchmarkPushSameTTL(b *testing.B) {
	forSizes(b, Options{TTL: time.Hour}, func(b *testing.B, _ *Registry, all []*Component) {
		for b.Loop() {
			all[0].Ready()
		}
	})
}

// BenchmarkFlip changes the state in every iteration.
func BenchmarkFlip(b *testing.B) {
	err := errors.New("connection refused")
	forSizes(b, Options{}, func(b *testing.B, r *Registry, all []*Component) {
		before := r.Version()
		n := 0
		for b.Loop() {
			if n++; n%2 == 0 {
				all[0].Ready()
			} else {
				all[0].Failed(err)
			}
		}
		if got := r.Version() - before; got != uint64(n) {
			b.Fatalf("got %d versions from %d flips", got, n)
		}
	})
}

func BenchmarkFlipTTL(b *testing.B) {
	err := errors.New("connection refused")
	forSizes(b, Options{TTL: time.Hour}, func(b *testing.B, _ *Registry, all []*Component) {
		n := 0
		for b.Loop() {
			if n++; n%2 == 0 {
				all[0].Ready()
			} else {
				all[0].Failed(err)
			}
		}
	})
}

// BenchmarkFlipNewReason fails for another reason each time, so nothing can be
// used again.
func BenchmarkFlipNewReason(b *testing.B) {
	errs := []error{errors.New("connection refused"), errors.New("connection reset")}
	forSizes(b, Options{}, func(b *testing.B, _ *Registry, all []*Component) {
		n := 0
		for b.Loop() {
			if n++; n%2 == 0 {
				all[0].Ready()
			} else {
				all[0].Failed(errs[n/2%2])
			}
		}
	})
}

func BenchmarkTick(b *testing.B) {
	r := New(Config{})
	token, err := r.RegisterLoop("loop", time.Hour)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		token.Tick()
	}
}

// BenchmarkSnapshotAfterFlip is what the first reader pays after a change.
func BenchmarkSnapshotAfterFlip(b *testing.B) {
	err := errors.New("connection refused")
	forSizes(b, Options{}, func(b *testing.B, r *Registry, all []*Component) {
		n := 0
		for b.Loop() {
			if n++; n%2 == 0 {
				all[0].Ready()
			} else {
				all[0].Failed(err)
			}
			r.Snapshot()
		}
	})
}

//go:build unix

package edge

import (
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// benchHandler answers as a small service does.
func benchHandler(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "text/plain")
	io.WriteString(w, "served\n")
}

// cpuTime is the user and system time of this process.
func cpuTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// arm is one way to the backends, and what was measured on it.
type arm struct {
	name         string
	urls         []string // in turn, as a balancer would
	reuse, fresh *http.Client
	took         []time.Duration
	cpu          time.Duration
	mallocs      uint64
}

// newArm has clients of its own.
func newArm(b *testing.B, name string, urls ...string) *arm {
	fresh := newClient(b)
	fresh.Transport.(*http.Transport).DisableKeepAlives = true
	return &arm{name: name, urls: urls, reuse: newClient(b), fresh: fresh}
}

// load fires at the rate for the time given, open loop, in the lab's mix: two GETs and two
// POSTs on kept connections, one GET on a new one. A response time counts from the
// instant that the schedule released the request.
func (a *arm) load(b *testing.B, rate int, length time.Duration) {
	hits := rate * int(length/time.Millisecond) / 1000
	took := make([]time.Duration, hits)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cpu := cpuTime(b)
	var wg sync.WaitGroup
	start := time.Now()
	for k := range hits {
		time.Sleep(time.Until(start.Add(time.Duration(k+1) * time.Second / time.Duration(rate))))
		released := time.Now()
		wg.Go(func() {
			if err := a.hit(k); err != nil {
				b.Errorf("%s: %v", a.name, err)
			}
			took[k] = time.Since(released)
		})
	}
	wg.Wait()
	a.cpu += cpuTime(b) - cpu
	runtime.ReadMemStats(&after)
	a.mallocs += after.Mallocs - before.Mallocs
	a.took = append(a.took, took...)
}

func (a *arm) hit(k int) error {
	client, url := a.reuse, a.urls[k%len(a.urls)]
	var res *http.Response
	var err error
	switch k % 5 {
	case 4:
		client = a.fresh
		fallthrough
	case 0, 1:
		res, err = client.Get(url)
	default:
		res, err = client.Post(url, "text/plain", strings.NewReader("some body"))
	}
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return err
}

// quantile of the response times, in milliseconds.
func (a *arm) quantile(q float64) float64 {
	sorted := slices.Sorted(slices.Values(a.took))
	return sorted[int(q*float64(len(sorted)-1))].Seconds() * 1000
}

// BenchmarkOverhead measures what the balancer adds at 1,000 requests a second, against
// the same clients going to the same backends directly. Clients, balancer and backends
// share the process and its cores, which puts the balancer in a worse light than in use.
// The arms alternate A B B A, so that the machine's drift hits both.
func BenchmarkOverhead(b *testing.B) {
	const (
		rate   = 1000
		slice  = 2 * time.Second
		rounds = 3
	)
	var endpoints []Endpoint
	for _, id := range []string{"a", "b", "c"} {
		endpoints = append(endpoints, Endpoint{ID: id, Addr: serveHTTP(b, benchHandler)})
	}
	balancer := start(b, Config{})
	direct, through := newArm(b, "direct"), newArm(b, "through edge", balancer.URL())
	for _, e := range endpoints {
		balancer.Route(e)
		direct.urls = append(direct.urls, "http://"+e.Addr)
	}
	for _, a := range []*arm{direct, through} {
		a.load(b, rate, slice/4)
		*a = arm{name: a.name, urls: a.urls, reuse: a.reuse, fresh: a.fresh}
	}
	for b.Loop() {
		for range rounds {
			for _, a := range []*arm{direct, through, through, direct} {
				a.load(b, rate, slice)
			}
		}
	}
	per := func(a *arm) (cpu, mallocs float64) {
		n := float64(len(a.took))
		return a.cpu.Seconds() * 1e6 / n, float64(a.mallocs) / n
	}
	directCPU, directMallocs := per(direct)
	throughCPU, throughMallocs := per(through)
	b.ReportMetric(direct.quantile(0.50), "direct-p50-ms")
	b.ReportMetric(direct.quantile(0.99), "direct-p99-ms")
	b.ReportMetric(through.quantile(0.50)-direct.quantile(0.50), "added-p50-ms")
	b.ReportMetric(through.quantile(0.99)-direct.quantile(0.99), "added-p99-ms")
	b.ReportMetric(throughCPU-directCPU, "added-cpu-µs/req")
	b.ReportMetric(throughMallocs-directMallocs, "added-allocs/req")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkHandler is the cost of one request in the balancer and its transport, with a
// backend over loopback and without a client's connection: mind that the backend's own
// cost is in it.
func BenchmarkHandler(b *testing.B) {
	addr := serveHTTP(b, benchHandler)
	balancer := start(b, Config{})
	balancer.Route(Endpoint{ID: "a", Addr: addr})
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		b.Run(method, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var body io.Reader
				if method == http.MethodPost {
					body = strings.NewReader("some body")
				}
				rec := httptest.NewRecorder()
				balancer.serve(rec, httptest.NewRequest(method, "/", body))
				if rec.Code != http.StatusOK {
					b.Fatalf("got %d", rec.Code)
				}
			}
		})
	}
}

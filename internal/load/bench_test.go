package load

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/certtest"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

// BenchmarkRun reports what the generator costs and how punctual it is, against a
// trivial server in a process of its own. One operation is a load of ten seconds, so
// run it with -benchtime 1x. It asserts nothing but that no hit failed.
func BenchmarkRun(b *testing.B) {
	for _, rate := range []float64{1000, 1500, 5000, 8000} {
		b.Run(fmt.Sprintf("rate=%v", rate), func(b *testing.B) {
			const length = 10 * time.Second
			benchmarkPlan(b, Plan{URL: childServer(b), Rate: rate, Hits: uint64(rate * length.Seconds()), Timeout: 2 * time.Second, Streams: threeStreams()})
		})
	}
}

// BenchmarkWires is the same for the ways to speak, on kept connections and on new ones: what
// TLS and HTTP/2 cost beside plain HTTP. BENCH_RATE is in requests a second.
func BenchmarkWires(b *testing.B) {
	authority := certtest.New(b)
	certificate := authority.Issue(certtest.Options{})
	secured := []string{serverCertificate + "=" + string(certificate.PEM), serverKey + "=" + string(certificate.Key)}
	own := &drivers.TLS{CA: authority.PEM, ServerName: "localhost"}
	rate := 1000.0
	if text := os.Getenv("BENCH_RATE"); text != "" {
		var err error
		if rate, err = strconv.ParseFloat(text, 64); err != nil {
			b.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name string
		wire drivers.Wire
		env  []string
	}{
		{"h1", drivers.Wire{}, nil},
		{"h1-tls", drivers.Wire{TLS: own}, secured},
		{"h2", drivers.Wire{Protocol: drivers.H2, TLS: own}, secured},
		{"h2c", drivers.Wire{Protocol: drivers.H2C}, nil},
	} {
		for _, reuse := range []bool{true, false} {
			b.Run(fmt.Sprintf("%s/kept=%t", tt.name, reuse), func(b *testing.B) {
				const length = 8 * time.Second
				stream := Stream{Name: "get", Weight: 1, Reuse: reuse, Requests: []Request{{Path: "/", WantBody: "GET 0"}}}
				if reuse {
					stream.Connections = 32
				}
				url := childServer(b, tt.env...)
				if tt.wire.TLS != nil {
					url = strings.Replace(url, "http:", "https:", 1)
				}
				benchmarkPlan(b, Plan{URL: url, Wire: tt.wire, Rate: rate, Hits: uint64(rate * length.Seconds()), Timeout: 2 * time.Second, Streams: []Stream{stream}})
			})
		}
	}
}

func benchmarkPlan(b *testing.B, plan Plan) {
	lags := make([]time.Duration, plan.Hits)
	latencies := make([]time.Duration, plan.Hits)
	for b.Loop() {
		failed := make(map[record.Class]int)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		plan.Base = time.Now()
		plan.Start = 100 * time.Millisecond
		summary, err := Run(b.Context(), plan, func(s record.Sample) {
			lags[s.Seq] = s.Sent - s.Intended
			latencies[s.Seq] = s.Done - s.Intended
			if s.Class != record.OK {
				failed[s.Class]++
			}
		})
		if err != nil {
			b.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		if len(failed) > 0 {
			b.Errorf("failed: %v", failed)
		}
		slices.Sort(lags)
		slices.Sort(latencies)
		at := func(sorted []time.Duration, q float64) float64 {
			return float64(sorted[int(q*float64(len(sorted)-1))]) / float64(time.Millisecond)
		}
		b.ReportMetric(at(lags, 0.5), "lag-p50-ms")
		b.ReportMetric(at(lags, 0.99), "lag-p99-ms")
		b.ReportMetric(at(lags, 1), "lag-max-ms")
		b.ReportMetric(at(latencies, 0.5), "latency-p50-ms")
		b.ReportMetric(at(latencies, 0.99), "latency-p99-ms")
		b.ReportMetric(summary.CPU.Seconds()/float64(summary.Fired)*10_000, "cpu-s/10k")
		b.ReportMetric(float64(after.Mallocs-before.Mallocs)/float64(summary.Fired), "allocs/hit")
		b.ReportMetric(float64(summary.Cost.MaxRSS)/(1<<20), "max-rss-MB")
	}
}

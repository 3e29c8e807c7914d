package promhealth_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/rollout-lab/rollout-lab/healthkit"
	"github.com/rollout-lab/rollout-lab/healthkit/promhealth"
)

// How long something has been stale is time() minus a timestamp:
//
//	time() - healthkit_component_state_changed_timestamp_seconds
//	  and on(component) healthkit_component_state{state="stale"} == 1
func Example() {
	registry := healthkit.New(healthkit.Config{})
	storage, err := registry.Register("storage", healthkit.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(promhealth.New(registry))

	storage.Ready()
	families, err := metrics.Gather()
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, f := range families {
		if f.GetName() == "healthkit_ready" {
			fmt.Println(f.GetName(), f.Metric[0].GetGauge().GetValue())
		}
	}
	// Output: healthkit_ready 1
}

// Metrics beside the probes, until the end. A real service gives HealthAddr: ":8081"
// instead of a listener, and has endpoints.
func Example_server() {
	registry := healthkit.New(healthkit.Config{})
	queue, err := registry.Register("queue", healthkit.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	queue.Ready()
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(promhealth.New(registry))
	mux := http.NewServeMux()
	mux.Handle("/", registry.Handler())
	mux.Handle("/metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	queue.OnStop(func(context.Context) error {
		fmt.Println(scrape(l.Addr().String(), "healthkit_phase{"))
		return nil
	})
	ctx, terminate := context.WithCancel(context.Background())
	terminate() // a signal does
	_, err = registry.Run(ctx, healthkit.RunPlan{HealthListener: l, Health: mux})
	fmt.Println(err)
	// Output:
	// healthkit_phase{phase="draining"} 1
	// <nil>
}

// scrape returns the series that begins so and is 1.
func scrape(addr, series string) string {
	resp, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	for line := range strings.Lines(string(body)) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, series) && strings.HasSuffix(line, " 1") {
			return line
		}
	}
	return "no " + series
}

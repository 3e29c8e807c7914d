package promhealth_test

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

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

package kind

import (
	"strings"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers/kubernetes"
)

// TestWhatNodesSay reads what the scripts print, by either version of cgroups.
func TestWhatNodesSay(t *testing.T) {
	for text, want := range map[string]kubernetes.Freezer{
		"frozen FROZEN\nprocesses D D\n": {Frozen: true, Processes: "DD"},
		"frozen THAWED\nprocesses S\n":   {Processes: "S"},
		"frozen FREEZING\n":              {}, // on its way
		"frozen 1\nprocesses S\n":        {Frozen: true, Processes: "S"},
		"frozen 0\nprocesses\n":          {},
		"ended\n":                        {Ended: true},
	} {
		if got, err := parseFreezer(text); err != nil || got != want {
			t.Errorf("%q: got %+v, %v; want %+v", text, got, err, want)
		}
	}
	for text, want := range map[string]kubernetes.Quota{
		"quota -1 100000\nthrottled_time 0\n":             {},
		"quota 10000 100000\nthrottled_time 1500000000\n": {CPUs: 0.1, Throttled: 1500 * time.Millisecond},
		"quota max 100000\nthrottled_usec 0\n":            {},
		"quota 50000 100000\nthrottled_usec 2500\n":       {CPUs: 0.5, Throttled: 2500 * time.Microsecond},
		"ended\n": {Ended: true},
	} {
		if got, err := parseQuota(text); err != nil || got != want {
			t.Errorf("%q: got %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"frozen\n", "quota 1 0\n", "quota x 100000\n", "throttled_time soon\n", "sh: not found\n"} {
		_, frozen := parseFreezer(text)
		_, quota := parseQuota(text)
		for _, err := range []error{frozen, quota} {
			if err == nil || !strings.Contains(err.Error(), strings.TrimSpace(text)) {
				t.Errorf("%q: got %v, want an error that quotes it", text, err)
			}
		}
	}
}

func TestQuotaOf(t *testing.T) {
	for cpus, want := range map[float64]int{0.1: 10_000, 0.5: 50_000, 2: 200_000, 0.001: 1000} {
		if got := quotaOf(cpus); got != want {
			t.Errorf("%g of a processor: got %d µs, want %d", cpus, got, want)
		}
	}
}

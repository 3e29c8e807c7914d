package kind

import (
	"strings"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers/kubernetes"
)

func TestParseCondition(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want kubernetes.Condition
	}{
		"version 1, frozen": {
			"frozen FROZEN\nquota -1 100000\nthrottled_time 0\nprocesses D D\n",
			kubernetes.Condition{Frozen: true, Processes: "DD"},
		},
		"version 1, throttled": {
			"frozen THAWED\nquota 10000 100000\nthrottled_time 1500000000\nprocesses S\n",
			kubernetes.Condition{CPUs: 0.1, Throttled: 1500 * time.Millisecond, Processes: "S"},
		},
		"version 1, on its way": {"frozen FREEZING\nquota -1 100000\n", kubernetes.Condition{}},
		"version 2, frozen": {
			"frozen 1\nquota max 100000\nthrottled_usec 0\nprocesses S\n",
			kubernetes.Condition{Frozen: true, Processes: "S"},
		},
		"version 2, throttled": {
			"frozen 0\nquota 50000 100000\nthrottled_usec 2500\nprocesses R\n",
			kubernetes.Condition{CPUs: 0.5, Throttled: 2500 * time.Microsecond, Processes: "R"},
		},
		"ended":        {"ended\n", kubernetes.Condition{Ended: true}},
		"no processes": {"frozen 0\nprocesses\n", kubernetes.Condition{}},
	} {
		if got, err := parseCondition(c.text); err != nil || got != c.want {
			t.Errorf("%s: got %+v, %v; want %+v", name, got, err, c.want)
		}
	}
	for _, text := range []string{"frozen\n", "quota 1 0\n", "quota x 100000\n", "throttled_time soon\n", "sh: not found\n"} {
		if got, err := parseCondition(text); err == nil || !strings.Contains(err.Error(), strings.TrimSpace(text)) {
			t.Errorf("%q: got %+v, %v; want an error that quotes it", text, got, err)
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

package drivers_test

import (
	"testing"

	"github.com/rollout-lab/rollout-lab/drivers"
)

func TestExitStatus(t *testing.T) {
	for detail, want := range map[string]int{
		"exit status 0":                           0,
		"exec, after exit status 70":              70,
		"exit status 3, result exit-code":         3,
		"restart 1, after exit status 70 (Error)": 70,
		"exit status 137, out of memory":          137,
		"signal: killed":                          -1,
		"exit status unknown":                     -1,
		"":                                        -1,
	} {
		got, ok := drivers.ExitStatus(detail)
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("%q: got %d, want %d", detail, got, want)
		}
	}
}

package spelling

import "testing"

func TestNearest(t *testing.T) {
	flags := []string{"driver", "design", "rate", "trials", "window", "summary", "fail-on", "out"}
	for typed, want := range map[string]string{
		"dirver": "driver", "drivers": "driver", "desing": "design", "trails": "trials", "sum": "summary", "sumary": "summary",
		"failon": "fail-on", "fail_on": "fail-on", "otu": "out", "quiet": "", "x": "", "": "", "driver": "driver", "kubernetes": "",
	} {
		if got := Nearest(typed, flags); got != want {
			t.Errorf("%q: got %q, want %q", typed, got, want)
		}
	}
}

package reports

import (
	"math"
	"testing"
)

func TestMeasuredRangeRoundsOutward(t *testing.T) {
	tests := []struct {
		metric string
		lo, hi float64
		want   string
	}{
		{"downtime", 2991, 2991, "2.99 to 3.00 s"},
		{"downtime", 250, 260, "250 to 260 ms"},
		{"downtime", 250.4, 250.4, "250 to 251 ms"},
		{"downtime", -2991, -2969, "-3.00 to -2.96 s"},
		{"downtime", -0.001, 0.001, "-0.01 to 0.01 ms"},
		{"downtime", -3, -0.001, "-3 to 0 ms"},
		{"downtime", 0.3, 0.1 + 0.2, "0.3 to 0.3 ms"},
		{"downtime", 59999, 60001, "59.99 s to 1 min 1 s"},
		{"success_rate", 0.999, 0.99999871, "99.90 to 99.9999 %"},
		{"breaches", 1, 2, "1 to 2"},
	}
	for _, tt := range tests {
		if got := measuredRange(tt.metric, tt.lo, tt.hi); got != tt.want {
			t.Errorf("measuredRange(%s, %v, %v): got %s, want %s", tt.metric, tt.lo, tt.hi, got, tt.want)
		}
	}
}

func TestMeasuredAndLimit(t *testing.T) {
	tests := []struct {
		metric          string
		f               float64
		measured, limit string
	}{
		{"success_rate", 0.9999, "99.99 %", "99.99 %"},
		{"success_rate", 0.999, "99.90 %", "99.90 %"},
		{"downtime", 3000.1, "3.01 s", "3000.1 ms"},
		{"downtime", 250, "250 ms", "250 ms"},
		{"downtime", -2990, "-2.99 s", "-2.99 s"},
		{"downtime", 0.1 + 0.2, "0.3 ms", "0.3 ms"},
		{"downtime", 0.0002, "0.01 ms", "0.0002 ms"},
		{"breaches", 12000, "12,000", "12,000"},
		{"breaches", -1, "-1", "-1"},
		{"unheard of", 1.25, "1.25", "1.25"},
	}
	for _, tt := range tests {
		if got := measured(tt.metric, tt.f); got != tt.measured {
			t.Errorf("measured(%s, %v): got %s, want %s", tt.metric, tt.f, got, tt.measured)
		}
		if got := limit(unitOf(tt.metric), tt.f); got != tt.limit {
			t.Errorf("limit(%s, %v): got %s, want %s", tt.metric, tt.f, got, tt.limit)
		}
	}
	if got := measured("downtime", math.NaN()); got != "no data" {
		t.Errorf("measured of not a number: got %s", got)
	}
}

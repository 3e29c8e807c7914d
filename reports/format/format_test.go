package format

import (
	"math"
	"testing"
	"time"
)

func TestShare(t *testing.T) {
	tests := []struct {
		ok, planned uint64
		want        string
	}{
		{0, 0, "no data"},
		{0, 60000, "0.00 %"},
		{60000, 60000, "100 %"},
		{59999, 60000, "99.998 %"},
		{999997, 1000000, "99.9997 %"},
		{999999999, 1000000000, "99.99999990 %"},
		{math.MaxUint64 - 1, math.MaxUint64, "99.99999999 %"},
		{2, 3, "66.66 %"},
		{1, 30000, "0.00 %"},
		{89999, 90000, "99.998 %"},
		{27000, 30000, "90.00 %"},
		{29997, 30000, "99.990 %"},
	}
	for _, tt := range tests {
		if got := Share(tt.ok, tt.planned); got != tt.want {
			t.Errorf("Share(%d, %d): got %s, want %s", tt.ok, tt.planned, got, tt.want)
		}
	}
}

func TestRate(t *testing.T) {
	tests := []struct {
		f    float64
		want string
	}{
		{math.NaN(), "no data"}, {math.Inf(1), "no data"},
		{1, "100 %"}, {0, "0 %"}, {-0.1, "0 %"},
		{0.29, "29.00 %"}, {0.5, "50.00 %"}, {0.057, "5.70 %"},
		{0.999966, "99.996 %"},
		{math.Nextafter(1, 0), "99.99999999 %"},
		{0.99996671, "99.996 %"},
		{1e-12, "0.00 %"},
	}
	for _, tt := range tests {
		if got := Rate(tt.f); got != tt.want {
			t.Errorf("Rate(%v): got %s, want %s", tt.f, got, tt.want)
		}
	}
}

// An interval must never look narrower than it is.
func TestRatesContainTheInterval(t *testing.T) {
	tests := []struct {
		lo, hi float64
		want   string
	}{
		{0.85094, 0.85912, "85.09 to 85.92 %"},
		{0.85, 0.86, "85.00 to 86.00 %"},
		{0.057, 0.0570001, "5.70 to 5.71 %"},
		{0.0999999, 0.0999999, "9.99 to 10.00 %"},
		{0.9999, 0.99998, "99.990 to 99.998 %"},
		{0.99996671, 1, "99.996 to 100 %"},
		{0.999, 0.99999871, "99.90 to 99.9999 %"},
		{0, math.Nextafter(1, 0), "0 to 100 %"},
		{0, 1e-12, "0 to 0.01 %"},
		{0, 0, "0 to 0 %"},
		{math.NaN(), math.NaN(), "no data"},
	}
	for _, tt := range tests {
		if got := Rates(tt.lo, tt.hi); got != tt.want {
			t.Errorf("Rates(%v, %v): got %s, want %s", tt.lo, tt.hi, got, tt.want)
		}
	}
}

func TestSpanRoundsUp(t *testing.T) {
	tests := []struct {
		d    time.Duration
		want string
	}{
		{0, "0 ms"},
		{1, "0.01 ms"},
		{134 * time.Microsecond, "0.14 ms"},
		{500 * time.Microsecond, "0.5 ms"},
		{9989 * time.Microsecond, "9.99 ms"},
		{9991 * time.Microsecond, "10 ms"},
		{12001 * time.Microsecond, "13 ms"},
		{999 * time.Millisecond, "999 ms"},
		{999*time.Millisecond + 1, "1.00 s"},
		{3001 * time.Millisecond, "3.01 s"},
		{3 * time.Second, "3.00 s"},
		{59990 * time.Millisecond, "59.99 s"},
		{59990*time.Millisecond + 1, "1 min 0 s"},
		{90 * time.Second, "1 min 30 s"},
		{time.Hour, "1 h 0 min"},
		{time.Hour + 1, "1 h 1 min"},
		{-3 * time.Second, "-3.00 s"},
	}
	for _, tt := range tests {
		if got := Span(tt.d); got != tt.want {
			t.Errorf("Span(%v): got %s, want %s", tt.d, got, tt.want)
		}
	}
}

func TestCount(t *testing.T) {
	for n, want := range map[uint64]string{0: "0", 999: "999", 1000: "1,000", 60000: "60,000", 1234567: "1,234,567"} {
		if got := Count(n); got != want {
			t.Errorf("Count(%d): got %s, want %s", n, got, want)
		}
	}
}

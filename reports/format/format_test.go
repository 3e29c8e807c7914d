package format

import (
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestShare(t *testing.T) {
	tests := []struct {
		ok, planned uint64
		want        string
	}{
		{0, 0, "no data"},
		{0, 60000, "0 %"},
		{60000, 60000, "100 %"},
		{59999, 60000, "99.998 %"},
		{999997, 1000000, "99.9997 %"},
		{999999999, 1000000000, "99.9999999 %"},
		{math.MaxUint64 - 1, math.MaxUint64, "99.99999999 %"},
		{2, 3, "66.66 %"},
		{1, 30000, "0.00 %"},
		{89999, 90000, "99.998 %"},
		{27000, 30000, "90.00 %"},
		{29997, 30000, "99.99 %"},
		{29996, 30000, "99.98 %"},
		{299971, 300000, "99.990 %"},
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
		{0.9999, 0.99998, "99.99 to 99.998 %"},
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

// parsed is a time as Span prints it.
func parsed(t *testing.T, s string) (d time.Duration) {
	t.Helper()
	units := map[string]time.Duration{"ms": time.Millisecond, "s": time.Second, "min": time.Minute, "h": time.Hour}
	fields := strings.Fields(s)
	for i := 0; i+1 < len(fields); i += 2 {
		f, err := strconv.ParseFloat(fields[i], 64)
		if err != nil || units[fields[i+1]] == 0 {
			t.Fatalf("%q is no time", s)
		}
		d += time.Duration(math.Round(f * float64(units[fields[i+1]])))
	}
	return d
}

// A time has one form, whichever function prints it: what is read back and printed again is
// the same text, and no rounding flatters.
func TestATimeHasOneForm(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var all []time.Duration
	for scale := time.Duration(1); scale < 100*time.Hour; scale *= 3 {
		for range 200 {
			all = append(all, time.Duration(r.Int64N(int64(scale))))
		}
	}
	for _, at := range []time.Duration{10 * time.Microsecond, 10 * time.Millisecond, time.Second, time.Minute, time.Hour, 24 * time.Hour} {
		for off := time.Duration(-3); off <= 3; off++ {
			all = append(all, at+off, at+off*time.Microsecond, at+off*5*time.Millisecond)
		}
	}
	for _, d := range all {
		d = max(d, 0)
		up, down := Span(d), spanTo(d, false)
		if got := parsed(t, up); got < d || Span(got) != up || spanTo(got, false) != up || Exactly(InMillis(got)) != up {
			t.Fatalf("%d ns prints as %s, and that as %s or %s, exactly %s", d, up, Span(got), spanTo(got, false), Exactly(InMillis(got)))
		}
		if got := parsed(t, down); got > d || Span(got) != down {
			t.Fatalf("%d ns prints, rounded down, as %s, and that as %s", d, down, Span(got))
		}
		if got := Millis(InMillis(d)); got != up {
			t.Fatalf("%d ns prints as %s and as %s", d, up, got)
		}
		if got, want := Between(MillisOutward(InMillis(d), false), MillisOutward(InMillis(d), true)), Between(down, up); got != want {
			t.Fatalf("the ends of the range of %d ns are %s, want %s", d, got, want)
		}
	}
}

// A rate has one form, from counts as from a number.
func TestARateHasOneForm(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		planned := 1 + r.Uint64N(100_000)
		ok := r.Uint64N(planned + 1)
		if r.IntN(3) == 0 {
			ok = planned - min(planned, r.Uint64N(4))
		}
		if got, want := Rate(float64(ok)/float64(planned)), Share(ok, planned); got != want {
			t.Fatalf("%d of %d is %s and %s", ok, planned, got, want)
		}
	}
}

func TestExactly(t *testing.T) {
	for ms, want := range map[float64]string{0: "0 ms", 250: "250 ms", 5000: "5.00 s", 1500: "1.50 s", 90_000: "1 min 30 s", 3_600_000: "1 h 0 min", 0.25: "0.25 ms",
		1234.5678: "1234.5678 ms", 61_500: "61500 ms", 0.001: "0.001 ms", -2000: "-2.00 s", math.Inf(1): "+Inf ms"} {
		if got := Exactly(ms); got != want {
			t.Errorf("Exactly(%v): got %s, want %s", ms, got, want)
		}
	}
}

func TestOffset(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0.000", 4300 * time.Millisecond: "4.300", 4300*time.Millisecond + 499*time.Microsecond: "4.300", -time.Second / 2: "−0.500", -1: "0.000", 100 * time.Second: "100.000"} {
		if got := Offset(d); got != want {
			t.Errorf("Offset(%d): got %s, want %s", d, got, want)
		}
	}
}

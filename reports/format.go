package reports

import (
	"math"
	"math/bits"
	"strconv"
	"strings"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/judge"
)

// The rule of every format here: rounding never flatters. Rates are cut off, times are
// rounded up, what is not zero never prints as zero, and an interval never looks narrower
// than it is.

// maxDecimals is how far a rate is spelled out to show that it is not 100 %.
const maxDecimals = 8

// share prints ok of planned as a percentage, cut off and not rounded, with as many
// nines as it takes to show that something failed.
func share(ok, planned uint64) string {
	if planned == 0 {
		return "no data"
	}
	if ok >= planned {
		return "100 %"
	}
	digits := ""
	for d := 2; d <= maxDecimals; d++ {
		pow := uint64(math.Pow10(d + 2))
		hi, lo := bits.Mul64(ok, pow)
		q, _ := bits.Div64(hi, lo, planned) // ok < planned, so q < pow and hi < planned
		digits = point(strconv.FormatUint(q, 10), d)
		if !allNines(digits) {
			break
		}
	}
	return digits + " %"
}

// point puts the decimal point before the last d digits.
func point(s string, d int) string {
	for len(s) <= d {
		s = "0" + s
	}
	return s[:len(s)-d] + "." + s[len(s)-d:]
}

// allNines reports whether a percentage is too coarse to say more than "not quite 100".
func allNines(s string) bool { return strings.HasPrefix(s, "99.") && strings.Trim(s, "9.") == "" }

// rate prints a rate 0..1 as a percentage, cut off and not rounded.
func rate(f float64) string {
	return percentage(f, func(digits string, _ bool) (string, bool) { return digits, allNines(digits) })
}

// rateUp prints the upper end of an interval of rates: rounded up, with as many decimals
// as it takes to show that it is not 100 %.
func rateUp(f float64) string {
	return percentage(f, func(digits string, rest bool) (string, bool) {
		if !rest {
			return digits, false
		}
		whole, frac, _ := strings.Cut(digits, ".")
		n, err := strconv.ParseUint(whole+frac, 10, 64)
		if err != nil {
			return digits, true // not reached: these are digits
		}
		if digits = point(strconv.FormatUint(n+1, 10), len(frac)); strings.HasPrefix(digits, "100.") {
			return "100", true
		}
		return digits, false
	})
}

// percentage prints a rate 0..1 with two decimals, or more as long as cut finds that too
// coarse. cut is given the digits and whether anything but zeros follows them.
func percentage(f float64, cut func(digits string, rest bool) (out string, coarse bool)) string {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return "no data"
	}
	if f >= 1 {
		return "100 %"
	}
	if f <= 0 {
		return "0 %"
	}
	// The shortest decimal of f is what a person would write for it; moving its point is
	// exact where multiplying by 100 is not.
	s := strconv.FormatFloat(f, 'f', -1, 64)
	_, frac, _ := strings.Cut(s, ".")
	for len(frac) < maxDecimals+2 {
		frac += "0"
	}
	whole := strings.TrimLeft(frac[:2], "0")
	if whole == "" {
		whole = "0"
	}
	out, coarse := "", true
	for d := 2; d <= maxDecimals && coarse; d++ {
		out, coarse = cut(whole+"."+frac[2:2+d], strings.Trim(frac[2+d:], "0") != "")
	}
	return out + " %"
}

// rates prints an interval of rates, the lower end cut off and the upper one rounded up.
func rates(lo, hi float64) string {
	if math.IsNaN(lo) || math.IsNaN(hi) {
		return "no data"
	}
	return between(rate(lo), rateUp(hi))
}

// limit prints the limit of a gate: as it was written, not cut off.
func limit(metric string, f float64) string {
	switch unitOf(metric) {
	case judge.Share:
		// Ten decimals of a percentage are beyond any limit that a person writes.
		return trimZeros(strconv.FormatFloat(f*100, 'f', 10, 64)) + " %"
	case judge.Duration:
		return trimZeros(strconv.FormatFloat(f, 'f', 3, 64)) + " ms"
	}
	return trimZeros(strconv.FormatFloat(f, 'f', 3, 64))
}

// measured prints an observed value of a metric in its unit.
func measured(metric string, f float64) string {
	switch {
	case math.IsNaN(f) || math.IsInf(f, 0):
		return "no data"
	case unitOf(metric) == judge.Share:
		return rate(f)
	case unitOf(metric) == judge.Duration:
		return spanMillis(f)
	case f == math.Trunc(f) && math.Abs(f) < 1<<53:
		return signed(f, func(f float64) string { return count(uint64(f)) })
	}
	return trimZeros(strconv.FormatFloat(f, 'f', 3, 64))
}

// measuredRange prints an interval of a metric: never a narrower one than it is.
func measuredRange(metric string, lo, hi float64) string {
	switch unit := unitOf(metric); {
	case unit == judge.Share && lo >= 0:
		return rates(lo, hi)
	case unit == judge.Duration:
		return between(spanOutward(lo, lo < 0), spanOutward(hi, hi > 0))
	}
	return between(measured(metric, lo), measured(metric, hi))
}

// spanOutward is an end of an interval of milliseconds, its amount rounded up or down.
func spanOutward(ms float64, up bool) string {
	if up || math.IsNaN(ms) || math.Abs(ms) > mostMillis {
		return spanMillis(ms)
	}
	text := spanTo(time.Duration(math.Floor(math.Abs(ms)*1e6+1e-3)), false)
	if ms < 0 && text != "0 ms" {
		return "-" + text
	}
	return text
}

func signed(f float64, format func(float64) string) string {
	if f < 0 {
		return "-" + format(-f)
	}
	return format(f)
}

func trimZeros(s string) string {
	if !strings.Contains(s, ".") {
		return s
	}
	return strings.TrimRight(strings.TrimRight(s, "0"), ".")
}

// span prints a duration for people, rounded up.
func span(d time.Duration) string { return spanTo(d, true) }

// spanTo is span, rounded up or down; it rounds a negative duration's amount.
func spanTo(d time.Duration, up bool) string {
	ceil := func(unit time.Duration) int64 {
		if !up {
			return int64(d / unit)
		}
		return int64((d + unit - 1) / unit)
	}
	switch {
	case d < 0:
		return "-" + spanTo(-d, up)
	case d == 0:
		return "0 ms"
	case d <= 10*time.Microsecond*999: // below 9.99 ms: two decimals
		return trimZeros(point(strconv.FormatInt(ceil(10*time.Microsecond), 10), 2)) + " ms"
	case d <= 999*time.Millisecond:
		return strconv.FormatInt(ceil(time.Millisecond), 10) + " ms"
	case d <= 59*time.Second+990*time.Millisecond, !up && d < time.Minute:
		return point(strconv.FormatInt(ceil(10*time.Millisecond), 10), 2) + " s"
	}
	s := ceil(time.Second)
	if s < 3600 {
		return strconv.FormatInt(s/60, 10) + " min " + strconv.FormatInt(s%60, 10) + " s"
	}
	m := (s + 59) / 60
	return strconv.FormatInt(m/60, 10) + " h " + strconv.FormatInt(m%60, 10) + " min"
}

// mostMillis is what a Duration surely holds, in milliseconds.
const mostMillis = float64(math.MaxInt64) / 1e7

// spanMillis is span for milliseconds as a number.
func spanMillis(ms float64) string {
	if math.IsNaN(ms) || math.Abs(ms) > mostMillis {
		return "no data"
	}
	return signed(ms, func(ms float64) string {
		// Sums of milliseconds carry float dust: a thousandth of a microsecond is not a
		// reason to round up.
		return span(time.Duration(math.Ceil(ms*1e6 - 1e-3)))
	})
}

// between prints a range, with the unit once where both ends have the same.
func between(lo, hi string) string {
	l, unit, ok := strings.Cut(lo, " ")
	if h, other, _ := strings.Cut(hi, " "); ok && unit == other && !strings.Contains(unit, " ") {
		return l + " to " + h + " " + unit
	}
	return lo + " to " + hi
}

// count prints a whole number with commas between thousands.
func count(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// lost prints how many of the planned requests failed.
func lost(failed, planned uint64) string {
	if planned == 0 {
		return "no data"
	}
	return count(failed) + " of " + count(planned) + " lost"
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(uint64(n)) + " " + many
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// Package format writes numbers for people, and makes text from outside fit to be shown.
// It is the only formatter of the reports: a number has one form, wherever it stands.
//
// The rule of every format: rounding never flatters. Rates are cut off, times are rounded
// up, what is not zero never prints as zero, and an interval never looks narrower than it
// is.
package format

import (
	"math"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// maxDecimals is how far a rate is spelled out to show that it is not 100 %.
const maxDecimals = 8

// Share prints ok of planned as a percentage, cut off and not rounded, with as many
// nines as it takes to show that something failed. It is the form of Rate.
func Share(ok, planned uint64) string {
	switch {
	case planned == 0:
		return "no data"
	case ok == 0:
		return "0 %"
	case ok >= planned:
		return "100 %"
	}
	digits := ""
	for d := 2; d <= maxDecimals; d++ {
		pow := uint64(math.Pow10(d + 2))
		hi, lo := bits.Mul64(ok, pow)
		q, rest := bits.Div64(hi, lo, planned) // ok < planned, so q < pow and hi < planned
		digits = point(strconv.FormatUint(q, 10), d)
		if rest == 0 || !allNines(digits) {
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

// Rate prints a rate 0..1 as a percentage, cut off and not rounded.
func Rate(f float64) string {
	return percentage(f, func(digits string, rest bool) (string, bool) { return digits, rest && allNines(digits) })
}

// RateUp prints a rate that is an upper bound: rounded up, with as many decimals
// as it takes to show that it is not 100 %.
func RateUp(f float64) string {
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

// Rates prints an interval of rates, the lower end cut off and the upper one rounded up.
func Rates(lo, hi float64) string {
	if math.IsNaN(lo) || math.IsNaN(hi) {
		return "no data"
	}
	return Between(Rate(lo), RateUp(hi))
}

// MillisOutward is an end of an interval of milliseconds, its amount rounded up or down.
func MillisOutward(ms float64, up bool) string {
	if up || math.IsNaN(ms) || math.Abs(ms) > mostMillis {
		return Millis(ms)
	}
	text := spanTo(time.Duration(math.Floor(math.Abs(ms)*1e6+1e-3)), false)
	if ms < 0 && text != "0 ms" {
		return "-" + text
	}
	return text
}

// Signed prints a number by its amount, with its sign in front.
func Signed(f float64, format func(float64) string) string {
	if f < 0 {
		return "-" + format(-f)
	}
	return format(f)
}

// TrimZeros cuts off the zeros that end a decimal fraction.
func TrimZeros(s string) string {
	if !strings.Contains(s, ".") {
		return s
	}
	return strings.TrimRight(strings.TrimRight(s, "0"), ".")
}

// Span prints a duration for people, rounded up.
func Span(d time.Duration) string { return spanTo(d, true) }

// spanTo is Span, rounded up or down; it rounds a negative duration's amount. What rounding
// takes to the next unit is printed in that: there is no 1000 ms.
func spanTo(d time.Duration, up bool) string {
	round := func(unit time.Duration) int64 {
		if !up {
			return int64(d / unit)
		}
		return int64((d + unit - 1) / unit)
	}
	switch {
	case d < 0:
		return "-" + spanTo(-max(d, -math.MaxInt64), up)
	case d == 0:
		return "0 ms"
	case round(10*time.Microsecond) < 1000: // below 10 ms: two decimals
		return TrimZeros(point(strconv.FormatInt(round(10*time.Microsecond), 10), 2)) + " ms"
	case round(time.Millisecond) < 1000:
		return strconv.FormatInt(round(time.Millisecond), 10) + " ms"
	case round(10*time.Millisecond) < 6000:
		return point(strconv.FormatInt(round(10*time.Millisecond), 10), 2) + " s"
	case round(time.Second) < 3600:
		s := round(time.Second)
		return strconv.FormatInt(s/60, 10) + " min " + strconv.FormatInt(s%60, 10) + " s"
	}
	m := round(time.Minute)
	return strconv.FormatInt(m/60, 10) + " h " + strconv.FormatInt(m%60, 10) + " min"
}

// mostMillis is what a Duration surely holds, in milliseconds.
const mostMillis = float64(math.MaxInt64) / 1e7

// Millis is Span for milliseconds as a number.
func Millis(ms float64) string {
	if math.IsNaN(ms) || math.Abs(ms) > mostMillis {
		return "no data"
	}
	return Signed(ms, func(ms float64) string {
		// Sums of milliseconds carry float dust: a thousandth of a microsecond is not a
		// reason to round up.
		return Span(time.Duration(math.Ceil(ms*1e6 - 1e-3)))
	})
}

// Between prints a range, with the unit once where both ends have the same.
func Between(lo, hi string) string {
	l, unit, ok := strings.Cut(lo, " ")
	if h, other, _ := strings.Cut(hi, " "); ok && unit == other && !strings.Contains(unit, " ") {
		return l + " to " + h + " " + unit
	}
	return lo + " to " + hi
}

// Count prints a whole number with commas between thousands.
func Count(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Lost prints how many of the planned requests failed.
func Lost(failed, planned uint64) string {
	if planned == 0 {
		return "no data"
	}
	return Count(failed) + " of " + Count(planned) + " lost"
}

// Plural prints how many of a thing there are.
func Plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return Count(uint64(n)) + " " + many
}

// Tenths prints a number to the nearest tenth.
func Tenths(f float64) string { return TrimZeros(strconv.FormatFloat(f, 'f', 1, 64)) }

// Seconds prints seconds as a bare number, to the millisecond.
func Seconds(d time.Duration) string {
	return TrimZeros(strconv.FormatFloat(d.Seconds(), 'f', 3, 64))
}

// Tick is Seconds for the names of an axis: the minus sign is a minus.
func Tick(d time.Duration) string { return strings.Replace(Seconds(d), "-", "−", 1) }

// Offset prints when something was, from the start of what it belongs to, in seconds and
// without a unit: to the nearest millisecond, with all three decimals, so that one moment
// reads the same in a sentence and in a table.
func Offset(d time.Duration) string {
	text := strconv.FormatFloat(d.Round(time.Millisecond).Seconds(), 'f', 3, 64)
	return strings.Replace(text, "-", "−", 1)
}

// Exactly prints a duration that a person has set, which no rounding may change: as Span
// where that says all of it, else in milliseconds.
func Exactly(ms float64) string {
	if math.Abs(ms) <= mostMillis {
		d := time.Duration(math.Round(math.Abs(ms) * 1e6))
		if up, down := spanTo(d, true), spanTo(d, false); up == down {
			return Signed(ms, func(float64) string { return up })
		}
	}
	return TrimZeros(strconv.FormatFloat(ms, 'f', 6, 64)) + " ms" // to the nanosecond
}

// InMillis is a duration as a number of milliseconds.
func InMillis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

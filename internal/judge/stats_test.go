package judge

import (
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestKnownFigures: the figures that the definitions of the metrics state.
func TestKnownFigures(t *testing.T) {
	allowed := func(n uint64, target float64) uint64 {
		failures := uint64(0)
		for lowerBound(n-failures-1, n, alpha) >= target {
			failures++
		}
		return failures
	}
	if got := allowed(60_000, 0.999); got != 47 {
		t.Errorf("99.9 %% of 60,000 allows %d failures, want 47", got)
	}
	needed := uint64(1)
	for lowerBound(needed, needed, alpha) < 0.999 {
		needed++
	}
	if needed != 2995 {
		t.Errorf("0 failures need %d requests for 99.9 %%, want 2,995", needed)
	}
}

// TestBoundsAgainstTheBinomial: a Clopper-Pearson bound is the rate at which what was seen
// or worse has just the probability alpha.
func TestBoundsAgainstTheBinomial(t *testing.T) {
	atLeast := func(k, n uint64, p float64) float64 { // probability of k or more of n
		sum := 0.0
		for i := k; i <= n; i++ {
			choose, _ := math.Lgamma(float64(n + 1))
			a, _ := math.Lgamma(float64(i + 1))
			b, _ := math.Lgamma(float64(n - i + 1))
			sum += math.Exp(choose - a - b + float64(i)*math.Log(p) + float64(n-i)*math.Log1p(-p))
		}
		return sum
	}
	for _, tc := range []struct{ k, n uint64 }{{1, 10}, {5, 10}, {9, 10}, {17, 60}, {990, 1000}, {1999, 2000}} {
		for _, a := range []float64{0.05, 0.0005} {
			if got := atLeast(tc.k, tc.n, lowerBound(tc.k, tc.n, a)); math.Abs(got-a) > 1e-6*a {
				t.Errorf("%d of %d: at the lower bound the chance is %v, want %v", tc.k, tc.n, got, a)
			}
			if got := 1 - atLeast(tc.k+1, tc.n, upperBound(tc.k, tc.n, a)); math.Abs(got-a) > 1e-5*a {
				t.Errorf("%d of %d: at the upper bound the chance is %v, want %v", tc.k, tc.n, got, a)
			}
		}
	}
	for _, n := range []uint64{0, 1, 60_000, 10_000_000} {
		if lo, hi := lowerBound(0, n, alpha), upperBound(n, n, alpha); lo != 0 || hi != 1 {
			t.Errorf("bounds of 0 and %d of %d: %v, %v; want 0, 1", n, n, lo, hi)
		}
	}
}

// TestAFailureMoreNeverRaisesTheBounds up to the largest counts that a run may have.
func TestAFailureMoreNeverRaisesTheBounds(t *testing.T) {
	for _, n := range []uint64{10, 3000, 60_000, 1_000_000, 100_000_000} {
		lo, hi := 1.0, 1.0
		for _, failed := range []uint64{0, 1, 2, 3, 5, 9, 10, n} {
			if failed > n {
				continue
			}
			nextLo, nextHi := lowerBound(n-failed, n, alpha), upperBound(n-failed, n, alpha)
			rate := float64(n-failed) / float64(n)
			if math.IsNaN(nextLo) || math.IsNaN(nextHi) || nextLo > lo || nextHi > hi || nextLo > rate || nextHi < rate {
				t.Errorf("%d of %d failed: [%v, %v] after [%v, %v]", failed, n, nextLo, nextHi, lo, hi)
			}
			lo, hi = nextLo, nextHi
		}
	}
}

// enumerate is the permutation test by the book: deal the trials to the arms in every way.
func enumerate(a, b []float64) (differ, worse float64) {
	all := slices.Concat(a, b)
	rank := func(v float64) (r float64) {
		for _, w := range all {
			switch {
			case w < v:
				r++
			case w == v:
				r += 0.5
			}
		}
		return r + 0.5
	}
	mean := 0.0
	for _, v := range all {
		mean += rank(v) * float64(len(b)) / float64(len(all))
	}
	seen := 0.0
	for _, v := range b {
		seen += rank(v)
	}
	ways, far, more := 0, 0, 0
	for set := uint(0); set < 1<<len(all); set++ {
		if bits.OnesCount(set) != len(b) {
			continue
		}
		sum := 0.0
		for i, v := range all {
			if set&(1<<i) != 0 {
				sum += rank(v)
			}
		}
		ways++
		if math.Abs(sum-mean) >= math.Abs(seen-mean)-1e-9 {
			far++
		}
		if sum >= seen-1e-9 {
			more++
		}
	}
	return float64(far) / float64(ways), float64(more) / float64(ways)
}

func TestPermutationTestIsExact(t *testing.T) {
	ties, tiesWorse := enumerate([]float64{0, 0, 0, 5}, []float64{5, 5, 5, 9})
	for _, tc := range []struct {
		name          string
		a, b          []float64
		differ, worse float64
	}{
		{"three apart from three", []float64{1, 2, 3}, []float64{4, 5, 6}, 2.0 / 20, 1.0 / 20},
		{"three below three", []float64{4, 5, 6}, []float64{1, 2, 3}, 2.0 / 20, 1},
		{"five apart from five", []float64{1, 2, 3, 4, 5}, []float64{6, 7, 8, 9, 10}, 2.0 / 252, 1.0 / 252},
		{"one above nineteen", make([]float64, 19), []float64{1}, 1.0 / 20, 1.0 / 20},
		{"all the same", []float64{0, 0, 0}, []float64{0, 0, 0}, 1, 1},
		{"one against one", []float64{1}, []float64{2}, 1, 0.5},
		{"ties", []float64{0, 0, 0, 5}, []float64{5, 5, 5, 9}, ties, tiesWorse},
		{"never against in time", []float64{1, 2, 3}, []float64{math.Inf(1), math.Inf(1), math.Inf(1)}, 2.0 / 20, 1.0 / 20},
	} {
		if differ, worse := permutationTest(tc.a, tc.b); math.Abs(differ-tc.differ) > 1e-12 || math.Abs(worse-tc.worse) > 1e-12 {
			t.Errorf("%s: p = %v and %v, want %v and %v", tc.name, differ, worse, tc.differ, tc.worse)
		}
	}
	rng := rand.New(rand.NewPCG(3, 4))
	draw := func(n int) []float64 {
		out := make([]float64, n)
		for i := range out {
			out[i] = float64(rng.IntN(8)) // with ties
		}
		return out
	}
	for range 200 {
		a, b := draw(1+rng.IntN(6)), draw(1+rng.IntN(6))
		differ, worse := permutationTest(a, b)
		if wantDiffer, wantWorse := enumerate(a, b); math.Abs(differ-wantDiffer) > 1e-12 || math.Abs(worse-wantWorse) > 1e-12 {
			t.Errorf("a %v, b %v: p = %v and %v, enumerated %v and %v", a, b, differ, worse, wantDiffer, wantWorse)
		}
	}
}

func TestLeastP(t *testing.T) {
	for _, tc := range []struct {
		a, b int
		want float64
	}{{1, 1, 0.5}, {3, 3, 0.05}, {4, 4, 1.0 / 70}, {5, 5, 1.0 / 252}, {2, 7, 1.0 / 36}, {30, 1, 1.0 / 31}, {30, 3, 1.0 / 5456}} {
		if got := leastP(tc.a, tc.b); math.Abs(got-tc.want) > 1e-12 {
			t.Errorf("leastP(%d, %d) = %v, want %v", tc.a, tc.b, got, tc.want)
		}
	}
}

// TestAnIntervalExistsWhereTheTestCanReject and nowhere else.
func TestAnIntervalExistsWhereTheTestCanReject(t *testing.T) {
	for n := 1; n <= 7; n++ {
		for m := 1; m <= 7; m++ {
			if _, _, _, covered := shift(make([]float64, n), make([]float64, m), 2*alpha); covered != (leastP(n, m) <= alpha) {
				t.Errorf("%d against %d: covered %v, least p %v", n, m, covered, leastP(n, m))
			}
		}
	}
}

func TestShift(t *testing.T) {
	inf := math.Inf(1)
	for _, tc := range []struct {
		name             string
		a, b             []float64
		estimate, lo, hi float64
		covered          bool
	}{
		// 5 against 5: two sums lie beyond the bounds on each side (P(U <= 2) = 4/252),
		// so three differences fall off.
		{"five", []float64{0, 0, 0, 0, 0}, []float64{10, 20, 30, 40, 50}, 30, 10, 50, true},
		{"four", []float64{0, 1, 2, 3}, []float64{100, 101, 102, 103}, 100, 97, 103, true},
		{"three have no such interval", []float64{0, 1, 2}, []float64{10, 11, 12}, 10, 8, 12, false},
		{"one", []float64{1}, []float64{3}, 2, 2, 2, false},
		{"never, both of them", []float64{inf, inf, inf, inf}, []float64{inf, inf, inf, inf}, 0, 0, 0, true},
		{"never, before", []float64{inf, inf, inf, inf}, []float64{1, 2, 3, 4}, -inf, -inf, -inf, true},
		{"never, now and then", []float64{1, 1, 1, 1}, []float64{1, 1, inf, inf}, inf, 0, inf, true},
		{"none", []float64{5, 5, 5, 5}, []float64{5, 5, 5, 5}, 0, 0, 0, true},
	} {
		estimate, lo, hi, covered := shift(tc.a, tc.b, alpha)
		if estimate != tc.estimate || lo != tc.lo || hi != tc.hi || covered != tc.covered {
			t.Errorf("%s: %v [%v, %v] %v, want %v [%v, %v] %v", tc.name, estimate, lo, hi, covered, tc.estimate, tc.lo, tc.hi, tc.covered)
		}
	}
}

// TestShiftInvertsTheTest: a shift inside the interval is one that the test does not
// reject, and one outside is one that it does.
func TestShiftInvertsTheTest(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 50 {
		a, b := make([]float64, 5), make([]float64, 6)
		for i := range a {
			a[i] = rng.NormFloat64()
		}
		for i := range b {
			b[i] = rng.NormFloat64() + 3
		}
		_, lo, hi, covered := shift(a, b, alpha)
		if !covered {
			t.Fatal("5 against 6 trials have an interval")
		}
		moved := func(by float64) []float64 {
			out := slices.Clone(b)
			for i := range out {
				out[i] -= by
			}
			return out
		}
		for by, inside := range map[float64]bool{lo - 1e-9: false, lo + 1e-9: true, hi - 1e-9: true, hi + 1e-9: false} {
			if p, _ := permutationTest(a, moved(by)); (p > alpha) != inside {
				t.Errorf("interval [%v, %v]: shifted by %v p = %v, inside is %v", lo, hi, by, p, inside)
			}
		}
	}
}

func TestTheLargestComparisonStaysCheap(t *testing.T) {
	a, b := make([]float64, mostCompared/2), make([]float64, mostCompared/2)
	for i := range a {
		a[i], b[i] = float64(i), float64(i)+0.5
	}
	if p, worse := permutationTest(a, b); !(p > 0.5 && p <= 1 && worse > 0.25 && worse < 0.5) {
		t.Errorf("p = %v of arms that interleave", p)
	}
}

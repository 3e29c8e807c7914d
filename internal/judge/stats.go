package judge

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/mathext"
)

// lowerBound is the one-sided Clopper-Pearson lower bound, at the confidence 1-alpha, of
// the rate of which k of n were seen. (Clopper, Pearson: The use of confidence or fiducial
// limits, Biometrika 26, 1934; as quantiles of the beta distribution.)
func lowerBound(k, n uint64, alpha float64) float64 {
	if k == 0 {
		return 0
	}
	return mathext.InvRegIncBeta(float64(k), float64(n-k+1), alpha)
}

// upperBound is the upper one.
func upperBound(k, n uint64, alpha float64) float64 {
	if k >= n {
		return 1
	}
	return mathext.InvRegIncBeta(float64(k+1), float64(n-k), 1-alpha)
}

// mostCompared is the number of trials, of both arms, up to which the exact distribution
// of the rank sum is computed; the effort grows with its fourth power.
const mostCompared = 80

// rankSums is the exact distribution of the sum of n of the ranks drawn without
// replacement: chances[s] is the probability of the sum s. All subsets count as equally
// likely, which is what the permutation test's hypothesis says.
func rankSums(ranks []int, n int) []float64 {
	top := 0
	for _, r := range ranks {
		top += r
	}
	ways := make([][]float64, n+1) // ways[j][s]: subsets of j ranks with the sum s
	for j := range ways {
		ways[j] = make([]float64, top+1)
	}
	ways[0][0] = 1
	for i, r := range ranks {
		for j := min(n, i+1); j >= 1; j-- {
			for s := top; s >= r; s-- {
				ways[j][s] += ways[j-1][s-r]
			}
		}
	}
	all := 0.0
	for _, w := range ways[n] {
		all += w
	}
	chances := ways[n]
	for s := range chances {
		chances[s] /= all
	}
	return chances
}

// midranks are twice the ranks of the values of a followed by b, from 1, ties sharing
// the mean of theirs; twice, so that they are whole.
func midranks(a, b []float64) []int {
	values := slices.Concat(a, b)
	sorted := slices.Sorted(slices.Values(values))
	ranks := make([]int, len(values))
	for i, v := range values {
		first, _ := slices.BinarySearch(sorted, v)
		last := first
		for last < len(sorted) && sorted[last] == v {
			last++
		}
		ranks[i] = first + 1 + last
	}
	return ranks
}

// permutationTest is the exact permutation test of whether a and b come from one distribution.
// Its statistic is the sum of b's ranks (Wilcoxon's rank sum, ties sharing ranks), because that
// is the one that belongs to the shift below. Of all ways to deal the trials to the arms, differ
// is the share whose sum is at least as far from the expected one as the sum seen, and worse the
// share whose sum is at least as large: the p of the two-sided test, and of the one-sided one
// that asks whether b is the larger. Both arms must hold a trial.
func permutationTest(a, b []float64) (differ, worse float64) {
	ranks := midranks(a, b)
	seen, total := 0, 0
	for i, r := range ranks {
		total += r
		if i >= len(a) {
			seen += r
		}
	}
	// Distances from the mean, times the number of trials to stay whole.
	distance := func(sum int) int {
		d := sum*len(ranks) - len(b)*total
		return max(d, -d)
	}
	for sum, chance := range rankSums(ranks, len(b)) {
		if distance(sum) >= distance(seen) {
			differ += chance
		}
		if sum >= seen {
			worse += chance
		}
	}
	return min(differ, 1), min(worse, 1)
}

// leastP is the smallest p of the one-sided test with arms of these sizes.
func leastP(a, b int) float64 {
	ways := 1.0
	for i := 1; i <= a; i++ {
		ways = ways * float64(b+i) / float64(i)
	}
	return 1 / ways
}

// shift is the Hodges-Lehmann estimate of how much larger b is than a: the median of all
// differences of a value of b and one of a. [lo, hi] is its interval from the exact
// distribution of the rank sum, at a confidence of at least 1-alpha; where the arms are
// too small for that it is the range of the differences, and covered is false. (Hodges,
// Lehmann: Estimates of location based on rank tests, Ann. Math. Stat. 34, 1963.)
func shift(a, b []float64, alpha float64) (estimate, lo, hi float64, covered bool) {
	differences := make([]float64, 0, len(a)*len(b))
	for _, x := range a {
		for _, y := range b {
			d := 0.0
			if y != x { // neither of two that never happened is the larger
				d = y - x
			}
			differences = append(differences, d)
		}
	}
	slices.Sort(differences)
	n := len(differences)

	ranks := make([]int, len(a)+len(b))
	for i := range ranks {
		ranks[i] = i + 1
	}
	least := len(b) * (len(b) + 1) / 2 // smallest rank sum
	below, cut := 0.0, 0               // cut differences fall off at each side
	for u, chance := range rankSums(ranks, len(b))[least:] {
		below += chance
		if below > alpha/2 || 2*(u+1) >= n {
			break
		}
		cut = u + 1
	}
	if cut == 0 {
		return median(differences), differences[0], differences[n-1], false
	}
	return median(differences), differences[cut-1], differences[n-cut], true
}

// median of sorted values, which must not be none.
func median(sorted []float64) float64 {
	n := len(sorted)
	if n%2 == 1 {
		return sorted[n/2]
	}
	lower, upper := sorted[n/2-1], sorted[n/2]
	if lower == upper || math.IsInf(upper, 0) || math.IsInf(lower, 0) {
		return upper
	}
	return lower + (upper-lower)/2
}

// rangeOf is the estimate for times: median and range. Values that are not finite are
// left out, and N tells.
func rangeOf(values []float64) Estimate {
	values = slices.DeleteFunc(slices.Clone(values), func(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) })
	if len(values) == 0 {
		return Estimate{}
	}
	slices.Sort(values)
	return Estimate{Median: median(values), Lo: values[0], Hi: values[len(values)-1], N: len(values)}
}

// Unseen is the largest share of trials, 0..1, in which an event may happen and yet, with 95 %
// confidence, show in none of so many: 1 - 0.05^(1/trials).
func Unseen(trials int) float64 { return upperBound(0, uint64(max(trials, 0)), alpha) }

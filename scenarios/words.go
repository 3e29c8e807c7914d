package scenarios

import (
	"slices"
	"strings"
)

// renamed are the words of scenarios that have another name now, and what to write instead
// where that is more than the name.
var renamed = []struct{ was, now, hint string }{
	{"quiet", "baseline", ""},
	{"told_of_stop", "deregister_first", ""},
	{"close_for", "close_wait", ""},
	{"may_outlast_window", "allow_unfinished", ""},
	{"controls_on", "positive_controls", "name the drivers in positive_controls: {design: naive, on: [process]}"},
	{"lost_time", "downtime", ""},
	{"down", "bins_down", ""},
	{"degraded", "bins_degraded", ""},
	{"status", "expect", "say expect: {status: 200}"},
}

// suggest is what a word that is none of the candidates was probably meant to be, or "",
// and a hint for its author.
func suggest(word string, candidates []string) (meant, hint string) {
	for _, r := range renamed {
		if r.was == word && slices.Contains(candidates, r.now) {
			if r.hint != "" {
				return r.now, r.hint
			}
			return r.now, "it is called " + r.now + " now"
		}
	}
	if meant := near(word, candidates); meant != "" {
		return meant, "did you mean " + quote(meant) + "?"
	}
	return "", "one of: " + quoteAll(candidates)
}

// didYouMean is the hint of suggest alone.
func didYouMean(word string, candidates []string) string {
	_, hint := suggest(word, candidates)
	return hint
}

// near is the candidate that the name was probably meant to be, or "".
func near(name string, candidates []string) string {
	best, bestDistance := "", len(name)/3+2
	for _, c := range candidates {
		d := distance(name, c)
		if len(name) >= 3 && (strings.HasPrefix(c, name) || strings.HasPrefix(name, c)) {
			d = min(d, 1)
		}
		if d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// distance is the number of edits (Levenshtein, and a swap of neighbours counts one)
// between two short strings.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return max(len(a), len(b))
	}
	var two, one []int // the rows before the current one
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		two, one, row = one, row, make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(one[j]+1, row[j-1]+1, one[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], two[j-2]+1)
			}
		}
	}
	return row[len(b)]
}

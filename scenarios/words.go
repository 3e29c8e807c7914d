package scenarios

import (
	"slices"

	"github.com/rollout-lab/rollout-lab/internal/spelling"
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
	if meant := spelling.Nearest(word, candidates); meant != "" {
		return meant, "did you mean " + quote(meant) + "?"
	}
	return "", "one of: " + quoteAll(candidates)
}

// didYouMean is the hint of suggest alone.
func didYouMean(word string, candidates []string) string {
	_, hint := suggest(word, candidates)
	return hint
}

package reports

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/metric"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/reports/format"
)

// shownGates are those that people are told of and that are counted: what the scenario asks for, and
// of what nobody has asked for what was missed. What such a one lacks is said as evidence.
func shownGates(run *judge.Run) []judge.GateResult {
	return slices.DeleteFunc(slices.Clone(run.Gates), func(g judge.GateResult) bool { return g.Implicit && g.Verdict != judge.Fail })
}

// gateTally says how many gates came out how.
func gateTally(run *judge.Run) string {
	tally := map[judge.Verdict]int{}
	for _, g := range shownGates(run) {
		tally[g.Verdict]++
	}
	s := fmt.Sprintf("%d passed, %d missed, %d inconclusive", tally[judge.Pass], tally[judge.Fail], tally[judge.Inconclusive])
	if n := tally[judge.Warned]; n > 0 {
		s += fmt.Sprintf(", %d warned", n)
	}
	return s
}

// gateText says what a gate asked for, what was observed and why it was judged so.
func gateText(g judge.GateResult) string {
	s := gateLimit(g.Gate) + ": "
	if g.Gate.Metric != metric.Completed { // what was observed is all there is to say of that
		s += "observed " + observed(g)
		if g.Why.Kind != "" {
			s += "; "
		}
	}
	if g.Why.Kind != "" {
		s += format.Clean(Sentence(g.Why))
	}
	return s
}

// gateLimit is what a gate asks for.
func gateLimit(g record.Gate) string {
	s := g.Metric
	if g.Stream != "" {
		s += " of " + g.Stream
	}
	switch {
	case g.Against != "" && g.Margin > 0:
		s += " against " + g.Against + ", margin " + format.Exactly(format.InMillis(g.Margin))
	case g.Against != "":
		s += fmt.Sprintf(" against %s, margin %s or %s", g.Against, format.Exactly(judge.MarginTime), format.Tenths(100*judge.MarginShare)+" %")
	case g.Metric != metric.Completed:
		s += " " + g.Op + " " + limit(limitUnit(g), g.Limit)
	}
	return format.Clean(s)
}

// limitUnit is the unit of a gate's limit, and of what is held against it.
func limitUnit(g record.Gate) metric.Unit {
	if g.Share {
		return metric.Share
	}
	return unitOf(g.Metric)
}

// observed prints what a gate was held against.
func observed(g judge.GateResult) string {
	switch {
	case g.NoValue:
		return "no value"
	case g.Gate.Metric == metric.Completed && g.Observed == 1:
		return "yes"
	case g.Gate.Metric == metric.Completed:
		return "no"
	case g.Gate.Against != "":
		return moreOrLess(g.Observed) + " (" + measuredRange(g.Gate.Metric, g.Lo, g.Hi) + ")"
	}
	s := measuredIn(g.Gate, g.Observed)
	if g.HasInterval {
		s += " (" + measuredRange(g.Gate.Metric, g.Lo, g.Hi) + ")"
	}
	return s
}

// measuredIn prints a value that a gate's limit is held against: a share of what failed never
// smaller than it is.
func measuredIn(g record.Gate, v float64) string {
	if g.Share {
		return format.RateUp(v)
	}
	return measured(g.Metric, v)
}

// moreOrLess prints a difference, in milliseconds.
func moreOrLess(ms float64) string {
	switch {
	case ms > 0:
		return format.MillisOutward(ms, true) + " more"
	case ms < 0:
		return format.MillisOutward(-ms, false) + " less"
	}
	return "no more and no less"
}

// thanWith is what a comparison's metric is compared with.
func thanWith(name string) string {
	if name == record.PastRuns {
		return "in the " + record.PastRuns
	}
	return "with " + name
}

// compared is who is compared with whom, of a reason of a comparison: downtime of pr.
func compared(r judge.Reason) string { return name(r, 2) + " of " + name(r, 0) }

// isLikely says how likely it is that nothing but chance makes one look worse.
func isLikely(r judge.Reason) string {
	if p := probability(r.P); strings.HasPrefix(p, "<") {
		return "p " + p
	}
	return "p = " + probability(r.P)
}

// worse says by how much one is surely worse; what never happens any more is so by no number.
func worse(r judge.Reason) string {
	if math.IsInf(r.Lo, 1) {
		return fmt.Sprintf("%s is without end, which it is not %s (%s)", compared(r), thanWith(name(r, 1)), isLikely(r))
	}
	return fmt.Sprintf("%s is at least %s more than %s, which exceeds the margin of %s (%s)",
		compared(r), format.MillisOutward(r.Lo, false), thanWith(name(r, 1)), format.Millis(r.Value), isLikely(r))
}

// upTo says by how much one may be worse.
func upTo(ms float64) string {
	if math.IsInf(ms, 1) {
		return "without end"
	}
	return "by up to " + format.MillisOutward(ms, true)
}

// changes says what is not as it was.
func changes(differs []record.Difference) string {
	var parts []string
	for _, d := range differs {
		was, is := d.Was, d.Is
		if was == "" {
			was = "not set"
		}
		if is == "" {
			is = "not set"
		}
		parts = append(parts, fmt.Sprintf("%s was %s and is %s", d.Field, was, is))
	}
	return strings.Join(parts, ", ")
}

// environmental reports whether all that differs is the environment.
func environmental(differs []record.Difference) bool {
	return !slices.ContainsFunc(differs, func(d record.Difference) bool { return !strings.HasPrefix(d.Field, record.EnvironmentField) })
}

// decided are the gates that a run passed by: those that its scenario asks for, and that do
// more than warn.
func decided(run *judge.Run) []judge.GateResult {
	return slices.DeleteFunc(shownGates(run), func(g judge.GateResult) bool { return g.Implicit || g.Gate.Warn })
}

// gateWord is the verdict of a gate.
func gateWord(v judge.Verdict) string {
	switch v {
	case judge.Pass:
		return "✓ passed"
	case judge.Fail:
		return "✗ missed"
	case judge.Warned:
		return "! warned"
	}
	return "? undecided"
}

// comparisonWord is what a comparison came to: where no gate asks for it, it informs.
func comparisonWord(c judge.Comparison) string {
	if c.Gated {
		return gateWord(c.Verdict)
	}
	switch c.Verdict {
	case judge.Pass:
		return "no worse"
	case judge.Fail:
		return "worse"
	}
	return "not clear"
}

// comparisonClass is that of its cell in a table; what only informs has none.
func comparisonClass(c judge.Comparison) judge.Verdict {
	if c.Gated {
		return verdictClass(c.Verdict)
	}
	return ""
}

package reports

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/metric"
	"github.com/rollout-lab/rollout-lab/internal/timeline"
	"github.com/rollout-lab/rollout-lab/reports/format"
)

// trialColumn is a metric in the table of trials.
type trialColumn struct {
	ID, Label string
	text      func(t *judge.Trial) string
}

// trialColumns are all metrics but the latencies, which have a table of their own, and what
// belongs to the intermittent failures, which is said with them.
func trialColumns() []trialColumn {
	var columns []trialColumn
	for _, m := range metric.All() {
		if strings.HasPrefix(m.Name, "latency_") || strings.HasPrefix(m.Name, "intermittent_") {
			continue
		}
		c := trialColumn{m.Name, m.Words, trialTexts[m.Name]}
		if c.text == nil {
			c.text = func(t *judge.Trial) string { return value(t, m.Name) }
		}
		if strings.HasPrefix(m.Name, "bins_") {
			c.Label += ": " + widths()
		}
		columns = append(columns, c)
	}
	return columns
}

// trialTexts are the metrics of which a trial says more than the value.
var trialTexts = map[string]func(t *judge.Trial) string{
	metric.SuccessRate:   func(t *judge.Trial) string { return format.Share(t.OK, t.Planned) },
	"failed":             func(t *judge.Trial) string { return format.Lost(t.Failed, t.Planned) },
	metric.LongestOutage: func(t *judge.Trial) string { return outageText(t) + bracket(t) },
	"bins_down":          func(t *judge.Trial) string { return byBin(t.Down) },
	"bins_degraded":      func(t *judge.Trial) string { return byBin(t.Degraded) },
	metric.Intermittent:  intermittent,
	metric.Recovery:      trialRecovery,
	metric.Breaches:      func(t *judge.Trial) string { return format.Count(t.Breaches) + " of " + format.Count(t.Denials) },
}

// intermittent says how long requests failed again and again, how many of them, how often and
// from how many instances.
func intermittent(t *judge.Trial) string {
	text, i := value(t, metric.Intermittent), t.Intermittent
	if i.Total == 0 {
		return text
	}
	text += ": " + format.RateUp(float64(i.Failures)/float64(i.Planned)) + " of requests, every " + format.Span(i.Period)
	if i.Instances > 0 {
		text += ", from " + format.Plural(i.Instances, "instance", "instances")
	}
	return text
}

// Outcome is a trial in one line, for who waits for the next one. Text from outside is
// stripped of control characters.
func Outcome(t *judge.Trial) string {
	if len(t.Failures) > 0 {
		return "failed: " + format.Clean(strings.Join(Sentences(t.Failures), "; "))
	}
	if !t.Valid {
		return "invalid: " + format.Clean(strings.Join(Sentences(t.InvalidReasons), "; "))
	}
	return lossOf(t)
}

// lossOf is what a trial lost.
func lossOf(t *judge.Trial) string {
	text := format.Lost(t.Failed, t.Planned)
	if t.Failed > 0 {
		text += ", downtime " + format.Span(t.Downtime)
	}
	if len(t.Causes) > 0 {
		text += fmt.Sprintf(", %s: %s", causeLabel(t.Causes[0].Cause), format.Count(t.Causes[0].Count))
	}
	return text
}

// value is a metric of a trial, a dash where it has none.
func value(t *judge.Trial, name string) string {
	v, ok := t.Value(name)
	if !ok {
		return "–"
	}
	return measured(name, v)
}

func outageText(t *judge.Trial) string {
	if t.LongestOutage.Failures == 0 && t.LongestOutage.Len() == 0 {
		return "none"
	}
	if t.LongestOutage.Open {
		return "at least " + format.Span(t.LongestOutage.Len())
	}
	return format.Span(t.LongestOutage.Len())
}

// bracket says between which requests the longest outage lies, "" where there was none.
func bracket(t *judge.Trial) string {
	o := t.LongestOutage
	if o.Failures == 0 {
		return ""
	}
	last := "none before"
	if o.LastOK >= 0 {
		last = format.Offset(o.LastOK-t.Window.From) + " s"
	}
	return fmt.Sprintf(" (last ok %s, from %s to %s s)", last, format.Offset(o.From-t.Window.From), format.Offset(o.To-t.Window.From))
}

// trialRecovery says that a trial was never disturbed only if nothing failed in it.
func trialRecovery(t *judge.Trial) string {
	switch {
	case t.Recovery == nil:
		return "not seen"
	case *t.Recovery == 0 && t.Failed == 0:
		return "at once"
	}
	return format.Span(*t.Recovery)
}

// widths names the widths of the bins.
func widths() string {
	names := make([]string, len(timeline.Widths))
	for i, width := range timeline.Widths {
		names[i] = format.Span(width)
	}
	return strings.Join(names, " / ")
}

// byBin prints a time at every width of the bins.
func byBin(m map[time.Duration]time.Duration) string {
	var parts []string
	for _, width := range timeline.Widths {
		if d, ok := m[width]; ok {
			parts = append(parts, format.Span(d))
		}
	}
	if len(parts) == 0 {
		return "no data"
	}
	return strings.Join(parts, " / ")
}

// ownReasons are those that do not only follow from an interrupt: what was never sent, nor asked
// by anybody else, disagrees with nothing.
func ownReasons(reasons []judge.Reason) []judge.Reason {
	if len(ofKind(reasons, judge.TrialInterrupted)) == 0 {
		return reasons
	}
	return slices.Concat(ofKind(reasons, judge.TrialInterrupted), ofKind(reasons, judge.LoadIncomplete))
}

// invalidity is why a trial is invalid, and which one took its place.
func invalidity(c *judge.Cell, t *judge.Trial) string {
	reasons := t.InvalidReasons
	if r, ok := c.NotMadeUp(t); ok {
		reasons = append(slices.Clone(reasons), r)
	}
	why := format.Clean(strings.Join(Sentences(ownReasons(reasons)), "; "))
	if why == "" {
		why = "no reason given"
	}
	if ways := remedies(reasons, &t.Meta); len(ways) > 0 {
		why += "; try " + strings.Join(ways, " ")
	}
	var repeats []string
	for i := range c.Trials {
		if c.Trials[i].Meta.Repeats == t.Meta.N && t.Meta.N != 0 {
			repeats = append(repeats, fmt.Sprint(c.Trials[i].Meta.N))
		}
	}
	switch len(repeats) {
	case 0:
		return why
	case 1:
		return why + " (repeated as trial " + repeats[0] + ")"
	}
	return why + " (repeated as trials " + enumerated(repeats) + ")"
}

package reports

import (
	"fmt"
	"slices"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/metric"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/reports/format"
)

// commitLabel is the label that says which commit was tested.
const commitLabel = "commit"

// Past is what a cell's valid trials have to be compared by, once they are in the past. One in
// which the target failed is none of them: it shows nothing that a run should be like.
func (d *Document) Past(c *Cell) []record.PastTrial {
	all := []record.PastTrial{}
	rate := 0.0
	for _, s := range d.Scenarios {
		if s.Name == c.Scenario {
			rate = s.Rate
		}
	}
	for i := range c.Trials {
		if t := &c.Trials[i]; t.Outcome == judge.OutcomeValid {
			all = append(all, record.PastTrial{RunID: d.RunID, N: t.N, Started: d.Started, Commit: d.Labels[commitLabel],
				Fingerprint: d.Environment.Fingerprint, Values: t.past(rate)})
		}
	}
	return all
}

// past are the trial's values of the metrics that can be compared.
func (t *Trial) past(rate float64) map[string]*float64 {
	values := map[string]*float64{}
	for _, m := range metric.All() {
		if !m.Comparable() || slices.Contains(t.Absent, m.Name) {
			continue
		}
		values[m.Name] = nil
		if v, ok := t.Metrics[m.Name]; ok {
			values[m.Name] = &v
		}
	}
	if p := t.LatencyMS; p != nil {
		for of, v := range map[string]Milliseconds{"p50": p.P50, "p90": p.P90, "p99": p.P99, "p999": p.P999, "max": p.Max} {
			values["latency_"+of] = new(format.InMillis(time.Duration(v)))
		}
	}
	for _, s := range t.Streams {
		if own := rate * float64(s.Planned) / float64(max(t.Planned, 1)); own > 0 {
			lost := time.Duration(float64(s.Planned-s.OK) / own * float64(time.Second))
			values[record.ValueKey(metric.Downtime, s.Name)] = new(format.InMillis(lost))
		}
	}
	return values
}

// newBaseline is what a run was held against, nil where that was nothing.
func newBaseline(r *record.Run) *PastRuns {
	b := r.Baseline
	if b == nil {
		return nil
	}
	out := &PastRuns{File: b.File, Missing: b.Missing, DifferentEnvironment: b.AnyEnvironment, Differs: []string{}}
	var newest record.PastTrial
	for _, c := range b.Cells {
		out.Trials += len(c.Trials)
		for _, t := range c.Trials {
			if t.Started >= newest.Started {
				newest = t
			}
		}
		for _, d := range c.Differs {
			if !slices.Contains(out.Differs, d.Field) {
				out.Differs = append(out.Differs, d.Field)
			}
		}
	}
	out.Commit, out.Fingerprint = newest.Commit, newest.Fingerprint
	then, err := time.Parse(time.RFC3339, newest.Started)
	now, nowErr := time.Parse(time.RFC3339, r.Started)
	if err == nil && nowErr == nil {
		out.AgeDays = finite(max(now.Sub(then), 0).Hours() / 24)
	}
	return out
}

// baselineText says in a line what a run was held against, "" where that was nothing.
func baselineText(r *record.Run) string {
	b := newBaseline(r)
	switch {
	case b == nil:
		return ""
	case b.Missing != "":
		return format.Clean(b.File + ": " + b.Missing)
	}
	s := fmt.Sprintf("%s, %s", b.File, format.Plural(b.Trials, "trial", "trials"))
	if b.Commit != "" {
		s += " up to commit " + format.Shorten(b.Commit, 12)
	}
	if b.AgeDays != nil {
		s += fmt.Sprintf(", the newest %s days old", format.Tenths(*b.AgeDays))
	}
	if b.Fingerprint != "" {
		s += ", environment " + b.Fingerprint
	}
	if b.DifferentEnvironment {
		s += ", whatever the environment"
	}
	return format.Clean(s)
}

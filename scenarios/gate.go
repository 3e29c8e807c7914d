package scenarios

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/metric"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/internal/spelling"
)

// gate reads a gate, which has a limit or something that it is held against, and not both.
func (d *decoder) gate(n *node, path string, to *Gate) {
	d.fields(n, path, reflect.ValueOf(to).Elem())
	if n.kind != mapping {
		return
	}
	if n.get("against") == nil {
		for _, key := range []string{"limit", "op"} { // one problem is enough
			if n.get(key) == nil && !misspelt(n, key) {
				d.problem(n.line, n.column, join(path, key)+" is missing", "op and limit, or against: DESIGN or "+record.PastRuns)
				break
			}
		}
		if e := n.entry("margin"); e != nil {
			d.problem(e.line, e.column, join(path, "margin")+" is for against", "put it into the limit")
		}
		return
	}
	if e := n.entry("margin"); e != nil {
		if v, err := time.ParseDuration(e.value.value); err == nil && v == 0 {
			d.problem(e.value.line, e.value.column, join(path, "margin")+" must be longer than 0s", "without it, it is 50 ms, or 20 % if that is more")
		}
	}
	for _, key := range []string{"op", "limit"} {
		if e := n.entry(key); e != nil {
			d.problem(e.line, e.column, join(path, key)+" means nothing with against", "margin says how much more is no matter; a limit is a gate of its own")
		}
	}
}

// misspelt reports whether a mapping has a key that was probably meant to be this one.
func misspelt(n *node, key string) bool {
	return slices.ContainsFunc(n.fields, func(e entry) bool { return spelling.Nearest(e.key, []string{key}) != "" })
}

func (s *Scenario) checkGates(report report) {
	names := namesOf(s.Designs)
	for i, g := range s.Gates {
		path := fmt.Sprintf("gates[%d]", i)
		if !slices.Contains(names, g.Design) {
			report(join(path, "design"), "the gate is for design "+quote(g.Design)+", which the scenario does not run", didYouMean(g.Design, names))
		}
		same := func(o Gate) bool {
			return o.Design == g.Design && o.Metric == g.Metric && o.Op == g.Op && o.Against == g.Against && o.Stream == g.Stream && o.Level == g.Level
		}
		if slices.ContainsFunc(s.Gates[:i], same) {
			what := g.Metric + " " + g.Op
			if g.Against != "" {
				what = g.Metric + " against " + g.Against
			}
			report(path, fmt.Sprintf("a second limit on %s of design %s", what, quote(g.Design)), "remove one of them")
		}
		s.checkStream(g, path, report)
		if g.Against != "" {
			s.checkAgainst(g, path, names, report)
		}
	}
}

// checkStream refuses a gate on a stream that there is not, or of which the metric says nothing.
func (s *Scenario) checkStream(g Gate, path string, report report) {
	m, known := metric.ByName(g.Metric)
	if g.Stream == "" || !known {
		return
	}
	var streams, able []string
	for _, name := range stringKeys(reflect.ValueOf(s.Load.Streams)) {
		if s.Load.Streams[name] > 0 {
			streams = append(streams, name)
		}
	}
	for _, m := range metric.All() {
		if m.ByStream {
			able = append(able, m.Name)
		}
	}
	if !slices.Contains(streams, g.Stream) {
		report(join(path, "stream"), "the load has no stream "+quote(g.Stream), didYouMean(g.Stream, streams))
	}
	if !m.ByStream {
		report(join(path, "stream"), m.Name+" is known of all requests together, not of one stream", "metric: "+strings.Join(able, " or "))
	}
}

// leastCompared is how many trials of each of two designs can tell them apart at all: of fewer
// no exact test is sure. Three against three reach a p of 0.05 and no less, which is not enough
// where several looks share that.
func leastCompared(r record.TrialRange) int {
	if r.Open() {
		return 4
	}
	return 3
}

func (s *Scenario) checkAgainst(g Gate, path string, designs []string, report report) {
	m, known := metric.ByName(g.Metric)
	others := slices.DeleteFunc(append(slices.Clone(designs), record.PastRuns), func(name string) bool { return name == g.Design })
	switch {
	case g.Against == record.PastRuns && slices.Contains(designs, record.PastRuns):
		report(join(path, "against"), quote(record.PastRuns)+" are the earlier runs of --baseline, and a design is called so, too", "call the design another name")
	case g.Against == g.Design:
		report(join(path, "against"), "design "+quote(g.Design)+" is held against itself", "another design, or against: "+record.PastRuns)
	case !slices.Contains(others, g.Against):
		report(join(path, "against"), "the gate is against "+quote(g.Against)+", which is no design of the scenario", didYouMean(g.Against, others))
	case g.Against != record.PastRuns && s.Trials.Most < leastCompared(s.Trials):
		report(join(path, "against"), fmt.Sprintf("%s against %s cannot be decided: %d trials of each tell nothing apart", g.Metric, g.Against, s.Trials.Most),
			fmt.Sprintf("trials: %d or more", leastCompared(s.Trials)))
	}
	if known && !m.Comparable() {
		report(join(path, "metric"), m.Name+" cannot be compared: against is for times of which less is better", "metric: "+metric.Downtime+", which is the failed requests divided by the rate")
	}
}

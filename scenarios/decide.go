package scenarios

import (
	"fmt"
	"math"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/metric"
)

// checkDecidable refuses limits that the window or the rate cannot decide: a gate that is
// missed whatever the design does says nothing about it.
func (s *Scenario) checkDecidable(report report) {
	window := s.Phases.Window.To - s.Phases.Window.From
	for i, g := range s.Gates {
		m, known := metric.ByName(g.Metric)
		if !known || g.Against != "" {
			continue
		}
		path := fmt.Sprintf("gates[%d]", i)
		if s.checkPossible(m, g, path, report); g.Op != "<=" {
			continue
		}
		limit := time.Duration(g.limit() * float64(time.Millisecond))
		period := time.Duration(float64(time.Second) / s.Load.Rate)
		switch {
		case s.Load.Rate < m.Rate:
			report(join(path, "metric"), fmt.Sprintf("%s cannot be seen at %v requests a second: every second must have %v", m.Name, s.Load.Rate, m.Rate),
				fmt.Sprintf("load.rate: %v or more", m.Rate))
		case m.Behind > 0 && window < limit+m.Behind:
			hint := fmt.Sprintf("phases.window.to: %v or later", s.Phases.Window.From+limit+m.Behind)
			if window > m.Behind {
				hint += fmt.Sprintf(", or a limit of %v or less", window-m.Behind)
			}
			report(join(path, "limit"), fmt.Sprintf("%s of %v cannot be seen in a window of %v: it must hold for %v behind that", m.Name, limit, window, m.Behind), hint)
		case m.Bin > 0 && period > m.Bin && limit > 0 && limit < period:
			report(join(path, "limit"), fmt.Sprintf("%s of %v cannot be told at %v requests a second: one lost request is a bin of %v", m.Name, limit, s.Load.Rate, period.Round(time.Millisecond)),
				fmt.Sprintf("load.rate: %.4g or more, or a limit of %v or more", math.Ceil(1/max(limit, m.Bin).Seconds()), (period+time.Millisecond-1).Truncate(time.Millisecond)))
		}
	}
}

// checkPossible refuses limits that no trial can miss, or none can meet, whatever the design
// does.
func (s *Scenario) checkPossible(m metric.Metric, g Gate, path string, report report) {
	limit := g.limit()
	atMost := g.Op == "<="
	most, bounded := s.most(m)
	if g.Share {
		most = 1
	}
	switch {
	case m.Name == metric.Completed && (g.Op != ">=" || limit != 1):
		report(join(path, "limit"), "completed is 1 or 0, and what must hold is that it is 1", "op: \">=\", limit: 1")
	case m.Name == metric.Completed && s.Action.Kind == None:
		report(join(path, "metric"), "with kind: none there is nothing to complete", "name an action, or remove the gate")
	case m.Name == metric.Breaches && s.Load.Deny == 0:
		report(join(path, "metric"), "nothing can be breached: no request has to be denied", "load.deny: 2%, or remove the gate")
	case m.Name == metric.Convergence && s.Action.Kind == None:
		report(join(path, "metric"), "convergence is that of an action, and with kind: none there is nothing to complete", "name an action, or remove the gate")
	case m.Pooling == metric.Rate:
		s.checkRate(m, g, path, report)
	case !atMost && limit == 0:
		report(join(path, "limit"), fmt.Sprintf("%s >= %s cannot be missed: it is never less", m.Name, limitText(m, g, limit)), "a higher limit, or op: <=")
	case bounded && atMost && limit >= most:
		report(join(path, "limit"), fmt.Sprintf("%s <= %s cannot be missed: it is never more than %s", m.Name, limitText(m, g, limit), limitText(m, g, most)), "a lower limit")
	case bounded && !atMost && limit > most:
		report(join(path, "limit"), fmt.Sprintf("%s >= %s cannot be met: it is never more than %s", m.Name, limitText(m, g, limit), limitText(m, g, most)), "a lower limit")
	}
}

// maxTrials is the most trials that a scenario may ask for.
const maxTrials = 100

// checkRate refuses limits on a pooled rate that so many requests cannot decide. A lower limit
// is met, and an upper one missed, by requests that were all ok, at best.
func (s *Scenario) checkRate(m metric.Metric, g Gate, path string, report report) {
	limit := g.limit()
	n := s.ofStream(g.Stream) * uint64(s.Trials.Most)
	if n == 0 {
		return // reported already
	}
	alpha := metric.AlphaAt(s.Trials.Most, s.Trials.Least, s.Trials.Most)
	sure := math.Pow(alpha, 1/float64(n)) // the lower bound where all are ok; 1-sure is the upper one where none is
	switch {
	case g.Op == ">=" && limit > sure:
		hint := "a lower limit, or metric: failed, op: <=, limit: 0"
		if limit < 1 {
			needed := math.Ceil(math.Log(alpha) / math.Log(limit))
			hint = fmt.Sprintf("%.0f requests would do: a longer window, a higher load.rate", needed)
			if trials := math.Ceil(needed / float64(s.ofStream(g.Stream))); trials <= maxTrials {
				hint += fmt.Sprintf(", trials: %.0f", trials)
			}
			hint += "; or a lower limit"
		}
		report(join(path, "limit"), fmt.Sprintf("%s >= %s cannot be met: %d requests that are all ok are %s sure of no more than %s", m.Name, limitText(m, g, limit), n, confidence(alpha), cutPercent(sure)), hint)
	case g.Op == "<=" && limit < 1-sure:
		report(join(path, "limit"), fmt.Sprintf("%s <= %s cannot be met: %d requests of which none is ok are %s sure of no less than %s", m.Name, limitText(m, g, limit), n, confidence(alpha), raisedPercent(1-sure)), "a higher limit")
	case g.Op == ">=" && limit <= 1-sure:
		report(join(path, "limit"), fmt.Sprintf("%s >= %s cannot be missed, not by %d requests of which none is ok", m.Name, limitText(m, g, limit), n), "a higher limit")
	case g.Op == "<=" && limit >= sure:
		report(join(path, "limit"), fmt.Sprintf("%s <= %s cannot be missed, not by %d requests that are all ok", m.Name, limitText(m, g, limit), n), "a lower limit, or op: >=")
	}
}

// inWindow is how many requests a trial plans in its window.
func (s *Scenario) inWindow() uint64 {
	w := s.Phases.Window
	return hits(s.Load.Rate, w.To) - hits(s.Load.Rate, w.From)
}

// ofStream is how many of them are a stream's, or how many there are.
func (s *Scenario) ofStream(stream string) uint64 {
	if stream == "" {
		return s.inWindow()
	}
	all := 0
	for _, weight := range s.Load.Streams {
		all += weight
	}
	return s.inWindow() * uint64(s.Load.Streams[stream]) / uint64(max(all, 1))
}

// most is the most that a trial can show of a metric, in the metric's unit, where the window and
// the rate say so: of metrics that have a value in every trial, or count as 0. What the action
// cuts under way counts too, and is one timeout old at most.
func (s *Scenario) most(m metric.Metric) (most float64, ok bool) {
	w := s.Phases.Window
	window, timeout := w.To-w.From, s.Load.Timeout
	inMillis := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	switch m.Name {
	case "failed":
		return float64(s.inWindow()) + math.Ceil(s.Load.Rate*timeout.Seconds()), true
	case metric.Downtime:
		return inMillis(window + timeout), true
	case metric.LongestOutage: // it may last until the load ends
		return inMillis(s.Length() - w.From + timeout), true
	case "bins_down", "bins_degraded", "intermittent":
		return inMillis(window), true
	case "warm_up_failures":
		return float64(hits(s.Load.Rate, s.Phases.Baseline.From)), true
	}
	return 1, m.Unit == metric.Share
}

// limitText is a limit as it is written.
func limitText(m metric.Metric, g Gate, v float64) string {
	switch {
	case m.Unit == metric.Share || g.Share:
		return percent(v)
	case m.Unit == metric.Duration:
		return time.Duration(v * float64(time.Millisecond)).String()
	}
	return fmt.Sprintf("%.0f", v)
}

// confidence is how sure bounds are, as people say it.
func confidence(alpha float64) string { return fmt.Sprintf("%.4g %%", 100*(1-alpha)) }

func percent(share float64) string { return fmt.Sprintf("%.10g%%", 100*share) }

// cutPercent and raisedPercent round to what is not more, and not less, sure.
func cutPercent(share float64) string    { return percent(math.Floor(share*1e6) / 1e6) }
func raisedPercent(share float64) string { return percent(math.Ceil(share*1e6) / 1e6) }

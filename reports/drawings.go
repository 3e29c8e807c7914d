package reports

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/reports/format"
	"github.com/rollout-lab/rollout-lab/reports/picture"
	"github.com/rollout-lab/rollout-lab/reports/svg"
)

// chosen is a trial that is drawn.
type chosen struct {
	cell  *judge.Cell
	trial *judge.Trial
}

// firstTrials are the first valid trial of each cell, or its first one when none is valid.
func firstTrials(cells []*judge.Cell) []chosen {
	var out []chosen
	for _, c := range cells {
		if i := firstTrial(c); i >= 0 {
			out = append(out, chosen{c, &c.Trials[i]})
		}
	}
	return out
}

func firstTrial(c *judge.Cell) int {
	if i := slices.IndexFunc(c.Trials, func(t judge.Trial) bool { return t.Valid }); i >= 0 {
		return i
	}
	return min(0, len(c.Trials)-1)
}

// zero is the start of the action, where the axis has its 0.
func (c chosen) zero() time.Duration {
	if c.trial.Window.From != 0 || c.trial.Window.To != 0 {
		return c.trial.Window.From
	}
	return c.trial.Meta.WindowFrom
}

// draw draws trials of one scenario on one driver; there is at least one.
func draw(trials []chosen, l picture.Layout, data bool) svg.Image {
	var shown []picture.Trial
	var about []string
	for _, c := range trials {
		shown = append(shown, picture.Trial{Name: format.Clean(c.cell.Design), Summary: c.summary(), Action: format.Clean(c.cell.Action),
			Timeline: &c.trial.Timeline, Zero: c.zero()})
		about = append(about, c.about())
	}
	m := trials[0].trial.Meta
	title := format.Clean(fmt.Sprintf("%s on %s: %s under %s requests a second", m.Scenario, m.Driver, actionName(m.Action), format.TrimZeros(fmt.Sprintf("%.1f", m.Rate))))
	return picture.Timeline(title, strings.Join(about, ". ")+".", shown, l, data)
}

func actionName(a string) string {
	if a == "none" || a == "" {
		return "no action"
	}
	return a
}

// summary is what became of a trial, in lines that stand beside its picture.
func (c chosen) summary() []string {
	t := c.trial
	lines := []string{"no data"}
	if t.Planned > 0 {
		lines = []string{format.Share(t.OK, t.Planned) + " ok", format.Lost(t.Failed, t.Planned)}
	}
	var worse []string
	if t.Failed > 0 {
		worse = append(worse, "outage "+outageText(t))
	}
	if t.Breaches > 0 {
		worse = append(worse, format.Plural(int(min(t.Breaches, math.MaxInt32)), "breach", "breaches"))
	}
	if len(worse) > 0 {
		lines = append(lines, strings.Join(worse, ", "))
	}
	if !t.Valid {
		lines = append([]string{"invalid trial"}, lines...)
	}
	return lines
}

// about says in words what the picture of a trial shows, for those who cannot see it.
func (c chosen) about() string {
	t := c.trial
	s := fmt.Sprintf("%s, trial %d: %s", format.Clean(c.cell.Design), t.Meta.N, format.Lost(t.Failed, t.Planned))
	if t.LongestOutage.Failures > 0 {
		s += ", longest outage " + outageText(t)
	}
	if t.FalseReady > 0 {
		s += ", instances called ready while they could not serve for " + format.Span(t.FalseReady) + " in all"
	}
	return s
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

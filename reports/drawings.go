package reports

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/reports/format"
	"github.com/rollout-lab/rollout-lab/reports/picture"
	"github.com/rollout-lab/rollout-lab/reports/svg"
)

// WriteTimelineSVG writes the timeline picture as an SVG file of its own. keys name the
// cells to draw, one under the other; without any, those of the first scenario and driver
// are drawn. Each cell shows its first valid trial.
func WriteTimelineSVG(w io.Writer, run *judge.Run, keys ...string) error {
	var cells []*judge.Cell
	for _, key := range keys {
		c := cellOf(run, key)
		if c == nil {
			return fmt.Errorf("write timeline: the run has no cell %q", key)
		}
		cells = append(cells, c)
	}
	if gs := groups(run); len(keys) == 0 && len(gs) > 0 {
		cells = gs[0].Cells
	}
	trials := firstTrials(cells)
	if len(trials) == 0 {
		return fmt.Errorf("write timeline: no trial to draw in %d cells", len(cells))
	}
	if _, err := io.WriteString(w, draw(trials, picture.Alone(600), false).String()); err != nil {
		return fmt.Errorf("write timeline: %w", err)
	}
	return nil
}

// chosen is a trial that is drawn.
type chosen struct {
	Cell  *judge.Cell
	Trial *judge.Trial
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
	if c.Trial.Window.From != 0 || c.Trial.Window.To != 0 {
		return c.Trial.Window.From
	}
	return c.Trial.Meta.WindowFrom
}

// draw draws trials of one scenario on one driver; there is at least one.
func draw(trials []chosen, l picture.Layout, data bool) svg.Image {
	var shown []picture.Trial
	var about []string
	for _, c := range trials {
		action := format.Clean(c.Cell.Action)
		if action == record.NoAction {
			action = "" // nothing begins there but the window
		}
		shown = append(shown, picture.Trial{Name: format.Clean(c.Cell.Design), Summary: c.summary(), Action: action,
			Timeline: &c.Trial.Timeline, Zero: c.zero()})
		about = append(about, c.about())
	}
	m := trials[0].Trial.Meta
	title := format.Clean(fmt.Sprintf("%s on %s: %s under %s requests a second", m.Scenario, m.Driver, actionName(m.Action), format.TrimZeros(fmt.Sprintf("%.1f", m.Rate))))
	return picture.Timeline(title, strings.Join(about, ". ")+".", shown, l, data)
}

// summary is what became of a trial, in at most four lines that stand beside its picture.
func (c chosen) summary() []string {
	t := c.Trial
	lines := []string{"no data"}
	if t.Planned > 0 {
		lines = []string{format.Share(t.OK, t.Planned) + " ok", format.Lost(t.Failed, t.Planned)}
	}
	switch {
	case len(t.Failures) > 0:
		lines[0] = "target failed, " + lines[0]
	case !t.Valid:
		lines[0] = "invalid, " + lines[0]
	}
	if t.Failed > 0 {
		lines = append(lines, "outage "+outageText(t))
	}
	if t.Breaches > 0 {
		lines = append(lines, format.Plural(int(min(t.Breaches, math.MaxInt32)), "breach", "breaches"))
	}
	return lines
}

// about says in words what the picture of a trial shows, for those who cannot see it.
func (c chosen) about() string {
	t := c.Trial
	s := fmt.Sprintf("%s, trial %d: %s", format.Clean(c.Cell.Design), t.Meta.N, format.Lost(t.Failed, t.Planned))
	if len(t.Failures) > 0 {
		s += ", the target failed"
	}
	if t.LongestOutage.Failures > 0 {
		s += ", longest outage " + outageText(t)
	}
	if t.FalseReady > 0 {
		s += ", instances called ready while they could not serve for " + format.Span(t.FalseReady) + " in all"
	}
	return s
}

package reports

import (
	"fmt"
	"html/template"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/timeline"
	"github.com/rollout-lab/rollout-lab/reports/format"
	"github.com/rollout-lab/rollout-lab/reports/picture"
	"github.com/rollout-lab/rollout-lab/reports/svg"
)

// pageGroup is what every section of the page shows of one scenario on one driver.
type pageGroup struct {
	ID, Title, Action string
	Designs           []designHead
	Rows              []matrixLine
	Main              *pictured
	Others            []pictured
	Dots              template.HTML
	Trials            []trialRow
	Errors            []errorRow
	VoidErrors        []voidRow
	Streams           []streamRow
	Instances         []instanceRow
	MoreInstances     int
	SentToUnready     [][2]string // design, requests sent to instances that could not serve
	Notes             [][2]string // design, where something else was deployed than was asked for
	Latency           []latencyRow
}

type designHead struct{ Name, Tag string }

type matrixLine struct {
	Label, Def string
	Lead       bool
	Cells      []matrixCell
}

type matrixCell struct {
	Value, Note string
	Bad         bool
	Bar         *bar
}

// bar is a share out of 100, drawn; a loss is never thinner than one.
type bar struct{ Part, Hole string }

// routing is how requests found instances on a driver, as its trials have recorded it.
type routing struct {
	Driver, Text string
	Def          string // ID of the definition, where the balancer was the lab's own
}

func routings(run *judge.Run) []routing {
	var out []routing
	for i := range run.Cells {
		c := &run.Cells[i]
		for k := range c.Trials {
			meta := &c.Trials[k].Meta
			r := routing{Driver: format.Clean(c.Driver), Text: format.Clean(meta.Routing)}
			if meta.LabBalancer {
				r.Def = balancerDefinition
			}
			if (r.Text != "" || r.Def != "") && !slices.Contains(out, r) {
				out = append(out, r)
			}
		}
	}
	return out
}

func newPageGroup(i int, g group, d detail) pageGroup {
	out := pageGroup{ID: fmt.Sprintf("g%d", i+1), Title: format.Clean(g.Scenario + " on " + g.Driver), Action: format.Clean(actionName(g.Action))}
	best, worst := ranks(g)
	for k, c := range g.Cells {
		head := designHead{Name: format.Clean(c.Design)}
		switch c.Design {
		case best:
			head.Tag = "▾ least lost"
		case worst:
			head.Tag = "▴ most lost"
		}
		out.Designs = append(out.Designs, head)
		for r, row := range matrixRows(c) {
			if k == 0 {
				out.Rows = append(out.Rows, matrixLine{Label: strings.TrimSpace(row.Label), Def: row.Def, Lead: r == 0})
			}
			cell := matrixCell{Value: unbroken(row.Value), Note: unbroken(row.Note), Bad: row.Bad}
			if r == 0 {
				cell.Bar = newBar(pool(c))
			}
			out.Rows[r].Cells = append(out.Rows[r].Cells, cell)
		}
		budgetRow := matrixCell{Value: "no data"}
		if b := budget(pool(c)); b != nil {
			budgetRow.Value = "nothing spent"
			if b.Affords != nil {
				budgetRow.Value = fmt.Sprintf("%s %%", svg.Number(math.Ceil(b.Share*1000)/10))
				budgetRow.Note = "affords " + format.Count(*b.Affords) + " in 30 days"
			}
		}
		if k == 0 {
			out.Rows = append(out.Rows, matrixLine{Label: "error budget", Def: "error_budget"})
		}
		last := &out.Rows[len(out.Rows)-1]
		last.Cells = append(last.Cells, budgetRow)
	}
	out.pictures(g, d)
	out.Dots = dots(g)
	for _, c := range g.Cells {
		for j := range c.Trials {
			out.Trials = append(out.Trials, newTrialRow(c, &c.Trials[j]))
			out.Latency = append(out.Latency, latencyRows(c, &c.Trials[j])...)
		}
		out.Errors = append(out.Errors, errorRows(c)...)
		out.VoidErrors = append(out.VoidErrors, voidRows(c)...)
		out.Streams = append(out.Streams, streamRows(c)...)
		out.SentToUnready = append(out.SentToUnready, [2]string{format.Clean(c.Design), format.Count(pool(c).SentToUnready)})
		for _, n := range notes(c) {
			out.Notes = append(out.Notes, [2]string{format.Clean(c.Design), n})
		}
		rows := instanceRows(c)
		if len(rows) > d.instances {
			out.MoreInstances += len(rows) - d.instances
			rows = rows[:d.instances]
		}
		out.Instances = append(out.Instances, rows...)
	}
	return out
}

// unbroken keeps numbers and their units on one line.
func unbroken(s string) string {
	return strings.NewReplacer(" %", "\u00a0%", " ms", "\u00a0ms", " s", "\u00a0s").Replace(s)
}

func newBar(p pooled) *bar {
	if p.Planned == 0 {
		return nil
	}
	hole := 100 * float64(p.Failed) / float64(p.Planned)
	if p.Failed > 0 {
		hole = math.Max(hole, 1)
	}
	return &bar{Part: svg.Number(100 - hole), Hole: svg.Number(hole)}
}

// pictured is a picture in both layouts, with its tables.
type pictured struct {
	Label        string
	Wide, Narrow template.HTML
	Tables       []pictureTable
}

// pictureTable is a timeline in words and numbers.
type pictureTable struct {
	Design string
	Rows   []stretchRow
	Lanes  []laneRow
	More   int // lanes that are not listed
}

type stretchRow struct{ From, To, Planned, OK, Failed, Denied, Worst, P50, P99 string }

type laneRow struct{ Instance, Revision, Sync, FalseReady, FalseUnready, Verdict, Truth string }

// pictures draws the first valid trial of every design, and the others one by one.
func (out *pageGroup) pictures(g group, d detail) {
	first := firstTrials(g.Cells)
	if len(first) == 0 {
		return
	}
	out.Main = newPictured(first, d.main, d, true)
	if d.other == 0 {
		return
	}
	most := 0
	for _, c := range g.Cells {
		most = max(most, len(c.Trials))
	}
	for n := range most {
		var others []chosen
		for _, c := range g.Cells {
			if n < len(c.Trials) && n != firstTrial(c) {
				others = append(others, chosen{c, &c.Trials[n]})
			}
		}
		if len(others) > 0 {
			out.Others = append(out.Others, *newPictured(others, d.other, d, false))
		}
	}
}

func newPictured(trials []chosen, columns int, d detail, data bool) *pictured {
	p := &pictured{
		Wide:   template.HTML(draw(trials, picture.Wide(columns), data).String()),
		Narrow: template.HTML(draw(trials, picture.Narrow(columns), false).String()),
	}
	var labels []string
	for _, c := range trials {
		label := fmt.Sprintf("%s trial %d", format.Clean(c.cell.Design), c.trial.Meta.N)
		if !c.trial.Valid {
			label += " (invalid)"
		}
		labels = append(labels, label)
		p.Tables = append(p.Tables, newPictureTable(c, d))
	}
	p.Label = strings.Join(labels, ", ")
	return p
}

func newPictureTable(c chosen, d detail) pictureTable {
	out := pictureTable{Design: format.Clean(c.cell.Design)}
	cols, _ := picture.Columns(&c.trial.Timeline, 600)
	rows := picture.Stretches(cols)
	for limit := 600; len(rows) > d.table && limit > 1; limit /= 2 {
		cols, _ = picture.Columns(&c.trial.Timeline, limit)
		rows = picture.Stretches(cols)
	}
	number := func(n int) string { return format.Count(uint64(max(n, 0))) }
	for _, r := range rows {
		row := stretchRow{From: format.Offset(r.From - c.zero()), To: format.Offset(r.To - c.zero()), Planned: number(r.Planned), OK: number(r.OK),
			Failed: number(r.Failed), Denied: number(r.Denied), Worst: format.Share(uint64(max(r.Worst.OK, 0)), uint64(max(r.Worst.Planned, 0))), P50: "–", P99: "–"}
		if r.Planned == 0 {
			row.Worst = "–"
		}
		if r.P50 > 0 {
			row.P50, row.P99 = format.Span(r.P50), format.Span(r.P99)
		}
		out.Rows = append(out.Rows, row)
	}
	for _, l := range picture.Lanes(c.trial.Timeline.Lanes, max(d.instances, 8)) {
		row := laneRow{Instance: format.Shorten(format.Clean(l.Instance), 60), Revision: format.Shorten(format.Clean(l.Revision), 40), Sync: "unknown", FalseReady: format.Span(picture.Total(l.FalseReady)),
			FalseUnready: format.Span(picture.Total(l.FalseUnready)), Verdict: course(l.Verdict, c.zero()), Truth: course(l.Truth, c.zero())}
		if l.Sync >= 0 {
			row.Sync = format.Span(l.Sync)
		}
		out.Lanes = append(out.Lanes, row)
	}
	out.More = len(c.trial.Timeline.Lanes) - len(out.Lanes)
	return out
}

// course says in words through which states an instance went.
func course(spans []timeline.StateSpan, zero time.Duration) string {
	const most = 12
	var parts []string
	for i, s := range spans {
		if i == most {
			parts = append(parts, fmt.Sprintf("and %d more changes", len(spans)-most))
			break
		}
		parts = append(parts, fmt.Sprintf("%s from %s", format.Clean(string(s.State)), format.Offset((s.From-zero).Round(time.Millisecond))))
	}
	return strings.Join(parts, ", ")
}

// trialRow is a trial in the tables of trials and of the harness's health.
type trialRow struct {
	Design, N, Valid, Why                                   string
	Void, Partial                                           bool
	Success, Lost, Downtime, Outage, Down, Degraded         string
	Lag, Recovery, Convergence, Sync, False, Unready        string
	Breaches, Retries                                       string
	Sent, LagP50, LagP99, LagMax, Baseline, BaselineServers string
	Reference, CPU, RSS, Files                              string
}

func newTrialRow(c *judge.Cell, t *judge.Trial) trialRow {
	r := trialRow{Design: format.Clean(c.Design), N: fmt.Sprint(t.Meta.N), Valid: "✓ valid", Success: format.Share(t.OK, t.Planned), Lost: format.Lost(t.Failed, t.Planned),
		Downtime: format.Span(t.Downtime), Outage: outageText(t), Down: byBin(t.Down), Degraded: byBin(t.Degraded), Lag: maybe(t.DisruptionLag), Recovery: trialRecovery(t),
		Convergence: maybe(t.Convergence), Sync: maybe(t.Sync), False: format.Span(t.FalseReady), Unready: format.Span(t.FalseUnready),
		Breaches: format.Count(t.Breaches) + " of " + format.Count(t.Denials), Retries: format.Count(t.HiddenRetries),
		Sent: format.Count(t.Sent) + " of " + format.Count(t.Planned), LagP50: "no data", LagP99: "no data", LagMax: "no data",
		Baseline: "no data", BaselineServers: fmt.Sprint(t.Baseline.Instances), Reference: "no data",
		CPU: format.Span(t.Cost.CPU), RSS: fmt.Sprintf("%s MiB", svg.Number(float64(t.Cost.MaxRSS)/(1<<20))), Files: format.Clean(t.Folder), Partial: t.Partial}
	if o := t.LongestOutage; o.Failures > 0 {
		last := "none before"
		if o.LastOK >= 0 {
			last = format.Offset(o.LastOK-t.Window.From) + " s"
		}
		r.Outage += fmt.Sprintf(" (last ok %s, from %s to %s s)", last, format.Offset(o.From-t.Window.From), format.Offset(o.To-t.Window.From))
	}
	if !t.Valid {
		r.Void, r.Valid, r.Why = true, "✗ invalid", invalidity(c, t)
	}
	if t.ScheduleLag.N > 0 {
		r.LagP50, r.LagP99, r.LagMax = format.Span(t.ScheduleLag.P50), format.Span(t.ScheduleLag.P99), format.Span(t.ScheduleLag.Max)
	}
	if t.Baseline.Planned > 0 {
		r.Baseline = format.Lost(t.Baseline.Failed, t.Baseline.Planned)
	}
	if w := t.Reference; w.Planned > 0 {
		word := "agrees"
		if !w.Agrees {
			word = "disagrees"
		}
		r.Reference = fmt.Sprintf("%s: %s (%s)", word, format.Share(w.OK, w.Planned), format.Rates(w.Lo, w.Hi))
	}
	return r
}

// byBin prints a time at every width of the bins: 10 ms, 100 ms, 1 s.
func byBin(m map[time.Duration]time.Duration) string {
	if len(m) == 0 {
		return "no data"
	}
	var parts []string
	for _, width := range []time.Duration{10 * time.Millisecond, 100 * time.Millisecond, time.Second} {
		if d, ok := m[width]; ok {
			parts = append(parts, format.Span(d))
		}
	}
	return strings.Join(parts, " / ")
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

func maybe(d *time.Duration) string {
	if d == nil {
		return "–"
	}
	return format.Span(*d)
}

type streamRow struct{ Design, Name, Lost, Success string }

func streamRows(c *judge.Cell) []streamRow {
	var all []judge.StreamCount
	for i := range c.Trials {
		if !c.Trials[i].Valid {
			continue
		}
		for _, s := range c.Trials[i].Streams {
			at := slices.IndexFunc(all, func(t judge.StreamCount) bool { return t.Name == s.Name })
			if at < 0 {
				all = append(all, s)
				continue
			}
			all[at].Planned += s.Planned
			all[at].OK += s.OK
		}
	}
	var rows []streamRow
	for _, s := range all {
		rows = append(rows, streamRow{format.Clean(c.Design), format.Clean(s.Name), format.Lost(s.Planned-min(s.OK, s.Planned), s.Planned), format.Share(s.OK, s.Planned)})
	}
	return rows
}

type instanceRow struct{ Design, Trial, ID, Revision, OK, Failed string }

// instanceRows lists who answered in the first valid trial: instances of different trials
// have nothing to do with each other.
func instanceRows(c *judge.Cell) []instanceRow {
	i := firstTrial(c)
	if i < 0 {
		return nil
	}
	var rows []instanceRow
	for _, in := range c.Trials[i].Instances {
		id := format.Shorten(format.Clean(in.ID), 60)
		if id == "" {
			id = "nobody answered"
		}
		rows = append(rows, instanceRow{format.Clean(c.Design), fmt.Sprint(c.Trials[i].Meta.N), id, format.Shorten(format.Clean(in.Revision), 40), format.Count(in.OK), format.Count(in.Failed)})
	}
	return rows
}

type latencyRow struct{ Design, Trial, Kind, P50, P90, P99, P999, Max, N string }

func latencyRows(c *judge.Cell, t *judge.Trial) []latencyRow {
	if !t.Valid {
		return nil
	}
	row := func(kind string, p judge.Percentiles) latencyRow {
		r := latencyRow{Design: format.Clean(c.Design), Trial: fmt.Sprint(t.Meta.N), Kind: kind, N: format.Count(p.N), P50: "–", P90: "–", P99: "–", P999: "–", Max: "–"}
		if p.N > 0 {
			r.P50, r.P90, r.P99, r.P999, r.Max = format.Span(p.P50), format.Span(p.P90), format.Span(p.P99), format.Span(p.P999), format.Span(p.Max)
		}
		return r
	}
	return []latencyRow{row("from intended time", t.Latency), row("uncorrected", t.LatencyUncorrected)}
}

// dots draws the downtime of every trial on one scale; there is nothing to draw where
// nothing was lost.
func dots(g group) template.HTML {
	var rows []picture.Row
	for _, c := range g.Cells {
		row := picture.Row{Name: format.Clean(c.Design), Median: c.Downtime.Median, Lo: c.Downtime.Lo, Hi: c.Downtime.Hi, Ranged: c.Downtime.N > 0}
		for i := range c.Trials {
			t := &c.Trials[i]
			dot := picture.Dot{At: t.Downtime, Invalid: !t.Valid, Title: fmt.Sprintf("trial %d: %s", t.Meta.N, format.Span(t.Downtime))}
			if dot.Invalid {
				dot.Title += ", invalid"
			}
			row.Dots = append(row.Dots, dot)
		}
		rows = append(rows, row)
	}
	im, ok := picture.Dots("downtime of each trial, by design", rows)
	if !ok {
		return ""
	}
	return template.HTML(im.String())
}

package reports

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/timeline"
)

// pageGroup is what every section of the page shows of one scenario on one driver.
type pageGroup struct {
	ID, Title, Action string
	Designs           []designHead
	Rows              []matrixLine
	Main              *pictured
	Others            []pictured
	Dots              *dots
	Trials            []trialRow
	Errors            []errorRow
	VoidErrors        []voidRow
	Streams           []streamRow
	Instances         []instanceRow
	MoreInstances     int
	Unable            [][2]string // design, requests sent to instances that could not serve
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
			r := routing{Driver: clean(c.Driver), Text: clean(meta.Routing)}
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
	out := pageGroup{ID: fmt.Sprintf("g%d", i+1), Title: clean(g.Scenario + " on " + g.Driver), Action: clean(actionName(g.Action))}
	best, worst := ranks(g)
	for k, c := range g.Cells {
		head := designHead{Name: clean(c.Design)}
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
				budgetRow.Value = fmt.Sprintf("%s %%", num(math.Ceil(b.Share*1000)/10))
				budgetRow.Note = "affords " + count(*b.Affords) + " in 30 days"
			}
		}
		if k == 0 {
			out.Rows = append(out.Rows, matrixLine{Label: "error budget", Def: "error_budget"})
		}
		last := &out.Rows[len(out.Rows)-1]
		last.Cells = append(last.Cells, budgetRow)
	}
	out.pictures(g, d)
	out.Dots = newDots(g)
	for _, c := range g.Cells {
		for j := range c.Trials {
			out.Trials = append(out.Trials, newTrialRow(c, &c.Trials[j]))
			out.Latency = append(out.Latency, latencyRows(c, &c.Trials[j])...)
		}
		out.Errors = append(out.Errors, errorRows(c)...)
		out.VoidErrors = append(out.VoidErrors, voidRows(c)...)
		out.Streams = append(out.Streams, streamRows(c)...)
		out.Unable = append(out.Unable, [2]string{clean(c.Design), count(pool(c).ToUnable)})
		for _, n := range notes(c) {
			out.Notes = append(out.Notes, [2]string{clean(c.Design), n})
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
	return &bar{Part: num(100 - hole), Hole: num(hole)}
}

// pictured is a picture in both layouts, with its tables.
type pictured struct {
	Label        string
	Wide, Narrow picture
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
	shots := firstShots(g.Cells)
	if len(shots) == 0 {
		return
	}
	out.Main = newPictured(out.ID, shots, d.main, d, true)
	if d.other == 0 {
		return
	}
	most := 0
	for _, c := range g.Cells {
		most = max(most, len(c.Trials))
	}
	for n := range most {
		var shots []shot
		for _, c := range g.Cells {
			if n < len(c.Trials) && n != firstTrial(c) {
				shots = append(shots, shot{c.Design, c.Action, &c.Trials[n]})
			}
		}
		if len(shots) > 0 {
			out.Others = append(out.Others, *newPictured(fmt.Sprintf("%s-%d", out.ID, n+1), shots, d.other, d, false))
		}
	}
}

func newPictured(id string, shots []shot, columns int, d detail, data bool) *pictured {
	title := pictureTitle(shots[0].Trial)
	p := &pictured{
		Wide:   timelinePicture(id, title, shots, wide(columns), data),
		Narrow: timelinePicture(id, title, shots, narrow(columns), false),
	}
	var labels []string
	for _, s := range shots {
		label := fmt.Sprintf("%s trial %d", clean(s.Design), s.Trial.Meta.N)
		if !s.Trial.Valid {
			label += " (invalid)"
		}
		labels = append(labels, label)
		p.Tables = append(p.Tables, newPictureTable(s, d))
	}
	p.Label = strings.Join(labels, ", ")
	return p
}

func newPictureTable(s shot, d detail) pictureTable {
	out := pictureTable{Design: clean(s.Design)}
	cols, _ := columns(&s.Trial.Timeline, 600)
	rows := stretches(cols)
	for limit := 600; len(rows) > d.table && limit > 1; limit /= 2 {
		cols, _ = columns(&s.Trial.Timeline, limit)
		rows = stretches(cols)
	}
	number := func(n int) string { return count(uint64(max(n, 0))) }
	for _, r := range rows {
		row := stretchRow{From: offset(r.From - s.zero()), To: offset(r.To - s.zero()), Planned: number(r.Planned), OK: number(r.OK),
			Failed: number(r.Failed), Denied: number(r.Denied), Worst: share(uint64(max(r.Worst.OK, 0)), uint64(max(r.Worst.Planned, 0))), P50: "–", P99: "–"}
		if r.Planned == 0 {
			row.Worst = "–"
		}
		if r.P50 > 0 {
			row.P50, row.P99 = span(r.P50), span(r.P99)
		}
		out.Rows = append(out.Rows, row)
	}
	for _, l := range drawnLanes(s.Trial.Timeline.Lanes, max(d.instances, 8)) {
		row := laneRow{Instance: shorten(clean(l.Instance), 60), Revision: shorten(clean(l.Revision), 40), Sync: "unknown", FalseReady: span(total(l.FalseReady)),
			FalseUnready: span(total(l.FalseUnready)), Verdict: course(l.Verdict, s.zero()), Truth: course(l.Truth, s.zero())}
		if l.Sync >= 0 {
			row.Sync = span(l.Sync)
		}
		out.Lanes = append(out.Lanes, row)
	}
	out.More = len(s.Trial.Timeline.Lanes) - len(out.Lanes)
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
		parts = append(parts, fmt.Sprintf("%s from %s", clean(string(s.State)), offset((s.From-zero).Round(time.Millisecond))))
	}
	return strings.Join(parts, ", ")
}

// trialRow is a trial in the tables of trials and of the rig's health.
type trialRow struct {
	Design, N, Valid, Why                             string
	Void, Partial                                     bool
	Success, Lost, LostTime, Outage, Down, Degraded   string
	Lag, Recovery, Convergence, Sync, False, Unready  string
	Breaches, Retries                                 string
	Sent, LagP50, LagP99, LagMax, Quiet, QuietServers string
	Witness, CPU, RSS, Files                          string
}

func newTrialRow(c *judge.Cell, t *judge.Trial) trialRow {
	r := trialRow{Design: clean(c.Design), N: fmt.Sprint(t.Meta.N), Valid: "✓ valid", Success: share(t.OK, t.Planned), Lost: lost(t.Failed, t.Planned),
		LostTime: span(t.LostTime), Outage: outageText(t), Down: byBin(t.Down), Degraded: byBin(t.Degraded), Lag: maybe(t.DisruptionLag), Recovery: trialRecovery(t),
		Convergence: maybe(t.Convergence), Sync: maybe(t.Sync), False: span(t.FalseReady), Unready: span(t.FalseUnready),
		Breaches: count(t.Breaches) + " of " + count(t.Denials), Retries: count(t.HiddenRetries),
		Sent: count(t.Sent) + " of " + count(t.Planned), LagP50: "no data", LagP99: "no data", LagMax: "no data",
		Quiet: "no data", QuietServers: fmt.Sprint(t.Quiet.Instances), Witness: "no data",
		CPU: span(t.Cost.CPU), RSS: fmt.Sprintf("%s MiB", num(float64(t.Cost.MaxRSS)/(1<<20))), Files: clean(t.Folder), Partial: t.Partial}
	if o := t.LongestOutage; o.Failures > 0 {
		last := "none before"
		if o.LastOK >= 0 {
			last = offset(o.LastOK-t.Window.From) + " s"
		}
		r.Outage += fmt.Sprintf(" (last ok %s, from %s to %s s)", last, offset(o.From-t.Window.From), offset(o.To-t.Window.From))
	}
	if !t.Valid {
		r.Void, r.Valid, r.Why = true, "✗ does not count", invalidity(c, t)
	}
	if t.ScheduleLag.N > 0 {
		r.LagP50, r.LagP99, r.LagMax = span(t.ScheduleLag.P50), span(t.ScheduleLag.P99), span(t.ScheduleLag.Max)
	}
	if t.Quiet.Planned > 0 {
		r.Quiet = lost(t.Quiet.Failed, t.Quiet.Planned)
	}
	if w := t.Witness; w.Planned > 0 {
		word := "agrees"
		if !w.Agrees {
			word = "disagrees"
		}
		r.Witness = fmt.Sprintf("%s: %s (%s)", word, share(w.OK, w.Planned), rates(w.Lo, w.Hi))
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
			parts = append(parts, span(d))
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
	return span(*t.Recovery)
}

func maybe(d *time.Duration) string {
	if d == nil {
		return "–"
	}
	return span(*d)
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
		rows = append(rows, streamRow{clean(c.Design), clean(s.Name), lost(s.Planned-min(s.OK, s.Planned), s.Planned), share(s.OK, s.Planned)})
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
		id := shorten(clean(in.ID), 60)
		if id == "" {
			id = "nobody answered"
		}
		rows = append(rows, instanceRow{clean(c.Design), fmt.Sprint(c.Trials[i].Meta.N), id, shorten(clean(in.Revision), 40), count(in.OK), count(in.Failed)})
	}
	return rows
}

type latencyRow struct{ Design, Trial, Kind, P50, P90, P99, P999, Max, N string }

func latencyRows(c *judge.Cell, t *judge.Trial) []latencyRow {
	if !t.Valid {
		return nil
	}
	row := func(kind string, p judge.Percentiles) latencyRow {
		r := latencyRow{Design: clean(c.Design), Trial: fmt.Sprint(t.Meta.N), Kind: kind, N: count(p.N), P50: "–", P90: "–", P99: "–", P999: "–", Max: "–"}
		if p.N > 0 {
			r.P50, r.P90, r.P99, r.P999, r.Max = span(p.P50), span(p.P90), span(p.P99), span(p.P999), span(p.Max)
		}
		return r
	}
	return []latencyRow{row("from intended time", t.Latency), row("uncorrected", t.LatencyUncorrected)}
}

// dots is the lost time of every trial on one scale.
type dots struct {
	Height string
	About  string
	Marks  []mark
	Points []point2
}

type point2 struct{ X, Y, Class, Title string }

func newDots(g group) *dots {
	const left, width, row = 120.0, 330.0, 40.0
	most := 0.0
	for _, c := range g.Cells {
		for i := range c.Trials {
			most = math.Max(most, millis(c.Trials[i].LostTime))
		}
	}
	if most == 0 {
		return nil
	}
	step := float64(tickStep(time.Duration(most*1.05*1e6), 5)) / 1e6
	end := math.Ceil(most*1.02/step) * step
	x := func(ms float64) float64 { return left + math.Min(ms/end, 1)*width }
	d := &dots{About: "lost time of each trial, by design"}
	bottom := 8 + row*float64(len(g.Cells))
	for ms := 0.0; ms <= end+step/2; ms += step {
		d.Marks = append(d.Marks, mark{Class: "grid", D: fmt.Sprintf("M%s 4V%s", num(x(ms)), num(bottom))},
			text("t-note", "middle", x(ms), bottom+16, spanMillis(ms)))
	}
	for i, c := range g.Cells {
		y := 8 + row*(float64(i)+0.5)
		d.Marks = append(d.Marks, text("t-name", "start", 0, y+4, shorten(clean(c.Design), 18)))
		if e := c.LostTime; e.N > 0 {
			d.Marks = append(d.Marks, mark{Class: "range", D: fmt.Sprintf("M%s %sV%sM%s %sH%sM%s %sV%sM%s %sV%s",
				num(x(e.Lo)), num(y+8), num(y+14), num(x(e.Lo)), num(y+11), num(x(e.Hi)), num(x(e.Hi)), num(y+8), num(y+14), num(x(e.Median)), num(y-12), num(y+14))})
		}
		for j := range c.Trials {
			t := &c.Trials[j]
			p := point2{X: num(x(millis(t.LostTime))), Y: num(y - 8 + float64(j%3)*6), Class: "dot", Title: fmt.Sprintf("trial %d: %s", t.Meta.N, span(t.LostTime))}
			if !t.Valid {
				p.Class, p.Title = "void", p.Title+", does not count"
			}
			d.Points = append(d.Points, p)
		}
	}
	d.Height = num(bottom + 24)
	return d
}

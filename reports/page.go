package reports

import (
	"fmt"
	"html/template"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/metric"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/internal/timeline"
	"github.com/rollout-lab/rollout-lab/reports/format"
	"github.com/rollout-lab/rollout-lab/reports/picture"
	"github.com/rollout-lab/rollout-lab/reports/svg"
)

// page is what report.tmpl shows: the judged run, and what is worked out beside it.
type page struct {
	*judge.Run
	sheet
	Results     template.JS // results.json
	Apart       bool        // it is beside the page instead
	Coarser     bool        // drawn more coarsely than a page can be
	Groups      []pageGroup
	Survivals   []pageSuite
	Routings    []routing
	Definitions []definition
}

// Gates are those that the page shows.
func (p *page) Gates() []judge.GateResult { return shownGates(p.Run) }

func newPage(run *judge.Run, d detail) *page {
	p := &page{Run: run, sheet: newSheet(), Apart: d.apart, Routings: routings(run), Definitions: definitionsFor(run), Survivals: pageSuites(run)}
	for _, g := range groups(run) {
		p.Groups = append(p.Groups, newPageGroup(g, d))
	}
	return p
}

// Headline is the verdict in one sentence, Advice why it is so and what to do, Beside what
// was lost where the headline does not say it, Because the other reasons one by one.
func (p *page) Headline() string { return headline(p.Run) }
func (p *page) Because() []string {
	return Sentences(slices.DeleteFunc(slices.Clone(p.Reasons), func(r judge.Reason) bool { return inHeadline(p.Run, r) || follows(p.Run, r) }))
}
func (p *page) Advice() advice   { return adviseOnRun(p.Run) }
func (p *page) Beside() []string { return lossesBeside(p.Run) }

// Incomplete reports whether there is less of the run than was planned.
func (p *page) Incomplete() bool { return incomplete(p.Run) }

// BaselineText is what the run was held against.
func (p *page) BaselineText() string { return baselineText(&p.Record) }

// Skipped are the cells that could not be run.
func (p *page) Skipped() []record.Skipped { return skipped(p.Run) }

// LeftOut says what of a suite was not run.
func (p *page) LeftOut() []string { return leftOut(p.Run) }

// Course says how the run went: the rate that the machine holds and why there are no more trials,
// where that needs saying.
func (p *page) Course() (texts []string) {
	if text := preflightText(p.Run); text != "" {
		texts = append(texts, text)
	}
	for _, s := range stopped(p.Run) {
		texts = append(texts, stoppedText(p.Run, s))
	}
	return texts
}

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
			r := routing{Driver: c.Driver, Text: meta.Routing}
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

// pageGroup is what every section of the page shows of one scenario on one driver.
type pageGroup struct {
	group
	Best, Worst string // designs
	Matrix      []matrixLine
	Main        *pictured  // the first valid trial of every design, or the first one where none is
	Others      []pictured // their other trials
	Dots        template.HTML
	instances   int // most rows of a table of instances
}

func newPageGroup(g group, d detail) pageGroup {
	out := pageGroup{group: g, Matrix: matrixLines(g), Dots: dots(g), instances: d.instances}
	out.Best, out.Worst = ranks(g)
	out.Main, out.Others = pictures(g, d)
	return out
}

// AnyValid reports whether there is a valid trial.
func (g pageGroup) AnyValid() bool { return g.any(func(t *judge.Trial) bool { return t.Valid }) }

// AnyInvalid reports whether there is an invalid trial.
func (g pageGroup) AnyInvalid() bool { return g.any(func(t *judge.Trial) bool { return !t.Valid }) }

// AnyFailed reports whether a request failed in a valid trial.
func (g pageGroup) AnyFailed() bool {
	return g.any(func(t *judge.Trial) bool { return t.Valid && len(t.Errors) > 0 })
}

// AnyStream reports whether requests were sent in streams.
func (g pageGroup) AnyStream() bool {
	return g.any(func(t *judge.Trial) bool { return t.Valid && len(t.Streams) > 0 })
}

// AnyNote reports whether there is something to be known of a trial.
func (g pageGroup) AnyNote() bool {
	return g.any(func(t *judge.Trial) bool { return len(t.Meta.Notes)+len(t.Meta.Relays)+len(t.Remarks) > 0 })
}

// Columns are those of the table of trials.
func (g pageGroup) Columns() []trialColumn {
	return slices.DeleteFunc(trialColumns(), func(c trialColumn) bool {
		m, _ := metric.ByName(c.ID)
		return !g.denies() && slices.Contains([]string{metric.Breaches, metric.StaleAllowed}, c.ID) || !g.faulted() && m.OfFault
	})
}

// Causes says of each cell why it lost what it lost.
func (g pageGroup) Causes() (all []causeLine) {
	for _, c := range g.Cells {
		causes := c.Causes()
		var lost uint64
		for _, of := range causes {
			lost += of.Count
		}
		for _, of := range causes {
			all = append(all, causeLine{c, causeLabel(of.Cause), of.Count, lost, causeText(of, lost, metaOf(c))})
		}
	}
	return all
}

// causeLine is a row of the table of causes.
type causeLine struct {
	Cell        *judge.Cell
	Label       string
	Count, Lost uint64
	Text        string
}

// Denies reports whether a request had to be denied.
func (g pageGroup) Denies() bool { return g.denies() }

// Summed reports whether sums and medians differ.
func (g pageGroup) Summed() bool { return g.summed() }

// Answers says who answered in the first valid trial of each cell: instances of different
// trials have nothing to do with each other.
func (g pageGroup) Answers() (all []answers) {
	for _, c := range g.Cells {
		if i := firstTrial(c); i >= 0 && len(c.Trials[i].Instances) > 0 {
			of := c.Trials[i].Instances
			n := min(len(of), g.instances)
			all = append(all, answers{c, &c.Trials[i], of[:n], len(of) - n})
		}
	}
	return all
}

// answers are the answers of a trial's instances, as far as there is room for them.
type answers struct {
	Cell  *judge.Cell
	Trial *judge.Trial
	Shown []judge.InstanceCount
	More  int
}

// matrixLine is a row of the matrix over all designs.
type matrixLine struct {
	Label, Def string
	Part       bool // of the row above
	Cells      []entry
	Bars       []*bar // in the first row: the share that was lost
}

// bar is a share out of 100, drawn; a loss is never thinner than one.
type bar struct{ Part, Hole string }

func matrixLines(g group) []matrixLine {
	var lines []matrixLine
	for i, row := range append(g.rows(), matrixRow{def: "error_budget", of: budgetEntry}) {
		line := matrixLine{Label: strings.TrimSpace(row.name()), Def: row.def, Part: strings.HasPrefix(row.name(), " ")}
		for _, c := range g.Cells {
			e := row.of(c, c.Totals())
			line.Cells = append(line.Cells, entry{format.Unbroken(e.Value), format.Unbroken(e.Note), e.Bad})
			if i == 0 {
				line.Bars = append(line.Bars, newBar(c.Totals()))
			}
		}
		lines = append(lines, line)
	}
	return lines
}

func newBar(p judge.Totals) *bar {
	if p.Planned == 0 {
		return nil
	}
	hole := 100 * float64(p.Failed) / float64(p.Planned)
	if p.Failed > 0 {
		hole = math.Max(hole, 1)
	}
	return &bar{Part: svg.Number(100 - hole), Hole: svg.Number(hole)}
}

// pictured is a picture of trials in both layouts, with their tables.
type pictured struct {
	Trials       []chosen
	Wide, Narrow template.HTML
	Tables       []pictureTable
}

// pictures draws the first valid trial of every design, or the first one where none is, and
// the others one by one.
func pictures(g group, d detail) (main *pictured, others []pictured) {
	first := firstTrials(g.Cells)
	if len(first) == 0 {
		return nil, nil
	}
	main = newPictured(first, d.main, d, true)
	most := 0
	for _, c := range g.Cells {
		most = max(most, len(c.Trials))
	}
	for n := range most {
		var next []chosen
		for _, c := range g.Cells {
			if n < len(c.Trials) && n != firstTrial(c) {
				next = append(next, chosen{c, &c.Trials[n]})
			}
		}
		if len(next) > 0 && d.other > 0 {
			others = append(others, *newPictured(next, d.other, d, false))
		}
	}
	return main, others
}

func newPictured(trials []chosen, columns int, d detail, data bool) *pictured {
	p := &pictured{Trials: trials,
		Wide:   template.HTML(draw(trials, picture.Wide(columns), data).String()),
		Narrow: template.HTML(draw(trials, picture.Narrow(columns), false).String()),
	}
	for _, c := range trials {
		p.Tables = append(p.Tables, newPictureTable(c, d))
	}
	return p
}

// pictureTable is a timeline in words and numbers.
type pictureTable struct {
	chosen
	Stretches []picture.Stretch
	Lanes     []*timeline.Lane
	More      int // lanes that are not listed
}

func newPictureTable(c chosen, d detail) pictureTable {
	out := pictureTable{chosen: c, Lanes: picture.Lanes(c.Trial.Timeline.Lanes, max(d.instances, 8))}
	out.More = len(c.Trial.Timeline.Lanes) - len(out.Lanes)
	for limit := 600; limit > 0; limit /= 2 {
		cols, _ := picture.Columns(&c.Trial.Timeline, limit)
		if out.Stretches = picture.Stretches(cols); len(out.Stretches) <= d.table {
			break
		}
	}
	return out
}

// Denied reports whether a request was denied wrongly.
func (t pictureTable) Denied() bool {
	return slices.ContainsFunc(t.Stretches, func(s picture.Stretch) bool { return s.Denied > 0 })
}

// At is a time as an offset from the start of the action, in seconds.
func (t pictureTable) At(d time.Duration) string { return format.Offset(d - t.zero()) }

// Pressure says when the CPUs were under pressure, "" where that is not known.
func (t pictureTable) Pressure() string {
	all := t.Trial.Timeline.Pressure
	if len(all) == 0 {
		return ""
	}
	if over := picture.Pressed(all); len(over) > 0 {
		return "above 80 % from " + stretches(over, t.zero())
	}
	return "never above 80 %"
}

// Course says through which states an instance went.
func (t pictureTable) Course(spans []timeline.StateSpan) string { return course(spans, t.zero()) }

// dots draws the downtime of every trial on one scale; there is nothing to draw where
// nothing was lost.
func dots(g group) template.HTML {
	var rows []picture.Row
	for _, c := range g.Cells {
		e := c.Estimates[metric.Downtime]
		row := picture.Row{Name: format.Clean(c.Design), Median: e.Median, Lo: e.Lo, Hi: e.Hi, Ranged: e.N > 0}
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

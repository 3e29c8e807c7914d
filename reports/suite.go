package reports

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/metric"
	"github.com/rollout-lab/rollout-lab/reports/format"
)

// suites are those of a run that are a matrix: of one scenario there is nothing to compare.
func suites(run *judge.Run) []judge.Suite {
	return slices.DeleteFunc(run.Suites(), func(s judge.Suite) bool { return len(s.Scenarios) < 2 })
}

// survivalWords are what becomes of a design, in a word or two. What is not known has no word
// and no sign of what is.
var survivalWords = map[judge.Survival]string{
	judge.Survives: "survives", judge.Breaks: "breaks", judge.Undecided: "not known", judge.NotTested: "-",
}

var survivalStyles = map[judge.Survival]style{judge.Survives: green, judge.Breaks: red, judge.Undecided: yellow, judge.NotTested: dim}

// suiteLegend says what the words of the matrix mean.
const suiteLegend = "survives: it holds every limit that is set on it, or where none is, those of the others. not known: no data, or a trial that does not count. -: not tested"

// suiteNumbers are what the matrix of a suite has of each cell beside that.
var suiteNumbers = []struct {
	name, label string // of the metric
	of          func(c *judge.Cell, p judge.Totals) entry
}{
	{"lost_requests", "lost", func(_ *judge.Cell, p judge.Totals) entry {
		return entry{Value: format.Count(p.Lost()), Note: "of " + format.Count(p.Planned), Bad: p.Lost() > 0}
	}},
	{metric.Detection, "detection", func(c *judge.Cell, p judge.Totals) entry {
		if !slices.ContainsFunc(c.Trials, func(t judge.Trial) bool { return t.Valid && hitInstance(&t) }) {
			return entry{Value: "-"} // nothing was done to an instance
		}
		return reaction(metric.Detection)(c, p)
	}},
	{metric.FalseEvictions, "false evictions", countRow(metric.FalseEvictions, true)},
	{metric.Breaches, "breaches", func(_ *judge.Cell, p judge.Totals) entry {
		if p.Denials == 0 {
			return entry{Value: "-"} // nobody asked to be let in
		}
		return entry{Value: format.Count(p.Breaches), Note: "of " + format.Count(p.Denials) + " to be denied", Bad: p.Breaches > 0}
	}},
}

// suiteEntries are those numbers of a cell; none where it has no valid trial.
func suiteEntries(c judge.SuiteCell) []entry {
	if c.Cell == nil || c.Cell.Totals().Planned == 0 {
		return nil
	}
	var all []entry
	for _, n := range suiteNumbers {
		all = append(all, n.of(c.Cell, c.Cell.Totals()))
	}
	return all
}

// suiteWhy says why a design breaks, or why that is not known.
func suiteWhy(c judge.SuiteCell) string {
	if c.Why.Kind == "" || c.Survival == judge.NotTested {
		return ""
	}
	because := c.Why.Because
	switch c.Why.Kind {
	case judge.GateMissed, judge.GateUnclear:
		return gateLimit(*c.Why.Gate) + ": " + strings.Join(Sentences(because), "; ")
	case judge.TargetFailed:
		return fmt.Sprintf("trial %d: %s", c.Why.Trial, strings.Join(Sentences(because), "; "))
	case judge.CellNotRun:
		return "not run: " + c.Why.Text
	case judge.DeployFailed:
		return "it did not serve when it was deployed: " + c.Why.Text
	}
	return Sentence(c.Why)
}

// leftOut says which scenarios of a suite were not run on which driver, and why: a pass says
// nothing of them.
func leftOut(run *judge.Run) (texts []string) {
	for _, l := range run.Record.LeftOut {
		texts = append(texts, format.Clean(fmt.Sprintf("%s on %s, of which the run shows nothing: %s", l.Scenario, l.Driver, l.Why)))
	}
	return texts
}

// survivals says what each design survives of each suite, the best first.
func survivals(all []judge.Suite) string {
	var parts []string
	for _, s := range all {
		for i, design := range s.Designs {
			counts := make(map[judge.Survival]int)
			for _, sc := range s.Scenarios {
				counts[sc.Cells[i].Survival]++
			}
			text := fmt.Sprintf("%s %d of %d", design, counts[judge.Survives], len(s.Scenarios)-counts[judge.NotTested])
			if i == 0 {
				text = fmt.Sprintf("%s survives %d of %s of %s on %s", design, counts[judge.Survives],
					format.Plural(len(s.Scenarios)-counts[judge.NotTested], "scenario", "scenarios"), s.Name, s.Driver)
			}
			if n := counts[judge.Undecided]; n > 0 {
				text += fmt.Sprintf(" (%d not known)", n)
			}
			parts = append(parts, text)
		}
	}
	return strings.Join(parts, "; ")
}

// suiteTitle names a suite on a driver.
func suiteTitle(s judge.Suite) string {
	return format.Clean(fmt.Sprintf("%s on %s: which design survives what", s.Name, s.Driver))
}

// suites writes the matrix of each suite, who survives what, and under it the numbers.
func (t *terminal) suites(run *judge.Run) {
	for _, s := range suites(run) {
		t.wrapped("", "", t.paint(bold, suiteTitle(s)))
		const label = 22
		for from := 0; from < len(s.Designs); {
			n, width := 0, 2+label
			for from+n < len(s.Designs) && (n == 0 || width+2+suiteColumn(s.Designs[from+n]) <= t.width) {
				width += 2 + suiteColumn(s.Designs[from+n])
				n++
			}
			t.survival(s, from, from+n, label)
			from += n
		}
		t.suiteNumbers(s)
		for _, l := range format.Fold(suiteLegend, t.width-2) {
			t.line("  %s", t.paint(dim, l))
		}
		t.line("")
	}
}

// suiteHead is a design's name over a narrow column: in two lines where it has a hyphen.
func suiteHead(design string) [2]string {
	design = format.Shorten(format.Clean(design), 24)
	if at := strings.Index(design, "-"); at > 0 && utf8.RuneCountInString(design) > 9 {
		return [2]string{design[:at+1], design[at+1:]}
	}
	return [2]string{"", design}
}

func suiteColumn(design string) int {
	head := suiteHead(design)
	return max(len("not known"), utf8.RuneCountInString(head[0]), utf8.RuneCountInString(head[1]))
}

// survival writes some of the columns of a suite's matrix.
func (t *terminal) survival(s judge.Suite, from, to, label int) {
	for i := range 2 {
		line := strings.Repeat(" ", 2+label)
		for _, design := range s.Designs[from:to] {
			head := suiteHead(design)[i]
			line += "  " + t.paint(bold, head) + strings.Repeat(" ", suiteColumn(design)-utf8.RuneCountInString(head))
		}
		if strings.TrimSpace(line) != "" {
			t.line("%s", line)
		}
	}
	for _, sc := range s.Scenarios {
		line := "  " + pad(format.Shorten(format.Clean(sc.Scenario), label), label)
		for i := from; i < to; i++ {
			word := survivalWords[sc.Cells[i].Survival]
			line += "  " + t.paint(survivalStyles[sc.Cells[i].Survival], word) + strings.Repeat(" ", suiteColumn(s.Designs[i])-utf8.RuneCountInString(word))
		}
		t.line("%s", line)
	}
	t.line("")
}

// suiteNumbers writes the numbers behind a suite's matrix, a line for each cell that was tested.
func (t *terminal) suiteNumbers(s judge.Suite) {
	rows := [][]entry{{{}, {}, {}, {}, {Value: "false"}, {}}, {{Value: "scenario"}, {Value: "design"}, {Value: "lost"}, {Value: "detection"}, {Value: "evictions"}, {Value: "breaches"}}}
	for _, sc := range s.Scenarios {
		name := format.Shorten(format.Clean(sc.Scenario), 22)
		for _, c := range sc.Cells {
			if c.Survival == judge.NotTested {
				continue
			}
			row := []entry{{Value: name}, {Value: format.Shorten(format.Clean(c.Design), 16)}}
			numbers := suiteEntries(c)
			for i := range suiteNumbers {
				switch {
				case len(numbers) > 0:
					row = append(row, entry{Value: numbers[i].Value, Bad: numbers[i].Bad})
				default:
					row = append(row, entry{Value: "no data"})
				}
			}
			rows, name = append(rows, row), ""
		}
	}
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, e := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(e.Value))
		}
	}
	for n, row := range rows {
		line := ""
		for i, e := range row {
			text := e.Value
			switch {
			case n < 2:
				text = t.paint(dim, text)
			case e.Bad:
				text = t.paint(red, text)
			}
			line += "  " + text + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(e.Value))
		}
		t.line("%s", line)
	}
	t.line("")
}

// markdownSuite is the matrix of a suite: a row for each scenario, a column for each design.
func markdownSuite(s judge.Suite) string {
	rows := [][]string{{""}}
	for _, design := range s.Designs {
		rows[0] = append(rows[0], markdown(design))
	}
	for _, sc := range s.Scenarios {
		row := []string{markdown(sc.Scenario)}
		for _, c := range sc.Cells {
			row = append(row, markdownSurvival(c))
		}
		rows = append(rows, row)
	}
	return "### " + markdown(suiteTitle(s)) + "\n\n" + markdownTable(rows) + "\n" + markdown(suiteLegend) + ".\n"
}

func markdownSurvival(c judge.SuiteCell) string {
	icon := map[judge.Survival]string{judge.Survives: "✅ ", judge.Breaks: "❌ ", judge.Undecided: "⚠️ "}[c.Survival]
	parts := []string{icon + survivalWords[c.Survival]}
	for i, e := range suiteEntries(c) {
		if e.Value == "-" {
			continue
		}
		parts = append(parts, markdown(suiteNumbers[i].label+" "+e.text()))
	}
	if c.Survival == judge.Undecided {
		parts = append(parts, markdown(suiteWhy(c)))
	}
	return strings.Join(parts, "<br>")
}

// pageSuite is the matrix of a suite as the page has it.
type pageSuite struct {
	Title   string
	Designs []string
	Rows    []pageSurvivals
}

type pageSurvivals struct {
	Scenario string
	Cells    []pageSurvival
}

// pageSurvival is how a design fared in a scenario; it has no numbers where there is no valid
// trial.
type pageSurvival struct {
	Class, Mark, Word string
	Numbers           []pageNumber
	Why               string
}

type pageNumber struct {
	Label, Def string
	entry
}

// survivalClasses are the classes of the cells, and survivalMarks a sign beside their colours.
var (
	survivalClasses = map[judge.Survival]string{judge.Survives: "pass", judge.Breaks: "fail", judge.Undecided: "inconclusive", judge.NotTested: "soft"}
	survivalMarks   = map[judge.Survival]string{judge.Survives: "✓", judge.Breaks: "✗", judge.Undecided: "?"}
)

func pageSuites(run *judge.Run) (all []pageSuite) {
	for _, s := range suites(run) {
		p := pageSuite{Title: suiteTitle(s), Designs: s.Designs}
		for _, sc := range s.Scenarios {
			row := pageSurvivals{Scenario: sc.Scenario}
			for _, c := range sc.Cells {
				cell := pageSurvival{Class: survivalClasses[c.Survival], Mark: survivalMarks[c.Survival], Word: survivalWords[c.Survival], Why: suiteWhy(c)}
				for i, e := range suiteEntries(c) {
					if e.Value != "-" {
						cell.Numbers = append(cell.Numbers, pageNumber{suiteNumbers[i].label, suiteNumbers[i].name, entry{format.Unbroken(e.Value), format.Unbroken(e.Note), e.Bad}})
					}
				}
				row.Cells = append(row.Cells, cell)
			}
			p.Rows = append(p.Rows, row)
		}
		all = append(all, p)
	}
	return all
}

// newSuites are the suites as results.json has them.
func newSuites(run *judge.Run) []Suite {
	out := []Suite{}
	for _, s := range run.Suites() {
		of := Suite{Name: s.Name, Driver: s.Driver, Designs: present(s.Designs), Scenarios: []SuiteScenario{}}
		for _, sc := range s.Scenarios {
			scenario := SuiteScenario{Scenario: sc.Scenario, Cells: []SuiteCell{}}
			for _, c := range sc.Cells {
				scenario.Cells = append(scenario.Cells, newSuiteCell(c))
			}
			of.Scenarios = append(of.Scenarios, scenario)
		}
		out = append(out, of)
	}
	return out
}

func newSuiteCell(c judge.SuiteCell) SuiteCell {
	out := SuiteCell{Design: c.Design, Survival: c.Survival, Why: suiteWhy(c)}
	if c.Cell == nil {
		return out
	}
	sum := c.Cell.Totals()
	if out.ValidTrials, out.Planned = sum.Valid, sum.Planned; sum.Valid == 0 {
		return out
	}
	out.Lost = new(sum.Lost())
	if sum.Denials > 0 {
		out.Breaches = new(sum.Breaches)
	}
	if known(c.Cell, metric.FalseEvictions) {
		out.FalseEvictions = new(uint64(c.Cell.Sum(metric.FalseEvictions)))
	}
	if e := c.Cell.Estimates[metric.Detection]; e.N > 0 {
		out.DetectionMS = finite(e.Median)
	}
	hit, did := noticed(c.Cell, metric.Detection)
	out.Undetected = hit - did
	return out
}

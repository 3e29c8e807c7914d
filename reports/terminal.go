package reports

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/reports/format"
)

// TerminalOptions says how the terminal's text is laid out.
type TerminalOptions struct {
	Color  bool   // ANSI colours, as a second sign beside words; leave it off when NO_COLOR is set
	Width  int    // columns of the terminal; 0 means 80
	Folder string // where the run's files are, for the last lines; "" leaves the hint out
}

// style is how a word is set off when there is colour.
type style string

const (
	bold   style = "1"
	dim    style = "2"
	red    style = "31;1"
	green  style = "32;1"
	yellow style = "33;1"
)

func verdictStyle(v judge.Verdict) style {
	switch v {
	case judge.Pass:
		return green
	case judge.Fail:
		return red
	}
	return yellow
}

// terminal writes lines and remembers the first error.
type terminal struct {
	w     io.Writer
	err   error
	color bool
	width int
}

func (t *terminal) line(format string, args ...any) {
	if t.err == nil {
		_, t.err = fmt.Fprintln(t.w, strings.TrimRight(fmt.Sprintf(format, args...), " "))
	}
}

func (t *terminal) paint(s style, text string) string {
	if !t.color || text == "" {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}

// wrapped writes text behind a first indent, and folds it at the terminal's width.
func (t *terminal) wrapped(first, indent, text string) {
	for i, l := range format.Fold(text, max(t.width-utf8.RuneCountInString(indent), 20)) {
		if i > 0 {
			first = indent
		}
		t.line("%s%s", first, l)
	}
}

// WriteTerminal writes the matrix, what was missed and what is invalid, and the
// verdict. It is the result of a run and belongs on standard output. Text from outside
// is stripped of control characters.
func WriteTerminal(w io.Writer, run *judge.Run, o TerminalOptions) error {
	t := &terminal{w: w, color: o.Color, width: o.Width}
	if t.width <= 0 {
		t.width = 80
	}
	t.width = max(t.width, 40)
	for _, g := range groups(run) {
		t.matrix(g)
	}
	t.gates(run)
	t.evidence(run)
	t.verdict(run)
	if o.Folder != "" {
		t.line("")
		t.line("report   %s", format.Clean(joinPath(o.Folder, "report.html")))
		t.line("data     %s", format.Clean(joinPath(o.Folder, "results.json")))
	}
	if run.Record.Command != "" {
		t.line("rerun    %s", format.Clean(run.Record.Command))
	}
	if t.err != nil {
		return fmt.Errorf("write results: %w", t.err)
	}
	return nil
}

func joinPath(folder, file string) string { return strings.TrimRight(folder, "/") + "/" + file }

const labelWidth = 19

// matrix writes one group: a line per metric, a column per design, as many columns side
// by side as fit.
func (t *terminal) matrix(g group) {
	t.line("%s", t.paint(bold, format.Clean(fmt.Sprintf("%s on %s, action: %s", g.Scenario, g.Driver, g.Action))))
	columns := matrixColumns(g)
	for len(columns) > 0 {
		used, n := 2+labelWidth, 0
		for n < len(columns) && (n == 0 || used+2+columnWidth(columns[n]) <= t.width) {
			used += 2 + columnWidth(columns[n])
			n++
		}
		t.columns(g.rows(), columns[:n])
		t.line("")
		columns = columns[n:]
	}
}

// matrixColumns are the designs of a group: a name over the rows of the matrix.
func matrixColumns(g group) [][]entry {
	best, worst := ranks(g)
	var columns [][]entry
	for _, c := range g.Cells {
		title := entry{Value: format.Clean(c.Design)}
		switch c.Design {
		case best:
			title.Note = "least lost"
		case worst:
			title.Note = "most lost"
		}
		column := []entry{title}
		for _, row := range g.rows() {
			column = append(column, row.of(c, c.Totals()))
		}
		columns = append(columns, column)
	}
	return columns
}

// columns writes columns side by side, the names of the rows before them.
func (t *terminal) columns(rows []matrixRow, columns [][]entry) {
	for row := range columns[0] {
		label := ""
		if row > 0 {
			label = rows[row-1].name()
		}
		line := "  " + pad(label, labelWidth)
		for _, column := range columns {
			e := column[row]
			text, padding := e.text(), strings.Repeat(" ", columnWidth(column)-utf8.RuneCountInString(e.text()))
			switch {
			case row == 0:
				text = t.paint(bold, e.Value) + strings.TrimPrefix(text, e.Value)
			case e.Bad:
				text = t.paint(red, text)
			}
			line += "  " + text + padding
		}
		t.line("%s", line)
	}
}

func pad(s string, n int) string {
	return s + strings.Repeat(" ", max(n-utf8.RuneCountInString(s), 0))
}

func columnWidth(column []entry) int {
	width := 0
	for _, e := range column {
		width = max(width, utf8.RuneCountInString(e.text()))
	}
	return width
}

// gates writes how many gates were passed, and every other one in full.
func (t *terminal) gates(run *judge.Run) {
	if len(run.Gates) == 0 {
		return
	}
	tally := map[judge.Verdict]int{}
	for _, g := range run.Gates {
		tally[g.Verdict]++
	}
	t.line("%s  %d passed, %d missed, %d inconclusive", t.paint(bold, "gates"), tally[judge.Pass], tally[judge.Fail], tally[judge.Inconclusive])
	for _, g := range run.Gates {
		if g.Verdict == judge.Pass {
			continue
		}
		word := "missed"
		if g.Verdict != judge.Fail {
			word = "undecided"
		}
		t.line("  %s  %s", t.paint(verdictStyle(g.Verdict), pad(word, 9)), format.Clean(g.Cell))
		t.wrapped("             ", "             ", gateText(g))
	}
	t.line("")
}

// gateText says what a gate asked for, what was observed and why it was judged so.
func gateText(g judge.GateResult) string {
	s := fmt.Sprintf("%s: observed %s", gateLimit(g.Gate), observed(g))
	if g.Why.Kind != "" {
		s += "; " + format.Clean(Sentence(g.Why))
	}
	return s
}

func gateLimit(g record.Gate) string {
	return format.Clean(fmt.Sprintf("%s %s %s", g.Metric, g.Op, limit(g.Metric, g.Limit)))
}

// observed prints what a gate was held against.
func observed(g judge.GateResult) string {
	if g.NoValue {
		return "no value"
	}
	s := measured(g.Gate.Metric, g.Observed)
	if g.HasInterval {
		s += " (" + measuredRange(g.Gate.Metric, g.Lo, g.Hi) + ")"
	}
	return s
}

func cellOf(run *judge.Run, key string) *judge.Cell {
	for i := range run.Cells {
		if run.Cells[i].Key() == key {
			return &run.Cells[i]
		}
	}
	return nil
}

// evidence writes what is invalid and why: invalid trials, controls that did not
// hold, cells that were not run. It also writes where something else was deployed than was
// asked for.
func (t *terminal) evidence(run *judge.Run) {
	var lines [][2]string
	for i := range run.Cells {
		c := &run.Cells[i]
		for j := range c.Trials {
			tr := &c.Trials[j]
			if tr.Valid {
				continue
			}
			lines = append(lines, [2]string{"invalid", trialName(c, tr) + ": " + invalidity(c, tr)})
		}
	}
	for _, c := range run.Controls {
		if !c.Held {
			lines = append(lines, [2]string{"control", format.Clean(fmt.Sprintf("%s, %s control did not hold: %s", c.Cell, c.Kind, Sentence(c.Why)))})
		}
	}
	for i := range run.Cells {
		c := &run.Cells[i]
		for _, n := range notes(c) {
			lines = append(lines, [2]string{"note   ", format.Clean(c.Key()) + ": " + n})
		}
	}
	for _, s := range skipped(run) {
		word := "skipped"
		if s.ByTarget {
			word = "failed "
		}
		lines = append(lines, [2]string{word, format.Clean(fmt.Sprintf("%s/%s/%s: %s", s.Scenario, s.Driver, s.Design, s.Why))})
	}
	if run.Partial {
		lines = append(lines, [2]string{"partial", "the run is not complete; what is shown rests on the trials that there are"})
	}
	if len(lines) == 0 {
		return
	}
	t.line("%s", t.paint(bold, "evidence"))
	for _, l := range lines {
		t.wrapped("  "+t.paint(yellow, l[0])+"    ", strings.Repeat(" ", 13), l[1])
	}
	t.line("")
}

// notes are those of all trials of a cell, each once.
func notes(c *judge.Cell) []string {
	var out []string
	for i := range c.Trials {
		for _, n := range c.Trials[i].Meta.Notes {
			if n = format.Clean(n); !slices.Contains(out, n) {
				out = append(out, n)
			}
		}
	}
	return out
}

func trialName(c *judge.Cell, t *judge.Trial) string {
	return format.Clean(fmt.Sprintf("%s trial %d", c.Key(), t.Meta.N))
}

func (t *terminal) verdict(run *judge.Run) {
	word := verdictWord(run.Verdict)
	t.wrapped(t.paint(verdictStyle(run.Verdict), word)+"  ", strings.Repeat(" ", len(word)+2), format.Clean(headline(run)))
	for _, r := range run.Reasons {
		if !shownAbove[r.Kind] {
			t.wrapped("  - ", "    ", format.Clean(Sentence(r)))
		}
	}
}

// shownAbove are the reasons that the lines above the verdict have said already.
var shownAbove = map[judge.Kind]bool{judge.GateMissed: true, judge.GateUnclear: true, judge.ControlFailed: true, judge.TrialInvalid: true, judge.CellNotRun: true, judge.DeployFailed: true}

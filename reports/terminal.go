package reports

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/rollout-lab/rollout-lab/internal/judge"
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
	for i, l := range format.FoldHard(text, max(t.width-utf8.RuneCountInString(indent), 20)) {
		if i > 0 {
			first = indent
		}
		t.line("%s%s", first, l)
	}
}

// WriteTerminal writes the verdict with why it came out so and what to do, then the matrix,
// what was missed and what is invalid; where all that is more than a screen, the verdict once
// more. It is the result of a run and belongs on standard output. Text from outside is
// stripped of control characters.
func WriteTerminal(w io.Writer, run *judge.Run, o TerminalOptions) error {
	t := &terminal{w: w, color: o.Color, width: o.Width}
	if t.width <= 0 {
		t.width = 80
	}
	t.width = max(t.width, 40)
	var b strings.Builder
	verdict := &terminal{w: &b, color: t.color, width: t.width}
	verdict.verdict(run)
	verdict.besides(run)
	verdict.line("")
	verdict.body(run, o)
	t.text(b.String())
	if strings.Count(b.String(), "\n") > screen {
		t.line("")
		t.verdict(run)
	}
	if t.err != nil {
		return fmt.Errorf("write results: %w", t.err)
	}
	return nil
}

// screen is how many lines are read at a glance. What is longer is read from its end as well,
// where a log stops and a terminal has scrolled to.
const screen = 30

// body writes everything but the verdict.
func (t *terminal) body(run *judge.Run, o TerminalOptions) {
	for _, g := range groups(run) {
		t.matrix(g)
	}
	t.gates(run)
	t.evidence(run)
	t.suites(run)
	if text := baselineText(&run.Record); text != "" {
		t.wrapped("baseline ", "         ", text)
	}
	if o.Folder != "" {
		t.line("report   %s", format.Clean(joinPath(o.Folder, "report.html")))
		t.line("data     %s", format.Clean(joinPath(o.Folder, "results.json")))
	}
	if run.Record.Command != "" {
		t.command("rerun    ", format.Clean(run.Record.Command))
	}
}

// text writes lines as they are.
func (t *terminal) text(lines string) {
	if t.err == nil {
		_, t.err = io.WriteString(t.w, lines)
	}
}

// command writes a command line that a shell can be given as it stands, also where it
// takes several lines.
func (t *terminal) command(label, command string) {
	indent := strings.Repeat(" ", utf8.RuneCountInString(label))
	line := label
	for i, word := range shellWords(command) {
		if i > 0 && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word)+len(" \\") > t.width {
			t.line("%s \\", line)
			line = indent + word
			continue
		}
		if i > 0 {
			line += " "
		}
		line += word
	}
	t.line("%s", line)
}

// shellWords splits a command at the spaces outside of single quotes.
func shellWords(command string) []string {
	quoted := false
	return strings.FieldsFunc(command, func(r rune) bool {
		if r == '\'' {
			quoted = !quoted
		}
		return r == ' ' && !quoted
	})
}

func joinPath(folder, file string) string { return strings.TrimRight(folder, "/") + "/" + file }

const labelWidth = 19

// summedNote says how several trials became one number.
const summedNote = "counts and rates add up all valid trials; times are their median (and range)"

// matrix writes one group: a line per metric, a column per design, as many columns side
// by side as fit.
func (t *terminal) matrix(g group) {
	title := format.Clean(fmt.Sprintf("%s on %s, action: %s", g.Scenario, g.Driver, g.Action))
	for _, line := range format.FoldHard(title, t.width) {
		t.line("%s", t.paint(bold, line))
	}
	if g.summed() {
		for _, line := range format.Fold(summedNote, t.width-2) {
			t.line("  %s", t.paint(dim, line))
		}
	}
	columns := matrixColumns(g, t.width-labelWidth-4)
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

// matrixColumns are the designs of a group: a name over the rows of the matrix, none wider
// than a line has room for.
func matrixColumns(g group, room int) [][]entry {
	best, worst := ranks(g)
	var columns [][]entry
	for _, c := range g.Cells {
		title := entry{Value: format.Shorten(format.Clean(c.Design), max(room-len(" (least lost)"), 8))}
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
	gates := shownGates(run)
	if len(gates) == 0 {
		return
	}
	t.line("%s  %s", t.paint(bold, "gates"), gateTally(run))
	for _, g := range gates {
		if g.Verdict == judge.Pass {
			continue
		}
		word := "undecided"
		switch g.Verdict {
		case judge.Fail:
			word = "missed"
		case judge.Warned:
			word = "warned"
		}
		t.wrapped("  "+t.paint(verdictStyle(g.Verdict), pad(word, 9))+"  ", "             ", format.Clean(g.Cell))
		t.wrapped("             ", "             ", gateText(g))
	}
	t.line("")
}

func cellOf(run *judge.Run, key string) *judge.Cell {
	for i := range run.Cells {
		if run.Cells[i].Key() == key {
			return &run.Cells[i]
		}
	}
	return nil
}

// evidence writes what is invalid and why.
func (t *terminal) evidence(run *judge.Run) {
	lines := evidence(run)
	if len(lines) == 0 {
		return
	}
	t.line("%s", t.paint(bold, "evidence"))
	for _, l := range lines {
		t.wrapped("  "+t.paint(yellow, pad(l[0], 7))+"    ", strings.Repeat(" ", 13), l[1])
	}
	t.line("")
}

// evidence is what is invalid, in a word, and why: invalid trials, controls that did not hold,
// cells that were not run. It is also where something else was deployed than was asked for.
func evidence(run *judge.Run) (lines [][2]string) {
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
	for _, text := range cellNotes(run) {
		lines = append(lines, [2]string{"note", text})
	}
	for _, s := range skipped(run) {
		word := "skipped"
		if s.ByTarget {
			word = "failed"
		}
		lines = append(lines, [2]string{word, format.Clean(fmt.Sprintf("%s/%s/%s: %s", s.Scenario, s.Driver, s.Design, s.Why))})
	}
	for _, text := range leftOut(run) {
		lines = append(lines, [2]string{"without", text})
	}
	if text := preflightText(run); text != "" {
		lines = append(lines, [2]string{"rate   ", format.Clean(text)})
	}
	for _, s := range stopped(run) {
		lines = append(lines, [2]string{"stopped", format.Clean(stoppedText(run, s))})
	}
	if incomplete(run) {
		lines = append(lines, [2]string{"partial", "the run is not complete; what is shown rests on the trials that there are"})
	}
	return lines
}

// note is something to be known of a cell, and what it is alike in other cells by.
type note struct {
	like, Text string
	worst      float64 // of what is alike, the one that has the most is told
}

// cellNotes are the notes of all cells: what is alike in several is said of the worst of them, and
// of the first where there is none.
func cellNotes(run *judge.Run) (out []string) {
	type told struct {
		note
		cell  string
		cells []string // all that it is to be known of
	}
	var all []told
	for i := range run.Cells {
		c := &run.Cells[i]
		key := format.Clean(c.Key())
		for _, n := range notes(c) {
			at := slices.IndexFunc(all, func(t told) bool { return t.like == n.like })
			if at < 0 {
				at, all = len(all), append(all, told{n, key, nil})
			}
			if all[at].cells = append(all[at].cells, key); n.worst > all[at].worst {
				all[at].note, all[at].cell = n, key
			}
		}
	}
	for _, t := range all {
		text := t.cell + ": " + t.Text
		switch others := slices.DeleteFunc(t.cells, func(key string) bool { return key == t.cell }); {
		case len(others) > mostCells:
			text += fmt.Sprintf("; so in %d more cells, which results.json names", len(others))
		case len(others) > 0:
			text += "; so in " + enumerated(others)
		}
		out = append(out, text)
	}
	return out
}

// mostCells is how many cells are named of which the same is to be known.
const mostCells = 3

// notes are those of all trials of a cell, each once, and behind them what is to be known of
// single trials: what is alike in several is said of the worst of them.
func notes(c *judge.Cell) (out []note) {
	for _, text := range deployed(c) {
		out = append(out, note{like: text, Text: text})
	}
	for _, n := range relayNotes(c.Trials) {
		n.Text = format.Clean(n.Text)
		out = append(out, n)
	}
	var kinds []judge.Kind
	for i := range c.Trials {
		for _, r := range c.Trials[i].Remarks {
			if !slices.Contains(kinds, r.Kind) {
				kinds = append(kinds, r.Kind)
				out = append(out, remarkNote(c, r.Kind))
			}
		}
	}
	return out
}

// remarkNote is a remark on the trial of a cell in which it says the most, and which others have it.
func remarkNote(c *judge.Cell, kind judge.Kind) note {
	var worst judge.Reason
	trial := -1
	var trials []int
	for i := range c.Trials {
		t := &c.Trials[i]
		of := ofKind(t.Remarks, kind)
		if len(of) == 0 {
			continue
		}
		if trials = append(trials, t.Meta.N); trial < 0 || weight(of[0]) > weight(worst) {
			worst, trial = of[0], t.Meta.N
		}
	}
	text := fmt.Sprintf("trial %d: %s", trial, Sentence(worst))
	var others []string
	for _, n := range trials {
		if n != trial {
			others = append(others, fmt.Sprint(n))
		}
	}
	switch len(others) {
	case 0:
	case 1:
		text += "; so in trial " + others[0]
	default:
		text += "; so in trials " + enumerated(others)
	}
	return note{"remark " + string(kind), format.Clean(text), weight(worst)}
}

// weight is how much a remark says against the numbers, among those of its kind.
func weight(r judge.Reason) float64 {
	switch r.Kind {
	case judge.WarmUpFailures, judge.SaturatedBesides:
		return float64(r.N)
	case judge.LittleIdle:
		return -r.Lo
	}
	return float64(r.Time)
}

// deployed is where the runtime deployed something else than was asked for.
func deployed(c *judge.Cell) (out []string) {
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

// verdict writes the verdict, why it came out so, what to do, and what warns.
func (t *terminal) verdict(run *judge.Run) {
	word := verdictWord(run.Verdict)
	t.wrapped(t.paint(verdictStyle(run.Verdict), word)+"  ", strings.Repeat(" ", len(word)+2), format.Clean(headline(run)))
	a := adviseOnRun(run)
	for _, part := range []struct{ label, text string }{{"why", a.Why}, {"do", a.Do}} {
		if part.text != "" {
			t.wrapped(t.paint(bold, part.label)+strings.Repeat(" ", 9-len(part.label)), strings.Repeat(" ", 9), format.Clean(part.text))
		}
	}
	for _, r := range run.Warnings {
		t.wrapped(t.paint(yellow, "warning")+"  ", strings.Repeat(" ", 9), format.Clean(Sentence(r)))
	}
}

// besides writes what else there is to say of the verdict.
func (t *terminal) besides(run *judge.Run) {
	for _, text := range besides(run) {
		t.wrapped("  - ", "    ", format.Clean(text))
	}
}

// besides is what there is to say of the verdict that neither its title nor the lists below say.
func besides(run *judge.Run) []string {
	all := lossesBeside(run)
	for _, r := range run.Reasons {
		if text := Sentence(r); !shownAbove[r.Kind] && !inHeadline(run, r) && !follows(run, r) {
			all = append(all, text)
		}
	}
	return all
}

// shownAbove are the reasons that the lines above the verdict have said already.
var shownAbove = map[judge.Kind]bool{judge.GateMissed: true, judge.GateUnclear: true, judge.ControlFailed: true, judge.TrialInvalid: true, judge.CellNotRun: true, judge.DeployFailed: true}

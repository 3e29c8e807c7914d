package reports

import (
	"fmt"
	"io"
	"strings"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/reports/format"
)

// ComparedSchema names the layout of the JSON that compare prints. Within v1 fields are only
// ever added.
const ComparedSchema = "rollout-lab.compare/v1"

// Compared is a run that was held against another one.
type Compared struct {
	Base, New   MeasuredRun
	Comparisons []judge.Comparison // those that decide are gated
	// Absent are the cells of the base that the new run lacks.
	Absent []string
	// Warnings are what a reader must know whatever the verdict is.
	Warnings []judge.Reason
}

// MeasuredRun names a run that is compared.
type MeasuredRun struct {
	// The folder or file, as it was named.
	Name string `json:"name"`
	// What names the run.
	RunID string `json:"run_id"`
	// When it began, in RFC 3339 and UTC.
	Started string `json:"started"`
	// The commit that was tested. Empty: no label says it.
	Commit string `json:"commit"`
	// The fingerprint of its environment.
	Fingerprint string `json:"fingerprint"`
	// Whether it was cut short, or a trial of it is missing.
	Partial bool `json:"partial"`
}

// Measured names a run by its results.
func (d *Document) Measured(name string) MeasuredRun {
	return MeasuredRun{Name: name, RunID: d.RunID, Started: d.Started, Commit: d.Labels[commitLabel], Fingerprint: d.Environment.Fingerprint, Partial: d.Partial}
}

// Verdict is Fail where anything is surely worse; else Inconclusive where something could not be
// told, or is not in the new run, or there was nothing to tell, or the new run was cut short; else
// Pass.
func (c *Compared) Verdict() judge.Verdict {
	verdict, decides := judge.Pass, 0
	for _, of := range c.Comparisons {
		switch {
		case !of.Gated:
			continue
		case of.Verdict == judge.Fail:
			return judge.Fail
		case of.Verdict != judge.Pass:
			verdict = judge.Inconclusive
		}
		decides++
	}
	if decides == 0 || len(c.Absent) > 0 || c.New.Partial {
		return judge.Inconclusive
	}
	return verdict
}

// Headline says the verdict in a sentence.
func (c *Compared) Headline() string {
	for _, verdict := range []judge.Verdict{judge.Fail, judge.Inconclusive} {
		for _, of := range c.Comparisons {
			if of.Gated && of.Verdict == verdict {
				return comparedCell(of) + ": " + Sentence(of.Why)
			}
		}
	}
	switch {
	case len(c.Absent) > 0:
		return "the new run has nothing of " + some(c.Absent)
	case c.New.Partial:
		return "the new run was cut short, or a trial of it is missing"
	case c.Verdict() != judge.Pass:
		return "there is nothing to compare: the new run has no cell that must not get worse"
	}
	return "nothing is worse than before"
}

func comparedCell(c judge.Comparison) string {
	cell := judge.Cell{Scenario: c.Scenario, Driver: c.Driver, Design: c.B}
	return cell.Key()
}

// comparedLine is what a comparison came to.
func comparedLine(c judge.Comparison) string {
	if !c.Compared() {
		return Sentence(c.Why)
	}
	return fmt.Sprintf("%s (%s), %d trials against %d: %s", moreOrLess(c.Shift), measuredRange(c.Metric, c.Lo, c.Hi), c.Trials.Of, c.Trials.N, Sentence(c.Why))
}

func (r MeasuredRun) text() string {
	s := r.Name
	if r.Commit != "" {
		s += ", commit " + format.Shorten(r.Commit, 12)
	}
	return format.Clean(fmt.Sprintf("%s, run %s of %s, environment %s", s, r.RunID, r.Started, r.Fingerprint))
}

// WriteComparison writes it for people: the verdict, and a line or two of each comparison.
func WriteComparison(w io.Writer, c *Compared, o TerminalOptions) error {
	t := &terminal{w: w, color: o.Color, width: o.Width}
	if t.width <= 0 {
		t.width = 80
	}
	word := verdictWord(c.Verdict())
	t.wrapped(t.paint(verdictStyle(c.Verdict()), word)+"  ", strings.Repeat(" ", len(word)+2), format.Clean(c.Headline()))
	for _, r := range c.Warnings {
		t.wrapped(t.paint(yellow, "warning")+"  ", strings.Repeat(" ", 9), format.Clean(Sentence(r)))
	}
	t.line("")
	for _, of := range c.Comparisons {
		word := comparisonWord(of)
		if of.Gated {
			word = map[judge.Verdict]string{judge.Pass: "no worse", judge.Fail: "worse"}[of.Verdict]
			if word == "" {
				word = "undecided"
			}
			if of.Why.Kind == judge.WorseWithin {
				word = "warning"
			}
		}
		t.wrapped("  "+t.paint(comparedStyle(of), pad(word, 9))+"  ", "             ", format.Clean(comparedCell(of)+" "+of.Metric))
		t.wrapped("             ", "             ", format.Clean(comparedLine(of)))
	}
	for _, cell := range c.Absent {
		t.wrapped("  "+t.paint(yellow, pad("absent", 9))+"  ", "             ", format.Clean(cell))
	}
	t.line("")
	t.wrapped("base  ", "      ", c.Base.text())
	t.wrapped("new   ", "      ", c.New.text())
	if t.err != nil {
		return fmt.Errorf("write the comparison: %w", t.err)
	}
	return nil
}

func comparedStyle(c judge.Comparison) style {
	switch {
	case !c.Gated:
		return dim
	case c.Why.Kind == judge.WorseWithin:
		return yellow
	}
	return verdictStyle(c.Verdict)
}

// WriteComparisonMarkdown writes it as Markdown.
func WriteComparisonMarkdown(w io.Writer, c *Compared) error {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s %s: %s\n", verdictIcon(c.Verdict()), verdictWord(c.Verdict()), markdown(c.Headline()))
	for _, r := range c.Warnings {
		fmt.Fprintf(&b, "\n**Warning:** %s\n", markdown(Sentence(r)))
	}
	rows := [][]string{{"", "cell", "metric", "shift", "p", "why"}}
	for _, of := range c.Comparisons {
		shift, p := "no data", "no data"
		if of.Compared() {
			shift, p = moreOrLess(of.Shift)+" ("+measuredRange(of.Metric, of.Lo, of.Hi)+")", probability(of.PWorse)
		}
		rows = append(rows, []string{comparisonWord(of), markdown(comparedCell(of)), markdown(of.Metric), markdown(shift), markdown(p), markdown(Sentence(of.Why))})
	}
	for _, cell := range c.Absent {
		rows = append(rows, []string{"? absent", markdown(cell), "", "", "", "the new run has nothing of it"})
	}
	if len(rows) > 1 {
		b.WriteString("\n" + markdownTable(rows))
	}
	fmt.Fprintf(&b, "\n<sub>base %s · new %s</sub>\n", markdown(c.Base.text()), markdown(c.New.text()))
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write the comparison: %w", err)
	}
	return nil
}

// ComparedJSON is what compare prints for programs.
type ComparedJSON struct {
	Schema      string        `json:"schema"`
	Verdict     judge.Verdict `json:"verdict"`
	Headline    string        `json:"headline"`
	Base        MeasuredRun   `json:"base"`
	New         MeasuredRun   `json:"new"`
	Warnings    []string      `json:"warnings"`
	Comparisons []Comparison  `json:"comparisons"`
	Absent      []string      `json:"absent"` // cells of the base that the new run lacks
}

// JSON is it for programs.
func (c *Compared) JSON() ComparedJSON {
	out := ComparedJSON{Schema: ComparedSchema, Verdict: c.Verdict(), Headline: c.Headline(), Base: c.Base, New: c.New,
		Warnings: Sentences(c.Warnings), Comparisons: []Comparison{}, Absent: present(c.Absent)}
	for _, of := range c.Comparisons {
		out.Comparisons = append(out.Comparisons, newComparison(of))
	}
	return out
}

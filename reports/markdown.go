package reports

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/reports/format"
)

// MarkdownOptions says where the rest of a run is.
type MarkdownOptions struct {
	Folder string // where the run's files are; "" leaves it out
	Link   string // address under which they can be fetched; "" where there is none
}

// MaxMarkdown bounds what WriteMarkdown writes, in bytes: a comment on a pull request may have
// 65,536 characters.
const MaxMarkdown = 60_000

const (
	mostRows = 40    // of a table or a list; the report has all
	mostText = 1_500 // characters of one text
)

// WriteMarkdown writes the verdict with why it came out so and what to do, the matrix, the gates
// and what is invalid: for the summary of a job and a comment on a pull request. It is never
// longer than MaxMarkdown; what is left out, it names. Text from outside is shown as it is, and
// neither formats anything, nor mentions anybody, nor leads anywhere.
func WriteMarkdown(w io.Writer, run *judge.Run, o MarkdownOptions) error {
	end := markdownEnd(run, o)
	text, left := markdownVerdict(run), 0
	for _, part := range markdownParts(run) {
		if len(text)+len(part)+len(end) > MaxMarkdown-200 {
			left++
			continue
		}
		text += "\n" + part
	}
	if left > 0 {
		text += fmt.Sprintf("\nToo long for this place: %s, which report.html has.\n", format.Plural(left, "part is left out", "parts are left out"))
	}
	if _, err := io.WriteString(w, text+"\n"+end); err != nil {
		return fmt.Errorf("write the summary: %w", err)
	}
	return nil
}

// markdownVerdict is the verdict, why it came out so and what to do.
func markdownVerdict(run *judge.Run) string {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s %s: %s\n", verdictIcon(run.Verdict), verdictWord(run.Verdict), markdown(headline(run)))
	a := adviseOnRun(run)
	for _, part := range []struct{ label, text string }{{"Why", a.Why}, {"What to do", a.Do}} {
		if part.text != "" {
			fmt.Fprintf(&b, "\n**%s:** %s\n", part.label, markdown(part.text))
		}
	}
	for _, r := range run.Warnings {
		fmt.Fprintf(&b, "\n**Warning:** %s\n", markdown(Sentence(r)))
	}
	if beside := besides(run); len(beside) > 0 {
		b.WriteString("\n" + markdownList(beside))
	}
	return b.String()
}

// verdictIcon is a verdict for those who look at many jobs at once.
func verdictIcon(v judge.Verdict) string {
	return map[judge.Verdict]string{judge.Pass: "✅", judge.Fail: "❌", judge.Inconclusive: "⚠️"}[verdictClass(v)]
}

// markdownParts is what follows the verdict, the most important first.
func markdownParts(run *judge.Run) (parts []string) {
	for _, s := range suites(run) {
		parts = append(parts, markdownSuite(s))
	}
	for _, g := range groups(run) {
		parts = append(parts, markdownMatrix(g))
	}
	if len(shownGates(run)) > 0 {
		parts = append(parts, markdownGates(run))
	}
	if lines := evidence(run); len(lines) > 0 {
		var texts []string
		for _, l := range lines {
			texts = append(texts, l[0]+": "+l[1])
		}
		parts = append(parts, "### Evidence\n\n"+markdownList(texts))
	}
	return parts
}

// markdownMatrix is one group: a row per metric, a column per design.
func markdownMatrix(g group) string {
	columns := matrixColumns(g, mostText)
	rows := [][]string{{""}}
	for _, r := range g.rows() {
		name := strings.TrimLeft(r.name(), " ")
		rows = append(rows, []string{strings.Repeat("&nbsp;", 2*(len(r.name())-len(name))) + markdown(name)})
	}
	for _, column := range columns {
		for i, e := range column {
			text := markdown(e.text())
			if e.Bad {
				text = "**" + text + "**"
			}
			rows[i] = append(rows[i], text)
		}
	}
	title := fmt.Sprintf("%s on %s, action: %s", g.Scenario, g.Driver, g.Action)
	text := "### " + markdown(title) + "\n\n" + markdownTable(rows)
	if g.summed() {
		text += "\n" + summedNote + "\n"
	}
	return text
}

// markdownGates are the gates, those first that were not passed.
func markdownGates(run *judge.Run) string {
	rows := [][]string{{"", "gate", "on", "observed", "why"}}
	gates := shownGates(run)
	slices.SortStableFunc(gates, func(a, b judge.GateResult) int { return gateRank(a.Verdict) - gateRank(b.Verdict) })
	for _, g := range gates {
		why := ""
		if g.Why.Kind != "" {
			why = Sentence(g.Why)
		}
		rows = append(rows, []string{gateWord(g.Verdict), markdown(gateLimit(g.Gate)), markdown(g.Cell), markdown(observed(g)), markdown(why)})
	}
	return "### Gates: " + gateTally(run) + "\n\n" + markdownTable(rows)
}

// gateRank orders gates by how much they matter to a reader.
func gateRank(v judge.Verdict) int {
	switch v {
	case judge.Fail:
		return 0
	case judge.Pass:
		return 2
	}
	return 1
}

// markdownEnd says what was run and where the rest is.
func markdownEnd(run *judge.Run, o MarkdownOptions) string {
	lines := []string{}
	for _, k := range slices.Sorted(maps.Keys(run.Record.Labels)) {
		lines = append(lines, markdown(k+": "+run.Record.Labels[k]))
	}
	if len(lines) > mostRows {
		lines = lines[:mostRows]
	}
	if text := baselineText(&run.Record); text != "" {
		lines = append(lines, "baseline "+markdown(text))
	}
	if o.Link != "" {
		lines = append(lines, "[report, results and raw record]("+format.Clean(o.Link)+")")
	} else if o.Folder != "" {
		lines = append(lines, "report: "+markdown(joinPath(o.Folder, "report.html")))
	}
	lines = append(lines, "run "+markdown(run.Record.ID)+", rollout-lab "+markdown(run.Record.Tool.Version))
	return "<sub>" + strings.Join(lines, " · ") + "</sub>\n"
}

func markdownList(texts []string) string {
	var b strings.Builder
	for i, text := range texts {
		if i == mostRows {
			fmt.Fprintf(&b, "- and %d more, which report.html has\n", len(texts)-mostRows)
			break
		}
		b.WriteString("- " + markdown(text) + "\n")
	}
	return b.String()
}

// markdownTable writes rows of cells that are Markdown already, the first row as the head.
func markdownTable(rows [][]string) string {
	var b strings.Builder
	for i, row := range rows {
		if i > mostRows {
			fmt.Fprintf(&b, "\n%d more rows are in report.html.\n", len(rows)-i)
			break
		}
		b.WriteString("| " + strings.Join(row, " | ") + " |\n")
		if i == 0 {
			b.WriteString(strings.Repeat("|---", len(row)) + "|\n")
		}
	}
	return b.String()
}

// markdown makes text from outside stand in Markdown as it is. A comment in the middle of what
// would be a mention, a reference or an address keeps it from becoming one: such are looked for
// in the text that is left when Markdown has been read, so that no backslash helps.
func markdown(text string) string {
	return plainly.Replace(format.Shorten(format.Clean(text), mostText))
}

var plainly = strings.NewReplacer(
	"&", "&amp;", "<", "&lt;", ">", "&gt;",
	`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "|", `\|`, "~", `\~`, "$", `\$`,
	"@", "@<!-- -->", "#", "#<!-- -->", "://", ":<!-- -->//", "www.", "www<!-- -->.",
	"GH-", "GH<!-- -->-",
)

// Trouble is what kept a command from its result, as Markdown.
func Trouble(command, text string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n## ❌ %s did not end as it should\n", markdown(command))
	for line := range strings.Lines(text) {
		b.WriteString("\n" + markdown(line) + "\n")
	}
	return b.String()
}

package reports

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
	gmhtml "github.com/yuin/goldmark/renderer/html"
	"golang.org/x/net/html"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/reports/format"
)

func markdownText(t *testing.T, run *judge.Run, o MarkdownOptions) string {
	t.Helper()
	var b bytes.Buffer
	if err := WriteMarkdown(&b, run, o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// rendered is Markdown as GitHub reads it, raw HTML and bare addresses included.
func rendered(t *testing.T, text string) *html.Node {
	t.Helper()
	var b bytes.Buffer
	gfm := goldmark.New(goldmark.WithExtensions(extension.GFM), goldmark.WithRendererOptions(gmhtml.WithUnsafe()))
	if err := gfm.Convert([]byte(text), &b); err != nil {
		t.Fatal(err)
	}
	doc, err := html.Parse(&b)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestMarkdownGolden(t *testing.T) {
	golden(t, "summary.md", []byte(markdownText(t, fixtureRun(), MarkdownOptions{Folder: "runs/20261122"})))
	golden(t, "summary-missed.md", []byte(markdownText(t, missedRun(), MarkdownOptions{Folder: "runs/20261122", Link: "https://github.com/o/r/actions/runs/1#artifacts"})))
	golden(t, "summary-compared.md", []byte(markdownText(t, comparedRun(), MarkdownOptions{})))
	golden(t, "summary-partial.md", []byte(markdownText(t, partialRun(), MarkdownOptions{})))
}

// What a summary says of a cell is what the terminal says.
func TestTheSummaryHasTheRowsOfTheTerminal(t *testing.T) {
	run := missedRun()
	var cells []string
	for n := range rendered(t, markdownText(t, run, MarkdownOptions{})).Descendants() {
		if n.Type == html.ElementNode && (n.Data == "td" || n.Data == "th") {
			cells = append(cells, strings.Trim(contentOf(n), " \u00a0"))
		}
	}
	for _, g := range groups(run) {
		for _, r := range g.rows() {
			at := slices.Index(cells, strings.TrimSpace(r.name()))
			if at < 0 {
				t.Errorf("no row %q", r.name())
				continue
			}
			for i, c := range g.Cells {
				if got, want := cells[at+1+i], r.of(c, c.Totals()).text(); got != want {
					t.Errorf("%s of %s: got %q, want %q", r.name(), c.Design, got, want)
				}
			}
		}
	}
}

// contentOf is the text of an element.
func contentOf(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data)
		}
	}
	return b.String()
}

// linked is what GitHub makes a link or a mention of in the text of a rendered page.
var linked = regexp.MustCompile(`(?i)@\w|#\d|\bGH-\d|www\.|\w+://`)

// enemies are texts that would be more than text.
var enemies = []string{
	hostile, "`rm -rf`", "``", "**bold** __bold__ *a* _b_ ~~gone~~", "[a](https://evil.example) ![i](https://evil.example/i.png)",
	"<img src=x onerror=alert(1)> <!-- comment --> <b>", "@everyone and @o/team", "fixes #12, GH-12 and o/r#12", "https://evil.example www.evil.example ftp://evil.example a@evil.example",
	"a | b || c \\| d \\", "$x$ $$y$$", "&lt;b&gt; &amp; &#60;", "# head", "- list", "1. list", "> quote", "```", "line\nbreak\r\n\r\n## head", "[^1] [ ] [x]", `\`, "::error::x",
}

func TestTextFromOutsideIsTextInMarkdown(t *testing.T) {
	for _, enemy := range enemies {
		for name, place := range map[string]string{"a line": "## FAIL: %s\n", "a list": "- x: %s\n", "a table": "| a |\n|---|\n| %s |\n", "a line of its end": "<sub>x: %s</sub>\n"} {
			doc := rendered(t, fmt.Sprintf(place, markdown(enemy)))
			if got, want := contentOf(doc), strings.Join(strings.Fields(format.Clean(enemy)), " "); !strings.Contains(strings.Join(strings.Fields(got), " "), want) {
				t.Errorf("%q in %s reads %q", enemy, name, got)
			}
			plainText(t, doc, fmt.Sprintf("%q in %s", enemy, name))
		}
	}
}

// plainText complains of everything in a page that our own Markdown cannot have made.
func plainText(t *testing.T, doc *html.Node, where string) {
	t.Helper()
	ours := []string{"html", "head", "body", "h1", "h2", "h3", "p", "strong", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "sub"}
	for n := range doc.Descendants() {
		switch {
		case n.Type == html.ElementNode && !slices.Contains(ours, n.Data):
			t.Errorf("%s makes an element %s", where, n.Data)
		case n.Type == html.TextNode && linked.MatchString(n.Data):
			t.Errorf("%s makes a link or a mention: %q", where, n.Data)
		}
	}
}

func TestAHostileRunIsTextInMarkdown(t *testing.T) {
	run := hostileRun()
	for i, enemy := range enemies {
		run.End.Skipped = append(run.End.Skipped, record.Skipped{Scenario: fmt.Sprint(i), Driver: enemy, Design: enemy, Why: enemy})
	}
	plainText(t, rendered(t, markdownText(t, run, MarkdownOptions{Folder: "x@all"})), "a hostile run")
}

// A summary that is too long is refused by whoever takes it, and then there is none.
func TestTheSummaryIsNeverTooLong(t *testing.T) {
	run := missedRun()
	long := strings.Repeat("<long|", 10_000)
	for n := range 300 {
		run.Gates = append(run.Gates, judge.GateResult{Cell: fmt.Sprint(long, n), Gate: record.Gate{Metric: long, Op: "<="}, Verdict: judge.Inconclusive, NoValue: true})
		run.End.Skipped = append(run.End.Skipped, record.Skipped{Scenario: fmt.Sprint(n), Why: long})
		run.Cells = append(run.Cells, judge.Cell{Scenario: fmt.Sprint("s", n), Driver: "process", Design: long})
	}
	run.Record.Labels = map[string]string{"commit": long}
	text := markdownText(t, run, MarkdownOptions{Folder: long})
	if len(text) > MaxMarkdown || !utf8.ValidString(text) {
		t.Errorf("%d bytes, want at most %d of UTF-8", len(text), MaxMarkdown)
	}
	for _, want := range []string{"## ❌ FAIL: ", "parts are left out", "rollout-lab v0.1.0</sub>\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("it does not say %q", want)
		}
	}
}

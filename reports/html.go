package reports

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/reports/format"
	"github.com/rollout-lab/rollout-lab/reports/picture"
)

//go:embed page
var pageFiles embed.FS

// pageSource is an embedded file of the page; it is part of the program, so it is there.
func pageSource(name string) string {
	b, err := pageFiles.ReadFile("page/" + name)
	if err != nil {
		panic(err)
	}
	return string(b)
}

var templates = template.Must(template.New("").Funcs(template.FuncMap{
	"def":      func(id string) string { return "#def-" + id },
	"patterns": func() template.HTML { return template.HTML(picture.Patterns) },
}).ParseFS(pageFiles, "page/*.tmpl"))

// pageLimit is what the page must stay below, however long the run was.
const pageLimit = 2_000_000

// detail says how finely a page draws; see pageDetails.
type detail struct {
	main, other int  // columns of the first trial's timeline, and of the others'; 0 leaves those out
	table       int  // lines of a timeline's table
	instances   int  // rows of a table of instances
	apart       bool // results.json is not embedded
}

// pageDetails are tried from the finest on until the page is small enough.
var pageDetails = []detail{
	{600, 300, 240, 60, false}, {600, 150, 120, 40, false}, {450, 90, 80, 20, false}, {300, 60, 40, 12, false}, {250, 40, 20, 8, false},
	{200, 0, 24, 8, false}, {100, 0, 12, 4, false}, {60, 0, 6, 2, false}, {200, 0, 24, 8, true}, {60, 0, 6, 2, true},
}

// WriteHTML writes report.html: one file that loads nothing, works from the disk and
// without JavaScript, and stays below 2 MB; where a run has more to show than fits, it is
// drawn more coarsely and the page says so.
func WriteHTML(w io.Writer, run *judge.Run) error {
	var b bytes.Buffer
	for i, d := range pageDetails {
		b.Reset()
		p, err := newPage(run, d)
		if err != nil {
			return fmt.Errorf("write report.html: %w", err)
		}
		p.Coarser = i > 0
		if err := templates.ExecuteTemplate(&b, "report", p); err != nil {
			return fmt.Errorf("write report.html: %w", err)
		}
		if b.Len() < pageLimit {
			break
		}
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write report.html: %w", err)
	}
	return nil
}

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
	chosen := firstTrials(cells)
	if len(chosen) == 0 {
		return fmt.Errorf("write timeline: no trial to draw in %d cells", len(cells))
	}
	if _, err := io.WriteString(w, draw(chosen, picture.Alone(600), false).String()); err != nil {
		return fmt.Errorf("write timeline: %w", err)
	}
	return nil
}

// page is everything that the report's template shows, as text that is ready to be shown.
type page struct {
	Title                                  string
	CSP                                    string
	Style                                  template.CSS
	Script                                 template.JS
	JSON                                   template.JS
	Coarser, Apart                         bool
	ID, Started, Duration, Version, Commit string
	Verdict                                judge.Verdict
	Word                                   string
	Headline                               string
	Reasons                                []string
	Command                                string
	Partial                                bool
	Groups                                 []pageGroup
	Gates                                  []gateRow
	Comparisons                            []comparisonRow
	Controls                               []Control
	Skipped                                []SkippedDesign
	Environment                            [][2]string
	Scenarios                              []Scenario
	Sources                                []string
	Definitions                            []definition
	Routings                               []routing
}

type gateRow struct {
	Cell, Limit, Observed, Why, Word, Def string
	Verdict                               judge.Verdict
}

type comparisonRow struct {
	Where, What, Shift, Range, P, Why, Word, Def string
	Verdict                                      judge.Verdict
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

func newPage(run *judge.Run, d detail) (*page, error) {
	doc := Results(run)
	raw, err := json.Marshal(doc) // escapes <, > and &, so it cannot end the script element
	if err != nil {
		return nil, err
	}
	if raw = escapeOverrides(raw); d.apart {
		raw = []byte("null")
	}
	style, script := picture.Style+pageSource("page.css"), pageSource("page.js")
	r := &run.Record
	p := &page{
		Title: format.Clean("rollout-lab: " + r.ID), Apart: d.apart,
		CSP:   "default-src 'none'; style-src " + hash(style) + "; script-src " + hash(script) + "; base-uri 'none'; form-action 'none'",
		Style: template.CSS(style), Script: template.JS(script), JSON: template.JS(raw),
		ID: format.Clean(r.ID), Started: format.Clean(r.Started), Version: format.Clean(r.Tool.Version), Commit: format.Clean(r.Tool.Commit),
		Verdict: verdictClass(run.Verdict), Word: verdictWord(run.Verdict), Headline: format.Clean(run.Headline), Command: format.Clean(r.Command), Partial: run.Partial,
		Definitions: definitions, Scenarios: doc.Scenarios,
	}
	if run.End != nil {
		p.Duration = format.Span(run.End.Duration)
	}
	for _, reason := range run.Reasons {
		if format.Clean(reason) != p.Headline {
			p.Reasons = append(p.Reasons, format.Clean(reason))
		}
	}
	for i, g := range groups(run) {
		p.Groups = append(p.Groups, newPageGroup(i, g, d))
	}
	p.Routings = routings(run)
	for _, g := range run.Gates {
		p.Gates = append(p.Gates, gateRow{Cell: format.Clean(g.Cell), Limit: gateLimit(g.Gate), Observed: observed(g), Why: format.Clean(g.Why),
			Word: gateWord(g.Verdict), Def: definitionOf(g.Gate.Metric), Verdict: verdictClass(g.Verdict)})
	}
	for _, c := range run.Comparisons {
		p.Comparisons = append(p.Comparisons, comparisonRow{Where: format.Clean(c.Scenario + " on " + c.Driver), What: format.Clean(c.B + " against " + c.A + ", " + c.Metric),
			Shift: measured(c.Metric, c.Shift), Range: measuredRange(c.Metric, c.Lo, c.Hi),
			P: format.TrimZeros(fmt.Sprintf("%.4f", c.P)), Why: format.Clean(c.Why), Word: gateWord(c.Verdict), Def: definitionOf(c.Metric), Verdict: verdictClass(c.Verdict)})
	}
	for _, c := range doc.Controls {
		p.Controls = append(p.Controls, Control{format.Clean(c.Cell), format.Clean(c.Kind), c.Held, format.Clean(c.Why)})
	}
	for _, s := range doc.Skipped {
		p.Skipped = append(p.Skipped, SkippedDesign{format.Clean(s.Scenario), format.Clean(s.Driver), format.Clean(s.Design), format.Clean(s.Why)})
	}
	for i := range p.Scenarios {
		p.Scenarios[i] = cleanScenario(p.Scenarios[i])
		p.Sources = append(p.Sources, cleanLines(r.Scenarios[i].Source))
	}
	e := r.Environment
	p.Environment = [][2]string{{"system", format.Clean(e.OS + "/" + e.Arch)}, {"processors", fmt.Sprint(e.CPUs)}, {"kernel", format.Clean(e.Kernel)}, {"Go", format.Clean(e.Go)}}
	for _, name := range sortedKeys(e.Runtimes) {
		p.Environment = append(p.Environment, [2]string{format.Clean(name), format.Clean(e.Runtimes[name])})
	}
	p.Environment = append(p.Environment, [2]string{"fingerprint", format.Clean(e.Fingerprint)})
	return p, nil
}

// escapeOverrides writes bidirectional overrides in JSON as escapes, so that nobody who
// reads the page's source is shown another text than is there.
func escapeOverrides(raw []byte) []byte {
	for _, r := range "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069" {
		raw = bytes.ReplaceAll(raw, []byte(string(r)), fmt.Appendf(nil, "\\u%04x", r))
	}
	return raw
}

func cleanScenario(s Scenario) Scenario {
	s.Name, s.About, s.SHA256, s.Action = format.Clean(s.Name), format.Clean(s.About), format.Clean(s.SHA256), format.Clean(s.Action)
	return s
}

// cleanLines cleans a text that keeps its line breaks.
func cleanLines(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = format.Clean(l)
	}
	return strings.Join(lines, "\n")
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// verdictClass is the verdict as a class name; text from outside never becomes one.
func verdictClass(v judge.Verdict) judge.Verdict {
	if v == judge.Pass || v == judge.Fail {
		return v
	}
	return judge.Inconclusive
}

func gateWord(v judge.Verdict) string {
	switch v {
	case judge.Pass:
		return "✓ passed"
	case judge.Fail:
		return "✗ missed"
	}
	return "? undecided"
}

// definitionOf is the ID of a metric's definition, "" when there is none to link to.
func definitionOf(metric string) string {
	if slices.ContainsFunc(definitions, func(d definition) bool { return d.ID == metric }) {
		return metric
	}
	return ""
}

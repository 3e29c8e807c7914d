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
	"strings"
	"unicode/utf8"

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

var templates = template.Must(template.New("").Funcs(words).ParseFS(pageFiles, "page/*.tmpl"))

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
//
// The templates in page are given the judged run and what newPage works out beside it; the
// functions in words.go make text of it. Foreign text is escaped by the templates, and
// freed of control characters here, once for the whole page.
func WriteHTML(w io.Writer, run *judge.Run) error {
	results, err := embeddedResults(run)
	if err != nil {
		return fmt.Errorf("write report.html: %w", err)
	}
	text := ""
	for i, d := range pageDetails {
		var b strings.Builder
		p := newPage(run, d)
		p.Coarser = i > 0
		p.Results = "null"
		if !d.apart {
			p.Results = results
		}
		if err := templates.ExecuteTemplate(&b, "report", p); err != nil {
			return fmt.Errorf("write report.html: %w", err)
		}
		if text = format.CleanLines(b.String()); len(text) < pageLimit {
			break
		}
	}
	if _, err := io.WriteString(w, text); err != nil {
		return fmt.Errorf("write report.html: %w", err)
	}
	return nil
}

// sheet is the page's style, script and the policy that allows just these two.
type sheet struct {
	Style  template.CSS
	Script template.JS
	CSP    string
}

func newSheet() sheet {
	style, script := picture.Style+pageSource("page.css"), pageSource("page.js")
	return sheet{template.CSS(style), template.JS(script),
		"default-src 'none'; style-src " + hash(style) + "; script-src " + hash(script) + "; base-uri 'none'; form-action 'none'"}
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// embeddedResults is results.json as the content of a script element. What would not be
// shown as it is, a control character or one that turns the direction of text, is escaped:
// who reads the page's source must not be shown another text than is there.
func embeddedResults(run *judge.Run) (template.JS, error) {
	raw, err := json.Marshal(Results(run)) // escapes <, > and &, so it cannot end the element
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	for _, r := range string(raw) {
		if r >= utf8.RuneSelf && format.Clean(string(r)) != string(r) || r == 0x7f {
			fmt.Fprintf(&b, "\\u%04x", r)
			continue
		}
		b.WriteRune(r)
	}
	return template.JS(b.String()), nil
}

package reports

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/internal/timeline"
	"github.com/rollout-lab/rollout-lab/reports/picture"
)

func htmlText(t *testing.T, run *judge.Run) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := WriteHTML(&b, run); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func svgText(t *testing.T, run *judge.Run, keys ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := WriteTimelineSVG(&b, run, keys...); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// briefRun is the fixture with two trials a cell and constant latencies: its page is
// short enough to be read as a golden.
func briefRun() *judge.Run {
	run := fixtureRun()
	for i := range run.Cells {
		c := &run.Cells[i]
		c.Trials = c.Trials[:2]
		for j := range c.Trials {
			for k := range c.Trials[j].Timeline.Bins {
				if b := &c.Trials[j].Timeline.Bins[k]; b.P50 > 0 {
					b.P50, b.P99 = 600*time.Microsecond, 2400*time.Microsecond
				}
			}
		}
		estimate(c)
	}
	return run
}

func TestHTMLGolden(t *testing.T) {
	golden(t, "report.html", htmlText(t, briefRun()))
}

func TestTimelineSVGGolden(t *testing.T) {
	golden(t, "timeline.svg", svgText(t, briefRun()))
}

// walk calls visit for every element of a page.
func walk(t *testing.T, raw []byte, visit func(*html.Node)) {
	t.Helper()
	doc, err := html.Parse(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	for n := range doc.Descendants() {
		if n.Type == html.ElementNode {
			visit(n)
		}
	}
}

func attr(n *html.Node, key string) (string, bool) {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val, true
		}
	}
	return "", false
}

// longRun has trials of 1,000 s at 1,000 requests a second: 10,000 bins and a million
// requests each, with one single bin that failed.
func longRun(trials int) *judge.Run {
	run := fixtureRun()
	for i := range run.Cells {
		c := &run.Cells[i]
		c.Trials = nil
		for n := range trials {
			t := fixtureTrial(c.Scenario, c.Driver, c.Action, c.Design, i == 0, n+1)
			random := noise(n + i)
			tl := &t.Timeline
			tl.To = 1000 * time.Second
			t.Window.To = tl.To
			tl.Bins = nil
			for k := range 10000 {
				b := timeline.Bin{From: time.Duration(k) * binWidth, Planned: 100, OK: 100}
				b.P50 = time.Duration((0.5 + 5*random.next()) * float64(time.Millisecond))
				b.P99 = b.P50 * time.Duration(1+10*random.next())
				if k == 7003 || i == 0 && random.next() < 0.3 {
					b.OK, b.Failed, b.Denied = 40, 60, 30
				}
				tl.Bins = append(tl.Bins, b)
			}
			// And instances that flap.
			for l := range tl.Lanes {
				lane := &tl.Lanes[l]
				lane.Verdict, lane.Truth, lane.FalseReady = nil, nil, nil
				for k := range 1000 {
					at := time.Duration(k) * 1000 * time.Millisecond
					lane.Verdict = append(lane.Verdict, timeline.StateSpan{Span: timeline.Span{From: at, To: at + 400*time.Millisecond}, State: []timeline.State{timeline.Ready, timeline.Unready}[k%2]})
					lane.Truth = append(lane.Truth, timeline.StateSpan{Span: timeline.Span{From: at, To: at + 400*time.Millisecond}, State: []timeline.State{timeline.NotServing, timeline.Serving}[k%2]})
					if k%2 == 0 {
						lane.FalseReady = append(lane.FalseReady, timeline.Span{From: at, To: at + 400*time.Millisecond})
					}
				}
			}
			c.Trials = append(c.Trials, t)
		}
	}
	return run
}

func TestPageIsSmallHoweverLongTheRun(t *testing.T) {
	for _, tt := range []struct {
		trials  int
		coarser bool
	}{{1, false}, {30, true}} {
		raw := htmlText(t, longRun(tt.trials))
		t.Logf("%d trials a cell: %d bytes", tt.trials, len(raw))
		if len(raw) >= pageLimit {
			t.Errorf("%d trials a cell: %d bytes, want less than %d", tt.trials, len(raw), pageLimit)
		}
		if got := bytes.Contains(raw, []byte("drawn more coarsely")); got != tt.coarser {
			t.Errorf("%d trials a cell: the page says that it is coarser: %t, want %t", tt.trials, got, tt.coarser)
		}
		if !bytes.Contains(raw, []byte("The other trials")) != (tt.trials == 1) {
			t.Errorf("%d trials a cell: the other trials are not drawn, though there is room", tt.trials)
		}
	}
}

func TestPageIsSmallHoweverManyInstances(t *testing.T) {
	run := fixtureRun()
	for i := range run.Cells {
		for j := range run.Cells[i].Trials {
			tr := &run.Cells[i].Trials[j]
			for n := range 5000 {
				id := fmt.Sprintf("proxy-%05d", n)
				tr.Instances = append(tr.Instances, judge.InstanceCount{ID: id, Revision: "r2", OK: 6})
				tr.Timeline.Lanes = append(tr.Timeline.Lanes, timeline.Lane{Instance: id, Revision: "r2", Sync: -1})
			}
		}
	}
	raw := htmlText(t, run)
	if len(raw) >= pageLimit {
		t.Errorf("%d bytes, want less than %d", len(raw), pageLimit)
	}
	for _, want := range []string{"too large to be embedded", "more instances, in the table", "more instances, in the record", "in results.json"} {
		if !bytes.Contains(raw, []byte(want)) {
			t.Errorf("the page does not say %q", want)
		}
	}
}

func TestNoForeignTextBecomesMarkup(t *testing.T) {
	raw := htmlText(t, hostileRun())
	scripts := 0
	walk(t, raw, func(n *html.Node) {
		switch n.Data {
		case "img", "iframe", "object", "embed", "link", "form", "base":
			t.Errorf("a <%s> got into the page", n.Data)
		case "script":
			scripts++
			if _, ok := attr(n, "src"); ok {
				t.Error("a script from elsewhere")
			}
			if n.FirstChild != nil && strings.Contains(n.FirstChild.Data, "<script") {
				t.Error("a script element holds an unescaped <script")
			}
		}
		for _, a := range n.Attr {
			if strings.HasPrefix(a.Key, "on") || a.Key == "style" {
				t.Errorf("<%s %s=...> got into the page", n.Data, a.Key)
			}
		}
	})
	if scripts != 2 {
		t.Errorf("got %d script elements, want the results and the page's own", scripts)
	}
	if i := bytes.IndexAny(raw, "\x00\x1b\u202e"); i >= 0 {
		t.Errorf("a control character at byte %d", i)
	}
	svg := svgText(t, hostileRun())
	parseXML(t, svg)
	if bytes.Contains(svg, []byte("<script")) || bytes.Contains(svg, []byte("<img")) {
		t.Error("foreign text became markup in the SVG")
	}
}

func parseXML(t *testing.T, raw []byte) {
	t.Helper()
	dec := xml.NewDecoder(bytes.NewReader(raw))
	for {
		_, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("not XML: %v", err)
		}
	}
}

func TestTheSVGIsXML(t *testing.T) {
	for name, run := range map[string]*judge.Run{"fixture": fixtureRun(), "long": longRun(1), "missed": missedRun()} {
		raw := svgText(t, run)
		t.Logf("%s: %d bytes", name, len(raw))
		parseXML(t, raw)
	}
}

func TestTimelineSVGOfChosenCells(t *testing.T) {
	raw := svgText(t, fixtureRun(), "quickstart/process/naive")
	if !bytes.Contains(raw, []byte(">naive</text>")) || bytes.Contains(raw, []byte(">stack-aware</text>")) {
		t.Error("the picture does not show the one cell that was asked for")
	}
	if err := WriteTimelineSVG(io.Discard, fixtureRun(), "quickstart/process/other"); err == nil || !strings.Contains(err.Error(), "quickstart/process/other") {
		t.Errorf("a cell that is not there: got %v", err)
	}
	if err := WriteTimelineSVG(io.Discard, &judge.Run{}); err == nil {
		t.Error("a run without trials: got no error")
	}
}

func TestEveryLinkLeadsSomewhereInThePage(t *testing.T) {
	for name, run := range map[string]*judge.Run{"fixture": fixtureRun(), "missed": missedRun(), "partial": partialRun(), "empty": {}, "hostile": hostileRun()} {
		ids, links := map[string]bool{}, map[string]bool{}
		walk(t, htmlText(t, run), func(n *html.Node) {
			if id, ok := attr(n, "id"); ok {
				if ids[id] {
					t.Errorf("%s: id %q is there twice", name, id)
				}
				ids[id] = true
			}
			if href, ok := attr(n, "href"); ok {
				links[href] = true
			}
		})
		for href := range links {
			if !strings.HasPrefix(href, "#") || !ids[href[1:]] {
				t.Errorf("%s: link %q leads nowhere in the page", name, href)
			}
		}
		least := 7
		if name == "empty" {
			least = 2 // to the matrix and to the definitions
		}
		if len(links) < least {
			t.Errorf("%s: only %d links", name, len(links))
		}
	}
}

func TestEveryNumberOfTheMatrixIsDefined(t *testing.T) {
	walk(t, htmlText(t, missedRun()), func(n *html.Node) {
		if class, _ := attr(n, "class"); n.Data != "table" || class != "matrix" {
			return
		}
		cells := 0
		for td := range n.Descendants() {
			if td.Data != "td" || td.FirstChild == nil {
				continue
			}
			cells++
			if href, _ := attr(td.FirstChild, "href"); !strings.HasPrefix(href, "#def-") {
				t.Errorf("a cell of the matrix begins with <%s href=%q>, want a link to a definition", td.FirstChild.Data, href)
			}
		}
		run := missedRun()
		if want := 3 * (len(groups(run)[0].rows()) + 1); cells != want { // and the error budget
			t.Errorf("the matrix has %d cells, want %d", cells, want)
		}
	})
}

var address = regexp.MustCompile(`(?i)(https?:|wss?:|ftp:|//[a-z0-9])[^\s"'<>)]*`)

func TestThePageLoadsNothing(t *testing.T) {
	raw := htmlText(t, fixtureRun())
	for _, found := range address.FindAllString(string(raw), -1) {
		if found != "http://www.w3.org/2000/svg" { // the script creates an element of this namespace
			t.Errorf("the page mentions the address %q", found)
		}
	}
	for _, word := range []string{"@import", "url(data", "fetch(", "XMLHttpRequest", "eval("} {
		if bytes.Contains(raw, []byte(word)) {
			t.Errorf("the page contains %q", word)
		}
	}
	policies := 0
	walk(t, raw, func(n *html.Node) {
		switch n.Data {
		case "meta":
			if v, _ := attr(n, "http-equiv"); v == "Content-Security-Policy" {
				policies++
				policy, _ := attr(n, "content")
				if !strings.HasPrefix(policy, "default-src 'none'; ") || strings.Contains(policy, "unsafe") {
					t.Errorf("the policy is %q", policy)
				}
				for _, name := range []string{"page.js"} {
					if !strings.Contains(policy, hash(pageSource(name))) {
						t.Errorf("the policy does not allow %s", name)
					}
				}
			}
		case "style":
			// A hash is of the element's text, so that text must come through unchanged.
			if want := picture.Style + pageSource("page.css"); n.FirstChild.Data != want {
				t.Error("the style was changed on its way into the page, its hash does not match")
			}
		case "script":
			if kind, _ := attr(n, "type"); kind == "" && n.FirstChild.Data != pageSource("page.js") {
				t.Error("the script was changed on its way into the page, its hash does not match")
			}
		}
	})
	if policies != 1 {
		t.Errorf("got %d policies, want 1", policies)
	}
}

func TestTheResultsAreEmbedded(t *testing.T) {
	for name, run := range map[string]*judge.Run{"fixture": fixtureRun(), "hostile": hostileRun()} {
		found := false
		walk(t, htmlText(t, run), func(n *html.Node) {
			if id, _ := attr(n, "id"); id != "results" {
				return
			}
			found = true
			var got, want any
			if err := json.Unmarshal([]byte(n.FirstChild.Data), &got); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if err := json.Unmarshal(resultsJSON(t, run), &want); err != nil {
				t.Fatal(err)
			}
			if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
				t.Errorf("%s: what is embedded is not results.json", name)
			}
		})
		if !found {
			t.Errorf("%s: no results in the page", name)
		}
	}
}

// Colour is never the only sign: every chart has a name, its table, and patterns.
func TestChartsHaveNamesAndTables(t *testing.T) {
	pictures, tables := 0, 0
	walk(t, htmlText(t, fixtureRun()), func(n *html.Node) {
		if n.Data == "svg" {
			class, _ := attr(n, "class")
			if label, _ := attr(n, "aria-label"); label == "" && class != "bar" && class != "defs timeline" {
				t.Errorf("svg %q has no name", class)
			}
			if strings.HasPrefix(class, "timeline") {
				pictures++
			}
		}
		if n.Data == "summary" && n.FirstChild.Data == "The same as a table" {
			tables++
		}
	})
	if pictures == 0 || pictures != 2*tables { // each picture is there in a wide and a narrow layout
		t.Errorf("got %d pictures and %d tables", pictures, tables)
	}
}

func TestAnEmptyRunHasAPage(t *testing.T) {
	for name, run := range map[string]*judge.Run{
		"nothing":      {},
		"no bins":      {Cells: []judge.Cell{{Scenario: "s", Driver: "d", Design: "x", Trials: []judge.Trial{{Meta: record.Trial{N: 1}}}}}},
		"cell, no run": {Cells: []judge.Cell{{Scenario: "s", Driver: "d", Design: "x"}}},
	} {
		raw := htmlText(t, run)
		if !bytes.Contains(raw, []byte("INCONCLUSIVE")) {
			t.Errorf("%s: a run without data is not shown as inconclusive", name)
		}
		if bytes.Contains(raw, []byte("NaN")) || bytes.Contains(raw, []byte("Inf")) {
			t.Errorf("%s: not a number in the page", name)
		}
	}
}

// A trial that is thrown away must not take its failures out of sight.
func TestWhatIsDiscardedIsShown(t *testing.T) {
	run := fixtureRun()
	discarded := &run.Cells[1].Trials[1]
	loseThree(discarded)
	discarded.Errors = []judge.ErrorCount{{Class: record.Truncated, Reason: "after the answer had begun", Count: 3}}

	if got := terminalText(t, run, TerminalOptions{}); !strings.Contains(got, "1 trial (lost 3)") {
		t.Errorf("the terminal does not say what the invalid trial lost:\n%s", got)
	}
	for _, s := range parseJUnit(t, junitText(t, run)).Suites[:1] {
		for _, c := range s.Cases {
			if want := "trial 2: 3 of 30,000 lost, downtime 3 ms; invalid: the load ran late"; !strings.Contains(c.Out, want) {
				t.Errorf("%s does not say %q: %s", c.Name, want, c.Out)
			}
		}
	}
	page := string(htmlText(t, run))
	for _, want := range []string{
		`<tr><td>stack-aware<td class="num">2<td class="num">3 of 30,000 lost<td><code>truncated</code><td>after the answer had begun<td class="num">3</tr>`,
		`<tr><td>naive<td>1, 3, 4<td><code>http_403</code>`,
		`<span class="note">lost 3</span>`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not contain %s", want)
		}
	}
}

func TestValidTrials(t *testing.T) {
	for want, valid := range map[string][]bool{
		"":             {},
		"2":            {false, true},
		"1, 2":         {true, true, false},
		"1 to 3, 5":    {true, true, true, false, true},
		"1, 3 to 6, 8": {true, false, true, true, true, true, false, true},
	} {
		var c judge.Cell
		for i, v := range valid {
			c.Trials = append(c.Trials, judge.Trial{Meta: record.Trial{N: i + 1}, Valid: v})
		}
		if got := validTrials(&c); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// What a design loses on scale-in depends on how the balancer finds out. The record says
// how, whatever the driver is called.
func TestThePageSaysHowTheBalancerLearns(t *testing.T) {
	const own, learns = `<a href="#def-balancer">balancer</a> is the lab's own`, `learns of one that stopped`
	for _, name := range []string{"process", "docker", "a driver of somebody else's"} {
		run := fixtureRun()
		for i := range run.Cells {
			run.Cells[i].Driver = name
		}
		page := htmlText(t, run)
		if bytes.Count(page, []byte(own)) != 1 || bytes.Count(page, []byte(learns)) != 1 || !bytes.Contains(page, []byte(`<dt id="def-balancer">`)) {
			t.Errorf("the page of a run on driver %q does not say once how its balancer learns", name)
		}
		for i := range run.Cells {
			for k := range run.Cells[i].Trials {
				run.Cells[i].Trials[k].Meta.LabBalancer = false
			}
		}
		if page := htmlText(t, run); bytes.Contains(page, []byte(own)) || bytes.Count(page, []byte(learns)) != 1 {
			t.Errorf("driver %q: the page calls a balancer the lab's own that was not, or does not say how it learns", name)
		}
	}
}

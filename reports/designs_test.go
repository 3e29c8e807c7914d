package reports

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/reports/format"
	"github.com/rollout-lab/rollout-lab/scenarios"
)

var matrixOf = flag.String("matrix", "", "results.json of runs of the suite chaos, with commas between them, whose matrices are written into docs/designs.md")

const (
	designsPage          = "../docs/designs.md"
	matrixFrom, matrixTo = "<!-- matrix: go test ./reports -run TestDesignsPage -matrix RUN/results.json,RUN2/results.json -->\n", "<!-- end of matrix -->\n"
)

// docs/designs.md speaks of every scenario of the suite, and holds the matrices of runs, which
// -matrix writes.
func TestDesignsPage(t *testing.T) {
	raw, err := os.ReadFile(designsPage)
	if err != nil {
		t.Fatal(err)
	}
	page := string(raw)
	head, rest, begun := strings.Cut(page, matrixFrom)
	old, tail, ended := strings.Cut(rest, matrixTo)
	if !begun || !ended || strings.Contains(tail, "<!-- matrix") {
		t.Fatalf("%s has no place for matrices between %q and %q", designsPage, matrixFrom, matrixTo)
	}
	if *matrixOf != "" {
		var texts []string
		for file := range strings.SplitSeq(*matrixOf, ",") {
			text, err := designsMatrix(readDocument(t, file))
			if err != nil {
				t.Fatal(err)
			}
			texts = append(texts, text)
		}
		old = strings.Join(texts, "\n")
		if err := os.WriteFile(designsPage, []byte(head+matrixFrom+old+matrixTo+tail), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range chaosScenarios(t) {
		if !strings.Contains(tail, "\n### "+name+"\n") {
			t.Errorf("%s says nothing of %s", designsPage, name)
		}
	}
	checkMatrix(t, old)
}

func chaosScenarios(t *testing.T) (names []string) {
	t.Helper()
	all, err := scenarios.Catalogue()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if s.Suite == "chaos" {
			names = append(names, s.Name)
		}
	}
	return names
}

func readDocument(t *testing.T, file string) (doc Document) {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// designsMatrix is what a run showed of each suite, as Markdown.
func designsMatrix(doc Document) (string, error) {
	if len(doc.Suites) == 0 {
		return "", fmt.Errorf("run %s has no suite", doc.RunID)
	}
	var b strings.Builder
	for _, s := range doc.Suites {
		fmt.Fprintf(&b, "%s on %s, %s %s, %d CPUs, run %s.\n\n", capital(s.Name), s.Driver, doc.Environment.OS, doc.Environment.Kernel, doc.Environment.CPUs, doc.RunID)
		rows := [][]string{{"scenario"}}
		for _, design := range s.Designs {
			rows[0] = append(rows[0], "`"+markdown(design)+"`")
		}
		for _, sc := range s.Scenarios {
			row := []string{markdown(sc.Scenario)}
			for _, c := range sc.Cells {
				row = append(row, designsCell(c))
			}
			rows = append(rows, row)
		}
		b.WriteString(markdownTable(rows) + "\n")
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

func designsCell(c SuiteCell) string {
	parts := []string{survivalWords[c.Survival]}
	if c.Survival == judge.Survives || c.Survival == judge.Breaks {
		parts[0] = "**" + parts[0] + "**"
	}
	if c.Lost == nil {
		if c.Why != "" {
			parts = append(parts, markdown(c.Why))
		}
		return strings.Join(parts, "<br>")
	}
	parts = append(parts, fmt.Sprintf("%s of %s lost", format.Count(*c.Lost), format.Count(c.Planned)))
	switch {
	case c.Undetected > 0:
		parts = append(parts, fmt.Sprintf("never noticed in %d of %s", c.Undetected, format.Plural(c.ValidTrials, "trial", "trials")))
	case c.DetectionMS != nil:
		parts = append(parts, "noticed after "+format.Millis(*c.DetectionMS))
	}
	if c.FalseEvictions != nil && *c.FalseEvictions > 0 {
		parts = append(parts, format.Plural(int(*c.FalseEvictions), "false eviction", "false evictions"))
	}
	if c.Breaches != nil && *c.Breaches > 0 {
		parts = append(parts, format.Plural(int(*c.Breaches), "breach", "breaches"))
	}
	return strings.Join(parts, "<br>")
}

// checkMatrix asks of a matrix that it names scenarios of the suite, and calls nothing survival that
// has no numbers.
func checkMatrix(t *testing.T, text string) {
	t.Helper()
	known := chaosScenarios(t)
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if !strings.HasPrefix(line, "| ") || strings.TrimSpace(cells[0]) == "scenario" {
			continue
		}
		if name := strings.TrimSpace(cells[0]); !slices.Contains(known, name) {
			t.Errorf("the matrix names %q, which is no scenario of the suite", name)
		}
		for _, cell := range cells[1:] {
			if cell = strings.TrimSpace(cell); strings.Contains(cell, "survives") && !strings.Contains(cell, " lost") {
				t.Errorf("the matrix calls %q survival", cell)
			}
		}
	}
}

func TestDesignsMatrix(t *testing.T) {
	doc := Results(suiteRun(t))
	text, err := designsMatrix(doc)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| scenario | `stack-aware` | `shallow` | `deep-readiness` | `naive` |\n",
		"| freeze-one | **survives**<br>80 of 2,000 lost<br>noticed after 1.00 s | - | - | **breaks**<br>300 of 2,000 lost<br>never noticed in 2 of 2 trials |\n",
		"**breaks**<br>0 of 2,000 lost<br>noticed after 1.00 s<br>2 false evictions",
		"not known<br>no valid trial",
		"6 breaches",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if _, err := designsMatrix(Document{RunID: "r"}); err == nil {
		t.Error("a run without a suite has a matrix")
	}
}

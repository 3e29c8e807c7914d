package lint_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/rollout-lab/rollout-lab/internal/lint"
)

var update = flag.Bool("update", false, "rewrite golden files and docs/lint.md")

// cases groups the files of an archive: bad1.yaml is a case, so are all the files of the
// folder bad1/.
func cases(a *txtar.Archive) (order []string, files map[string][]lint.File) {
	files = map[string][]lint.File{}
	for _, f := range a.Files {
		name, rest, folder := strings.Cut(f.Name, "/")
		file := lint.File{Name: f.Name, Data: f.Data}
		if folder {
			file.Name = rest
		}
		if files[name] == nil {
			order = append(order, name)
		}
		files[name] = append(files[name], file)
	}
	return order, files
}

func line(f lint.Finding) string {
	return fmt.Sprintf("%s:%d:%d: %s: %s: %s\n    %s", f.File, f.Line, f.Column, f.Severity, f.Subject, f.Effect, f.Fix)
}

// TestRules: every rule has bad files, which have its finding and no other, and good
// files next to them in which nothing is found. The findings stand at the head of the
// archive.
func TestRules(t *testing.T) {
	for _, rule := range lint.Rules() {
		t.Run(rule.ID, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join("testdata", "rules", rule.ID+".txtar")
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatalf("each rule has bad and good files: %v", err)
			}
			order, files := cases(archive)
			bad, good, worst := 0, 0, lint.Warning
			var got strings.Builder
			for _, name := range order {
				report, err := lint.Check(files[name], lint.Options{})
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
				switch {
				case strings.HasPrefix(name, "bad"):
					bad++
					if len(report.Findings) == 0 {
						t.Errorf("%s: nothing found", name)
					}
					for _, f := range report.Findings {
						if f.Rule != rule.ID {
							t.Errorf("%s: also %s: %s", name, f.Rule, line(f))
						}
						if f.Severity == lint.Error {
							worst = lint.Error
						}
						fmt.Fprintf(&got, "%s: %s\n", name, line(f))
					}
				case strings.HasPrefix(name, "good"):
					good++
					for _, f := range report.Findings {
						t.Errorf("%s: false alarm %s: %s", name, f.Rule, line(f))
					}
				default:
					t.Errorf("%s is neither bad nor good", name)
				}
			}
			if bad == 0 || good == 0 {
				t.Errorf("%d bad and %d good files, want both", bad, good)
			}
			if worst != rule.Severity {
				t.Errorf("the gravest finding is a %s, the table says %s", worst, rule.Severity)
			}
			if *update {
				archive.Comment = []byte(got.String())
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(string(archive.Comment), got.String()); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNoFilesWithoutRule(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "rules", "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, f := range files {
		if _, ok := lint.RuleByID(strings.TrimSuffix(filepath.Base(f), ".txtar")); !ok {
			t.Errorf("%s belongs to no rule", f)
		}
	}
}

// TestGood: complete, correct set-ups raise no alarm, alone and all together.
func TestGood(t *testing.T) {
	names, err := filepath.Glob(filepath.Join("testdata", "good", "*"))
	if err != nil || len(names) < 3 {
		t.Fatalf("%v, %v", names, err)
	}
	var all []lint.File
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, lint.File{Name: name, Data: data})
	}
	sets := [][]lint.File{all}
	for _, f := range all {
		if filepath.Ext(f.Name) != ".socket" { // alone there is nothing to judge
			sets = append(sets, []lint.File{f})
		}
	}
	for _, files := range sets {
		report, err := lint.Check(files, lint.Options{})
		if err != nil {
			t.Error(err)
		}
		if len(report.Checked) == 0 {
			t.Error("nothing checked")
		}
		for _, f := range report.Findings {
			t.Errorf("false alarm %s: %s", f.Rule, line(f))
		}
	}
}

// TestTable: IDs are stable names, and every rule says what, why and how to mend it.
func TestTable(t *testing.T) {
	id := regexp.MustCompile(`^(k8s|unit|compose|lint)(-[a-z0-9]+)+$`)
	seen := map[string]bool{}
	for _, r := range lint.Rules() {
		if !id.MatchString(r.ID) || seen[r.ID] {
			t.Errorf("ID %q is malformed or here twice", r.ID)
		}
		seen[r.ID] = true
		for _, text := range []string{r.What, r.Why, r.Fix} {
			if !strings.HasSuffix(text, ".") || strings.Contains(text, "\n") {
				t.Errorf("%s: not one paragraph of sentences: %q", r.ID, text)
			}
		}
	}
}

func TestDocsFollowTheTable(t *testing.T) {
	var got bytes.Buffer
	if err := lint.WriteDocs(&got); err != nil {
		t.Fatal(err)
	}
	file := filepath.FromSlash(path.Join("..", "..", "docs", "lint.md"))
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("go test ./internal/lint -update (-file +table):\n%s", diff)
	}
	for _, r := range lint.Rules() {
		if !strings.Contains(got.String(), "### "+r.ID+"\n") {
			t.Errorf("%s is not in the documentation", r.ID)
		}
	}
}

package cli

import (
	"fmt"
	"strings"
	"testing"

	"github.com/rollout-lab/rollout-lab/internal/lint"
)

// TestFindingsOnGitHub: each is an annotation of its line, named from the root of the
// repository; GitHub shows ten of a level, so the last one counts the rest.
func TestFindingsOnGitHub(t *testing.T) {
	root := t.TempDir()
	t.Chdir(root)
	t.Setenv("GITHUB_WORKSPACE", root)
	findings := []lint.Finding{{Rule: "k8s-recreate", Severity: lint.Warning, File: "./k8s/a,b.yaml", Line: 3, Column: 5, Subject: "Deployment web", Effect: "gone: 100%", Fix: "RollingUpdate"}}
	for i := range 12 {
		findings = append(findings, lint.Finding{Rule: "k8s-no-drain", Severity: lint.Error, File: "/elsewhere/a.yaml", Line: i + 1, Column: 1, Subject: "Pod a", Effect: "x\n::error::forged", Fix: "y"})
	}
	var b strings.Builder
	tellFindings(&b, findings)
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	if len(lines) != 10 {
		t.Fatalf("%d lines:\n%s", len(lines), b.String())
	}
	for i, want := range map[int]string{
		0: "::error file=/elsewhere/a.yaml,line=1,col=1,title=k8s-no-drain::Pod a: x%0A::error::forged%0Afix: y",
		8: "::error title=rollout-lab lint::4 more: see the log",
		9: "::warning file=k8s/a%2Cb.yaml,line=3,col=5,title=k8s-recreate::Deployment web: gone: 100%25%0Afix: RollingUpdate",
	} {
		if lines[i] != want {
			t.Errorf("line %d: got\n%s\nwant\n%s", i, lines[i], want)
		}
	}
}

// TestWhyIsSaidOnce: the reason of a rule, and each fix, stand below the first finding that
// has them.
func TestWhyIsSaidOnce(t *testing.T) {
	r := &lint.Report{}
	for i, fix := range []string{"one", "one", "two"} {
		r.Findings = append(r.Findings, lint.Finding{Rule: "a", Severity: lint.Error, File: "f", Line: i + 1, Column: 1, Subject: "s", Effect: "e", Why: "because", Fix: fix})
	}
	r.Findings[2].Others = []string{"t", "u", "v", "w"}
	var b strings.Builder
	if err := printFindings(&b, r, 2); err != nil {
		t.Fatal(err)
	}
	want := "f:1:1: error: a: s: e\n    why: because\n    fix: one\nf:2:1: error: a: s: e\nf:3:1: error: a: s and 4 others: e\n    fix: two\nchecked 0 parts: 3 errors, 0 warnings, 2 of the baseline gone\n"
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

// TestFailOn: which findings make the exit code 1.
func TestFailOn(t *testing.T) {
	for _, tt := range []struct {
		failOn string
		found  lint.Severity
		fails  bool
	}{
		{"error", lint.Error, true}, {"error", lint.Warning, false}, {"error", "", false},
		{"warning", lint.Error, true}, {"warning", lint.Warning, true}, {"warning", "", false},
		{"never", lint.Error, false},
	} {
		t.Run(fmt.Sprintf("%s, found %s", tt.failOn, tt.found), func(t *testing.T) {
			f := &lintFlags{failOn: choice{value: tt.failOn}}
			r := &lint.Report{}
			if tt.found != "" {
				r.Findings = []lint.Finding{{Severity: tt.found}}
			}
			if err := f.outcome(r); (err != nil) != tt.fails {
				t.Errorf("got %v", err)
			}
		})
	}
}

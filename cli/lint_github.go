package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/rollout-lab/rollout-lab/internal/lint"
	"github.com/rollout-lab/rollout-lab/reports"
)

// tellFindings writes the findings as annotations of the lines that they are of. GitHub shows
// only some of each level, so that the last one says how many more there are.
func tellFindings(lines io.Writer, findings []lint.Finding) {
	for _, level := range []lint.Severity{lint.Error, lint.Warning} {
		var these []lint.Finding
		for _, f := range findings {
			if f.Severity == level {
				these = append(these, f)
			}
		}
		// One is left for what goes wrong beside the findings.
		for i, f := range these {
			if i == reports.MaxAnnotations-2 && len(these) > i+1 {
				fmt.Fprintf(lines, "::%s title=rollout-lab lint::%d more: see the log\n", level, len(these)-i)
				break
			}
			fmt.Fprintf(lines, "::%s file=%s,line=%d,col=%d,title=%s::%s\n", level, escapeProperty(inRepository(f.File)), f.Line, f.Column, f.Rule,
				escapeData(subjects(f)+": "+f.Effect+"\nfix: "+f.Fix))
		}
	}
}

// inRepository is the name of a file from the root of the repository, where it is below it.
func inRepository(name string) string {
	root := os.Getenv("GITHUB_WORKSPACE")
	full, err := filepath.Abs(name)
	if root == "" || err != nil {
		return name
	}
	if below, err := filepath.Rel(root, full); err == nil && !strings.HasPrefix(below, "..") {
		return filepath.ToSlash(below)
	}
	return name
}

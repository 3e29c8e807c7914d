package main

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What the README shows of a file is in that file, and so is compiled and run.
func TestREADMEShowsExamples(t *testing.T) {
	flat := func(name string) string {
		var lines []string
		for line := range strings.Lines(read(t, filepath.Join("..", "..", "healthkit", name))) {
			lines = append(lines, strings.TrimSpace(line))
		}
		return strings.Join(lines, "\n")
	}
	blocks := regexp.MustCompile("\\]\\(([a-z/_]+_test\\.go)\\)[^`]*:\n\n```go\n((?s:.*?))```\n").FindAllStringSubmatch(flat("README.md"), -1)
	if len(blocks) < 2 {
		t.Fatalf("found %d blocks", len(blocks))
	}
	for _, b := range blocks {
		if !strings.Contains(flat(b[1]), b[2]) {
			t.Errorf("README.md shows what is not in %s:\n%s", b[1], b[2])
		}
	}
}

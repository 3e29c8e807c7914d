package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestWhatIsTestedWithoutTheRaceDetectorHasNoGoroutines: the Makefile's PURE packages start none,
// and wait for none.
func TestWhatIsTestedWithoutTheRaceDetectorHasNoGoroutines(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	var pure []string
	for line := range strings.Lines(string(text)) {
		if list, ok := strings.CutPrefix(line, "PURE "); ok {
			for _, dir := range strings.Fields(strings.TrimLeft(list, " =")) {
				pure = append(pure, strings.TrimSuffix(strings.TrimPrefix(dir, "./"), "/..."))
			}
		}
	}
	looked := 0
	for _, f := range tree(t) {
		in := slices.ContainsFunc(pure, func(dir string) bool { return below(f.dir, dir) })
		if f.test || !in && f.name != "internal/edge/relay.go" {
			continue
		}
		switch why := concurrent(t, f); {
		case in && why != "":
			t.Errorf("%s has %s, and is tested without the race detector", f.name, why)
		case !in && why == "":
			t.Errorf("%s has no goroutine: the search is broken", f.name)
		}
		looked++
	}
	if looked < 50 {
		t.Errorf("only %d files were looked at: the search is broken", looked)
	}
}

// concurrent is what a file has that needs more than one goroutine, "" where it has none.
func concurrent(t *testing.T, f file) (what string) {
	for _, path := range f.imports {
		if below(path, "sync") {
			return path
		}
	}
	parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, filepath.FromSlash(f.name)), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		switch n.(type) {
		case *ast.GoStmt:
			what = "a goroutine"
		case *ast.ChanType:
			what = "a channel"
		}
		return what == ""
	})
	return what
}

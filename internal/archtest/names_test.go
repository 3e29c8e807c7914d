package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// driverNames are the built-in drivers'. kind is a word of scenarios as well, where it is the
// kind of an action or a probe.
var driverNames = []string{"process", "docker", "systemd", "kubernetes", "kind"}

// TestNoDriverIsKnownByName: what depends on a driver is asked of it (drivers.Capabilities),
// so that one which nobody here has heard of is treated like any other. The list of the
// built-in ones is cmd/rollout-lab's.
func TestNoDriverIsKnownByName(t *testing.T) {
	asked := []string{"cli", "reports", "scenarios", "internal/judge", "internal/lab", "internal/load", "internal/metric", "internal/record", "internal/target", "internal/timeline", "internal/edge", "internal/rolling", "drivers/fleet", "drivers/lifecycle", "drivers/drivertest"}
	var looked int
	for _, f := range tree(t) {
		if f.test || !slices.ContainsFunc(asked, func(dir string) bool { return below(f.dir, dir) }) {
			continue
		}
		looked++
		for _, name := range literals(t, f.name) {
			if name == "kind" && below(f.dir, "scenarios") {
				continue
			}
			if slices.Contains(driverNames, name) {
				t.Errorf("%s knows a driver by its name, %q", f.name, name)
			}
		}
	}
	if looked < 50 {
		t.Errorf("only %d files were looked at: the search is broken", looked)
	}
	if found := literals(t, "cmd/rollout-lab/drivers.go"); !slices.Contains(found, "process") {
		t.Error("the list of the drivers has none of their names: the search is broken")
	}
}

// literals are the strings in a file, but for imports and the tags of fields.
func literals(t *testing.T, name string) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, filepath.FromSlash(name)), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	ast.Inspect(f, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING && strings.HasPrefix(lit.Value, `"`) {
			s, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, s)
		}
		return true
	})
	return out
}

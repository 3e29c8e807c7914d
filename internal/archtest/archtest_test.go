package archtest

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

type file struct {
	dir, name string
	test      bool
	pkg       string
	doc       bool
	imports   []string
}

var root = filepath.Join("..", "..")

// outside is the module of examples/driver. It stands for somebody else's, so its name is
// not one of this tree's: with such a name it could import internal packages.
const outside, outsideDir = "example.com/plain", "examples/driver"

// tree parses the imports of every Go file of every module.
func tree(t *testing.T) []file {
	t.Helper()
	var files []file
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if rel != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		out := file{dir: path.Dir(rel), name: rel, test: strings.HasSuffix(rel, "_test.go"), pkg: f.Name.Name, doc: f.Doc != nil}
		for _, s := range f.Imports {
			v, err := strconv.Unquote(s.Path.Value)
			if err != nil {
				return err
			}
			if below(v, outside) {
				v = module + "/" + outsideDir + strings.TrimPrefix(v, outside)
			}
			out.imports = append(out.imports, v)
		}
		files = append(files, out)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 30 {
		t.Fatalf("only %d Go files found: the walk is broken", len(files))
	}
	return files
}

func TestImportsFollowTheArchitecture(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	a, err := parse(string(text))
	if err != nil {
		t.Fatalf("ARCHITECTURE.md: %v", err)
	}
	for _, complaint := range a.check(tree(t)) {
		t.Errorf("ARCHITECTURE.md: %s", complaint)
	}
}

func TestOnePackageCommentPerFolder(t *testing.T) {
	docs := map[string][]string{}
	seen := map[string]bool{}
	for _, f := range tree(t) {
		if f.test || strings.HasSuffix(f.pkg, "_test") {
			continue
		}
		seen[f.dir] = true
		if f.doc {
			docs[f.dir] = append(docs[f.dir], f.name)
		}
	}
	for dir := range seen {
		if n := len(docs[dir]); n != 1 {
			t.Errorf("%s: %d package comments %v, want exactly one", dir, n, docs[dir])
		}
	}
}

func TestPackagesAreNamedForWhatTheyProvide(t *testing.T) {
	banned := []string{"util", "utils", "common", "helpers", "types", "misc", "base"}
	for _, f := range tree(t) {
		if slices.Contains(banned, f.pkg) {
			t.Errorf("%s: package %s is named for nothing", f.name, f.pkg)
		}
	}
}

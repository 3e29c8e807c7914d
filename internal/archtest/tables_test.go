package archtest

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/rollout-lab/rollout-lab"

// architecture is what the tables of ARCHITECTURE.md allow. They are the only place where
// it is said.
type architecture struct {
	// folders are those of the tree that a folder may import; "x/..." is x and all below.
	// A folder's row holds for the folders below it that have none.
	folders map[string][]string
	// libraries are the folders that may import packages below a path.
	libraries map[string][]string
}

func parse(markdown string) (architecture, error) {
	folders, err := table(markdown, "folder")
	if err != nil {
		return architecture{}, err
	}
	libraries, err := table(markdown, "library")
	return architecture{folders: folders, libraries: libraries}, err
}

// table reads the table whose first column has a name: what its first cells name, and for
// each of them what its last cell names.
func table(markdown, column string) (map[string][]string, error) {
	_, text, ok := strings.Cut("\n"+markdown, "\n| "+column+" |")
	if !ok {
		return nil, fmt.Errorf("no table with the first column %q", column)
	}
	_, text, _ = strings.Cut(text, "\n|---|---|---|\n")
	rows := map[string][]string{}
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.TrimSpace(line), " | ")
		if !strings.HasPrefix(line, "|") {
			break
		}
		if len(cells) != 3 {
			return nil, fmt.Errorf("want 3 cells: %s", line)
		}
		names, err := list(strings.TrimPrefix(cells[0], "| "))
		if err != nil {
			return nil, err
		}
		may, err := list(strings.TrimSuffix(cells[2], " |"))
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if _, twice := rows[name]; twice {
				return nil, fmt.Errorf("two rows for %s", name)
			}
			rows[name] = may
		}
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("no rows below the column %q", column)
	}
	return rows, nil
}

var code = regexp.MustCompile("`([^`]+)`")

// list reads "nothing" or names in backquotes.
func list(cell string) ([]string, error) {
	if cell == "nothing" {
		return nil, nil
	}
	if rest := code.ReplaceAllString(cell, ""); strings.Trim(rest, ", ") != "" || rest == cell {
		return nil, fmt.Errorf("want names in backquotes, or nothing: %s", cell)
	}
	var names []string
	for _, m := range code.FindAllStringSubmatch(cell, -1) {
		names = append(names, m[1])
	}
	return names, nil
}

func below(dir, root string) bool { return dir == root || strings.HasPrefix(dir, root+"/") }

func (a architecture) row(dir string) (string, bool) {
	for d := dir; d != "."; d = path.Dir(d) {
		if _, ok := a.folders[d]; ok {
			return d, true
		}
	}
	return "", false
}

// check compares what files import with what the tables allow: nothing else, and nothing
// that is not used. A test may look at its package from anywhere.
func (a architecture) check(files []file) (complaints []string) {
	complain := func(format string, args ...any) { complaints = append(complaints, fmt.Sprintf(format, args...)) }
	type pair struct{ from, to string }
	used := map[pair]bool{}
	holds := map[string]bool{}
	for _, f := range files {
		row, ok := a.row(f.dir)
		if !ok {
			complain("%s: %s has no row", f.name, f.dir)
			continue
		}
		holds[row] = true
		if f.test {
			continue
		}
		for _, imp := range f.imports {
			if rel, inside := strings.CutPrefix(imp, module+"/"); inside {
				target, _ := a.row(rel)
				if target == row {
					continue
				}
				i := slices.IndexFunc(a.folders[row], func(may string) bool {
					tree, all := strings.CutSuffix(may, "/...")
					return may == target || all && below(rel, tree)
				})
				if i < 0 {
					complain("%s imports %s: %s may import %v", f.name, rel, row, a.folders[row])
					continue
				}
				used[pair{row, a.folders[row][i]}] = true
				continue
			}
			if first, _, _ := strings.Cut(imp, "/"); !strings.Contains(first, ".") {
				continue // the standard library
			}
			allowed := false
			for library, folders := range a.libraries {
				for _, folder := range folders {
					if below(imp, library) && below(f.dir, folder) {
						allowed, used[pair{library, folder}] = true, true
					}
				}
			}
			if !allowed {
				complain("%s imports %s: no row of the libraries lets %s", f.name, imp, row)
			}
		}
	}
	for _, folder := range slices.Sorted(maps.Keys(a.folders)) {
		if !holds[folder] {
			complain("the row of %s is stale: no Go file is there", folder)
		}
		for _, may := range a.folders[folder] {
			if !used[pair{folder, may}] {
				complain("the row of %s is stale: it imports no %s", folder, may)
			}
		}
	}
	for _, library := range slices.Sorted(maps.Keys(a.libraries)) {
		for _, folder := range a.libraries[library] {
			if !used[pair{library, folder}] {
				complain("the row of %s is stale: %s does not import it", library, folder)
			}
		}
	}
	return complaints
}

const sample = `
| folder | holds | may import, of this tree |
|---|---|---|
| ` + "`core`" + ` | x | nothing |
| ` + "`app`" + ` | a | b | ` + "`core`, `plugins/...`" + ` |
| ` + "`plugins/a`, `plugins/b`" + ` | y | ` + "`core`" + ` |

| library | for | imported by |
|---|---|---|
| ` + "`example.com/yaml`" + ` | reading | ` + "`app`" + ` |
`

func TestTheTablesAreRead(t *testing.T) {
	if _, err := parse(sample); err == nil || !strings.Contains(err.Error(), "want 3 cells") {
		t.Errorf("a row of four cells: got %v", err)
	}
	good := strings.Replace(sample, "a | b", "z", 1)
	got, err := parse(good)
	if err != nil {
		t.Fatal(err)
	}
	want := architecture{
		folders:   map[string][]string{"core": nil, "app": {"core", "plugins/..."}, "plugins/a": {"core"}, "plugins/b": {"core"}},
		libraries: map[string][]string{"example.com/yaml": {"app"}},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for name, bad := range map[string]string{
		"no table":  strings.Replace(good, "| library", "| books", 1),
		"prose":     strings.Replace(good, "| y | `core`", "| y | `core` and the like", 1),
		"empty":     strings.Replace(good, "| x | nothing", "| x | ", 1),
		"two rows":  strings.Replace(good, "`plugins/b`", "`core`", 1),
		"no rows":   good[:strings.Index(good, "| `example")],
		"not there": "",
	} {
		if a, err := parse(bad); err == nil {
			t.Errorf("%s: got %v, want an error", name, a)
		}
	}
}

func TestTheTablesAreEnforced(t *testing.T) {
	a, err := parse(strings.Replace(sample, "a | b", "z", 1))
	if err != nil {
		t.Fatal(err)
	}
	good := func() map[string]*file {
		return map[string]*file{
			"core":      {dir: "core", imports: []string{"os", module + "/core/inner"}},
			"inner":     {dir: "core/inner"},
			"app":       {dir: "app", imports: []string{module + "/core", module + "/plugins/a", "example.com/yaml/ast"}},
			"plugins/a": {dir: "plugins/a", imports: []string{module + "/core/inner"}},
			"plugins/b": {dir: "plugins/b", imports: []string{module + "/core"}},
			"test":      {dir: "core", test: true, imports: []string{module + "/app", "example.com/other"}},
		}
	}
	tests := map[string]struct {
		change func(files map[string]*file)
		want   string
	}{
		"as it should be":          {func(map[string]*file) {}, ""},
		"imports what it must not": {func(f map[string]*file) { f["core"].imports = []string{module + "/app"} }, "core may import []"},
		"imports a sibling":        {func(f map[string]*file) { f["plugins/a"].imports = append(f["plugins/a"].imports, module+"/plugins/b") }, "plugins/a may import [core]"},
		"a library out of place":   {func(f map[string]*file) { f["inner"].imports = []string{"example.com/yaml"} }, "no row of the libraries lets core"},
		"a library nobody listed":  {func(f map[string]*file) { f["app"].imports = append(f["app"].imports, "example.com/yamlish") }, "example.com/yamlish"},
		"a folder without a row":   {func(f map[string]*file) { f["new"] = &file{dir: "new"} }, "new has no row"},
		"a row without a folder":   {func(f map[string]*file) { delete(f, "plugins/b") }, "row of plugins/b is stale"},
		"allowed and not used":     {func(f map[string]*file) { f["plugins/b"].imports = nil }, "plugins/b is stale: it imports no core"},
		"a tree that is not used":  {func(f map[string]*file) { f["app"].imports = slices.Delete(f["app"].imports, 1, 2) }, "app is stale: it imports no plugins/..."},
		"a library not used":       {func(f map[string]*file) { f["app"].imports = f["app"].imports[:2] }, "example.com/yaml is stale"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			files := good()
			tt.change(files)
			var all []file
			for _, f := range files {
				all = append(all, *f)
			}
			got := strings.Join(a.check(all), "\n")
			if !strings.Contains(got, tt.want) || tt.want == "" && got != "" {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

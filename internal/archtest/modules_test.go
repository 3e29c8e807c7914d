package archtest

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// modules are the texts of the go.mod files of go.work, by folder.
type modules map[string]string

func workspace(t *testing.T) modules {
	t.Helper()
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	_, uses, _ := strings.Cut(read("go.work"), "use (\n")
	uses, _, _ = strings.Cut(uses, "\n)")
	all := modules{}
	for dir := range strings.FieldsSeq(uses) {
		all[path.Clean(dir)] = read(path.Join(dir, "go.mod"))
	}
	return all
}

// of is the folder of the module that a folder is in.
func (m modules) of(dir string) string {
	for ; dir != "."; dir = path.Dir(dir) {
		if _, ok := m[dir]; ok {
			break
		}
	}
	return dir
}

// check says what holds in the workspace alone: an importer of a released module has no
// go.work and sees no replace directive, or cannot install what has one.
func (m modules) check(files []file) (complaints []string) {
	complain := func(format string, args ...any) { complaints = append(complaints, fmt.Sprintf(format, args...)) }
	for dir, text := range m {
		if dir == outsideDir {
			if !strings.HasPrefix(text, "module "+outside+"\n") {
				complain("%s/go.mod: the module is not named %s", dir, outside)
			}
		} else if !strings.HasPrefix(text, "module "+path.Join(module, dir)+"\n") {
			complain("%s/go.mod: the module is not named after its folder", dir)
		}
		if regexp.MustCompile(`(?m)^replace\b`).MatchString(text) {
			complain("%s/go.mod has a replace directive, with which go install NAME@VERSION refuses it", dir)
		}
	}
	for _, f := range files {
		from := m.of(f.dir)
		for _, imp := range f.imports {
			rel, inside := strings.CutPrefix(imp, module+"/")
			if !inside {
				continue
			}
			if below(from, "healthkit") && !below(rel, "healthkit") {
				complain("%s imports %s: healthkit knows nothing of the lab, not even in tests", f.name, rel)
			}
			to := m.of(rel)
			if to != from && !regexp.MustCompile(`(?m)^(require |\t)`+regexp.QuoteMeta(path.Join(module, to))+` v`).MatchString(m[from]) {
				complain("%s imports %s: %s/go.mod does not require %s", f.name, rel, from, path.Join(module, to))
			}
		}
	}
	return complaints
}

func TestModulesHoldWithoutTheWorkspace(t *testing.T) {
	m := workspace(t)
	// The programs of a node have Kubernetes' own versions of everything.
	files := slices.DeleteFunc(tree(t), func(f file) bool { return below(f.dir, "images/kindnode/kubeall") })
	for _, complaint := range m.check(files) {
		t.Error(complaint)
	}
}

// A module that go.work forgets is in no test command.
func TestEveryModuleIsInTheWorkspace(t *testing.T) {
	m := workspace(t)
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || d.Name() == ".git") {
			return fs.SkipDir
		}
		dir := path.Dir(name)
		if _, ok := m[dir]; d.Name() == "go.mod" && !ok && dir != "images/kindnode/kubeall" {
			t.Errorf("%s is not in go.work", name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestModulesAreChecked(t *testing.T) {
	tests := map[string]struct {
		mod  string // of the module healthkit/x
		file file
		want string
	}{
		"as it should be": {"module " + module + "/healthkit/x\n\nrequire (\n\t" + module + "/healthkit v0.0.0\n)\n",
			file{dir: "healthkit/x", imports: []string{"os", module + "/healthkit", module + "/healthkit/x/y"}}, ""},
		"not required":     {"module " + module + "/healthkit/x\n", file{dir: "healthkit/x", imports: []string{module + "/healthkit"}}, "does not require"},
		"the lab":          {"module " + module + "/healthkit/x\nrequire " + module + " v0.0.0\n", file{dir: "healthkit/x/y", test: true, imports: []string{module + "/drivers"}}, "knows nothing of the lab"},
		"the root's needs": {"module " + module + "/healthkit/x\n", file{dir: "cmd", imports: []string{module + "/healthkit"}}, "./go.mod does not require"},
		"another name":     {"module " + module + "/x\n", file{}, "not named after its folder"},
		"a replace":        {"module " + module + "/healthkit/x\n\nreplace (\n)\n", file{}, "has a replace directive"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := modules{".": "module " + module + "\n", "healthkit": "module " + module + "/healthkit\n", "healthkit/x": tt.mod}
			got := strings.Join(m.check([]file{tt.file}), "\n")
			if !strings.Contains(got, tt.want) || tt.want == "" && got != "" {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

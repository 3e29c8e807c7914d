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

const module = "github.com/rollout-lab/rollout-lab"

// rules says, for each folder of the module, which other folders of the module its
// packages may import. A rule covers the folders below it; the longest match wins.
var rules = map[string]struct {
	may []string
	why string
}{
	"healthkit":          {nil, "services embed it: it knows nothing of the lab"},
	"targets":            {[]string{"healthkit", "healthkit/sdnotify", "targets"}, "a target is a program like any other: it knows nothing of the lab"},
	"internal/metric":    {nil, "one table for all who name a metric"},
	"internal/record":    {nil, "the record is a leaf"},
	"internal/timeline":  {[]string{"internal/record"}, "pure functions of the record"},
	"internal/judge":     {[]string{"internal/metric", "internal/record", "internal/timeline"}, "pure functions of the record"},
	"internal/load":      {[]string{"internal/record"}, "the load knows a URL and a schedule, not who asked"},
	"internal/edge":      {nil, "a balancer routes on what it is told"},
	"internal/rolling":   {nil, "a pure plan"},
	"scenarios":          {[]string{"internal/metric"}, "a scenario is data"},
	"drivers":            {nil, "the contract knows no driver"},
	"drivers/drivertest": {[]string{"drivers", "healthkit"}, "one suite for every driver"},
	"drivers/process":    {[]string{"drivers", "drivers/fleet", "drivers/owner", "drivers/ports"}, "drivers never import each other"},
	"drivers/lifecycle":  {[]string{"drivers"}, "how any deployed stack lives, on whatever runtime"},
	"drivers/fleet":      {[]string{"drivers", "drivers/lifecycle", "internal/edge", "internal/rolling"}, "what drivers without a balancer of their own share"},
	"drivers/owner":      {nil, "names a process, knows nothing of what it owns"},
	"drivers/ports":      {nil, "what instances on this machine listen on"},
	"drivers/program":    {[]string{"drivers"}, "a program for every runtime that is not this machine"},
	"drivers/docker":     {[]string{"drivers", "drivers/fleet", "drivers/owner", "drivers/ports", "drivers/program"}, "drivers never import each other"},
	"drivers/systemd":    {[]string{"drivers", "drivers/fleet", "drivers/owner", "drivers/ports", "drivers/program"}, "drivers never import each other"},
	"drivers/kubernetes": {[]string{"drivers", "drivers/lifecycle", "drivers/owner"}, "a runtime with a balancer of its own"},
	"drivers/kind":       {[]string{"drivers", "drivers/kubernetes", "drivers/owner", "drivers/ports", "drivers/program"}, "kind is a cluster, and then it is Kubernetes"},
	"examples/orders":    {[]string{"healthkit", "healthkit/sdnotify"}, "what people copy knows nothing of the lab"},
	"images":             {nil, "builds images, knows nothing of a run"},
	"internal/target":    {[]string{"drivers", "internal/load", "internal/record", "scenarios", "targets"}, "turns a scenario into a stack and its requests"},
	"internal/lab":       {[]string{"drivers", "internal/load", "internal/record", "internal/timeline", "internal/judge", "internal/target", "scenarios"}, "the engine knows the contract, no driver and no report"},
	"reports":            {[]string{"internal/judge", "internal/metric", "internal/record", "internal/timeline", "reports/format", "reports/picture", "reports/svg"}, "a report is a pure function of a judged run"},
	"reports/format":     {nil, "writes numbers, whatever they are of"},
	"reports/picture":    {[]string{"internal/timeline", "reports/format", "reports/svg"}, "draws what it is given, and judges nothing"},
	"reports/svg":        {nil, "shapes, whatever they show"},
	"internal/lint":      {nil, "reads files, knows nothing of a run"},
	"internal/archtest":  {nil, "rules only"},
	"cli":                {[]string{"drivers", "internal/judge", "internal/lab", "internal/lint", "internal/record", "reports", "scenarios"}, "commands and flags, no driver and no target"},
	"cmd/rollout-lab":    {[]string{"cli", "drivers", "images", "targets"}, "the list of drivers"},

	"healthkit/sdnotify":        {[]string{"healthkit"}, "an adapter is a function of a snapshot"},
	"healthkit/grpc/grpchealth": {[]string{"healthkit"}, "an adapter is a function of a snapshot"},
	"healthkit/promhealth":      {[]string{"healthkit"}, "an adapter is a function of a snapshot"},
	"healthkit/grpc/grpcserve":  {[]string{"healthkit"}, "the core knows no gRPC"},
}

// onlyImporter lists third-party modules that certain folders alone may import.
var onlyImporter = map[string][]string{
	"github.com/tsenart/vegeta": {"internal/load"},
	"gonum.org/v1/gonum":        {"internal/judge"},
	"github.com/goccy/go-yaml":  {"scenarios", "internal/lint"},
	"github.com/spf13/cobra":    {"cli", "images"},
	"github.com/docker":         {"drivers/docker", "drivers/systemd", "drivers/kind", "images"},
	"k8s.io":                    {"drivers/kubernetes", "drivers/kind"},
}

// standardLibraryOnly lists folders that import nothing but the standard library and
// the module itself; tests may import more. A subfolder listed in adapters is free.
var standardLibraryOnly = []string{"healthkit", "drivers", "internal/metric", "internal/record", "internal/timeline", "internal/edge", "internal/rolling", "drivers/lifecycle", "drivers/owner", "drivers/ports", "drivers/program"}

// extern lists the exceptions to standardLibraryOnly.
var extern = map[string][]string{
	"drivers/process":    {"golang.org/x/sys"},
	"drivers/docker":     {"github.com/docker", "github.com/testcontainers/testcontainers-go", "github.com/google/go-containerregistry", "github.com/opencontainers", "github.com/containerd", "github.com/moby", "golang.org/x/sys"},
	"drivers/systemd":    {"github.com/coreos/go-systemd/v22", "github.com/godbus/dbus/v5", "github.com/docker", "github.com/opencontainers", "github.com/containerd", "golang.org/x/sys"},
	"drivers/kubernetes": {"k8s.io", "sigs.k8s.io", "golang.org/x/sys"},
	"drivers/kind":       {"sigs.k8s.io", "k8s.io", "github.com/docker", "github.com/google/go-containerregistry", "golang.org/x/sys"},
	"internal/edge":      {"golang.org/x/sys"}, // error numbers of Windows
}

type file struct {
	dir, name string
	test      bool
	pkg       string
	doc       bool
	imports   []string
}

func parseModule(t *testing.T) []file {
	t.Helper()
	root := filepath.Join("..", "..")
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Fatal(err)
	}
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
			if rel != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || hasOwnModule(p)) {
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

func hasOwnModule(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

func ruleFor(dir string) (string, bool) {
	for d := dir; d != "."; d = path.Dir(d) {
		if _, ok := rules[d]; ok {
			return d, true
		}
	}
	return "", false
}

func below(dir, root string) bool { return dir == root || strings.HasPrefix(dir, root+"/") }

func TestImportsFollowTheArchitecture(t *testing.T) {
	for _, f := range parseModule(t) {
		rule, ok := ruleFor(f.dir)
		if !ok {
			t.Errorf("%s: folder %s has no rule: add one to archtest and to ARCHITECTURE.md", f.name, f.dir)
			continue
		}
		if f.test {
			continue // a test may look at its package from anywhere
		}
		for _, imp := range f.imports {
			rel, inside := strings.CutPrefix(imp, module+"/")
			if !inside || below(rel, rule) {
				continue
			}
			if target, _ := ruleFor(rel); !slices.Contains(rules[rule].may, target) && !slices.ContainsFunc(rules[rule].may, func(m string) bool { return rule == "cmd/rollout-lab" && below(rel, m) }) {
				t.Errorf("%s imports %s: %s may import %v (%s)", f.name, rel, rule, rules[rule].may, rules[rule].why)
			}
		}
	}
}

func TestThirdPartyImportsStayWhereTheyBelong(t *testing.T) {
	for _, f := range parseModule(t) {
		if f.test {
			continue
		}
		for _, imp := range f.imports {
			for mod, owners := range onlyImporter {
				if below(imp, mod) && !slices.ContainsFunc(owners, func(owner string) bool { return below(f.dir, owner) }) {
					t.Errorf("%s imports %s: only %v may", f.name, imp, owners)
				}
			}
			if !strings.Contains(strings.SplitN(imp, "/", 2)[0], ".") || below(imp, module) {
				continue
			}
			rule, _ := ruleFor(f.dir)
			if !slices.Contains(standardLibraryOnly, rule) && !slices.Contains(standardLibraryOnly, f.dir) {
				continue
			}
			if !slices.ContainsFunc(extern[rule], func(m string) bool { return below(imp, m) }) {
				t.Errorf("%s imports %s: %s uses the standard library alone", f.name, imp, rule)
			}
		}
	}
}

func TestOnePackageCommentPerFolder(t *testing.T) {
	docs := map[string][]string{}
	seen := map[string]bool{}
	for _, f := range parseModule(t) {
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
	for _, f := range parseModule(t) {
		if slices.Contains(banned, f.pkg) {
			t.Errorf("%s: package %s is named for nothing", f.name, f.pkg)
		}
	}
}

package scenarios

import (
	"embed"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/rollout-lab/rollout-lab/internal/spelling"
)

//go:embed *.yaml
var files embed.FS

// designsFile holds the builtin designs; every other embedded file is a scenario.
const designsFile = "designs.yaml"

// Names lists the scenarios of the catalogue by name, sorted.
func Names() []string {
	entries, err := files.ReadDir(".")
	if err != nil {
		panic(fmt.Sprintf("list the embedded catalogue: %v", err)) // it is part of the program
	}
	var names []string
	for _, e := range entries {
		if name := e.Name(); name != designsFile {
			names = append(names, strings.TrimSuffix(name, ".yaml"))
		}
	}
	slices.Sort(names)
	return names
}

// Catalogue is every scenario of the catalogue, with the defaults of its variables, by
// name.
func Catalogue() ([]*Scenario, error) {
	var all []*Scenario
	for _, name := range Names() {
		s, err := Load(name, Options{})
		if err != nil {
			return nil, fmt.Errorf("catalogue: %w", err)
		}
		all = append(all, s)
	}
	return all, nil
}

// Text is a scenario of the catalogue as it is written, comments and all: a start for
// one's own. An unknown name is an *Error that suggests a near one.
func Text(name string) ([]byte, error) {
	names := Names()
	if !slices.Contains(names, name) {
		hint := "the catalogue has: " + strings.Join(names, ", ") + "; a file's name ends in .yaml"
		if c := spelling.Nearest(name, names); c != "" {
			hint = "did you mean " + c + "?"
		}
		return nil, &Error{Message: "no scenario " + quote(name) + " in the catalogue", Hint: hint}
	}
	return files.ReadFile(path.Join(".", name+".yaml"))
}

// BuiltinDesign is the builtin design of that name.
func BuiltinDesign(name string) (Design, bool) {
	for _, d := range builtin() {
		if d.Name == name {
			d.On = maps.Clone(d.On)
			return d, true
		}
	}
	return Design{}, false
}

// BuiltinDesigns are the names of the builtin designs.
func BuiltinDesigns() []string { return namesOf(builtin()) }

func namesOf(designs []Design) []string {
	names := make([]string, len(designs))
	for i := range designs {
		names[i] = designs[i].Name
	}
	return names
}

var builtin = sync.OnceValue(func() []Design {
	data, err := files.ReadFile(designsFile)
	if err == nil {
		var all []Design
		if all, err = parseDesigns(designsFile, data); err == nil {
			return all
		}
	}
	panic(fmt.Sprintf("read the builtin designs: %v", err)) // they are part of the program
})

// parseDesigns reads a file of designs. A design may start from one before it.
func parseDesigns(file string, data []byte) ([]Design, error) {
	var all []Design
	d := newDecoder(file, Options{}, func() []Design { return all })
	root := d.tree(data)
	if root == nil {
		return nil, d.err()
	}
	d.at[""] = root
	d.unknownKeys(root, "", []string{"designs"})
	if list := root.get("designs"); list != nil {
		d.list(list, "designs", func(n *node, path string) {
			var design Design
			d.design(n, path, &design)
			design.check(path, func(path, message, hint string) {
				at := d.where(path)
				d.problem(at.line, at.column, message, hint)
			})
			all = append(all, design)
		})
	}
	return all, d.err()
}

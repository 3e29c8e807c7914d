package lint

import (
	"cmp"
	"path"
	"regexp"
	"slices"
	"strings"
)

// The files are read here and not by the loader of Compose itself: that one keeps no
// positions, asks the disk for files that nobody named, and the environment for variables
// whose values are not those of the machine that will run the services.

// composeDoc is a compose file as it was read, its variables filled in.
type composeDoc struct {
	name  string // of the file
	root  *node
	spans map[string]extent // of its services
}

// extent is where a service stands.
type extent struct {
	file        string
	first, last int
}

// readCompose keeps a compose file; false when there is no service in it and none that
// it includes.
func (s *source) readCompose(root *node, last int, in *input) bool {
	root.within(s.name)
	services := root.get("services")
	d := &composeDoc{name: s.name, root: root, spans: map[string]extent{}}
	if services != nil {
		s.interpolate(services)
		for i, entry := range services.fields {
			end := last
			if i+1 < len(services.fields) {
				end = services.fields[i+1].value.line - 1
			}
			d.spans[entry.key] = extent{s.name, entry.value.line, end}
		}
	}
	in.composeDocs = append(in.composeDocs, d)
	return len(d.services().given()) > 0 || root.get("include") != nil
}

// includesAlone reports whether a document is a compose file that only includes others.
// Other programs have an include too.
func includesAlone(root *node) bool {
	known := func(f field) bool {
		return strings.HasPrefix(f.key, "x-") || slices.Contains([]string{"name", "version", "include", "services", "networks", "volumes", "configs", "secrets", "models"}, f.key)
	}
	return root.get("include") != nil && !slices.ContainsFunc(root.fields, func(f field) bool { return !known(f) })
}

// within notes the file of a tree, so that the tree can be merged with one of another.
func (n *node) within(file string) {
	n.file = file
	for _, f := range n.fields {
		f.value.within(file)
	}
	for _, item := range n.items {
		item.within(file)
	}
}

// services is the mapping of them, an empty one where the file has none.
func (d *composeDoc) services() *node {
	if services := d.root.get("services"); services != nil && services.kind == mapping {
		return services
	}
	return &node{kind: mapping, file: d.name, line: d.root.line, column: d.root.column}
}

// given are the entries of a mapping that are not empty.
func (n *node) given() []field {
	return slices.DeleteFunc(slices.Clone(n.fields), func(f field) bool { return f.value.kind == null })
}

// partial reports whether a service of the file is none by itself: Compose wants an image
// or a build.
func (d *composeDoc) partial() bool {
	return slices.ContainsFunc(d.services().given(), func(f field) bool { return f.value.kind == mapping && !standsAlone(f.value) })
}

func standsAlone(service *node) bool {
	return slices.ContainsFunc([]string{"image", "build", "extends", "provider"}, func(key string) bool { return service.get(key) != nil })
}

var (
	composeName  = regexp.MustCompile(`^(?:docker-)?compose\.ya?ml$`)
	overrideName = regexp.MustCompile(`^(.+)\.override\.(ya?ml)$`)
	yamlEnd      = regexp.MustCompile(`\.ya?ml$`)
)

func slashed(name string) string { return path.Clean(strings.ReplaceAll(name, `\`, "/")) }

// baseOf is the file that another one is written over: compose.yaml for
// compose.override.yaml, and for what has services without an image.
func (in *input) baseOf(d *composeDoc) *composeDoc {
	dir, name := path.Split(slashed(d.name))
	named := func(is func(string) bool) *composeDoc {
		for _, other := range in.composeDocs {
			otherDir, otherName := path.Split(slashed(other.name))
			if other != d && otherDir == dir && is(otherName) {
				return other
			}
		}
		return nil
	}
	if m := overrideName.FindStringSubmatch(name); m != nil {
		return named(func(other string) bool { return yamlEnd.ReplaceAllString(other, "") == m[1] && other != name })
	}
	if !composeName.MatchString(name) && d.partial() {
		return named(composeName.MatchString)
	}
	return nil
}

// assembleCompose makes services of the files: those that belong together are merged, as
// Compose does it. Where several files are written over the same one, each is a case of
// its own.
func (in *input) assembleCompose() []*FileError {
	over := map[*composeDoc][]*composeDoc{}
	aside := map[*composeDoc]bool{}
	for _, d := range in.composeDocs {
		if base := in.baseOf(d); base != nil {
			over[base], aside[d] = append(over[base], d), true
		}
		for _, included := range in.includedBy(d) {
			aside[included] = true
		}
	}
	var problems []*FileError
	for _, d := range in.composeDocs {
		if aside[d] && len(over[d]) == 0 {
			continue
		}
		variants := [][]*composeDoc{{d}}
		if len(over[d]) > 0 {
			variants = nil
			for _, o := range over[d] {
				variants = append(variants, []*composeDoc{d, o})
			}
		}
		for i, docs := range variants {
			problems = append(problems, in.assembleProject(docs, i > 0)...)
		}
	}
	return problems
}

// assembleProject makes the services of files that are merged in their order. Again tells
// that those of the first file have been judged once.
func (in *input) assembleProject(docs []*composeDoc, again bool) []*FileError {
	first := docs[0]
	s := &source{name: first.name}
	f := &composeFile{}
	services := first.services()
	spans := map[string][]extent{}
	note := func(d *composeDoc) {
		for name, at := range d.spans {
			spans[name] = append(spans[name], at)
		}
	}
	note(first)
	for _, d := range docs[1:] {
		services = mergeNodes(services, d.services(), "services")
		note(d)
	}
	for _, d := range docs {
		for _, included := range in.includedBy(d) {
			services = mergeNodes(included.services(), services, "services")
			note(included)
		}
		f.open = f.open || d.root.get("include") != nil && len(in.includedBy(d)) < len(includes(d))
	}
	x := &extender{in: in, services: services, file: first.name}
	for _, entry := range services.given() {
		if entry.value.kind != mapping {
			s.wrong(entry.value, "service "+show(entry.key)+" as a mapping")
			continue
		}
		n, whole := x.extend(entry.value, 0)
		c := s.readComposeService(f, entry.key, n)
		c.spans = spans[entry.key]
		c.partial = !whole || !standsAlone(n)
		c.again = again && len(c.spans) == 1 && c.spans[0].file == first.name
		f.services = append(f.services, c)
	}
	in.compose = append(in.compose, f)
	if len(f.services) == 0 && f.open && len(s.problems) == 0 {
		s.problem(0, 0, "name "+show(strings.Join(includes(first), ", "))+" as well", "it has no service of its own, and what it includes is not named")
	}
	return s.problems
}

// includes are the files that a file includes, as paths.
func includes(d *composeDoc) []string {
	n := d.root.get("include")
	if n == nil {
		return nil
	}
	var out []string
	for _, item := range n.items {
		from := []*node{item}
		if p := item.get("path"); p != nil {
			if from = p.items; p.kind == scalar {
				from = []*node{p}
			}
		}
		for _, p := range from {
			if p.kind == scalar {
				out = append(out, path.Join(path.Dir(slashed(d.name)), slashed(p.value)))
			}
		}
	}
	return out
}

func (in *input) includedBy(d *composeDoc) []*composeDoc {
	var out []*composeDoc
	for _, name := range includes(d) {
		if included := in.composeNamed(name); included != nil && included != d {
			out = append(out, included)
		}
	}
	return out
}

func (in *input) composeNamed(name string) *composeDoc {
	for _, d := range in.composeDocs {
		if slashed(d.name) == name {
			return d
		}
	}
	return nil
}

// extender follows extends.
type extender struct {
	in       *input
	services *node
	file     string
}

// maxExtends is how far extends is followed: it may lead round in a circle.
const maxExtends = 8

// extend merges a service over the one that it extends; false when that is in a file that
// nobody named.
func (x *extender) extend(service *node, depth int) (*node, bool) {
	e := service.get("extends")
	if e == nil {
		return service, true
	}
	name, file := e.value, ""
	if e.kind == mapping {
		if v := e.get("service"); v != nil {
			name = v.value
		}
		if v := e.get("file"); v != nil {
			file = v.value
		}
	}
	services := x.services
	if file != "" {
		d := x.in.composeNamed(path.Join(path.Dir(slashed(cmp.Or(e.file, x.file))), slashed(file)))
		if d == nil {
			return service, false
		}
		services = d.services()
		x = &extender{x.in, services, d.name}
	}
	base := services.get(name)
	if base == nil || base == service || base.kind != mapping || depth >= maxExtends {
		return service, false
	}
	base, whole := x.extend(base, depth+1)
	own := *service
	own.fields = slices.DeleteFunc(slices.Clone(service.fields), func(f field) bool { return f.key == "extends" })
	merged := mergeNodes(base, &own, "")
	merged.line, merged.column, merged.file = service.line, service.column, service.file
	return merged, whole
}

// mergeNodes writes one tree over another by the rules of Compose; key is that of both.
func mergeNodes(base, over *node, key string) *node {
	switch {
	case over.tag == "!reset":
		return &node{file: over.file, line: over.line, column: over.column}
	case over.tag == "!override" || base.kind == null:
		return over
	case over.kind == null:
		return base
	case slices.Contains([]string{"command", "entrypoint", "test"}, key):
		return over
	case slices.Contains([]string{"environment", "labels", "depends_on"}, key):
		base, over = base.keyed(), over.keyed()
	}
	out := *base
	switch {
	case base.kind == mapping && over.kind == mapping:
		out.fields = slices.Clone(base.fields)
		for _, f := range over.fields {
			i := slices.IndexFunc(out.fields, func(b field) bool { return b.key == f.key })
			if i < 0 {
				out.fields = append(out.fields, f)
				continue
			}
			inner := f.key
			if key == "services" { // whose keys are names
				inner = ""
			}
			out.fields[i].value = mergeNodes(out.fields[i].value, f.value, inner)
		}
		return &out
	case base.kind == sequence && over.kind == sequence:
		out.items = append(slices.Clone(base.items), over.items...)
		return &out
	}
	return over
}

// keyed is a list of names, or of NAME=value, as a mapping.
func (n *node) keyed() *node {
	if n.kind != sequence {
		return n
	}
	out := *n
	out.kind, out.items = mapping, nil
	for _, item := range n.items {
		v := *item
		name, value, ok := strings.Cut(item.value, "=")
		if v.value = value; !ok {
			v.kind = null
		}
		out.fields = append(out.fields, field{name, &v})
	}
	return &out
}

// interpolate fills in the defaults of variables; what has none is unknown, and rules
// do not judge it.
func (s *source) interpolate(n *node) {
	for _, f := range n.fields {
		s.interpolate(f.value)
	}
	for _, item := range n.items {
		s.interpolate(item)
	}
	if n.kind != scalar || !strings.Contains(n.value, "$") {
		return
	}
	n.written = n.value
	value, known := substitute(n.value, 0)
	n.value, n.unknown = value, !known
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*`)

// substitute fills in the defaults of the variables in a text, which may hold variables
// themselves; false when one has none.
func substitute(text string, depth int) (string, bool) {
	var out strings.Builder
	known := true
	for {
		before, rest, found := strings.Cut(text, "$")
		out.WriteString(before)
		if !found {
			return out.String(), known
		}
		switch {
		case strings.HasPrefix(rest, "$"):
			out.WriteString("$")
			text = rest[1:]
		case strings.HasPrefix(rest, "{"):
			end := closing(rest)
			if end < 0 || depth >= maxNesting {
				return out.String(), false
			}
			value, ok := defaultOf(rest[1:end], depth)
			out.WriteString(value)
			known, text = known && ok, rest[end+1:]
		default:
			name := variableName.FindString(rest)
			if name == "" {
				out.WriteString("$")
			} else {
				known = false
			}
			text = rest[len(name):]
		}
	}
}

// defaultOf is the default in NAME:-default.
func defaultOf(inside string, depth int) (string, bool) {
	rest := inside[len(variableName.FindString(inside)):]
	if value, ok := strings.CutPrefix(strings.TrimPrefix(rest, ":"), "-"); ok {
		return substitute(value, depth+1)
	}
	return "", false
}

// closing is where the brace closes that the text begins with.
func closing(text string) int {
	open := 0
	for i, r := range text {
		switch r {
		case '{':
			open++
		case '}':
			if open--; open == 0 {
				return i
			}
		}
	}
	return -1
}

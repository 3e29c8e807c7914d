package scenarios

import (
	"maps"
	"reflect"
	"slices"
	"strings"
)

// design reads a design: the name of another one, or a mapping that may start from one.
func (d *decoder) design(n *node, path string, to *Design) {
	if d.found != "" {
		d.foundDesign(n, path, to)
		return
	}
	if n.kind == text {
		d.builtinDesign(n, path, to)
		return
	}
	if from := n.get("from"); from != nil {
		if !d.given(from, join(path, "from")) || !d.builtinDesign(from, join(path, "from"), to) {
			return // what the other keys come on top of is not known
		}
		to.Name = ""
	}
	if m := n.entry("manifests"); m != nil {
		d.problem(m.line, m.column, join(path, "manifests")+" is for a target that is a deployment", "give the target a deployment and a service, or remove it")
	}
	before := len(d.problems)
	d.fields(n.without("manifests", "on"), path, reflect.ValueOf(to).Elem())
	to.From = ""
	if n.kind != mapping {
		return
	}
	// What the design says for all drivers also comes on top of what it has inherited for one.
	for driver, inherited := range to.On {
		merge(reflect.ValueOf(&inherited).Elem(), reflect.ValueOf(to.Settings), n)
		to.On[driver] = inherited
	}
	d.spoilt = len(d.problems) > before
	d.settingsOn(n, path, to)
	d.spoilt = false
}

// builtinDesign reads the name of a builtin design, and gives that design.
func (d *decoder) builtinDesign(n *node, path string, to *Design) bool {
	name := ""
	d.text(n, path, fieldOf[Design]("from"), reflect.ValueOf(&name).Elem())
	all := d.designs()
	i := slices.IndexFunc(all, func(d Design) bool { return d.Name == name })
	if i < 0 {
		return false
	}
	*to = all[i]
	to.On = maps.Clone(to.On) // the catalogue keeps its own
	return true
}

// settingsOn reads what is different on a driver, on top of what the design has inherited
// for it, or says of all of them.
func (d *decoder) settingsOn(n *node, path string, to *Design) {
	on, path := n.get("on"), join(path, "on")
	if on == nil || !d.given(on, path) || !d.isMapping(on, path) {
		return
	}
	drivers, known := d.words("driver")
	if known {
		d.unknownKeys(on, path, drivers)
	}
	for _, e := range on.fields {
		if known && !slices.Contains(drivers, e.key) || !d.given(e.value, join(path, e.key)) {
			continue
		}
		settings, inherited := to.On[e.key]
		if !inherited {
			settings = to.Settings
		}
		d.fields(e.value, join(path, e.key), reflect.ValueOf(&settings).Elem())
		if to.On == nil {
			to.On = map[string]Settings{}
		}
		to.On[e.key] = settings
	}
}

// merge puts what a mapping says, and nothing else, on top of what a struct holds. from is
// what the mapping was read as.
func merge(to, from reflect.Value, n *node) {
	kind := kindOf(to)
	for _, f := range fieldsOf(to.Type()) {
		says := n.get(f.name)
		if says == nil || kind != "" && !f.means(kind) {
			continue
		}
		t, v := to.FieldByIndex(f.index), from.FieldByIndex(f.index)
		if t.Kind() == reflect.Struct && says.kind == mapping {
			merge(t, v, says)
		} else {
			t.Set(v)
		}
		if is := kindOf(to); f.name == "kind" && is != kind {
			settle(to, kind, is)
			kind = is
		}
	}
}

// control reads a positive control: the name of a design, or a mapping.
func (d *decoder) control(n *node, path string, to *Control) {
	if n.kind != mapping {
		d.text(n, path, &field{}, reflect.ValueOf(&to.Design).Elem())
		return
	}
	d.fields(n, path, reflect.ValueOf(to).Elem())
}

// target reads the service under test.
func (d *decoder) target(n *node, path string, to *Target) {
	d.fields(n, path, reflect.ValueOf(to).Elem())
	if n.kind != mapping {
		return
	}
	var named []string
	for _, name := range targetKinds {
		if n.get(name) != nil {
			named = append(named, name)
		}
	}
	switch len(named) {
	case 0:
		d.problem(n.line, n.column, path+" names no service", "one of "+strings.Join(targetKinds, ", "))
		return
	case 1:
	default:
		at := n.get(named[1])
		d.problem(at.line, at.column, path+" names two services: "+strings.Join(named, " and "), "remove one of them")
		return
	}
	for _, e := range n.fields {
		switch {
		case named[0] == "refproxy" && e.key != named[0]:
			d.problem(e.line, e.column, join(path, e.key)+" is for a custom target, not for refproxy", "remove it")
		case named[0] != "refproxy" && d.found != deployed && slices.Contains([]string{"service", "port", "manifests"}, e.key):
			d.problem(e.line, e.column, join(path, e.key)+" is for a target that is a deployment, not for "+named[0], "remove it")
		}
	}
	if d.found == deployed && n.get("service") == nil {
		d.problem(n.line, n.column, join(path, "service")+" is missing", "the name of the Service in front of the Deployment")
	}
}

// targetKinds are the keys that name a service.
var targetKinds = []string{"refproxy", "image", "exec", "deployment", "url"}

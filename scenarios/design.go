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
		if d.builtinDesign(n, path, to) {
			d.refuseBuiltin(n, to.Name)
		}
		return
	}
	if from := n.get("from"); from != nil {
		if !d.given(from, join(path, "from")) || !d.builtinDesign(from, join(path, "from"), to) {
			return // what the other keys come on top of is not known
		}
		d.refuseBuiltin(from, to.Name)
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
	to.On = readOn(d, n, path, to.Settings, to.On, nil)
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

// readOn reads what is different on a driver, by its name, on top of what is known of it
// already, or else of what is true of all of them. Before an entry is read, over prepares what
// it comes on top of; nil does nothing.
func readOn[T any](d *decoder, n *node, path string, of T, on map[string]T, over func(n *node, path string, to *T)) map[string]T {
	on = maps.Clone(on)
	all, path := n.get("on"), join(path, "on")
	if all == nil || !d.given(all, path) || !d.isMapping(all, path) {
		return on
	}
	drivers, known := d.words("driver")
	if known {
		d.unknownKeys(all, path, drivers)
	}
	for _, e := range all.fields {
		p := join(path, e.key)
		if known && !slices.Contains(drivers, e.key) || !d.given(e.value, p) {
			continue
		}
		is, inherited := on[e.key]
		if !inherited {
			is = of
		}
		if over != nil {
			over(e.value, p, &is)
		}
		d.fields(e.value, p, reflect.ValueOf(&is).Elem())
		if on == nil {
			on = map[string]T{}
		}
		on[e.key] = is
	}
	return on
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

// misplaced are builtin designs of a target that they say nothing about.
type misplaced struct {
	first *node
	names []string
}

// refuseBuiltin notes that a builtin design is used, where the target is none that it configures.
func (d *decoder) refuseBuiltin(n *node, name string) {
	if !d.own {
		return
	}
	if d.misplaced.first == nil {
		d.misplaced.first = n
	}
	if !slices.Contains(d.misplaced.names, name) {
		d.misplaced.names = append(d.misplaced.names, name)
	}
}

// checkMisplaced reports builtin designs of a custom target: one mistake, however many there are.
func (d *decoder) checkMisplaced() {
	m := d.misplaced
	if m.first == nil {
		return
	}
	message, hint := builtinRefused(m.names, d.found)
	d.problem(m.first.line, m.first.column, message, hint)
}

// builtinRefused says that a custom target cannot have builtin designs.
func builtinRefused(names []string, target found) (message, hint string) {
	which := "builtin design " + quoteAll(names) + " says how refproxy behaves"
	if len(names) > 1 {
		which = "builtin designs " + quoteAll(names) + " say how refproxy behaves"
	}
	switch target {
	case deployed:
		return which + ", and the target is a deployment", "describe the design: {name: as-it-is, manifests: [the files with its objects]}; rollout-lab init writes an example"
	case address:
		return which + ", and the target is an address", "describe the design: {name: as-it-is, run: [its command]}"
	}
	return which + ", and the target is a custom one", "describe designs, such as {name: as-it-is, signal: {kind: tcp, port: data}}; rollout-lab init writes an example"
}

// target reads the service under test.
func (d *decoder) target(n *node, path string, to *Target) {
	d.fields(n.without("on"), path, reflect.ValueOf(to).Elem())
	if n.kind != mapping {
		return
	}
	d.at[path] = n
	named, fine := d.service(n, path)
	on := n.entry("on")
	switch {
	case !fine:
		return
	case named == "" && on == nil && to.kind() == "":
		d.problem(n.line, n.column, path+" names no service", "one of "+strings.Join(targetKinds, ", "))
		return
	case named == "url":
		for _, e := range n.fields {
			if slices.Contains([]string{"service", "port", "manifests"}, e.key) {
				d.problem(e.line, e.column, join(path, e.key)+" is for a target that is a deployment, not for url", "remove it")
			}
		}
		return
	case named == "refproxy":
		for _, e := range n.fields {
			if e.key != named {
				d.problem(e.line, e.column, join(path, e.key)+" is for a custom target, not for refproxy", "remove it")
			}
		}
		return
	}
	d.workload(n, path, &to.Workload)
	to.On = readOn(d, n, path, to.Workload, nil, func(n *node, path string, is *Workload) {
		if named, fine := d.service(n, path); fine && named != "" {
			is.Deployment, is.Image, is.Exec = "", "", ""
		}
	})
	if on == nil || on.value.kind != mapping {
		return
	}
	for _, e := range on.value.fields {
		if w, read := to.On[e.key]; read && e.value.kind == mapping {
			d.workload(e.value, join(join(path, "on"), e.key), &w)
		}
	}
}

// service is the key by which a mapping names a service, "" where it has none. It is not fine
// to have two.
func (d *decoder) service(n *node, path string) (named string, fine bool) {
	for _, name := range targetKinds {
		switch at := n.get(name); {
		case at == nil:
		case named != "":
			d.problem(at.line, at.column, path+" names two services: "+named+" and "+name, "remove one of them")
			return "", false
		default:
			named = name
		}
	}
	return named, true
}

// workload reports what in a mapping does not go with the service that it describes.
func (d *decoder) workload(n *node, path string, is *Workload) {
	kind := is.kind()
	if kind == "" {
		unknown := slices.ContainsFunc(n.fields, func(e entry) bool { return !hasField[Workload](e.key) })
		if path != "target" && !unknown { // else one of those was meant to name it
			d.problem(n.line, n.column, path+" names no service", "one of "+"image, exec, deployment")
		}
		return
	}
	if (d.found == deployed) != (kind == "deployment") {
		at := n.get(kind)
		if at == nil {
			at = n
		}
		d.problem(at.line, at.column, path+" is no deployment, and that of another driver is", "write two scenarios: what differs between designs is in manifests for the one, in settings for the other")
		return
	}
	for _, e := range n.fields {
		if d.found != deployed && slices.Contains([]string{"service", "port", "manifests"}, e.key) {
			d.problem(e.line, e.column, join(path, e.key)+" is for a target that is a deployment, not for "+kind, "remove it")
		}
	}
	if d.found == deployed && is.Service == "" && n.get("service") == nil {
		d.problem(n.line, n.column, join(path, "service")+" is missing", "the name of the Service in front of the Deployment")
	}
}

// targetKinds are the keys that name a service.
var targetKinds = []string{"refproxy", "image", "exec", "deployment", "url"}

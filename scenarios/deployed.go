package scenarios

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// foundDesign reads a design of a target that somebody else has deployed: a name, and what is
// different from the target's.
func (d *decoder) foundDesign(n *node, path string, to *Design) {
	if n.kind == text {
		if d.builtinDesign(n, path, to) {
			d.refuseBuiltin(n, to.Name)
		}
		return
	}
	if m := n.entry("manifests"); m != nil && m.value.kind == sequence && len(m.value.items) == 0 {
		d.problem(m.value.line, m.value.column, join(path, "manifests")+" is empty", "remove it: the target's are meant then")
	}
	d.fields(n, path, reflect.ValueOf(to).Elem())
}

// checkDeployed checks what of a target that is a Deployment needs no manifest to see.
func (s *Scenario) checkDeployed(report report) {
	if !s.Target.Deployed() {
		return
	}
	for _, w := range s.workloads() {
		w.checkObjects(report)
	}
}

// checkObjects checks what one driver's target, which is a Deployment, needs no manifest for.
func (w workload) checkObjects(report report) {
	t := &w.Target
	for _, f := range []struct{ path, name string }{{w.path("deployment"), t.Deployment}, {w.path("service"), t.Service}} {
		if !objectName(f.name) {
			report(f.path, "bad name of a Kubernetes object: "+quote(f.name), "lower-case letters, digits, dashes and dots")
		}
	}
	if n, err := strconv.Atoi(t.Port); err == nil && (n < 1 || n > maxPort) {
		report(w.path("port"), fmt.Sprintf("target.port must be 1..%d, not %d", maxPort, n), "the Service's port, not the container's")
	} else if err != nil && t.Port != "" && !objectName(t.Port) {
		report(w.path("port"), "bad name of a port: "+quote(t.Port), "name or number of the Service's port")
	}
	total := 0
	for _, m := range t.Manifests {
		total += len(m.Text)
	}
	for _, r := range t.Revisions.all() {
		for _, m := range r.Manifests {
			total += len(m.Text)
		}
	}
	without := -1 // a design for which nothing is applied
	for i, d := range w.Designs {
		for _, m := range d.Manifests {
			total += len(m.Text)
		}
		if len(w.ManifestsOf(d)) == 0 {
			without = i
		}
	}
	if without >= 0 && slices.ContainsFunc(w.Designs, func(d Design) bool { return len(d.Manifests) > 0 }) {
		report(fmt.Sprintf("designs[%d]", without), "design "+quote(w.Designs[without].Name)+" has no manifests, and another one has",
			"give it manifests, or the target ones that all designs share")
	}
	if without >= 0 && len(w.Designs) > 1 && t.Revisions == nil {
		report("designs[1]", "two designs of a Deployment that exists already: it is as it is", "remove one of them, or give each its manifests")
	}
	if total > maxManifests {
		report("target", fmt.Sprintf("the manifests have %d bytes, more than a scenario may have (%d)", total, maxManifests), "leave out what the target does not need")
	}
}

func objectName(s string) bool {
	return s != "" && len(s) <= 253 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '.'
	})
}

// checkManifests checks the objects that each design's target is made of.
func (d *decoder) checkManifests(s *Scenario) {
	if d.found != deployed {
		return
	}
	for _, w := range s.workloads() {
		var seen [][]drivers.Manifest
		for _, set := range w.manifestSets() {
			if len(set) == 0 || slices.ContainsFunc(seen, func(o []drivers.Manifest) bool { return slices.Equal(o, set) }) {
				continue
			}
			seen = append(seen, set)
			d.checkSet(w, set)
		}
	}
}

// checkSet checks the objects that one design's target is made of on one driver.
func (d *decoder) checkSet(w workload, set []drivers.Manifest) {
	var all []*object
	files := make([]string, len(set))
	whole := true
	for i, m := range set {
		all = append(all, d.objects[m]...)
		files[i], whole = quote(m.File), whole && len(d.objects[m]) > 0
	}
	if whole && w.Target.Service != "" {
		(&manifestSet{d, w, all, strings.Join(files, ", ")}).check()
	}
}

// manifestSet is what one design's target is made of.
type manifestSet struct {
	*decoder
	scenario workload
	objects  []*object
	files    string // for messages
}

func (m *manifestSet) check() {
	seen := map[[2]string]bool{}
	namespace := ""
	for _, o := range m.objects {
		id := [2]string{o.kind, o.name}
		if seen[id] {
			m.wrong(o, fmt.Sprintf("a second %s %s", quote(o.kind), quote(o.name)), "remove one of them", "metadata", "name")
		}
		seen[id] = true
		n := o.at("metadata", "namespace")
		switch {
		case n == nil || n.value == "":
		case namespace == "":
			namespace = n.value
		case n.value != namespace:
			m.wrong(o, fmt.Sprintf("two namespaces: %s and %s", quote(namespace), quote(n.value)), "all objects are put into one namespace; leave the name out", "metadata", "namespace")
		}
	}
	deployment, service := m.find("Deployment", "deployment", m.scenario.Target.Deployment), m.find("Service", "service", m.scenario.Target.Service)
	if deployment != nil {
		m.checkDeployment(deployment)
	}
	if deployment != nil && service != nil {
		m.checkService(service, deployment)
	}
}

// wrong reports a problem of an object.
func (m *manifestSet) wrong(o *object, message, hint string, path ...string) {
	m.wrongAt(o, o.near(path...), message, hint)
}

func (m *manifestSet) wrongAt(o *object, at *node, message, hint string) {
	before := len(o.src.problems)
	o.src.problem(at.line, at.column, message, hint)
	for _, p := range o.src.problems[before:] {
		same := func(other *Error) bool { return *other == *p } // of another set that shares the file
		if !slices.ContainsFunc(m.problems, same) {
			m.problems = append(m.problems, p)
		}
	}
}

// find finds the object that a key of the target names.
func (m *manifestSet) find(kind, key, name string) *object {
	var names []string
	for _, o := range m.objects {
		if o.kind != kind {
			continue
		}
		if o.name == name {
			return o
		}
		names = append(names, o.name)
	}
	hint := "there is no " + kind + " in them"
	if len(names) > 0 {
		hint = didYouMean(name, names)
	}
	m.once(m.scenario.path(key), fmt.Sprintf("no %s %s in %s", kind, quote(name), m.files), hint)
	return nil
}

// once reports a problem of a key of the scenario, unless it was with another design.
func (m *manifestSet) once(path, message, hint string) {
	at := m.where(path)
	if slices.ContainsFunc(m.problems, func(p *Error) bool { return p.File == m.file && p.Line == at.line && p.Column == at.column }) {
		return
	}
	m.problem(at.line, at.column, message, hint)
}

func (m *manifestSet) checkDeployment(o *object) {
	if o.apiVersion != "apps/v1" {
		m.wrong(o, "a Deployment of "+quote(o.apiVersion), "say apiVersion: apps/v1", "apiVersion")
	}
	if n := o.at("spec", "replicas"); n != nil && n.value != strconv.Itoa(m.scenario.Replicas) {
		m.wrong(o, fmt.Sprintf("spec.replicas is %s, and the scenario's replicas is %d", quote(n.value), m.scenario.Replicas),
			"make them the same, or leave out spec.replicas", "spec", "replicas")
	}
	if n := o.at("spec", "paused"); n != nil && n.value == "true" {
		m.wrong(o, "the Deployment is paused: nothing would be rolled out", "remove spec.paused", "spec", "paused")
	}
	containers := o.at("spec", "template", "spec", "containers")
	if containers == nil || len(containers.items) == 0 {
		m.wrong(o, "the Deployment has no container", "spec.template.spec.containers", "spec", "template", "spec", "containers")
	}
}

func (m *manifestSet) checkService(o, deployment *object) {
	if n := o.at("spec", "type"); n != nil && n.value == "ExternalName" {
		m.wrong(o, "the Service is an ExternalName, which leads out of the cluster", "name the Service in front of the Deployment", "spec", "type")
		return
	}
	selector := o.at("spec", "selector")
	if selector == nil || len(selector.fields) == 0 {
		m.wrong(o, "the Service has no selector: it leads to no pods", "the labels of the Deployment's pods", "spec", "selector")
		return
	}
	labels := deployment.at("spec", "template", "metadata", "labels")
	for _, f := range selector.fields {
		var has *node
		if labels != nil {
			has = labels.get(f.key)
		}
		if has == nil || has.value != f.value.value {
			what := "no label " + quote(f.key)
			if has != nil {
				what = "label " + quote(f.key) + " " + quote(has.value)
			}
			m.wrong(o, fmt.Sprintf("the Service selects %s: %s, and pods of Deployment %s have %s", quote(f.key), quote(f.value.value), quote(deployment.name), what),
				"spec.selector must be among the labels in spec.template.metadata of the Deployment", "spec", "selector", f.key)
		}
	}
	m.checkPort(o, deployment)
}

// checkPort checks that the Service has the port that the target names, and that it leads
// somewhere.
func (m *manifestSet) checkPort(o, deployment *object) {
	ports := o.at("spec", "ports")
	if ports == nil || len(ports.items) == 0 {
		m.wrong(o, "the Service has no ports", "spec.ports", "spec", "ports")
		return
	}
	value := func(n *node, key string) string {
		if v := n.get(key); v != nil {
			return v.value
		}
		return ""
	}
	port, known := ports.items[0], []string{}
	if want := m.scenario.Target.Port; want != "" {
		port = nil
		for _, p := range ports.items {
			if value(p, "name") == want || value(p, "port") == want {
				port = p
			}
			label := quote(value(p, "port"))
			if name := value(p, "name"); name != "" {
				label = quote(name) + " " + label
			}
			known = append(known, label)
		}
		if port == nil {
			m.once(m.scenario.path("port"), fmt.Sprintf("Service %s in %s has no port %s", quote(o.name), quote(o.src.file), quote(want)), "it has: "+strings.Join(known, ", "))
			return
		}
	}
	if protocol := port.get("protocol"); protocol != nil && protocol.value != "TCP" {
		m.wrongAt(o, protocol, "the port speaks "+quote(protocol.value)+", and the load HTTP over TCP", "name another port")
		return
	}
	to := port.get("targetPort")
	if to == nil || to.kind == number {
		return
	}
	containers := deployment.at("spec", "template", "spec", "containers")
	if containers == nil {
		return
	}
	var names []string
	for _, c := range containers.items {
		if ports := c.get("ports"); ports != nil {
			for _, p := range ports.items {
				names = append(names, value(p, "name"))
			}
		}
	}
	if _, err := strconv.Atoi(to.value); err != nil && !slices.Contains(names, to.value) {
		m.wrongAt(o, to, fmt.Sprintf("no container of Deployment %s has a port named %s", quote(deployment.name), quote(to.value)), "name it in the container's ports, or give its number")
	}
}

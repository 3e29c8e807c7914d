package starter

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/parser"

	"github.com/rollout-lab/rollout-lab/internal/manifest"
)

// file is a file with Kubernetes objects.
type file struct {
	path    string // from the working directory
	objects []yaml.MapSlice
}

// readFiles reads the YAML files of a folder, those of its subfolders not among them, or one file.
func readFiles(name string) ([]file, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, hint(err, "the folder with the YAML of the Deployment and its Service")
	}
	names := []string{name}
	if info.IsDir() {
		names = nil
		entries, err := os.ReadDir(name)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if ext := filepath.Ext(e.Name()); !e.IsDir() && (ext == ".yaml" || ext == ".yml") {
				names = append(names, filepath.Join(name, e.Name()))
			}
		}
	}
	var out []file
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		f := file{path: name}
		if f.objects, err = objectsIn(data); err != nil {
			return nil, hint(fmt.Errorf("%s: %w", name, err), "it has to hold Kubernetes objects")
		}
		if len(f.objects) > 0 {
			out = append(out, f)
		}
	}
	if len(out) == 0 {
		return nil, hint(fmt.Errorf("%s holds no Kubernetes objects", name), "the folder with the YAML of the Deployment and its Service")
	}
	return out, nil
}

// objectsIn are the documents of a text, but for those that hold nothing.
func objectsIn(data []byte) (objects []yaml.MapSlice, err error) {
	for _, part := range manifest.Documents(string(data)) {
		parsed, err := parser.ParseBytes([]byte(part.TextInPlace()), 0)
		if err != nil {
			return nil, err
		}
		for _, doc := range parsed.Docs {
			if doc.Body == nil {
				continue
			}
			var object yaml.MapSlice
			if err := yaml.NodeToValue(doc.Body, &object, yaml.UseOrderedMap()); err != nil {
				return nil, err
			}
			objects = append(objects, listed(object)...)
		}
	}
	return objects, nil
}

// listed are the objects of a List, or what is no List itself.
func listed(object yaml.MapSlice) (objects []yaml.MapSlice) {
	switch {
	case len(object) == 0:
		return nil
	case text(object, "kind") != "List":
		return []yaml.MapSlice{object}
	}
	for _, item := range list(object, "items") {
		if o, ok := item.(yaml.MapSlice); ok {
			objects = append(objects, o)
		}
	}
	return objects
}

// at is what is below a path of keys, nil where there is nothing.
func at(v any, keys ...string) any {
	for _, key := range keys {
		m, ok := v.(yaml.MapSlice)
		i := slices.IndexFunc(m, func(item yaml.MapItem) bool { return item.Key == key })
		if !ok || i < 0 {
			return nil
		}
		v = m[i].Value
	}
	return v
}

func text(v any, keys ...string) string {
	if v = at(v, keys...); v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

func list(v any, keys ...string) []any {
	l, _ := at(v, keys...).([]any)
	return l
}

// with is a mapping with a key set, at its end when it is new.
func with(m yaml.MapSlice, key string, value any) yaml.MapSlice {
	m = slices.Clone(m)
	if i := slices.IndexFunc(m, func(item yaml.MapItem) bool { return item.Key == key }); i >= 0 {
		m[i].Value = value
		return m
	}
	return append(m, yaml.MapItem{Key: key, Value: value})
}

// withAt is the same below a path of keys that are mappings.
func withAt(m yaml.MapSlice, value any, keys ...string) yaml.MapSlice {
	if len(keys) == 1 {
		return with(m, keys[0], value)
	}
	inner, _ := at(m, keys[0]).(yaml.MapSlice)
	return with(m, keys[0], withAt(inner, value, keys[1:]...))
}

// subject is the Deployment that is chosen, and the Service in front of it.
type subject struct {
	file, object        int // of the Deployment
	deployment, service yaml.MapSlice
}

// subjectOf finds the Deployment with a Service in front of it.
func subjectOf(files []file, wanted string) (subject, error) {
	var services []yaml.MapSlice
	var all []subject
	for f, file := range files {
		for i, object := range file.objects {
			switch text(object, "kind") {
			case "Service":
				services = append(services, object)
			case "Deployment":
				all = append(all, subject{file: f, object: i, deployment: object})
			}
		}
	}
	var fronted []subject
	var names []string
	for _, s := range all {
		names = append(names, text(s.deployment, "metadata", "name"))
		for _, service := range services {
			if selects(service, s.deployment) {
				s.service = service
				fronted = append(fronted, s)
				break
			}
		}
	}
	if wanted != "" {
		fronted = slices.DeleteFunc(fronted, func(s subject) bool { return text(s.deployment, "metadata", "name") != wanted })
	}
	switch {
	case len(all) == 0:
		return subject{}, hint(errors.New("there is no Deployment in the manifests"), "a StatefulSet or a DaemonSet cannot be measured yet")
	case len(fronted) == 0:
		return subject{}, hint(fmt.Errorf("no Service in the manifests selects the pods of Deployment %s", strings.Join(names, " or ")), "its spec.selector must be among spec.template.metadata.labels")
	case len(fronted) > 1:
		names = nil
		for _, s := range fronted {
			names = append(names, text(s.deployment, "metadata", "name"))
		}
		return subject{}, hint(fmt.Errorf("several Deployments have a Service in front: %s", strings.Join(names, ", ")), "say which: --deployment "+names[0])
	}
	return fronted[0], nil
}

// selects says whether a Service leads to the pods of a Deployment.
func selects(service, deployment yaml.MapSlice) bool {
	selector, _ := at(service, "spec", "selector").(yaml.MapSlice)
	for _, item := range selector {
		if text(deployment, "spec", "template", "metadata", "labels", fmt.Sprint(item.Key)) != fmt.Sprint(item.Value) {
			return false
		}
	}
	return len(selector) > 0
}

// deployment writes the scenario of a Deployment.
func (p *page) deployment(ask Ask, offers []Offer) (driver string, err error) {
	files, err := readFiles(ask.Manifests)
	if err != nil {
		return "", err
	}
	s, err := subjectOf(files, ask.Deployment)
	if err != nil {
		return "", err
	}
	var named []string
	for _, f := range files {
		path, err := ask.beside(f.path)
		if err != nil {
			return "", err
		}
		named = append(named, strings.TrimPrefix(path, "./"))
	}
	drained, did, err := drain(files[s.file], s.object)
	if err != nil {
		return "", err
	}
	name := text(s.deployment, "metadata", "name")
	replicas, note := 3, " # the manifest leaves it open"
	if said := text(s.deployment, "spec", "replicas"); said != "" {
		note = " # what the manifest says as well"
		if replicas, err = strconv.Atoi(said); err != nil {
			return "", fmt.Errorf("spec.replicas of Deployment %s is %q", name, said)
		}
	}
	driver = able(offers, "deployment")
	p.head(ask, nameOf(name), "Rolls Deployment "+name+" out again under load: as it is, and with a wait before each stop.", driver)
	p.deploymentTarget(ask, s, named)
	p.tail(replicas, note)
	p.line("phases:")
	p.line("  baseline: {from: 1s, to: 4s}")
	p.line("  window: {from: 4s, to: 64s} # %d pods, one after the other, with a wait of %d s before each stop", replicas, waitSeconds)
	p.line("action: {kind: rollout, timeout: 2m} # the same pods again, by a mark on the template")
	p.line("")
	p.line("trials: 1 # 3 and more tell luck from a difference")
	p.line("designs:")
	p.line("  - name: as-it-is")
	p.line("    about: The manifests as they are.")
	p.line("  - name: drained")
	p.line("    about: %s", did)
	p.line("    manifests:")
	for i, f := range named {
		if i != s.file {
			p.line("      - %s", quoted(f))
			continue
		}
		p.line("      - file: %s # with the change, instead of the file itself", quoted("drained-"+filepath.Base(f)))
		p.line("        text: |")
		for line := range strings.Lines(strings.ReplaceAll(drained, "${", "$${")) {
			if line = strings.TrimSuffix(line, "\n"); line != "" {
				line = "          " + line
			}
			p.line("%s", line)
		}
	}
	p.gate()
	return driver, nil
}

// deploymentTarget writes what is deployed, and the way in.
func (p *page) deploymentTarget(ask Ask, s subject, manifests []string) {
	p.line("target:")
	p.line("  deployment: %s", quoted(text(s.deployment, "metadata", "name")))
	p.line("  service: %s # in front of it", quoted(text(s.service, "metadata", "name")))
	if ports := list(s.service, "spec", "ports"); len(ports) > 0 {
		port := text(ports[0], "name")
		if port == "" {
			port = text(ports[0], "port")
		}
		p.line("  port: %s # of the Service, which has %d", quoted(port), len(ports))
	}
	p.line("  manifests: %s # from the folder of this file", quotedAll(manifests))
	p.deploymentRequest(ask, s)
}

// deploymentRequest writes what the load asks: nobody can ask the pods before they run.
func (p *page) deploymentRequest(ask Ask, s subject) {
	path, why := ask.Path, "put a request of real life here"
	if path == "" {
		path = "/"
		for _, c := range list(s.deployment, "spec", "template", "spec", "containers") {
			if probe := text(c, "readinessProbe", "httpGet", "path"); probe != "" {
				path, why = probe, "that of its readiness probe; put a request of real life here"
			}
		}
	}
	p.line("  request: {path: %s, expect: {status: 200}} # %s", quoted(path), why)
}

// What the drained design waits before each stop, and what is left to the program behind it.
const (
	waitSeconds  = 5
	graceSeconds = 30 // of Kubernetes, when nothing is said
)

// drain is a file in which the containers of a Deployment wait before they are stopped, and what
// was changed.
func drain(f file, object int) (text, did string, err error) {
	objects := slices.Clone(f.objects)
	d := objects[object]
	pod := []string{"spec", "template", "spec"}
	var containers []any
	for _, c := range list(d, append(slices.Clone(pod), "containers")...) {
		m, ok := c.(yaml.MapSlice)
		if !ok {
			return "", "", errors.New("a container of the Deployment is no mapping")
		}
		sleep := yaml.MapSlice{{Key: "sleep", Value: yaml.MapSlice{{Key: "seconds", Value: waitSeconds}}}}
		containers = append(containers, withAt(m, sleep, "lifecycle", "preStop"))
	}
	d = withAt(d, containers, append(slices.Clone(pod), "containers")...)
	did = fmt.Sprintf("With a preStop hook that sleeps %d s, so that every kube-proxy knows before the program stops.", waitSeconds)
	grace := graceSeconds
	if said := at(d, append(slices.Clone(pod), "terminationGracePeriodSeconds")...); said != nil {
		if _, err := fmt.Sscan(fmt.Sprint(said), &grace); err != nil {
			return "", "", fmt.Errorf("terminationGracePeriodSeconds is %v", said)
		}
		d = withAt(d, grace+waitSeconds, append(slices.Clone(pod), "terminationGracePeriodSeconds")...)
	}
	objects[object] = d
	var b strings.Builder
	for i, o := range objects {
		out, err := yaml.Marshal(o)
		if err != nil {
			return "", "", err
		}
		if i > 0 {
			b.WriteString("---\n")
		}
		b.Write(out)
	}
	return b.String(), did, nil
}

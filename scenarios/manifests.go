package scenarios

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// maxManifests bounds the texts of all manifests of a scenario, in bytes, so that Source
// stays far below what a scenario's file may have.
const maxManifests = maxFile / 4

// maxNamed bounds a file that a scenario names, in bytes: a body that is sent may be large.
const maxNamed = 16 << 20

// object is a Kubernetes object as a manifest has it.
type object struct {
	src              *source
	doc              *node
	apiVersion, kind string
	name             string
}

// at finds the node of a path of keys; nil when there is none.
func (o *object) at(path ...string) *node {
	n := o.doc
	for _, key := range path {
		if n = n.get(key); n == nil {
			return nil
		}
	}
	return n
}

// near is the node of a path, or of the nearest one around it.
func (o *object) near(path ...string) *node {
	for ; len(path) > 0; path = path[:len(path)-1] {
		if n := o.at(path...); n != nil {
			return n
		}
	}
	return o.doc
}

// manifests reads a list of manifests. A folder among them stands for the files in it that
// hold YAML or JSON, in the order of their names, as kubectl apply takes it.
func (d *decoder) manifests(n *node, path string, to *[]drivers.Manifest) {
	var all []drivers.Manifest
	d.list(n, path, func(n *node, path string) {
		names, isFolder := d.folder(n, path)
		for _, name := range names {
			file := *n
			file.value = name
			var m drivers.Manifest
			d.manifest(&file, path, &m)
			all = append(all, m)
		}
		if !isFolder {
			var m drivers.Manifest
			d.manifest(n, path, &m)
			all = append(all, m)
		}
	})
	*to = all
}

// folder lists the manifests of a folder, if that is what a node names.
func (d *decoder) folder(n *node, path string) (names []string, is bool) {
	if n.kind != text || n.value == "" {
		return nil, false
	}
	entries, err := os.ReadDir(d.beside(n.value))
	if err != nil {
		return nil, false // no folder, or one that is not there: that is said of a file
	}
	for _, e := range entries {
		switch filepath.Ext(e.Name()) {
		case ".yaml", ".yml", ".json":
			if !e.IsDir() {
				names = append(names, strings.TrimSuffix(n.value, "/")+"/"+e.Name())
			}
		}
	}
	if len(names) == 0 {
		d.problem(n.line, n.column, "there is no manifest in the folder "+quote(n.value), "files that end in .yaml, .yml or .json; folders in it are not looked into")
	}
	return names, true
}

// manifest reads a manifest: the path of a file with Kubernetes objects, from the scenario's
// own folder, or what Source holds, which is the text itself and needs no file.
func (d *decoder) manifest(n *node, path string, to *drivers.Manifest) {
	if n.kind == mapping {
		d.fields(n, path, reflect.ValueOf(to).Elem())
	} else if d.text(n, path, &field{}, reflect.ValueOf(&to.File).Elem()); to.File != "" {
		to.Text = d.readManifest(n, to.File)
	}
	switch {
	case to.File == "" || to.Text == "":
		if n.kind == mapping && len(n.fields) == 2 || n.kind == text && to.File == "" {
			d.problem(n.line, n.column, path+" is empty", "the path of a file with Kubernetes objects")
		}
	case !printable(to.File):
		d.problem(n.line, n.column, path+" holds a character that cannot be printed", "")
	default:
		d.objectsIn(to)
	}
}

// readManifest reads a manifest's file, which is named from the folder of the scenario's.
func (d *decoder) readManifest(n *node, name string) string {
	refuse := func(message, hint string) string {
		d.problem(n.line, n.column, message, hint)
		return ""
	}
	data := d.readBeside(n, name, "manifests are")
	path := d.beside(name)
	switch {
	case data == nil:
		return ""
	case len(data) > maxManifests:
		return refuse(fmt.Sprintf("%s has more bytes than a manifest may have (%d)", quote(path), maxManifests), "is this the right file?")
	case strings.TrimSpace(string(data)) == "":
		return refuse(quote(path)+" is empty", "it has to hold Kubernetes objects")
	}
	return string(data)
}

// beside is the path of a file that is named from the folder that the scenario is in.
func (d *decoder) beside(name string) string {
	path := filepath.FromSlash(name)
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(d.file), path)
}

// readBeside reads a file that the scenario names, of which they (manifests are) is what it
// would hold. It is nil, and there is a problem, when it cannot be read.
func (d *decoder) readBeside(n *node, name, they string) []byte {
	refuse := func(message, hint string) []byte {
		d.problem(n.line, n.column, message, hint)
		return nil
	}
	path := d.beside(name)
	info, err := os.Stat(path)
	switch {
	case os.IsNotExist(err):
		return refuse("there is no file "+quote(path), they+" named from the folder that the scenario is in")
	case err != nil:
		return refuse(quote(path)+" cannot be read: "+quote(err.Error()), "")
	case !info.Mode().IsRegular():
		return refuse(quote(path)+" is not a file", "name each file of a folder")
	case info.Size() > maxNamed:
		return refuse(fmt.Sprintf("%s has more than %d bytes", quote(path), maxNamed), "is this the right file?")
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return refuse(quote(path)+" cannot be read: "+quote(err.Error()), "")
	}
	if data == nil {
		data = []byte{}
	}
	return data
}

// objectsIn reads the objects of a manifest, brings its text into the form that Source can
// hold, and keeps the objects for the checks.
func (d *decoder) objectsIn(m *drivers.Manifest) {
	src := &source{file: m.File}
	if !filepath.IsAbs(m.File) {
		src.file = filepath.ToSlash(filepath.Join(filepath.Dir(d.file), m.File))
	}
	var objects []*object
	for _, doc := range src.trees([]byte(m.Text)) {
		for _, n := range listed(doc, 0) {
			if o := src.object(n); o != nil {
				objects = append(objects, o)
			}
		}
	}
	m.Text = plainText(m.Text)
	for i, line := range strings.Split(m.Text, "\n") {
		if room := maxLine - 2*maxNesting; len(line)+strings.Count(line, "${") > room {
			src.problem(i+1, 1, fmt.Sprintf("the line has more than %d bytes", room), "is this the right file?")
		}
	}
	if len(objects) == 0 && len(src.problems) == 0 {
		src.problem(1, 1, "there is no object in it", "is this the right file?")
	}
	if d.objects == nil {
		d.objects = map[drivers.Manifest][]*object{}
	}
	if _, twice := d.objects[*m]; !twice { // else its problems are known
		d.problems = append(d.problems, src.problems...)
	}
	if len(src.problems) > 0 {
		objects = nil // what follows from a part of them would mislead
	}
	d.objects[*m] = objects
}

// plainText is a text as a YAML block can hold it and give it back.
func plainText(s string) string {
	s = strings.TrimPrefix(strings.ReplaceAll(s, "\r\n", "\n"), "\ufeff")
	s = strings.TrimRight(s, " \t\n") + "\n"
	for {
		line, rest, found := strings.Cut(s, "\n")
		if !found || strings.TrimSpace(line) != "" {
			break
		}
		s = rest
	}
	if strings.HasPrefix(s, " ") {
		s = "---\n" + s // its indentation would be taken for the block's
	}
	return s
}

// listed are the objects of a List, or what is no List itself.
func listed(doc *node, depth int) []*node {
	kind, items := doc.get("kind"), doc.get("items")
	if depth > maxListed || kind == nil || kind.value != "List" || items == nil || items.kind != sequence {
		return []*node{doc}
	}
	var out []*node
	for _, n := range items.items {
		out = append(out, listed(n, depth+1)...)
	}
	return out
}

// maxListed is how deep Lists may be in each other.
const maxListed = 3

// object takes a document for a Kubernetes object, or says why it is none.
func (s *source) object(doc *node) *object {
	if doc.kind != mapping {
		s.problem(doc.line, doc.column, "a Kubernetes object is a mapping, this is "+doc.kind.String(), "it begins with apiVersion: and kind:")
		return nil
	}
	o := &object{src: s, doc: doc}
	if kind := o.at("kind"); kind != nil && strings.HasSuffix(kind.value, "List") && o.at("items") != nil {
		s.problem(kind.line, kind.column, "a "+quote(kind.value)+" holds other objects", "make it a List, whose objects say their own kinds, or write each as a document of its own")
		return nil
	}
	for _, f := range []struct {
		to   *string
		path []string
	}{{&o.apiVersion, []string{"apiVersion"}}, {&o.kind, []string{"kind"}}, {&o.name, []string{"metadata", "name"}}} {
		n := o.at(f.path...)
		if n == nil || n.kind != text || n.value == "" {
			at := o.near(f.path...)
			s.problem(at.line, at.column, strings.Join(f.path, ".")+" is missing", "every Kubernetes object has apiVersion, kind and metadata.name")
			return nil
		}
		*f.to = n.value
	}
	kind := o.at("kind")
	switch {
	case o.kind == "Namespace":
		s.problem(kind.line, kind.column, "a Namespace: objects are put into one that the lab makes for each deployment", "remove it")
		return nil
	case slices.Contains(clusterScoped, o.kind):
		s.problem(kind.line, kind.column, quote(o.kind)+" "+quote(o.name)+" belongs to the whole cluster, which the lab leaves alone", "create it yourself, and remove it here")
		return nil
	}
	return o
}

// clusterScoped are kinds of objects that are in no namespace. Others, such as those of
// definitions of one's own, are found by the driver, which can ask the cluster.
var clusterScoped = []string{
	"APIService", "CSIDriver", "CSINode", "CertificateSigningRequest", "ClusterRole", "ClusterRoleBinding", "ClusterTrustBundle",
	"CustomResourceDefinition", "DeviceClass", "FlowSchema", "GatewayClass", "IPAddress", "IngressClass", "MutatingAdmissionPolicy",
	"MutatingAdmissionPolicyBinding", "MutatingWebhookConfiguration", "Node", "PersistentVolume", "PriorityClass",
	"PriorityLevelConfiguration", "ResourceSlice", "RuntimeClass", "ServiceCIDR", "StorageClass", "ValidatingAdmissionPolicy",
	"ValidatingAdmissionPolicyBinding", "ValidatingWebhookConfiguration", "VolumeAttachment", "VolumeAttributesClass",
}

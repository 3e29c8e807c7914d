package lint

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const deploymentText = `apiVersion: apps/v1
kind: Deployment
metadata:
  annotations:
    note: |
      - kind: Secret
  managedFields:
  - apiVersion: apps/v1
    fieldsV1: {f:spec: {}}
  name: web-%d
spec:
  template:
    metadata:
      labels: {app: web}
    spec:
      containers:
      - name: app
        ports:
        - containerPort: 8080
status:
  conditions:
  - status: "True"
  replicas: 1`

// TestExports: what kubectl get prints of a whole cluster is judged, in each of its forms, and
// the findings stand where they are.
func TestExports(t *testing.T) {
	const n = 1000
	var documents, items, objects []string
	for i := range n {
		text := fmt.Sprintf(deploymentText, i)
		documents = append(documents, text)
		items = append(items, "- "+strings.ReplaceAll(text, "\n", "\n  "))
		objects = append(objects, fmt.Sprintf(`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"managedFields":[{"a":[{}]}],"name":"web-%d"},`+
			`"spec":{"template":{"spec":{"containers":[{"name":"app","ports":[{"containerPort":8080}]}]}}},"status":{"replicas":1}}`, i))
	}
	lines := strings.Count(deploymentText, "\n") + 1
	for _, tt := range []struct {
		name, text string
		line       func(i int) int
		column     int
	}{
		{"documents", strings.Join(documents, "\n---\n"), func(i int) int { return i*(lines+1) + 17 }, 9},
		{"a List", "apiVersion: v1\nitems:\n" + strings.Join(items, "\n") + "\nkind: List\nmetadata:\n  resourceVersion: \"\"\n", func(i int) int { return 2 + i*lines + 17 }, 11},
		{"JSON", `{"apiVersion":"v1","items":[` + "\n" + strings.Join(objects, ",\n") + "\n" + `],"kind":"List","metadata":{}}`, func(i int) int { return i + 2 }, 0},
		{"minified JSON", `{"apiVersion":"v1","items":[` + strings.Join(objects, ",") + `],"kind":"List","metadata":{}}`, func(int) int { return 1 }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, err := Check([]File{{Name: "a", Data: []byte(tt.text)}}, Options{})
			if err != nil || len(r.Checked) != n {
				t.Fatalf("%d checked, %v", len(r.Checked), err)
			}
			found := 0
			for _, f := range r.Findings {
				if f.Rule != "k8s-no-drain" {
					continue
				}
				if f.Line != tt.line(found) || tt.column > 0 && f.Column != tt.column {
					t.Fatalf("%d is at %d:%d, want %d:%d", found, f.Line, f.Column, tt.line(found), tt.column)
				}
				found++
			}
			if found != n {
				t.Errorf("%d findings, want %d", found, n)
			}
		})
	}
}

// TestSplitLists: a List is split only where each item stands for itself.
func TestSplitLists(t *testing.T) {
	const item = "- apiVersion: v1\n  kind: Pod\n  metadata: {name: a}\n"
	for _, tt := range []struct {
		name, text string
		want       []string // first:end of each document
	}{
		{"as kubectl prints it", "apiVersion: v1\nitems:\n" + item + item + "kind: List\nmetadata: {}\n", []string{"2:5", "5:8"}},
		{"indented", "kind: List\napiVersion: v1\nitems:\n  - kind: Pod\n    a: b\n\n  # a comment\n  - kind: Pod\n", []string{"3:7", "7:9"}},
		{"a text that looks like items", "kind: List\nitems:\n- a: |\n    - b\n    kind: c\n- d: e\n", []string{"2:5", "5:7"}},
		{"not a List", "apiVersion: v1\nitems:\n" + item + "kind: PodList\n", []string{"0:7"}},
		{"another key", "kind: List\nother: x\nitems:\n" + item, []string{"0:7"}},
		{"anchors", "kind: List\nitems:\n- a: &x {b: c}\n- a: *x\n", []string{"0:5"}},
		{"in one line", "kind: List\nitems: [{kind: Pod}, {kind: Pod}]\n", []string{"0:3"}},
		{"no items", "kind: List\nitems:\n", []string{"0:3"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &source{lines: strings.Split(tt.text, "\n")}
			var got []string
			for _, d := range s.documents() {
				got = append(got, fmt.Sprintf("%d:%d", d.first, d.end))
				if d.item && s.parse(d) == nil {
					t.Errorf("cannot be parsed: %v\n%s", s.problems, strings.Join(d.lines, "\n"))
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestJSONIsYAML: both readers see the same in JSON, at the same places.
func TestJSONIsYAML(t *testing.T) {
	for _, text := range []string{
		`{"a": 1, "b": [true, false, null, 1.5e3, -2], "c": {"d": "x\u00e9\ny", "é": {}}, "e": []}`,
		"{\n  \"a\": [\n  {\"b\": \"ü\", \"c\": [1]},\n  {\"b\": \"true\"}\n ]\n}",
		`["a", {"b": "c"}]`,
		`{"a": "080", "b": 12345678901234567890, "c": ""}`,
	} {
		d := document{first: 2, lines: strings.Split(text, "\n")}
		fast, slow := &source{}, &source{}
		got, ok := fast.parseJSON(d)
		want := slow.parseYAML(d)
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(node{}, field{})); diff != "" || !ok {
			t.Errorf("%s\n%v, %v (-YAML +JSON):\n%s", text, slow.problems, fast.problems, diff)
		}
	}
	for _, text := range []string{"{a: b}", "[a]", `{"a": "b",}`, `{"a": 1} {"b": 2}`, `{"a": 1`, `{"a": 1} # a comment`} {
		if _, ok := (&source{}).parseJSON(document{lines: []string{text}}); ok {
			t.Errorf("%s passed for JSON", text)
		}
	}
}

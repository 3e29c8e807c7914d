package kubernetes

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/rollout-lab/rollout-lab/drivers"
)

const someManifest = `# somebody's
apiVersion: v1
kind: Service
metadata: {name: web, uid: x, creationTimestamp: null}
spec:
  selector: {app: web}
  ports: [{name: admin, port: 81}, {name: http, port: 80, targetPort: main}, {name: odd, port: 53, protocol: UDP}]
---
# nothing
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web, tier: front}}
    spec:
      initContainers: [{name: first, image: "tool:1"}]
      containers:
        - {name: sidecar, image: "side:1", ports: [{name: admin, containerPort: 81}]}
        - {name: main, image: "web:1", ports: [{name: main, containerPort: 8080}]}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: tidy}
spec: {jobTemplate: {spec: {template: {spec: {containers: [{name: tidy, image: "tool:1"}]}}}}}
`

// objectsOf is an environment of a target that a manifest describes, or that exists when
// there is no text.
func objectsOf(t *testing.T, text, namespace string) (*environment, error) {
	t.Helper()
	s := drivers.Stack{
		RunID: "run", Name: "test", Replicas: 2, Revision: "v1",
		Subject: drivers.Service{Name: "service", Ports: []string{"data"}},
		Objects: &drivers.Objects{Deployment: "web", Service: "web", Port: "http"},
	}
	if text != "" {
		s.Objects.Manifests = []drivers.Manifest{{File: "web.yaml", Text: text}}
	}
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	l := layout{namespace: "there", names: map[string]string{"service": "web"}, labels: map[string]string{labelRun: "run", labelDeployment: "id"}}
	return newEnvironment(New(Config{Namespace: namespace}), &cluster{client: fake.NewClientset()}, s, l)
}

func TestManifests(t *testing.T) {
	e, err := objectsOf(t, someManifest, "")
	if err != nil {
		t.Fatal(err)
	}
	subject := e.subject.(*manifests)
	if n := len(subject.revisions["v1"].all); n != 3 {
		t.Errorf("%d objects, want 3", n)
	}
	if m := subject.revisions["v1"].all[0].GetUID(); m != "" {
		t.Errorf("the service keeps the ID %s of another cluster's", m)
	}
	if diff := cmp.Diff([]string{"side:1", "tool:1", "web:1"}, subject.revisions["v1"].images()); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
	if e.view.container() != "main" || e.stack.Subject.Fixed["data"] != 8080 || e.stack.Subject.StopGrace != 30*time.Second {
		t.Errorf("container %s, ports %v, grace %v", e.view.container(), e.stack.Subject.Fixed, e.stack.Subject.StopGrace)
	}
	// The number that the manifest leaves open is the stack's.
	if d := new(appsv1.Deployment); subject.revisions["v1"].read(deploymentKind, "web", d) != nil || *d.Spec.Replicas != 2 {
		t.Errorf("replicas %v", d.Spec.Replicas)
	}
	if _, err := objectsOf(t, "", ""); !errors.Is(err, drivers.ErrUnsupported) {
		t.Errorf("without manifests and a namespace: %v", err)
	}
	if _, err := objectsOf(t, "", "there"); err != nil {
		t.Errorf("without manifests, in a namespace: %v", err)
	}
}

func TestManifestsRefuses(t *testing.T) {
	for _, tt := range []struct{ name, old, new, want string }{
		{"no YAML", "metadata: {name: web}\nspec:\n  selector: {matchLabels", "metadata: {name: [}\nspec:\n  selector: {matchLabels", "manifest web.yaml"},
		{"no kind", "kind: CronJob\n", "", "every object needs all three"},
		{"a list", "kind: CronJob\nmetadata: {name: tidy}", "kind: JobList\nmetadata: {name: tidy}\nitems: []", "only a List is read"},
		{"no Deployment", "kind: Deployment", "kind: StatefulSet", "no Deployment web"},
		{"no Service", "kind: Service", "kind: Secret", "no Service web"},
		{"another selector", "selector: {app: web}\n  ports", "selector: {app: other}\n  ports", "selects app=other, and pods of deployment web have app=web"},
		{"no selector", "  selector: {app: web}\n  ports", "  ports", "selects no pods"},
		{"no such port", "name: http, port: 80", "name: https, port: 443", "has no port http"},
		{"no such port of a container", "targetPort: main", "targetPort: other", "has a port named other"},
		{"another number", "spec:\n  selector: {matchLabels", "spec:\n  replicas: 5\n  selector: {matchLabels", "has 5 replicas, and the scenario says 2"},
		{"paused", "spec:\n  selector: {matchLabels", "spec:\n  paused: true\n  selector: {matchLabels", "is paused"},
		{"marked", "metadata: {labels: {app: web, tier: front}}", "metadata: {labels: {app: web}, annotations: {rollout-lab/revision: v2}}", "a lab has changed it"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if strings.Count(someManifest, tt.old) != 1 {
				t.Fatalf("the manifest has %q %d times", tt.old, strings.Count(someManifest, tt.old))
			}
			if _, err := objectsOf(t, strings.Replace(someManifest, tt.old, tt.new, 1), ""); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// revisionsOf is an environment of a target whose revisions are manifests.
func revisionsOf(t *testing.T, before, after string) (*environment, error) {
	t.Helper()
	s := drivers.Stack{
		RunID: "run", Name: "test", Replicas: 2, Revision: "v1",
		Subject: drivers.Service{Name: "service", Ports: []string{"data"}},
		Objects: &drivers.Objects{Deployment: "web", Service: "web", Port: "http"},
		Revisions: map[string]drivers.Variation{
			"v1": {Manifests: []drivers.Manifest{{File: "1.yaml", Text: before}}},
			"v2": {Manifests: []drivers.Manifest{{File: "2.yaml", Text: after}}},
		},
	}
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	l := layout{namespace: "there", names: map[string]string{"service": "web"}, labels: map[string]string{labelRun: "run", labelDeployment: "id"}}
	return newEnvironment(New(Config{}), &cluster{client: fake.NewClientset()}, s, l)
}

// TestManifestsOfRevisions: what is deployed is the first revision, and a Deployment of any is
// applied with every field that the lab changes.
func TestManifestsOfRevisions(t *testing.T) {
	e, err := revisionsOf(t, someManifest, strings.Replace(someManifest, "web:1", "web:2", 1))
	if err != nil {
		t.Fatal(err)
	}
	m := e.subject.(*manifests)
	if m.present != "v1" || e.view.container() != "main" {
		t.Errorf("%s is present, container %s", m.present, e.view.container())
	}
	if diff := cmp.Diff([]string{"side:1", "tool:1", "web:2"}, m.revisions["v2"].images()); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
	for _, tt := range []struct {
		w    wanted
		want map[string]string // annotations of the template
	}{
		{wanted{revision: "v1", replicas: 3}, nil},
		{wanted{revision: "v2", replicas: 3, paused: true}, map[string]string{annotationRevision: "v2"}},
		{wanted{revision: "v2", replicas: 3, restarted: "now"}, map[string]string{annotationRevision: "v2", annotationRestart: "now"}},
	} {
		o, err := m.revisions[tt.w.revision].find(deploymentKind, "web")
		if err != nil {
			t.Fatal(err)
		}
		o = o.DeepCopy()
		if err := m.managedIn(o, tt.w); err != nil {
			t.Fatal(err)
		}
		d := new(appsv1.Deployment)
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, d); err != nil {
			t.Fatal(err)
		}
		if *d.Spec.Replicas != 3 || d.Spec.Paused != tt.w.paused {
			t.Errorf("%+v: %d replicas, paused %v", tt.w, *d.Spec.Replicas, d.Spec.Paused)
		}
		if paused, said, _ := unstructured.NestedBool(o.Object, "spec", "paused"); !said || paused != tt.w.paused {
			t.Errorf("%+v: paused is said: %v", tt.w, said)
		}
		if diff := cmp.Diff(tt.want, d.Spec.Template.Annotations); diff != "" {
			t.Errorf("%+v: annotations (-want +got):\n%s", tt.w, diff)
		}
	}
}

func TestManifestsOfRevisionsRefuses(t *testing.T) {
	for _, tt := range []struct{ name, old, new, want string }{
		{"another selector", "app: web", "app: other", "differ in more than what is rolled out"},
		{"another port", "containerPort: 8080", "containerPort: 9090", "differ in more than what is rolled out"},
		{"no Deployment", "kind: Deployment", "kind: StatefulSet", "revision v2: the manifests have no Deployment web"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if !strings.Contains(someManifest, tt.old) {
				t.Fatalf("the manifest has no %q", tt.old)
			}
			if _, err := revisionsOf(t, someManifest, strings.ReplaceAll(someManifest, tt.old, tt.new)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// TestObjectsOfOneText: the objects behind a mark with a comment, behind a document of nothing,
// and in a List are the revision's as well.
func TestObjectsOfOneText(t *testing.T) {
	list := "apiVersion: v1\nkind: List\nitems:\n"
	for _, doc := range strings.Split(someManifest, "---\n") {
		if strings.Contains(doc, "kind:") {
			doc = strings.TrimSpace(strings.TrimPrefix(doc, "# somebody's\n"))
			list += "- " + strings.ReplaceAll(doc, "\n", "\n  ") + "\n"
		}
	}
	for name, text := range map[string]string{
		"comments on the marks": strings.ReplaceAll(someManifest, "---\n", "--- # next\n"),
		"empty documents":       strings.ReplaceAll(someManifest, "---\n", "---\n---\n# nothing\n---\n"),
		"a List":                list,
	} {
		want, err := parseManifest(drivers.Manifest{File: "web.yaml", Text: someManifest})
		if err != nil {
			t.Fatal(err)
		}
		got, err := parseManifest(drivers.Manifest{File: "web.yaml", Text: text})
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
	}
}

package kubernetes

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
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
		{"a list", "kind: CronJob\nmetadata: {name: tidy}", "kind: JobList\nmetadata: {name: tidy}\nitems: []", "lists are not read"},
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

package starter

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/scenarios"
)

const front = `apiVersion: v1
kind: Service
metadata: {name: front}
spec: {selector: {app: web}, ports: [{port: 80}]}
`

const web = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - {name: web, image: "web:1", lifecycle: {preStop: {exec: {command: [sleep, "1"]}}, postStart: {sleep: {seconds: 1}}}}
        - name: side
          image: side:1
`

// write puts files into a folder.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// The drained design of a Deployment is its own manifest with a wait in every container.
func TestTheDrainedDesignOfADeployment(t *testing.T) {
	dir := write(t, map[string]string{"all.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata:\n  t: |\n    a\n\n    b  \n---\n" + front + "---\n# only a comment\n---\n" + web, "notes.md": "{"})
	text, _, err := Write(t.Context(), Ask{Manifests: dir, File: filepath.Join(dir, "lab.yaml"), Command: "x"}, nil, scenarios.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := scenarios.Parse(filepath.Join(dir, "lab.yaml"), text, scenarios.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if s.Target.Deployment != "web" || s.Target.Service != "front" || s.Target.Port != "80" || s.Replicas != 3 {
		t.Errorf("target %+v, %d replicas", s.Target.Workload, s.Replicas)
	}
	if len(s.Target.Manifests) != 1 || s.Target.Manifests[0].File != "all.yaml" {
		t.Errorf("manifests %+v", s.Target.Manifests)
	}
	drained := s.Designs[1].Manifests
	if len(drained) != 1 || drained[0].File == "all.yaml" {
		t.Fatalf("drained: %+v", drained)
	}
	if n := strings.Count(drained[0].Text, "sleep:\n"); n != 3 { // both containers, and postStart as it was
		t.Errorf("%d waits in\n%s", n, drained[0].Text)
	}
	objects, err := objectsIn([]byte(drained[0].Text))
	if err != nil || len(objects) != 3 || fmt.Sprint(at(objects[0], "data", "t")) != "a\n\nb  \n" {
		t.Errorf("what else is in the file is not as it was: %v\n%s", err, drained[0].Text)
	}
	if strings.Contains(drained[0].Text, "command") || !strings.Contains(drained[0].Text, "postStart") {
		t.Errorf("the hook is not the only thing that was replaced:\n%s", drained[0].Text)
	}
}

func TestManifestsThatDoNotSayEnough(t *testing.T) {
	other := strings.ReplaceAll(web, "web", "shop")
	otherFront := strings.ReplaceAll(strings.ReplaceAll(front, "web", "shop"), "front", "shop")
	for _, tt := range []struct {
		name, text, wanted, message, hint string
	}{
		{"no Deployment", front, "", "no Deployment", "StatefulSet"},
		{"no Service", web, "", "no Service in the manifests selects the pods of Deployment web", "spec.selector"},
		{"several", front + "---\n" + web + "---\n" + otherFront + "---\n" + other, "", "several Deployments have a Service in front: web, shop", "--deployment web"},
		{"not that one", front + "---\n" + web, "shop", "no Service in the manifests selects", ""},
		{"no YAML", "a: [", "", "a.yaml", "Kubernetes objects"},
		{"nothing", "# nothing\n", "", "holds no Kubernetes objects", ""},
		{"what the loader refuses", front + "---\n" + web + "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n", "", "a Namespace", ""},
	} {
		dir := write(t, map[string]string{"a.yaml": tt.text})
		_, _, err := Write(t.Context(), Ask{Manifests: dir, Deployment: tt.wanted, File: filepath.Join(dir, "lab.yaml")}, nil, scenarios.Options{})
		var h *drivers.HintError
		if err == nil || !strings.Contains(err.Error(), tt.message) || tt.hint != "" && (!errors.As(err, &h) || !strings.Contains(h.Hint, tt.hint)) {
			t.Errorf("%s: got %v", tt.name, err)
		}
	}
	dir := write(t, map[string]string{"a.yaml": front + "---\n" + web + "---\n" + otherFront + "---\n" + other})
	text, _, err := Write(t.Context(), Ask{Manifests: dir, Deployment: "shop", File: filepath.Join(dir, "lab.yaml")}, nil, scenarios.Options{})
	if err != nil || !strings.Contains(string(text), `deployment: "shop"`) {
		t.Errorf("the one that was asked for: %v\n%s", err, text)
	}
}

func TestFlagsOfAHelp(t *testing.T) {
	dir := write(t, nil)
	help := filepath.Join(dir, "svc")
	if err := os.WriteFile(help, []byte("#!/bin/sh\ncat <<'END'\nUsage of svc:\n  -http.addr string\n    \twhere\n  -p, --port int\n      --listen-address=ADDR  (default :80)\n      --report  what it says\n      --transport  none\n  -timeout\nEND\nexit 2\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, way := range flagsOf(t.Context(), help) {
		got = append(got, way.args...)
	}
	want := []string{"-http.addr=${listen.data}", "--port=${port.data}", "--listen-address=${listen.data}"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// absent is a driver of which everything is refused.
type absent struct{ drivers.Driver }

func (absent) Support() drivers.Support    { return nil }
func (absent) Check(context.Context) error { return drivers.ErrUnavailable }
func (absent) Name() string                { return "absent" }

// What nobody can look at is written as somebody says it is, and else refused.
func TestAnImageThatNobodyCanLookAt(t *testing.T) {
	ask := Ask{Image: "registry.example/a/shop:1", Command: "x"}
	_, _, err := Write(t.Context(), ask, []Offer{absent{}}, scenarios.Options{})
	var h *drivers.HintError
	if !errors.As(err, &h) || !strings.Contains(h.Hint, "--port") {
		t.Errorf("got %v", err)
	}
	ask.Port = 8080
	text, _, err := Write(t.Context(), ask, []Offer{absent{}}, scenarios.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"name: shop\n", "ports: {data: 8080}", `request: {path: "/", expect: {status: 200}}`, "kind: tcp"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

func TestNamesAndPaths(t *testing.T) {
	for in, want := range map[string]string{"shop": "shop", "My Shop_2.0": "my-shop-2-0", "???": "service", strings.Repeat("ab-", 20): strings.Repeat("ab-", 9) + "ab-"[:2]} {
		if got := nameOf(in); got != want && got != strings.TrimRight(want, "-") {
			t.Errorf("nameOf(%q) = %q, want %q", in, got, want)
		}
	}
	dir := t.TempDir()
	t.Chdir(dir)
	for in, want := range map[string]string{"./shop": "../shop", "bin/shop": "../bin/shop", "shop": "shop", "/bin/shop": "/bin/shop", "lab/x": "./x"} {
		if got, err := (Ask{File: "lab/shop.yaml"}).path(in); err != nil || got != want {
			t.Errorf("%q is %q, %v from another folder, want %q", in, got, err, want)
		}
	}
}

package kind_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kube "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/drivertest"
)

// targetManifest describes the suite's target as somebody would who knows no lab.
const targetManifest = `apiVersion: v1
kind: ConfigMap
metadata: {name: web, namespace: elsewhere}
data: {greeting: hello}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports:
    - {name: http, port: 80, targetPort: data}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, annotations: {note: kept}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 5
      containers:
        - name: web
          image: IMAGE
          imagePullPolicy: IfNotPresent
          args: [-data, "0.0.0.0:8080", -health, "0.0.0.0:8081", -instance, $(NAME)]
          envFrom: [{configMapRef: {name: web}}]
          env:
            - {name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
            - {name: DRIVERTEST_TARGET, value: "1"}
          ports: [{name: data, containerPort: 8080}]
          readinessProbe: {httpGet: {path: /ready, port: 8081}, periodSeconds: 1}
`

// imageTag is the image's name, and imageBuilt says that there is one to remove.
var (
	imageTag   = fmt.Sprintf("rollout-lab-test-target:%d", os.Getpid())
	imageBuilt bool
)

// targetImage is an image of the suite's target in the local engine.
var targetImage = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "rollout-lab-target-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "target"), targetPackage)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM scratch\nCOPY target /target\nENTRYPOINT [\"/target\"]\n"), 0o644); err != nil {
		return "", err
	}
	if out, err := exec.Command("docker", "build", "--quiet", "--tag", imageTag, dir).CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	imageBuilt = true
	return imageTag, nil
})

func manifestText(t *testing.T) string {
	t.Helper()
	newDriver(t) // or skip, before an engine is asked to build anything
	image, err := targetImage()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Replace(targetManifest, "IMAGE", image, 1)
}

// objectsStack is a stack whose subject somebody else has described.
func objectsStack(text string) drivers.Stack {
	s := drivers.Stack{
		RunID: drivertest.NewStack().RunID, Name: "objects", Replicas: 2, Revision: "v1",
		Subject: drivers.Service{Name: "service", Ports: []string{"data"}, Serves: drivers.Probe{Kind: drivers.ProbeHTTP, Port: "data", Path: "/"}},
		Objects: &drivers.Objects{Deployment: "web", Service: "web", Port: "http"},
	}
	if text != "" {
		s.Objects.Manifests = []drivers.Manifest{{File: "web.yaml", Text: text}}
	}
	return s
}

func newClient(t *testing.T) (kube.Interface, string) {
	t.Helper()
	path, err := newDriver(t).Kubeconfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kube.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client, path
}

// acts scales, restarts and rolls an environment, and demands that it serves all the time.
func acts(t *testing.T, env drivers.Env) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	before := instances(t, env, "v1", 2)
	serves(t, env)
	if err := env.Scale(ctx, 3); err != nil {
		t.Errorf("scale: %v", err)
	}
	instances(t, env, "v1", 3)
	if err := env.Restart(ctx); err != nil {
		t.Errorf("restart: %v", err)
	}
	for _, i := range instances(t, env, "v1", 3) {
		if slices.Contains(before, i) {
			t.Errorf("instance %s has survived the restart", i)
		}
	}
	if err := env.Rollout(ctx, "v2"); err != nil {
		t.Errorf("rollout: %v", err)
	}
	instances(t, env, "v2", 3)
	serves(t, env)
	if err := env.Rollout(ctx, "v1"); err != nil {
		t.Errorf("rollout back: %v", err)
	}
	instances(t, env, "v1", 3)
}

func instances(t *testing.T, env drivers.Env, revision string, n int) []string {
	t.Helper()
	list, err := env.Instances(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, i := range list {
		if i.Revision != revision || i.State != drivers.StateReady || i.Addr == "" {
			t.Errorf("instance %+v, want one of %s that is ready", i, revision)
		}
		out = append(out, i.ID)
	}
	if len(out) != n {
		t.Errorf("%d instances, want %d: %v", len(out), n, out)
	}
	return out
}

func serves(t *testing.T, env drivers.Env) {
	t.Helper()
	for range 10 {
		resp, err := http.Get(env.URL() + "/")
		if err != nil {
			t.Errorf("the load's way in: %v", err)
			return
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || !strings.HasPrefix(string(body), "web-") {
			t.Errorf("got %d %q, %v", resp.StatusCode, body, err)
		}
	}
}

// kinds is what an environment has told, in order and without repetition.
func kinds(env drivers.Env) []drivers.EventKind {
	var out []drivers.EventKind
	for e := range env.Watch() {
		if !slices.Contains(out, e.Kind) {
			out = append(out, e.Kind)
		}
	}
	return out
}

// TestManifests: a Service inside the cluster, which does not lead to this machine.
func TestManifests(t *testing.T) {
	env := deployManifests(t, manifestText(t))
	acts(t, env)
	closeManifests(t, env)
}

// deployedManifests is a target that was deployed from manifests.
type deployedManifests struct {
	drivers.Env
	runID string
}

func deployManifests(t *testing.T, text string) deployedManifests {
	t.Helper()
	s := objectsStack(text)
	env, err := newDriver(t).Deploy(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	serves(t, env)
	return deployedManifests{env, s.RunID}
}

// closeManifests demands that nothing is left, and that the events tell a whole life.
func closeManifests(t *testing.T, env deployedManifests) {
	t.Helper()
	serves(t, env)
	if err := env.Close(t.Context()); err != nil {
		t.Errorf("close: %v", err)
	}
	if got := kinds(env); !slices.Contains(got, drivers.Started) || !slices.Contains(got, drivers.Ready) || !slices.Contains(got, drivers.Gone) || slices.Contains(got, drivers.Lost) {
		t.Errorf("events of the kinds %v", got)
	}
	if rest, err := left(t.Context(), env.runID); err != nil || len(rest) > 0 {
		t.Errorf("left: %v, %v", rest, err)
	}
	noNamespace(t)
}

// noNamespace demands that no namespace of any run is left.
func noNamespace(t *testing.T) {
	t.Helper()
	client, _ := newClient(t)
	if list, err := client.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{LabelSelector: "rollout-lab/run"}); err != nil || len(list.Items) > 0 {
		t.Errorf("namespaces of the lab: %+v, %v", list.Items, err)
	}
}

// TestManifestsOfRevisions: a rollout applies the manifests of the other revision, everything in
// them, and a rollout back those of the first one. What a change in between has made of the
// Deployment stays, and a rollout that cannot end is taken back.
func TestManifestsOfRevisions(t *testing.T) {
	one := manifestText(t)
	two := strings.NewReplacer("greeting: hello", "greeting: welcome", "-instance, $(NAME)]", "-instance, $(NAME), -revision, two]").Replace(one)
	stuck := strings.Replace(two, "path: /ready", "path: /never", 1)
	s := objectsStack("")
	s.Revisions = map[string]drivers.Variation{}
	for name, text := range map[string]string{"v1": one, "v2": two, "v3": stuck} {
		s.Revisions[name] = drivers.Variation{Manifests: []drivers.Manifest{{File: name + ".yaml", Text: text}}}
	}
	env, err := newDriver(t).Deploy(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	runs := func(revision string, n int, greeting, args string) {
		t.Helper()
		instances(t, env, revision, n)
		environ, err := drivertest.Get(env.URL() + "/environ")
		if err != nil || !strings.Contains(environ, "greeting="+greeting) {
			t.Errorf("%s: environment %q, %v; want the greeting %s", revision, environ, err, greeting)
		}
		got, err := drivertest.Get(env.URL() + "/arguments")
		if err != nil || strings.Contains(got, "two") != (args == "two") {
			t.Errorf("%s: arguments %q, %v; want those of %s", revision, got, err, args)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	runs("v1", 2, "hello", "one")
	for _, step := range []struct {
		what string
		do   func() error
		then func()
	}{
		{"rollout", func() error { return env.Rollout(ctx, "v2") }, func() { runs("v2", 2, "welcome", "two") }},
		{"scale", func() error { return env.Scale(ctx, 3) }, func() { runs("v2", 3, "welcome", "two") }},
		{"restart", func() error { return env.Restart(ctx) }, func() { runs("v2", 3, "welcome", "two") }},
		{"rollback", func() error { return env.Rollout(ctx, "v1") }, func() { runs("v1", 3, "hello", "one") }},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		step.then()
	}
	if err := env.Rollout(ctx, "v9"); !errors.Is(err, drivers.ErrNoRevision) {
		t.Errorf("rollout to a revision that there is not: %v", err)
	}
	soon, end := context.WithTimeout(ctx, 3*time.Second)
	defer end()
	if err := env.Rollout(soon, "v3"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a rollout that cannot end: %v", err)
	}
	if err := env.Rollout(ctx, "v1"); err != nil {
		t.Errorf("and back: %v", err)
	}
	runs("v1", 3, "hello", "one")
	closeManifests(t, deployedManifests{env, s.RunID})
}

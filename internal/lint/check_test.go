package lint_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollout-lab/rollout-lab/internal/lint"
)

// pod is a manifest of a container that takes requests and does not drain.
const pod = `apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  containers:
    - name: app
      ports: [{containerPort: 8080}]
      readinessProbe: {httpGet: {path: /readyz, port: 8080}}
`

const service = `apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 8080}]
`

// found is rule, severity and position of every finding.
func found(r *lint.Report) []string {
	var out []string
	for _, f := range r.Findings {
		out = append(out, fmt.Sprintf("%s:%d:%d %s %s", f.File, f.Line, f.Column, f.Severity, f.Rule))
	}
	return out
}

func TestCheck(t *testing.T) {
	five, none := 5*time.Second, time.Duration(0)
	json := `{"apiVersion": "v1", "kind": "List", "items": [
	{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"},
	 "spec": {"containers": [{"name": "app", "ports": [{"containerPort": 8080}]}]}}]}`
	for _, tt := range []struct {
		name    string
		files   []string // a, b, ...
		options lint.Options
		want    []string
	}{
		{"likely served", []string{pod}, lint.Options{}, []string{"a:6:7 warning k8s-no-drain"}},
		{"surely served", []string{pod + "---\n" + service}, lint.Options{}, []string{"a:6:7 error k8s-no-drain"}},
		{"by a Service in another file", []string{pod, service}, lint.Options{}, []string{"a:6:7 error k8s-no-drain"}},
		{"in another namespace", []string{pod, strings.Replace(service, "{name: web}", "{name: web, namespace: other}", 1)}, lint.Options{}, []string{"a:6:7 warning k8s-no-drain"}},
		{"default is a namespace too", []string{pod, strings.Replace(service, "{name: web}", "{name: web, namespace: default}", 1)}, lint.Options{}, []string{"a:6:7 error k8s-no-drain"}},
		{"other labels", []string{pod, strings.Replace(service, "{app: web}", "{app: web, tier: front}", 1)}, lint.Options{}, []string{"a:6:7 warning k8s-no-drain", "b:1:1 warning k8s-service-selects-nothing"}},
		{"drain given", []string{pod, service}, lint.Options{Drain: &five}, nil},
		{"no drain, surely", []string{pod}, lint.Options{Drain: &none}, []string{"a:6:7 warning k8s-no-drain"}},
		{"second document", []string{"# first\n---\n" + service + "--- # a mark\n" + pod}, lint.Options{}, []string{"a:15:7 error k8s-no-drain"}},
		{"content on the mark", []string{"--- {apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: a, ports: [{containerPort: 1}]}]}}"}, lint.Options{},
			[]string{"a:1:74 warning k8s-no-drain", "a:1:74 warning k8s-no-readiness-probe"}},
		{"CRLF and byte order mark", []string{"\ufeff" + strings.ReplaceAll(pod, "\n", "\r\n")}, lint.Options{}, []string{"a:6:7 warning k8s-no-drain"}},
		{"JSON", []string{json}, lint.Options{}, []string{"a:3:27 warning k8s-no-drain", "a:3:27 warning k8s-no-readiness-probe"}},
		{"beside other kinds", []string{"apiVersion: v1\nkind: ConfigMap\ndata:\n  x: {{ not YAML\n---\n" + pod}, lint.Options{}, []string{"a:11:7 warning k8s-no-drain"}},
		{"ignored above", []string{strings.Replace(pod, "    - name", "    # rollout-lab:ignore k8s-no-drain a test\n    # of the linter\n    - name", 1)}, lint.Options{}, nil},
		{"ignored in the wrong place", []string{"# rollout-lab:ignore k8s-no-drain a test\n" + pod}, lint.Options{}, []string{"a:7:7 warning k8s-no-drain"}},
		{"another rule ignored", []string{strings.Replace(pod, "name: app", "name: app # rollout-lab:ignore k8s-recreate a test", 1)}, lint.Options{}, []string{"a:6:7 warning k8s-no-drain"}},
		{"drain of another document", []string{pod + "---\n# rollout-lab:drain 5s\n" + service}, lint.Options{}, []string{"a:6:7 error k8s-no-drain"}},
		{"anchors and merges", []string{`x-all: &all
  restart: always
  healthcheck: &check {test: [CMD, /x], interval: 60s, timeout: 5s}
services:
  a:
    <<: *all
    ports: ["80"]
  b:
    <<: *all
    restart: "no"
    ports: [{target: 80, published: "8080"}]
    healthcheck: {<<: *check, interval: 5s}
`}, lint.Options{}, []string{"a:3:41 warning compose-health-slow", "a:10:5 warning compose-restart"}},
		{"variables of compose", []string{"services:\n  a:\n    ports: [\"${PORT}:80\"]\n    restart: ${POLICY}\n    stop_grace_period: ${GRACE}\n    healthcheck: {test: x, interval: \"${EVERY:-60s}\", timeout: 5s}\n"}, lint.Options{},
			[]string{"a:6:28 warning compose-health-slow"}},
		{"environment as a list", []string{"services:\n  a:\n    ports: [\"80:80/tcp\", \"9000-9010:9000-9010\"]\n    restart: always\n    environment: [LISTEN=127.0.0.1:80, DEBUG]\n    healthcheck: {test: x, interval: 5s, timeout: 5s}\n"}, lint.Options{},
			[]string{"a:5:19 error compose-published-on-loopback"}},
		{"a service that extends another", []string{"services:\n  a:\n    extends: {file: other.yaml, service: a}\n    ports: [\"80:80\"]\n"}, lint.Options{}, nil},
		{"optional dependency", []string{"services:\n  a:\n    depends_on:\n      b: {condition: service_started, required: false}\n      c:\n  b: {image: b}\n  c: {image: c}\n"}, lint.Options{},
			[]string{"a:5:7 warning compose-depends-on"}},
		{"scaler without replicas", []string{"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  strategy: {rollingUpdate: {maxSurge: 0, maxUnavailable: 1}}\n  template:\n    metadata: {labels: {app: web}}\n" +
			"    spec: {containers: [{name: a, ports: [{containerPort: 8080}], args: [--lame-duck=5s], readinessProbe: {grpc: {port: 8080}}}]}\n---\n" + service}, lint.Options{}, []string{"a:5:43 warning k8s-max-unavailable"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var files []lint.File
			for i, text := range tt.files {
				files = append(files, lint.File{Name: string(rune('a' + i)), Data: []byte(text)})
			}
			report, err := lint.Check(files, tt.options)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, found(report)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestUnitNames: units know each other by name, template instances and drop-ins too.
func TestUnitNames(t *testing.T) {
	const web = "[Service]\nExecStart=/web\nRestart=always\nRestartSec=2s\n"
	needs := func(name string) string {
		return "[Unit]\nRequires=" + name + "\nAfter=" + name + "\n[Service]\nExecStart=/front\n"
	}
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  []string
	}{
		{"alone, nothing is sent to it", map[string]string{"web.service": web}, nil},
		{"another one", map[string]string{"web.service": web, "front.service": needs("api.service")}, nil},
		{"its dependent", map[string]string{"web.service": web, "front.service": needs("web.service")}, []string{"web.service:1:1 error unit-type"}},
		{"an instance of it", map[string]string{"web@.service": web, "front.service": needs("web@1.service")}, []string{"web@.service:1:1 error unit-type"}},
		{"mended by a drop-in", map[string]string{"web.service": web, "front.service": needs("web.service"), "web.service.d/a.conf": "[Service]\nType=notify\n"}, nil},
		{"broken by a drop-in", map[string]string{"etc/web.service": web, "etc/web.service.d/a.conf": "[Service]\nExecStart=\nExecStart=/web --listen :80\n", "etc/web.service.d/b.conf": "[Service]\nType=notify\nRestart=no\n"},
			[]string{"etc/web.service.d/b.conf:3:1 warning unit-restart"}},
		{"reset by a drop-in", map[string]string{"web.service": web + "TimeoutStopSec=1\n", "web.service.d/a.conf": "[Service]\nTimeoutStopSec=\nEnvironment=LAME_DUCK=5s\n"}, nil},
		{"a drop-in of one instance", map[string]string{"web@.service": web, "front.service": needs("web@1.service"), "web@1.service.d/a.conf": "[Service]\nType=notify\nKillMode=none\n"},
			[]string{"web@.service:1:1 error unit-type", "web@1.service.d/a.conf:3:1 error unit-kill-mode"}},
		{"standard input", map[string]string{"-": web, "front.service": needs("unit.service")}, []string{"-:1:1 error unit-type"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var files []lint.File
			for name, text := range tt.files {
				files = append(files, lint.File{Name: name, Data: []byte(text)})
			}
			report, err := lint.Check(files, lint.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, found(report)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestSuppressedIsKept(t *testing.T) {
	text := strings.Replace(pod, "name: app", "name: app # rollout-lab:ignore k8s-no-drain a test of it", 1)
	report, err := lint.Check([]lint.File{{Name: "a", Data: []byte(text)}}, lint.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Suppressed) != 1 || report.Suppressed[0].Ignored != "a test of it" || len(report.Findings) != 0 {
		t.Errorf("got %+v", report)
	}
}

// TestARuleByItsFormerName: a comment that did something once says what it has to become.
func TestARuleByItsFormerName(t *testing.T) {
	text := strings.Replace(pod, "name: app", "name: app # rollout-lab:ignore k8s-lead-too-short a test of it", 1)
	report, err := lint.Check([]lint.File{{Name: "a", Data: []byte(text)}}, lint.Options{})
	if err != nil {
		t.Fatal(err)
	}
	hint := func(f lint.Finding) bool {
		return f.Rule == "lint-comment" && f.Fix == "it is called k8s-drain-too-short now"
	}
	if !slices.ContainsFunc(report.Findings, hint) {
		t.Errorf("got %+v", report.Findings)
	}
}

// TestUnreadable: what cannot be judged is an error with its place, and never passes.
func TestUnreadable(t *testing.T) {
	for name, tt := range map[string]struct {
		file, text string
		want       string
		nothing    bool
	}{
		"empty":             {"a.yaml", "\n", "nothing here to check: no workload, unit or compose service in a.yaml", true},
		"comments":          {"a.yaml", "# nothing\n", "nothing here to check: no workload, unit or compose service in a.yaml", true},
		"values of a chart": {"a.yaml", "replicas: 3\n", "nothing here to check: no workload, unit or compose service in a.yaml", true},
		"half an object":    {"a.yaml", "kind: Deployment\nmetadata: {name: a}\n", "a.yaml:1:1: not recognised", false},
		"no YAML":           {"a.yaml", "a: [\n", "a.yaml:1:", false},
		"Dockerfile":        {"Dockerfile", "FROM scratch\nHEALTHCHECK NONE\n", "Dockerfile:1:1: not recognised", false},
		"template":          {"a.yaml", "apiVersion: v1\nkind: Pod\nspec: {{ toYaml .x }}\n", "a.yaml:3:7: a template", false},
		"wrong type":        {"a.yaml", strings.Replace(pod, "8080}]", "many}]", 1), "a.yaml:7:16: want containerPort as a whole number, not many", false},
		"wrong form":        {"a.yaml", "services:\n  a: [1]\n", "a.yaml:2:3: want service a as a mapping, not a list", false},
		"no containers":     {"a.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {x: y}\n", "a.yaml:4:", false},
		"a drop-in alone":   {"web.service.d/10.conf", "[Service]\nType=notify\n", "nothing here to check: no workload, unit or compose service in web.service.d/10.conf", true},
		"escapes":           {"a.yaml", "a: b\n\x1b[2J: c\n", "a.yaml:2:1: a control character", false},
	} {
		t.Run(name, func(t *testing.T) {
			report, err := lint.Check([]lint.File{{Name: tt.file, Data: []byte(tt.text)}}, lint.Options{})
			if err == nil {
				t.Fatalf("passed: %+v", report)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %q, want %q in it", err, tt.want)
			}
			if strings.ContainsRune(err.Error(), '\x1b') {
				t.Errorf("the message acts upon a terminal: %q", err)
			}
			var file *lint.FileError
			if errors.Is(err, lint.ErrNothing) != tt.nothing || !errors.As(err, &file) {
				t.Errorf("got %#v", err)
			}
			if len(report.Problems) == 0 || report.Problems[0].Message == "" {
				t.Errorf("the report has no reason: %+v", report)
			}
		})
	}
	if _, err := lint.Check(nil, lint.Options{}); !errors.Is(err, lint.ErrNothing) {
		t.Errorf("no file: got %v", err)
	}
}

// TestReadableBesideUnreadable: a bad file does not hide the findings of a good one.
func TestReadableBesideUnreadable(t *testing.T) {
	report, err := lint.Check([]lint.File{{Name: "a", Data: []byte("x")}, {Name: "b", Data: []byte(pod)}}, lint.Options{})
	if err == nil || len(report.Findings) == 0 {
		t.Errorf("got %v, %v", report, err)
	}
}

// TestSkipped: what is known and no concern of the linter is counted, and does not fail a
// call by itself.
func TestSkipped(t *testing.T) {
	const config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
	const patch = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 3}\n"
	const full = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {template: {spec: {containers: [{name: a, ports: [{containerPort: 80}]}]}}}\n"
	for _, tt := range []struct {
		name  string
		files []lint.File
		want  []string // file:line what
	}{
		{"other kinds", []lint.File{{Name: "a", Data: []byte("# a comment\n" + config + "---\napiVersion: v1\nkind: Secret\n")}}, []string{"a:3 ConfigMap", "a:7 Secret"}},
		{"other kinds of a List", []lint.File{{Name: "a", Data: []byte("apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Secret}\n- {apiVersion: v1, kind: Pod, spec: {containers: [{name: a}]}}\n")}}, []string{"a:4 Secret"}},
		{"a Service alone", []lint.File{{Name: "a", Data: []byte(service)}}, []string{"a:1 Service"}},
		{"a Service with its pod", []lint.File{{Name: "a", Data: []byte(service + "---\n" + pod)}}, nil},
		{"a patch", []lint.File{{Name: "a", Data: []byte(patch)}}, []string{"a:1 patch"}},
		{"a patch that is named as one", []lint.File{
			{Name: "k/overlay/kustomization.yaml", Data: []byte("resources: [../base]\npatches: [{path: ../patches/web.yaml}]\n"), Found: true},
			{Name: "k/patches/web.yaml", Data: []byte(full), Found: true},
		}, []string{"k/overlay/kustomization.yaml:1 Kustomization", "k/patches/web.yaml patch"}},
		{"values beside a manifest", []lint.File{{Name: "values.yaml", Data: []byte("\nreplicas: 1\n")}, {Name: "a", Data: []byte(pod)}}, []string{"values.yaml:2 not recognised"}},
		{"a timer", []lint.File{{Name: "a.timer", Data: []byte("[Timer]\nOnCalendar=daily\n")}}, []string{"a.timer unit without [Service]"}},
		{"a socket", []lint.File{{Name: "a.socket", Data: []byte("[Socket]\nListenStream=80\n")}}, []string{"a.socket socket"}},
		{"a drop-in", []lint.File{{Name: "web.service.d/a.conf", Data: []byte("[Service]\nType=notify\n")}, {Name: "a", Data: []byte(pod)}}, []string{"web.service.d/a.conf drop-in without its unit"}},
		{"compose without services", []lint.File{{Name: "a", Data: []byte("services: {}\n")}}, []string{"a:1 compose file without a service"}},
		{"found, not YAML", []lint.File{{Name: "a.json", Data: []byte("a: [\n"), Found: true}, {Name: "b", Data: []byte(config)}}, []string{"a.json not recognised", "b:2 ConfigMap"}},
		{"a data source of Grafana", []lint.File{{Name: "a", Data: []byte("apiVersion: 1\ndatasources: []\n")}, {Name: "b", Data: []byte(config)}}, []string{"a:1 not recognised", "b:2 ConfigMap"}},
		{"found, a pipeline", []lint.File{{Name: "a", Data: []byte("services: [docker]\n"), Found: true}, {Name: "b", Data: []byte(config)}}, []string{"a:1 not recognised", "b:2 ConfigMap"}},
		{"a chart", []lint.File{{Name: "Chart.yaml", Data: []byte("apiVersion: v2\nname: a\nversion: 1.0.0\n")}}, []string{"Chart.yaml:1 Helm chart"}},
		{"found, a value to be filled in", []lint.File{{Name: "a.yaml", Data: []byte(strings.Replace(pod, "8080}]", "'80{{ .Index }}'}]", 1)), Found: true}, {Name: "b", Data: []byte(config)}}, []string{"a.yaml template", "b:2 ConfigMap"}},
		{"found, of another kind and broken", []lint.File{{Name: "a.yaml", Data: []byte("x:\n  apiVersion: 1\n  a: 1\n  a: 2\n"), Found: true}, {Name: "b", Data: []byte(config)}}, []string{"a.yaml not recognised", "b:2 ConfigMap"}},
		{"found, a template", []lint.File{{Name: "a.yaml", Data: []byte("apiVersion: v1\nkind: Pod\nspec: {{ toYaml .x }}\n"), Found: true}, {Name: "b", Data: []byte(config)}}, []string{"a.yaml:3 template", "b:2 ConfigMap"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			report, err := lint.Check(tt.files, lint.Options{})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, s := range report.Skipped {
				got = append(got, s.Position()+" "+s.What)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	// One that was found and claims to be a manifest is broken all the same.
	if _, err := lint.Check([]lint.File{{Name: "a.yaml", Data: []byte("apiVersion: v1\nkind: Pod\nspec: [\n"), Found: true}}, lint.Options{}); err == nil {
		t.Error("a broken manifest passed")
	}
}

// TestWholePath: the message says which file, however long its path is.
func TestWholePath(t *testing.T) {
	name := strings.Repeat("folder/", 30) + "a.yaml"
	_, err := lint.Check([]lint.File{{Name: name, Data: []byte("a: [\n")}}, lint.Options{})
	if err == nil || !strings.HasPrefix(err.Error(), name+":1:") {
		t.Errorf("got %v", err)
	}
}

// TestAnnotations say what comments say, and survive kustomize.
func TestAnnotations(t *testing.T) {
	const other = "---\napiVersion: v1\nkind: Pod\nmetadata: {name: b}\nspec: {containers: [{name: b, ports: [{containerPort: 80}], readinessProbe: {grpc: {port: 80}}}]}\n"
	annotated := func(annotations string) string {
		return strings.Replace(pod, "{name: web,", "{name: web, annotations: {"+annotations+"},", 1)
	}
	deployment := "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  template:\n    metadata: {annotations: {rollout-lab.dev/drain: 5s}}\n    spec:\n      containers: [{name: a, ports: [{containerPort: 80}], readinessProbe: {grpc: {port: 80}}}]\n"
	minified := `{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","annotations":{"rollout-lab.dev/ignore":"k8s-no-drain a test"}},"spec":{"containers":[{"name":"a","ports":[{"containerPort":80}],"readinessProbe":{"grpc":{"port":80}}}]}},` +
		`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"b"},"spec":{"containers":[{"name":"b","ports":[{"containerPort":80}],"readinessProbe":{"grpc":{"port":80}}}]}}]}`
	for _, tt := range []struct {
		name, text string
		want       []string
	}{
		{"none", annotated("example.com/ignore: k8s-no-drain x"), []string{"a:6:7 warning k8s-no-drain"}},
		{"drain", annotated("rollout-lab.dev/drain: 5s"), nil},
		{"drain that is too long", annotated("rollout-lab.dev/drain: 40s"), []string{"a:4:1 warning k8s-grace-too-short"}},
		{"of the pod template", deployment, nil},
		{"ignore", annotated("rollout-lab.dev/ignore: k8s-no-drain a test"), nil},
		{"several", annotated(`rollout-lab.dev/ignore: "k8s-recreate a test\nk8s-no-drain a test"`), nil},
		{"of one object alone", annotated("rollout-lab.dev/ignore: k8s-no-drain a test") + other, []string{"a:13:21 warning k8s-no-drain"}},
		{"of one object on a line with others", minified, []string{"a:1:347 warning k8s-no-drain"}},
		{"without a reason", annotated("rollout-lab.dev/ignore: k8s-no-drain"), []string{"a:3:37 error lint-comment", "a:6:7 warning k8s-no-drain"}},
		{"no duration", annotated("rollout-lab.dev/drain: long"), []string{"a:3:37 error lint-comment", "a:6:7 warning k8s-no-drain"}},
		{"mistyped", annotated("rollout-lab.dev/ingore: k8s-no-drain a test"), []string{"a:3:37 error lint-comment", "a:6:7 warning k8s-no-drain"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			report, err := lint.Check([]lint.File{{Name: "a", Data: []byte(tt.text)}}, lint.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, found(report)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

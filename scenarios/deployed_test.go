package scenarios

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const deployedScenario = `name: web
about: A Deployment of one's own.
target:
  deployment: web
  service: web
  port: http
  manifests: [web.yaml, deploy/config.yaml]
  request: {path: /hello, expect: {status: 204}}
replicas: 3
load: {rate: 100}
phases: {baseline: {from: 1s, to: 2s}, window: {from: 2s, to: 4s}}
action: {kind: rollout}
designs:
  - name: bare
  - name: drained
    about: With a probe and a wait.
    manifests: [drained.yaml]
`

const webManifest = `# A comment before anything else.
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports:
    - {name: admin, port: 81, targetPort: 8081}
    - {name: http, port: 80, targetPort: web}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web, tier: front}}
    spec:
      containers:
        - name: web
          image: web:1
          args: ["--id=${HOME}"]
          ports: [{name: web, containerPort: 8080}]
`

const configManifest = "\n\n  apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: web}\n  data:\n    text: |\n      a\n     \n      b  \n\n"

// writeDeployed writes a scenario and its manifests, after a change of one of the files, and
// returns the path of the scenario.
func writeDeployed(t *testing.T, file, old, new string) string {
	t.Helper()
	files := map[string]string{
		"web.scenario.yaml": deployedScenario, "web.yaml": webManifest, "drained.yaml": webManifest, "deploy/config.yaml": configManifest,
	}
	if !strings.Contains(files[file], old) {
		t.Fatalf("%s has no %q", file, old)
	}
	files[file] = strings.Replace(files[file], old, new, 1)
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "web.scenario.yaml")
}

func TestATargetThatIsADeployment(t *testing.T) {
	path := writeDeployed(t, "web.yaml", "image: web:1", "image: web:2")
	s, err := Load(path, offered)
	if err != nil {
		t.Fatal(err)
	}
	if !s.Target.Deployed() || s.Target.Service != "web" || s.Target.Port != "http" || !slices.Equal(s.Target.Request.Expect.Status.Codes(), []int{204}) {
		t.Errorf("target %+v", s.Target)
	}
	if got := s.ManifestsOf(s.Designs[0]); len(got) != 2 || got[0].Text != strings.Replace(webManifest, "web:1", "web:2", 1) || got[1].File != "deploy/config.yaml" {
		t.Errorf("manifests of %s: %+v", s.Designs[0].Name, got)
	}
	if got := s.ManifestsOf(s.Designs[1]); len(got) != 1 || got[0].Text != webManifest {
		t.Errorf("manifests of %s: %+v", s.Designs[1].Name, got)
	}
	again, err := Parse(path, []byte(s.Source), offered)
	if err != nil {
		t.Fatalf("its Source: %v\n%s", err, s.Source)
	}
	if diff := cmp.Diff(s, again); diff != "" {
		t.Errorf("its Source says something else (-want +got):\n%s", diff)
	}
	sch := compiled(t)
	for what, text := range map[string]string{"as written": deployedScenario, "rendered": s.Source} {
		if err := sch.Validate(asJSON(t, []byte(text))); err != nil {
			t.Errorf("%s, against the schema: %v", what, err)
		}
	}
	if err := s.WithDesigns([]string{"naive"}); err == nil || !strings.Contains(err.Error(), "builtin design naive") {
		t.Errorf("a builtin design was chosen: %v", err)
	}
	if err := s.WithDesigns([]string{"drained"}); err != nil || len(s.Designs) != 1 {
		t.Errorf("choose a design: %v", err)
	}
}

// TestSourceDependsOnManifests: another text is another experiment, wherever its file is.
func TestSourceDependsOnManifests(t *testing.T) {
	load := func(old, new string) *Scenario {
		t.Helper()
		s, err := Load(writeDeployed(t, "drained.yaml", old, new), offered)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	a, b, c := load("web:1", "web:1"), load("web:1", "web:1"), load("web:1", "web:2")
	if a.SHA256() != b.SHA256() {
		t.Error("the same texts in another folder are another experiment")
	}
	if a.SHA256() == c.SHA256() {
		t.Error("another image is the same experiment")
	}
}

func TestATargetThatExistsAlready(t *testing.T) {
	path := writeDeployed(t, "web.scenario.yaml", "  manifests: [web.yaml, deploy/config.yaml]\n", "")
	text := strings.Replace(strings.Replace(deployedScenario, "  manifests: [web.yaml, deploy/config.yaml]\n", "", 1),
		"  - name: drained\n    about: With a probe and a wait.\n    manifests: [drained.yaml]\n", "", 1)
	s, err := Parse(path, []byte(text), offered)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.ManifestsOf(s.Designs[0])) != 0 {
		t.Errorf("manifests: %+v", s.ManifestsOf(s.Designs[0]))
	}
	if again, err := Parse(path, []byte(s.Source), offered); err != nil || again.Source != s.Source {
		t.Errorf("its Source: %v", err)
	}
}

func TestLoadRefusesBadDeployments(t *testing.T) {
	const scenario, web, config = "web.scenario.yaml", "web.yaml", "deploy/config.yaml"
	for _, tt := range []struct{ name, file, old, new, where, message, hint string }{
		// « in the replacement marks where the problem is.
		{"no such file", scenario, "[drained.yaml]", "[«other.yaml]", scenario, "there is no file", "folder that the scenario is in"},
		{"a folder without manifests", scenario, "[drained.yaml]", "[«..]", scenario, "there is no manifest in the folder", "in .yaml"},
		{"no list", scenario, "[drained.yaml]", "«drained.yaml", scenario, "must be a list", "after a dash"},
		{"an empty list", scenario, "[drained.yaml]", "«[]", scenario, "is empty", "the target's are meant"},
		{"no YAML", web, "  ports:\n", "  ports: [\n", web, "not valid YAML", ""},
		{"a template of another tool", web, "replicas: 3", "replicas: «{{ .Values.replicas }}", web, "", ""},
		{"no object", config, configManifest, "«# nothing\n", config, "there is no object in it", "right file"},
		{"an empty file", config, configManifest, "\n", scenario, "is empty", "objects"},
		{"a list at the root", config, configManifest, "«- a\n", config, "is a mapping, this is a list", "apiVersion"},
		{"an object without a name", config, "metadata: {name: web}", "metadata: «{}", config, "metadata.name is missing", "every Kubernetes object"},
		{"a list of one kind", config, configManifest, "apiVersion: v1\nkind: «ConfigMapList\nitems: []\n", config, "holds other objects", "List"},
		{"an object of a List", config, configManifest, "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: «Namespace\n  metadata: {name: web}\n", config, "a Namespace", "remove it"},
		{"a List of nothing", config, configManifest, "apiVersion: v1\nkind: List\nitems: []\n", config, "there is no object in it", "right file"},
		{"a namespace", config, configManifest, "apiVersion: v1\nkind: «Namespace\nmetadata: {name: web}\n", config, "a Namespace", "remove it"},
		{"the whole cluster's", config, configManifest, "apiVersion: v1\nkind: «ClusterRole\nmetadata: {name: web}\n", config, "belongs to the whole cluster", "create it yourself"},
		{"two namespaces", web, "metadata: {name: web}\nspec:\n  selector: {app: web}", "metadata: {name: other, namespace: a}\nspec:\n  selector: {app: web}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: «b}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: a}\nspec:\n  selector: {app: web}", web, "two namespaces: a and b", "leave the name out"},
		{"the same object twice", config, "kind: ConfigMap", "kind: ConfigMap\n  metadata: {name: web}\n---\n  apiVersion: v1\n  kind: ConfigMap", config, "a second ConfigMap web", "remove one"},
		{"no such Deployment", scenario, "deployment: web", "deployment: «webb", scenario, "no Deployment webb in", "did you mean web?"},
		{"no Service at all", web, "kind: Service", "kind: Secret", scenario, "no Service web in web.yaml, deploy/config.yaml", "there is no Service in them"},
		{"another selector", web, "selector: {app: web}\n  ports", "selector: {app: «wep}\n  ports", web, "the Service selects app: wep, and pods of Deployment web have label app web", "spec.template.metadata"},
		{"a label that pods do not have", web, "selector: {app: web}\n  ports", "selector: {app: web, role: «x}\n  ports", web, "have no label role", ""},
		{"no selector", web, "  selector: {app: web}\n  ports", "  «ports", web, "the Service has no selector", ""},
		{"an external name", web, "spec:\n  selector: {app: web}\n  ports", "spec:\n  type: «ExternalName\n  ports", web, "leads out of the cluster", ""},
		{"no such port", scenario, "port: http", "port: «https", scenario, "has no port https", "admin 81, http 80"},
		{"port out of range", scenario, "port: http", "port: «70000", scenario, "", ""},
		{"no such port of a container", web, "targetPort: web", "targetPort: «web2", web, "no container of Deployment web has a port named web2", ""},
		{"another protocol", web, "targetPort: web}", "targetPort: web, protocol: «UDP}", web, "the port speaks UDP", ""},
		{"another number of replicas", web, "replicas: 3", "replicas: «2", web, "spec.replicas is 2, and the scenario's replicas is 3", "make them the same"},
		{"an old kind of Deployment", web, "apps/v1", "«extensions/v1beta1", web, "a Deployment of extensions/v1beta1", "apps/v1"},
		{"a paused Deployment", web, "replicas: 3", "paused: «true", web, "is paused", "remove"},
		{"no container", web, "containers:\n", "other:\n", web, "has no container", ""},
		{"no service named", scenario, "  service: web\n", "", scenario, "target.service is missing", "in front of"},
		{"an image as well", scenario, "  port: http", "  port: http\n  image: web:1", scenario, "names two services", "remove one"},
		{"arguments", scenario, "  port: http", "  port: http\n  «args: [x]", scenario, "target.args means nothing", "YAML of the Deployment"},
		{"a service without a deployment", scenario, "  deployment: web\n", "  image: web:1\n", scenario, "is for a target that is a deployment", ""},
		{"a signal", scenario, "name: bare", "name: bare\n    signal: «{kind: none}", scenario, "designs[0].signal means nothing", "readinessProbe"},
		{"a wait before the stop", scenario, "name: bare", "name: bare\n    pre_stop: «2s", scenario, "designs[0].pre_stop means nothing", "lifecycle.preStop"},
		{"other settings on a driver", scenario, "name: bare", "name: bare\n    on: «{kind: {}}", scenario, "designs[0].on means nothing", "in their manifests"},
		{"a builtin design", scenario, "- name: bare", "- «naive", scenario, "builtin design naive", "manifests"},
		{"from a builtin design", scenario, "name: bare", "name: bare\n    from: «naive", scenario, "designs[0].from means nothing", ""},
		{"rolling", scenario, "replicas: 3", "«rolling: {max_surge: 2}\nreplicas: 3", scenario, "rolling means nothing", "manifests"},
		{"balancer", scenario, "replicas: 3", "«balancer: {policy: round-robin}\nreplicas: 3", scenario, "balancer means nothing", "manifests"},
		{"limits", scenario, "replicas: 3", "limits: «{cpus: 1}\nreplicas: 3", scenario, "limits means nothing", "resources"},
		{"an answer that is none", scenario, "status: 204", "status: «101", scenario, "target.request.expect.status must be a status, 200..599, or 2xx for all of a class, not 101", "no answer yet"},
		{"denials", scenario, "rate: 100", "rate: 100, deny: «2%", scenario, "load.deny is for refproxy", ""},
		{"manifests of only one design", scenario, "  manifests: [web.yaml, deploy/config.yaml]\n", "", scenario, "design bare has no manifests, and another one has", ""},
		{"two designs of one that exists", scenario, "  manifests: [web.yaml, deploy/config.yaml]\n  request: {path: /hello, expect: {status: 204}}\nreplicas: 3\nload: {rate: 100}\nphases: {baseline: {from: 1s, to: 2s}, window: {from: 2s, to: 4s}}\naction: {kind: rollout}\ndesigns:\n  - name: bare\n  - name: drained\n    about: With a probe and a wait.\n    manifests: [drained.yaml]\n",
			"replicas: 3\nload: {rate: 100}\nphases: {baseline: {from: 1s, to: 2s}, window: {from: 2s, to: 4s}}\naction: {kind: rollout}\ndesigns:\n  - name: bare\n  - «name: again\n", scenario, "two designs of a Deployment that exists already", "its manifests"},
		{"a bad name", scenario, "deployment: web", "deployment: «Web", scenario, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before, after, marked := strings.Cut(tt.new, "«")
			path := writeDeployed(t, tt.file, tt.old, before+after)
			s, err := Load(path, offered)
			var problems Errors
			if !errors.As(err, &problems) || s != nil {
				t.Fatalf("got %v, %v; want problems", s, err)
			}
			first := problems[0]
			if len(problems) != 1 && tt.hint != "" {
				t.Errorf("%d problems for one mistake:\n%v", len(problems), err)
			}
			if !strings.HasSuffix(filepath.ToSlash(first.File), "/"+tt.where) || !strings.Contains(first.Message, tt.message) || !strings.Contains(first.Hint, tt.hint) {
				t.Errorf("got\n%v\nwant it in %s, with %q and %q", err, tt.where, tt.message, tt.hint)
			}
			if first.Line == 0 || !strings.Contains(first.Excerpt, "^") {
				t.Errorf("it has no position: %v", err)
			}
			if !marked || tt.file != tt.where {
				return
			}
			text, err := os.ReadFile(filepath.Join(filepath.Dir(path), filepath.FromSlash(tt.file)))
			if err != nil {
				t.Fatal(err)
			}
			at := strings.Index(string(text), before+after) + len(before)
			if line := strings.Count(string(text)[:at], "\n") + 1; first.Line != line {
				t.Errorf("it is said of line %d, want %d:\n%v", first.Line, line, first)
			}
		})
	}
}

// TestPlainText: what Source holds of a manifest is the same when it is read again.
func TestPlainText(t *testing.T) {
	for in, want := range map[string]string{
		"a: b":                     "a: b\n",
		"\ufeffa: b\r\n\r\n":       "a: b\n",
		"\n \n\na: b\n\n\n":        "a: b\n",
		"  a: b\n  c: d\n":         "---\n  a: b\n  c: d\n",
		"# note\na: |\n  x\n \n y": "# note\na: |\n  x\n \n y\n",
	} {
		got := plainText(in)
		if got != want || plainText(got) != got {
			t.Errorf("plainText(%q) = %q, and of that %q; want %q", in, got, plainText(got), want)
		}
	}
}

// What follows a document that holds comments alone, as tools write for templates that came out
// empty, is a part of the manifest.
func TestDocumentsBehindAnEmptyOne(t *testing.T) {
	for old, new := range map[string]string{
		"---\napiVersion: apps/v1":                 "---\n# Source: empty.yaml\n---\n\n--- # and one more\n---\napiVersion: apps/v1",
		"# A comment before anything else.\n---\n": "---\n# nothing\n---\n",
	} {
		if _, err := Load(writeDeployed(t, "web.yaml", old, new), offered); err != nil {
			t.Error(err)
		}
	}
}

// TestObjectsOfAList: a List is read as its objects, as kubectl apply does.
func TestObjectsOfAList(t *testing.T) {
	var items []string
	for _, d := range strings.Split(webManifest, "---\n")[1:] {
		items = append(items, "- "+strings.ReplaceAll(strings.TrimSpace(d), "\n", "\n  "))
	}
	list := "apiVersion: v1\nkind: List\nitems:\n" + strings.Join(items, "\n") + "\n"
	if _, err := Load(writeDeployed(t, "web.yaml", webManifest, list), offered); err != nil {
		t.Error(err)
	}
	_, err := Load(writeDeployed(t, "web.yaml", webManifest, strings.Replace(list, "targetPort: web", "targetPort: other", 1)), offered)
	if err == nil || !strings.Contains(err.Error(), "web.yaml:") {
		t.Errorf("a port that is not there: got %v", err)
	}
}

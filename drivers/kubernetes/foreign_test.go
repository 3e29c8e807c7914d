package kubernetes

import (
	"encoding/json"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/rollout-lab/rollout-lab/drivers"
)

const theirManifest = `# theirs
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

// described is an environment of a target that a manifest describes.
func described(t *testing.T, text, namespace string) (*environment, error) {
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
	e := newEnvironment(New(Config{Namespace: namespace}), &cluster{client: fake.NewClientset()}, s, l)
	return e, e.translate()
}

func TestTranslateObjects(t *testing.T) {
	e, err := described(t, theirManifest, "")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(e.foreign.manifest); n != 3 {
		t.Errorf("%d objects, want 3", n)
	}
	if m := e.foreign.manifest[0].GetUID(); m != "" {
		t.Errorf("the service keeps the ID %s of another cluster's", m)
	}
	if diff := cmp.Diff([]string{"side:1", "tool:1", "web:1"}, e.foreign.images()); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
	if e.tracker.container != "main" || e.stack.Subject.Fixed["data"] != 8080 || e.stack.Subject.StopGrace != secondsOf(30) {
		t.Errorf("container %s, ports %v, grace %v", e.tracker.container, e.stack.Subject.Fixed, e.stack.Subject.StopGrace)
	}
	// The number that the manifest leaves open is the stack's.
	if d := new(appsv1.Deployment); e.foreign.find("apps", "Deployment", "web", d) != nil || *d.Spec.Replicas != 2 {
		t.Errorf("replicas %v", d.Spec.Replicas)
	}
	if _, err := described(t, "", ""); !errors.Is(err, drivers.ErrUnsupported) {
		t.Errorf("without manifests and a namespace: %v", err)
	}
	if _, err := described(t, "", "there"); err != nil {
		t.Errorf("without manifests, in a namespace: %v", err)
	}
}

func TestTranslateObjectsRefuses(t *testing.T) {
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
			if strings.Count(theirManifest, tt.old) != 1 {
				t.Fatalf("the manifest has %q %d times", tt.old, strings.Count(theirManifest, tt.old))
			}
			if _, err := described(t, strings.Replace(theirManifest, tt.old, tt.new, 1), ""); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestTargetPort(t *testing.T) {
	d := &appsv1.Deployment{}
	d.Spec.Template.Spec.Containers = []corev1.Container{
		{Name: "side", Ports: []corev1.ContainerPort{{Name: "admin", ContainerPort: 81}}},
		{Name: "main", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}}},
	}
	d.Spec.Template.Spec.InitContainers = []corev1.Container{{Name: "mesh", Ports: []corev1.ContainerPort{{Name: "tls", ContainerPort: 15001}}}}
	for _, tt := range []struct {
		name      string
		port      corev1.ServicePort
		number    int32
		container string
	}{
		{"by number", corev1.ServicePort{Port: 80, TargetPort: intstr.FromInt32(8080)}, 8080, "main"},
		{"by name", corev1.ServicePort{Port: 80, TargetPort: intstr.FromString("http")}, 8080, "main"},
		{"the same number", corev1.ServicePort{Port: 81}, 81, "side"},
		{"a number that nobody lists", corev1.ServicePort{Port: 80, TargetPort: intstr.FromInt32(9000)}, 9000, "side"},
		{"of a sidecar", corev1.ServicePort{Port: 80, TargetPort: intstr.FromString("tls")}, 15001, "mesh"},
	} {
		number, container, err := targetPort(d, &tt.port)
		if err != nil || number != tt.number || container != tt.container {
			t.Errorf("%s: got %d of %s, %v; want %d of %s", tt.name, number, container, err, tt.number, tt.container)
		}
	}
	d.Spec.Template.Annotations = map[string]string{"kubectl.kubernetes.io/default-container": "main"}
	if _, container, _ := targetPort(d, &corev1.ServicePort{Port: 9000}); container != "main" {
		t.Errorf("the default container is %s, want main", container)
	}
}

func TestPodOf(t *testing.T) {
	yes := true
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Labels:          map[string]string{"app": "web", "pod-template-hash": "abc"},
		OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "web-abc", Controller: &yes}},
	}}
	if !podOf(p, "web") {
		t.Error("a pod of the Deployment is not seen as such")
	}
	for _, other := range []string{"we", "web-abc", "other"} {
		if podOf(p, other) {
			t.Errorf("it is taken for one of %s", other)
		}
	}
	if p.OwnerReferences = nil; podOf(p, "web") {
		t.Error("a pod that nobody controls is taken for one of the Deployment")
	}
}

func ptr[T any](v T) *T { return &v }

// theirDeployment is one that somebody has, with a restart in its past.
func theirDeployment() *appsv1.Deployment {
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "there"}}
	d.Spec.Replicas = ptr(int32(2))
	d.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
	d.Spec.Template.Labels = map[string]string{"app": "web"}
	d.Spec.Template.Annotations = map[string]string{annotationRestart: "once"}
	d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "web", Image: "web:1"}}
	return d
}

func TestTouched(t *testing.T) {
	spec := theirDeployment().Spec
	was := touchedOf(&spec)
	if !equality.Semantic.DeepEqual(*was.in(&spec), spec) {
		t.Error("fields put where they are make another specification")
	}
	made := touched{Replicas: 5, Paused: true, Revision: ptr("v2")}
	changed := made.in(&spec)
	if diff := cmp.Diff(made, touchedOf(changed)); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
	if !equality.Semantic.DeepEqual(*was.in(changed), spec) {
		t.Error("the way back leads elsewhere")
	}
	if *spec.Replicas != 2 || spec.Template.Annotations[annotationRestart] != "once" {
		t.Error("the original was changed")
	}
}

func TestTheirs(t *testing.T) {
	first := touched{Replicas: 2, Restarted: ptr("now"), Revision: ptr("v2")}
	b := &borrowing{Spec: theirDeployment().Spec, Set: []touched{first, {Replicas: 5, Restarted: ptr("now"), Revision: ptr("v2")}}}
	was := touchedOf(&b.Spec)
	for _, tt := range []struct {
		name   string
		change func(*appsv1.DeploymentSpec)
		want   []string // parts of what is said
		back   func(*touched)
	}{
		{"nothing", func(*appsv1.DeploymentSpec) {}, nil, func(*touched) {}},
		{"as the lab first left it", func(s *appsv1.DeploymentSpec) { *s = *first.in(s) }, nil, func(*touched) {}},
		{"as the lab last left it", func(s *appsv1.DeploymentSpec) { *s = *b.Set[1].in(s) }, nil, func(*touched) {}},
		{"scaled", func(s *appsv1.DeploymentSpec) { s.Replicas = ptr(int32(7)) }, []string{"spec.replicas is 7, and was 2"}, func(b *touched) { b.Replicas = 7 }},
		{"paused", func(s *appsv1.DeploymentSpec) { s.Paused = true }, []string{"spec.paused is true"}, func(b *touched) { b.Paused = true }},
		{"restarted", func(s *appsv1.DeploymentSpec) { s.Template.Annotations[annotationRestart] = "later" }, []string{"restartedAt of the template is later"}, func(b *touched) { b.Restarted = ptr("later") }},
		{"marked", func(s *appsv1.DeploymentSpec) { s.Template.Annotations[annotationRevision] = "v9" }, []string{"revision of the template is v9, and was not there"}, func(b *touched) { b.Revision = ptr("v9") }},
		{"another image, in the middle of a rollout", func(s *appsv1.DeploymentSpec) {
			*s = *first.in(s)
			s.Template.Spec.Containers[0].Image = "web:2"
		}, []string{"spec.template is another"}, func(*touched) {}},
		{"another strategy", func(s *appsv1.DeploymentSpec) { s.MinReadySeconds = 3 }, []string{"spec is another"}, func(*touched) {}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now := b.Spec.DeepCopy()
			tt.change(now)
			changes, back := b.theirs(now)
			if len(changes) != len(tt.want) {
				t.Errorf("changes %q, want %q", changes, tt.want)
			}
			for i := range min(len(changes), len(tt.want)) {
				if !strings.Contains(changes[i], tt.want[i]) {
					t.Errorf("changes %q, want %q", changes, tt.want)
				}
			}
			want := was
			tt.back(&want)
			if diff := cmp.Diff(want, back); diff != "" {
				t.Errorf("what is put back (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPatchTouchesNothingElse(t *testing.T) {
	d := theirDeployment()
	d.ResourceVersion = "7"
	for _, tt := range []struct {
		name string
		to   func(*touched)
		note *string
		want string
	}{
		{"nothing", func(*touched) {}, nil, `{"metadata":{"resourceVersion":"7"}}`},
		{"a note", func(*touched) {}, ptr("x"), `{"metadata":{"annotations":{"rollout-lab/before":"x"},"resourceVersion":"7"}}`},
		{"number", func(t *touched) { t.Replicas = 0 }, nil, `{"metadata":{"resourceVersion":"7"},"spec":{"replicas":0}}`},
		{"revision", func(t *touched) { t.Revision = ptr("v2") }, nil, `{"metadata":{"resourceVersion":"7"},"spec":{"template":{"metadata":{"annotations":{"rollout-lab/revision":"v2"}}}}}`},
		{"no restart any more", func(t *touched) { t.Restarted = nil }, nil, `{"metadata":{"resourceVersion":"7"},"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":null}}}}}`},
	} {
		to := touchedOf(&d.Spec)
		tt.to(&to)
		got, err := to.patch(d, tt.note)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, string(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// lent is a client of a cluster in which a Deployment is borrowed under an ID and changed.
func lent(t *testing.T, change func(*appsv1.Deployment)) *fake.Clientset {
	t.Helper()
	d := theirDeployment()
	made := touched{Replicas: 3, Paused: true, Restarted: ptr("now"), Revision: ptr("v2")}
	b := borrowing{Run: "run", Owner: "nobody", Deployment: "id", Spec: d.Spec, Set: []touched{made}}
	text, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	d.Annotations = map[string]string{annotationBefore: string(text), "note": "theirs"}
	d.Spec = *made.in(&d.Spec)
	change(d)
	return fake.NewClientset(d)
}

func TestRestore(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*appsv1.Deployment)
		id     string
		err    string
		kept   bool // the annotation stays
		back   bool // the specification is as it was
	}{
		{"as the lab left it", func(*appsv1.Deployment) {}, "id", "", false, true},
		{"another lab's", func(*appsv1.Deployment) {}, "other", "", true, false},
		{"given back already", func(d *appsv1.Deployment) { delete(d.Annotations, annotationBefore) }, "id", "", false, false},
		{"scaled by somebody", func(d *appsv1.Deployment) { d.Spec.Replicas = ptr(int32(9)) }, "id", "spec.replicas is 9", false, false},
		{"an annotation that cannot be read", func(d *appsv1.Deployment) { d.Annotations[annotationBefore] = "{" }, "id", "cannot be put back", true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client := lent(t, tt.change)
			api := client.AppsV1().Deployments("there")
			_, err := restore(t.Context(), api, "web", tt.id)
			if (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("got %v, want %q", err, tt.err)
			}
			d, err := api.Get(t.Context(), "web", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if _, kept := d.Annotations[annotationBefore]; kept != tt.kept || d.Annotations["note"] != "theirs" {
				t.Errorf("annotations %v", d.Annotations)
			}
			if back := equality.Semantic.DeepEqual(d.Spec, theirDeployment().Spec); back != tt.back {
				t.Errorf("it is as it was: %v, want %v: %+v", back, tt.back, d.Spec)
			}
		})
	}
	t.Run("deleted by somebody", func(t *testing.T) {
		if _, err := restore(t.Context(), fake.NewClientset().AppsV1().Deployments("there"), "web", "id"); err == nil || !strings.Contains(err.Error(), "somebody has deleted it") {
			t.Errorf("got %v", err)
		}
	})
}

func TestRestoreBorrowed(t *testing.T) {
	client := lent(t, func(*appsv1.Deployment) {})
	c := &cluster{client: client}
	d := New(Config{})
	// Nothing is certain of an owner that cannot be read.
	if done, err := d.restoreBorrowed(t.Context(), c, ""); err != nil || len(done) > 0 {
		t.Errorf("of an unknown owner: %v, %v", done, err)
	}
	if done, err := d.restoreBorrowed(t.Context(), c, "other"); err != nil || len(done) > 0 {
		t.Errorf("of another run: %v, %v", done, err)
	}
	want := []string{"changes to deployment web in namespace there (run run)"}
	if done, err := d.restoreBorrowed(t.Context(), c, "run"); err != nil || !slices.Equal(done, want) {
		t.Errorf("got %v, %v; want %v", done, err, want)
	}
	if done, err := d.restoreBorrowed(t.Context(), c, "run"); err != nil || len(done) > 0 {
		t.Errorf("again: %v, %v", done, err)
	}
}

func TestBorrowRefusesWhatIsInUse(t *testing.T) {
	e, err := described(t, "", "there")
	if err != nil {
		t.Fatal(err)
	}
	e.cluster.client = lent(t, func(*appsv1.Deployment) {})
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "there"}}
	s.Spec.Selector, s.Spec.Ports = map[string]string{"app": "web"}, []corev1.ServicePort{{Name: "http", Port: 80}}
	if _, err := e.cluster.client.CoreV1().Services("there").Create(t.Context(), s, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var hint *drivers.HintError
	if _, err := e.borrow(t.Context()); !errors.As(err, &hint) || !strings.Contains(err.Error(), "in use by run run") || !strings.Contains(hint.Hint, "clean") {
		t.Errorf("got %v", err)
	}
	// Closing takes nothing from the run that has it.
	if err := e.removeForeign(t.Context()); err != nil {
		t.Error(err)
	}
	d, err := e.deployments().Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil || d.Annotations[annotationBefore] == "" || *d.Spec.Replicas != 3 {
		t.Errorf("%+v, %v: it was taken from the run that has it", d.Spec, err)
	}
}

func TestOwnEntry(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	listening := l.Addr().String()
	e, err := described(t, theirManifest, "")
	if err != nil {
		t.Fatal(err)
	}
	e.driver.config.NodePorts = map[int32]string{30080: listening}
	for _, tt := range []struct {
		name     string
		nodePort int32
		want     string
	}{
		{"inside the cluster", 0, ""},
		{"a node port that leads here", 30080, "http://" + listening},
		{"a node port that leads nowhere", 30081, ""},
	} {
		port := &corev1.ServicePort{Port: 80, NodePort: tt.nodePort}
		if got, err := e.ownEntry(t.Context(), &corev1.Service{}, port); err != nil || got != tt.want {
			t.Errorf("%s: got %q, %v; want %q", tt.name, got, err, tt.want)
		}
	}
}

func TestEntryService(t *testing.T) {
	s := &corev1.Service{}
	s.Spec.Selector, s.Spec.PublishNotReadyAddresses, s.Spec.SessionAffinity = map[string]string{"app": "web"}, true, corev1.ServiceAffinityClientIP
	port := &corev1.ServicePort{Name: "http", Port: 80, TargetPort: intstr.FromString("main"), NodePort: 31000}
	got := entryService(s, port, "lab-entry-id", 30080).Spec
	if *got.Type != corev1.ServiceTypeNodePort || got.Selector["app"] != "web" || !*got.PublishNotReadyAddresses || *got.SessionAffinity != corev1.ServiceAffinityClientIP {
		t.Errorf("spec %+v", got)
	}
	if p := got.Ports[0]; *p.Port != 80 || p.TargetPort.StrVal != "main" || *p.NodePort != 30080 {
		t.Errorf("port %+v", p)
	}
	if p := entryService(s, &corev1.ServicePort{Port: 80}, "x", 0).Spec.Ports[0]; p.TargetPort.IntVal != 80 || p.NodePort != nil {
		t.Errorf("port %+v without a target", p)
	}
}

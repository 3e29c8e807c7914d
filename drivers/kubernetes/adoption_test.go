package kubernetes

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func ptr[T any](v T) *T { return &v }

// someDeployment is one that somebody has, with a restart in its past.
func someDeployment() *appsv1.Deployment {
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "there"}}
	d.Spec.Replicas = ptr(int32(2))
	d.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
	d.Spec.Template.Labels = map[string]string{"app": "web"}
	d.Spec.Template.Annotations = map[string]string{annotationRestart: "once"}
	d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "web", Image: "web:1"}}
	return d
}

func TestManaged(t *testing.T) {
	spec := someDeployment().Spec
	was := managedOf(&spec)
	if !equality.Semantic.DeepEqual(*was.in(&spec), spec) {
		t.Error("fields put where they are make another specification")
	}
	made := managed{Replicas: 5, Paused: true, Revision: ptr("v2")}
	changed := made.in(&spec)
	if diff := cmp.Diff(made, managedOf(changed)); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
	if !equality.Semantic.DeepEqual(*was.in(changed), spec) {
		t.Error("the way back leads elsewhere")
	}
	if *spec.Replicas != 2 || spec.Template.Annotations[annotationRestart] != "once" {
		t.Error("the original was changed")
	}
}

func TestConflicts(t *testing.T) {
	first := managed{Replicas: 2, Restarted: ptr("now"), Revision: ptr("v2")}
	b := &adoption{Spec: someDeployment().Spec, Set: []managed{first, {Replicas: 5, Restarted: ptr("now"), Revision: ptr("v2")}}}
	was := managedOf(&b.Spec)
	for _, tt := range []struct {
		name   string
		change func(*appsv1.DeploymentSpec)
		want   []string // parts of what is said
		back   func(*managed)
	}{
		{"nothing", func(*appsv1.DeploymentSpec) {}, nil, func(*managed) {}},
		{"as the lab first left it", func(s *appsv1.DeploymentSpec) { *s = *first.in(s) }, nil, func(*managed) {}},
		{"as the lab last left it", func(s *appsv1.DeploymentSpec) { *s = *b.Set[1].in(s) }, nil, func(*managed) {}},
		{"scaled", func(s *appsv1.DeploymentSpec) { s.Replicas = ptr(int32(7)) }, []string{"spec.replicas is 7, and was 2"}, func(b *managed) { b.Replicas = 7 }},
		{"paused", func(s *appsv1.DeploymentSpec) { s.Paused = true }, []string{"spec.paused is true"}, func(b *managed) { b.Paused = true }},
		{"restarted", func(s *appsv1.DeploymentSpec) { s.Template.Annotations[annotationRestart] = "later" }, []string{"restartedAt of the template is later"}, func(b *managed) { b.Restarted = ptr("later") }},
		{"marked", func(s *appsv1.DeploymentSpec) { s.Template.Annotations[annotationRevision] = "v9" }, []string{"revision of the template is v9, and was not there"}, func(b *managed) { b.Revision = ptr("v9") }},
		{"another image, in the middle of a rollout", func(s *appsv1.DeploymentSpec) {
			*s = *first.in(s)
			s.Template.Spec.Containers[0].Image = "web:2"
		}, []string{"spec.template is another"}, func(*managed) {}},
		{"another strategy", func(s *appsv1.DeploymentSpec) { s.MinReadySeconds = 3 }, []string{"spec is another"}, func(*managed) {}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now := b.Spec.DeepCopy()
			tt.change(now)
			changes, back := b.conflicts(now)
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
				t.Errorf("what is restored (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPatchChangesNothingElse(t *testing.T) {
	d := someDeployment()
	d.ResourceVersion = "7"
	for _, tt := range []struct {
		name string
		to   func(*managed)
		note *string
		want string
	}{
		{"nothing", func(*managed) {}, nil, `{"metadata":{"resourceVersion":"7"}}`},
		{"a note", func(*managed) {}, ptr("x"), `{"metadata":{"annotations":{"rollout-lab/before":"x"},"resourceVersion":"7"}}`},
		{"number", func(t *managed) { t.Replicas = 0 }, nil, `{"metadata":{"resourceVersion":"7"},"spec":{"replicas":0}}`},
		{"revision", func(t *managed) { t.Revision = ptr("v2") }, nil, `{"metadata":{"resourceVersion":"7"},"spec":{"template":{"metadata":{"annotations":{"rollout-lab/revision":"v2"}}}}}`},
		{"no restart any more", func(t *managed) { t.Restarted = nil }, nil, `{"metadata":{"resourceVersion":"7"},"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":null}}}}}`},
	} {
		to := managedOf(&d.Spec)
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

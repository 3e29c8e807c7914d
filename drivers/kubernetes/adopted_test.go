package kubernetes

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// inUse is a client of a cluster in which a Deployment is adopted under an ID and changed.
func inUse(t *testing.T, change func(*appsv1.Deployment)) *fake.Clientset {
	t.Helper()
	d := someDeployment()
	made := managed{Replicas: 3, Paused: true, Restarted: ptr("now"), Revision: ptr("v2")}
	b := adoption{Run: "run", Owner: "nobody", Deployment: "id", Spec: d.Spec, Set: []managed{made}}
	text, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	d.Annotations = map[string]string{annotationBefore: string(text), "note": "kept"}
	d.Spec = *made.in(&d.Spec)
	change(d)
	return fake.NewClientset(d)
}

func TestRestore(t *testing.T) {
	for _, tt := range []struct {
		name     string
		change   func(*appsv1.Deployment)
		id       string
		err      string
		kept     bool // the annotation stays
		restored bool // the specification is as it was
	}{
		{"as the lab left it", func(*appsv1.Deployment) {}, "id", "", false, true},
		{"another lab's", func(*appsv1.Deployment) {}, "other", "", true, false},
		{"restored already", func(d *appsv1.Deployment) { delete(d.Annotations, annotationBefore) }, "id", "", false, false},
		{"scaled by somebody", func(d *appsv1.Deployment) { d.Spec.Replicas = ptr(int32(9)) }, "id", "spec.replicas is 9", false, false},
		{"an annotation that cannot be read", func(d *appsv1.Deployment) { d.Annotations[annotationBefore] = "{" }, "id", "cannot be restored", true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client := inUse(t, tt.change)
			api := client.AppsV1().Deployments("there")
			_, err := restore(t.Context(), api, "web", tt.id)
			if (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("got %v, want %q", err, tt.err)
			}
			d, err := api.Get(t.Context(), "web", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if _, kept := d.Annotations[annotationBefore]; kept != tt.kept || d.Annotations["note"] != "kept" {
				t.Errorf("annotations %v", d.Annotations)
			}
			if restored := equality.Semantic.DeepEqual(d.Spec, someDeployment().Spec); restored != tt.restored {
				t.Errorf("it is as it was: %v, want %v: %+v", restored, tt.restored, d.Spec)
			}
		})
	}
	t.Run("deleted by somebody", func(t *testing.T) {
		if _, err := restore(t.Context(), fake.NewClientset().AppsV1().Deployments("there"), "web", "id"); err == nil || !strings.Contains(err.Error(), "somebody has deleted it") {
			t.Errorf("got %v", err)
		}
	})
}

func TestRestoreAdopted(t *testing.T) {
	client := inUse(t, func(*appsv1.Deployment) {})
	c := &cluster{client: client}
	d := New(Config{})
	// Nothing is certain of an owner that cannot be read.
	if done, err := d.restoreAdopted(t.Context(), c, ""); err != nil || len(done) > 0 {
		t.Errorf("of an unknown owner: %v, %v", done, err)
	}
	if done, err := d.restoreAdopted(t.Context(), c, "other"); err != nil || len(done) > 0 {
		t.Errorf("of another run: %v, %v", done, err)
	}
	want := []string{"changes to deployment web in namespace there (run run)"}
	if done, err := d.restoreAdopted(t.Context(), c, "run"); err != nil || !slices.Equal(done, want) {
		t.Errorf("got %v, %v; want %v", done, err, want)
	}
	if done, err := d.restoreAdopted(t.Context(), c, "run"); err != nil || len(done) > 0 {
		t.Errorf("again: %v, %v", done, err)
	}
}

func TestAdoptRefusesWhatIsInUse(t *testing.T) {
	e, err := objectsOf(t, "", "there")
	if err != nil {
		t.Fatal(err)
	}
	e.cluster.client = inUse(t, func(*appsv1.Deployment) {})
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "there"}}
	s.Spec.Selector, s.Spec.Ports = map[string]string{"app": "web"}, []corev1.ServicePort{{Name: "http", Port: 80}}
	if _, err := e.cluster.client.CoreV1().Services("there").Create(t.Context(), s, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var hint *drivers.HintError
	if _, err := e.subject.deploy(t.Context()); !errors.As(err, &hint) || !strings.Contains(err.Error(), "in use by run run") || !strings.Contains(hint.Hint, "clean") {
		t.Errorf("got %v", err)
	}
	// Closing takes nothing from the run that has it.
	if err := e.subject.remove(t.Context()); err != nil {
		t.Error(err)
	}
	d, err := e.deployments().Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil || d.Annotations[annotationBefore] == "" || *d.Spec.Replicas != 3 {
		t.Errorf("%+v, %v: it was taken from the run that has it", d.Spec, err)
	}
}

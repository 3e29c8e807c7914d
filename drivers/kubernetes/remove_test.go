package kubernetes

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// TestEndDeployment: a Deployment that somebody has described goes with its pods and no
// others. They have their grace until it is taken back, and are killed then.
func TestEndDeployment(t *testing.T) {
	d := someDeployment()
	own := pod("web-abc-1", runs("1"))
	own.Namespace, own.Labels = d.Namespace, map[string]string{"app": "web", appsv1.DefaultDeploymentUniqueLabelKey: "abc"}
	own.OwnerReferences = []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "web-abc", Controller: ptr(true)}}
	other := pod("other", runs("2"))
	other.Namespace, other.Labels = d.Namespace, map[string]string{"app": "web"}
	client := fake.NewClientset(d, own, other)
	force := make(chan struct{})
	var said []string
	client.PrependReactor("delete", "deployments", func(a clienttesting.Action) (bool, runtime.Object, error) {
		said = append(said, "deployment "+string(*a.(clienttesting.DeleteActionImpl).DeleteOptions.PropagationPolicy))
		close(force)
		return true, nil, nil // it stays until its pods are gone
	})
	client.PrependReactor("delete", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
		deleted := a.(clienttesting.DeleteActionImpl)
		if g := deleted.DeleteOptions.GracePeriodSeconds; g == nil || *g != noGrace {
			t.Errorf("%s is deleted with a grace of %v", deleted.Name, g)
		}
		said = append(said, "pod "+deleted.Name)
		return false, nil, client.Tracker().Delete(appsv1.SchemeGroupVersion.WithResource("deployments"), d.Namespace, d.Name)
	})
	killed := make(kills, 10)
	r := removal{&cluster{client: client}, d.Namespace, "", killed.containers()}
	if err := r.endDeployment(t.Context(), d.Name, force); err != nil {
		t.Error(err)
	}
	if want := []string{"deployment Foreground", "pod web-abc-1"}; !slices.Equal(said, want) {
		t.Errorf("deleted %v, want %v", said, want)
	}
	if len(killed) != 1 || <-killed != "1" {
		t.Error("the container that has begun its grace was not killed, or another one was")
	}
	if err := r.endDeployment(t.Context(), d.Name, force); err != nil {
		t.Errorf("one that is gone: %v", err)
	}
}

// TestRemovalSaysWhatIsLeft: each wait for something to go ends with its context and names
// what has not gone, a namespace with its own reason.
func TestRemovalSaysWhatIsLeft(t *testing.T) {
	named := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: name, Namespace: "there", Labels: map[string]string{"x": "y"}}
	}
	space := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "there"}}
	space.Status.Conditions = []corev1.NamespaceCondition{{Type: corev1.NamespaceFinalizersRemaining, Status: corev1.ConditionTrue, Message: "somebody's finalizer"}}
	client := fake.NewClientset(space, &appsv1.ReplicaSet{ObjectMeta: named("set")}, &corev1.Pod{ObjectMeta: named("one")}, someDeployment())
	ctx, cancel := context.WithCancelCause(t.Context())
	late := errors.New("too late")
	client.PrependReactor("delete", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
		cancel(late)
		return true, nil, nil // nothing goes
	})
	r := removal{&cluster{client: client}, "there", "x=y", nil}
	for want, wait := range map[string]func() error{
		"replica set set is not gone": func() error { return r.workloads(ctx, r.selector) },
		"pod one is not gone":         func() error { return r.pods(ctx, r.selector, nil) },
		"deployment web is not gone":  func() error { return r.endDeployment(ctx, "web", nil) },
		"namespace there (NamespaceFinalizersRemaining: somebody's finaliz": func() error { return r.wholeNamespace(ctx) },
	} {
		if err := wait(); !errors.Is(err, late) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

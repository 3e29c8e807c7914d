package kubernetes

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/rollout-lab/rollout-lab/drivers"
)

var webLabels = map[string]string{"app": "web"}

func webDeployment() *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop"},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: webLabels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web", "tier": "front"}},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web"}, {Name: "sidecar"}}},
			},
		},
	}
}

func webService(name string, selector map[string]string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop"}, Spec: corev1.ServiceSpec{Selector: selector}}
}

func webPod(name, hash string) *corev1.Pod {
	p := pod(name, runs("1"), readyPod)
	p.Namespace, p.Annotations = "shop", nil
	p.Labels = map[string]string{"app": "web", appsv1.DefaultDeploymentUniqueLabelKey: hash}
	p.Status.ContainerStatuses[0].Name = "web"
	return p
}

func webEndpoints(service string, pods ...string) *discoveryv1.EndpointSlice {
	s := endpoints(service+"-1", pods...)
	s.Namespace, s.Labels = "shop", map[string]string{discoveryv1.LabelServiceName: service}
	return s
}

func TestObserveFindsTheServicesOfADeployment(t *testing.T) {
	client := fake.NewClientset(webDeployment(), webService("web", webLabels), webService("front", map[string]string{"tier": "front"}),
		webService("other", map[string]string{"app": "other"}), webService("headless", nil))
	_, services, err := found(t.Context(), client, "shop", "web")
	if slices.Sort(services); err != nil || !slices.Equal(services, []string{"front", "web"}) {
		t.Errorf("got %q, %v; want those whose selector fits", services, err)
	}
	for what, tt := range map[string]struct {
		client    *fake.Clientset
		name, err string
	}{
		"no Deployment": {client, "wbe", "no Deployment wbe in namespace shop"},
		"no Service":    {fake.NewClientset(webDeployment()), "web", "no Service selects the pods of Deployment web"},
	} {
		var hint *drivers.HintError
		if _, _, err := found(t.Context(), tt.client, "shop", tt.name); err == nil || !strings.Contains(err.Error(), tt.err) || !errors.As(err, &hint) {
			t.Errorf("%s: got %v, want %q and a hint", what, err, tt.err)
		}
	}
	for _, what := range []string{"web", "deployment/", "deployment/shop/web", "statefulset/web"} {
		if _, err := New(Config{}).Observe(t.Context(), what); err == nil || !strings.Contains(err.Error(), "want deployment/NAME") {
			t.Errorf("%s: got %v", what, err)
		}
	}
}

// What is said of pods and endpoints is recorded from the start, and nothing is changed.
func TestObserveSaysWhatBecomesOfPods(t *testing.T) {
	client := fake.NewClientset(webPod("a", "hash1"), webEndpoints("web", "+a"), webEndpoints("other", "+b"))
	o := &observation{}
	if err := o.follow(t.Context(), client, webDeployment(), []string{"web", "front"}); err != nil {
		t.Fatal(err)
	}
	events := o.Watch()
	next := func(want ...string) {
		t.Helper()
		var got []string
		for range want {
			e := <-events
			got = append(got, fmt.Sprintf("%s %s %s%s", e.Kind, e.Instance, e.Revision, e.Addr))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	}
	next("started a hash1", "ready a hash1")
	pods, endpoints := client.CoreV1().Pods("shop"), client.DiscoveryV1().EndpointSlices("shop")
	changed := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	changed(pods.Create(t.Context(), webPod("b", "hash2"), metav1.CreateOptions{}))
	next("started b hash2")
	changed(endpoints.Update(t.Context(), webEndpoints("web", "+a", "+b"), metav1.UpdateOptions{}))
	next("ready b hash2")
	going := webPod("a", "hash1")
	terminating(going)
	changed(pods.Update(t.Context(), going, metav1.UpdateOptions{}))
	next("terminating a hash1")
	changed(endpoints.Update(t.Context(), webEndpoints("web", "+b"), metav1.UpdateOptions{}))
	next("unready a hash1")
	if err := pods.Delete(t.Context(), "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	next("gone a hash1")
	for range 2 {
		if err := o.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	for e := range events {
		t.Errorf("after all: %+v", e)
	}
	changes := 0
	for _, a := range client.Actions() {
		if !slices.Contains([]string{"get", "list", "watch"}, a.GetVerb()) {
			changes++
		}
	}
	if changes != 5 { // those of this test
		t.Errorf("%d changes in the cluster, want the test's own 5", changes)
	}
}

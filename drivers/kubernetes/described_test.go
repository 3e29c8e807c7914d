package kubernetes

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

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

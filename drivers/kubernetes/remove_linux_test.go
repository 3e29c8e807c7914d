package kubernetes

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/rollout-lab/rollout-lab/drivers/owner"
)

// TestSweepTakesOnlyFromTheCertainlyDead: what a living lab has, or one of which nothing is
// certain, stays, in namespaces of its own and in a common one.
func TestSweepTakesOnlyFromTheCertainlyDead(t *testing.T) {
	self, err := owner.Self()
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(self.String(), "-")
	with := func(n int, value string) string {
		changed := slices.Clone(parts)
		changed[n] = value
		return strings.Join(changed, "-")
	}
	owners := map[string]string{
		"living":    self.String(),
		"dead":      with(1, "1"), // an earlier process with this one's ID
		"elsewhere": strings.Join([]string{parts[0], "1", "aaaaaaa", "aaaaaaa", "aaaaaaa"}, "-"),
		"contained": strings.Join([]string{parts[0], "1", parts[2], "aaaaaaa", parts[4]}, "-"),
		"unknown":   strings.Join([]string{parts[0], "1", "0", "0", "0"}, "-"),
		"garbled":   "who knows",
		"nobody":    "",
	}
	client := fake.NewClientset()
	for name, o := range owners {
		meta := metav1.ObjectMeta{Name: name, Labels: map[string]string{labelDeployment: name, labelRun: "run"}}
		if o != "" {
			meta.Labels[labelOwner] = o
		}
		must[*corev1.Namespace](t)(client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: meta}, metav1.CreateOptions{}))
		meta.Namespace = testSpace
		must[*appsv1.Deployment](t)(client.AppsV1().Deployments(testSpace).Create(t.Context(), &appsv1.Deployment{ObjectMeta: meta}, metav1.CreateOptions{}))
		must[*corev1.Service](t)(client.CoreV1().Services(testSpace).Create(t.Context(), &corev1.Service{ObjectMeta: meta}, metav1.CreateOptions{}))
	}
	for _, c := range []struct{ namespace, want string }{
		{"", "[namespace dead (run run)]"},
		{testSpace, "[deployment dead in namespace lab (run run)]"},
	} {
		d := New(Config{Namespace: c.namespace})
		d.cluster = &cluster{client: client, any: resources{known: client.Discovery()}}
		removed, err := d.Sweep(t.Context(), "")
		if got := fmt.Sprint(removed); err != nil || got != c.want {
			t.Errorf("sweep in namespace %q: removed %s, %v; want %s", c.namespace, got, err, c.want)
		}
		d = New(Config{Namespace: c.namespace})
		d.self = func() (owner.Owner, error) { return owner.Owner{}, errors.New("no proc file system") }
		d.cluster = &cluster{client: client, any: resources{known: client.Discovery()}}
		if removed, err := d.Sweep(t.Context(), ""); err == nil || len(removed) != 0 {
			t.Errorf("sweep by somebody unknown: removed %v, %v; want an error and nothing removed", removed, err)
		}
	}
	var left []string
	for _, n := range must[*corev1.NamespaceList](t)(client.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{})).Items {
		left = append(left, n.Name)
	}
	if slices.Contains(left, "dead") || len(left) != len(owners)-1 {
		t.Errorf("namespaces left: %v, want all but that of the dead", left)
	}
}

package kubernetes

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// TestFaults: what can be done, and why not, with a hint.
func TestFaults(t *testing.T) {
	worker := func(name string, change func(*corev1.Node)) *corev1.Node {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
		change(n)
		return n
	}
	asIs := func(*corev1.Node) {}
	cordonedBy := func(run string) func(*corev1.Node) {
		return func(n *corev1.Node) {
			n.Spec.Unschedulable = true
			n.Annotations = map[string]string{annotationCordoned: fmt.Sprintf(`{"run":%q}`, run)}
		}
	}
	control := func(n *corev1.Node) {
		n.Spec.Taints = []corev1.Taint{{Key: taintControlPlane, Effect: corev1.TaintEffectNoSchedule}}
	}
	two := []runtime.Object{worker("control", control), worker("a", asIs), worker("b", asIs)}
	for name, c := range map[string]struct {
		config    Config
		nodes     []runtime.Object
		forbidden string // what the user may not do
		kind      drivers.FaultKind
		want      string // "" means that it can be done
		is        error
	}{
		"kill":                {kind: drivers.FaultKill},
		"kill, forbidden":     {kind: drivers.FaultKill, forbidden: "delete pods", want: "may not delete pods", is: drivers.ErrUnavailable},
		"evict":               {kind: drivers.FaultEvict},
		"evict, forbidden":    {kind: drivers.FaultEvict, forbidden: "create pods/eviction", want: "may not create pods/eviction", is: drivers.ErrUnavailable},
		"stop":                {kind: drivers.FaultStop},
		"stop, forbidden":     {kind: drivers.FaultStop, forbidden: "update deployments/scale", want: "may not update deployments/scale", is: drivers.ErrUnavailable},
		"pause":               {kind: drivers.FaultPause, want: "no API of Kubernetes offers it", is: drivers.ErrUnsupported},
		"pause, with nodes":   {kind: drivers.FaultPause, config: Config{Containers: newNode()}},
		"cpu":                 {kind: drivers.FaultCPU, want: "no API of Kubernetes offers it", is: drivers.ErrUnsupported},
		"drain":               {kind: drivers.FaultNodeDrain, config: Config{Drain: []string{"a"}}, nodes: two},
		"drain of no node":    {kind: drivers.FaultNodeDrain, nodes: two, want: "no node of the cluster may be drained", is: drivers.ErrUnsupported},
		"drain, forbidden":    {kind: drivers.FaultNodeDrain, config: Config{Drain: []string{"a"}}, nodes: two, forbidden: "patch nodes", want: "may not patch nodes", is: drivers.ErrUnavailable},
		"drain of nobody":     {kind: drivers.FaultNodeDrain, config: Config{Drain: []string{"x"}}, nodes: two, want: "no node x", is: drivers.ErrUnavailable},
		"drain of the only":   {kind: drivers.FaultNodeDrain, config: Config{Drain: []string{"a"}}, nodes: two[:2], want: "take new pods: 1", is: drivers.ErrUnavailable},
		"drain, one cordoned": {kind: drivers.FaultNodeDrain, config: Config{Drain: []string{"a"}}, nodes: []runtime.Object{two[1], worker("b", cordonedBy("dead"))}, want: "b by run dead", is: drivers.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			client := fake.NewClientset(c.nodes...)
			client.PrependReactor("create", "selfsubjectaccessreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
				review := a.(clienttesting.CreateAction).GetObject().(*authorizationv1.SelfSubjectAccessReview).DeepCopy()
				r := review.Spec.ResourceAttributes
				review.Status.Allowed = c.forbidden != r.Verb+" "+strings.TrimSuffix(r.Resource+"/"+r.Subresource, "/")
				return true, review, nil
			})
			d := New(c.config)
			d.cluster = &cluster{client: client}
			err, known := d.Faults(t.Context())[c.kind]
			if !known {
				t.Fatalf("%s is not known", c.kind)
			}
			if c.want == "" {
				if err != nil {
					t.Errorf("got %v, want that it can be done", err)
				}
				return
			}
			var hint *drivers.HintError
			if !errors.Is(err, c.is) || !strings.Contains(fmt.Sprint(err), c.want) || !errors.As(err, &hint) {
				t.Errorf("got %v, want %q that wraps %v, and a hint", err, c.want, c.is)
			}
		})
	}
}

// TestDependenciesKeepOutOfTheWay of a drain, and may run on the control plane where the cluster
// is the lab's own.
func TestDependenciesKeepOutOfTheWay(t *testing.T) {
	placed := func(l layout) *corev1apply.PodSpecApplyConfiguration {
		pod := corev1apply.PodSpec()
		l.place(pod)
		return pod
	}
	if p := placed(layout{controlPlane: true}); p.Affinity != nil || p.Tolerations != nil {
		t.Errorf("where nothing is drained: %+v", p)
	}
	p := placed(layout{drained: []string{"a", "b"}})
	if p.Tolerations != nil {
		t.Errorf("in a cluster of somebody else's it tolerates %+v", p.Tolerations)
	}
	e := p.Affinity.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution[0].Preference.MatchExpressions[0]
	if *e.Key != corev1.LabelHostname || *e.Operator != corev1.NodeSelectorOpNotIn || fmt.Sprint(e.Values) != "[a b]" {
		t.Errorf("it prefers nodes with %s %s %v", *e.Key, *e.Operator, e.Values)
	}
	if p := placed(layout{drained: []string{"a"}, controlPlane: true}); len(p.Tolerations) != 1 || *p.Tolerations[0].Key != taintControlPlane {
		t.Errorf("in a cluster of the lab's own it tolerates %+v", p.Tolerations)
	}
}

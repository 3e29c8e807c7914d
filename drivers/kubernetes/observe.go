package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/selection"
	kube "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/kubernetes/watch"
)

// Observe implements drivers.Observer: what is deployment/NAME, in the namespace of the Config
// or else of the kubeconfig. It lists and watches its pods, and the endpoints of the Services
// that select them, and it creates nothing: no path to a pod either, so that instances have
// no address. A pod's revision is the hash of its template.
func (d *Driver) Observe(ctx context.Context, what string) (drivers.Observation, error) {
	name, ok := strings.CutPrefix(what, "deployment/")
	if !ok || name == "" || strings.Contains(name, "/") {
		return nil, &drivers.HintError{Err: fmt.Errorf("watch %q: want deployment/NAME", what), Hint: "such as deployment/web; the namespace is a flag of its own"}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, observeLimit, fmt.Errorf("not listed within %v", observeLimit))
	defer cancel()
	c, err := d.connect()
	if err != nil {
		return nil, unavailable(err, "set KUBECONFIG, or name a kubeconfig and a context that lead to a cluster")
	}
	namespace, err := d.observedNamespace()
	if err != nil {
		return nil, unavailable(err, "set KUBECONFIG, or name a kubeconfig and a context that lead to a cluster")
	}
	deployment, services, err := found(ctx, c.client, namespace, name)
	if err != nil {
		return nil, err
	}
	o := &observation{}
	if err := o.follow(ctx, c.client, deployment, services); err != nil {
		return nil, errors.Join(err, o.Close(ctx))
	}
	return o, nil
}

// observeLimit is how long it may take to list what is observed.
const observeLimit = 15 * time.Second

// observedNamespace is the Config's, or the one that kubectl would use.
func (d *Driver) observedNamespace() (string, error) {
	if d.config.Namespace != "" {
		return d.config.Namespace, nil
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = d.config.Kubeconfig
	namespace, _, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: d.config.Context}).Namespace()
	return namespace, err
}

// found is a Deployment, and the names of the Services that select its pods.
func found(ctx context.Context, client kube.Interface, namespace, name string) (*appsv1.Deployment, []string, error) {
	deployment, err := client.AppsV1().Deployments(namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil, &drivers.HintError{Err: fmt.Errorf("no Deployment %s in namespace %s", name, namespace), Hint: "name its namespace with --kubernetes-namespace, and its cluster with --kubernetes-context"}
	case err != nil:
		return nil, nil, unavailable(fmt.Errorf("get Deployment %s: %w", name, err), "see whether kubectl get deployment works with the same kubeconfig, context and namespace")
	}
	all, err := client.CoreV1().Services(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, nil, unavailable(fmt.Errorf("list Services: %w", err), "use a context whose user may list Services and EndpointSlices")
	}
	var services []string
	for _, s := range all.Items {
		if len(s.Spec.Selector) > 0 && labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(deployment.Spec.Template.Labels)) {
			services = append(services, s.Name)
		}
	}
	if len(services) == 0 {
		return nil, nil, &drivers.HintError{Err: fmt.Errorf("no Service selects the pods of Deployment %s", name), Hint: "without one nobody says where requests go; leave --watch out"}
	}
	return deployment, services, nil
}

// observation is what is said of a Deployment that is not the lab's.
type observation struct {
	log       drivers.EventLog
	stop      context.CancelFunc
	following sync.WaitGroup

	mu      sync.Mutex
	tracker *tracker
}

// Watch implements drivers.Observation.
func (o *observation) Watch() <-chan drivers.Event { return o.log.Watch() }

// Close implements drivers.Observation.
func (o *observation) Close(context.Context) error {
	if o.stop != nil {
		o.stop()
	}
	o.following.Wait()
	o.log.Close()
	return nil
}

// follow begins to follow the pods and the endpoints, and returns once they were listed.
func (o *observation) follow(ctx context.Context, client kube.Interface, d *appsv1.Deployment, services []string) error {
	following, stop := context.WithCancel(context.WithoutCancel(ctx))
	o.stop = stop
	pods, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil {
		return fmt.Errorf("selector of Deployment %s: %w", d.Name, err)
	}
	ofServices, err := labels.NewRequirement(discoveryv1.LabelServiceName, selection.In, services)
	if err != nil {
		return fmt.Errorf("names of Services %q: %w", services, err)
	}
	o.tracker = newTracker("", func(*corev1.Pod) map[string]string { return nil }, o.log.Append)
	o.tracker.container = d.Spec.Template.Spec.Containers[0].Name
	o.tracker.revisionOf = func(p *corev1.Pod) string { return p.Labels[appsv1.DefaultDeploymentUniqueLabelKey] }
	core := client.CoreV1()
	firsts := []<-chan struct{}{
		observeKind(following, o, core.Pods(d.Namespace), watch.Selection{Labels: pods.String()}, watch.Handler[*corev1.Pod]{
			Replaced: observing(o, (*tracker).podsReplaced), Seen: observing(o, (*tracker).podSeen), Gone: observing(o, (*tracker).podGone),
			Lost: o.lost("pods"),
		}),
		observeKind(following, o, client.DiscoveryV1().EndpointSlices(d.Namespace), watch.Selection{Labels: labels.NewSelector().Add(*ofServices).String()}, watch.Handler[*discoveryv1.EndpointSlice]{
			Replaced: observing(o, (*tracker).slicesReplaced), Seen: observing(o, (*tracker).sliceSeen), Gone: observing(o, (*tracker).sliceGone),
			Lost: o.lost("endpoint slices"),
		}),
	}
	for _, first := range firsts {
		select {
		case <-first:
		case <-ctx.Done():
			return unavailable(fmt.Errorf("list pods and endpoints in namespace %s: %w", d.Namespace, context.Cause(ctx)), "use a context whose user may list and watch them")
		}
	}
	return nil
}

func observeKind[P metav1.Object, L runtime.Object](ctx context.Context, o *observation, api watch.API[L], which watch.Selection, h watch.Handler[P]) <-chan struct{} {
	first := make(chan struct{})
	o.following.Go(func() { watch.Follow(ctx, api, which, h, first) })
	return first
}

// observing lets the tracker take in a change.
func observing[T any](o *observation, take func(*tracker, time.Time, T)) func(time.Time, T) {
	return func(at time.Time, one T) {
		o.mu.Lock()
		defer o.mu.Unlock()
		take(o.tracker, at, one)
	}
}

func (o *observation) lost(what string) func(time.Time, error) {
	return func(at time.Time, err error) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.tracker.lost(at, what, err)
	}
}

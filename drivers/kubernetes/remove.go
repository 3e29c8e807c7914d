package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/rollout-lab/rollout-lab/drivers/owner"
)

// removalPoll is how often it is looked whether something is gone yet.
const removalPoll = 50 * time.Millisecond

// noGrace is the grace in seconds of an instance that gets none. With 0 the API server
// would forget the pod before its node has ended it.
const noGrace = 1

// leftover is what one deployment left in a cluster.
type leftover struct {
	deployment, run, namespace string
	owner                      string // as the label has it
	own                        bool   // the namespace is of the deployment
}

func (l leftover) String() string {
	if l.own {
		return fmt.Sprintf("namespace %s (run %s)", l.namespace, l.run)
	}
	return fmt.Sprintf("deployment %s in namespace %s (run %s)", l.deployment, l.namespace, l.run)
}

// leftovers finds what the named run left, or every run whose lab has certainly ended.
// Where nothing can be certain, as nobody knows who asks, that is an error: "nothing is
// left" would be a guess.
func (d *Driver) leftovers(ctx context.Context, c *cluster, runID string) ([]leftover, error) {
	if runID == "" {
		if _, err := d.self(); err != nil {
			return nil, fmt.Errorf("tell the labs that have ended from those that live: %w", err)
		}
	}
	options := metav1.ListOptions{LabelSelector: labelDeployment}
	if runID != "" {
		options.LabelSelector += "," + labels.Set{labelRun: runLabel(runID)}.String()
	}
	var out []leftover
	known := map[string]bool{}
	add := func(o metav1.ObjectMeta, namespace string, own bool) {
		l := leftover{o.Labels[labelDeployment], o.Annotations[annotationRun], namespace, o.Labels[labelOwner], own}
		if l.run == "" {
			l.run = o.Labels[labelRun]
		}
		if runID == "" {
			by, err := owner.Parse(l.owner)
			if err != nil || !by.Dead() {
				return // nothing is certain of an owner that cannot be read
			}
		}
		if !known[l.selector()] {
			known[l.selector()] = true
			out = append(out, l)
		}
	}
	if d.config.Namespace == "" {
		namespaces, err := c.client.CoreV1().Namespaces().List(ctx, options)
		if err != nil {
			return nil, fmt.Errorf("look for namespaces: %w", err)
		}
		for _, n := range namespaces.Items {
			add(n.ObjectMeta, n.Name, true)
		}
		return out, nil
	}
	deployments, err := c.client.AppsV1().Deployments(d.config.Namespace).List(ctx, options)
	if err != nil {
		return nil, fmt.Errorf("look for deployments: %w", err)
	}
	for _, o := range deployments.Items {
		add(o.ObjectMeta, o.Namespace, false)
	}
	services, err := c.client.CoreV1().Services(d.config.Namespace).List(ctx, options)
	if err != nil {
		return nil, fmt.Errorf("look for services: %w", err)
	}
	for _, o := range services.Items {
		add(o.ObjectMeta, o.Namespace, false)
	}
	return out, nil
}

// selector picks the objects of a leftover, and none that says that it is somebody else's.
func (l leftover) selector() string {
	which := labels.Set{labelDeployment: l.deployment}
	if l.owner != "" {
		which[labelOwner] = l.owner
	}
	return which.String()
}

// remove removes a leftover without grace and waits until it is gone.
func (l leftover) remove(ctx context.Context, c *cluster, processes Processes) error {
	r := removal{c, l.namespace, l.selector(), processes}
	if !l.own {
		if err := r.described(ctx); err != nil {
			return err
		}
	}
	if err := r.workloads(ctx, r.selector); err != nil {
		return err
	}
	hurry := make(chan struct{})
	close(hurry)
	if err := r.pods(ctx, r.selector, hurry); err != nil {
		return err
	}
	if l.own {
		return r.wholeNamespace(ctx)
	}
	return r.services(ctx)
}

// removal removes the objects of one deployment from a namespace.
type removal struct {
	cluster   *cluster
	namespace string
	selector  string // of everything
	processes Processes
}

// workloads deletes the Deployments and ReplicaSets, so that nothing starts pods again, and
// waits until they are gone. Their pods are orphaned and left to the caller: the garbage
// collector would delete them with their own grace, and a kubelet that has begun to end a
// pod heeds no shorter one.
func (r removal) workloads(ctx context.Context, selector string) error {
	orphan := metav1.DeletePropagationOrphan
	apps := r.cluster.client.AppsV1()
	which, how := metav1.ListOptions{LabelSelector: selector}, metav1.DeleteOptions{PropagationPolicy: &orphan}
	ticker := time.NewTicker(removalPoll)
	defer ticker.Stop()
	for {
		deployments, err := apps.Deployments(r.namespace).List(ctx, which)
		if err != nil {
			return fmt.Errorf("list deployments that are to go: %w", err)
		}
		last := ""
		for _, d := range deployments.Items {
			last = "deployment " + d.Name
			if d.DeletionTimestamp != nil {
				continue
			}
			if err := apps.Deployments(r.namespace).Delete(ctx, d.Name, how); gone(err) != nil {
				return fmt.Errorf("delete deployment %s: %w", d.Name, err)
			}
		}
		// After the Deployments, which make them.
		sets, err := apps.ReplicaSets(r.namespace).List(ctx, which)
		if err != nil {
			return fmt.Errorf("list replica sets that are to go: %w", err)
		}
		for _, s := range sets.Items {
			last = "replica set " + s.Name
			if s.DeletionTimestamp != nil {
				continue
			}
			if err := apps.ReplicaSets(r.namespace).Delete(ctx, s.Name, how); gone(err) != nil {
				return fmt.Errorf("delete replica set %s: %w", s.Name, err)
			}
		}
		if last == "" {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("%s is not gone: %w", last, context.Cause(ctx))
		}
	}
}

// pods deletes the pods, with their grace until hurry is closed and without it then, and
// waits until there is none.
func (r removal) pods(ctx context.Context, selector string, hurry <-chan struct{}) error {
	api := r.cluster.client.CoreV1().Pods(r.namespace)
	which := metav1.ListOptions{LabelSelector: selector}
	var how metav1.DeleteOptions
	ticker := time.NewTicker(removalPoll)
	defer ticker.Stop()
	asked, begun := map[string]bool{}, map[string]bool{}
	for {
		select {
		case <-hurry:
			grace := int64(noGrace)
			how.GracePeriodSeconds = &grace
			hurry, asked = nil, map[string]bool{}
		default:
		}
		list, err := api.List(ctx, which)
		if err != nil {
			return fmt.Errorf("list pods that are to go: %w", err)
		}
		if len(list.Items) == 0 {
			return nil
		}
		for _, p := range list.Items {
			// One that is terminating already keeps its grace, unless there is none any more.
			if asked[p.Name] || p.DeletionTimestamp != nil && how.GracePeriodSeconds == nil {
				continue
			}
			if err := api.Delete(ctx, p.Name, how); gone(err) != nil {
				return fmt.Errorf("delete pod %s: %w", p.Name, err)
			}
			if asked[p.Name] = true; how.GracePeriodSeconds == nil {
				begun[p.Name] = true
			} else if begun[p.Name] || p.DeletionTimestamp != nil {
				r.kill(ctx, &p)
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("pod %s is not gone: %w", list.Items[0].Name, context.Cause(ctx))
		}
	}
}

// kill ends the containers of a pod that is being stopped with its own grace: a kubelet that
// has begun to wait for that heeds no shorter one. What comes of it is seen by whether the
// pod goes; without access to processes it goes when its grace is over.
func (r removal) kill(ctx context.Context, pod *corev1.Pod) {
	if r.processes == nil {
		return
	}
	for _, s := range pod.Status.ContainerStatuses {
		if _, id, ok := strings.Cut(s.ContainerID, "://"); ok && s.State.Running != nil {
			_ = r.processes.Kill(ctx, pod.Spec.NodeName, id) // it may have ended by itself
		}
	}
}

// services deletes the Services, after what is found by them alone.
func (r removal) services(ctx context.Context) error {
	if err := r.budgets(ctx); err != nil {
		return err
	}
	api := r.cluster.client.CoreV1().Services(r.namespace)
	list, err := api.List(ctx, metav1.ListOptions{LabelSelector: r.selector})
	if err != nil {
		return fmt.Errorf("list services that are to go: %w", err)
	}
	var errs []error
	for _, s := range list.Items {
		errs = append(errs, gone(api.Delete(ctx, s.Name, metav1.DeleteOptions{})))
	}
	return errors.Join(errs...)
}

// wholeNamespace deletes the namespace and waits until it is gone.
func (r removal) wholeNamespace(ctx context.Context) error {
	api := r.cluster.client.CoreV1().Namespaces()
	if err := api.Delete(ctx, r.namespace, metav1.DeleteOptions{}); gone(err) != nil {
		return fmt.Errorf("delete namespace %s: %w", r.namespace, err)
	}
	ticker := time.NewTicker(removalPoll)
	defer ticker.Stop()
	for {
		n, err := api.Get(ctx, r.namespace, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("look for namespace %s: %w", r.namespace, err)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("namespace %s is not gone: %w; %s", r.namespace, context.Cause(ctx), whyNot(n))
		}
	}
}

// whyNot is what a namespace says about why it is still there.
func whyNot(n *corev1.Namespace) string {
	for _, c := range n.Status.Conditions {
		if c.Status == corev1.ConditionTrue {
			return string(c.Type) + ": " + oneLine(c.Message)
		}
	}
	return "it gives no reason"
}

// gone takes what was not found for a success.
func gone(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// settled says that the controller has acted on the present specification and that as
// many instances as wanted exist, all of the present template and available.
func settled(d *appsv1.Deployment, generation int64, n int) bool {
	s := d.Status
	return d.Generation >= generation && s.ObservedGeneration >= d.Generation &&
		s.Replicas == int32(n) && s.UpdatedReplicas == int32(n) && s.AvailableReplicas == int32(n)
}

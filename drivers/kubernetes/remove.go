package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// removalPoll is how often it is looked whether something is gone yet.
const removalPoll = 50 * time.Millisecond

// noGrace is the grace in seconds of an instance that gets none. With 0 the API server
// would forget the pod before its node has ended it.
const noGrace = 1

// removal removes the objects of one deployment from a namespace.
type removal struct {
	cluster    *cluster
	namespace  string
	selector   string // of everything
	containers Containers
}

// awaitRemoval looks until nothing is left any more.
func awaitRemoval(ctx context.Context, look func() (left string, err error)) error {
	ticker := time.NewTicker(removalPoll)
	defer ticker.Stop()
	for {
		left, err := look()
		if err != nil || left == "" {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("%s is not gone: %w", left, context.Cause(ctx))
		}
	}
}

// ended says whether nobody gets any more grace.
func ended(grace <-chan struct{}) bool {
	select {
	case <-grace:
		return true
	default:
		return false
	}
}

// workloads deletes the Deployments and ReplicaSets, so that nothing starts pods again, and
// waits until they are gone. Their pods are orphaned and left to the caller: the garbage
// collector would delete them with their own grace, and a kubelet that has begun to end a
// pod heeds no shorter one.
func (r removal) workloads(ctx context.Context, selector string) error {
	orphan := metav1.DeletePropagationOrphan
	apps := r.cluster.client.AppsV1()
	which, how := metav1.ListOptions{LabelSelector: selector}, metav1.DeleteOptions{PropagationPolicy: &orphan}
	return awaitRemoval(ctx, func() (left string, err error) {
		deployments, err := apps.Deployments(r.namespace).List(ctx, which)
		if err != nil {
			return "", fmt.Errorf("list deployments that are to go: %w", err)
		}
		for _, d := range deployments.Items {
			left = "deployment " + d.Name
			if d.DeletionTimestamp != nil {
				continue
			}
			if err := apps.Deployments(r.namespace).Delete(ctx, d.Name, how); gone(err) != nil {
				return "", fmt.Errorf("delete deployment %s: %w", d.Name, err)
			}
		}
		// After the Deployments, which make them.
		sets, err := apps.ReplicaSets(r.namespace).List(ctx, which)
		if err != nil {
			return "", fmt.Errorf("list replica sets that are to go: %w", err)
		}
		for _, s := range sets.Items {
			left = "replica set " + s.Name
			if s.DeletionTimestamp != nil {
				continue
			}
			if err := apps.ReplicaSets(r.namespace).Delete(ctx, s.Name, how); gone(err) != nil {
				return "", fmt.Errorf("delete replica set %s: %w", s.Name, err)
			}
		}
		return left, nil
	})
}

// pods deletes the pods, with their grace until force is closed and without it then, and
// waits until there is none.
func (r removal) pods(ctx context.Context, selector string, force <-chan struct{}) error {
	api := r.cluster.client.CoreV1().Pods(r.namespace)
	var how metav1.DeleteOptions
	asked, begun := map[string]bool{}, map[string]bool{}
	return awaitRemoval(ctx, func() (left string, err error) {
		if how.GracePeriodSeconds == nil && ended(force) {
			grace := int64(noGrace)
			how.GracePeriodSeconds = &grace
			asked = map[string]bool{}
		}
		list, err := api.List(ctx, metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			return "", fmt.Errorf("list pods that are to go: %w", err)
		}
		for _, p := range list.Items {
			left = "pod " + p.Name
			// One that is terminating already keeps its grace, unless there is none any more.
			if asked[p.Name] || p.DeletionTimestamp != nil && how.GracePeriodSeconds == nil {
				continue
			}
			if err := r.release(ctx, &p); err != nil {
				return "", err
			}
			if err := api.Delete(ctx, p.Name, how); gone(err) != nil {
				return "", fmt.Errorf("delete pod %s: %w", p.Name, err)
			}
			if asked[p.Name] = true; how.GracePeriodSeconds == nil {
				begun[p.Name] = true
			} else if begun[p.Name] || p.DeletionTimestamp != nil {
				r.kill(ctx, &p)
			}
		}
		return left, nil
	})
}

// kill ends the containers of a pod that is being stopped with its own grace: a kubelet that
// has begun to wait for that heeds no shorter one. What comes of it is seen by whether the
// pod goes; without access to containers it goes when its grace is over.
func (r removal) kill(ctx context.Context, pod *corev1.Pod) {
	if r.containers == nil {
		return
	}
	for _, s := range pod.Status.ContainerStatuses {
		if _, id, ok := strings.Cut(s.ContainerID, "://"); ok && s.State.Running != nil {
			_ = r.containers.Kill(ctx, pod.Spec.NodeName, id) // it may have ended by itself
		}
	}
}

// release takes back what a fault has done to the containers of a pod: a frozen one cannot end.
func (r removal) release(ctx context.Context, pod *corev1.Pod) error {
	if r.containers == nil || pod.Annotations[annotationFault] == "" {
		return nil
	}
	err := r.containers.Throttle(ctx, pod.Spec.NodeName, string(pod.UID), 0)
	for _, s := range pod.Status.ContainerStatuses {
		if _, id, ok := strings.Cut(s.ContainerID, "://"); ok {
			err = errors.Join(err, r.containers.Thaw(ctx, pod.Spec.NodeName, id))
		}
	}
	if err != nil {
		return fmt.Errorf("heal pod %s of its fault: %w", pod.Name, err)
	}
	return nil
}

// releaseAll releases the pods that a selector picks.
func (r removal) releaseAll(ctx context.Context, selector string) error {
	list, err := r.cluster.client.CoreV1().Pods(r.namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return fmt.Errorf("list pods that are to go: %w", err)
	}
	for _, p := range list.Items {
		if err := r.release(ctx, &p); err != nil {
			return err
		}
	}
	return nil
}

// endDeployment deletes a Deployment that somebody has described and waits until its pods
// are gone. They get their grace until force is closed, and none then.
func (r removal) endDeployment(ctx context.Context, name string, force <-chan struct{}) error {
	deployments, pods := r.cluster.client.AppsV1().Deployments(r.namespace), r.cluster.client.CoreV1().Pods(r.namespace)
	d, err := deployments.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return gone(err)
	}
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil {
		return fmt.Errorf("deployment %s: %w", name, err)
	}
	if err := r.releaseAll(ctx, selector.String()); err != nil {
		return err
	}
	foreground := metav1.DeletePropagationForeground
	if err := deployments.Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: &foreground}); gone(err) != nil {
		return fmt.Errorf("delete deployment %s: %w", name, err)
	}
	asked, grace := map[string]bool{}, int64(noGrace)
	return awaitRemoval(ctx, func() (left string, err error) {
		list, err := pods.List(ctx, metav1.ListOptions{LabelSelector: selector.String()})
		if err != nil {
			return "", fmt.Errorf("list pods of deployment %s: %w", name, err)
		}
		left = "deployment " + name
		for _, p := range list.Items {
			if !podOf(&p, name) {
				continue
			}
			left = "pod " + p.Name
			if asked[p.Name] || !ended(force) {
				continue
			}
			asked[p.Name] = true
			if err := pods.Delete(ctx, p.Name, metav1.DeleteOptions{GracePeriodSeconds: &grace}); gone(err) != nil {
				return "", fmt.Errorf("delete pod %s: %w", p.Name, err)
			}
			r.kill(ctx, &p) // its grace has begun
		}
		if _, err := deployments.Get(ctx, name, metav1.GetOptions{}); apierrors.IsNotFound(err) {
			return "", nil
		} else if err != nil {
			return "", fmt.Errorf("look for deployment %s: %w", name, err)
		}
		return left, nil
	})
}

// described removes what a deployment from manifests has left in a namespace that stays.
func (r removal) described(ctx context.Context) error {
	// What the lab itself describes bears the name of its service.
	selector := r.selector + ",!" + labelService
	list, err := r.cluster.client.AppsV1().Deployments(r.namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return fmt.Errorf("list deployments that are to go: %w", err)
	}
	services, err := r.cluster.client.CoreV1().Services(r.namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return fmt.Errorf("list services that are to go: %w", err)
	}
	if len(list.Items)+len(services.Items) == 0 {
		return nil
	}
	force := make(chan struct{})
	close(force)
	for _, d := range list.Items {
		if err := r.endDeployment(ctx, d.Name, force); err != nil {
			return err
		}
	}
	places, err := r.cluster.any.labelled(ctx, r.namespace, r.selector)
	return errors.Join(err, removeAll(ctx, places))
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
	return awaitRemoval(ctx, func() (left string, err error) {
		n, err := api.Get(ctx, r.namespace, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return "", nil
		}
		if err != nil {
			return "", fmt.Errorf("look for namespace %s: %w", r.namespace, err)
		}
		return fmt.Sprintf("namespace %s (%s)", r.namespace, whyNot(n)), nil
	})
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

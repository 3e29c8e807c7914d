package kubernetes

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/rollout-lab/rollout-lab/drivers/owner"
)

// orphan is what one deployment has left in a cluster.
type orphan struct {
	deployment, run, namespace string
	owner                      string // as the label has it
	own                        bool   // the namespace is of the deployment
}

func (l orphan) String() string {
	if l.own {
		return fmt.Sprintf("namespace %s (run %s)", l.namespace, l.run)
	}
	return fmt.Sprintf("deployment %s in namespace %s (run %s)", l.deployment, l.namespace, l.run)
}

// orphans finds what the named run left, or every run whose lab has certainly ended.
// Where nothing can be certain, as nobody knows who asks, that is an error: "nothing is
// left" would be a guess.
func (d *Driver) orphans(ctx context.Context, c *cluster, runID string) ([]orphan, error) {
	if runID == "" {
		if _, err := d.self(); err != nil {
			return nil, fmt.Errorf("tell the labs that have ended from those that live: %w", err)
		}
	}
	options := metav1.ListOptions{LabelSelector: labelDeployment}
	if runID != "" {
		options.LabelSelector += "," + labels.Set{labelRun: runLabel(runID)}.String()
	}
	var out []orphan
	known := map[string]bool{}
	add := func(o metav1.ObjectMeta, namespace string, own bool) {
		l := orphan{o.Labels[labelDeployment], o.Annotations[annotationRun], namespace, o.Labels[labelOwner], own}
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

// selector picks the objects of a orphan, and none that says that it is somebody else's.
func (l orphan) selector() string {
	which := labels.Set{labelDeployment: l.deployment}
	if l.owner != "" {
		which[labelOwner] = l.owner
	}
	return which.String()
}

// remove removes a orphan without grace and waits until it is gone.
func (l orphan) remove(ctx context.Context, c *cluster, containers Containers) error {
	r := removal{c, l.namespace, l.selector(), containers}
	if !l.own {
		if err := r.described(ctx); err != nil {
			return err
		}
	}
	if err := r.workloads(ctx, r.selector); err != nil {
		return err
	}
	force := make(chan struct{})
	close(force)
	if err := r.pods(ctx, r.selector, force); err != nil {
		return err
	}
	if l.own {
		return r.wholeNamespace(ctx)
	}
	return r.services(ctx)
}

package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/lifecycle"
)

// adopted is a subject that exists already, in a namespace that is somebody else's. What the
// lab changes about it is restored; nothing of it is created or removed.
type adopted struct{ described }

// newAdopted refuses a driver without a namespace: it could find nothing that exists.
func newAdopted(s *site) (*adopted, error) {
	if s.ownNamespace() {
		return nil, &drivers.HintError{
			Err:  fmt.Errorf("deployment %s without manifests, and no namespace in which it is: %w", s.stack.Objects.Deployment, drivers.ErrUnsupported),
			Hint: "give the target its manifests, or use --driver kubernetes with the --kubernetes-namespace that it is in",
		}
	}
	return &adopted{described{site: s, objects: *s.stack.Objects, recorded: true}}, nil
}

func (a *adopted) deploy(ctx context.Context) (generation int64, err error) {
	if generation, err = a.adopt(ctx); err != nil {
		return 0, err
	}
	return generation, a.enter(ctx, "which was there")
}

// adopt finds the Deployment and the Service, refuses what cannot be measured, and marks the
// Deployment as adopted.
func (a *adopted) adopt(ctx context.Context) (generation int64, err error) {
	namespace := a.layout.namespace
	service, err := a.cluster.client.CoreV1().Services(namespace).Get(ctx, a.objects.Service, metav1.GetOptions{})
	if err != nil {
		return 0, absent(err, "service", a.objects.Service, namespace)
	}
	err = attempt(ctx, a.deployments(), a.objects.Deployment, func(d *appsv1.Deployment) error {
		other, taken, err := parseAdoption(d)
		switch {
		case err != nil:
			return fmt.Errorf("deployment %s: %w", d.Name, err)
		case taken:
			return &drivers.HintError{
				Err:  fmt.Errorf("deployment %s is in use by run %s", d.Name, other.Run),
				Hint: "wait until that is over; if its lab was killed, rollout-lab clean restores the deployment",
			}
		}
		if err := a.resolve(d, service); err != nil {
			return err
		}
		// Kept at once: the request may arrive though its answer does not.
		a.original = &adoption{
			Run: a.stack.RunID, Owner: a.layout.labels[labelOwner], Deployment: a.layout.labels[labelDeployment],
			Spec: d.Spec,
		}
		marked, err := a.set(ctx, d, managedOf(&d.Spec))
		if err != nil {
			return err
		}
		generation = marked.Generation
		return nil
	})
	return generation, absent(err, "deployment", a.objects.Deployment, namespace)
}

// absent gives advice when something was not found.
func absent(err error, kind, name, namespace string) error {
	if !apierrors.IsNotFound(err) {
		return err
	}
	return &drivers.HintError{
		Err:  fmt.Errorf("no %s %s in namespace %s: %w", kind, name, namespace, err),
		Hint: "create it first, or give the target its manifests",
	}
}

// remove removes the entry and restores the Deployment. It waits until that has all of its
// instances again, or until nobody gets any more grace: Kubernetes goes on by itself.
func (a *adopted) remove(ctx context.Context) error {
	if a.original == nil {
		return nil // nothing was changed yet
	}
	if err := a.removal().services(ctx); err != nil {
		return err
	}
	restored, err := restore(ctx, a.deployments(), a.objects.Deployment, a.original.Deployment)
	if err != nil || restored == nil {
		return err
	}
	// The endpoints were those of the lab's own Service, which is gone.
	n := int(managedOf(&restored.Spec).Replicas)
	graceful, done := lifecycle.Until(ctx, a.life.Forced(), errForced)
	defer done()
	still, err := a.view.wait(graceful, func() string {
		if d := a.view.deployment; d == nil || !complete(d, restored.Generation, n) || len(a.view.tracker.pods) != n {
			return fmt.Sprintf("its %d instances", n)
		}
		return ""
	})
	if err == nil || errors.Is(err, errForced) {
		return nil
	}
	return fmt.Errorf("deployment %s has its old specification again, but not %s: %w; %s",
		a.objects.Deployment, still, err, a.explain.subject(ctx))
}

var errForced = errors.New("nobody gets any more grace")

// restore restores a Deployment that was adopted under an ID, and returns it as it is then;
// nil when it is not adopted under that ID any more. What somebody else has changed
// meanwhile is left as it is, and the error says what.
func restore(ctx context.Context, api deploymentAPI, name, id string) (restored *appsv1.Deployment, err error) {
	err = attempt(ctx, api, name, func(d *appsv1.Deployment) error {
		a, taken, err := parseAdoption(d)
		if err != nil {
			return fmt.Errorf("deployment %s cannot be restored: %w", name, err)
		}
		if !taken || a.Deployment != id {
			return nil // nobody's, or another lab's
		}
		changes, to := a.conflicts(&d.Spec)
		change, err := to.patch(d, nil)
		if err != nil {
			return err
		}
		now, err := api.Patch(ctx, name, types.MergePatchType, change, metav1.PatchOptions{FieldManager: fieldManager})
		if err != nil {
			return err
		}
		if len(changes) > 0 {
			return &drivers.HintError{
				Err:  fmt.Errorf("deployment %s was changed by somebody else, which was left as it is: %s", name, strings.Join(changes, "; ")),
				Hint: "the lab's own changes are taken back; see whether the rest is what you want",
			}
		}
		if !equality.Semantic.DeepEqual(now.Spec, a.Spec) {
			return fmt.Errorf("deployment %s was restored, and yet it is not as it was", name)
		}
		restored = now
		return nil
	})
	if apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("deployment %s cannot be restored, somebody has deleted it: %w", name, err)
	}
	return restored, err
}

// restoreAdopted restores what the named run has adopted and not restored, or every run
// whose lab has certainly ended, and returns what that was.
func (d *Driver) restoreAdopted(ctx context.Context, c *cluster, runID string) ([]string, error) {
	list, err := c.client.AppsV1().Deployments(d.config.Namespace).List(ctx, metav1.ListOptions{})
	if apierrors.IsForbidden(err) && d.config.Namespace == "" {
		return nil, nil // only a driver that is given a namespace adopts
	}
	if err != nil {
		return nil, fmt.Errorf("look for deployments that are adopted: %w", err)
	}
	var done []string
	var errs []error
	for _, o := range list.Items {
		a, taken, err := parseAdoption(&o)
		if err != nil {
			errs = append(errs, fmt.Errorf("deployment %s in namespace %s: %w", o.Name, o.Namespace, err))
		}
		if err != nil || !taken || !restorable(a.Run, a.Owner, runID) {
			continue
		}
		r := removal{c, o.Namespace, labels.Set{labelDeployment: a.Deployment}.String(), nil}
		if err := r.services(ctx); err != nil {
			errs = append(errs, err)
			continue
		}
		restored, err := restore(ctx, c.client.AppsV1().Deployments(o.Namespace), o.Name, a.Deployment)
		if restored != nil {
			done = append(done, fmt.Sprintf("changes to deployment %s in namespace %s (run %s)", o.Name, o.Namespace, a.Run))
		}
		errs = append(errs, err)
	}
	slices.Sort(done)
	return done, errors.Join(errs...)
}

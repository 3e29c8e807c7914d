package kubernetes

import (
	"context"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	metaapply "k8s.io/client-go/applyconfigurations/meta/v1"
	policyv1 "k8s.io/client-go/applyconfigurations/policy/v1"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// evictable is how many instances may be missing at a time for the sake of an eviction: as
// many as for a change, and at least one. A budget of none, which a change that only
// surges would mean, keeps its node from ever being drained.
func evictable(r drivers.Rolling) int32 { return int32(max(r.MaxUnavailable, 1)) }

// budget is the PodDisruptionBudget of a service.
func (l layout) budget(service string) *policyv1.PodDisruptionBudgetApplyConfiguration {
	return policyv1.PodDisruptionBudget(l.names[service], l.namespace).WithLabels(l.labelsOf(service)).
		WithSpec(policyv1.PodDisruptionBudgetSpec().
			WithMaxUnavailable(intstr.FromInt32(evictable(l.rolling))).
			WithSelector(metaapply.LabelSelector().WithMatchLabels(l.selector(service))))
}

// budgets deletes the PodDisruptionBudgets.
func (r removal) budgets(ctx context.Context) error {
	api := r.cluster.client.PolicyV1().PodDisruptionBudgets(r.namespace)
	list, err := api.List(ctx, metav1.ListOptions{LabelSelector: r.selector})
	if err != nil {
		return fmt.Errorf("list disruption budgets that are to go: %w", err)
	}
	var errs []error
	for _, b := range list.Items {
		errs = append(errs, gone(api.Delete(ctx, b.Name, metav1.DeleteOptions{})))
	}
	return errors.Join(errs...)
}

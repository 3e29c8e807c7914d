package kubernetes

import (
	apicore "k8s.io/api/core/v1"
	corev1 "k8s.io/client-go/applyconfigurations/core/v1"
)

// taintControlPlane keeps pods away from nodes of the control plane.
const taintControlPlane = "node-role.kubernetes.io/control-plane"

// place keeps a dependency away from nodes that may be drained: what a drain does to instances
// is to be seen, not what the loss of their only upstream does.
func (l layout) place(pod *corev1.PodSpecApplyConfiguration) {
	if len(l.drained) == 0 {
		return
	}
	elsewhere := corev1.NodeSelectorRequirement().WithKey(apicore.LabelHostname).WithOperator(apicore.NodeSelectorOpNotIn).WithValues(l.drained...)
	pod.WithAffinity(corev1.Affinity().WithNodeAffinity(corev1.NodeAffinity().WithPreferredDuringSchedulingIgnoredDuringExecution(
		corev1.PreferredSchedulingTerm().WithWeight(100).WithPreference(corev1.NodeSelectorTerm().WithMatchExpressions(elsewhere)))))
	if l.controlPlane {
		pod.WithTolerations(corev1.Toleration().WithKey(taintControlPlane).WithOperator(apicore.TolerationOpExists).WithEffect(apicore.TaintEffectNoSchedule))
	}
}

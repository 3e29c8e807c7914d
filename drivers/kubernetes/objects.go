package kubernetes

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	appsv1 "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1 "k8s.io/client-go/applyconfigurations/core/v1"
	metav1 "k8s.io/client-go/applyconfigurations/meta/v1"

	apicore "k8s.io/api/core/v1"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// fieldManager owns every field that the driver sets.
const fieldManager = "rollout-lab"

// What objects carry, so that they are found again. The values of labels are limited in
// length and letters, those of annotations are not.
const (
	labelRun        = "rollout-lab/run"
	labelOwner      = "rollout-lab/owner"      // the lab's process, see package owner
	labelDeployment = "rollout-lab/deployment" // random, one for each Env
	labelService    = "rollout-lab/service"    // the objects' name of the service

	annotationRun      = "rollout-lab/run"
	annotationRevision = "rollout-lab/revision"
	// annotationRestart is the annotation that kubectl rollout restart sets.
	annotationRestart = "kubectl.kubernetes.io/restartedAt"
)

const (
	instanceVariable = "ROLLOUT_LAB_INSTANCE"
	// containerName is the name of the only container of a pod.
	containerName = "service"
)

// layout is where the services of a stack are in a cluster.
type layout struct {
	namespace string
	labels    map[string]string // of every object
	names     map[string]string // of the objects of a service, by service
	rolling   drivers.Rolling
	// drained are nodes to which no dependency is to come, if there are others; they may be
	// those of the control plane where that is allowed.
	drained      []string
	controlPlane bool
}

func (l layout) labelsOf(service string) map[string]string {
	out := map[string]string{labelService: l.names[service]}
	for k, v := range l.labels {
		out[k] = v
	}
	return out
}

// selector picks the pods of a service: labels that never change.
func (l layout) selector(service string) map[string]string {
	return map[string]string{labelService: l.names[service], labelDeployment: l.labels[labelDeployment]}
}

// portName is the name of a service's port in Kubernetes, whose own rules for names are
// narrower than the contract's.
func portName(index int) string { return fmt.Sprintf("p%d", index) }

// deployment is the Deployment of a service, and what of the service Kubernetes has no
// words for.
func (l layout) deployment(s drivers.Service, image string, prefix []string, addrs map[string]map[string]string, w wanted) (*appsv1.DeploymentApplyConfiguration, []string, error) {
	numbers := portNumbers(s)
	t := &translation{service: s, numbers: numbers}
	t.places = drivers.Places{Revision: w.revision, Listen: listenPlaces(numbers), Addr: addrs}
	args, env, err := command(s, t.places)
	if err != nil {
		return nil, nil, err
	}
	c := corev1.Container().WithName(containerName).WithImage(image).
		WithImagePullPolicy(apicore.PullIfNotPresent)
	if namesInstance(args, env) {
		c.WithEnv(corev1.EnvVar().WithName(instanceVariable).WithValueFrom(
			corev1.EnvVarSource().WithFieldRef(corev1.ObjectFieldSelector().WithFieldPath("metadata.name"))))
	}
	for _, p := range prefix {
		c.WithArgs(inNotation(p))
	}
	c.WithArgs(args...)
	for _, k := range sortedKeys(env) {
		c.WithEnv(corev1.EnvVar().WithName(k).WithValue(env[k]))
	}
	for i, port := range s.Ports {
		c.WithPorts(corev1.ContainerPort().WithName(portName(i)).WithContainerPort(numbers[port]).WithProtocol(apicore.ProtocolTCP))
	}
	if err := t.probes(c); err != nil {
		return nil, nil, err
	}
	grace := int64(t.seconds("stop grace", s.StopGrace))
	if s.PreStop > 0 {
		wait := int64(t.seconds("pre-stop wait", s.PreStop))
		c.WithLifecycle(corev1.Lifecycle().WithPreStop(corev1.LifecycleHandler().WithSleep(corev1.SleepAction().WithSeconds(wait))))
		grace += wait // which Kubernetes counts from before the hook
	}
	limit(c, s.Limits)
	pod := corev1.PodTemplateSpec().WithLabels(l.labelsOf(s.Name)).
		WithAnnotations(map[string]string{annotationRevision: w.revision}).
		WithSpec(corev1.PodSpec().WithContainers(c).
			WithTerminationGracePeriodSeconds(grace).
			WithEnableServiceLinks(false).WithAutomountServiceAccountToken(false))
	if w.restarted != "" {
		pod.WithAnnotations(map[string]string{annotationRestart: w.restarted})
	}
	d := appsv1.Deployment(l.names[s.Name], l.namespace).WithLabels(l.labelsOf(s.Name)).
		WithSpec(appsv1.DeploymentSpec().
			WithReplicas(int32(w.replicas)).WithPaused(w.paused).WithMinReadySeconds(0).
			WithSelector(metav1.LabelSelector().WithMatchLabels(l.selector(s.Name))).
			WithStrategy(appsv1.DeploymentStrategy().WithType("RollingUpdate").WithRollingUpdate(
				appsv1.RollingUpdateDeployment().
					WithMaxSurge(intstr.FromInt32(int32(l.rolling.MaxSurge))).
					WithMaxUnavailable(intstr.FromInt32(int32(l.rolling.MaxUnavailable))))).
			WithTemplate(pod))
	return d, t.notes, nil
}

// What a limited container asks the scheduler for: little, so that limits alone never
// keep an instance from finding a node.
const (
	requestMillis = 10
	requestBytes  = 16 << 20
)

func limit(c *corev1.ContainerApplyConfiguration, l drivers.Limits) {
	limits, requests := apicore.ResourceList{}, apicore.ResourceList{}
	if l.CPUs > 0 {
		millis := max(int64(l.CPUs*1000), 1)
		limits[apicore.ResourceCPU] = *resource.NewMilliQuantity(millis, resource.DecimalSI)
		requests[apicore.ResourceCPU] = *resource.NewMilliQuantity(min(millis, requestMillis), resource.DecimalSI)
	}
	if l.Memory > 0 {
		limits[apicore.ResourceMemory] = *resource.NewQuantity(l.Memory, resource.BinarySI)
		requests[apicore.ResourceMemory] = *resource.NewQuantity(min(l.Memory, requestBytes), resource.BinarySI)
	}
	if len(limits) > 0 {
		c.WithResources(corev1.ResourceRequirements().WithLimits(limits).WithRequests(requests))
	}
}

// service is the Service in front of a service. nodePort makes its first port a port of
// every node: 0 leaves the number to the cluster, noNodePort makes none.
func (l layout) service(s drivers.Service, nodePort int32) *corev1.ServiceApplyConfiguration {
	spec := corev1.ServiceSpec().WithSelector(l.selector(s.Name))
	numbers := portNumbers(s)
	for i, port := range s.Ports {
		if i > 0 && nodePort != noNodePort {
			break // only where requests are served, else every port would take a node port
		}
		p := corev1.ServicePort().WithName(portName(i)).WithPort(numbers[port]).
			WithTargetPort(intstr.FromInt32(numbers[port])).WithProtocol(apicore.ProtocolTCP)
		if nodePort > 0 {
			p.WithNodePort(nodePort)
		}
		spec.WithPorts(p)
	}
	spec.WithType(apicore.ServiceTypeClusterIP)
	if nodePort != noNodePort {
		spec.WithType(apicore.ServiceTypeNodePort)
	}
	return corev1.Service(l.names[s.Name], l.namespace).WithLabels(l.labelsOf(s.Name)).WithSpec(spec)
}

const noNodePort = -1

// namespaceObject is the namespace of one deployment.
func (l layout) namespaceObject(runID string) *corev1.NamespaceApplyConfiguration {
	return corev1.Namespace(l.namespace).WithLabels(l.labels).WithAnnotations(map[string]string{annotationRun: runID})
}

// now is how the time of a restart is written. kubectl writes whole seconds; two restarts
// within one would be one.
func now() string { return time.Now().UTC().Format(time.RFC3339Nano) }

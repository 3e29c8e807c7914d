package kubernetes

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	applycore "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/kubernetes/watch"
)

// described is what a subject from manifests and an adopted one have in common: a
// Deployment and a Service that somebody else has described, of which the lab changes a few
// fields and refuses to go on when another change comes in between.
type described struct {
	*site
	objects drivers.Objects
	pods    labels.Selector // of the subject

	// original is how the Deployment was before the first change, and what was made of it
	// since; nil until that is known.
	original *adoption
	// recorded: original is kept in an annotation of the Deployment as well.
	recorded bool
}

// resolve finds out where the Service leads to and what of the Deployment the lab has to
// know, and refuses what cannot be measured.
func (s *described) resolve(d *appsv1.Deployment, service *corev1.Service) error {
	port, err := servicePort(service, s.objects.Port)
	if err != nil {
		return err
	}
	template := d.Spec.Template
	if len(service.Spec.Selector) == 0 || service.Spec.Type == corev1.ServiceTypeExternalName {
		return fmt.Errorf("service %s selects no pods", service.Name)
	}
	if !labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(template.Labels)) {
		return fmt.Errorf("service %s selects %s, and pods of deployment %s have %s",
			service.Name, labels.Set(service.Spec.Selector), d.Name, labels.Set(template.Labels))
	}
	number, container, err := targetPort(d, port)
	if err != nil {
		return fmt.Errorf("service %s: %w", service.Name, err)
	}
	if s.pods, err = metav1.LabelSelectorAsSelector(d.Spec.Selector); err != nil {
		return fmt.Errorf("deployment %s: %w", d.Name, err)
	}
	if err := s.refuse(d); err != nil {
		return err
	}
	subject := &s.stack.Subject
	subject.Fixed = map[string]int{subject.Ports[0]: int(number)}
	grace := int64(corev1.DefaultTerminationGracePeriodSeconds)
	if given := template.Spec.TerminationGracePeriodSeconds; given != nil {
		grace = *given
	}
	subject.StopGrace = time.Duration(grace) * time.Second
	s.view.describe(container, s.stack.Revision, template.Annotations[annotationRestart])
	return nil
}

// refuse refuses a Deployment of which nothing could be measured.
func (s *described) refuse(d *appsv1.Deployment) error {
	if d.Spec.Paused {
		return fmt.Errorf("deployment %s is paused: nothing would be rolled out", d.Name)
	}
	if d.Spec.Replicas != nil && int(*d.Spec.Replicas) != s.stack.Replicas {
		return &drivers.HintError{
			Err:  fmt.Errorf("deployment %s has %d replicas, and the scenario says %d", d.Name, *d.Spec.Replicas, s.stack.Replicas),
			Hint: fmt.Sprintf("say replicas: %d in the scenario, or scale it first: the lab changes nothing but what the action is", *d.Spec.Replicas),
		}
	}
	if marked, ok := d.Spec.Template.Annotations[annotationRevision]; ok {
		return fmt.Errorf("the template of deployment %s is marked as revision %s: a lab has changed it and not restored it", d.Name, marked)
	}
	return nil
}

// servicePort finds a port of a Service by its name or its number; "" is the first.
func servicePort(s *corev1.Service, want string) (*corev1.ServicePort, error) {
	var known []string
	for i := range s.Spec.Ports {
		p := &s.Spec.Ports[i]
		if want == "" || p.Name == want || strconv.Itoa(int(p.Port)) == want {
			if p.Protocol != "" && p.Protocol != corev1.ProtocolTCP {
				return nil, fmt.Errorf("port %d of service %s speaks %s, not TCP", p.Port, s.Name, p.Protocol)
			}
			return p, nil
		}
		known = append(known, strings.TrimSpace(fmt.Sprintf("%s %d", p.Name, p.Port)))
	}
	return nil, &drivers.HintError{
		Err:  fmt.Errorf("service %s has no port %s", s.Name, want),
		Hint: "it has: " + strings.Join(known, ", "),
	}
}

// targetPort is the number at which pods serve what the port of a Service leads to, and the
// container that does.
func targetPort(d *appsv1.Deployment, p *corev1.ServicePort) (number int32, container string, err error) {
	pod := d.Spec.Template.Spec
	if len(pod.Containers) == 0 {
		return 0, "", fmt.Errorf("deployment %s has no container", d.Name)
	}
	number = p.Port
	if p.TargetPort.Type == intstr.Int && p.TargetPort.IntVal != 0 {
		number = p.TargetPort.IntVal
	}
	container = pod.Containers[0].Name
	if named := d.Spec.Template.Annotations["kubectl.kubernetes.io/default-container"]; named != "" {
		container = named
	}
	byName := p.TargetPort.Type == intstr.String
	// A sidecar that serves is an init container that never ends.
	for _, c := range slices.Concat(pod.Containers, pod.InitContainers) {
		for _, own := range c.Ports {
			if byName && own.Name == p.TargetPort.StrVal || !byName && own.ContainerPort == number {
				return own.ContainerPort, c.Name, nil
			}
		}
	}
	if byName {
		return 0, "", fmt.Errorf("no container of deployment %s has a port named %s", d.Name, p.TargetPort.StrVal)
	}
	return number, container, nil // containers need not list their ports
}

// podOf says whether a pod was made for a Deployment. Its ReplicaSets have its name and the
// hash that their pods are labelled with.
func podOf(p *corev1.Pod, deployment string) bool {
	owner := metav1.GetControllerOf(p)
	hash := p.Labels[appsv1.DefaultDeploymentUniqueLabelKey]
	return owner != nil && owner.Kind == "ReplicaSet" && hash != "" && owner.Name == deployment+"-"+hash
}

// enter finds the way by which the load reaches the Service, a node port or an address of
// its own, else a Service beside it, and begins to follow what goes that way. origin says
// where the subject is from.
func (s *described) enter(ctx context.Context, origin string) error {
	service, err := s.cluster.client.CoreV1().Services(s.layout.namespace).Get(ctx, s.objects.Service, metav1.GetOptions{})
	if err != nil {
		return err
	}
	port, err := servicePort(service, s.objects.Port)
	if err != nil {
		return err
	}
	found, err := s.entry.existing(ctx, service, port)
	if err != nil {
		return err
	}
	name, made := service.Name, ""
	if !found {
		id := s.layout.labels[labelDeployment]
		extra, err := s.entry.expose(ctx, func(nodePort int32) *applycore.ServiceApplyConfiguration {
			return entryService(service, port, "lab-entry-"+id, nodePort).WithNamespace(s.layout.namespace).
				WithLabels(s.layout.labels).WithAnnotations(map[string]string{annotationRun: s.stack.RunID})
		})
		if err != nil {
			return err
		}
		name, made = extra.Name, ", which the lab has made beside it"
	}
	s.notes = []string{fmt.Sprintf("deployment %s in namespace %s, %s, behind service %s; the load enters by service %s%s",
		s.objects.Deployment, s.layout.namespace, origin, s.objects.Service, name, made)}
	return s.view.follow(ctx, s.cluster.client, scope{
		pods: watch.Selection{Labels: s.pods.String()}, deployment: named(s.objects.Deployment), service: name,
		subject: s.stack.Subject.Name, ports: portNumbers(s.stack.Subject), notes: s.notes,
		serviceOf: func(p *corev1.Pod) string {
			if podOf(p, s.objects.Deployment) {
				return s.stack.Subject.Name
			}
			return ""
		},
	})
}

// asWanted is what the lab's fields are in a wanted state.
func (s *described) asWanted(w wanted) managed {
	to := managedOf(&s.original.Spec)
	to.Replicas, to.Paused = int32(w.replicas), w.paused
	if w.restarted != "" {
		to.Restarted = &w.restarted
	}
	if w.revision != s.stack.Revision {
		to.Revision = &w.revision
	}
	return to
}

// attempt makes one change of the Deployment, unless somebody else has made another one. to
// is kept before that: the request may arrive though its answer does not.
func (s *described) attempt(ctx context.Context, to managed, do func(*appsv1.Deployment) error) error {
	s.original.Set = append(s.original.Set, to)
	return attempt(ctx, s.deployments(), s.objects.Deployment, func(d *appsv1.Deployment) error {
		if changes, _ := s.original.conflicts(&d.Spec); len(changes) > 0 {
			return fmt.Errorf("deployment %s was changed by somebody else: %s", d.Name, strings.Join(changes, "; "))
		}
		return do(d)
	})
}

func (s *described) apply(ctx context.Context, w wanted) (generation int64, err error) {
	to := s.asWanted(w)
	err = s.attempt(ctx, to, func(d *appsv1.Deployment) error {
		changed, err := s.set(ctx, d, to)
		if err != nil {
			return err
		}
		generation = changed.Generation
		return nil
	})
	if err != nil {
		return 0, err
	}
	s.view.setWanted(w)
	return generation, nil
}

// scale scales once the cluster has the record that it is going to.
func (s *described) scale(ctx context.Context, replicas int) (generation int64, err error) {
	to := s.asWanted(s.view.wanted())
	to.Replicas = int32(replicas)
	err = s.attempt(ctx, to, func(d *appsv1.Deployment) (err error) {
		if s.recorded {
			if d, err = s.set(ctx, d, managedOf(&d.Spec)); err != nil {
				return err
			}
		}
		scale := &autoscalingv1.Scale{
			ObjectMeta: metav1.ObjectMeta{Name: d.Name, Namespace: d.Namespace, ResourceVersion: d.ResourceVersion},
			Spec:       autoscalingv1.ScaleSpec{Replicas: to.Replicas},
		}
		_, err = s.deployments().UpdateScale(ctx, d.Name, scale, metav1.UpdateOptions{FieldManager: fieldManager})
		return err
	})
	if err != nil {
		return 0, err
	}
	return s.scaled(ctx, replicas)
}

// set makes the fields of a Deployment what they are to be, and keeps in the cluster, if
// that is recorded, what the lab has made of it.
func (s *described) set(ctx context.Context, d *appsv1.Deployment, to managed) (*appsv1.Deployment, error) {
	var record *string
	if s.recorded {
		text, err := json.Marshal(s.original)
		if err != nil {
			return nil, err
		}
		t := string(text)
		record = &t
	}
	change, err := to.patch(d, record)
	if err != nil {
		return nil, err
	}
	return s.deployments().Patch(ctx, d.Name, types.MergePatchType, change, metav1.PatchOptions{FieldManager: fieldManager})
}

// attempt does what needs the newest state of a Deployment again while somebody else, such
// as the deployment controller with its status, has just changed it.
func attempt(ctx context.Context, api deploymentAPI, name string, do func(*appsv1.Deployment) error) error {
	for {
		d, err := api.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if err = do(d); !apierrors.IsConflict(err) || ctx.Err() != nil {
			return err
		}
	}
}

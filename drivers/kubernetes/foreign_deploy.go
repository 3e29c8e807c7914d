package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	applycore "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/rollout-lab/rollout-lab/drivers"
)

func secondsOf(n int64) time.Duration { return time.Duration(n) * time.Second }

// deployForeign applies what is described, or borrows what exists, and waits until it
// serves.
func (e *environment) deployForeign(ctx context.Context) error {
	f := e.foreign
	var generation int64
	var err error
	if f.borrowed() {
		generation, err = e.borrow(ctx)
	} else {
		err = e.applyAround(ctx)
	}
	if err != nil {
		return err
	}
	if err := e.enter(ctx); err != nil {
		return err
	}
	if err := e.follow(ctx); err != nil {
		return err
	}
	if !f.borrowed() {
		if generation, err = e.applySubject(ctx); err != nil {
			return err
		}
	}
	if err := e.awaitSubject(ctx); err != nil {
		return err
	}
	if err := e.await(ctx, generation); err != nil {
		return fmt.Errorf("deployment %s serves, but Kubernetes does not say so: %w; %s", f.objects.Deployment, err, e.explain(ctx))
	}
	return e.awaitEntry(ctx)
}

// applyAround applies everything but the subject's Deployment, its Service first: by that
// whatever was applied is found again.
func (e *environment) applyAround(ctx context.Context) error {
	f := e.foreign
	for _, o := range f.manifest {
		if err := e.mayApply(ctx, o); err != nil {
			return err
		}
	}
	isService := func(o *unstructured.Unstructured) bool {
		gk := o.GroupVersionKind().GroupKind()
		return gk.Group == "" && gk.Kind == "Service" && o.GetName() == f.objects.Service
	}
	for _, first := range []bool{true, false} {
		for _, o := range f.manifest {
			if isService(o) != first || e.isDeployment(o) {
				continue
			}
			if _, err := e.applyObject(ctx, o); err != nil {
				return err
			}
		}
	}
	return nil
}

func (e *environment) isDeployment(o *unstructured.Unstructured) bool {
	gk := o.GroupVersionKind().GroupKind()
	return gk.Group == "apps" && gk.Kind == "Deployment" && o.GetName() == e.foreign.objects.Deployment
}

// mayApply refuses an object of a kind that is unknown or in no namespace and, in a
// namespace that is somebody else's, one that exists.
func (e *environment) mayApply(ctx context.Context, o *unstructured.Unstructured) error {
	api, err := e.cluster.any.of(o, e.layout.namespace)
	if err != nil || e.ownNamespace() {
		return err
	}
	_, err = api.Get(ctx, o.GetName(), metav1.GetOptions{})
	if err == nil {
		return &drivers.HintError{
			Err:  fmt.Errorf("%s %s exists already in namespace %s", o.GetKind(), o.GetName(), e.layout.namespace),
			Hint: "leave out the manifests to measure what exists, or leave out --kubernetes-namespace",
		}
	}
	return gone(err)
}

// applyObject applies an object of the manifests.
func (e *environment) applyObject(ctx context.Context, o *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	api, err := e.cluster.any.of(o, e.layout.namespace)
	if err != nil {
		return nil, err
	}
	o = o.DeepCopy()
	o.SetNamespace(e.layout.namespace)
	all := o.GetLabels()
	if all == nil {
		all = map[string]string{}
	}
	for k, v := range e.layout.labels {
		all[k] = v
	}
	o.SetLabels(all)
	annotations := o.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[annotationRun] = e.stack.RunID
	o.SetAnnotations(annotations)
	e.foreign.applied = append(e.foreign.applied, o)
	made, err := api.Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
	if err != nil {
		return nil, fmt.Errorf("apply %s %s: %w", o.GetKind(), o.GetName(), err)
	}
	return made, nil
}

// applySubject applies the subject's Deployment and keeps how it is then.
func (e *environment) applySubject(ctx context.Context) (generation int64, err error) {
	for _, o := range e.foreign.manifest {
		if !e.isDeployment(o) {
			continue
		}
		if _, err := e.applyObject(ctx, o); err != nil {
			return 0, err
		}
	}
	d, err := e.deployments().Get(ctx, e.foreign.objects.Deployment, metav1.GetOptions{})
	if err != nil {
		return 0, err
	}
	e.foreign.before = &borrowing{Spec: d.Spec}
	return d.Generation, nil
}

// enter finds the way by which the load reaches the Service: a node port or an address of
// its own, else a Service beside it.
func (e *environment) enter(ctx context.Context) error {
	f := e.foreign
	s, err := e.cluster.client.CoreV1().Services(e.layout.namespace).Get(ctx, f.objects.Service, metav1.GetOptions{})
	if err != nil {
		return err
	}
	port, err := servicePort(s, f.objects.Port)
	if err != nil {
		return err
	}
	f.entry = s.Name
	if e.url, err = e.ownEntry(ctx, s, port); err != nil {
		return err
	}
	made := ""
	if e.url == "" {
		id := e.layout.labels[labelDeployment]
		extra, err := e.exposeSubject(ctx, func(nodePort int32) *applycore.ServiceApplyConfiguration {
			return entryService(s, port, "lab-entry-"+id, nodePort).WithNamespace(e.layout.namespace).
				WithLabels(e.layout.labels).WithAnnotations(map[string]string{annotationRun: e.stack.RunID})
		})
		if err != nil {
			return err
		}
		if e.url, err = e.baseURL(ctx, extra.Spec.Ports[0].NodePort); err != nil {
			return err
		}
		f.entry, made = extra.Name, ", which the lab has made beside it"
	}
	how := "applied from manifests"
	if f.borrowed() {
		how = "which was there"
	}
	e.tracker.notes = []string{fmt.Sprintf("deployment %s in namespace %s, %s, behind service %s; the load enters by service %s%s",
		f.objects.Deployment, e.layout.namespace, how, f.objects.Service, f.entry, made)}
	e.notes = e.tracker.notes
	return nil
}

// ownEntry is the URL at which the lab reaches a Service as it is, "" if it does not.
func (e *environment) ownEntry(ctx context.Context, s *corev1.Service, port *corev1.ServicePort) (string, error) {
	for _, i := range s.Status.LoadBalancer.Ingress {
		host := i.IP
		if host == "" {
			host = i.Hostname
		}
		if addr := net.JoinHostPort(host, strconv.Itoa(int(port.Port))); host != "" && listens(ctx, addr) == nil {
			return "http://" + addr, nil
		}
	}
	if port.NodePort == 0 {
		return "", nil
	}
	if mapped := e.driver.config.NodePorts; len(mapped) > 0 {
		if addr, ok := mapped[port.NodePort]; !ok || listens(ctx, addr) != nil {
			return "", nil
		}
	}
	return e.baseURL(ctx, port.NodePort)
}

// entryService is a Service that leads where another one does, by a node port.
func entryService(s *corev1.Service, port *corev1.ServicePort, name string, nodePort int32) *applycore.ServiceApplyConfiguration {
	target := port.TargetPort
	if target == (intstr.IntOrString{}) {
		target = intstr.FromInt32(port.Port)
	}
	p := applycore.ServicePort().WithName(portName(0)).WithPort(port.Port).WithTargetPort(target).WithProtocol(corev1.ProtocolTCP)
	if nodePort > 0 {
		p.WithNodePort(nodePort)
	}
	spec := applycore.ServiceSpec().WithType(corev1.ServiceTypeNodePort).WithSelector(s.Spec.Selector).WithPorts(p).
		WithPublishNotReadyAddresses(s.Spec.PublishNotReadyAddresses)
	if s.Spec.SessionAffinity != "" {
		spec.WithSessionAffinity(s.Spec.SessionAffinity)
	}
	return applycore.Service(name, "").WithSpec(spec)
}

// removeForeign removes what was applied, or puts back what was borrowed.
func (e *environment) removeForeign(ctx context.Context) error {
	f := e.foreign
	r := removal{e.cluster, e.layout.namespace, labels.Set{labelDeployment: e.layout.labels[labelDeployment]}.String(), e.driver.config.Processes}
	if f.borrowed() {
		if f.before == nil {
			return nil // nothing was changed yet
		}
		if err := r.services(ctx); err != nil {
			return err
		}
		return e.giveBack(ctx)
	}
	if len(f.applied) > 0 {
		if err := r.endDeployment(ctx, f.objects.Deployment, e.hurry); err != nil {
			return err
		}
		if err := e.awaitAllGone(ctx); err != nil {
			return err
		}
	}
	if e.ownNamespace() {
		return r.wholeNamespace(ctx)
	}
	errs := []error{r.services(ctx)}
	for n := len(f.applied) - 1; n >= 0; n-- {
		o := f.applied[n]
		api, err := e.cluster.any.of(o, e.layout.namespace)
		if err == nil {
			err = removeAll(ctx, []place{{o.GetKind() + " " + o.GetName(), o.GetName(), api}})
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// endDeployment deletes a Deployment that somebody has described and waits until its pods
// are gone. They get their grace until hurry is closed, and none then.
func (r removal) endDeployment(ctx context.Context, name string, hurry <-chan struct{}) error {
	deployments, pods := r.cluster.client.AppsV1().Deployments(r.namespace), r.cluster.client.CoreV1().Pods(r.namespace)
	d, err := deployments.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return gone(err)
	}
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil {
		return fmt.Errorf("deployment %s: %w", name, err)
	}
	foreground := metav1.DeletePropagationForeground
	if err := deployments.Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: &foreground}); gone(err) != nil {
		return fmt.Errorf("delete deployment %s: %w", name, err)
	}
	ticker := time.NewTicker(removalPoll)
	defer ticker.Stop()
	asked, grace := map[string]bool{}, int64(noGrace)
	for {
		list, err := pods.List(ctx, metav1.ListOptions{LabelSelector: selector.String()})
		if err != nil {
			return fmt.Errorf("list pods of deployment %s: %w", name, err)
		}
		left := "deployment " + name
		for _, p := range list.Items {
			if !podOf(&p, name) {
				continue
			}
			left = "pod " + p.Name
			select {
			case <-hurry:
				if !asked[p.Name] {
					asked[p.Name] = true
					if err := pods.Delete(ctx, p.Name, metav1.DeleteOptions{GracePeriodSeconds: &grace}); gone(err) != nil {
						return fmt.Errorf("delete pod %s: %w", p.Name, err)
					}
					r.kill(ctx, &p) // its grace has begun
				}
			default:
			}
		}
		if _, err := deployments.Get(ctx, name, metav1.GetOptions{}); apierrors.IsNotFound(err) {
			return nil
		} else if err != nil {
			return fmt.Errorf("look for deployment %s: %w", name, err)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("%s is not gone: %w", left, context.Cause(ctx))
		}
	}
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
	hurry := make(chan struct{})
	close(hurry)
	for _, d := range list.Items {
		if err := r.endDeployment(ctx, d.Name, hurry); err != nil {
			return err
		}
	}
	places, err := r.cluster.any.labelled(ctx, r.namespace, r.selector)
	return errors.Join(err, removeAll(ctx, places))
}

func (e *environment) deployments() deploymentAPI {
	return e.cluster.client.AppsV1().Deployments(e.layout.namespace)
}

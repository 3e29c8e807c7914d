package kubernetes

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// foreign is a subject that somebody else has described: in manifests, which are applied
// and removed, or as objects that exist already and are borrowed.
type foreign struct {
	objects  drivers.Objects
	manifest []*unstructured.Unstructured // everything to apply
	applied  []*unstructured.Unstructured // what was, or may have been

	pods  labels.Selector // of the subject
	port  corev1.ServicePort
	entry string // the name of the Service through which the load enters

	// before is how the Deployment was before the first change; nil until that is known.
	before *borrowing
}

func (f *foreign) borrowed() bool { return len(f.objects.Manifests) == 0 }

// translateObjects reads the manifests. What needs no cluster to be seen is refused here.
func (e *environment) translateObjects() error {
	f := &foreign{objects: *e.stack.Objects}
	if f.borrowed() && e.ownNamespace() {
		return &drivers.HintError{
			Err:  fmt.Errorf("deployment %s without manifests, and no namespace in which it is: %w", f.objects.Deployment, drivers.ErrUnsupported),
			Hint: "give the target its manifests, or use --driver kubernetes with the --kubernetes-namespace that it is in",
		}
	}
	for _, m := range f.objects.Manifests {
		objects, err := parseManifest(m)
		if err != nil {
			return err
		}
		f.manifest = append(f.manifest, objects...)
	}
	e.foreign = f
	e.tracker.initial = e.stack.Revision
	if f.borrowed() {
		return nil
	}
	d, s := new(appsv1.Deployment), new(corev1.Service)
	if err := errors.Join(f.find("apps", "Deployment", f.objects.Deployment, d), f.find("", "Service", f.objects.Service, s)); err != nil {
		return err
	}
	if err := e.setReplicas(d); err != nil {
		return err
	}
	return e.resolve(d, s)
}

// parseManifest reads the objects of a manifest.
func parseManifest(m drivers.Manifest) ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	for docs := yaml.NewYAMLReader(bufio.NewReader(strings.NewReader(m.Text))); ; {
		doc, err := docs.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("manifest %s: %w", m.File, err)
		}
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(doc, &object.Object); err != nil {
			return nil, fmt.Errorf("manifest %s: %w", m.File, err)
		}
		if len(object.Object) == 0 {
			continue // nothing but comments
		}
		if object.GetKind() == "" || object.GetAPIVersion() == "" || object.GetName() == "" || object.IsList() {
			return nil, fmt.Errorf("manifest %s: an object of kind %q with version %q and name %q: every object needs all three, and lists are not read",
				m.File, object.GetKind(), object.GetAPIVersion(), object.GetName())
		}
		// What a cluster adds to an object, in manifests that were once read from one.
		delete(object.Object, "status")
		for _, field := range []string{"managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink"} {
			unstructured.RemoveNestedField(object.Object, "metadata", field)
		}
		out = append(out, object)
	}
}

// find reads the object of the manifests with that kind and name.
func (f *foreign) find(group, kind, name string, to any) error {
	for _, o := range f.manifest {
		if gk := o.GroupVersionKind().GroupKind(); gk.Group != group || gk.Kind != kind || o.GetName() != name {
			continue
		}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, to); err != nil {
			return fmt.Errorf("%s %s: %w", kind, name, err)
		}
		return nil
	}
	return fmt.Errorf("the manifests have no %s %s", kind, name)
}

// setReplicas gives a Deployment of a manifest that leaves the number open the stack's.
func (e *environment) setReplicas(d *appsv1.Deployment) error {
	if d.Spec.Replicas != nil {
		return nil
	}
	n := int32(e.stack.Replicas)
	d.Spec.Replicas = &n
	for _, o := range e.foreign.manifest {
		if o.GetKind() == "Deployment" && o.GetName() == d.Name {
			return unstructured.SetNestedField(o.Object, int64(n), "spec", "replicas")
		}
	}
	return nil
}

// resolve finds out where the Service leads to and what of the Deployment the lab has to
// know, and refuses what cannot be measured.
func (e *environment) resolve(d *appsv1.Deployment, s *corev1.Service) error {
	f := e.foreign
	port, err := servicePort(s, f.objects.Port)
	if err != nil {
		return err
	}
	template := d.Spec.Template
	if len(s.Spec.Selector) == 0 || s.Spec.Type == corev1.ServiceTypeExternalName {
		return fmt.Errorf("service %s selects no pods", s.Name)
	}
	if !labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(template.Labels)) {
		return fmt.Errorf("service %s selects %s, and pods of deployment %s have %s",
			s.Name, labels.Set(s.Spec.Selector), d.Name, labels.Set(template.Labels))
	}
	number, container, err := targetPort(d, port)
	if err != nil {
		return fmt.Errorf("service %s: %w", s.Name, err)
	}
	if f.pods, err = metav1.LabelSelectorAsSelector(d.Spec.Selector); err != nil {
		return fmt.Errorf("deployment %s: %w", d.Name, err)
	}
	switch {
	case d.Spec.Paused:
		return fmt.Errorf("deployment %s is paused: nothing would be rolled out", d.Name)
	case d.Spec.Replicas != nil && int(*d.Spec.Replicas) != e.stack.Replicas:
		return &drivers.HintError{
			Err:  fmt.Errorf("deployment %s has %d replicas, and the scenario says %d", d.Name, *d.Spec.Replicas, e.stack.Replicas),
			Hint: fmt.Sprintf("say replicas: %d in the scenario, or scale it first: the lab changes nothing but what the action is", *d.Spec.Replicas),
		}
	}
	f.port = *port
	subject := &e.stack.Subject
	subject.Fixed = map[string]int{subject.Ports[0]: int(number)}
	if grace := template.Spec.TerminationGracePeriodSeconds; grace != nil {
		subject.StopGrace = secondsOf(*grace)
	} else {
		subject.StopGrace = secondsOf(corev1.DefaultTerminationGracePeriodSeconds)
	}
	e.tracker.container = container
	e.want = wanted{revision: e.stack.Revision, replicas: e.stack.Replicas, restarted: template.Annotations[annotationRestart]}
	if marked, ok := template.Annotations[annotationRevision]; ok {
		return fmt.Errorf("the template of deployment %s is marked as revision %s: a lab has changed it and not put it back", d.Name, marked)
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

// images are those that the manifests name, each once.
func (f *foreign) images() []string {
	var out []string
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, item := range v {
				walk(item)
			}
		case map[string]any:
			for key, item := range v {
				list, isList := item.([]any)
				if !isList || key != "containers" && key != "initContainers" {
					walk(item)
					continue
				}
				for _, c := range list {
					if c, ok := c.(map[string]any); ok {
						if image, ok := c["image"].(string); ok && image != "" && !slices.Contains(out, image) {
							out = append(out, image)
						}
					}
				}
			}
		}
	}
	for _, o := range f.manifest {
		walk(o.Object)
	}
	slices.Sort(out)
	return out
}

// provideForeign sees to it that the nodes have the images of the manifests.
func (e *environment) provideForeign(ctx context.Context) error {
	if e.driver.config.Provide == nil {
		return nil
	}
	for _, image := range e.foreign.images() {
		if err := e.driver.config.Provide(ctx, image); err != nil {
			return fmt.Errorf("image %s: %w", image, err)
		}
	}
	return nil
}

// podOf says whether a pod was made for a Deployment. Its ReplicaSets have its name and the
// hash that their pods are labelled with.
func podOf(p *corev1.Pod, deployment string) bool {
	owner := metav1.GetControllerOf(p)
	hash := p.Labels[appsv1.DefaultDeploymentUniqueLabelKey]
	return owner != nil && owner.Kind == "ReplicaSet" && hash != "" && owner.Name == deployment+"-"+hash
}

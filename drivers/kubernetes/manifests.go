package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/manifest"
)

// manifests is a subject that is applied from manifests, with everything else that they
// describe, and removed again.
type manifests struct {
	described
	revisions map[string]*revision         // by name
	present   string                       // the one that was applied last
	applied   []*unstructured.Unstructured // what was, or may have been, each once
}

// revision is what the manifests of one describe.
type revision struct {
	all   []*unstructured.Unstructured // in their order
	front string                       // how the Service reaches the pods
}

var (
	serviceKind    = schema.GroupKind{Kind: "Service"}
	deploymentKind = schema.GroupKind{Group: "apps", Kind: "Deployment"}
)

// newManifests reads the manifests of every revision. What needs no cluster to be seen is
// refused here.
func newManifests(s *site) (*manifests, error) {
	first := s.stack.Revision
	m := &manifests{described: described{site: s}, revisions: map[string]*revision{}}
	// The first revision comes last: what is resolved last is what is deployed.
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(s.stack.Revisions)), func(name string) bool { return name == first })
	for _, name := range append(names, first) {
		at, err := s.stack.At(name)
		if err != nil {
			return nil, err
		}
		if m.revisions[name], err = m.newRevision(at); err != nil && len(names) > 0 {
			return nil, fmt.Errorf("revision %s: %w", name, err)
		} else if err != nil {
			return nil, err
		}
	}
	for _, name := range names {
		if is, was := m.revisions[name].front, m.revisions[first].front; is != was {
			return nil, &drivers.HintError{
				Err:  fmt.Errorf("revisions %s and %s differ in more than what is rolled out: %s, and %s", first, name, was, is),
				Hint: "give both the same selectors and ports: what stands in front of the pods is the same while they are replaced",
			}
		}
	}
	m.present = first
	m.objects = *s.stack.Objects
	return m, nil
}

// newRevision reads the manifests of one revision.
func (m *manifests) newRevision(at drivers.Stack) (*revision, error) {
	r := &revision{}
	m.objects = *at.Objects
	for _, text := range at.Objects.Manifests {
		objects, err := parseManifest(text)
		if err != nil {
			return nil, err
		}
		r.all = append(r.all, objects...)
	}
	d, service := new(appsv1.Deployment), new(corev1.Service)
	if err := errors.Join(r.read(deploymentKind, m.objects.Deployment, d), r.read(serviceKind, m.objects.Service, service)); err != nil {
		return nil, err
	}
	if err := r.setReplicas(d, m.stack.Replicas); err != nil {
		return nil, err
	}
	if err := m.resolve(d, service); err != nil {
		return nil, err
	}
	r.front = fmt.Sprintf("pods %s behind %s, port %d of container %s", m.pods, labels.Set(service.Spec.Selector),
		m.stack.Subject.Fixed[m.stack.Subject.Ports[0]], m.view.container())
	return r, nil
}

// parseManifest reads the objects of a manifest.
func parseManifest(m drivers.Manifest) ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	for _, doc := range manifest.Documents(m.Text) {
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(doc.TextInPlace()), &object.Object); err != nil {
			return nil, fmt.Errorf("manifest %s: %w", m.File, err)
		}
		objects, err := listed(object)
		if err != nil {
			return nil, fmt.Errorf("manifest %s: %w", m.File, err)
		}
		out = append(out, objects...)
	}
	return out, nil
}

// listed are the objects of a List, or what is no List itself, without what a cluster adds to
// objects: manifests were perhaps read from one.
func listed(o *unstructured.Unstructured) (out []*unstructured.Unstructured, err error) {
	if o.IsList() && o.GetKind() == "List" {
		err := o.EachListItem(func(item runtime.Object) error {
			objects, err := listed(item.(*unstructured.Unstructured))
			out = append(out, objects...)
			return err
		})
		return out, err
	}
	if o.GetKind() == "" || o.GetAPIVersion() == "" || o.GetName() == "" || o.IsList() {
		return nil, fmt.Errorf("an object of kind %q with version %q and name %q: every object needs all three, and of lists only a List is read",
			o.GetKind(), o.GetAPIVersion(), o.GetName())
	}
	delete(o.Object, "status")
	for _, field := range []string{"managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink"} {
		unstructured.RemoveNestedField(o.Object, "metadata", field)
	}
	return []*unstructured.Unstructured{o}, nil
}

// is says whether an object of a manifest is of that kind and name.
func is(o *unstructured.Unstructured, kind schema.GroupKind, name string) bool {
	return o.GroupVersionKind().GroupKind() == kind && o.GetName() == name
}

// find finds the object of the manifests with that kind and name.
func (r *revision) find(kind schema.GroupKind, name string) (*unstructured.Unstructured, error) {
	for _, o := range r.all {
		if is(o, kind, name) {
			return o, nil
		}
	}
	return nil, fmt.Errorf("the manifests have no %s %s", kind.Kind, name)
}

// read reads the object of the manifests with that kind and name.
func (r *revision) read(kind schema.GroupKind, name string, to any) error {
	o, err := r.find(kind, name)
	if err != nil {
		return err
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, to); err != nil {
		return fmt.Errorf("%s %s: %w", kind.Kind, name, err)
	}
	return nil
}

// setReplicas gives a Deployment of a manifest that leaves the number open the stack's.
func (r *revision) setReplicas(d *appsv1.Deployment, replicas int) error {
	if d.Spec.Replicas != nil {
		return nil
	}
	n := int32(replicas)
	d.Spec.Replicas = &n
	o, err := r.find(deploymentKind, d.Name)
	if err != nil {
		return err
	}
	return unstructured.SetNestedField(o.Object, int64(n), "spec", "replicas")
}

// images are those that the manifests name, each once.
func (r *revision) images() []string {
	found := map[string]bool{}
	for _, o := range r.all {
		collectImages(o.Object, found)
	}
	return slices.Sorted(maps.Keys(found))
}

// collectImages finds the images of every list of containers in an object.
func collectImages(v any, found map[string]bool) {
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			collectImages(item, found)
		}
	case map[string]any:
		for key, item := range v {
			list, isList := item.([]any)
			if !isList || key != "containers" && key != "initContainers" {
				collectImages(item, found)
				continue
			}
			for _, c := range list {
				c, _ := c.(map[string]any)
				if image, ok := c["image"].(string); ok && image != "" {
					found[image] = true
				}
			}
		}
	}
}

func (m *manifests) deploy(ctx context.Context) (generation int64, err error) {
	if provide := m.driver.config.Provide; provide != nil {
		for _, r := range m.revisions {
			for _, image := range r.images() {
				if err := provide(ctx, image); err != nil {
					return 0, fmt.Errorf("image %s: %w", image, err)
				}
			}
		}
	}
	if err := m.createNamespace(ctx); err != nil {
		return 0, err
	}
	first := m.revisions[m.present]
	for _, r := range m.revisions {
		for _, o := range r.all {
			if err := m.mayApply(ctx, o); err != nil {
				return 0, err
			}
		}
	}
	if err := m.applyAround(ctx, first); err != nil {
		return 0, err
	}
	if err := m.enter(ctx, "applied from manifests"); err != nil {
		return 0, err
	}
	o, err := first.find(deploymentKind, m.objects.Deployment)
	if err != nil {
		return 0, err
	}
	return m.applySubject(ctx, o)
}

// applyAround applies everything of a revision but the subject's Deployment, its Service
// first: by that whatever was applied is found again.
func (m *manifests) applyAround(ctx context.Context, r *revision) error {
	for _, first := range []bool{true, false} {
		for _, o := range r.all {
			if is(o, serviceKind, m.objects.Service) != first || is(o, deploymentKind, m.objects.Deployment) {
				continue
			}
			if err := m.applyObject(ctx, o); err != nil {
				return err
			}
		}
	}
	return nil
}

// mayApply refuses an object of a kind that is unknown or in no namespace and, in a
// namespace that is somebody else's, one that exists.
func (m *manifests) mayApply(ctx context.Context, o *unstructured.Unstructured) error {
	api, err := m.cluster.any.of(o, m.layout.namespace)
	if err != nil || m.ownNamespace() {
		return err
	}
	_, err = api.Get(ctx, o.GetName(), metav1.GetOptions{})
	if err == nil {
		return &drivers.HintError{
			Err:  fmt.Errorf("%s %s exists already in namespace %s", o.GetKind(), o.GetName(), m.layout.namespace),
			Hint: "leave out the manifests to measure what exists, or leave out --kubernetes-namespace",
		}
	}
	return gone(err)
}

// applyObject applies an object of the manifests, with the lab's labels.
func (m *manifests) applyObject(ctx context.Context, o *unstructured.Unstructured) error {
	api, err := m.cluster.any.of(o, m.layout.namespace)
	if err != nil {
		return err
	}
	o = o.DeepCopy()
	o.SetNamespace(m.layout.namespace)
	o.SetLabels(merged(o.GetLabels(), m.layout.labels))
	o.SetAnnotations(merged(o.GetAnnotations(), map[string]string{annotationRun: m.stack.RunID}))
	m.remember(o) // the request may arrive though its answer does not
	if _, err := api.Apply(ctx, o.GetName(), o, applying); err != nil {
		return fmt.Errorf("apply %s %s: %w", o.GetKind(), o.GetName(), err)
	}
	return nil
}

// merged is a with b in it.
func merged(a, b map[string]string) map[string]string {
	out := map[string]string{}
	maps.Copy(out, a)
	maps.Copy(out, b)
	return out
}

// remember keeps that an object was applied, of whatever revision.
func (m *manifests) remember(o *unstructured.Unstructured) {
	if !slices.ContainsFunc(m.applied, func(other *unstructured.Unstructured) bool {
		return is(other, o.GroupVersionKind().GroupKind(), o.GetName())
	}) {
		m.applied = append(m.applied, o)
	}
}

// applySubject applies the subject's Deployment and keeps how it is then.
func (m *manifests) applySubject(ctx context.Context, o *unstructured.Unstructured) (generation int64, err error) {
	if err := m.applyObject(ctx, o); err != nil {
		return 0, err
	}
	d, err := m.deployments().Get(ctx, m.objects.Deployment, metav1.GetOptions{})
	if err != nil {
		return 0, err
	}
	m.original = &adoption{Spec: d.Spec}
	return d.Generation, nil
}

// apply applies the manifests of another revision, if that is wanted: first what is around
// the subject, as it may need that, then its Deployment. What is described by the one revision
// and not by the other stays, as it does for kubectl apply, until everything is removed.
func (m *manifests) apply(ctx context.Context, w wanted) (generation int64, err error) {
	r := m.revisions[w.revision]
	if w.revision == m.present || r == nil { // of one without manifests it is a mark
		return m.described.apply(ctx, w)
	}
	o, err := r.find(deploymentKind, m.objects.Deployment)
	if err != nil {
		return 0, err
	}
	o = o.DeepCopy()
	if err := m.managedIn(o, w); err != nil {
		return 0, err
	}
	if err := m.applyAround(ctx, r); err != nil {
		return 0, err
	}
	err = attempt(ctx, m.deployments(), m.objects.Deployment, func(d *appsv1.Deployment) error {
		if changes, _ := m.original.conflicts(&d.Spec); len(changes) > 0 {
			return fmt.Errorf("deployment %s was changed by somebody else: %s", d.Name, strings.Join(changes, "; "))
		}
		o.SetResourceVersion(d.ResourceVersion) // so that nobody else's change is overwritten
		generation, err = m.applySubject(ctx, o)
		return err
	})
	if err != nil {
		return 0, err
	}
	m.present = w.revision
	m.view.setWanted(w)
	return generation, nil
}

// managedIn puts the fields that the lab changes into a manifest of the Deployment, as they
// are wanted. All of them are said: what the lab has patched before would stay otherwise.
func (m *manifests) managedIn(o *unstructured.Unstructured, w wanted) error {
	annotations := map[string]string{}
	if w.revision != m.stack.Revision {
		annotations[annotationRevision] = w.revision
	}
	if w.restarted != "" {
		annotations[annotationRestart] = w.restarted
	}
	template := []string{"spec", "template", "metadata", "annotations"}
	own, _, err := unstructured.NestedStringMap(o.Object, template...)
	if err != nil {
		return err
	}
	if all := merged(own, annotations); len(all) > 0 {
		if err := unstructured.SetNestedStringMap(o.Object, all, template...); err != nil {
			return err
		}
	}
	return errors.Join(
		unstructured.SetNestedField(o.Object, int64(w.replicas), "spec", "replicas"),
		unstructured.SetNestedField(o.Object, w.paused, "spec", "paused"))
}

// remove removes what was applied, the subject first.
func (m *manifests) remove(ctx context.Context) error {
	r := m.removal()
	if len(m.applied) > 0 {
		if err := r.endDeployment(ctx, m.objects.Deployment, m.life.Forced()); err != nil {
			return err
		}
		if err := m.awaitNoPods(ctx); err != nil {
			return err
		}
	}
	if m.ownNamespace() {
		return r.wholeNamespace(ctx)
	}
	errs := []error{r.services(ctx)}
	for n := len(m.applied) - 1; n >= 0; n-- {
		o := m.applied[n]
		api, err := m.cluster.any.of(o, m.layout.namespace)
		if err == nil {
			err = removeAll(ctx, []place{{o.GetKind() + " " + o.GetName(), o.GetName(), api}})
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

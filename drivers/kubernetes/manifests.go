package kubernetes

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// manifests is a subject that is applied from manifests, with everything else that they
// describe, and removed again.
type manifests struct {
	described
	all     []*unstructured.Unstructured // in their order
	applied []*unstructured.Unstructured // what was, or may have been
}

var (
	serviceKind    = schema.GroupKind{Kind: "Service"}
	deploymentKind = schema.GroupKind{Group: "apps", Kind: "Deployment"}
)

// newManifests reads the manifests. What needs no cluster to be seen is refused here.
func newManifests(s *site) (*manifests, error) {
	m := &manifests{described: described{site: s, objects: *s.stack.Objects}}
	for _, text := range m.objects.Manifests {
		objects, err := parseManifest(text)
		if err != nil {
			return nil, err
		}
		m.all = append(m.all, objects...)
	}
	d, service := new(appsv1.Deployment), new(corev1.Service)
	if err := errors.Join(m.read(deploymentKind, m.objects.Deployment, d), m.read(serviceKind, m.objects.Service, service)); err != nil {
		return nil, err
	}
	if err := m.setReplicas(d); err != nil {
		return nil, err
	}
	return m, m.resolve(d, service)
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

// is says whether an object of a manifest is of that kind and name.
func is(o *unstructured.Unstructured, kind schema.GroupKind, name string) bool {
	return o.GroupVersionKind().GroupKind() == kind && o.GetName() == name
}

// find finds the object of the manifests with that kind and name.
func (m *manifests) find(kind schema.GroupKind, name string) (*unstructured.Unstructured, error) {
	for _, o := range m.all {
		if is(o, kind, name) {
			return o, nil
		}
	}
	return nil, fmt.Errorf("the manifests have no %s %s", kind.Kind, name)
}

// read reads the object of the manifests with that kind and name.
func (m *manifests) read(kind schema.GroupKind, name string, to any) error {
	o, err := m.find(kind, name)
	if err != nil {
		return err
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, to); err != nil {
		return fmt.Errorf("%s %s: %w", kind.Kind, name, err)
	}
	return nil
}

// setReplicas gives a Deployment of a manifest that leaves the number open the stack's.
func (m *manifests) setReplicas(d *appsv1.Deployment) error {
	if d.Spec.Replicas != nil {
		return nil
	}
	n := int32(m.stack.Replicas)
	d.Spec.Replicas = &n
	o, err := m.find(deploymentKind, d.Name)
	if err != nil {
		return err
	}
	return unstructured.SetNestedField(o.Object, int64(n), "spec", "replicas")
}

// images are those that the manifests name, each once.
func (m *manifests) images() []string {
	found := map[string]bool{}
	for _, o := range m.all {
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
		for _, image := range m.images() {
			if err := provide(ctx, image); err != nil {
				return 0, fmt.Errorf("image %s: %w", image, err)
			}
		}
	}
	if err := m.createNamespace(ctx); err != nil {
		return 0, err
	}
	if err := m.applyAround(ctx); err != nil {
		return 0, err
	}
	if err := m.enter(ctx, "applied from manifests"); err != nil {
		return 0, err
	}
	return m.applySubject(ctx)
}

// applyAround applies everything but the subject's Deployment, its Service first: by that
// whatever was applied is found again.
func (m *manifests) applyAround(ctx context.Context) error {
	for _, o := range m.all {
		if err := m.mayApply(ctx, o); err != nil {
			return err
		}
	}
	for _, first := range []bool{true, false} {
		for _, o := range m.all {
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
	m.applied = append(m.applied, o) // the request may arrive though its answer does not
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

// applySubject applies the subject's Deployment and keeps how it is then.
func (m *manifests) applySubject(ctx context.Context) (generation int64, err error) {
	o, err := m.find(deploymentKind, m.objects.Deployment)
	if err != nil {
		return 0, err
	}
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

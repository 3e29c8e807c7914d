package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
)

// resources reaches objects of any kind, also of kinds that only this cluster knows.
type resources struct {
	client dynamic.Interface
	kinds  meta.RESTMapper
	known  discovery.DiscoveryInterface
}

func newResources(config *rest.Config) (resources, error) {
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return resources{}, fmt.Errorf("kubeconfig: %w", err)
	}
	known, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return resources{}, fmt.Errorf("kubeconfig: %w", err)
	}
	return resources{client, restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(known)), known}, nil
}

// of is where objects of an object's kind are, in a namespace. A kind that the cluster does
// not know, or that is in no namespace, is refused.
func (r resources) of(o *unstructured.Unstructured, namespace string) (dynamic.ResourceInterface, error) {
	gvk := o.GroupVersionKind()
	mapping, err := r.kinds.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", o.GetKind(), o.GetName(), err)
	}
	if mapping.Scope.Name() != meta.RESTScopeNameNamespace {
		return nil, fmt.Errorf("%s %s belongs to the whole cluster, which the lab leaves alone", o.GetKind(), o.GetName())
	}
	return r.client.Resource(mapping.Resource).Namespace(namespace), nil
}

// place is an object and where it is.
type place struct {
	what string
	name string
	api  dynamic.ResourceInterface
}

// labelled finds the objects of every kind with these labels in a namespace. Kinds that the
// user may not list are left out: it can have made none that way.
func (r resources) labelled(ctx context.Context, namespace, selector string) ([]place, error) {
	lists, err := r.known.ServerPreferredNamespacedResources()
	if err != nil && len(lists) == 0 {
		return nil, fmt.Errorf("ask for the kinds of objects: %w", err)
	}
	var out []place
	errs := []error{err} // of groups that could not be asked for
	for _, list := range lists {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			return nil, err
		}
		for _, kind := range list.APIResources {
			if strings.HasPrefix(kind.Name, "endpoint") {
				continue // made from Services, with the labels of those, and gone with them
			}
			if !slices.Contains(kind.Verbs, "list") || !slices.Contains(kind.Verbs, "delete") || strings.Contains(kind.Name, "/") {
				continue
			}
			api := r.client.Resource(version.WithResource(kind.Name)).Namespace(namespace)
			found, err := api.List(ctx, metav1.ListOptions{LabelSelector: selector})
			if apierrors.IsForbidden(err) || apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) {
				continue
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("list %s: %w", kind.Name, err))
				continue
			}
			for _, o := range found.Items {
				out = append(out, place{kind.Kind + " " + o.GetName(), o.GetName(), api})
			}
		}
	}
	return out, errors.Join(errs...)
}

// removeAll deletes objects with all that belongs to them, and waits until they are gone.
func removeAll(ctx context.Context, places []place) error {
	foreground := metav1.DeletePropagationForeground
	for _, p := range places {
		if err := p.api.Delete(ctx, p.name, metav1.DeleteOptions{PropagationPolicy: &foreground}); gone(err) != nil {
			return fmt.Errorf("delete %s: %w", p.what, err)
		}
	}
	for _, p := range places {
		err := awaitRemoval(ctx, func() (left string, err error) {
			_, err = p.api.Get(ctx, p.name, metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				return "", nil
			}
			if err != nil {
				return "", fmt.Errorf("look for %s: %w", p.what, err)
			}
			return p.what, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

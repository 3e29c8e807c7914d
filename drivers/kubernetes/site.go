package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	applied "k8s.io/client-go/kubernetes/typed/apps/v1"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/lifecycle"
)

// site is where a stack is deployed: in which cluster and namespace, under which names, and
// what the lab knows of it there. An environment and its subject share one.
type site struct {
	driver  *Driver
	cluster *cluster
	stack   drivers.Stack
	layout  layout
	life    *lifecycle.Life
	events  drivers.EventLog
	notes   []string // what Kubernetes has no words for

	view    *view
	entry   *entry
	explain explainer
}

type deploymentAPI = applied.DeploymentInterface

// deployments are the Deployments of the namespace.
func (s *site) deployments() deploymentAPI {
	return s.cluster.client.AppsV1().Deployments(s.layout.namespace)
}

// deploymentName is the name of the subject's Deployment.
func (s *site) deploymentName() string { return s.layout.names[s.stack.Subject.Name] }

// services are all of the stack's, in the order in which they are started.
func (s *site) services() []drivers.Service {
	return append(slices.Clone(s.stack.Dependencies), s.stack.Subject)
}

// gracePeriod is how long it may take until everything has stopped by itself.
func (s *site) gracePeriod() time.Duration {
	var sum time.Duration
	for _, service := range s.services() {
		sum += service.StopGrace + service.PreStop
	}
	return sum
}

// ownNamespace says whether the namespace begins and ends with the deployment.
func (s *site) ownNamespace() bool { return s.driver.config.Namespace == "" }

// createNamespace creates the namespace, if it is the deployment's own.
func (s *site) createNamespace(ctx context.Context) error {
	if !s.ownNamespace() {
		return nil
	}
	if _, err := s.cluster.client.CoreV1().Namespaces().Apply(ctx, s.layout.namespaceObject(s.stack.RunID), applying); err != nil {
		return fmt.Errorf("create namespace %s: %w", s.layout.namespace, err)
	}
	return nil
}

// applying is how every object of the lab's is applied.
var applying = metav1.ApplyOptions{FieldManager: fieldManager, Force: true}

// removal removes what bears the labels of the deployment.
func (s *site) removal() removal {
	selector := labels.Set{labelDeployment: s.layout.labels[labelDeployment]}.String()
	return removal{s.cluster, s.layout.namespace, selector, s.driver.config.Containers}
}

// scaled keeps that the subject was scaled, and returns its generation since then.
func (s *site) scaled(ctx context.Context, replicas int) (generation int64, err error) {
	w := s.view.wanted()
	w.replicas = replicas
	s.view.setWanted(w)
	d, err := s.deployments().Get(ctx, s.deploymentName(), metav1.GetOptions{})
	if err != nil {
		return 0, err
	}
	return d.Generation, nil
}

// awaitNoPods waits until the watch says that no pod of the subject is left, which it does a
// little later than a list.
func (s *site) awaitNoPods(ctx context.Context) error {
	_, err := s.view.wait(ctx, func() string {
		if len(s.view.tracker.pods) > 0 {
			return "the pods to be gone"
		}
		return ""
	})
	if err != nil {
		return errors.New("the pods are gone, but the watch does not say so")
	}
	return nil
}

// logs are the last lines that a pod has written, of its container that runs or of the one
// before.
func (s *site) logs(ctx context.Context, pod string, lines int64, previous bool) (string, error) {
	text, err := s.cluster.client.CoreV1().Pods(s.layout.namespace).
		GetLogs(pod, &corev1.PodLogOptions{Container: s.view.container(), TailLines: &lines, Previous: previous}).DoRaw(ctx)
	if err != nil {
		return "", fmt.Errorf("log of %s: %w", pod, err)
	}
	return string(text), nil
}

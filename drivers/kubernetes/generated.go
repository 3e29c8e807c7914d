package kubernetes

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	applycore "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/kubernetes/watch"
)

// generated is a subject that the lab describes itself, from a drivers.Service, with the
// dependencies that it needs.
type generated struct {
	*site
	images map[program]string           // of what the services run; set by provide
	addrs  map[string]map[string]string // what ${addr...} stands for; set by deploy
}

// program is what a service runs: an image, or a program of this machine, or neither, which is
// the lab's own.
type program struct{ image, exec string }

func programOf(s drivers.Service) program { return program{s.Image, s.Exec} }

// newGenerated tries whether the stack can be said in Kubernetes' words, and keeps what of
// it cannot.
func newGenerated(s *site) (*generated, error) {
	g := &generated{s, map[program]string{}, map[string]map[string]string{}}
	addrs := map[string]map[string]string{}
	for _, service := range s.stack.Services() {
		if err := g.supports(service); err != nil {
			return nil, err
		}
		_, notes, err := s.layout.deployment(service, "image", nil, addrs, s.view.wanted())
		if err != nil {
			return nil, err
		}
		for _, note := range notes {
			if !slices.Contains(s.notes, note) { // of another revision
				s.notes = append(s.notes, note)
			}
		}
		addrs[service.Name] = map[string]string{}
		for _, p := range service.Ports {
			addrs[service.Name][p] = ""
		}
	}
	return g, nil
}

// supports refuses a service that this driver has nothing to run as.
func (g *generated) supports(s drivers.Service) error {
	if s.Exec == "" && s.Image == "" && g.driver.config.Image == "" {
		return fmt.Errorf("service %s: %w: the driver was given no image of the lab's program", s.Name, drivers.ErrUnavailable)
	}
	return nil
}

func (g *generated) deploy(ctx context.Context) (generation int64, err error) {
	if err := g.provide(ctx); err != nil {
		return 0, err
	}
	if err := g.createNamespace(ctx); err != nil {
		return 0, err
	}
	if err := g.view.follow(ctx, g.cluster.client, g.scope()); err != nil {
		return 0, err
	}
	for _, s := range g.stack.Dependencies {
		if err := g.deployDependency(ctx, s); err != nil {
			return 0, fmt.Errorf("dependency %s: %w", s.Name, err)
		}
	}
	if _, err := g.entry.expose(ctx, func(nodePort int32) *applycore.ServiceApplyConfiguration {
		return g.layout.service(g.stack.Subject, nodePort)
	}); err != nil {
		return 0, err
	}
	budgets := g.cluster.client.PolicyV1().PodDisruptionBudgets(g.layout.namespace)
	if _, err := budgets.Apply(ctx, g.layout.budget(g.stack.Subject.Name), applying); err != nil {
		return 0, fmt.Errorf("create the disruption budget of %s: %w", g.stack.Subject.Name, err)
	}
	if generation, err = g.apply(ctx, g.view.wanted()); err != nil {
		return 0, fmt.Errorf("create the deployment of %s: %w", g.stack.Subject.Name, err)
	}
	return generation, nil
}

// scope is what bears the labels of the deployment.
func (g *generated) scope() scope {
	services := map[string]string{} // by the name of their objects
	for name, objects := range g.layout.names {
		services[objects] = name
	}
	subject := g.stack.Subject
	return scope{
		pods:       watch.Selection{Labels: labels.Set{labelDeployment: g.layout.labels[labelDeployment]}.String()},
		deployment: watch.Selection{Labels: labels.Set(g.layout.selector(subject.Name)).String()},
		service:    g.deploymentName(), subject: subject.Name, ports: portNumbers(subject), notes: g.notes,
		serviceOf: func(p *corev1.Pod) string { return services[p.Labels[labelService]] },
	}
}

// provide sees to it that the nodes have the images of all services.
func (g *generated) provide(ctx context.Context) error {
	config := g.driver.config
	for _, s := range g.stack.Services() {
		image := s.Image
		if g.images[programOf(s)] != "" {
			continue
		}
		switch {
		case s.Exec != "":
			packed, err := config.Pack(ctx, s.Exec)
			if err != nil {
				return fmt.Errorf("image of program %s: %w", s.Exec, err)
			}
			image = packed
		case image == "":
			image = config.Image
		case config.Provide != nil:
			if err := config.Provide(ctx, image); err != nil {
				return fmt.Errorf("image %s: %w", image, err)
			}
		}
		g.images[programOf(s)] = image
	}
	return nil
}

// deployDependency starts a dependency and waits until it serves.
func (g *generated) deployDependency(ctx context.Context, s drivers.Service) error {
	service, err := g.cluster.client.CoreV1().Services(g.layout.namespace).Apply(ctx, g.layout.service(s, noNodePort), applying)
	if err != nil {
		return fmt.Errorf("create its service: %w", err)
	}
	g.view.mu.Lock()
	_, err = g.view.paths.openDependency(s.Name, portNumbers(s))
	g.view.mu.Unlock()
	if err != nil {
		return err
	}
	if _, err := g.applyService(ctx, s, wanted{replicas: 1}); err != nil {
		return fmt.Errorf("create its deployment: %w", err)
	}
	if err := g.awaitDependency(ctx, s); err != nil {
		return err
	}
	// The address of the Service, not its name: resolving a name is not what is measured.
	addrs := map[string]string{}
	for port, number := range portNumbers(s) {
		addrs[port] = net.JoinHostPort(service.Spec.ClusterIP, strconv.Itoa(int(number)))
	}
	g.addrs[s.Name] = addrs
	return nil
}

func (g *generated) applyService(ctx context.Context, s drivers.Service, w wanted) (*appsv1.Deployment, error) {
	prefix := g.driver.config.Args
	if s.Image != "" || s.Exec != "" {
		prefix = nil
	}
	object, _, err := g.layout.deployment(s, g.images[programOf(s)], prefix, g.addrs, w)
	if err != nil {
		return nil, err
	}
	if s.Name != g.stack.Subject.Name {
		g.layout.place(object.Spec.Template.Spec)
	}
	return g.deployments().Apply(ctx, object, applying)
}

func (g *generated) apply(ctx context.Context, w wanted) (generation int64, err error) {
	at, err := g.stack.At(w.revision)
	if err != nil {
		return 0, err
	}
	d, err := g.applyService(ctx, at.Subject, w)
	if err != nil {
		return 0, err
	}
	g.view.setWanted(w)
	return d.Generation, nil
}

func (g *generated) scale(ctx context.Context, replicas int) (generation int64, err error) {
	name := g.deploymentName()
	if _, err := g.deployments().UpdateScale(ctx, name, scaleOf(name, g.layout.namespace, int32(replicas)), metav1.UpdateOptions{FieldManager: fieldManager}); err != nil {
		return 0, err
	}
	return g.scaled(ctx, replicas)
}

// scaleOf is the scale subresource of a Deployment.
func scaleOf(name, namespace string, replicas int32) *autoscalingv1.Scale {
	return &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Spec:       autoscalingv1.ScaleSpec{Replicas: replicas},
	}
}

// remove removes the subject, then the dependencies, the last one first.
func (g *generated) remove(ctx context.Context) error {
	r, services := g.removal(), g.services()
	for n := len(services) - 1; n >= 0; n-- {
		selector := labels.Set(g.layout.selector(services[n].Name)).String()
		if err := r.workloads(ctx, selector); err != nil {
			return err
		}
		if err := r.pods(ctx, selector, g.life.Forced()); err != nil {
			return err
		}
	}
	if err := g.awaitNoPods(ctx); err != nil {
		return err
	}
	if g.ownNamespace() {
		return r.wholeNamespace(ctx)
	}
	return r.services(ctx)
}

package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applycore "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/kubernetes/portforward"
)

const (
	// servesInterval is how often Deploy asks an instance whether it serves, unless
	// Service.Serves says otherwise.
	servesInterval = 50 * time.Millisecond
	// quiet is how long a port must not refuse a connection to count as accepting it.
	quiet = 250 * time.Millisecond
)

// deploy creates everything and waits until it serves.
func (e *environment) deploy(ctx context.Context) error {
	if err := e.provide(ctx); err != nil {
		return err
	}
	options := metav1.ApplyOptions{FieldManager: fieldManager, Force: true}
	if e.ownNamespace() {
		if _, err := e.cluster.client.CoreV1().Namespaces().Apply(ctx, e.layout.namespaceObject(e.stack.RunID), options); err != nil {
			return fmt.Errorf("create namespace %s: %w", e.layout.namespace, err)
		}
	}
	if e.foreign != nil {
		return e.deployForeign(ctx)
	}
	if err := e.follow(ctx); err != nil {
		return err
	}
	for _, s := range e.stack.Dependencies {
		if err := e.deployDependency(ctx, s); err != nil {
			return err
		}
	}
	service, err := e.exposeSubject(ctx, func(nodePort int32) *applycore.ServiceApplyConfiguration {
		return e.layout.service(e.stack.Subject, nodePort)
	})
	if err != nil {
		return err
	}
	if e.url, err = e.baseURL(ctx, service.Spec.Ports[0].NodePort); err != nil {
		return err
	}
	if err := e.protect(ctx); err != nil {
		return err
	}
	generation, err := e.apply(ctx, e.wants())
	if err != nil {
		return fmt.Errorf("create the deployment of %s: %w", e.stack.Subject.Name, err)
	}
	if err := e.awaitSubject(ctx); err != nil {
		return err
	}
	if err := e.await(ctx, generation); err != nil {
		return fmt.Errorf("%s serves, but its signal does not say so: %w; %s", e.stack.Subject.Name, err, e.explain(ctx))
	}
	return e.awaitEntry(ctx)
}

// awaitEntry waits until requests reach the subject the way that the load will take:
// kube-proxy acts on the endpoints a little after they are ready.
func (e *environment) awaitEntry(ctx context.Context) error {
	if e.stack.Replicas == 0 {
		return nil
	}
	probe := e.stack.Subject.Serves
	if probe.Kind != drivers.ProbeHTTP || probe.Port != e.stack.Subject.Ports[0] {
		probe = drivers.Probe{Kind: drivers.ProbeTCP}
	}
	ticker := time.NewTicker(servesInterval)
	defer ticker.Stop()
	for {
		answer, err := probe.Ask(ctx, strings.TrimPrefix(e.url, "http://"))
		if err == nil {
			return nil
		}
		select {
		case <-ticker.C:
		case <-e.closing:
			return drivers.ErrClosed
		case <-ctx.Done():
			return fmt.Errorf("%w: every instance does when it is asked directly, but not at %s: %w; last answer: %s",
				drivers.ErrNotServing, e.url, context.Cause(ctx), answer)
		}
	}
}

// listens says why a port of this machine that leads into the cluster takes no
// connections. Docker's proxy of a port was seen to end for good under a load that it had
// no file descriptors for.
func listens(ctx context.Context, addr string) error {
	d := net.Dialer{Timeout: time.Second}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("the port of this machine that leads into the cluster is dead: %w", err)
	}
	return conn.Close()
}

func (e *environment) ownNamespace() bool { return e.driver.config.Namespace == "" }

// provide sees to it that the nodes have the images of all services.
func (e *environment) provide(ctx context.Context) error {
	config := e.driver.config
	if e.foreign != nil {
		return e.provideForeign(ctx)
	}
	for _, s := range e.services() {
		image := s.Image
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
		e.images[s.Name] = image
	}
	return nil
}

// deployDependency starts a dependency and waits until it serves.
func (e *environment) deployDependency(ctx context.Context, s drivers.Service) error {
	service, err := e.cluster.client.CoreV1().Services(e.layout.namespace).
		Apply(ctx, e.layout.service(s, noNodePort), metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
	if err != nil {
		return fmt.Errorf("create the service of %s: %w", s.Name, err)
	}
	f, err := portforward.Listen(e.cluster.dial, e.layout.namespace, "", portNumbers(s))
	if err != nil {
		return err
	}
	e.mu.Lock()
	e.deps[s.Name] = f
	e.mu.Unlock()
	if _, err := e.applyService(ctx, s, wanted{replicas: 1}); err != nil {
		return fmt.Errorf("create the deployment of %s: %w", s.Name, err)
	}
	pod := func() *corev1.Pod { return e.depPods[s.Name] }
	if err := e.awaitServing(ctx, s, f, pod); err != nil {
		return fmt.Errorf("dependency %s: %w", s.Name, err)
	}
	// The address of the Service, not its name: resolving a name is not what is measured.
	addrs := map[string]string{}
	for port, number := range portNumbers(s) {
		addrs[port] = net.JoinHostPort(service.Spec.ClusterIP, strconv.Itoa(int(number)))
	}
	e.addrs[s.Name] = addrs
	return nil
}

// nodePorts are the node ports to try, in that order: another one first for each deployment.
// For two minutes after a connection has ended its node remembers to which pod it went, and
// sends a new one from the same address and port to the same node port there. Were that of
// the deployment before, the pod would be gone, and the request lost.
func (d *Driver) nodePorts() []int32 {
	ports := slices.Sorted(maps.Keys(d.config.NodePorts))
	if len(ports) == 0 {
		return nil
	}
	d.mu.Lock()
	first := d.nextPort % len(ports)
	d.nextPort = first + 1
	d.mu.Unlock()
	return slices.Concat(ports[first:], ports[:first])
}

// exposeSubject creates a Service in front of the subject with a node port that is free.
func (e *environment) exposeSubject(ctx context.Context, with func(nodePort int32) *applycore.ServiceApplyConfiguration) (*corev1.Service, error) {
	api := e.cluster.client.CoreV1().Services(e.layout.namespace)
	options := metav1.ApplyOptions{FieldManager: fieldManager, Force: true}
	ports := e.driver.nodePorts()
	if len(ports) == 0 {
		s, err := api.Apply(ctx, with(0), options)
		if err != nil {
			return nil, fmt.Errorf("create the service of %s: %w", e.stack.Subject.Name, err)
		}
		return s, nil
	}
	var taken error
	for _, port := range ports {
		if err := listens(ctx, e.driver.config.NodePorts[port]); err != nil {
			taken = err
			continue
		}
		s, err := api.Apply(ctx, with(port), options)
		if err == nil {
			return s, nil
		}
		if !apierrors.IsInvalid(err) {
			return nil, fmt.Errorf("create the service of %s: %w", e.stack.Subject.Name, err)
		}
		taken = err // another deployment has it
	}
	return nil, &drivers.HintError{
		Err:  fmt.Errorf("create the service of %s: none of %d node ports can be used: %w", e.stack.Subject.Name, len(ports), taken),
		Hint: "end other deployments of the lab in this cluster, or use a new cluster",
	}
}

// baseURL is where the lab reaches a node port.
func (e *environment) baseURL(ctx context.Context, nodePort int32) (string, error) {
	if at, ok := e.driver.config.NodePorts[nodePort]; ok {
		return "http://" + at, nil
	}
	host := e.driver.config.NodeAddress
	if host == "" {
		nodes, err := e.cluster.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return "", fmt.Errorf("look for the address of a node: %w", err)
		}
		if host = nodeAddress(nodes.Items); host == "" {
			return "", errors.New("no node has an address; name one at which node ports are reached")
		}
	}
	return "http://" + net.JoinHostPort(host, strconv.Itoa(int(nodePort))), nil
}

// nodeAddress is an address of a node, an external one if there is any.
func nodeAddress(nodes []corev1.Node) string {
	for _, kind := range []corev1.NodeAddressType{corev1.NodeExternalIP, corev1.NodeInternalIP} {
		for _, n := range nodes {
			for _, a := range n.Status.Addresses {
				if a.Type == kind {
					return a.Address
				}
			}
		}
	}
	return ""
}

// awaitSubject waits until as many instances of the subject as wanted serve, each asked
// directly.
func (e *environment) awaitSubject(ctx context.Context) error {
	n := e.stack.Replicas
	for {
		e.mu.Lock()
		pods, changed := len(e.tracker.pods), e.changed
		e.mu.Unlock()
		if pods == n {
			break
		}
		select {
		case <-changed:
		case <-e.closing:
			return drivers.ErrClosed
		case <-ctx.Done():
			return fmt.Errorf("%w: waited for %d pods of %s, there are %d: %w; %s",
				drivers.ErrNotServing, n, e.stack.Subject.Name, pods, context.Cause(ctx), e.explain(ctx))
		}
	}
	for k := range n {
		var f *portforward.Forward
		// A pod may be replaced meanwhile, as one that was evicted.
		pod := func() *corev1.Pod {
			if k >= len(e.tracker.pods) {
				return nil
			}
			p := e.tracker.pods[k].pod
			f = e.forwards[string(p.UID)]
			return p
		}
		e.mu.Lock()
		pod()
		e.mu.Unlock()
		if err := e.awaitServing(ctx, e.stack.Subject, f, pod); err != nil {
			return err
		}
	}
	return nil
}

// awaitServing waits until the pod behind a forward serves. pod is called with e.mu held
// and returns nil while there is none.
func (e *environment) awaitServing(ctx context.Context, s drivers.Service, f *portforward.Forward, pod func() *corev1.Pod) error {
	probe := s.Serves
	if probe.Kind == "" || probe.Kind == drivers.ProbeNone {
		probe = drivers.Probe{Kind: drivers.ProbeTCP, Port: s.Ports[0]}
	}
	if probe.Interval == 0 {
		probe.Interval = servesInterval
	}
	ticker := time.NewTicker(probe.Interval)
	defer ticker.Stop()
	for {
		e.mu.Lock()
		p := pod()
		e.mu.Unlock()
		err := errors.New("no container of it runs")
		if p != nil {
			if _, runs := running(p, e.tracker.container); runs {
				err = askThrough(ctx, f, probe, portNumbers(s)[probe.Port])
			}
		}
		if err == nil {
			return nil
		}
		var cause error
		select {
		case <-ticker.C:
			if cause = hopeless(p); cause == nil {
				continue
			}
			cause = fmt.Errorf("%w: %w", drivers.ErrNotServing, cause)
		case <-e.closing:
			return drivers.ErrClosed
		case <-ctx.Done():
			cause = fmt.Errorf("%w: %w", drivers.ErrNotServing, context.Cause(ctx))
		}
		name, why := "a pod that does not exist yet", e.explain(ctx)
		if p != nil {
			name, why = p.Name, e.explainPod(ctx, p, s)
		}
		return fmt.Errorf("%s: %w; last answer: %w; %s", name, cause, err, why)
	}
}

// askThrough sends a probe through a forward.
func askThrough(ctx context.Context, f *portforward.Forward, probe drivers.Probe, number int32) error {
	if probe.Kind == drivers.ProbeTCP {
		ctx, cancel := context.WithTimeout(ctx, probe.WithDefaults().Timeout)
		defer cancel()
		return f.Accepts(ctx, number, quiet)
	}
	_, err := probe.Ask(ctx, f.Addrs()[probe.Port])
	return err
}

// hopeless says why a pod will never serve, nil if it may.
func hopeless(pod *corev1.Pod) error {
	if pod == nil {
		return nil
	}
	for _, s := range pod.Status.ContainerStatuses {
		if s.RestartCount >= crashesAtDeploy {
			return fmt.Errorf("it ended %d times", s.RestartCount)
		}
		if w := s.State.Waiting; w != nil {
			switch w.Reason {
			case "ErrImageNeverPull", "InvalidImageName", "CreateContainerConfigError":
				return fmt.Errorf("its container cannot be started: %s: %s", w.Reason, oneLine(w.Message))
			case "CrashLoopBackOff":
				return fmt.Errorf("it ended %d times", s.RestartCount+1)
			}
		}
	}
	return nil
}

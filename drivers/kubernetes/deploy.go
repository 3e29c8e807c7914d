package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/rollout-lab/rollout-lab/drivers"
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
	if err := e.follow(ctx); err != nil {
		return err
	}
	for _, s := range e.stack.Dependencies {
		if err := e.deployDependency(ctx, s); err != nil {
			return err
		}
	}
	service, err := e.exposeSubject(ctx)
	if err != nil {
		return err
	}
	if e.url, err = e.baseURL(ctx, service.Spec.Ports[0].NodePort); err != nil {
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
	return nil
}

func (e *environment) ownNamespace() bool { return e.driver.config.Namespace == "" }

// provide sees to it that the nodes have the images of all services.
func (e *environment) provide(ctx context.Context) error {
	config := e.driver.config
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

// follow begins to follow the namespace and returns once everything was listed.
func (e *environment) follow(ctx context.Context) error {
	following, stop := context.WithCancel(context.WithoutCancel(ctx))
	e.stop = stop
	core, name := e.cluster.client.CoreV1(), e.layout.names[e.stack.Subject.Name]
	ours := labels.Set{labelDeployment: e.layout.labels[labelDeployment]}.String()
	ofSubject := labels.Set(e.layout.selector(e.stack.Subject.Name)).String()
	var firsts []chan struct{}
	begin := func(follow func(context.Context, chan<- struct{})) {
		first := make(chan struct{})
		firsts = append(firsts, first)
		e.following.Go(func() { follow(following, first) })
	}
	pods := core.Pods(e.layout.namespace)
	begin(source[corev1.Pod, *corev1.Pod]{
		what: "pods", lost: e.lost,
		list: func(ctx context.Context, o metav1.ListOptions) ([]corev1.Pod, string, error) {
			o.LabelSelector = ours
			l, err := pods.List(ctx, o)
			if err != nil {
				return nil, "", err
			}
			return l.Items, l.ResourceVersion, nil
		},
		watch: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.LabelSelector = ours
			return pods.Watch(ctx, o)
		},
		replaced: e.podsReplaced, seen: e.podSeen, gone: e.podGone,
	}.follow)
	slices := e.cluster.client.DiscoveryV1().EndpointSlices(e.layout.namespace)
	ofService := labels.Set{discoveryv1.LabelServiceName: name}.String()
	begin(source[discoveryv1.EndpointSlice, *discoveryv1.EndpointSlice]{
		what: "endpoint slices", lost: e.lost,
		list: func(ctx context.Context, o metav1.ListOptions) ([]discoveryv1.EndpointSlice, string, error) {
			o.LabelSelector = ofService
			l, err := slices.List(ctx, o)
			if err != nil {
				return nil, "", err
			}
			return l.Items, l.ResourceVersion, nil
		},
		watch: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.LabelSelector = ofService
			return slices.Watch(ctx, o)
		},
		replaced: folded(e, (*ledger).slicesReplaced), seen: folded(e, (*ledger).sliceSeen), gone: folded(e, (*ledger).sliceGone),
	}.follow)
	deployments := e.cluster.client.AppsV1().Deployments(e.layout.namespace)
	keep := func(_ time.Time, d *appsv1.Deployment) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.deployment = d
		e.wake()
	}
	begin(source[appsv1.Deployment, *appsv1.Deployment]{
		what: "the deployment", lost: e.lost,
		list: func(ctx context.Context, o metav1.ListOptions) ([]appsv1.Deployment, string, error) {
			o.LabelSelector = ofSubject
			l, err := deployments.List(ctx, o)
			if err != nil {
				return nil, "", err
			}
			return l.Items, l.ResourceVersion, nil
		},
		watch: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.LabelSelector = ofSubject
			return deployments.Watch(ctx, o)
		},
		replaced: func(at time.Time, all []*appsv1.Deployment) {
			for _, d := range all {
				keep(at, d)
			}
		},
		seen: keep, gone: func(time.Time, *appsv1.Deployment) {},
	}.follow)
	warnings := core.Events(e.layout.namespace)
	begin(source[corev1.Event, *corev1.Event]{
		// What they tell is in details only, so a gap in them is none in the record.
		what: "events", lost: func(time.Time, string, error) {},
		list: func(ctx context.Context, o metav1.ListOptions) ([]corev1.Event, string, error) {
			l, err := warnings.List(ctx, o)
			if err != nil {
				return nil, "", err
			}
			return l.Items, l.ResourceVersion, nil
		},
		watch:    warnings.Watch,
		replaced: func(time.Time, []*corev1.Event) {},
		seen: func(_ time.Time, one *corev1.Event) {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.ledger.warned(one)
		},
		gone: func(time.Time, *corev1.Event) {},
	}.follow)
	for _, first := range firsts {
		select {
		case <-first:
		case <-ctx.Done():
			return fmt.Errorf("list what is in namespace %s: %w", e.layout.namespace, context.Cause(ctx))
		}
	}
	return nil
}

// folded lets the ledger take in a change.
func folded[T any](e *environment, take func(*ledger, time.Time, T)) func(time.Time, T) {
	return func(at time.Time, one T) {
		e.mu.Lock()
		defer e.mu.Unlock()
		take(e.ledger, at, one)
		e.wake()
	}
}

func (e *environment) lost(at time.Time, what string, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ledger.lost(at, what, err)
}

// podsReplaced, podSeen and podGone tell the subject's pods from those of dependencies.
func (e *environment) podsReplaced(at time.Time, all []*corev1.Pod) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ledger.podsReplaced(at, slices.DeleteFunc(slices.Clone(all), func(p *corev1.Pod) bool { return !e.isSubject(p) }))
	for _, p := range all {
		if !e.isSubject(p) {
			e.dependencySeen(p)
		}
	}
	e.dropForwards()
	e.wake()
}

func (e *environment) podSeen(at time.Time, p *corev1.Pod) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.isSubject(p) {
		e.ledger.podSeen(at, p)
	} else {
		e.dependencySeen(p)
	}
	e.wake()
}

func (e *environment) podGone(at time.Time, p *corev1.Pod) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.isSubject(p) {
		e.ledger.podGone(at, p)
		e.dropForwards()
	}
	e.wake()
}

func (e *environment) isSubject(p *corev1.Pod) bool {
	return p.Labels[labelService] == e.layout.names[e.stack.Subject.Name]
}

// openForward listens for the ports of a pod of the subject. Without a listener there is
// no address, which whoever asks for the instance sees. e.mu is held.
func (e *environment) openForward(pod *corev1.Pod) map[string]string {
	f, err := newForward(e.cluster.dial, e.layout.namespace, pod.Name, portNumbers(e.stack.Subject))
	if err != nil {
		e.events.Append(drivers.Event{Kind: drivers.Lost, Detail: err.Error()})
		return nil
	}
	e.forwards[string(pod.UID)] = f
	return maps.Clone(f.addrs)
}

// dropForwards ends the listeners of pods that are gone. e.mu is held.
func (e *environment) dropForwards() {
	for uid, f := range e.forwards {
		if !slices.ContainsFunc(e.ledger.pods, func(r *podRecord) bool { return string(r.pod.UID) == uid }) {
			delete(e.forwards, uid)
			e.following.Go(f.close)
		}
	}
}

// dependencySeen makes the listeners of a dependency lead to its newest pod. e.mu is held.
func (e *environment) dependencySeen(pod *corev1.Pod) {
	for _, s := range e.stack.Dependencies {
		if pod.Labels[labelService] != e.layout.names[s.Name] || pod.DeletionTimestamp != nil {
			continue
		}
		if old := e.depPods[s.Name]; old != nil && pod.CreationTimestamp.Before(&old.CreationTimestamp) {
			continue
		}
		e.depPods[s.Name] = pod
		if f := e.deps[s.Name]; f != nil {
			f.retarget(pod.Name)
		}
	}
}

// deployDependency starts a dependency and waits until it serves.
func (e *environment) deployDependency(ctx context.Context, s drivers.Service) error {
	service, err := e.cluster.client.CoreV1().Services(e.layout.namespace).
		Apply(ctx, e.layout.service(s, noNodePort), metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
	if err != nil {
		return fmt.Errorf("create the service of %s: %w", s.Name, err)
	}
	f, err := newForward(e.cluster.dial, e.layout.namespace, "", portNumbers(s))
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

// exposeSubject creates the subject's Service with a node port that is free.
func (e *environment) exposeSubject(ctx context.Context) (*corev1.Service, error) {
	api := e.cluster.client.CoreV1().Services(e.layout.namespace)
	options := metav1.ApplyOptions{FieldManager: fieldManager, Force: true}
	ports := slices.Sorted(maps.Keys(e.driver.config.NodePorts))
	if len(ports) == 0 {
		s, err := api.Apply(ctx, e.layout.service(e.stack.Subject, 0), options)
		if err != nil {
			return nil, fmt.Errorf("create the service of %s: %w", e.stack.Subject.Name, err)
		}
		return s, nil
	}
	var taken error
	for _, port := range ports {
		s, err := api.Apply(ctx, e.layout.service(e.stack.Subject, port), options)
		if err == nil {
			return s, nil
		}
		if !apierrors.IsInvalid(err) {
			return nil, fmt.Errorf("create the service of %s: %w", e.stack.Subject.Name, err)
		}
		taken = err // another deployment has it
	}
	return nil, &drivers.HintError{
		Err:  fmt.Errorf("create the service of %s: none of %d node ports is free: %w", e.stack.Subject.Name, len(ports), taken),
		Hint: "end other deployments of the lab in this cluster",
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
		pods, changed := len(e.ledger.pods), e.changed
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
		var f *forward
		// A pod may be replaced meanwhile, as one that was evicted.
		pod := func() *corev1.Pod {
			if k >= len(e.ledger.pods) {
				return nil
			}
			p := e.ledger.pods[k].pod
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
func (e *environment) awaitServing(ctx context.Context, s drivers.Service, f *forward, pod func() *corev1.Pod) error {
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
			if _, runs := running(p); runs {
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
func askThrough(ctx context.Context, f *forward, probe drivers.Probe, number int32) error {
	if probe.Kind == drivers.ProbeTCP {
		ctx, cancel := context.WithTimeout(ctx, probe.WithDefaults().Timeout)
		defer cancel()
		return f.accepts(ctx, number, quiet)
	}
	_, err := probe.Ask(ctx, f.addrs[probe.Port])
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

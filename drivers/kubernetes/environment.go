package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/kubernetes/portforward"
)

// environment implements drivers.Env and drivers.Logger.
type environment struct {
	driver  *Driver
	cluster *cluster
	stack   drivers.Stack
	layout  layout
	events  drivers.EventLog
	notes   []string // what Kubernetes has no words for

	url    string                       // set by deploy
	images map[string]string            // by service; set by deploy
	addrs  map[string]map[string]string // what ${addr...} stands for; set by deploy

	foreign *foreign // what somebody else has described; nil for a subject of the lab's own

	closing  chan struct{} // closed when Close begins
	closed   chan struct{} // closed when Close is done
	hurry    chan struct{} // closed when no instance gets any more grace
	shutting sync.Once
	rushed   sync.Once
	end      error // what Close found; valid once closed

	following sync.WaitGroup
	stop      context.CancelFunc // ends what follows the cluster

	changing sync.Mutex // held by Scale, Restart or Rollout

	mu         sync.Mutex
	want       wanted
	tracker    *tracker
	deployment *appsv1.Deployment              // of the subject, as last seen
	forwards   map[string]*portforward.Forward // to the subject's pods, by UID
	deps       map[string]*portforward.Forward // to the dependencies, by service
	depPods    map[string]*corev1.Pod          // the newest pod of each dependency, by service
	changed    chan struct{}                   // closed and replaced at every change
}

// Assert the abilities, which callers ask for by type.
var (
	_ drivers.Logger = (*environment)(nil)
	_ drivers.Killer = killable{}
	_ drivers.Noter  = killable{}
)

func newEnvironment(d *Driver, c *cluster, stack drivers.Stack, l layout) *environment {
	e := &environment{
		driver: d, cluster: c, stack: stack, layout: l,
		images: map[string]string{}, addrs: map[string]map[string]string{},
		closing: make(chan struct{}), closed: make(chan struct{}), hurry: make(chan struct{}),
		stop:     func() {},
		want:     wanted{revision: stack.Revision, replicas: stack.Replicas},
		forwards: map[string]*portforward.Forward{}, deps: map[string]*portforward.Forward{}, depPods: map[string]*corev1.Pod{},
		changed: make(chan struct{}),
	}
	e.tracker = newTracker(stack.Subject.Ports[0], e.openForward, e.events.Append)
	return e
}

// services are all of the stack's, in the order in which they are started.
func (e *environment) services() []drivers.Service {
	return append(slices.Clone(e.stack.Dependencies), e.stack.Subject)
}

// translate tries whether the stack can be said in Kubernetes' words, and keeps what of it
// cannot.
func (e *environment) translate() error {
	if e.stack.Objects != nil {
		return e.translateObjects()
	}
	addrs := map[string]map[string]string{}
	for _, s := range e.services() {
		if s.Socket {
			return fmt.Errorf("service %s: a listener that the runtime holds: %w", s.Name, drivers.ErrUnsupported)
		}
		if s.Exec != "" && e.driver.config.Pack == nil {
			return fmt.Errorf("service %s: program %s of this machine: %w", s.Name, s.Exec, drivers.ErrUnsupported)
		}
		if s.Exec == "" && s.Image == "" && e.driver.config.Image == "" {
			return fmt.Errorf("service %s: %w: the driver was given no image of the lab's program", s.Name, drivers.ErrUnavailable)
		}
		_, notes, err := e.layout.deployment(s, "image", nil, addrs, e.want)
		if err != nil {
			return err
		}
		e.notes = append(e.notes, notes...)
		addrs[s.Name] = map[string]string{}
		for _, p := range s.Ports {
			addrs[s.Name][p] = ""
		}
	}
	e.tracker.notes = slices.Clone(e.notes)
	return nil
}

// Notes implements drivers.Noter.
func (e *environment) Notes() []string { return slices.Clone(e.notes) }

// URL implements drivers.Env.
func (e *environment) URL() string { return e.url }

// Watch implements drivers.Env.
func (e *environment) Watch() <-chan drivers.Event { return e.events.Watch() }

// Endpoint implements drivers.Env.
func (e *environment) Endpoint(_ context.Context, service, port string) (string, error) {
	if e.isClosing() {
		return "", drivers.ErrClosed
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	f, ok := e.deps[service]
	if !ok {
		return "", fmt.Errorf("no dependency is named %q", service)
	}
	addr, ok := f.Addrs()[port]
	if !ok {
		return "", fmt.Errorf("dependency %s has no port %q", service, port)
	}
	return "http://" + addr, nil
}

// Instances implements drivers.Env. It tells what the watches have told, without a request.
func (e *environment) Instances(context.Context) ([]drivers.Instance, error) {
	if e.isClosing() {
		return nil, drivers.ErrClosed
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	records := slices.Clone(e.tracker.pods)
	slices.SortStableFunc(records, func(a, b *podRecord) int {
		return a.pod.CreationTimestamp.Compare(b.pod.CreationTimestamp.Time)
	})
	var out []drivers.Instance
	for _, r := range records {
		out = append(out, drivers.Instance{
			ID: r.pod.Name, Revision: r.revision(), State: r.state(),
			Addr: r.ports[e.stack.Subject.Ports[0]], Ports: maps.Clone(r.ports),
		})
	}
	return out, nil
}

func (e *environment) isClosing() bool {
	select {
	case <-e.closing:
		return true
	default:
		return false
	}
}

// Scale implements drivers.Env.
func (e *environment) Scale(ctx context.Context, replicas int) error {
	what := fmt.Sprintf("scale to %d", replicas)
	if replicas < 0 {
		return fmt.Errorf("%s: the number may not be negative", what)
	}
	return e.change(ctx, what, func(ctx context.Context) (int64, error) {
		w := e.wants()
		if e.foreign != nil && !w.paused {
			return e.scaleForeign(ctx, replicas)
		}
		if w.paused { // by a change that was cancelled; resume it with the number
			w.replicas, w.paused = replicas, false
			return e.apply(ctx, w)
		}
		api := e.cluster.client.AppsV1().Deployments(e.layout.namespace)
		name := e.layout.names[e.stack.Subject.Name]
		scale := &autoscalingv1.Scale{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: e.layout.namespace},
			Spec:       autoscalingv1.ScaleSpec{Replicas: int32(replicas)},
		}
		if _, err := api.UpdateScale(ctx, name, scale, metav1.UpdateOptions{FieldManager: fieldManager}); err != nil {
			return 0, err
		}
		e.mu.Lock()
		e.want.replicas = replicas
		e.wake()
		e.mu.Unlock()
		d, err := api.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return 0, err
		}
		return d.Generation, nil
	})
}

// Restart implements drivers.Env.
func (e *environment) Restart(ctx context.Context) error {
	return e.change(ctx, "restart", func(ctx context.Context) (int64, error) {
		w := e.wants()
		w.restarted, w.paused = now(), false
		return e.apply(ctx, w)
	})
}

// Rollout implements drivers.Env.
func (e *environment) Rollout(ctx context.Context, revision string) error {
	return e.change(ctx, "rollout to "+revision, func(ctx context.Context) (int64, error) {
		w := e.wants()
		w.revision, w.paused = revision, false
		return e.apply(ctx, w)
	})
}

func (e *environment) wants() wanted {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.want
}

// apply makes the subject's Deployment what is wanted and returns its generation.
func (e *environment) apply(ctx context.Context, w wanted) (int64, error) {
	if e.foreign != nil {
		return e.changeForeign(ctx, w)
	}
	d, err := e.applyService(ctx, e.stack.Subject, w)
	if err != nil {
		return 0, err
	}
	e.mu.Lock()
	e.want = w
	e.wake()
	e.mu.Unlock()
	return d.Generation, nil
}

func (e *environment) applyService(ctx context.Context, s drivers.Service, w wanted) (*appsv1.Deployment, error) {
	prefix := e.driver.config.Args
	if s.Image != "" || s.Exec != "" {
		prefix = nil
	}
	object, _, err := e.layout.deployment(s, e.images[s.Name], prefix, e.addrs, w)
	if err != nil {
		return nil, err
	}
	return e.cluster.client.AppsV1().Deployments(e.layout.namespace).Apply(ctx, object, metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
}

// change makes one change and waits until it is complete. One that does not complete in
// time is paused, so that it stops where it is.
func (e *environment) change(ctx context.Context, what string, do func(context.Context) (generation int64, err error)) error {
	if e.isClosing() {
		return drivers.ErrClosed
	}
	if !e.changing.TryLock() {
		return drivers.ErrBusy
	}
	defer e.changing.Unlock()
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", what, context.Cause(ctx))
	}
	generation, err := do(ctx)
	if err != nil {
		if ctx.Err() != nil { // the request may have arrived
			err = errors.Join(context.Cause(ctx), e.pause(ctx))
		}
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := e.await(ctx, generation); err != nil {
		if errors.Is(err, drivers.ErrClosed) {
			return fmt.Errorf("%s: %w", what, err)
		}
		paused := e.pause(ctx)
		why := e.explain(ctx)
		if paused != nil {
			err = fmt.Errorf("%w; it goes on, because it could not be paused: %w", err, paused)
		}
		return fmt.Errorf("%s: %w; %s", what, err, why)
	}
	return nil
}

// pause stops a change that was cancelled.
func (e *environment) pause(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), pauseLimit, fmt.Errorf("no answer within %v", pauseLimit))
	defer cancel()
	w := e.wants()
	w.paused = true
	_, err := e.apply(ctx, w)
	return err
}

// await waits until the subject is as the wanted state says: by its Deployment, by its
// pods and by its endpoints.
func (e *environment) await(ctx context.Context, generation int64) error {
	for {
		e.mu.Lock()
		missing, changed := e.missing(generation), e.changed
		e.mu.Unlock()
		if missing == "" {
			return nil
		}
		select {
		case <-changed:
		case <-e.closing:
			return drivers.ErrClosed
		case <-ctx.Done():
			return fmt.Errorf("waited for %s: %w", missing, context.Cause(ctx))
		}
	}
}

// missing names what is not yet as wanted, "" when everything is. e.mu is held.
func (e *environment) missing(generation int64) string {
	n := e.want.replicas
	ready, other, stopping, total := 0, "", "", len(e.tracker.pods)
	for _, r := range e.tracker.pods {
		switch {
		case r.terminating:
			stopping = r.pod.Name
		case r.revision() != e.want.revision || r.pod.Annotations[annotationRestart] != e.want.restarted:
			other = r.pod.Name
		case r.routed:
			ready++
		}
	}
	switch {
	case e.deployment == nil || e.deployment.Generation < generation:
		return "the Deployment to appear as it was applied"
	case ready < n:
		return fmt.Sprintf("%d ready instances of revision %s, there are %d", n, e.want.revision, ready)
	case other != "":
		return "old instance " + other + " to be replaced"
	case stopping != "":
		return "old instance " + stopping + " to be gone"
	case total != n || ready != n:
		return fmt.Sprintf("%d instances, there are %d", n, total)
	case !settled(e.deployment, generation, n):
		s := e.deployment.Status
		return fmt.Sprintf("the Deployment to say so: generation %d of %d observed, %d replicas, %d updated, %d available",
			s.ObservedGeneration, e.deployment.Generation, s.Replicas, s.UpdatedReplicas, s.AvailableReplicas)
	}
	return ""
}

// wake tells whoever waits that something has changed. e.mu is held.
func (e *environment) wake() {
	close(e.changed)
	e.changed = make(chan struct{})
}

// Logs implements drivers.Logger.
func (e *environment) Logs(ctx context.Context, instanceID string) (string, error) {
	return e.logs(ctx, instanceID, logLines, false)
}

// logLines is how many lines of an instance Logs returns.
const logLines = 100

func (e *environment) logs(ctx context.Context, pod string, lines int64, previous bool) (string, error) {
	text, err := e.cluster.client.CoreV1().Pods(e.layout.namespace).
		GetLogs(pod, &corev1.PodLogOptions{Container: e.tracker.container, TailLines: &lines, Previous: previous}).DoRaw(ctx)
	if err != nil {
		return "", fmt.Errorf("log of %s: %w", pod, err)
	}
	return string(text), nil
}

// killable is an environment whose instances' processes can be reached.
type killable struct{ *environment }

// Kill implements drivers.Killer.
func (k killable) Kill(ctx context.Context, instanceID string) error {
	if k.isClosing() {
		return drivers.ErrClosed
	}
	k.mu.Lock()
	var pod *corev1.Pod
	for _, r := range k.tracker.pods {
		if r.pod.Name == instanceID {
			pod = r.pod
		}
	}
	k.mu.Unlock()
	if pod == nil {
		return fmt.Errorf("kill %s: there is no such instance", instanceID)
	}
	id, ok := running(pod, k.tracker.container)
	if !ok {
		return fmt.Errorf("kill %s: it does not run", instanceID)
	}
	if err := k.driver.config.Processes.Kill(ctx, pod.Spec.NodeName, id); err != nil {
		return fmt.Errorf("kill %s: %w", instanceID, err)
	}
	return nil
}

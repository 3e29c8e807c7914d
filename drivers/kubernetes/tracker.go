package kubernetes

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// tracker folds what the API server says about pods and endpoints into instances and
// events. It is told of every change with the time of its arrival, in order, and knows no
// clock, no lock and no network.
type tracker struct {
	first string // name of the subject's first port
	open  func(pod *corev1.Pod) map[string]string
	emit  func(drivers.Event)
	notes []string // for the detail of the first event
	// container is the name of the one that is the instance, in pods that have several;
	// initial is the revision of pods that bear no mark of one.
	container, initial string
	revisionOf         func(*corev1.Pod) string // unless it is nil, says it instead of initial

	pods     []*podRecord
	slices   map[string]*discoveryv1.EndpointSlice
	troubles map[string]string  // the last warning about each pod
	killings map[string]string  // why a kubelet ended a container of a pod last
	finished map[types.UID]bool // pods that have ended for good, though their objects may remain
}

// podRecord is one pod of the subject.
type podRecord struct {
	pod         *corev1.Pod
	initial     string            // its revision unless it bears the mark of one
	ports       map[string]string // host:port by name
	containers  []string          // IDs of those that are known to have run
	kubelet     bool              // the kubelet calls it ready
	kubeletAt   time.Time         // when the lab learnt that
	routed      bool              // its last event was Ready
	everRouted  bool
	terminating bool
}

func newTracker(first string, open func(*corev1.Pod) map[string]string, emit func(drivers.Event)) *tracker {
	return &tracker{container: containerName, first: first, open: open, emit: emit, slices: map[string]*discoveryv1.EndpointSlice{}, troubles: map[string]string{}, killings: map[string]string{}, finished: map[types.UID]bool{}}
}

func (r *podRecord) revision() string {
	if marked, ok := r.pod.Annotations[annotationRevision]; ok {
		return marked
	}
	return r.initial
}

func (r *podRecord) started() bool { return len(r.containers) > 0 }

func (r *podRecord) state() drivers.State {
	switch {
	case r.terminating:
		return drivers.StateTerminating
	case r.routed:
		return drivers.StateReady
	case r.everRouted:
		return drivers.StateUnready
	}
	return drivers.StateStarting
}

func (t *tracker) find(uid types.UID) *podRecord {
	for _, r := range t.pods {
		if r.pod.UID == uid {
			return r
		}
	}
	return nil
}

func (t *tracker) event(at time.Time, kind drivers.EventKind, r *podRecord, detail string) {
	e := drivers.Event{At: at, Kind: kind, Instance: r.pod.Name, Revision: r.revision(), Detail: detail}
	if kind == drivers.Started {
		e.Addr = r.ports[t.first]
		if len(t.notes) > 0 {
			e.Detail = strings.Join(append([]string{detail}, t.notes...), "; ")
			t.notes = nil
		}
	}
	t.emit(e)
}

// podSeen takes in the present state of a pod.
func (t *tracker) podSeen(at time.Time, pod *corev1.Pod) {
	if t.finished[pod.UID] {
		return
	}
	if finished(pod) {
		t.finished[pod.UID] = true
		t.podGone(at, pod)
		return
	}
	r := t.find(pod.UID)
	if r == nil {
		r = &podRecord{ports: t.open(pod), initial: t.initial}
		if t.revisionOf != nil {
			r.initial = t.revisionOf(pod)
		}
		t.pods = append(t.pods, r)
	}
	r.pod = pod
	for _, c := range ran(pod, t.container) {
		if !slices.Contains(r.containers, c.id) {
			detail := c.detail
			if len(r.containers) > 0 {
				detail = fmt.Sprintf("restart %d, after %s", len(r.containers), cmp.Or(lastEnd(pod), "an end that is not known"))
				if why := t.killings[pod.Name]; why != "" {
					detail += "; " + why
					delete(t.killings, pod.Name)
				}
			}
			r.containers = append(r.containers, c.id)
			t.event(at, drivers.Started, r, detail)
		}
	}
	if ready := condition(pod, corev1.PodReady) == corev1.ConditionTrue; ready != r.kubelet {
		r.kubelet, r.kubeletAt = ready, at
	}
	if pod.DeletionTimestamp != nil && !r.terminating {
		r.terminating = true
		if r.started() {
			grace := "its grace"
			if s := pod.DeletionGracePeriodSeconds; s != nil {
				grace = fmt.Sprintf("a grace of %d s", *s)
			}
			t.event(at, drivers.Terminating, r, "deleted with "+grace)
		}
	}
	t.route(at)
}

// podGone takes in that a pod does not exist any more.
func (t *tracker) podGone(at time.Time, pod *corev1.Pod) {
	r := t.find(pod.UID)
	if r == nil {
		return
	}
	r.pod = pod
	t.pods = slices.DeleteFunc(t.pods, func(o *podRecord) bool { return o == r })
	delete(t.troubles, pod.Name)
	delete(t.killings, pod.Name)
	if r.routed {
		r.routed = false
		t.event(at, drivers.Unready, r, "the pod is gone, ahead of its endpoint")
	}
	if r.started() {
		t.event(at, drivers.Gone, r, lastEnd(pod))
	}
}

// podsReplaced takes in a complete list of pods.
func (t *tracker) podsReplaced(at time.Time, pods []*corev1.Pod) {
	for _, r := range slices.Clone(t.pods) {
		if !slices.ContainsFunc(pods, func(p *corev1.Pod) bool { return p.UID == r.pod.UID }) {
			t.podGone(at, r.pod)
		}
	}
	for _, p := range pods {
		t.podSeen(at, p)
	}
}

// sliceSeen, sliceGone and slicesReplaced take in the endpoints of the subject's Service.
func (t *tracker) sliceSeen(at time.Time, s *discoveryv1.EndpointSlice) {
	t.slices[s.Name] = s
	t.route(at)
}

func (t *tracker) sliceGone(at time.Time, s *discoveryv1.EndpointSlice) {
	delete(t.slices, s.Name)
	t.route(at)
}

func (t *tracker) slicesReplaced(at time.Time, all []*discoveryv1.EndpointSlice) {
	clear(t.slices)
	for _, s := range all {
		t.slices[s.Name] = s
	}
	t.route(at)
}

// lost takes in that a source of changes broke.
func (t *tracker) lost(at time.Time, what string, err error) {
	t.emit(drivers.Event{At: at, Kind: drivers.Lost, Detail: fmt.Sprintf("watch of %s broke and is begun again: %v", what, err)})
}

// warned takes in an event about a pod, for the details of others.
func (t *tracker) warned(e *corev1.Event) {
	if e.Reason == "Killing" && e.InvolvedObject.Kind == "Pod" {
		t.killings[e.InvolvedObject.Name] = oneLine(e.Message) // such as that it failed its liveness probe
	}
	if e.Type == corev1.EventTypeWarning && e.InvolvedObject.Kind == "Pod" {
		t.troubles[e.InvolvedObject.Name] = e.Reason + ": " + oneLine(e.Message)
	}
}

// endpoint is what the slices say about a pod.
func (t *tracker) endpoint(r *podRecord) (e discoveryv1.EndpointConditions, listed bool) {
	for _, s := range t.slices {
		for _, ep := range s.Endpoints {
			if ep.TargetRef == nil || ep.TargetRef.UID != r.pod.UID {
				continue
			}
			if !listed || isTrue(ep.Conditions.Ready, true) {
				e, listed = ep.Conditions, true
			}
		}
	}
	return e, listed
}

// isTrue reads a condition of an endpoint; when it is not given the API demands that it is
// taken for the default.
func isTrue(b *bool, unknown bool) bool {
	if b == nil {
		return unknown
	}
	return *b
}

// route emits what follows from the slices for every pod that is known to have started.
// Who becomes ready comes first: one change of a slice may say both.
func (t *tracker) route(at time.Time) {
	type change struct {
		r      *podRecord
		ready  bool
		detail string
	}
	var ready, unready []change
	anyReady := false
	for _, r := range t.pods {
		e, listed := t.endpoint(r)
		// A nil condition means ready, as the API has it.
		is := listed && isTrue(e.Ready, true)
		anyReady = anyReady || is
		if !r.started() || is == r.routed {
			continue
		}
		if is {
			ready = append(ready, change{r, true, t.readyDetail(at, r)})
		} else {
			unready = append(unready, change{r, false, t.unreadyDetail(at, r, e, listed)})
		}
	}
	for _, c := range append(ready, unready...) {
		c.r.routed = c.ready
		c.r.everRouted = c.r.everRouted || c.ready
		kind := drivers.Unready
		if c.ready {
			kind = drivers.Ready
		} else if e, listed := t.endpoint(c.r); listed && !anyReady && isTrue(e.Serving, false) && isTrue(e.Terminating, false) {
			c.detail += "; no endpoint is ready: kube-proxy falls back on it"
		}
		t.event(at, kind, c.r, c.detail)
	}
}

func (t *tracker) readyDetail(at time.Time, r *podRecord) string {
	if !r.kubelet {
		return "endpoint ready; the kubelet has not said so yet"
	}
	return fmt.Sprintf("endpoint ready; the kubelet said so %v earlier", at.Sub(r.kubeletAt).Round(time.Millisecond))
}

func (t *tracker) unreadyDetail(at time.Time, r *podRecord, e discoveryv1.EndpointConditions, listed bool) string {
	if !listed {
		return "endpoint removed"
	}
	detail := fmt.Sprintf("endpoint not ready, serving %t, terminating %t", isTrue(e.Serving, false), isTrue(e.Terminating, false))
	if !r.kubelet {
		detail += fmt.Sprintf("; the kubelet said so %v earlier", at.Sub(r.kubeletAt).Round(time.Millisecond))
		if why := t.troubles[r.pod.Name]; why != "" && !r.terminating {
			detail += "; " + why
		}
	}
	return detail
}

// finished says that a pod has ended for good, though nobody asked it to, and is kept only to
// be looked at, as one that was evicted. One that was asked to is gone when it is deleted.
func finished(pod *corev1.Pod) bool {
	if pod.DeletionTimestamp != nil {
		return false
	}
	return pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded
}

// container is one that ran.
type container struct{ id, detail string }

// ran lists the containers of that name in a pod that run or have run, oldest first, as far as its
// status remembers them.
func ran(pod *corev1.Pod, name string) []container {
	var out []container
	for _, s := range pod.Status.ContainerStatuses {
		if s.Name != name && len(pod.Status.ContainerStatuses) > 1 {
			continue
		}
		if t := s.LastTerminationState.Terminated; t != nil && t.ContainerID != "" {
			out = append(out, container{t.ContainerID, "ran on " + pod.Spec.NodeName})
		}
		if t := s.State.Terminated; t != nil && t.ContainerID != "" {
			out = append(out, container{t.ContainerID, "ran on " + pod.Spec.NodeName})
		}
		if s.State.Running != nil && s.ContainerID != "" {
			out = append(out, container{s.ContainerID, "runs on " + pod.Spec.NodeName})
		}
	}
	return out
}

// running is the ID of the container of that name that runs, without its scheme.
func running(pod *corev1.Pod, name string) (string, bool) {
	for _, s := range pod.Status.ContainerStatuses {
		if s.State.Running == nil || s.Name != name && len(pod.Status.ContainerStatuses) > 1 {
			continue
		}
		_, id, ok := strings.Cut(s.ContainerID, "://")
		return id, ok
	}
	return "", false
}

// lastEnd tells how the last container of a pod to end did.
func lastEnd(pod *corev1.Pod) string {
	for _, s := range pod.Status.ContainerStatuses {
		for _, t := range []*corev1.ContainerStateTerminated{s.State.Terminated, s.LastTerminationState.Terminated} {
			if t == nil {
				continue
			}
			if t.Signal != 0 {
				return fmt.Sprintf("signal %d", t.Signal)
			}
			return fmt.Sprintf("exit status %d (%s)", t.ExitCode, t.Reason)
		}
	}
	return ""
}

func condition(pod *corev1.Pod, kind corev1.PodConditionType) corev1.ConditionStatus {
	for _, c := range pod.Status.Conditions {
		if c.Type == kind {
			return c.Status
		}
	}
	return corev1.ConditionUnknown
}

// oneLine makes a text fit into a detail.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	const most = 300
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}

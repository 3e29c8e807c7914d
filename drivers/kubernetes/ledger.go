package kubernetes

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// ledger folds what the API server says about pods and endpoints into instances and
// events. It is told of every change with the time of its arrival, in order, and knows no
// clock, no lock and no network.
type ledger struct {
	first string // name of the subject's first port
	open  func(pod *corev1.Pod) map[string]string
	emit  func(drivers.Event)
	notes []string // for the detail of the first event
	// container is the name of the one that is the instance, in pods that have several;
	// initial is the revision of pods that bear no mark of one.
	container, initial string

	pods     []*podRecord
	slices   map[string]*discoveryv1.EndpointSlice
	troubles map[string]string  // the last warning about each pod
	ended    map[types.UID]bool // pods that are over, though their objects may remain
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

func newLedger(first string, open func(*corev1.Pod) map[string]string, emit func(drivers.Event)) *ledger {
	return &ledger{container: containerName, first: first, open: open, emit: emit, slices: map[string]*discoveryv1.EndpointSlice{}, troubles: map[string]string{}, ended: map[types.UID]bool{}}
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

func (l *ledger) find(uid types.UID) *podRecord {
	for _, r := range l.pods {
		if r.pod.UID == uid {
			return r
		}
	}
	return nil
}

func (l *ledger) event(at time.Time, kind drivers.EventKind, r *podRecord, detail string) {
	e := drivers.Event{At: at, Kind: kind, Instance: r.pod.Name, Revision: r.revision(), Detail: detail}
	if kind == drivers.Started {
		e.Addr = r.ports[l.first]
		if len(l.notes) > 0 {
			e.Detail = strings.Join(append([]string{detail}, l.notes...), "; ")
			l.notes = nil
		}
	}
	l.emit(e)
}

// podSeen takes in the present state of a pod.
func (l *ledger) podSeen(at time.Time, pod *corev1.Pod) {
	if l.ended[pod.UID] {
		return
	}
	if over(pod) {
		l.ended[pod.UID] = true
		l.podGone(at, pod)
		return
	}
	r := l.find(pod.UID)
	if r == nil {
		r = &podRecord{ports: l.open(pod), initial: l.initial}
		l.pods = append(l.pods, r)
	}
	r.pod = pod
	for _, c := range ran(pod, l.container) {
		if !slices.Contains(r.containers, c.id) {
			detail := c.detail
			if len(r.containers) > 0 {
				detail = strings.TrimSpace(fmt.Sprintf("restart %d %s", len(r.containers), lastEnd(pod)))
			}
			r.containers = append(r.containers, c.id)
			l.event(at, drivers.Started, r, detail)
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
			l.event(at, drivers.Terminating, r, "deleted with "+grace)
		}
	}
	l.route(at)
}

// podGone takes in that a pod does not exist any more.
func (l *ledger) podGone(at time.Time, pod *corev1.Pod) {
	r := l.find(pod.UID)
	if r == nil {
		return
	}
	r.pod = pod
	l.pods = slices.DeleteFunc(l.pods, func(o *podRecord) bool { return o == r })
	delete(l.troubles, pod.Name)
	if r.routed {
		r.routed = false
		l.event(at, drivers.Unready, r, "the pod is gone, ahead of its endpoint")
	}
	if r.started() {
		l.event(at, drivers.Gone, r, lastEnd(pod))
	}
}

// podsReplaced takes in a complete list of pods.
func (l *ledger) podsReplaced(at time.Time, pods []*corev1.Pod) {
	for _, r := range slices.Clone(l.pods) {
		if !slices.ContainsFunc(pods, func(p *corev1.Pod) bool { return p.UID == r.pod.UID }) {
			l.podGone(at, r.pod)
		}
	}
	for _, p := range pods {
		l.podSeen(at, p)
	}
}

// sliceSeen, sliceGone and slicesReplaced take in the endpoints of the subject's Service.
func (l *ledger) sliceSeen(at time.Time, s *discoveryv1.EndpointSlice) {
	l.slices[s.Name] = s
	l.route(at)
}

func (l *ledger) sliceGone(at time.Time, s *discoveryv1.EndpointSlice) {
	delete(l.slices, s.Name)
	l.route(at)
}

func (l *ledger) slicesReplaced(at time.Time, all []*discoveryv1.EndpointSlice) {
	clear(l.slices)
	for _, s := range all {
		l.slices[s.Name] = s
	}
	l.route(at)
}

// lost takes in that a source of changes broke.
func (l *ledger) lost(at time.Time, what string, err error) {
	l.emit(drivers.Event{At: at, Kind: drivers.Lost, Detail: fmt.Sprintf("watch of %s broke and is begun again: %v", what, err)})
}

// warned takes in an event about a pod, for the details of others.
func (l *ledger) warned(e *corev1.Event) {
	if e.Type == corev1.EventTypeWarning && e.InvolvedObject.Kind == "Pod" {
		l.troubles[e.InvolvedObject.Name] = e.Reason + ": " + oneLine(e.Message)
	}
}

// endpoint is what the slices say about a pod.
func (l *ledger) endpoint(r *podRecord) (e discoveryv1.EndpointConditions, listed bool) {
	for _, s := range l.slices {
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
func (l *ledger) route(at time.Time) {
	type verdict struct {
		r      *podRecord
		ready  bool
		detail string
	}
	var ready, unready []verdict
	anyReady := false
	for _, r := range l.pods {
		e, listed := l.endpoint(r)
		// A nil condition means ready, as the API has it.
		is := listed && isTrue(e.Ready, true)
		anyReady = anyReady || is
		if !r.started() || is == r.routed {
			continue
		}
		if is {
			ready = append(ready, verdict{r, true, l.readyDetail(at, r)})
		} else {
			unready = append(unready, verdict{r, false, l.unreadyDetail(at, r, e, listed)})
		}
	}
	for _, v := range append(ready, unready...) {
		v.r.routed = v.ready
		v.r.everRouted = v.r.everRouted || v.ready
		kind := drivers.Unready
		if v.ready {
			kind = drivers.Ready
		} else if e, listed := l.endpoint(v.r); listed && !anyReady && isTrue(e.Serving, false) && isTrue(e.Terminating, false) {
			v.detail += "; no endpoint is ready: kube-proxy falls back on it"
		}
		l.event(at, kind, v.r, v.detail)
	}
}

func (l *ledger) readyDetail(at time.Time, r *podRecord) string {
	if !r.kubelet {
		return "endpoint ready; of the kubelet's verdict the lab knows nothing yet"
	}
	return fmt.Sprintf("endpoint ready; the kubelet's verdict came %v earlier", at.Sub(r.kubeletAt).Round(time.Millisecond))
}

func (l *ledger) unreadyDetail(at time.Time, r *podRecord, e discoveryv1.EndpointConditions, listed bool) string {
	if !listed {
		return "endpoint removed"
	}
	detail := fmt.Sprintf("endpoint not ready, serving %t, terminating %t", isTrue(e.Serving, false), isTrue(e.Terminating, false))
	if !r.kubelet {
		detail += fmt.Sprintf("; the kubelet's verdict came %v earlier", at.Sub(r.kubeletAt).Round(time.Millisecond))
		if why := l.troubles[r.pod.Name]; why != "" && !r.terminating {
			detail += "; " + why
		}
	}
	return detail
}

// over says that a pod has ended for good, though nobody asked it to, and is kept only to
// be looked at, as one that was evicted. One that was asked to is gone when it is deleted.
func over(pod *corev1.Pod) bool {
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
				return fmt.Sprintf("ended by signal %d", t.Signal)
			}
			return fmt.Sprintf("ended with status %d (%s)", t.ExitCode, t.Reason)
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

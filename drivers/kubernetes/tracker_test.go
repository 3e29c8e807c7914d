package kubernetes

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// script is a tracker that is told things, one a millisecond, and what it has said.
type script struct {
	*tracker
	at   time.Time
	said []string
}

func newScript() *script {
	s := &script{at: time.Now()}
	open := func(p *corev1.Pod) map[string]string { return map[string]string{"data": "127.0.0.1:1" + p.Name} }
	s.tracker = newTracker("data", open, func(e drivers.Event) {
		s.said = append(s.said, strings.TrimSpace(fmt.Sprintf("%s %s %s", e.Kind, e.Instance, e.Revision)))
	})
	return s
}

func (s *script) now() time.Time {
	s.at = s.at.Add(time.Millisecond)
	return s.at
}

// pod makes a pod; each change is one of those below.
func pod(name string, changes ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: name, UID: types.UID("uid-" + name), Annotations: map[string]string{annotationRevision: "v1"},
	}}
	for _, c := range changes {
		c(p)
	}
	return p
}

func runs(id string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.Phase = corev1.PodRunning
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{
			Name: containerName, ContainerID: "containerd://" + id, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
		}}
	}
}

// crashed has ended with the one container and waits to start another.
func crashed(id string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{
			Name: containerName, ContainerID: "containerd://" + id,
			State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}},
			LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
				ContainerID: "containerd://" + id, ExitCode: 3, Reason: "Error"}},
		}}
	}
}

func readyPod(p *corev1.Pod) {
	p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue})
}

func terminating(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: time.Now()} }

func evicted(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }

// endpoints is a slice; a name with + is ready, with - not, with ~ terminating and serving.
func endpoints(name string, pods ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for _, p := range pods {
		state, p := p[0], p[1:]
		ready, serving, stops := state == '+', state != '-', state == '~'
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
			TargetRef:  &corev1.ObjectReference{Name: p, UID: types.UID("uid-" + p)},
			Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &stops},
		})
	}
	return s
}

func TestTracker(t *testing.T) {
	for _, c := range []struct {
		name string
		tell func(*script)
		want []string
	}{
		{"a life", func(s *script) {
			s.podSeen(s.now(), pod("a"))
			s.podSeen(s.now(), pod("a", runs("1")))
			s.sliceSeen(s.now(), endpoints("s", "-a"))
			s.podSeen(s.now(), pod("a", runs("1"), readyPod))
			s.sliceSeen(s.now(), endpoints("s", "+a"))
			s.podSeen(s.now(), pod("a", runs("1"), readyPod, terminating))
			s.sliceSeen(s.now(), endpoints("s", "~a"))
			s.podGone(s.now(), pod("a", terminating))
		}, []string{"started a v1", "ready a v1", "terminating a v1", "unready a v1", "gone a v1"}},
		{"the endpoint is heard of before the container", func(s *script) {
			s.podSeen(s.now(), pod("a"))
			s.sliceSeen(s.now(), endpoints("s", "+a"))
			s.podSeen(s.now(), pod("a", runs("1")))
		}, []string{"started a v1", "ready a v1"}},
		{"the pod is gone before its endpoint", func(s *script) {
			s.podSeen(s.now(), pod("a", runs("1")))
			s.sliceSeen(s.now(), endpoints("s", "+a"))
			s.podGone(s.now(), pod("a"))
			s.sliceSeen(s.now(), endpoints("s"))
		}, []string{"started a v1", "ready a v1", "unready a v1", "gone a v1"}},
		{"one comes and one goes in one change: never fewer than there were", func(s *script) {
			s.podsReplaced(s.now(), []*corev1.Pod{pod("a", runs("1")), pod("b", runs("2"))})
			s.sliceSeen(s.now(), endpoints("s", "+a", "-b"))
			s.sliceSeen(s.now(), endpoints("s", "~a", "+b"))
		}, []string{"started a v1", "started b v1", "ready a v1", "ready b v1", "unready a v1"}},
		{"an endpoint moves from slice to slice", func(s *script) {
			s.podSeen(s.now(), pod("a", runs("1")))
			s.sliceSeen(s.now(), endpoints("s", "+a"))
			s.sliceSeen(s.now(), endpoints("r", "+a"))
			s.sliceGone(s.now(), endpoints("s"))
		}, []string{"started a v1", "ready a v1"}},
		{"a pod that never ran says nothing", func(s *script) {
			s.podSeen(s.now(), pod("a"))
			s.podSeen(s.now(), pod("a", terminating))
			s.podGone(s.now(), pod("a", terminating))
		}, nil},
		{"each container starts once, also one that nobody saw run", func(s *script) {
			s.podSeen(s.now(), pod("a", crashed("1")))
			s.podSeen(s.now(), pod("a", crashed("1")))
			s.podSeen(s.now(), pod("a", runs("2")))
			s.podSeen(s.now(), pod("a", crashed("2")))
		}, []string{"started a v1", "started a v1"}},
		{"one that was evicted is gone, though its object stays for a while", func(s *script) {
			s.podSeen(s.now(), pod("a", runs("1")))
			s.podSeen(s.now(), pod("a", runs("1"), evicted))
			s.podSeen(s.now(), pod("a", runs("1"), evicted, terminating))
			s.podGone(s.now(), pod("a"))
		}, []string{"started a v1", "gone a v1"}},
		{"a pod of the same name is another one", func(s *script) {
			s.podSeen(s.now(), pod("a", runs("1")))
			s.sliceSeen(s.now(), endpoints("s", "+a"))
			s.podSeen(s.now(), pod("a", runs("2"), func(p *corev1.Pod) { p.UID = "other" }))
		}, []string{"started a v1", "ready a v1", "started a v1"}},
		{"what went while nobody watched", func(s *script) {
			s.podSeen(s.now(), pod("a", runs("1")))
			s.sliceSeen(s.now(), endpoints("s", "+a"))
			s.lost(s.now(), "pods", fmt.Errorf("gone"))
			s.podsReplaced(s.now(), []*corev1.Pod{pod("b", runs("2"))})
		}, []string{"started a v1", "ready a v1", "lost", "unready a v1", "gone a v1", "started b v1"}},
	} {
		s := newScript()
		c.tell(s)
		if diff := cmp.Diff(c.want, s.said); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestTrackerDetails(t *testing.T) {
	s := newScript()
	var events []drivers.Event
	s.emit = func(e drivers.Event) { events = append(events, e) }
	s.notes = []string{"interval rounded"}
	s.podSeen(s.now(), pod("a", runs("1")))
	s.podSeen(s.now(), pod("a", runs("1"), readyPod))
	s.sliceSeen(s.now(), endpoints("s", "+a"))
	s.warned(&corev1.Event{Type: corev1.EventTypeWarning, Reason: "Unhealthy", Message: "Readiness probe failed:\nstatus 503",
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Name: "a"}})
	s.podSeen(s.now(), pod("a", runs("1")))
	s.sliceSeen(s.now(), endpoints("s", "-a"))
	s.sliceSeen(s.now(), endpoints("s", "+a"))
	s.podSeen(s.now(), pod("a", runs("1"), readyPod, terminating))
	s.sliceSeen(s.now(), endpoints("s", "~a"))
	var got []string
	for _, e := range events {
		got = append(got, string(e.Kind)+": "+e.Detail)
	}
	want := []string{
		"started: runs on ; interval rounded",
		"ready: endpoint ready; the kubelet said so 1ms earlier",
		"unready: endpoint not ready, serving false, terminating false; the kubelet said so 1ms earlier; Unhealthy: Readiness probe failed: status 503",
		"ready: endpoint ready; the kubelet has not said so yet",
		"terminating: deleted with its grace",
		"unready: endpoint not ready, serving true, terminating true; no endpoint is ready: kube-proxy falls back on it",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("details (-want +got):\n%s", diff)
	}
	if got, want := events[0].Addr, "127.0.0.1:1a"; got != want {
		t.Errorf("address of the started event: got %q, want %q", got, want)
	}
}

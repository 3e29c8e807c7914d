package kubernetes

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// past is what the API server has said of pods and containers, which may be gone since then.
type past struct {
	pods map[types.UID]*corev1.Pod                   // as last seen
	ends map[string]*corev1.ContainerStateTerminated // by the ID of the container
}

func newPast() past {
	return past{map[types.UID]*corev1.Pod{}, map[string]*corev1.ContainerStateTerminated{}}
}

func (p past) seen(pod *corev1.Pod) {
	p.pods[pod.UID] = pod
	for _, s := range pod.Status.ContainerStatuses {
		for _, end := range []*corev1.ContainerStateTerminated{s.LastTerminationState.Terminated, s.State.Terminated} {
			if end == nil {
				continue
			}
			if _, id, ok := strings.Cut(end.ContainerID, "://"); ok {
				p.ends[id] = end
			}
		}
	}
}

// last is a pod as it was last seen.
func (v *view) last(pod *corev1.Pod) *corev1.Pod {
	v.mu.Lock()
	defer v.mu.Unlock()
	if seen := v.past.pods[pod.UID]; seen != nil {
		return seen
	}
	return pod
}

// knows says whether a pod was ever seen.
func (v *view) knows(pod *corev1.Pod) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.past.pods[pod.UID] != nil
}

// end is how a container has ended, nil while it is not known to have.
func (v *view) end(container string) *corev1.ContainerStateTerminated {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.past.ends[container]
}

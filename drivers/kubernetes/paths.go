package kubernetes

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/rollout-lab/rollout-lab/drivers/kubernetes/portforward"
)

// paths are the ways from this machine to single pods, past every Service: one to each pod
// of the subject for as long as it exists, and one to each dependency, which leads to its
// newest pod. Whoever holds them sees to it that one call is made at a time.
type paths struct {
	dial         portforward.Dialer
	namespace    string
	pods         map[string]*portforward.Forward // by UID
	dependencies map[string]*dependencyPath      // by service
}

type dependencyPath struct {
	forward *portforward.Forward // nil until it was opened
	pod     *corev1.Pod          // the newest, nil while there is none
}

func newPaths(dial portforward.Dialer, namespace string) paths {
	return paths{dial, namespace, map[string]*portforward.Forward{}, map[string]*dependencyPath{}}
}

// open listens for the ports of a pod of the subject.
func (p *paths) open(pod *corev1.Pod, ports map[string]int32) (addrs map[string]string, err error) {
	f, err := portforward.Listen(p.dial, p.namespace, pod.Name, ports)
	if err != nil {
		return nil, err
	}
	p.pods[string(pod.UID)] = f
	return f.Addrs(), nil
}

// drop forgets the paths to pods that do not exist any more, and returns them to be closed.
func (p *paths) drop(exists func(uid string) bool) []*portforward.Forward {
	var dropped []*portforward.Forward
	for uid, f := range p.pods {
		if !exists(uid) {
			delete(p.pods, uid)
			dropped = append(dropped, f)
		}
	}
	return dropped
}

// dependency is the path to a dependency.
func (p *paths) dependency(service string) *dependencyPath {
	d := p.dependencies[service]
	if d == nil {
		d = &dependencyPath{}
		p.dependencies[service] = d
	}
	return d
}

// openDependency listens for the ports of a dependency.
func (p *paths) openDependency(service string, ports map[string]int32) (*portforward.Forward, error) {
	f, err := portforward.Listen(p.dial, p.namespace, "", ports)
	if err != nil {
		return nil, err
	}
	p.dependency(service).forward = f
	return f, nil
}

// dependencySeen makes the path to a dependency lead to its newest pod.
func (p *paths) dependencySeen(service string, pod *corev1.Pod) {
	if service == "" || pod.DeletionTimestamp != nil {
		return
	}
	d := p.dependency(service)
	if d.pod != nil && pod.CreationTimestamp.Before(&d.pod.CreationTimestamp) {
		return
	}
	if d.pod = pod; d.forward != nil {
		d.forward.Retarget(pod.Name)
	}
}

// endpoint is the host:port of a dependency's port.
func (p *paths) endpoint(service, port string) (string, error) {
	d := p.dependencies[service]
	if d == nil || d.forward == nil {
		return "", fmt.Errorf("no dependency is named %q", service)
	}
	addr, ok := d.forward.Addrs()[port]
	if !ok {
		return "", fmt.Errorf("dependency %s has no port %q", service, port)
	}
	return addr, nil
}

// all are those that are open.
func (p *paths) all() []*portforward.Forward {
	out := slices.Collect(maps.Values(p.pods))
	for _, d := range p.dependencies {
		if d.forward != nil {
			out = append(out, d.forward)
		}
	}
	return out
}

// Package kubernetes is the driver for any cluster that a kubeconfig leads to: the
// subject is a Deployment behind a Service of type NodePort, each dependency a Deployment
// of one replica behind a Service of its own, and what rolls, routes and restarts is
// Kubernetes. It creates no cluster and builds no image; drivers/kind does.
//
// # What is the runtime here
//
// No balancer of the lab's stands between the load and the subject: requests enter
// through a node port and kube-proxy. Restart is what kubectl rollout restart does, an
// annotation on the template; Rollout is a change of the template, and the way back is a
// change to the template that was there before, so that instances which still run it are
// kept; Scale is the scale subresource. A change that is cancelled pauses the Deployment,
// so that it stops where it is; the next change resumes it.
//
// Kubernetes counts in whole seconds: the intervals and timeouts of probes, the wait
// before a stop and the grace of one are rounded up, to at least one second. What was
// rounded, or cannot be said in Kubernetes' words, is in Env.Notes and in the detail of
// the first event. terminationGracePeriodSeconds is Service.PreStop and Service.StopGrace
// together: Kubernetes counts from before the hook, the contract from after it.
//
// A Deployment starts again whatever ends, so Service.RestartOnExit changes nothing. The
// endpoint controller is told of every deletion, so Balancer.DeregisterFirst changes nothing
// either. An instance that was asked to stop no longer counts against Rolling.MaxSurge.
//
// A kubelet that has begun to stop an instance heeds no shorter grace than the one it began
// with. Where the driver has no access to containers (Config.Containers), Close and Sweep
// wait for such an instance until its grace is over, whatever they were given.
//
// The subject has a PodDisruptionBudget that lets as many instances be evicted at a time as
// Rolling.MaxUnavailable, and one where that is 0. It changes nothing about scaling,
// restarting and rolling, for which Kubernetes heeds no budget: it only makes the API
// server refuse evictions, as those of a node that is drained.
//
// # What the events mean
//
// Started: a container of the pod runs, or ran and ended before anybody looked. Ready and
// Unready: the EndpointSlices say, or say no longer, that the pod is ready for requests;
// the detail tells how long before that the kubelet called the pod ready. kube-proxy acts
// on the same slices a little later, and falls back on endpoints that are terminating but
// still serving when no other is left: the detail says when one is. Terminating: the pod
// has a deletion timestamp. Gone: the pod was deleted. The time of an event is that of its
// arrival at the lab.
//
// # Reaching one instance
//
// Instance.Addr is a listener on 127.0.0.1 whose connections go through the API server to
// the pod's own network, past Service and kube-proxy, as kubectl port-forward's do. It
// stays the same as long as the pod exists. A connection is accepted before it is known
// whether the pod takes it, and is reset when the pod does not.
//
// # Faults
//
// What Kubernetes has an API for works on any cluster: an eviction, which waits while a
// disruption budget refuses it; the end of a dependency, whose Deployment is scaled to none; and,
// as a kill, a deletion with no grace, of which a kubelet makes SIGTERM and two seconds. To
// freeze, to throttle and to end a process at once takes access to containers. Nodes are
// cordoned and drained that Config.Drain names and no others, and in a cluster that is not
// the lab's own no pods are evicted but the run's. A node bears an annotation while it is
// cordoned, and a pod while its container is frozen or throttled, so that Sweep can take it
// back after the lab was killed.
//
// # A subject that somebody else describes
//
// With Stack.Objects the subject is a Deployment and a Service of somebody else's: applied
// from manifests and removed again, or adopted where they exist. Restart is the same
// annotation, Scale the same subresource, and Rollout an annotation on the template; by a
// change of somebody else's in between an action fails. An adopted Deployment bears an
// annotation that says how it was, from before the first change until Close or Sweep has
// restored it. Where the Service does not lead to the lab, one of type NodePort is made beside it.
package kubernetes

import (
	"context"
	"time"
)

// Config says which cluster is used and how services are run in it.
type Config struct {
	// Name is the driver's name; "" means kubernetes.
	Name string

	// Kubeconfig is the path of the file that says how the cluster is reached; "" means
	// what kubectl would use. Context is the name of a context in it, "" the current one.
	// The file is only read.
	Kubeconfig, Context string

	// Namespace holds what is deployed. It must exist, and stays. "" means a namespace for
	// each deployment, which ends with it.
	Namespace string

	// Image holds the lab's program as its entrypoint, and Args come before the arguments
	// of each service, for one program that is several.
	Image string
	Args  []string

	// Provide makes an image that a service names available on the nodes; nil means that
	// the nodes have it or can pull it.
	Provide func(ctx context.Context, image string) error
	// Pack puts a program of this machine into an image with it as the entrypoint that is
	// available on the nodes; without it a service that names a program is refused.
	Pack func(ctx context.Context, program string) (image string, err error)

	// NodePorts are the node ports that the subject's Service may have, with the host:port
	// at which the lab reaches each. nil leaves the choice to the cluster.
	NodePorts map[int32]string
	// NodeAddress is the host at which the lab reaches node ports, when NodePorts is nil;
	// "" means an address of the first node, the external one if it has one.
	NodeAddress string

	// Containers reaches the containers of instances on their nodes. nil means that nobody
	// does: nothing can be frozen or throttled then, and to kill is to delete.
	Containers Containers

	// Drain names the nodes that a fault may drain. Pods of others are left there, unless
	// the cluster is the lab's Own; dependencies are placed elsewhere, where there is room.
	Drain []string
	// Own: the cluster was made by a lab and runs nothing else. A drain evicts all that is on
	// the node, and dependencies may run on nodes of the control plane.
	Own bool
}

// Times that bound what has no deadline of its own.
const (
	closeLimit   = 2 * time.Minute  // of what Close does once nobody gets any more grace
	explainLimit = 5 * time.Second  // to find out why something is stuck
	checkLimit   = 3 * time.Second  // of Check
	pauseLimit   = 10 * time.Second // to stop a change that was cancelled
)

// crashesAtDeploy is how often an instance may end before Deploy gives up: fewer than
// elsewhere, because Kubernetes waits longer each time before it starts one again.
const crashesAtDeploy = 3

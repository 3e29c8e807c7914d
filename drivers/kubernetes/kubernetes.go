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
// with. Where the driver has no access to processes (Config.Processes), Close and Sweep
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

	// Processes reaches the processes of instances on their nodes. nil means that nobody
	// does: an Env is then no drivers.Killer.
	Processes Processes
}

// Processes acts on the main process of a container from its node, which no API of
// Kubernetes offers. The container's ID is as the container runtime gave it, without a
// scheme.
type Processes interface {
	// Kill ends the process without any warning.
	Kill(ctx context.Context, node, container string) error
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

// Package kind is the driver for a Kubernetes cluster on this machine: it creates one in
// containers of the local Docker engine, or uses one that is there, puts the lab's program
// into it as an image, and is then drivers/kubernetes. It builds no node image; whoever
// can is asked to, when there is none and none can be pulled.
//
// The cluster is made at the first deployment, used by every later one of the same
// Driver, and removed by Driver.Close unless it is to be kept. Its control plane is tuned
// to leave the machine to what is measured: no leader elections, an etcd that does not
// wait for the disk, less housekeeping in the kubelet. A cluster loses its state when the
// machine fails, and that is all that it loses by this.
//
// Requests enter through node ports that Docker maps to ports of 127.0.0.1. A cluster that
// was made by somebody else must have such mappings, else nothing can be deployed in it.
//
// A cluster that is made with two workers or more can have one of them drained: the control plane
// bears a label that says that a lab has made it, and whatever it runs may be evicted.
// Dependencies run on the control plane then. Draining is refused in any other cluster, and
// while another run is on the node.
//
// No file of the user's is changed: the credentials of the cluster are kept in a temporary
// folder, and read again from the cluster by whoever uses it next.
//
// # Leaving nothing behind
//
// The name of a cluster that is not to be kept says which process made it, so that Sweep
// finds those of labs that were killed. Deployments in clusters that live on are found by
// the labels of their namespaces.
package kind

import (
	"context"
	"time"
)

// Config says which cluster is used and what runs in it. Its zero value makes a cluster
// for as long as the driver lives and can run nothing but images.
type Config struct {
	// Cluster is the name of a cluster to use, or to make if there is none. "" makes one
	// whose name nobody else uses.
	Cluster string
	// Keep leaves a cluster that was made for the next run to use. One that was there
	// before is always left.
	Keep bool

	// NodeImage is the image of the cluster's nodes. "" means the first of: an image that
	// the lab has built, kind's own default, and what BuildImage makes.
	NodeImage string
	// BuildImage builds a node image and returns its name. It is asked only when none is
	// there and none could be pulled; nil means that nobody can.
	BuildImage func(ctx context.Context) (image string, err error)
	// Workers is how many nodes a cluster that is made has besides the control plane; one
	// that was there must have as many. With 0 the control plane of a cluster that is made
	// runs everything, and any cluster that was there will do.
	Workers int

	// Program is the path of the lab's program and Args come before the arguments of each
	// service. One that is not a static Linux program of the engine's architecture is
	// built from Package, the import path of a main package, with the Go that is installed.
	Program string
	Args    []string
	Package string

	// Progress is told, a line at a time, what takes long; nil means nobody is.
	Progress func(line string)
}

const (
	// defaultName is the name of a cluster that is kept and was given no name.
	defaultName = "rollout-lab"
	// ownedPrefix begins the names of clusters that end with their lab; the owner follows.
	ownedPrefix = "rollout-lab-"

	// portsMapped is how many deployments there can be in a cluster at a time.
	portsMapped = 16
	// firstNodePort is the first of the node ports that are mapped.
	firstNodePort = 30080

	createLimit = 5 * time.Minute
	pullLimit   = 10 * time.Minute
	deleteLimit = 2 * time.Minute
	checkLimit  = 3 * time.Second
	readyLimit  = 2 * time.Minute
)

// builtImages are the names that node images built by the lab have, best first.
var builtImages = []string{"rollout-lab/kindnode:v1.34.4", "kindest/node:v1.34.4-lab"}

package kubernetes

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	kube "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/kubernetes/portforward"
	"github.com/rollout-lab/rollout-lab/drivers/owner"
)

// Driver implements drivers.Driver. Its methods may be called concurrently.
type Driver struct {
	config  Config
	self    func() (owner.Owner, error) // who this process is
	running drivers.Running

	mu       sync.Mutex
	cluster  *cluster
	nextPort int // index of the node port to try first
}

// cluster is how a cluster is reached.
type cluster struct {
	client kube.Interface
	dial   portforward.Dialer
	any    resources // what the typed client has no words for
}

// New returns a driver for the cluster of the Config. It reads nothing and connects to
// nothing until it is used.
func New(config Config) *Driver {
	config.Args = slices.Clone(config.Args)
	// Not the one at which the last lab to use the cluster began.
	return &Driver{config: config, self: owner.Self, nextPort: mathrand.IntN(1 << 16)}
}

// Name implements drivers.Driver.
func (d *Driver) Name() string {
	if d.config.Name != "" {
		return d.config.Name
	}
	return "kubernetes"
}

// connect reads the kubeconfig, once.
func (d *Driver) connect() (*cluster, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cluster != nil {
		return d.cluster, nil
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = d.config.Kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules,
		&clientcmd.ConfigOverrides{CurrentContext: d.config.Context}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	config = rest.CopyConfig(config)
	config.QPS = -1 // a client that waits by itself would delay what is measured
	config.UserAgent = fieldManager
	client, err := kube.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	dial, err := portforward.NewDialer(config, client)
	if err != nil {
		return nil, err
	}
	any, err := newResources(config)
	if err != nil {
		return nil, err
	}
	d.cluster = &cluster{client, dial, any}
	return d.cluster, nil
}

// Capabilities implements drivers.Capable.
func (d *Driver) Capabilities() drivers.Capabilities {
	return drivers.Capabilities{
		Routing: "Requests enter through a NodePort and kube-proxy, which routes to the ready endpoints of the Service: a pod is one while the kubelet's readiness probe says so, and no more from the moment that it is being deleted.",
	}
}

// ProbeInterval implements drivers.ProbeIntervaler: a direct question goes through the API server
// and a kubelet and takes about 4 ms of processor time, most of it in those two.
func (d *Driver) ProbeInterval() time.Duration { return 200 * time.Millisecond }

// Faults implements drivers.Faulter.
func (d *Driver) Faults(ctx context.Context) map[drivers.FaultKind]error {
	out := map[drivers.FaultKind]error{drivers.FaultPause: nil, drivers.FaultCPU: nil}
	if d.config.Containers == nil {
		out[drivers.FaultPause], out[drivers.FaultCPU] = noContainers(), noContainers()
	}
	ctx, cancel := context.WithTimeoutCause(ctx, checkLimit, fmt.Errorf("no answer within %v", checkLimit))
	defer cancel()
	c, err := d.connect()
	if err != nil {
		err = unavailable(err, "set KUBECONFIG, or name a kubeconfig and a context that lead to a cluster")
	}
	for kind, needed := range map[drivers.FaultKind][]authorizationv1.ResourceAttributes{
		drivers.FaultKill:  {{Verb: "delete", Resource: "pods"}},
		drivers.FaultStop:  {{Verb: "delete", Resource: "pods"}, {Verb: "update", Group: "apps", Resource: "deployments", Subresource: "scale"}},
		drivers.FaultEvict: {{Verb: "create", Resource: "pods", Subresource: "eviction"}},
	} {
		if out[kind] = err; err == nil {
			out[kind] = c.allows(ctx, d.config.Namespace, needed...)
		}
	}
	out[drivers.FaultNodeDrain] = err
	if err == nil {
		out[drivers.FaultNodeDrain] = d.drainable(ctx, c)
	}
	return out
}

// drainable says whether there are nodes that may be drained, and can be.
func (d *Driver) drainable(ctx context.Context, c *cluster) error {
	if len(d.config.Drain) == 0 {
		return &drivers.HintError{
			Err:  fmt.Errorf("%w: no node of the cluster may be drained", drivers.ErrUnsupported),
			Hint: "name each one that may with --kubernetes-drain NODE, or use --driver kind with --kind-workers 2",
		}
	}
	if err := c.allows(ctx, "", authorizationv1.ResourceAttributes{Verb: "patch", Resource: "nodes"}); err != nil {
		return err
	}
	return drainable(ctx, c, d.config.Drain)
}

// Check implements drivers.Driver: it asks the API server for its version, and whether
// the user of the kubeconfig may create what is needed.
func (d *Driver) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, checkLimit, fmt.Errorf("no answer within %v", checkLimit))
	defer cancel()
	c, err := d.connect()
	if err != nil {
		return unavailable(err, "set KUBECONFIG, or name a kubeconfig and a context that lead to a cluster")
	}
	if _, err := c.version(ctx); err != nil {
		return unavailable(fmt.Errorf("ask the API server: %w", err), "see whether kubectl version works with the same kubeconfig and context")
	}
	needed := []authorizationv1.ResourceAttributes{
		{Verb: "create", Group: "apps", Resource: "deployments"},
		{Verb: "create", Group: "policy", Resource: "poddisruptionbudgets"},
		{Verb: "create", Resource: "pods", Subresource: "portforward"},
	}
	if d.config.Namespace == "" {
		needed = append(needed, authorizationv1.ResourceAttributes{Verb: "create", Resource: "namespaces"})
	}
	return c.allows(ctx, d.config.Namespace, needed...)
}

// allows asks whether the user of the kubeconfig may do all that, in a namespace or, with "",
// in every one.
func (c *cluster) allows(ctx context.Context, namespace string, needed ...authorizationv1.ResourceAttributes) error {
	for _, n := range needed {
		n.Namespace = namespace
		review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &n}}
		answer, err := c.client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
		if err != nil {
			return unavailable(fmt.Errorf("ask what is allowed: %w", err), "use a context whose user may review its own access")
		}
		if !answer.Status.Allowed {
			what := strings.TrimSuffix(n.Resource+"/"+n.Subresource, "/")
			return unavailable(fmt.Errorf("the user of the kubeconfig may not %s %s", n.Verb, what), "use a context whose user may, or name a namespace in which it may")
		}
	}
	return nil
}

func unavailable(err error, hint string) error {
	return &drivers.HintError{Err: fmt.Errorf("%w: %w", drivers.ErrUnavailable, err), Hint: hint}
}

// Version is the version of the cluster, or why it is not known.
func (d *Driver) Version(ctx context.Context) string {
	ctx, cancel := context.WithTimeoutCause(ctx, checkLimit, fmt.Errorf("no answer within %v", checkLimit))
	defer cancel()
	c, err := d.connect()
	if err != nil {
		return "unknown: " + oneLine(err.Error())
	}
	v, err := c.version(ctx)
	if err != nil {
		return "unknown: " + oneLine(err.Error())
	}
	return v
}

// version asks the API server. The client library's own call for this heeds no context.
func (c *cluster) version(ctx context.Context) (string, error) {
	type answer struct {
		version string
		err     error
	}
	got := make(chan answer, 1)
	go func() {
		v, err := c.client.Discovery().ServerVersion()
		if err != nil {
			got <- answer{err: err}
			return
		}
		got <- answer{version: v.GitVersion}
	}()
	select {
	case a := <-got:
		return a.version, a.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// runLabel is the value of labelRun: the run's ID, or a hash of one that no label can hold.
func runLabel(runID string) string {
	if len(validation.IsValidLabelValue(runID)) == 0 {
		return runID
	}
	sum := sha256.Sum256([]byte(runID))
	return "sha256-" + hex.EncodeToString(sum[:16])
}

// Deploy implements drivers.Driver.
func (d *Driver) Deploy(ctx context.Context, stack drivers.Stack) (drivers.Env, error) {
	if err := errors.Join(stack.Validate(), d.Support().Refuse(d.Name(), stack)); err != nil {
		return nil, err
	}
	c, err := d.connect()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", drivers.ErrUnavailable, err)
	}
	lab, err := d.self()
	if err != nil {
		return nil, err
	}
	id := strings.ToLower(rand.Text()[:10])
	l := layout{
		namespace: d.config.Namespace, rolling: stack.Rolling, drained: d.config.Drain, controlPlane: d.config.Own,
		labels: map[string]string{labelRun: runLabel(stack.RunID), labelOwner: lab.String(), labelDeployment: id},
	}
	suffix := ""
	if l.namespace == "" {
		l.namespace = objectName("lab-"+stack.Name, "-"+id)
	} else {
		suffix = "-" + id
	}
	if stack.Objects != nil {
		l.names = map[string]string{stack.Subject.Name: stack.Objects.Deployment}
	} else if l.names, err = objectNames(stack, suffix); err != nil {
		return nil, err
	}
	e, err := newEnvironment(d, c, stack, l)
	if err != nil {
		return nil, err
	}
	d.running.Add(e, stack.RunID)
	if err := e.life.Deploy(ctx, e.deploy); err != nil {
		return nil, err
	}
	return e, nil
}

// Sweep implements drivers.Driver. Environments of the named run that this driver still
// has are closed without grace.
func (d *Driver) Sweep(ctx context.Context, runID string) ([]string, error) {
	c, err := d.connect()
	if err != nil {
		return nil, err
	}
	found, err := d.orphans(ctx, c, runID)
	if err != nil {
		return nil, err
	}
	var errs []error
	if runID != "" {
		errs = append(errs, d.running.Close(ctx, runID))
	}
	removed, err := uncordon(ctx, c, runID)
	errs = append(errs, err)
	for _, l := range found {
		err := l.remove(ctx, c, d.config.Containers)
		if err == nil {
			removed = append(removed, l.String())
		}
		errs = append(errs, err)
	}
	restored, err := d.restoreAdopted(ctx, c, runID)
	return append(removed, restored...), errors.Join(append(errs, err)...)
}

package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	kube "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/retry"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/owner"
)

// annotationCordoned is on a node that a lab has cordoned, and says which one, so that clean
// can take it back. A node without it is never uncordoned.
const annotationCordoned = "rollout-lab/cordoned"

// cordon is the value of annotationCordoned.
type cordon struct {
	Run        string `json:"run"`
	Owner      string `json:"owner"`
	Deployment string `json:"deployment"`
}

func cordonOf(n *corev1.Node) (c cordon, cordoned bool, err error) {
	text, cordoned := n.Annotations[annotationCordoned]
	if !cordoned {
		return c, false, nil
	}
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return c, true, fmt.Errorf("node %s: annotation %s: %w", n.Name, annotationCordoned, err)
	}
	return c, true, nil
}

// drainage is a node that is being drained.
type drainage struct {
	*environment
	node   string
	cordon cordon
	users  int // faults that it is, one for each instance that ran on the node; environment.draining is held

	end      context.CancelFunc // of what evicts
	evicting sync.WaitGroup

	mu        sync.Mutex
	evictions evictions
	waiting   []*corev1.Pod // that are to go still
	failed    error         // why nobody evicts any more
}

// drain cordons the node of a pod and begins to evict what runs there, as kubectl drain does:
// nothing that belongs to a daemon set or to the node itself. It returns when everybody was
// asked to go once; where a disruption budget refuses, it is asked again until the node is
// uncordoned. A node that the environment drains already is drained until the last of those
// faults is healed.
func (e *environment) drain(ctx context.Context, pod *corev1.Pod) (*injection, error) {
	e.draining.Lock()
	defer e.draining.Unlock()
	node := pod.Spec.NodeName
	d := e.drained[node]
	if d == nil {
		var err error
		if d, err = e.beginDrain(ctx, node); err != nil {
			return nil, err
		}
		e.drained[node] = d
	}
	d.users++
	return &injection{proof: d.proof, heal: d.leave}, nil
}

func (e *environment) beginDrain(ctx context.Context, node string) (*drainage, error) {
	if err := e.mayDrain(node); err != nil {
		return nil, err
	}
	pods, err := e.evictable(ctx, node)
	if err != nil {
		return nil, err
	}
	d := &drainage{
		environment: e, node: node, waiting: pods, evictions: evictions{environment: e}, end: func() {},
		cordon: cordon{e.stack.RunID, e.layout.labels[labelOwner], e.layout.labels[labelDeployment]},
	}
	if err := d.begin(ctx); err != nil {
		return nil, errors.Join(err, undo(ctx, d.heal))
	}
	return d, nil
}

// leave heals the node when the last fault that drains it is healed.
func (d *drainage) leave(ctx context.Context) error {
	d.draining.Lock()
	defer d.draining.Unlock()
	if d.users > 1 {
		d.users--
		return nil
	}
	if err := d.heal(ctx); err != nil {
		return err
	}
	delete(d.drained, d.node)
	return nil
}

// begin cordons the node and asks everybody to go, once and then again.
func (d *drainage) begin(ctx context.Context) error {
	if err := setCordon(ctx, d.cluster.client, d.node, d.cordon); err != nil {
		return err
	}
	if err := d.round(ctx); err != nil {
		return err
	}
	evicting, end := context.WithCancel(context.WithoutCancel(ctx))
	d.end = end
	d.evicting.Go(func() { d.goOn(evicting) })
	return nil
}

// round asks each pod that is to go still, once.
func (d *drainage) round(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var still []*corev1.Pod
	for n, p := range d.waiting {
		done, err := d.evictions.ask(ctx, p)
		if err != nil {
			d.waiting = append(still, d.waiting[n:]...)
			return err
		}
		if !done {
			still = append(still, p)
		}
	}
	d.waiting = still
	return nil
}

func (d *drainage) goOn(ctx context.Context) {
	ticker := time.NewTicker(faultPoll)
	defer ticker.Stop()
	for d.left() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		if err := d.round(ctx); err != nil && ctx.Err() == nil {
			d.mu.Lock()
			d.failed = err
			d.mu.Unlock()
			return
		}
	}
}

func (d *drainage) left() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.waiting) > 0
}

// proof asks the API server for the node, and for what it says of the pods that were evicted.
func (d *drainage) proof(ctx context.Context) (seen string, there bool, err error) {
	n, err := d.cluster.client.CoreV1().Nodes().Get(ctx, d.node, metav1.GetOptions{})
	if err != nil {
		return "", false, fmt.Errorf("look at node %s: %w", d.node, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	gone := 0
	for _, p := range d.evictions.evicted {
		if _, evicted := d.disrupted(ctx, p); evicted {
			gone++
		}
	}
	seen = fmt.Sprintf("node %s is unschedulable: %t; %d pods evicted, %d to go%s", d.node, n.Spec.Unschedulable, gone, len(d.waiting), d.evictions.refusals())
	return seen, n.Spec.Unschedulable && gone > 0, d.failed
}

// disrupted is what is known of a pod that may be none of the environment's.
func (d *drainage) disrupted(ctx context.Context, p *corev1.Pod) (string, bool) {
	if d.view.knows(p) {
		return d.view.disrupted(p)
	}
	is, err := d.cluster.client.CoreV1().Pods(p.Namespace).Get(ctx, p.Name, metav1.GetOptions{})
	if err != nil { // it has gone, and nobody has watched it
		return "", apierrors.IsNotFound(err)
	}
	return "", is.DeletionTimestamp != nil
}

// heal ends the evictions and takes the cordon back.
func (d *drainage) heal(ctx context.Context) error {
	d.end()
	d.evicting.Wait()
	return endCordon(ctx, d.cluster.client, d.node, d.cordon)
}

// mayDrain refuses a node that nobody has named: a cluster may be somebody else's.
func (e *environment) mayDrain(node string) error {
	if slices.Contains(e.driver.config.Drain, node) {
		return nil
	}
	return &drivers.HintError{
		Err:  fmt.Errorf("node %s, on which it runs, is none that may be drained: %w", node, drivers.ErrUnsupported),
		Hint: "name it with --kubernetes-drain, or use --driver kind with --kind-workers 2",
	}
}

// evictable are the pods of a node that a drain evicts: those of the environment and, where the
// cluster is the lab's own, everybody's. Where another run has pods there, nothing is drained.
func (e *environment) evictable(ctx context.Context, node string) ([]*corev1.Pod, error) {
	onNode := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("spec.nodeName", node).String()}
	namespace := e.layout.namespace
	if e.driver.config.Own {
		namespace = metav1.NamespaceAll
	}
	list, err := e.cluster.client.CoreV1().Pods(namespace).List(ctx, onNode)
	if err != nil {
		return nil, fmt.Errorf("list the pods of node %s: %w", node, err)
	}
	others, err := e.otherRuns(ctx)
	if err != nil {
		return nil, err
	}
	var out []*corev1.Pod
	for i := range list.Items {
		p := &list.Items[i]
		own := p.Namespace == e.layout.namespace && e.view.scope.serviceOf(p) != ""
		switch {
		case staysAtDrain(p) || !own && !e.driver.config.Own:
			continue
		case !own && others[p.Namespace] || p.Labels[labelDeployment] != "" && p.Labels[labelDeployment] != e.layout.labels[labelDeployment]:
			return nil, &drivers.HintError{
				Err:  fmt.Errorf("node %s runs pod %s of another run as well", node, p.Namespace+"/"+p.Name),
				Hint: "wait until that run is over, or use a cluster of your own",
			}
		}
		out = append(out, p)
	}
	return out, nil
}

// otherRuns are the namespaces of deployments of the lab's that are not this one.
func (e *environment) otherRuns(ctx context.Context) (map[string]bool, error) {
	if !e.driver.config.Own {
		return nil, nil
	}
	list, err := e.cluster.client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{LabelSelector: labelDeployment})
	if err != nil {
		return nil, fmt.Errorf("look for namespaces of other runs: %w", err)
	}
	out := map[string]bool{}
	for _, n := range list.Items {
		out[n.Name] = n.Name != e.layout.namespace
	}
	return out, nil
}

// staysAtDrain says of a pod what kubectl drain does: one of a daemon set, or of the node
// itself, stays, and one that has ended needs no eviction.
func staysAtDrain(p *corev1.Pod) bool {
	if _, mirror := p.Annotations[corev1.MirrorPodAnnotationKey]; mirror || p.DeletionTimestamp != nil || finished(p) {
		return true
	}
	by := metav1.GetControllerOf(p)
	return by != nil && by.Kind == "DaemonSet"
}

// setCordon makes a node unschedulable, with the mark of who has done it. One that is so
// already is somebody else's business.
func setCordon(ctx context.Context, client kube.Interface, node string, by cordon) error {
	mark, err := json.Marshal(by)
	if err != nil {
		return err
	}
	return patchNode(ctx, client, node, func(n *corev1.Node) (any, bool, error) {
		if n.Spec.Unschedulable {
			return nil, false, fmt.Errorf("node %s is cordoned already%s", node, byWhom(n))
		}
		return string(mark), true, nil
	})
}

// byWhom names the run that has cordoned a node, if one has.
func byWhom(n *corev1.Node) string {
	if c, cordoned, err := cordonOf(n); cordoned && err == nil {
		return " by run " + c.Run
	}
	return ""
}

// endCordon takes a cordon back, if it is still there and the same one's.
func endCordon(ctx context.Context, client kube.Interface, node string, by cordon) error {
	return gone(patchNode(ctx, client, node, func(n *corev1.Node) (any, bool, error) {
		is, cordoned, err := cordonOf(n)
		if err != nil || !cordoned || is != by {
			return nil, false, err
		}
		return nil, true, nil
	}))
}

// patchNode sets or removes the mark of a cordon, and the cordon with it. What makes it of the
// node as it is now says whether that is to be done; a change in between is looked at again.
func patchNode(ctx context.Context, client kube.Interface, node string, mark func(*corev1.Node) (value any, do bool, err error)) error {
	api := client.CoreV1().Nodes()
	return retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		n, err := api.Get(ctx, node, metav1.GetOptions{})
		if err != nil {
			return err
		}
		value, do, err := mark(n)
		if err != nil || !do {
			return err
		}
		change, err := json.Marshal(map[string]any{
			"metadata": map[string]any{"resourceVersion": n.ResourceVersion, "annotations": map[string]any{annotationCordoned: value}},
			"spec":     map[string]any{"unschedulable": value != nil},
		})
		if err != nil {
			return err
		}
		_, err = api.Patch(ctx, node, types.MergePatchType, change, metav1.PatchOptions{FieldManager: fieldManager})
		return err
	})
}

// uncordon takes back the cordons of the named run, or those of every run whose lab has
// certainly ended.
func uncordon(ctx context.Context, c *cluster, runID string) ([]string, error) {
	list, err := c.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if apierrors.IsForbidden(err) {
		return nil, nil // whoever may not list nodes can have cordoned none
	}
	if err != nil {
		return nil, fmt.Errorf("look for nodes that are cordoned: %w", err)
	}
	var done []string
	var errs []error
	for _, n := range list.Items {
		by, cordoned, err := cordonOf(&n)
		if err != nil {
			errs = append(errs, err)
		}
		if err != nil || !cordoned || !restorable(by.Run, by.Owner, runID) {
			continue
		}
		if err = endCordon(ctx, c.client, n.Name, by); err == nil {
			done = append(done, fmt.Sprintf("cordon of node %s (run %s)", n.Name, by.Run))
		}
		errs = append(errs, err)
	}
	return done, errors.Join(errs...)
}

// restorable says whether something is of the named run or, when none is named, of a lab that
// has certainly ended.
func restorable(run, lab, named string) bool {
	if named != "" {
		return run == named
	}
	by, err := owner.Parse(lab)
	return err == nil && by.Dead()
}

// drainable says whether nodes may be drained and there is another one for what ran there.
func drainable(ctx context.Context, c *cluster, names []string) error {
	list, err := c.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return unavailable(fmt.Errorf("list the nodes: %w", err), "use a context whose user may list and patch nodes")
	}
	var known, open, cordoned []string
	for _, n := range list.Items {
		known = append(known, n.Name)
		if n.Spec.Unschedulable {
			cordoned = append(cordoned, n.Name+byWhom(&n))
		}
		if !n.Spec.Unschedulable && !slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Effect != corev1.TaintEffectPreferNoSchedule }) {
			open = append(open, n.Name)
		}
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			return unavailable(fmt.Errorf("the cluster has no node %s", name), "it has: "+strings.Join(known, ", "))
		}
	}
	if len(open) < 2 && len(cordoned) > 0 {
		return unavailable(fmt.Errorf("nodes that take new pods: %d; cordoned: %s", len(open), strings.Join(cordoned, ", ")), "rollout-lab clean takes back what a killed lab has cordoned")
	}
	if len(open) < 2 {
		return unavailable(fmt.Errorf("nodes that take new pods: %d, and what one of them runs needs another", len(open)), "use a cluster with two workers")
	}
	return nil
}

package kind

import (
	"context"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/kind/pkg/apis/config/v1alpha4"
	"sigs.k8s.io/kind/pkg/cluster/nodeutils"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// labelMade is on the control plane of a cluster that a lab has made: whatever runs in it is
// the lab's, or the cluster's own.
const labelMade = "rollout-lab/made"

// workersToDrain is how many workers there must be for one to be drained.
const workersToDrain = 2

// workers are the names of the nodes beside the control plane.
func (c *cluster) workers() ([]string, error) {
	all, err := c.provider.ListInternalNodes(c.name)
	if err != nil {
		return nil, fmt.Errorf("nodes of cluster %s: %w", c.name, err)
	}
	found, err := nodeutils.SelectNodesByRole(all, string(v1alpha4.WorkerRole))
	if err != nil {
		return nil, fmt.Errorf("nodes of cluster %s: %w", c.name, err)
	}
	var names []string
	for _, n := range found {
		names = append(names, n.String())
	}
	return names, nil
}

// findDrainable finds the nodes that may be drained. A cluster that somebody else has made has
// none, whatever it is called.
func (c *cluster) findDrainable(ctx context.Context) ([]string, error) {
	workers, err := c.workers()
	if err != nil || len(workers) < workersToDrain {
		return nil, err
	}
	client, err := c.client()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, checkLimit, fmt.Errorf("no answer within %v", checkLimit))
	defer cancel()
	made, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: labelMade})
	if err != nil || len(made.Items) == 0 {
		return nil, err
	}
	return workers, nil
}

// Faults implements drivers.Faulter. It makes no cluster.
func (d *Driver) Faults(ctx context.Context) map[drivers.FaultKind]error {
	err := d.Check(ctx)
	out := map[drivers.FaultKind]error{}
	for _, k := range drivers.FaultKinds() {
		out[k] = err
	}
	if err == nil {
		out[drivers.FaultNodeDrain] = d.drains(ctx)
	}
	return out
}

// drains says why no node could be drained: of the cluster that is in use or would be, or of
// the one that would be made.
func (d *Driver) drains(ctx context.Context) error {
	name, err := d.clusterName()
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	known, err := newProvider(func(string) {}).List()
	if err != nil {
		return unavailable(fmt.Errorf("list clusters: %w", err), "see whether docker ps works")
	}
	if !slices.Contains(known, name) {
		if d.config.Workers < workersToDrain {
			return &drivers.HintError{
				Err:  fmt.Errorf("%w: a node is drained only where another one takes what it runs, and the cluster would have %d workers", drivers.ErrUnavailable, d.config.Workers),
				Hint: fmt.Sprintf("have it made with --kind-workers %d", workersToDrain),
			}
		}
		return nil
	}
	c, err := newCluster(ctx, name, func(string) {})
	if err != nil {
		return err
	}
	defer c.forget() //nolint:errcheck // it holds a copy of credentials, and Sweep takes what is left of it
	if err := c.hasWorkers(d.config.Workers); err != nil {
		return err
	}
	if err := c.use(ctx); err != nil {
		return err
	}
	if len(c.drainable) == 0 {
		return &drivers.HintError{
			Err:  fmt.Errorf("%w: a node is drained only in a cluster that a lab has made, with two workers, and cluster %s is none", drivers.ErrUnavailable, name),
			Hint: fmt.Sprintf("name no cluster, or one that is not there, and have it made with --kind-workers %d", workersToDrain),
		}
	}
	return nil
}

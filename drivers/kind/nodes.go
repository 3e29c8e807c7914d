package kind

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kube "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// nodesPoll is how often it is looked whether all nodes are ready.
const nodesPoll = 250 * time.Millisecond

// client is a way to the cluster.
func (c *cluster) client() (kube.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", c.kubeconfig())
	if err != nil {
		return nil, fmt.Errorf("credentials of cluster %s: %w", c.name, err)
	}
	client, err := kube.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("credentials of cluster %s: %w", c.name, err)
	}
	return client, nil
}

// awaitNodes waits until every node of a cluster that was made is ready. kind waits for the
// control plane alone, and a kubelet that fails on another node is seen by nobody.
func (c *cluster) awaitNodes(ctx context.Context) error {
	all, err := c.provider.ListInternalNodes(c.name)
	if err != nil {
		return fmt.Errorf("nodes of cluster %s: %w", c.name, err)
	}
	var names []string
	for _, n := range all {
		names = append(names, n.String())
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, readyLimit, fmt.Errorf("not ready within %v", readyLimit))
	defer cancel()
	ticker := time.NewTicker(nodesPoll)
	defer ticker.Stop()
	for {
		list, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		waiting := names
		if err == nil {
			if waiting = notReady(names, list.Items); len(waiting) == 0 {
				return nil
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			err = errors.Join(context.Cause(ctx), err)
			return &drivers.HintError{
				Err:  fmt.Errorf("nodes %s of cluster %s: %w; the kubelet says: %s", strings.Join(waiting, ", "), c.name, err, c.kubeletTrouble(ctx, waiting[0])),
				Hint: "too many open files mean that fs.inotify.max_user_instances is too low for all the nodes on this machine",
			}
		}
	}
}

// lastWords is what the nodes of a cluster that could not be made have printed last.
func (c *cluster) lastWords(ctx context.Context) string {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), checkLimit, fmt.Errorf("no answer within %v", checkLimit))
	defer cancel()
	all, err := c.provider.ListInternalNodes(c.name)
	if err != nil || len(all) == 0 {
		return "no node of it is there"
	}
	var words []string
	for _, n := range all {
		name := n.String()
		text, err := c.engine.LastLines(ctx, name, 3)
		if err != nil {
			text = err.Error()
		}
		words = append(words, fmt.Sprintf("node %s is %s; its last output: %s", name, c.stateOf(ctx, name), strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' }), " | ")))
	}
	return strings.Join(words, "; ")
}

func (c *cluster) stateOf(ctx context.Context, node string) string {
	found, err := c.engine.ContainerInspect(ctx, node)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%s, exit code %d", found.State.Status, found.State.ExitCode)
}

// kubeletTrouble is the last of what a node's kubelet has written about errors: the node is
// removed before anybody can look. It asks on although ctx has ended, for a short time.
func (c *cluster) kubeletTrouble(ctx context.Context, node string) string {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), checkLimit, fmt.Errorf("no answer within %v", checkLimit))
	defer cancel()
	text, err := c.engine.Exec(ctx, node, nil, "journalctl", "--unit", "kubelet", "--output", "cat", "--lines", "400", "--no-pager")
	if err != nil {
		return "nothing that can be read: " + err.Error()
	}
	return lastErrors(text, 2)
}

// lastErrors picks the last lines of a log that are errors as the kubelet writes them.
func lastErrors(log string, n int) string {
	lines := slices.DeleteFunc(strings.Split(log, "\n"), func(l string) bool { return !strings.HasPrefix(l, "E") })
	if len(lines) == 0 {
		return "nothing about an error"
	}
	return strings.Join(lines[max(0, len(lines)-n):], " | ")
}

// notReady are those of the names that are no node that is ready.
func notReady(names []string, nodes []corev1.Node) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		return slices.ContainsFunc(nodes, func(n corev1.Node) bool {
			return n.Name == name && slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
				return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
			})
		})
	})
}

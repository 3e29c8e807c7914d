package kind

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"

	"github.com/docker/docker/api/types/container"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/dockerengine"
)

// clusterLabel is the label that kind gives to the containers of a cluster's nodes.
const clusterLabel = "io.x-k8s.kind.cluster"

// dial finds the engine, and has kind use the same: it runs the docker command, whose
// environment is this process's.
func dial(ctx context.Context) (*dockerengine.Engine, error) {
	if _, err := exec.LookPath("docker"); err != nil {
		return nil, unavailable(err, "install Docker and its command-line client")
	}
	e, err := dockerengine.DialLocal(ctx)
	if err != nil {
		return nil, err
	}
	for name, value := range e.Address.Variables() {
		if err := os.Setenv(name, value); err != nil {
			return nil, err
		}
	}
	return e, nil
}

func unavailable(err error, hint string) error {
	return &drivers.HintError{Err: fmt.Errorf("%w: %w", drivers.ErrUnavailable, err), Hint: hint}
}

// mappedPorts are the TCP ports of a cluster's nodes that Docker maps to the loopback
// interface, with the address of each there.
func mappedPorts(ctx context.Context, e *dockerengine.Engine, cluster string) (map[int32]string, error) {
	nodes, err := e.ContainerList(ctx, container.ListOptions{Filters: dockerengine.Filter(clusterLabel + "=" + cluster)})
	if err != nil {
		return nil, fmt.Errorf("list the nodes of cluster %s: %w", cluster, err)
	}
	if len(nodes) == 0 {
		return nil, fmt.Errorf("no node of cluster %s runs", cluster)
	}
	return loopbackPorts(nodes), nil
}

func loopbackPorts(nodes []container.Summary) map[int32]string {
	out := map[int32]string{}
	for _, n := range nodes {
		for _, p := range n.Ports {
			number := int32(p.PrivatePort)
			if p.Type == "tcp" && p.IP == "127.0.0.1" && p.PublicPort != 0 && number >= lowestNodePort && number <= highestNodePort {
				out[number] = p.IP + ":" + strconv.Itoa(int(p.PublicPort))
			}
		}
	}
	return out
}

// The range of node ports of a cluster that says nothing else.
const (
	lowestNodePort  = 30000
	highestNodePort = 32767
)

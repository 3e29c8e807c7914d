package kind

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
)

// clusterLabel is the label that kind gives to the containers of a cluster's nodes.
const clusterLabel = "io.x-k8s.kind.cluster"

// docker runs the Docker client, as kind itself does, and returns what it printed.
func docker(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "docker", args...)
	var out, failure bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &failure
	if err := cmd.Run(); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return "", fmt.Errorf("docker %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(failure.String()))
	}
	return strings.TrimSpace(out.String()), nil
}

// hasImage says whether the engine has an image.
func hasImage(ctx context.Context, image string) (bool, error) {
	out, err := docker(ctx, "image", "ls", "--quiet", "--no-trunc", image)
	return out != "", err
}

// architecture is that of the engine's machine, in Go's words.
func architecture(ctx context.Context) (string, error) {
	return docker(ctx, "version", "--format", "{{.Server.Arch}}")
}

// mappedPorts are the TCP ports of a cluster's nodes that Docker maps to the loopback
// interface, with the address of each there.
func mappedPorts(ctx context.Context, cluster string) (map[int32]string, error) {
	ids, err := docker(ctx, "ps", "--quiet", "--no-trunc", "--filter", "label="+clusterLabel+"="+cluster)
	if err != nil {
		return nil, err
	}
	if ids == "" {
		return nil, fmt.Errorf("no node of cluster %s runs", cluster)
	}
	text, err := docker(ctx, append([]string{"inspect"}, strings.Fields(ids)...)...)
	if err != nil {
		return nil, err
	}
	return parsePorts([]byte(text))
}

func parsePorts(inspected []byte) (map[int32]string, error) {
	var nodes []struct {
		NetworkSettings struct {
			Ports map[string][]struct{ HostIp, HostPort string }
		}
	}
	if err := json.Unmarshal(inspected, &nodes); err != nil {
		return nil, fmt.Errorf("read the ports of nodes: %w", err)
	}
	out := map[int32]string{}
	for _, n := range nodes {
		for port, bindings := range n.NetworkSettings.Ports {
			text, isTCP := strings.CutSuffix(port, "/tcp")
			number, err := strconv.ParseInt(text, 10, 32)
			if err != nil || !isTCP || number < lowestNodePort || number > highestNodePort {
				continue
			}
			for _, b := range bindings {
				if b.HostIp == "127.0.0.1" && b.HostPort != "" {
					out[int32(number)] = b.HostIp + ":" + b.HostPort
				}
			}
		}
	}
	return out, nil
}

// The range of node ports of a cluster that says nothing else.
const (
	lowestNodePort  = 30000
	highestNodePort = 32767
)

// processes ends containers from their nodes, with the client that every containerd has.
type processes struct{}

// Kill implements kubernetes.Processes.
func (processes) Kill(ctx context.Context, node, container string) error {
	if node == "" || container == "" {
		return errors.New("no node or no container")
	}
	_, err := docker(ctx, "exec", node, "ctr", "--namespace", "k8s.io", "tasks", "kill", "--signal", "SIGKILL", container)
	return err
}

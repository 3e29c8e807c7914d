package podnet

import (
	"encoding/json"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
)

// ipamDir is where the host-local plugin keeps its leases. It is on a tmpfs, so that a
// node that starts again starts with none.
const ipamDir = "/run/cni-ipam-state"

// plan is what one node's network should look like.
type plan struct {
	podCIDR netip.Prefix                // this node's pods; invalid while it has no range
	routes  map[netip.Prefix]netip.Addr // other nodes' pods, and the node that has them
}

// planFor derives the plan of node self from all nodes. A node without a range or an
// address has no part in it yet. Only IPv4 is looked at.
func planFor(self string, nodes []*corev1.Node) (plan, error) {
	p := plan{routes: map[netip.Prefix]netip.Addr{}}
	for _, n := range nodes {
		if n.Spec.PodCIDR == "" {
			continue
		}
		cidr, err := netip.ParsePrefix(n.Spec.PodCIDR)
		if err != nil {
			return plan{}, fmt.Errorf("node %s: pod range %q: %w", n.Name, n.Spec.PodCIDR, err)
		}
		if !cidr.Addr().Is4() {
			return plan{}, fmt.Errorf("node %s: pod range %s: only IPv4 is supported", n.Name, cidr)
		}
		if n.Name == self {
			p.podCIDR = cidr.Masked()
			continue
		}
		if addr, ok := internalIP(n); ok {
			p.routes[cidr.Masked()] = addr
		}
	}
	return p, nil
}

func internalIP(n *corev1.Node) (netip.Addr, bool) {
	for _, a := range n.Status.Addresses {
		if a.Type != corev1.NodeInternalIP {
			continue
		}
		if addr, err := netip.ParseAddr(a.Address); err == nil && addr.Is4() {
			return addr, true
		}
	}
	return netip.Addr{}, false
}

// networkConfig is the CNI configuration of a node whose pods are in cidr: a point to
// point link for each pod, and host ports.
func networkConfig(cidr netip.Prefix) ([]byte, error) {
	type object = map[string]any
	doc, err := json.MarshalIndent(object{
		"cniVersion": "0.4.0",
		"name":       "podnet",
		"plugins": []object{{
			"type": "ptp",
			// The node masquerades what leaves the cluster; doing it per pod as well would
			// hide pods from each other across nodes.
			"ipMasq": false,
			"ipam": object{
				"type":    "host-local",
				"dataDir": ipamDir,
				"ranges":  [][]object{{{"subnet": cidr.String()}}},
				"routes":  []object{{"dst": "0.0.0.0/0"}},
			},
		}, {
			"type":         "portmap",
			"capabilities": object{"portMappings": true},
		}},
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the CNI configuration: %w", err)
	}
	return append(doc, '\n'), nil
}

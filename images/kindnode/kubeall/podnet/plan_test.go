package podnet

import (
	"encoding/json"
	"maps"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func node(name, cidr string, addresses ...string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.NodeSpec{PodCIDR: cidr}}
	n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeHostName, Address: name})
	for _, a := range addresses {
		n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a})
	}
	return n
}

func TestPlan(t *testing.T) {
	tests := []struct {
		name   string
		nodes  []*corev1.Node
		want   string
		routes map[string]string
		err    string
	}{
		{name: "no nodes", want: "invalid Prefix"},
		{name: "no range yet", nodes: []*corev1.Node{node("a", "", "10.0.0.1")}, want: "invalid Prefix"},
		{
			name:  "own range alone",
			nodes: []*corev1.Node{node("a", "10.244.0.0/24", "10.0.0.1")},
			want:  "10.244.0.0/24",
		},
		{
			name:   "peer by its first IPv4 address",
			nodes:  []*corev1.Node{node("a", "10.244.0.0/24", "10.0.0.1"), node("b", "10.244.1.0/24", "fd00::2", "10.0.0.2", "10.0.0.3")},
			want:   "10.244.0.0/24",
			routes: map[string]string{"10.244.1.0/24": "10.0.0.2"},
		},
		{
			name:  "peer without an address",
			nodes: []*corev1.Node{node("a", "10.244.0.0/24"), node("b", "10.244.1.0/24")},
			want:  "10.244.0.0/24",
		},
		{name: "not a range", nodes: []*corev1.Node{node("b", "10.244.1.0")}, err: `node b: pod range "10.244.1.0"`},
		{name: "IPv6", nodes: []*corev1.Node{node("a", "fd00::/64")}, err: "only IPv4"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := planFor("a", tt.nodes)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("planFor: error %v, want one with %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.podCIDR.String() != tt.want {
				t.Errorf("own range %s, want %s", got.podCIDR, tt.want)
			}
			routes := map[netip.Prefix]netip.Addr{}
			for dst, via := range tt.routes {
				routes[netip.MustParsePrefix(dst)] = netip.MustParseAddr(via)
			}
			if !maps.Equal(got.routes, routes) {
				t.Errorf("routes %v, want %v", got.routes, routes)
			}
		})
	}
}

func TestNetworkConfigHasTheNodesRange(t *testing.T) {
	doc, err := networkConfig(netip.MustParsePrefix("10.244.3.0/24"))
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Plugins []struct {
			Type string
			IPAM struct{ Ranges [][]struct{ Subnet string } }
		}
	}
	if err := json.Unmarshal(doc, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Plugins) != 2 || got.Plugins[0].Type != "ptp" || got.Plugins[1].Type != "portmap" {
		t.Fatalf("plugins %+v, want ptp and portmap", got.Plugins)
	}
	if subnet := got.Plugins[0].IPAM.Ranges[0][0].Subnet; subnet != "10.244.3.0/24" {
		t.Errorf("subnet %s, want 10.244.3.0/24", subnet)
	}
}

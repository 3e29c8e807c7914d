// Package podnet is the pod network of a cluster whose nodes are on one network: every
// pod has a link to its node, every node has a route to each other node's pods, and what
// leaves the cluster is masqueraded. It writes the CNI configuration by which the kubelet
// finds out that the network is ready. There are no network policies and no IPv6.
package podnet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

const (
	configDir  = "/etc/cni/net.d"
	configFile = "10-podnet.conflist"
	// retryAfter is how long a failed change waits: another event may come much later.
	retryAfter = time.Second
	// protocol marks the routes that this program made, and may remove.
	protocol netlink.RouteProtocol = 78
)

// Config says which node this is.
type Config struct {
	// Node is the name of this node's Node object.
	Node string
	// PodSubnet holds the pod ranges of all nodes.
	PodSubnet string
	// APIServer is a host:port to use instead of the service address, which does not
	// answer before kube-proxy has started; empty means the service address.
	APIServer string
}

// ConfigFromEnv reads NODE_NAME, POD_SUBNET and CONTROL_PLANE_ENDPOINT.
func ConfigFromEnv(getenv func(string) string) Config {
	return Config{Node: getenv("NODE_NAME"), PodSubnet: getenv("POD_SUBNET"), APIServer: getenv("CONTROL_PLANE_ENDPOINT")}
}

// Run keeps the node's network as the nodes of the cluster require until ctx is done,
// which is not an error. It needs the credentials of a pod, CAP_NET_ADMIN, the host's
// network and /etc/cni/net.d. A change that fails is said on logTo and tried again.
func Run(ctx context.Context, cfg Config, logTo io.Writer) error {
	if cfg.Node == "" {
		return errors.New("NODE_NAME is empty")
	}
	subnet, err := netip.ParsePrefix(cfg.PodSubnet)
	if err != nil || !subnet.Addr().Is4() {
		return fmt.Errorf("POD_SUBNET is %q: want an IPv4 range such as 10.244.0.0/16", cfg.PodSubnet)
	}
	client, err := connect(cfg.APIServer)
	if err != nil {
		return err
	}
	logger := log.New(logTo, "podnet: ", log.LstdFlags)

	// One event is enough to look at everything again.
	changed := make(chan struct{}, 1)
	notify := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	nodes := factory.Core().V1().Nodes()
	if _, err := nodes.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { notify() },
		UpdateFunc: func(any, any) { notify() },
		DeleteFunc: func(any) { notify() },
	}); err != nil {
		return fmt.Errorf("watch nodes: %w", err)
	}
	factory.Start(ctx.Done())
	defer factory.Shutdown()

	notify()
	var applied string
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
		if !nodes.Informer().HasSynced() {
			// What the store has so far may lack a node, whose route must not go.
			if !cache.WaitForCacheSync(ctx.Done(), nodes.Informer().HasSynced) {
				return nil
			}
		}
		list, err := nodes.Lister().List(labels.Everything())
		if err != nil {
			return fmt.Errorf("list nodes: %w", err)
		}
		want, err := planFor(cfg.Node, list)
		if err == nil {
			err = apply(ctx, subnet, want)
		}
		if err != nil {
			logger.Print(err)
			time.AfterFunc(retryAfter, notify)
			continue
		}
		if now := fmt.Sprintf("pods in %s, routes %v", want.podCIDR, want.routes); now != applied {
			logger.Print(now)
			applied = now
		}
	}
}

func connect(apiServer string) (kubernetes.Interface, error) {
	cfg, err := rest.InClusterConfig()
	if err != nil {
		return nil, fmt.Errorf("credentials of the pod: %w", err)
	}
	if apiServer != "" {
		cfg.Host = "https://" + apiServer
	}
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("client of the API server: %w", err)
	}
	return client, nil
}

// apply makes the node's network that of the plan. It changes nothing that is right
// already. The CNI configuration comes last: it is what makes the node ready.
func apply(ctx context.Context, subnet netip.Prefix, want plan) error {
	if err := masquerade(ctx, subnet); err != nil {
		return err
	}
	// An address whose pod is gone must not follow the default route out of the machine:
	// the links of pods and the ranges of other nodes are more specific than this route.
	sink := netlink.Route{Dst: ipNet(subnet), Type: unix.RTN_UNREACHABLE, Protocol: protocol}
	if err := netlink.RouteReplace(&sink); err != nil {
		return fmt.Errorf("unreachable route for %s: %w", subnet, err)
	}
	if err := routePeers(subnet, want.routes); err != nil {
		return err
	}
	if !want.podCIDR.IsValid() {
		return nil
	}
	doc, err := networkConfig(want.podCIDR)
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(configDir, configFile), doc)
}

func masquerade(ctx context.Context, subnet netip.Prefix) error {
	rule := []string{"POSTROUTING", "-s", subnet.String(), "!", "-d", subnet.String(), "-j", "MASQUERADE"}
	iptables := func(verb string) ([]byte, error) {
		return exec.CommandContext(ctx, "iptables", append([]string{"-w", "-t", "nat", verb}, rule...)...).CombinedOutput()
	}
	if _, err := iptables("-C"); err == nil {
		return nil
	}
	if out, err := iptables("-A"); err != nil {
		return fmt.Errorf("masquerade %s: %w: %s", subnet, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// routePeers sets the routes to other nodes' pods and removes those of nodes that left.
func routePeers(subnet netip.Prefix, want map[netip.Prefix]netip.Addr) error {
	for dst, via := range want {
		if err := netlink.RouteReplace(&netlink.Route{Dst: ipNet(dst), Gw: via.AsSlice(), Protocol: protocol}); err != nil {
			return fmt.Errorf("route %s via %s: %w", dst, via, err)
		}
	}
	have, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Protocol: protocol}, netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	for _, r := range have {
		dst, ok := prefix(r.Dst)
		if !ok || dst == subnet.Masked() {
			continue
		}
		if _, wanted := want[dst]; wanted {
			continue
		}
		if err := netlink.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("remove route %s: %w", dst, err)
		}
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	p = p.Masked()
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func prefix(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), ones), ok
}

// replaceFile writes doc to path at once: containerd reads the directory when it changes.
func replaceFile(path string, doc []byte) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, doc) {
		return nil
	}
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	if err := os.WriteFile(tmp, doc, 0o644); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return nil
}

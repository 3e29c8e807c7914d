package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	applycore "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// entry is the way from this machine into the cluster that the load takes: a node port, or
// an address that a Service has of its own.
type entry struct {
	driver    *Driver
	cluster   *cluster
	namespace string
	subject   string // for messages
	addr      string // host:port, set by expose and by existing
}

// expose creates a Service in front of the subject with a node port that is free, and enters
// by it.
func (e *entry) expose(ctx context.Context, with func(nodePort int32) *applycore.ServiceApplyConfiguration) (*corev1.Service, error) {
	s, err := e.create(ctx, with)
	if err == nil {
		e.addr, err = e.at(ctx, s.Spec.Ports[0].NodePort)
	}
	return s, err
}

func (e *entry) create(ctx context.Context, with func(nodePort int32) *applycore.ServiceApplyConfiguration) (*corev1.Service, error) {
	api := e.cluster.client.CoreV1().Services(e.namespace)
	ports := e.driver.nodePorts()
	if len(ports) == 0 {
		s, err := api.Apply(ctx, with(0), applying)
		if err != nil {
			return nil, fmt.Errorf("create the service of %s: %w", e.subject, err)
		}
		return s, nil
	}
	var taken error
	for _, port := range ports {
		if err := listens(ctx, e.driver.config.NodePorts[port]); err != nil {
			taken = err
			continue
		}
		s, err := api.Apply(ctx, with(port), applying)
		if err == nil {
			return s, nil
		}
		if !apierrors.IsInvalid(err) {
			return nil, fmt.Errorf("create the service of %s: %w", e.subject, err)
		}
		taken = err // another deployment has it
	}
	return nil, &drivers.HintError{
		Err:  fmt.Errorf("create the service of %s: none of %d node ports can be used: %w", e.subject, len(ports), taken),
		Hint: "end other deployments of the lab in this cluster, or use a new cluster",
	}
}

// existing enters by a port of a Service as it is, if that leads here, and says whether it
// does.
func (e *entry) existing(ctx context.Context, s *corev1.Service, port *corev1.ServicePort) (found bool, err error) {
	for _, i := range s.Status.LoadBalancer.Ingress {
		host := i.IP
		if host == "" {
			host = i.Hostname
		}
		if addr := net.JoinHostPort(host, strconv.Itoa(int(port.Port))); host != "" && listens(ctx, addr) == nil {
			e.addr = addr
			return true, nil
		}
	}
	if port.NodePort == 0 {
		return false, nil
	}
	if mapped := e.driver.config.NodePorts; len(mapped) > 0 {
		if addr, ok := mapped[port.NodePort]; !ok || listens(ctx, addr) != nil {
			return false, nil
		}
	}
	e.addr, err = e.at(ctx, port.NodePort)
	return err == nil, err
}

// at is the host:port at which the lab reaches a node port.
func (e *entry) at(ctx context.Context, nodePort int32) (string, error) {
	if at, ok := e.driver.config.NodePorts[nodePort]; ok {
		return at, nil
	}
	host := e.driver.config.NodeAddress
	if host == "" {
		nodes, err := e.cluster.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return "", fmt.Errorf("look for the address of a node: %w", err)
		}
		if host = nodeAddress(nodes.Items); host == "" {
			return "", errors.New("no node has an address; name one at which node ports are reached")
		}
	}
	return net.JoinHostPort(host, strconv.Itoa(int(nodePort))), nil
}

// check says when the way in has broken under the load: what was refused since then says
// nothing about the subject. A mapped port takes connections whatever is behind it, so that
// nobody takes one is the mapping's own trouble.
func (e *entry) check(ctx context.Context) error {
	if e.addr == "" || len(e.driver.config.NodePorts) == 0 {
		return nil
	}
	return listens(ctx, e.addr)
}

// listens says why a port of this machine that leads into the cluster takes no
// connections. Docker's proxy of a port was seen to end for good under a load that it had
// no file descriptors for.
func listens(ctx context.Context, addr string) error {
	d := net.Dialer{Timeout: time.Second}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("the port of this machine that leads into the cluster is dead: %w", err)
	}
	return conn.Close()
}

// nodePorts are the node ports to try, in that order: another one first for each deployment.
// For two minutes after a connection has ended its node remembers to which pod it went, and
// sends a new one from the same address and port to the same node port there. Were that of
// the deployment before, the pod would be gone, and the request lost.
func (d *Driver) nodePorts() []int32 {
	ports := slices.Sorted(maps.Keys(d.config.NodePorts))
	if len(ports) == 0 {
		return nil
	}
	d.mu.Lock()
	first := d.nextPort % len(ports)
	d.nextPort = first + 1
	d.mu.Unlock()
	return slices.Concat(ports[first:], ports[:first])
}

// nodeAddress is an address of a node, an external one if there is any.
func nodeAddress(nodes []corev1.Node) string {
	for _, kind := range []corev1.NodeAddressType{corev1.NodeExternalIP, corev1.NodeInternalIP} {
		for _, n := range nodes {
			for _, a := range n.Status.Addresses {
				if a.Type == kind {
					return a.Address
				}
			}
		}
	}
	return ""
}

// entryService is a Service that leads where another one does, by a node port.
func entryService(s *corev1.Service, port *corev1.ServicePort, name string, nodePort int32) *applycore.ServiceApplyConfiguration {
	target := port.TargetPort
	if target == (intstr.IntOrString{}) {
		target = intstr.FromInt32(port.Port)
	}
	p := applycore.ServicePort().WithName(portName(0)).WithPort(port.Port).WithTargetPort(target).WithProtocol(corev1.ProtocolTCP)
	if nodePort > 0 {
		p.WithNodePort(nodePort)
	}
	spec := applycore.ServiceSpec().WithType(corev1.ServiceTypeNodePort).WithSelector(s.Spec.Selector).WithPorts(p).
		WithPublishNotReadyAddresses(s.Spec.PublishNotReadyAddresses)
	if s.Spec.SessionAffinity != "" {
		spec.WithSessionAffinity(s.Spec.SessionAffinity)
	}
	return applycore.Service(name, "").WithSpec(spec)
}

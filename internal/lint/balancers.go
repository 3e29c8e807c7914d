package lint

import (
	"strconv"
	"strings"
	"time"
)

// balancer is one of the cloud, in front of Services, that an Ingress or a Service of the
// type LoadBalancer asks for.
type balancer struct {
	name           string // for messages
	namespace      string
	services       []string
	deregistration time.Duration // how long it keeps connections to a target that goes; 0 when not known
}

// readIngress reads an Ingress that an AWS balancer with pods as its targets is made for;
// nil of another.
func readIngress(s *source, o *node, name, namespace string) *balancer {
	const prefix = "alb.ingress.kubernetes.io/"
	annotations := o.get("metadata", "annotations")
	if s.text(annotations, prefix+"target-type") != "ip" {
		return nil
	}
	b := &balancer{name: "Ingress " + show(name), namespace: namespace, deregistration: deregistration(s.text(annotations, prefix+"target-group-attributes"))}
	add := func(backend *node) {
		for _, service := range []string{backend.get("service").text("name"), backend.text("serviceName")} {
			if service != "" {
				b.services = append(b.services, service)
			}
		}
	}
	spec := s.sub(o, "spec")
	add(spec.get("defaultBackend"))
	for _, rule := range s.list(spec, "rules", true) {
		for _, path := range s.list(s.sub(rule, "http"), "paths", true) {
			add(path.get("backend"))
		}
	}
	return b
}

// readServiceBalancer is the same for a network balancer of a Service.
func readServiceBalancer(s *source, o *node, v *kubeService) *balancer {
	const prefix = "service.beta.kubernetes.io/aws-load-balancer-"
	annotations := o.get("metadata", "annotations")
	kind := s.text(annotations, prefix+"nlb-target-type")
	if kind != "ip" && kind != "nlb-ip" && s.text(annotations, prefix+"type") != "nlb-ip" {
		return nil
	}
	return &balancer{name: "Service " + show(v.name), namespace: v.namespace, services: []string{v.name}, deregistration: deregistration(s.text(annotations, prefix+"target-group-attributes"))}
}

// deregistration is the delay among the attributes of a target group, which read a=b,c=d.
func deregistration(attributes string) time.Duration {
	for _, pair := range strings.Split(attributes, ",") {
		if key, value, _ := strings.Cut(strings.TrimSpace(pair), "="); key == "deregistration_delay.timeout_seconds" {
			if n, err := strconv.Atoi(strings.TrimSpace(value)); err == nil && n > 0 && n <= 3600 {
				return time.Duration(n) * time.Second
			}
		}
	}
	return 0
}

// text is the scalar below a key, or "".
func (n *node) text(key string) string {
	if v := n.get(key); v != nil {
		return v.value
	}
	return ""
}

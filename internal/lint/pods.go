package lint

import (
	"strconv"
)

// link finds which Service, budget and scaler belongs to which workload.
func (k *kubeObjects) link() {
	k.linkConfigs()
	for _, w := range k.workloads {
		for _, v := range k.services {
			if v.namespace == w.namespace && selects(v.selector, w.labels) {
				w.services = append(w.services, v)
			}
		}
		for _, b := range k.budgets {
			if b.namespace == w.namespace && selects(b.selector, w.labels) {
				w.budgets = append(w.budgets, b)
			}
		}
		w.linkClaims(k.claims)
		for _, h := range k.scalers {
			if h.kind == w.kind && h.name == w.name && h.namespace == w.namespace {
				w.replicas = max(h.least, 1)
			}
		}
	}
}

func selects(selector, labels map[string]string) bool {
	for k, v := range selector {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return len(selector) > 0
}

// settleDrains fills in what comments and options say of the workload's drain.
func (w *workload) settleDrains(in *input) {
	declared, from := in.options.Drain, "--drain"
	if d, ok := in.comments[w.at.file].drainBetween(w.first, w.last); ok {
		declared, from = &d, "the drain comment"
	} else if w.notes.drain != nil {
		declared, from = w.notes.drain, "the drain annotation"
	}
	for _, c := range w.serving() {
		c.drain.settle(declared, from)
	}
}

func (w *workload) subject() string {
	if w.namespace != "" {
		return w.kind + " " + show(w.namespace+"/"+w.name)
	}
	return w.kind + " " + show(w.name)
}

// container names one for a message.
func (c *container) label() string { return "container " + show(c.name) }

// port resolves the port of a probe: its number as text, and whether a container of the
// pod declares it.
func (w *workload) port(c *container, port string) (number string, declared bool) {
	for _, p := range c.ports {
		if p.name == port && port != "" || strconv.Itoa(p.number) == port {
			return strconv.Itoa(p.number), true
		}
	}
	if _, err := strconv.Atoi(port); err != nil {
		return "", false
	}
	for _, other := range w.containers {
		for _, p := range other.ports {
			if strconv.Itoa(p.number) == port {
				return port, true
			}
		}
	}
	return port, false
}

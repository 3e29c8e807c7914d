package lint

import (
	"strconv"
	"strings"
)

// link finds which Service, budget and scaler belongs to which workload.
func (k *kubeObjects) link() {
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

// served tells whether the pods get requests, and whether that is certain: a Service
// selects them. Else a declared port makes it likely.
func (w *workload) served() (served, certain bool) {
	for _, v := range w.services {
		if !w.forOperators(v) {
			return true, true
		}
	}
	for _, c := range w.containers {
		for _, p := range c.ports {
			if !p.aside() {
				return true, false
			}
		}
	}
	return false, false
}

// severity is that of a finding which costs requests only if there are some.
func (w *workload) severity() Severity {
	if _, certain := w.served(); certain {
		return Error
	}
	return Warning
}

// forOperators reports whether a Service leads to ports for operators alone: metrics of a
// worker, say.
func (w *workload) forOperators(v *kubeService) bool {
	for _, p := range v.ports {
		aside := asideName(p.name) || asideName(p.target)
		for _, c := range w.containers {
			for _, own := range c.ports {
				aside = aside || own.aside() && strconv.Itoa(own.number) == p.target
			}
		}
		if !aside {
			return false
		}
	}
	return len(v.ports) > 0
}

// aside reports whether a port is for operators, not for requests.
func (p containerPort) aside() bool { return asideName(p.name) }

func asideName(name string) bool {
	for _, part := range []string{"metric", "prom", "health", "probe", "admin", "debug", "pprof"} {
		if strings.Contains(strings.ToLower(name), part) {
			return true
		}
	}
	return false
}

// serving are the containers that requests arrive at, as far as the files tell: those
// with the ports of the Services, else those with a port for requests, else all but the
// side-cars.
func (w *workload) serving() []*container {
	var out []*container
	pick := func(wanted func(*container, containerPort) bool) bool {
		for _, c := range w.containers {
			for _, p := range c.ports {
				if wanted(c, p) {
					out = append(out, c)
					break
				}
			}
		}
		return len(out) > 0
	}
	if pick(func(_ *container, p containerPort) bool {
		for _, v := range w.services {
			for _, sp := range v.ports {
				if sp.target == p.name || sp.target == strconv.Itoa(p.number) {
					return true
				}
			}
		}
		return false
	}) {
		return out
	}
	if pick(func(c *container, p containerPort) bool { return !c.sidecar && !p.aside() }) {
		return out
	}
	for _, c := range w.containers {
		if !c.sidecar {
			out = append(out, c)
		}
	}
	return out
}

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

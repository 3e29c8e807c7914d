package lint

import (
	"slices"
	"strconv"
)

// link finds which Service, budget and scaler belongs to which workload.
func (k *kubeObjects) link() {
	k.leaveOutOwned()
	k.linkConfigs()
	for _, b := range k.balancers {
		for _, v := range k.services {
			if v.namespace == b.namespace && slices.Contains(b.services, v.name) {
				v.balancers = append(v.balancers, b)
			}
		}
	}
	for _, w := range k.workloads {
		for _, v := range k.services {
			if v.namespace == w.namespace && selects(v.selector, w.labels) {
				w.services, v.selected = append(w.services, v), true
			}
		}
		for _, b := range k.budgets {
			if b.namespace == w.namespace && (b.everything || b.selector.matches(w.labels)) {
				w.budgets = append(w.budgets, b)
			}
		}
		w.linkClaims(k.claims)
		for _, h := range k.scalers {
			if h.kind == w.kind && h.name == w.name && h.namespace == w.namespace {
				w.replicas, w.scaled = max(h.least, 1), true
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
	return w.kind + " " + show(qualified(w.namespace, w.name))
}

func qualified(namespace, name string) string {
	if namespace != "" {
		return namespace + "/" + name
	}
	return name
}

// makesReplicas reports whether the pods are alike and several.
func (w *workload) makesReplicas() bool {
	return w.updated == rolling || w.updated == inPlace || w.updated == blueGreen || w.kind == "ReplicaSet" || w.kind == "ReplicationController"
}

// rolling is how many pods an update makes beside the
// old ones at most, how many of these it takes away at once, and where the file says so.
func (w *workload) rolling() (up, down int, at place) {
	at = w.strategyAt
	surge, gone := &amount{n: 25, percent: true}, &amount{n: 25, percent: true}
	switch {
	case w.updated == blueGreen:
		return w.replicas, 0, at
	case w.updated == perNode && w.strategy != "OnDelete":
		surge, gone = &amount{}, &amount{n: 1}
	case w.updated != rolling || w.strategy == "Recreate":
		return 0, 0, at
	}
	if w.surge != nil {
		surge, at = w.surge, w.surge.at
	}
	if w.unavailable != nil {
		gone, at = w.unavailable, w.unavailable.at
	}
	up, down = surge.of(w.replicas, true), gone.of(w.replicas, false)
	if up == 0 && down == 0 {
		down = 1
	}
	if w.updated == perNode {
		up = surge.n // of as many as there are nodes
	}
	return up, down, at
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

package lint

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// shortestLead is how long an instance has to serve on so that every balancer in front
// has heard of its end. A local cluster needs well under a second; this is the least
// that leaves room for a busy one.
const shortestLead = 2 * time.Second

var kubeRules = []Rule{
	{
		ID: "k8s-grace-too-short", Runtime: "kubernetes", Severity: Error,
		What: "A container takes requests, and `terminationGracePeriodSeconds` (default 30) is less than the sleep in preStop and its drain together.",
		Why:  "The clock of the grace period starts with the preStop hook, not with SIGTERM. When it runs out the kubelet kills, and whatever is in flight is cut.",
		Fix:  "Raise `terminationGracePeriodSeconds` above preStop + drain, with a few seconds to spare.",
		pods: graceTooShort,
	},
	{
		ID: "k8s-no-drain", Runtime: "kubernetes", Severity: Error,
		What: "A container takes requests, has no preStop hook or one that gains no time (it returns at once, or ends the listener itself), and the file shows no drain.",
		Why:  "SIGTERM is sent while the removal of the endpoint is still on its way to every node. A server that stops listening at once refuses the requests that arrive meanwhile: about rate x lag of them.",
		Fix:  "A preStop sleep, before anything else, of about 5 s (`preStop: {sleep: {seconds: 5}}` from Kubernetes 1.30, else `exec: {command: [sleep, \"5\"]}`), or a lame duck in the program: give its flag here, or say so with `# rollout-lab:drain 5s`.",
		pods: noDrain,
	},
	{
		ID: "k8s-drain-too-short", Runtime: "kubernetes", Severity: Warning,
		What: "preStop sleep and lame duck together are known, and shorter than 2 s.",
		Why:  "The removal of the endpoint passes through the API server, the EndpointSlice controller and each node's proxy. On a busy cluster that takes longer, and requests still arrive when the listener is gone.",
		Fix:  "5 s of preStop sleep or lame duck; more behind a cloud load balancer, whose own lag counts too.",
		pods: leadTooShort,
	},
	{
		ID: "k8s-max-unavailable", Runtime: "kubernetes", Severity: Error,
		What: "A rolling update may take every replica away: `maxUnavailable`, resolved against `replicas`, is all of them. Percentages of a Deployment are rounded down here and up for `maxSurge`, and where both come to 0 one pod may be unavailable.",
		Why:  "Old pods are deleted before a new one is ready, so for the length of a start there is no endpoint and every request fails.",
		Fix:  "`maxUnavailable: 0` and `maxSurge: 1`; for a StatefulSet, whose pods are replaced in place, more replicas.",
		pods: maxUnavailable,
	},
	{
		ID: "k8s-recreate", Runtime: "kubernetes", Severity: Error,
		What: "A Deployment that takes requests has the strategy Recreate (a warning where its volume or host port is a reason for it).",
		Why:  "All old pods are stopped before the first new one starts. Until it is ready, every request fails.",
		Fix:  "`strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}`. Not with a ReadWriteOnce volume or a host port, for which the new pod would wait while the old one holds it: there the outage is the price, until the data can be shared (ReadWriteMany) or replicated.",
		pods: recreate,
	},
	{
		ID: "k8s-statefulset-one-replica", Runtime: "kubernetes", Severity: Warning,
		What: "A StatefulSet with one replica takes requests.",
		Why:  "Its pod is deleted before its successor with the same name is made. There is no surge, so each update is an outage for the length of a start.",
		Fix:  "At least 2 replicas, if the program can run as several, or a Deployment with `maxUnavailable: 0` if neither the identity nor a volume of its own is needed.",
		pods: oneReplicaSet,
	},
	{
		ID: "k8s-daemonset-local-gap", Runtime: "kubernetes", Severity: Error,
		What: "A DaemonSet behind a Service with a traffic policy of Local is updated without surge (the default).",
		Why:  "Traffic stays on its node, and there the old pod goes before the new one comes. Nobody else on that node answers.",
		Fix:  "`updateStrategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}`, which host ports do not allow, or a traffic policy of Cluster.",
		pods: daemonGap,
	},
	{
		ID: "k8s-pdb-allows-all", Runtime: "kubernetes", Severity: Warning,
		What: "A PodDisruptionBudget permits the eviction of every replica at once. Its percentages are rounded up.",
		Why:  "A node drain, or several at once in a cluster upgrade, may then evict all pods before one successor is ready.",
		Fix:  "`maxUnavailable: 1`.",
		pods: budgetAllowsAll,
	},
	{
		ID: "k8s-publish-not-ready", Runtime: "kubernetes", Severity: Error,
		What: "A Service with a cluster IP publishes addresses that are not ready.",
		Why:  "Readiness is then ignored: requests go to pods that are starting or draining. For a headless Service, where peers look each other up, it can be right and is not reported.",
		Fix:  "Remove `publishNotReadyAddresses`, or move it to a headless Service for the peers alone.",
		pods: publishesUnready,
	},
	{
		ID: "k8s-service-port-unknown", Runtime: "kubernetes", Severity: Error,
		What: "A Service sends to a port that its pods do not have: a name that no container port bears (error), or a number that no container port, argument or variable mentions (warning).",
		Why:  "A name that cannot be resolved gives no endpoint, a port where nothing listens refuses: every request fails.",
		Fix:  "Name the port in the container's `ports`, or correct `targetPort`.",
		pods: servicePortUnknown,
	},
	{
		ID: "k8s-service-on-loopback", Runtime: "kubernetes", Severity: Error,
		What: "The port that a Service sends to is bound to the loopback address.",
		Why:  "Requests come to the address of the pod, where nothing listens: each of them is refused.",
		Fix:  "Listen on `:PORT`.",
		pods: serviceOnLoopback,
	},
	{
		ID: "k8s-shell-keeps-signal", Runtime: "kubernetes", Severity: Warning,
		What: "A container that takes requests is started by a shell script of several commands, without exec or trap. A wait does not pass a signal on.",
		Why:  "The shell is process 1 and does not pass SIGTERM on. The program never hears of the stop, drains nothing, and is killed in the midst of requests when the grace period is over.",
		Fix:  "`exec` before the last command.",
		pods: func(w *workload, r *reporter) {
			if served, _ := w.served(); !served {
				return
			}
			for _, c := range w.serving() {
				if script, kept := c.keepsShell(); kept {
					r.add(Warning, script.at, fmt.Sprintf("%s never sees SIGTERM: requests in flight are cut after %v", c.label(), w.grace), "write exec before the last command of the script")
				}
			}
		},
	},
}

func graceTooShort(w *workload, r *reporter) {
	if served, _ := w.served(); !served || w.updated == managed {
		return
	}
	if w.grace <= 0 {
		w.lose(r, "", w.graceAt, "pods are killed at once: every request in flight is cut", "terminationGracePeriodSeconds: 30")
		return
	}
	for _, c := range w.serving() {
		var sleep time.Duration
		if c.preStop != nil {
			sleep = c.preStop.sleep
		}
		need := sleep + c.drain.whole
		if need <= w.grace && (c.drain.known || sleep < w.grace) {
			continue
		}
		var parts []string
		if sleep > 0 {
			parts = append(parts, fmt.Sprintf("preStop sleeps %v", sleep))
		}
		if c.drain.whole > 0 {
			parts = append(parts, fmt.Sprintf("the drain takes %v (%s)", c.drain.whole, show(c.drain.from)))
		}
		w.lose(r, c.drain.guess, w.graceAt, fmt.Sprintf("%s is killed after %v with requests in flight: %s", c.label(), w.grace, strings.Join(parts, ", ")),
			fmt.Sprintf("terminationGracePeriodSeconds: %d", seconds(need)+5))
	}
}

func noDrain(w *workload, r *reporter) {
	if served, _ := w.served(); !served || w.updated == managed {
		return
	}
	for _, c := range w.serving() {
		if c.drain.lead > 0 || c.preStop != nil && c.preStop.vain == "" {
			continue
		}
		if c.preStop != nil {
			w.lose(r, "", c.preStop.at, fmt.Sprintf("the preStop hook of %s gains no time, and requests that still arrive are refused: %s", c.label(), c.preStop.vain),
				"sleep first: preStop: {sleep: {seconds: 5}}, or exec: {command: [sh, -c, 'sleep 5; ...']}; SIGTERM follows by itself")
			continue
		}
		what := "the file shows no drain"
		if c.drain.leadKnown {
			what = "it does not drain"
		}
		w.lose(r, "", c.at, fmt.Sprintf("requests that arrive after SIGTERM of %s are refused: no preStop, and %s", c.label(), what),
			"lifecycle: {preStop: {sleep: {seconds: 5}}}; or, if the program serves on by itself, # rollout-lab:drain 5s")
	}
}

func leadTooShort(w *workload, r *reporter) {
	if served, _ := w.served(); !served || w.updated == managed {
		return
	}
	for _, c := range w.serving() {
		lead, at := c.drain.lead, c.at
		if c.preStop != nil {
			if c.preStop.lead == 0 {
				continue // how long it takes is not known
			}
			lead, at = lead+c.preStop.lead, c.preStop.at
		}
		if lead > 0 && lead < shortestLead {
			r.add(Warning, at, fmt.Sprintf("%s stops listening %v after it is told to stop: requests of nodes that have not heard yet are refused", c.label(), lead),
				"5s of preStop sleep or lame duck")
		}
	}
}

func maxUnavailable(w *workload, r *reporter) {
	if served, _ := w.served(); !served || w.replicas < 1 {
		return
	}
	var g guess
	switch {
	case w.scaled:
		g = "that its scaler has it at its least"
	case w.replicasAt.line == 0:
		g = "that no scaler elsewhere sets more replicas"
	}
	reason := w.holds()
	switch w.updated {
	case rolling:
		if w.strategy == "Recreate" {
			return
		}
		_, down, at := w.rolling()
		if down >= w.replicas && reason != "" {
			r.add(Warning, at, fmt.Sprintf("a rollout takes %s away before a new one is ready, the price of %s: every request fails meanwhile", replicasText(w.replicas), reason), shareFix)
		} else if down >= w.replicas {
			w.lose(r, g, at, fmt.Sprintf("a rollout takes %s away before a new one is ready: every request fails meanwhile", replicasText(w.replicas)),
				"maxUnavailable: 0 and maxSurge: 1")
		}
	case inPlace:
		if w.unavailable == nil || w.strategy == "OnDelete" || w.replicas == 1 {
			return
		}
		if gone := w.unavailable.of(w.replicas, true); gone >= w.replicas {
			w.lose(r, g, w.unavailable.at, fmt.Sprintf("an update takes %s away at once: every request fails until one is back", replicasText(w.replicas)), "maxUnavailable: 1")
		}
	}
}

func replicasText(n int) string {
	if n == 1 {
		return "the only replica"
	}
	return "all " + strconv.Itoa(n) + " replicas"
}

func recreate(w *workload, r *reporter) {
	if served, _ := w.served(); !served || w.updated != rolling || w.strategy != "Recreate" || w.replicas < 1 {
		return
	}
	if reason := w.holds(); reason != "" {
		r.add(Warning, w.strategyAt, fmt.Sprintf("each rollout is an outage, the price of %s: all old pods stop before a new one starts", reason), shareFix)
	} else {
		w.lose(r, "", w.strategyAt, "each rollout is an outage: all old pods stop before a new one starts", "strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}")
	}
}

func oneReplicaSet(w *workload, r *reporter) {
	if served, _ := w.served(); !served || w.updated != inPlace || w.replicas != 1 || w.strategy == "OnDelete" {
		return
	}
	at := w.replicasAt
	if at.line == 0 {
		at = w.at
	}
	fix := "replicas: 2, or a Deployment with maxUnavailable: 0"
	if len(w.volumes) > 0 {
		fix = "replicas: 2, if the program can run as several; a Deployment would not help, for two pods cannot hold the volume"
	}
	r.add(Warning, at, "each update is an outage: the only pod is deleted before its successor is made", fix)
}

func daemonGap(w *workload, r *reporter) {
	if w.updated != perNode || w.strategy == "OnDelete" || w.surge != nil && w.surge.n > 0 {
		return
	}
	for _, v := range w.services {
		if v.local && !w.forOperators(v) {
			fix := "updateStrategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}"
			if w.hostPort() != 0 {
				fix = "a traffic policy of Cluster; a surge would wait for the host port"
			}
			r.add(Error, w.strategyAt, fmt.Sprintf("while the pod of a node is replaced, requests of Service %s on that node fail", show(v.name)), fix)
			return
		}
	}
}

func budgetAllowsAll(w *workload, r *reporter) {
	if served, _ := w.served(); !served || w.replicas < 2 || !w.makesReplicas() {
		return
	}
	for _, b := range w.budgets {
		switch {
		case b.unavailable != nil && b.unavailable.of(w.replicas, true) >= w.replicas:
			r.add(Warning, b.unavailable.at, fmt.Sprintf("node drains may evict all %d replicas at once: no endpoint is left", w.replicas), "maxUnavailable: 1")
		case b.available != nil && b.available.of(w.replicas, true) == 0:
			r.add(Warning, b.available.at, fmt.Sprintf("node drains may evict all %d replicas at once: no endpoint is left", w.replicas), "maxUnavailable: 1 in place of minAvailable")
		}
	}
}

func publishesUnready(w *workload, r *reporter) {
	for _, v := range w.services {
		if v.unready != nil && !v.headless && !w.forOperators(v) {
			r.add(Error, *v.unready, fmt.Sprintf("Service %s sends requests to pods that are not ready", show(v.name)), "remove publishNotReadyAddresses")
		}
	}
}

func servicePortUnknown(w *workload, r *reporter) {
	for _, v := range w.services {
		if v.headless {
			continue // gives addresses, not ports
		}
		for _, p := range v.ports {
			if _, err := strconv.Atoi(p.target); err != nil {
				if !w.hasPort(func(c containerPort) bool { return c.name == p.target }) {
					r.add(Error, p.at, fmt.Sprintf("Service %s has no endpoint of %s: no container port is named %s", show(v.name), w.subject(), show(p.target)),
						"name a container port "+show(p.target))
				}
				continue
			}
			if !w.mentions(p.target) {
				r.add(Warning, p.at, fmt.Sprintf("requests of Service %s go to port %s of %s, where nothing seems to listen", show(v.name), p.target, w.subject()),
					"correct targetPort, or declare the port in the container")
			}
		}
	}
}

func (w *workload) hasPort(is func(containerPort) bool) bool {
	for _, c := range w.containers {
		for _, p := range c.ports {
			if is(p) {
				return true
			}
		}
	}
	return false
}

// mentions reports whether anything in the pod names a port. It is true also where the
// file does not show enough: a container that declares no port, or takes settings from
// elsewhere.
func (w *workload) mentions(port string) bool {
	for _, c := range w.containers {
		if len(c.ports) == 0 || c.openEnv || c.names(port) {
			return true
		}
	}
	return w.hasPort(func(p containerPort) bool { return strconv.Itoa(p.number) == port })
}

func serviceOnLoopback(w *workload, r *reporter) {
	for _, v := range w.services {
		if v.headless {
			continue // gives addresses, not ports
		}
		for _, p := range v.ports {
			for _, c := range w.serving() {
				number, _ := w.port(c, p.target)
				if number == "" {
					continue
				}
				if b, bound := c.boundToLoopback(number); bound {
					r.add(b.guess.severity(Error), b.at, b.guess.told(fmt.Sprintf("every request of Service %s is refused: %s listens on %s alone", show(v.name), c.label(), show(b.value))), "listen on :"+number)
				}
			}
		}
	}
}

package lint

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// balancerLag is how long a cloud balancer may take to notice that a node has no pod to
// send to any more: three checks of 8 s at Google, of 10 s at Amazon by the defaults of
// their controllers.
const balancerLag = 20 * time.Second

// objectRules judge what several objects say together.
var objectRules = []Rule{
	{
		ID: "k8s-service-selects-nothing", Runtime: "kubernetes", Severity: Error,
		What:    "A Service selects no pod of the files and misses the labels of a workload there by a word; or it bears the name of one, or asks for the ports of the only one that no Service selects (warnings).",
		Why:     "A Service without endpoints refuses every request, or leaves it without an answer.",
		Fix:     "The labels of the pod template in the selector of the Service.",
		objects: serviceSelectsNothing,
	},
	{
		ID: "k8s-pdb-selects-nothing", Runtime: "kubernetes", Severity: Warning,
		What:    "A PodDisruptionBudget selects no pod of the files, and it seems to be meant for a workload there.",
		Why:     "It protects nothing: node drains evict every replica at once.",
		Fix:     "The labels of the pod template in the selector of the budget.",
		objects: budgetSelectsNothing,
	},
	{
		ID: "k8s-pdb-blocks-drain", Runtime: "kubernetes", Severity: Warning,
		What: "A PodDisruptionBudget permits no eviction at all: `minAvailable` is all replicas, or `maxUnavailable` is 0.",
		Why:  "A node with such a pod cannot be drained. An upgrade of the cluster waits, and when whoever runs it loses patience the pod is killed with the node, without a successor.",
		Fix:  "`maxUnavailable: 1`, with 2 replicas or more.",
		pods: budgetBlocksDrain,
	},
	{
		ID: "k8s-selector-mismatch", Runtime: "kubernetes", Severity: Error,
		What: "The selector of a workload does not match the labels of its own pod template (a warning where that has none, for a Kustomization may add them).",
		Why:  "The API server refuses the manifest, so the rollout that was to bring the fix does not happen.",
		Fix:  "The same labels in `spec.selector` and in `spec.template.metadata.labels`.",
		pods: selectorMismatch,
	},
	{
		ID: "k8s-surge-waits", Runtime: "kubernetes", Severity: Warning,
		What: "A rolling update starts a new pod beside the old ones, and both need what one alone can hold: a volume that one node or one pod can mount, or a port of the node.",
		Why:  "The new pod waits for the old one, and the update keeps the old one until the new one is ready: the rollout hangs, and with it whatever it was to mend.",
		Fix:  "`strategy: {type: Recreate}` or `maxSurge: 0`, which is an outage for the length of a start, until the data can be shared (ReadWriteMany) or replicated.",
		pods: surgeWaits,
	},
	{
		ID: "k8s-balancer-lag", Runtime: "kubernetes", Severity: Warning,
		What: "How long the pods serve on is known, and shorter than the balancer in front needs: 20 s for a Service with `externalTrafficPolicy: Local`, or the deregistration delay that an annotation for an AWS balancer sets for pods as targets (`target-type: ip`).",
		Why:  "With the policy Local a balancer learns from its own checks of the nodes, some seconds apart, that the last pod of a node goes. A target that is deregistered gets what its connections bring until the delay is over. Until then requests come to a pod that is gone, and are answered with 502 or 504.",
		Fix:  "A preStop sleep longer than that, with `terminationGracePeriodSeconds` beyond it; or the policy Cluster, or a shorter delay.",
		pods: balancerLags,
	},
	{
		ID: "k8s-behind-proxy-no-drain", Runtime: "kubernetes", Severity: Warning,
		What: "Requests come through a proxy in the same pod which serves on after it is told to stop, and the program behind it has neither a preStop sleep nor a drain that the file shows.",
		Why:  "All containers of a pod are told to stop at the same time. The proxy goes on to take requests and has nobody left to give them to: it answers 502 or 503.",
		Fix:  "The same preStop sleep for the program as for the proxy.",
		pods: behindProxy,
	},
	{
		ID: "k8s-progress-deadline", Runtime: "kubernetes", Severity: Error,
		What: "`progressDeadlineSeconds` is no longer than `minReadySeconds` (error), or shorter than a start that the startup probe still allows, minReadySeconds included.",
		Why:  "A manifest of the first kind is refused. With the second a rollout counts as failed while its pods still start, and a pipeline that waits for it gives up or rolls back.",
		Fix:  "A `progressDeadlineSeconds` beyond failureThreshold x periodSeconds of the startup probe and minReadySeconds.",
		pods: progressDeadline,
	},
	{
		ID: "k8s-rollout-scale-down", Runtime: "kubernetes", Severity: Warning,
		What: "An Argo Rollout with blue and green stops the old pods less than 5 s after the switch (`scaleDownDelaySeconds`, 30 by default), and they serve on no longer by themselves.",
		Why:  "The switch of the Service takes its time to reach every node, and meanwhile requests still go to the old pods. Argo Rollouts recommends 30 s at least.",
		Fix:  "Leave `scaleDownDelaySeconds` out.",
		pods: rolloutScaleDown,
	},
}

func serviceSelectsNothing(k *kubeObjects, r *reporter) {
	near, unserved := map[string][]*workload{}, map[string][]*workload{} // by namespace
	for _, w := range k.workloads {
		near[w.namespace] = append(near[w.namespace], w)
		if served, certain := w.served(); served && !certain && len(w.services) == 0 {
			unserved[w.namespace] = append(unserved[w.namespace], w)
		}
	}
	for _, v := range k.services {
		if v.selected || len(v.selector) == 0 {
			continue
		}
		r.subject = "Service " + show(qualified(v.namespace, v.name))
		var meant, named *workload
		for _, w := range near[v.namespace] {
			if w.missedBy(v.selector) {
				meant = w
			}
			if w.sameName(v.name) {
				named = w
			}
		}
		unserved := unserved[v.namespace]
		effect := func(w *workload) string {
			return fmt.Sprintf("no request of it is answered: it selects %s, and the pods of %s carry %s", labelText(v.selector), w.subject(), labelText(w.labels))
		}
		switch {
		case meant != nil:
			r.add(Error, v.at, effect(meant), "the labels of the pods in the selector")
		case named != nil:
			g := guess("that it is meant for them, whose name it bears")
			r.add(Warning, v.at, g.told(effect(named)), "the labels of the pods in the selector")
		case len(unserved) == 1 && !slices.ContainsFunc(v.ports, func(p servicePort) bool { return !unserved[0].hasPort(p.leadsTo) }):
			g := guess("that it is meant for them, whose ports it asks for")
			r.add(Warning, v.at, g.told(effect(unserved[0])), "the labels of the pods in the selector")
		}
	}
}

func budgetSelectsNothing(k *kubeObjects, r *reporter) {
	for _, b := range k.budgets {
		var near []*workload
		selected := false
		for _, w := range k.workloads {
			selected = selected || slices.Contains(w.budgets, b)
			if w.namespace == b.namespace {
				near = append(near, w)
			}
		}
		if selected || b.everything || b.selector == nil || len(b.selector.labels) == 0 {
			continue
		}
		i := slices.IndexFunc(near, func(w *workload) bool { return w.missedBy(b.selector.labels) || w.sameName(b.name) })
		var g guess
		if i < 0 && len(near) == 1 {
			i, g = 0, "that it is meant for them"
		}
		if i < 0 {
			continue
		}
		r.subject = "PodDisruptionBudget " + show(qualified(b.namespace, b.name))
		r.add(Warning, b.at, g.told(fmt.Sprintf("it protects nothing, and node drains may evict all pods at once: it selects %s, and the pods of %s carry %s", labelText(b.selector.labels), near[i].subject(), labelText(near[i].labels))),
			"the labels of the pods in the selector")
	}
}

func budgetBlocksDrain(w *workload, r *reporter) {
	if !w.makesReplicas() || w.replicas < 1 {
		return
	}
	for _, b := range w.budgets {
		limit, text := b.unavailable, "maxUnavailable "
		blocks := limit != nil && limit.of(w.replicas, true) == 0
		if b.available != nil {
			limit, text = b.available, "minAvailable "
			blocks = limit.of(w.replicas, true) >= w.replicas
		}
		if !blocks {
			continue
		}
		var g guess
		least := ""
		if w.scaled {
			least = ", the least of its scaler"
		}
		if w.replicasAt.line == 0 && !w.scaled && !limit.percent && limit.n > 0 {
			g = "that nothing else sets the replicas, of which there is one then"
		}
		r.add(Warning, limit.at, g.told(fmt.Sprintf("no node with a pod of it can be drained, and an upgrade that waits no longer kills it: %s%s of %s%s", text, limit.text, replicaCount(w.replicas), least)),
			"maxUnavailable: 1, and replicas: 2 or more")
	}
}

func replicaCount(n int) string {
	if n == 1 {
		return "1 replica"
	}
	return fmt.Sprintf("%d replicas", n)
}

func selectorMismatch(w *workload, r *reporter) {
	l := w.selector
	if l == nil || len(l.labels) == 0 && len(l.clauses) == 0 || l.matches(w.labels) {
		return
	}
	var g guess
	if len(w.labels) == 0 {
		g = "that no Kustomization adds the labels"
	}
	r.add(g.severity(Error), l.at, g.told("the manifest is refused, so nothing of it is rolled out: the selector does not match its own pods, which carry "+labelText(w.labels)),
		"the same labels in spec.selector and in spec.template.metadata.labels")
}

func surgeWaits(w *workload, r *reporter) {
	up, down, at := w.rolling()
	if up < 1 || w.replicas < 1 || w.updated != perNode && down >= w.replicas {
		return
	}
	port := w.hostPort()
	if w.updated == perNode {
		if port != 0 {
			r.add(Warning, at, fmt.Sprintf("an update hangs: the new pod of a node waits for port %d, which the old one keeps until the new one is ready", port), "maxSurge: 0 and maxUnavailable: 1")
		}
		return
	}
	for _, v := range w.volumes {
		if v.claim == nil || !v.claim.oneNode() || w.pinned && !v.claim.onePod() {
			continue
		}
		where := " when it comes to another node"
		if v.claim.onePod() {
			where = ""
		}
		r.add(Warning, v.at, fmt.Sprintf("a rollout hangs%s: the new pod waits for volume %s, which the old one keeps until the new one is ready", where, show(v.claimName)), "strategy: {type: Recreate}, the outage being the price of the volume; or a volume that is shared")
	}
	if port != 0 {
		r.add(Warning, at, fmt.Sprintf("a rollout hangs when no node is free: the new pod waits for port %d, which the old one keeps until the new one is ready", port), "more nodes than replicas; or maxSurge: 0 and maxUnavailable: 1, with 2 replicas or more")
	}
}

func balancerLags(w *workload, r *reporter) {
	if !w.makesReplicas() {
		return
	}
	for _, c := range w.serving() {
		lead, at, known := c.lead()
		if !known {
			continue
		}
		for _, v := range w.services {
			if w.forOperators(v) {
				continue
			}
			if v.externalLocal && lead < balancerLag {
				r.add(Warning, at, fmt.Sprintf("the balancer of Service %s sends requests on to the node when its last pod is gone: %s serves on for %v, and the checks of the nodes may take %v", show(v.name), c.label(), lead, balancerLag),
					"a preStop sleep of 30 s with terminationGracePeriodSeconds: 60, or externalTrafficPolicy: Cluster")
			}
			for _, b := range v.balancers {
				if lead < b.deregistration {
					r.add(Warning, at, fmt.Sprintf("the balancer of %s keeps connections to a pod for %v after it is told to stop, and %s serves on for %v: what comes later gets 502 or 504", show(b.name), b.deregistration, c.label(), lead),
						fmt.Sprintf("a preStop sleep of %d s with terminationGracePeriodSeconds beyond it, or deregistration_delay.timeout_seconds=%d", seconds(b.deregistration)+5, seconds(lead)))
				}
			}
		}
	}
}

// lead is how long a container is known to serve on after it is told to stop, and where
// the file says so. It is not known of one that does not drain at all: that has a rule of
// its own.
func (c *container) lead() (time.Duration, place, bool) {
	lead, at := c.drain.lead, c.at
	if h := c.preStop; h != nil {
		if h.lead == 0 && h.vain == "" {
			return 0, at, false
		}
		lead, at = lead+h.lead, h.at
	}
	return lead, at, lead > 0
}

// proxies are programs that hand requests on, by the names of images or containers.
var proxies = []string{"envoy", "proxyv2", "nginx", "nginx-unprivileged", "openresty", "haproxy", "traefik", "caddy", "oauth2-proxy", "oauth-proxy", "kong", "linkerd-proxy", "proxy", "apisix", "httpd", "istio-proxy"}

func behindProxy(w *workload, r *reporter) {
	if served, _ := w.served(); !served {
		return
	}
	serving := w.serving()
	for _, proxy := range serving {
		lead, _, known := proxy.lead()
		if !known || !slices.Contains(proxies, imageName(proxy.image)) && !slices.Contains(proxies, proxy.name) {
			continue
		}
		for _, c := range w.containers {
			if c.sidecar || slices.Contains(serving, c) || !c.behind(proxy) {
				continue
			}
			if own, _, known := c.lead(); own > 0 || known || c.preStop != nil && c.preStop.vain == "" {
				continue
			}
			r.add(Warning, c.at, fmt.Sprintf("%s stops at once while %s takes requests for %v more and has nobody to give them to", c.label(), proxy.label(), lead),
				fmt.Sprintf("lifecycle: {preStop: {sleep: {seconds: %d}}} for it too", seconds(lead)))
		}
	}
}

// behind reports whether the requests of a proxy seem to go to a container: it has a port
// of its own, is told to listen, or is the one that the proxy is told of.
func (c *container) behind(proxy *container) bool {
	if c.idle() || c.scrapedOnly() {
		return false
	}
	for _, p := range c.ports {
		if !c.aside(p) {
			return true
		}
	}
	return slices.ContainsFunc(c.settings(), func(s setting) bool {
		last := s.name[strings.LastIndexAny(s.name, "-.")+1:]
		return slices.Contains([]string{"listen", "port", "bind", "addr", "address"}, last) && !asideName(s.name) && !pointsOut(s.name)
	})
}

func progressDeadline(w *workload, r *reporter) {
	if w.updated != rolling && w.updated != blueGreen || w.progress <= 0 {
		return
	}
	if w.progress <= w.minReady {
		r.add(Error, w.progressAt, fmt.Sprintf("the manifest is refused, so nothing of it is rolled out: progressDeadlineSeconds (%d) must be more than minReadySeconds (%d)", seconds(w.progress), seconds(w.minReady)),
			fmt.Sprintf("progressDeadlineSeconds: %d", seconds(w.minReady)+600))
		return
	}
	for _, c := range w.containers {
		if c.startup == nil {
			continue
		}
		if start := startBudget(c.startup) + w.minReady; start > w.progress {
			r.add(Warning, w.progressAt, fmt.Sprintf("a rollout counts as failed after %v, and %s may take %v to start", w.progress, c.label(), start), fmt.Sprintf("progressDeadlineSeconds: %d", seconds(start)+60))
		}
	}
}

func rolloutScaleDown(w *workload, r *reporter) {
	const least = 5 * time.Second
	if served, _ := w.served(); !served || w.scaleDown == nil {
		return
	}
	for _, c := range w.serving() {
		lead, _, known := c.lead()
		if c.preStop != nil && c.preStop.vain == "" && !known || *w.scaleDown+lead >= least {
			continue
		}
		r.add(Warning, w.scaleDownAt, fmt.Sprintf("requests of nodes that have not heard of the switch yet are refused: the old pods stop %v after it, and %s serves on for %v", *w.scaleDown, c.label(), lead), "leave scaleDownDelaySeconds out (30)")
		return
	}
}

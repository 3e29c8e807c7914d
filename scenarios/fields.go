package scenarios

import (
	"slices"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/metric"
)

// The words that fields of a scenario may hold.
var (
	actionKinds = []string{string(None), string(Rollout), string(Restart), string(Scale)}
	policies    = []string{"round-robin", "least-connections"}
	healthModes = []string{"none", "naive", "pull", "stack-aware"}
	signalKinds = []string{"none", "tcp", "http", "command", "image"}
	driverNames = []string{"process", "docker", "systemd", "kind", "kubernetes"}
	signalPorts = []string{"data", "health"}
	operators   = []string{">=", "<="}
	streamNames = []string{"keepalive-get", "keepalive-post", "newconn-get"}
)

// defaults holds what a scenario need not say.
func defaults(s *Scenario) {
	s.Load.Timeout = 2 * time.Second
	s.Load.Deny = 0.02
	s.Load.Streams = map[string]int{"keepalive-get": 40, "keepalive-post": 40, "newconn-get": 20}
	s.Action.Timeout = time.Minute
	s.Rolling.MaxSurge = 1
	s.Balancer.Policy = policies[0]
	s.Trials = 1
}

func (d *decoder) scenario(root *node, s *Scenario) {
	defaults(s)
	d.mapping(root, "",
		required("name", d.text(&s.Name)),
		optional("about", d.text(&s.About)),
		optional("vars", func(*node, string) {}), // read before anything else
		required("target", func(n *node, path string) {
			d.target(n, path, s)
		}),
		optional("limits", func(n *node, path string) {
			d.mapping(n, path, optional("cpus", d.float(&s.Limits.CPUs)), optional("memory", d.integer(&s.Limits.Memory)))
		}),
		required("replicas", d.integer(&s.Replicas)),
		required("load", func(n *node, path string) {
			d.mapping(n, path,
				required("rate", d.float(&s.Load.Rate)),
				optional("timeout", d.duration(&s.Load.Timeout)),
				optional("streams", d.streams(&s.Load.Streams)),
				optional("deny", d.share(&s.Load.Deny)))
		}),
		required("phases", func(n *node, path string) {
			d.mapping(n, path, required("baseline", d.phase(&s.Phases.Baseline)), required("window", d.phase(&s.Phases.Window)))
		}),
		required("action", func(n *node, path string) { d.action(n, path, &s.Action) }),
		optional("rolling", func(n *node, path string) {
			d.mapping(n, path,
				optional("max_surge", d.integer(&s.Rolling.MaxSurge)),
				optional("max_unavailable", d.integer(&s.Rolling.MaxUnavailable)))
		}),
		optional("balancer", func(n *node, path string) {
			d.mapping(n, path, optional("policy", d.word(&s.Balancer.Policy, policies...)))
		}),
		optional("trials", d.integer(&s.Trials)),
		required("designs", d.list(func(n *node, path string) {
			if design, ok := d.design(n, path, BuiltinDesign, builtinNames); ok {
				s.Designs = append(s.Designs, design)
			}
		})),
		optional("gates", d.list(func(n *node, path string) {
			var g Gate
			d.gate(n, path, &g)
			s.Gates = append(s.Gates, g)
		})),
		optional("positive_controls", d.list(func(n *node, path string) {
			var name string
			d.text(&name)(n, path)
			s.PositiveControls = append(s.PositiveControls, name)
		})),
		optional("controls_on", d.list(func(n *node, path string) {
			var name string
			d.word(&name, driverNames...)(n, path)
			s.ControlsOn = append(s.ControlsOn, name)
		})))
}

func (d *decoder) phase(to *Phase) read {
	return func(n *node, path string) {
		d.mapping(n, path, required("from", d.duration(&to.From)), required("to", d.duration(&to.To)))
	}
}

func (d *decoder) streams(to *map[string]int) read {
	return func(n *node, path string) {
		weights := map[string]int{}
		keys := make([]key, len(streamNames))
		for i, name := range streamNames {
			keys[i] = optional(name, func(n *node, path string) {
				weight := 0
				d.integer(&weight)(n, path)
				weights[name] = weight
			})
		}
		d.mapping(n, path, keys...)
		*to = weights
	}
}

func (d *decoder) action(n *node, path string, a *Action) {
	kind := ""
	d.mapping(n, path,
		required("kind", d.word(&kind, actionKinds...)),
		optional("to", d.integer(&a.To)),
		optional("timeout", d.duration(&a.Timeout)),
		optional("allow_unfinished", d.boolean(&a.AllowUnfinished)))
	a.Kind = ActionKind(kind)
	to := n.get("to")
	switch {
	case a.Kind == Scale && to == nil:
		d.problem(n.line, n.column, "action.to is missing", "say how many replicas to scale to, such as to: 5")
	case kind != "" && a.Kind != Scale && to != nil:
		d.problem(to.line, to.column, "action.to is for kind: scale, not for "+kind, "remove it")
	}
}

func (d *decoder) gate(n *node, path string, g *Gate) {
	var limit *node
	d.mapping(n, path,
		required("design", d.text(&g.Design)),
		required("metric", d.text(&g.Metric)),
		required("op", d.word(&g.Op, operators...)),
		required("limit", func(n *node, _ string) { limit = n }))
	if g.Metric == "" {
		return
	}
	if unitOf(g.Metric) == "" {
		at := d.where(path + ".metric")
		d.problem(at.line, at.column, "no metric "+quote(g.Metric), didYouMean(g.Metric, metric.Names()))
		return
	}
	if limit != nil {
		d.limit(limit, path+".limit", g.Metric, &g.Limit)
	}
}

// sortedStreams are the names of the streams with a weight, in a fixed order.
func sortedStreams(streams map[string]int) []string {
	names := make([]string, 0, len(streams))
	for name := range streams {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

package scenarios

import (
	"slices"
	"time"
)

// The words that fields of a scenario may hold.
var (
	actionKinds = []string{string(None), string(Rollout), string(Restart), string(Scale)}
	policies    = []string{"round-robin", "least-connections"}
	healthModes = []string{"none", "naive", "pull", "stack-aware"}
	signalKinds = []string{"none", "tcp", "http"}
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
			d.mapping(n, path, required("refproxy", func(n *node, path string) {
				s.Target.Refproxy = &Refproxy{Routes: 10}
				d.mapping(n, path,
					required("sessions", d.integer(&s.Target.Refproxy.Sessions)),
					required("sync_rate", d.float(&s.Target.Refproxy.SyncRate)),
					optional("routes", d.integer(&s.Target.Refproxy.Routes)),
					optional("upstream_latency", d.duration(&s.Target.Refproxy.UpstreamLatency)))
			}))
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
			d.mapping(n, path, required("quiet", d.phase(&s.Phases.Quiet)), required("window", d.phase(&s.Phases.Window)))
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
		optional("may_outlast_window", d.boolean(&a.MayOutlastWindow)))
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
		d.problem(at.line, at.column, "no metric "+quote(g.Metric), didYouMean(g.Metric, metricNames()))
		return
	}
	if limit != nil {
		d.limit(limit, path+".limit", g.Metric, &g.Limit)
	}
}

// design reads a design: the name of another one, or a mapping that may start from one.
// ok is false when there is none to go on with.
func (d *decoder) design(n *node, path string, known func(string) (Design, bool), names func() []string) (to Design, ok bool) {
	find := func(n *node, path string) bool {
		var name string
		if d.text(&name)(n, path); name == "" {
			return false
		}
		base, found := known(name)
		if !found {
			d.problem(n.line, n.column, "no builtin design "+quote(name), didYouMean(name, names()))
			return false
		}
		to = base
		return true
	}
	if n.kind == text {
		return to, find(n, path)
	}
	from := n.get("from")
	to.StopGrace = 5 * time.Second
	if n.kind == mapping && from != nil {
		if from.kind == null || !find(from, join(path, "from")) {
			if from.kind == null {
				d.problem(from.line, from.column, join(path, "from")+" has no value", "the name of a builtin design")
			}
			return to, false
		}
		to.Name = ""
	}
	keys := []key{
		required("name", d.text(&to.Name)),
		optional("from", func(*node, string) {}), // read above: the others come on top of it
		optional("about", d.text(&to.About)),
		optional("health", d.word(&to.Health, healthModes...)),
		optional("fail_open", d.boolean(&to.FailOpen)),
		optional("signal", func(n *node, path string) { d.signal(n, path, &to.Signal) }),
		optional("told_of_stop", d.boolean(&to.ToldOfStop)),
		optional("lame_duck", d.duration(&to.LameDuck)),
		optional("close_for", d.duration(&to.CloseFor)),
		optional("stop_grace", d.duration(&to.StopGrace)),
	}
	for i := range keys {
		keys[i].required = keys[i].required || from == nil && (keys[i].name == "health" || keys[i].name == "signal")
	}
	d.mapping(n, path, keys...)
	return to, n.kind == mapping
}

func (d *decoder) signal(n *node, path string, to *Signal) {
	// What the kind decides comes first, so that the other keys come on top of it.
	kind := to.Kind
	if k := n.get("kind"); k != nil && n.kind == mapping {
		before := len(d.problems)
		d.word(&kind, signalKinds...)(k, join(path, "kind"))
		d.problems = d.problems[:before] // reported again, in its place, below
	}
	asked := Signal{Kind: kind, Port: "health", Path: "/readyz", Interval: 200 * time.Millisecond, Timeout: time.Second, Rise: 1, Fall: 2}
	switch {
	case kind == "none":
		*to = Signal{Kind: kind}
	case to.Kind == "" || to.Kind == "none":
		*to = asked
	}
	if kind == "tcp" {
		to.Path = ""
	} else if kind == "http" && to.Path == "" {
		to.Path = asked.Path
	}
	word := key{name: "kind", required: to.Kind == "", read: d.word(&to.Kind, signalKinds...)}
	d.mapping(n, path, word,
		optional("port", d.word(&to.Port, signalPorts...)),
		optional("path", d.text(&to.Path)),
		optional("interval", d.duration(&to.Interval)),
		optional("timeout", d.duration(&to.Timeout)),
		optional("rise", d.integer(&to.Rise)),
		optional("fall", d.integer(&to.Fall)))
	for _, f := range n.fields {
		switch f.key {
		case "path":
			if kind == "tcp" {
				d.problem(f.line, f.column, join(path, f.key)+" is for kind: http", "remove it")
			}
			fallthrough
		case "port", "interval", "timeout", "rise", "fall":
			if kind == "none" {
				d.problem(f.line, f.column, join(path, f.key)+" means nothing with kind: none", "remove it")
			}
		}
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

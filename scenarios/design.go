package scenarios

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// design reads a design: the name of another one, or a mapping that may start from one.
// ok is false when there is none to go on with.
func (d *decoder) design(n *node, path string, known func(string) (Design, bool), names func() []string) (to Design, ok bool) {
	if d.deployed {
		return d.deployedDesign(n, path)
	}
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
		to.On = maps.Clone(base.On) // the catalogue keeps its own
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
	keys := append([]key{
		required("name", d.text(&to.Name)),
		optional("from", func(*node, string) {}), // read above: the others come on top of it
		optional("about", d.text(&to.About)),
		optional("on", func(*node, string) {}), // read below: it comes on top of the others
		optional("manifests", func(n *node, path string) {
			d.problem(n.line, n.column, path+" is for a target that is a deployment", "give the target a deployment and a service, or remove it")
		}),
	}, d.settings(&to.Settings)...)
	for i := range keys {
		keys[i].required = keys[i].required || from == nil && keys[i].name == "signal"
	}
	d.mapping(n, path, keys...)
	if n.kind != mapping {
		return to, false
	}
	d.settingsOn(n, path, keys, &to)
	return to, true
}

// settings are the keys of what a design decides.
func (d *decoder) settings(to *Settings) []key {
	signal := func(to *Signal) read {
		return func(n *node, path string) { d.signal(n, path, to) }
	}
	return []key{
		optional("health", d.word(&to.Health, healthModes...)),
		optional("fail_open", d.boolean(&to.FailOpen)),
		optional("args", d.texts(&to.Args)),
		optional("env", d.textsByName(&to.Env)),
		optional("signal", signal(&to.Signal)),
		optional("startup", signal(&to.Startup)),
		optional("liveness", signal(&to.Liveness)),
		optional("notify", d.boolean(&to.Notify)),
		optional("watchdog", d.duration(&to.Watchdog)),
		optional("socket", d.boolean(&to.Socket)),
		optional("deregister_first", d.boolean(&to.DeregisterFirst)),
		optional("pre_stop", d.duration(&to.PreStop)),
		optional("lame_duck", d.duration(&to.LameDuck)),
		optional("close_wait", d.duration(&to.CloseWait)),
		optional("stop_grace", d.duration(&to.StopGrace)),
	}
}

// settingsOn reads what is different on a driver. What the design says for all of them
// also comes on top of what it has inherited for one of them.
func (d *decoder) settingsOn(n *node, path string, all []key, to *Design) {
	skip := func(k key) key { return optional(k.name, func(*node, string) {}) }
	var others []key
	for _, k := range all[:len(all)-len(d.settings(&to.Settings))] {
		others = append(others, skip(k))
	}
	for name, inherited := range to.On {
		before := len(d.problems)
		d.mapping(n, path, append(slices.Clone(others), d.settings(&inherited)...)...)
		d.problems = d.problems[:before] // reported already
		to.On[name] = inherited
	}
	on := n.get("on")
	if on == nil || on.kind == null {
		return
	}
	keys := make([]key, len(driverNames))
	for i, name := range driverNames {
		keys[i] = optional(name, func(n *node, path string) {
			settings, inherited := to.On[name]
			if !inherited {
				settings = to.Settings
			}
			d.mapping(n, path, d.settings(&settings)...)
			if to.On == nil {
				to.On = map[string]Settings{}
			}
			to.On[name] = settings
		})
	}
	d.mapping(on, join(path, "on"), keys...)
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
	switch {
	case kind != "http":
		to.Path = ""
	case to.Path == "":
		to.Path = asked.Path
	}
	switch {
	case kind != "http" && kind != "tcp":
		to.Port = ""
	case to.Port == "":
		to.Port = asked.Port
	}
	if kind != "command" {
		to.Command = nil
	}
	if kind == "image" { // the image itself says how often it is asked
		*to = Signal{Kind: kind}
	}
	word := key{name: "kind", required: to.Kind == "", read: d.word(&to.Kind, signalKinds...)}
	d.mapping(n, path, word,
		optional("port", d.word(&to.Port, signalPorts...)),
		optional("path", d.text(&to.Path)),
		optional("command", d.texts(&to.Command)),
		optional("interval", d.duration(&to.Interval)),
		optional("timeout", d.duration(&to.Timeout)),
		optional("rise", d.integer(&to.Rise)),
		optional("fall", d.integer(&to.Fall)))
	for _, f := range n.fields {
		means, known := signalKeys[f.key]
		switch {
		case !known || kind == "" || slices.Contains(means, kind):
		case len(means) < 3:
			d.problem(f.line, f.column, join(path, f.key)+" is for kind: "+strings.Join(means, " or "), "remove it")
		default:
			d.problem(f.line, f.column, join(path, f.key)+" means nothing with kind: "+kind, "remove it")
		}
	}
}

// signalKeys says with which kinds a key of a signal means something.
var signalKeys = map[string][]string{
	"port":     {"tcp", "http"},
	"path":     {"http"},
	"command":  {"command"},
	"interval": {"tcp", "http", "command"},
	"timeout":  {"tcp", "http", "command"},
	"rise":     {"tcp", "http", "command"},
	"fall":     {"tcp", "http", "command"},
}

// texts reads a list of texts.
func (d *decoder) texts(to *[]string) read {
	return func(n *node, path string) {
		var out []string
		d.list(func(n *node, path string) {
			var v string
			d.text(&v)(n, path)
			out = append(out, v)
		})(n, path)
		*to = out
	}
}

// textsByName reads a mapping of texts whose keys are free. Numbers and booleans are
// taken as they are written.
func (d *decoder) textsByName(to *map[string]string) read {
	return func(n *node, path string) {
		if n.kind != mapping {
			d.mismatch(n, path, "a mapping", "write its keys on lines below it, indented")
			return
		}
		var out map[string]string // nil when it is empty
		if len(n.fields) > 0 {
			out = map[string]string{}
		}
		for _, f := range n.fields {
			switch f.value.kind {
			case text, number, boolean:
				out[f.key] = f.value.value
			default:
				d.mismatch(f.value, join(path, f.key), "text", "")
			}
		}
		*to = out
	}
}

// target reads the service under test.
func (d *decoder) target(n *node, path string, s *Scenario) {
	t := &s.Target
	d.mapping(n, path,
		optional("refproxy", func(n *node, path string) {
			t.Refproxy = &Refproxy{Routes: 10}
			d.mapping(n, path,
				required("sessions", d.integer(&t.Refproxy.Sessions)),
				required("sync_rate", d.float(&t.Refproxy.SyncRate)),
				optional("routes", d.integer(&t.Refproxy.Routes)),
				optional("upstream_latency", d.duration(&t.Refproxy.UpstreamLatency)))
		}),
		optional("deployment", d.text(&t.Deployment)),
		optional("service", d.text(&t.Service)),
		optional("port", d.textOrNumber(&t.Port)),
		optional("manifests", d.manifests(&t.Manifests)),
		optional("image", d.text(&t.Image)),
		optional("exec", d.text(&t.Exec)),
		optional("args", d.texts(&t.Args)),
		optional("env", d.textsByName(&t.Env)),
		optional("ports", func(n *node, path string) {
			d.mapping(n, path, optional("data", d.integer(&t.Ports.Data)), optional("health", d.integer(&t.Ports.Health)))
			t.Ports.Two = n.get("health") != nil
		}),
		optional("request", func(n *node, path string) {
			d.mapping(n, path,
				optional("path", d.text(&t.Request.Path)),
				optional("header", d.textsByName(&t.Request.Header)),
				optional("status", d.integer(&t.Request.Status)),
				optional("body", d.text(&t.Request.Body)))
		}))
	if n.kind != mapping {
		return
	}
	d.deployed = n.get("deployment") != nil
	var named []string
	for _, name := range targetKinds {
		if n.get(name) != nil {
			named = append(named, name)
		}
	}
	switch len(named) {
	case 0:
		d.problem(n.line, n.column, path+" names no service", "one of "+strings.Join(targetKinds, ", "))
		return
	case 1:
	default:
		at := n.get(named[1])
		d.problem(at.line, at.column, path+" names two services: "+strings.Join(named, " and "), "remove one of them")
		return
	}
	own := named[0] != "refproxy"
	for _, f := range n.fields {
		switch {
		case !own && f.key != named[0]:
			d.problem(f.line, f.column, join(path, f.key)+" is for a custom target, not for refproxy", "remove it")
		case own && !d.deployed && slices.Contains([]string{"service", "port", "manifests"}, f.key):
			d.problem(f.line, f.column, join(path, f.key)+" is for a target that is a deployment, not for "+named[0], "remove it")
		case d.deployed && slices.Contains([]string{"args", "env", "ports"}, f.key):
			d.problem(f.line, f.column, join(path, f.key)+" means nothing for a target that is a deployment", "say it in the YAML of the Deployment")
		}
	}
	if d.deployed && n.get("service") == nil {
		d.problem(n.line, n.column, join(path, "service")+" is missing", "the name of the Service in front of the Deployment")
	}
	if own {
		ownDefaults(s)
	}
}

// targetKinds are the keys that name a service.
var targetKinds = []string{"refproxy", "image", "exec", "deployment"}

// ownDefaults holds what a scenario with a service of the user's own need not say. Of
// such a service nobody knows what it must deny, or whether it takes a POST.
func ownDefaults(s *Scenario) {
	s.Load.Deny = 0
	s.Load.Streams = map[string]int{"keepalive-get": 80, "newconn-get": 20}
	if s.Target.Request.Path == "" {
		s.Target.Request.Path = "/"
	}
	if s.Target.Request.Status == 0 {
		s.Target.Request.Status = 200
	}
}

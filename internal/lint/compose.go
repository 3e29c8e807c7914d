package lint

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Defaults of Docker and Compose, where the file says nothing.
const (
	defaultStopGrace      = 10 * time.Second
	defaultHealthInterval = 30 * time.Second
	defaultHealthTimeout  = 30 * time.Second
	defaultHealthRetries  = 3
)

// composeFile is a compose file, or several that are merged.
type composeFile struct {
	services []*composeService
	open     bool // it includes files that nobody named
}

// composeService is one service of a compose file.
type composeService struct {
	program
	name    string
	image   string
	at      place
	spans   []extent // where it stands, in each file
	file    *composeFile
	partial bool // the files do not show all of it
	again   bool // judged before, beside other services

	published   []string // container ports that are published
	fixedPort   bool     // a port of the host that only one container can have
	exposed     bool     // to other containers
	proxied     string   // by whom, as its labels or variables say
	hostNetwork bool
	health      *health
	needs       []need
	stopGrace   time.Duration
	stopGraceAt place
	anyGrace    bool // it depends on a variable
	stopSignal  string
	stopAt      place
	restart     string
	restartSet  bool
	restartAt   place
	swarm       *swarm // nil without deploy:
	preStop     bool
	drain       drain
}

// health is a health check of a compose file.
type health struct {
	at                                   place
	disabled                             bool
	anyInterval, anyTimeout, anyStart    bool           // they depend on a variable, and are not judged
	command                              *healthCommand // nil is that of the image
	interval, timeout, startPeriod       time.Duration
	retries                              int
	startInterval                        bool // checks are more frequent at the start
	intervalAt, timeoutAt, startPeriodAt place
}

// need is an entry of depends_on.
type need struct {
	service, condition string
	optional           bool
	at                 place
}

// swarm is the part of deploy: that says how tasks are replaced.
type swarm struct {
	replicas    int
	sure        bool // only Swarm follows what it says; else Compose may run it
	global      bool // a task on each node
	update      bool // there is an update_config
	parallelism int
	order       string
	at          place
	restart     string
	restartSet  bool
}

func (s *source) readComposeService(f *composeFile, name string, n *node) *composeService {
	c := &composeService{name: name, at: s.place(n), file: f}
	for _, key := range []string{"entrypoint", "command"} {
		c.words = append(c.words, s.commandWords(n.get(key))...)
	}
	c.env = s.environment(n.get("environment"))
	for _, p := range s.list(n, "ports", false) {
		c.published = append(c.published, s.publishedPort(p)...)
		c.fixedPort = c.fixedPort || fixedPort(p)
	}
	c.exposed = len(s.list(n, "expose", false)) > 0
	labels := s.environment(n.get("labels"))
	if d := n.get("deploy"); d != nil {
		labels = append(labels, s.environment(d.get("labels"))...)
	}
	c.proxied = proxyOf(labels, c.env)
	c.hostNetwork = s.text(n, "network_mode") == "host"
	c.image = s.text(n, "image")
	c.health = s.readHealth(n, c.env)
	c.needs = s.readNeeds(n.get("depends_on"))
	c.stopGrace, c.stopGraceAt = s.duration(n, "stop_grace_period", defaultStopGrace), c.at
	if v := n.get("stop_grace_period"); v != nil {
		c.stopGraceAt, c.anyGrace = s.place(v), v.unknown
	}
	if v := n.get("stop_signal"); v != nil {
		c.stopSignal, c.stopAt = s.text(n, "stop_signal"), s.place(v)
	}
	c.restart, c.restartSet, c.restartAt = s.text(n, "restart"), n.get("restart") != nil, c.at
	if c.restartSet {
		c.restartAt = s.place(n.get("restart"))
	}
	c.preStop = n.get("pre_stop") != nil
	c.swarm = s.readDeploy(n)
	c.drain = drainOf(&c.program)
	return c
}

// commandWords reads a command: a list, or a line that Compose splits as a shell would.
func (s *source) commandWords(n *node) []word {
	var out []word
	switch {
	case n == nil || n.unknown:
	case n.kind == scalar:
		for _, w := range splitWords(n.value) {
			out = append(out, word{w, s.place(n)})
		}
	case n.kind == sequence:
		for _, item := range n.items {
			out = append(out, word{item.value, s.place(item)})
		}
	default:
		s.wrong(n, "a command as text or a list")
	}
	return out
}

// environment reads the variables of a service, or its labels.
func (s *source) environment(n *node) []setting {
	var out []setting
	switch {
	case n == nil || n.unknown:
	case n.kind == mapping:
		for _, f := range n.fields {
			out = append(out, setting{flagName(f.key), f.value.value, s.place(f.value)})
		}
	case n.kind == sequence:
		for _, item := range n.items {
			name, value, _ := strings.Cut(item.value, "=")
			out = append(out, setting{flagName(name), value, s.place(item)})
		}
	default:
		s.wrong(n, "a mapping or a list of NAME=value")
	}
	return out
}

// publishedPort is the container's side of an entry of ports.
func (s *source) publishedPort(n *node) []string {
	if n.unknown {
		return []string{"?"}
	}
	if n.kind == mapping {
		if s.text(n, "target") == "" {
			return []string{"?"}
		}
		return []string{s.text(n, "target")}
	}
	text, _, _ := strings.Cut(n.value, "/")
	port := text[strings.LastIndex(text, ":")+1:]
	if _, err := strconv.Atoi(port); err != nil {
		return []string{"?"} // a range, or a variable
	}
	return []string{port}
}

// fixedPort reports whether an entry of ports takes one port of the host.
func fixedPort(n *node) bool {
	if n.kind == mapping {
		v := n.get("published")
		return v != nil && !v.unknown && !strings.Contains(v.value, "-") && v.value != "0"
	}
	parts := strings.Split(n.value, ":")
	return !n.unknown && len(parts) > 1 && parts[len(parts)-2] != "" && !strings.Contains(n.value, "-")
}

// proxyOf is the reverse proxy that takes requests to a service: it finds its services by
// their labels, or by a variable.
func proxyOf(labels, env []setting) string {
	by := ""
	for _, l := range labels {
		switch first, _, _ := strings.Cut(l.name, "."); {
		case l.name == "traefik.enable" && l.value == "false":
			return ""
		case l.name == "traefik.enable" || strings.HasPrefix(l.name, "traefik.tcp.") || strings.HasPrefix(l.name, "traefik.udp.") ||
			strings.HasPrefix(l.name, "traefik.http.routers.") || strings.HasPrefix(l.name, "traefik.http.services."):
			by = "traefik"
		case first == "caddy" || strings.HasPrefix(first, "caddy-"):
			by = "caddy-docker-proxy"
		case l.name == "swag" && l.value == "enable":
			by = "swag"
		}
	}
	for _, s := range env {
		switch {
		case s.name == "virtual-host":
			by = cmp.Or(by, "nginx-proxy")
		case strings.HasPrefix(s.name, "service-fqdn-") || strings.HasPrefix(s.name, "service-url-"):
			by = cmp.Or(by, "the proxy of Coolify")
		}
	}
	return by
}

func (s *source) readHealth(service *node, env []setting) *health {
	n := s.sub(service, "healthcheck")
	if n == nil {
		return nil
	}
	h := &health{
		at: s.place(n), interval: s.duration(n, "interval", defaultHealthInterval), timeout: s.duration(n, "timeout", defaultHealthTimeout),
		startPeriod: s.duration(n, "start_period", 0), retries: s.number(n, "retries", defaultHealthRetries),
	}
	// Zero stands for the default, as it does for the engine.
	if h.interval == 0 {
		h.interval = defaultHealthInterval
	}
	if h.timeout == 0 {
		h.timeout = defaultHealthTimeout
	}
	if h.retries <= 0 {
		h.retries = defaultHealthRetries
	}
	for _, key := range []string{"interval", "retries"} {
		h.anyInterval = h.anyInterval || n.varies(key)
	}
	h.anyTimeout, h.anyStart = h.anyInterval || n.varies("timeout"), h.anyInterval || n.varies("start_period")
	where := func(key string) place {
		if v := n.get(key); v != nil {
			return s.place(v)
		}
		return h.at
	}
	h.intervalAt, h.timeoutAt, h.startPeriodAt = where("interval"), where("timeout"), where("start_period")
	h.startInterval = n.get("start_interval") != nil
	h.disabled = s.boolean(n, "disable")
	test := n.get("test")
	if test != nil {
		if words := s.commandWords(test); len(words) == 1 && words[0].text == "NONE" {
			h.disabled, h.at = true, s.place(test)
		}
		h.command = s.readCommand(test, env)
	}
	if h.disabled && n.get("disable") != nil {
		h.at = where("disable")
	}
	return h
}

func (s *source) readNeeds(n *node) []need {
	var out []need
	switch {
	case n == nil:
	case n.kind == sequence:
		for _, item := range n.items {
			out = append(out, need{service: item.value, condition: "service_started", at: s.place(item)})
		}
	case n.kind == mapping:
		for _, f := range n.fields {
			d := need{service: f.key, condition: "service_started", at: s.place(f.value)}
			if c := s.text(f.value, "condition"); c != "" {
				d.condition = c
			}
			d.optional = f.value.get("required") != nil && !s.boolean(f.value, "required")
			out = append(out, d)
		}
	default:
		s.wrong(n, "depends_on as a list or a mapping")
	}
	return out
}

func (s *source) readDeploy(service *node) *swarm {
	n := s.sub(service, "deploy")
	if n == nil {
		return nil
	}
	d := &swarm{replicas: s.number(n, "replicas", 1), parallelism: 1, order: "stop-first", at: s.place(n)}
	for _, key := range []string{"update_config", "rollback_config", "placement", "endpoint_mode"} {
		d.sure = d.sure || n.get(key) != nil
	}
	d.global = s.text(n, "mode") == "global"
	d.sure = d.sure || d.global
	if u := s.sub(n, "update_config"); u != nil {
		d.update, d.at = true, s.place(u)
		d.parallelism = s.number(u, "parallelism", 1)
		if order := u.get("order"); order != nil {
			d.order, d.at = s.text(u, "order"), s.place(order)
		}
	}
	if r := s.sub(n, "restart_policy"); r != nil {
		d.restartSet, d.restart = true, s.text(r, "condition")
	}
	return d
}

// settleDrain fills in what comments and options say of the service's drain.
func (c *composeService) settleDrain(in *input) {
	declared, from := in.options.Drain, "--drain"
	for _, at := range c.spans {
		if d, ok := in.comments[at.file].drainBetween(at.first, at.last); ok {
			declared, from = &d, "the drain comment"
		}
	}
	c.drain.settle(declared, from)
}

func (c *composeService) subject() string { return "service " + show(c.name) }

// served reports whether the service gets requests: others are sent to it, or another
// service waits for it to be healthy.
func (c *composeService) served() bool {
	return c.routed() || len(c.dependents("service_healthy")) > 0
}

// routed reports whether something in front sends requests to the service, which may go
// by its health: a port is published or exposed, or a proxy finds it.
func (c *composeService) routed() bool {
	return len(c.published) > 0 || c.exposed || c.proxied != ""
}

// stores are databases and their like, by parts of the names of their images. They have
// no second instance that a balancer could turn to.
var stores = []string{
	"postgres", "postgis", "pgvector", "timescale", "mysql", "mariadb", "percona", "mongo", "redis", "valkey", "keydb", "dragonfly", "memcached", "cassandra",
	"influxdb", "clickhouse", "elasticsearch", "opensearch", "rabbitmq", "kafka", "zookeeper", "minio", "mssql", "oracle",
}

// balanced reports whether something is likely to send requests to another instance when
// the check says that this one cannot serve.
func (c *composeService) balanced() bool {
	name := imageName(c.image)
	store := slices.ContainsFunc(stores, func(part string) bool { return strings.Contains(name, part) })
	return c.routed() && (c.proxied != "" || c.bySwarm() || !store && !c.health.startInterval)
}

// bySwarm reports whether Swarm runs the service for sure. Several containers cannot
// share a port of the host but behind its mesh.
func (c *composeService) bySwarm() bool {
	return c.swarm != nil && (c.swarm.sure || c.swarm.replicas > 1 && c.fixedPort)
}

// dependents are the services that depend on this one with a condition.
func (c *composeService) dependents(condition string) []string {
	var out []string
	for _, other := range c.file.services {
		if slices.ContainsFunc(other.needs, func(n need) bool { return n.service == c.name && n.condition == condition }) {
			out = append(out, other.name)
		}
	}
	return out
}

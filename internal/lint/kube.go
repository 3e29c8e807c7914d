package lint

import (
	"strconv"
	"strings"
	"time"
)

// kubeKinds are the kinds of Kubernetes objects that are read.
var kubeKinds = map[string]bool{
	"Deployment": true, "StatefulSet": true, "DaemonSet": true, "Pod": true, "Service": true,
	"PodDisruptionBudget": true, "HorizontalPodAutoscaler": true, "List": true,
	"PersistentVolumeClaim": true, "Ingress": true, "ReplicaSet": true, "ReplicationController": true,
	"DeploymentConfig": true, "Rollout": true, "Template": true,
	"DeploymentList": true, "StatefulSetList": true, "DaemonSetList": true, "PodList": true, "ServiceList": true,
	"PodDisruptionBudgetList": true, "HorizontalPodAutoscalerList": true,
	"PersistentVolumeClaimList": true, "IngressList": true, "ReplicaSetList": true,
}

// Defaults of the API server, where the manifest says nothing.
const (
	defaultGrace        = 30 * time.Second
	defaultProbePeriod  = 10
	defaultProbeTimeout = 1
	defaultProbeFailure = 3
	defaultProbeSuccess = 1
)

type kubeObjects struct {
	workloads []*workload
	services  []*kubeService
	budgets   []*budget
	scalers   []*scaler
	claims    []*claim
	balancers []*balancer

	configs     []*config
	unknownKeys []unknownKey
	rawConfigs  []rawConfig
}

// workload is something that makes pods, or a pod.
type workload struct {
	kind, name, namespace string
	scaled                bool   // a scaler sets the replicas, which are its least then
	owner                 string // kind and name of the controller that makes it, or ""
	updated               updated
	scaleDown             *time.Duration // of blue and green, from the switch to the stop; nil is the default
	scaleDownAt           place
	at                    place
	first, last           int // lines of its document
	labels                map[string]string
	selector              *selector // nil when there is none
	minReady, progress    time.Duration
	progressAt            place
	pinned                bool // to a node
	replicas              int
	replicasAt            place
	strategy              string // type; "" is the default
	strategyAt            place
	surge, unavailable    *amount // nil is the default
	grace                 time.Duration
	graceAt               place
	hostNetwork           bool
	gates                 bool // readinessGates
	notes                 notes
	containers            []*container
	volumes               []volume
	configs               []string // names of the ConfigMaps that it mounts

	services []*kubeService // that select its pods
	budgets  []*budget
}

// container is one of a pod, side-cars among the init containers too.
type container struct {
	program
	name, image                  string
	at                           place
	sidecar                      bool // an init container that stays
	ports                        []containerPort
	envFrom                      []envSource
	openEnv                      bool // environment from elsewhere, so the file does not show all
	readiness, liveness, startup *probe
	preStop                      *preStop
	drain                        drain
}

type containerPort struct {
	name   string
	number int
	host   int // port of the node that it takes; 0 is none
}

type probe struct {
	at                                       place
	kind                                     string // http, tcp, grpc, exec; "" is none
	path, host, port, service                string
	words                                    []string // of exec
	hostAt, portAt, timeoutAt, successAt     place
	delay, period, timeout, failure, success int
}

// detection is how long it takes at most until the failing probe has its effect.
func (p *probe) detection() time.Duration {
	return time.Duration(p.failure) * time.Duration(max(p.period, p.timeout)) * time.Second
}

type kubeService struct {
	name, namespace string
	at              place
	selector        map[string]string
	ports           []servicePort
	headless        bool
	unready         *place // publishNotReadyAddresses
	local           bool   // a traffic policy of Local
	externalLocal   bool   // of traffic that comes from a balancer

	selected  bool // pods of the files
	balancers []*balancer
}

type servicePort struct {
	name   string
	target string
	at     place
}

type budget struct {
	name        string
	namespace   string
	selector    *selector
	everything  bool // an empty selector: all pods of the namespace
	unavailable *amount
	available   *amount
	at          place
}

// scaler is a HorizontalPodAutoscaler: it, not the manifest, sets the replicas.
type scaler struct {
	kind, name, namespace string
	least                 int
}

// amount is a number or a percentage.
type amount struct {
	n       int
	percent bool
	at      place
	text    string
}

// of is the amount out of a total, percentages rounded down or up.
func (a *amount) of(total int, up bool) int {
	if !a.percent {
		return a.n
	}
	n := a.n * total
	if up {
		n += 99
	}
	return n / 100
}

// maxListDepth bounds a List in a List.
const maxListDepth = 3

// add reads an object; false when it is of a kind that is not judged.
func (k *kubeObjects) add(s *source, o *node, last, depth int) bool {
	kind := s.text(o, "kind")
	meta := s.sub(o, "metadata")
	spec := s.sub(o, "spec")
	name, namespace := s.text(meta, "name"), namespaceOf(s, meta)
	if name == "" {
		name = s.text(meta, "generateName")
	}
	switch kind {
	case "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "DeploymentConfig", "Rollout":
		return k.addController(s, o, &workload{kind: kind, name: name, namespace: namespace, at: s.place(o), first: o.line, last: last})
	case "Pod":
		w := &workload{kind: kind, name: name, namespace: namespace, at: s.place(o), first: o.line, last: last, replicas: 1}
		w.labels, w.owner = s.labels(s.sub(meta, "labels")), ownerOf(s, meta)
		if spec == nil {
			s.skip(o.line, "patch", "Pod "+show(name)+" has no spec", true)
			return true
		}
		w.readPod(s, spec)
		k.workloads = append(k.workloads, w)
	case "Service":
		if apiGroup(s, o) == "serving.knative.dev" {
			return k.addController(s, o, &workload{kind: knativeService, name: name, namespace: namespace, at: s.place(o), first: o.line, last: last})
		}
		v := readService(s, o, spec, name, namespace)
		k.services = append(k.services, v)
		if b := readServiceBalancer(s, o, v); b != nil {
			k.balancers = append(k.balancers, b)
		}
	case "Ingress":
		if b := readIngress(s, o, name, namespace); b != nil {
			k.balancers = append(k.balancers, b)
		}
	case "PodDisruptionBudget":
		b := &budget{name: name, namespace: namespace, at: s.place(o), selector: readSelector(s, spec, "selector")}
		b.unavailable, b.available = s.amount(spec, "maxUnavailable"), s.amount(spec, "minAvailable")
		b.everything = b.selector != nil && len(b.selector.labels)+len(b.selector.clauses) == 0 && s.text(o, "apiVersion") == "policy/v1"
		k.budgets = append(k.budgets, b)
	case "HorizontalPodAutoscaler":
		ref := s.sub(spec, "scaleTargetRef")
		k.scalers = append(k.scalers, &scaler{s.text(ref, "kind"), s.text(ref, "name"), namespace, s.number(spec, "minReplicas", 1)})
	case "ConfigMap":
		k.configs = append(k.configs, readConfig(s, o))
		return false // not judged by itself
	case "PersistentVolumeClaim":
		k.claims = append(k.claims, readClaim(s, spec, name, namespace))
	case "List", "DeploymentList", "StatefulSetList", "DaemonSetList", "PodList", "ServiceList", "PodDisruptionBudgetList", "HorizontalPodAutoscalerList",
		"PersistentVolumeClaimList", "IngressList", "ReplicaSetList":
		return k.addList(s, o, kind, last, depth)
	case "Template":
		return k.addTemplate(s, o, last, depth)
	default:
		return false
	}
	return true
}

// namespaceOf is the namespace of an object, "" for the default one.
func namespaceOf(s *source, meta *node) string {
	if namespace := s.text(meta, "namespace"); namespace != "default" {
		return namespace
	}
	return ""
}

func (k *kubeObjects) addList(s *source, o *node, kind string, last, depth int) bool {
	if depth >= maxListDepth {
		s.problem(o.line, o.column, "", "lists nested deeper than %d", maxListDepth)
		return true
	}
	k.addItems(s, s.list(o, "items", true), strings.TrimSuffix(kind, "List"), last, depth)
	return true
}

// addItems reads the objects of a List; those that do not say their kind are of the one
// that is given.
func (k *kubeObjects) addItems(s *source, items []*node, kind string, last, depth int) {
	for i, item := range items {
		end := last
		if i+1 < len(items) {
			end = items[i+1].line - 1
		}
		if item.get("kind") == nil {
			item.fields = append(item.fields, field{"kind", &node{kind: scalar, value: kind, line: item.line, column: item.column}})
		}
		k.take(s, item, end, depth+1)
	}
}

func (s *source) labels(n *node) map[string]string {
	out := map[string]string{}
	if n == nil {
		return out
	}
	for _, f := range n.fields {
		out[f.key] = f.value.value
	}
	return out
}

// amount reads a number or a percentage; nil when there is none.
func (s *source) amount(n *node, key string) *amount {
	v := n.get(key)
	if v == nil {
		return nil
	}
	text, percent := strings.CutSuffix(v.value, "%")
	i, err := strconv.Atoi(text)
	if v.kind != scalar || err != nil || i < 0 || i > 1_000_000 {
		s.wrong(v, key+" as a whole number or a percentage")
		return nil
	}
	return &amount{i, percent, s.place(v), v.value}
}

func (w *workload) readPod(s *source, pod *node) {
	w.grace, w.graceAt = defaultGrace, s.place(pod)
	if v := pod.get("terminationGracePeriodSeconds"); v != nil {
		w.grace = time.Duration(s.number(pod, "terminationGracePeriodSeconds", 30)) * time.Second
		w.graceAt = s.place(v)
	}
	w.hostNetwork = s.boolean(pod, "hostNetwork")
	w.gates = len(s.list(pod, "readinessGates", false)) > 0
	for _, c := range s.list(pod, "initContainers", true) {
		if s.text(c, "restartPolicy") == "Always" {
			sidecar := readContainer(s, c)
			sidecar.sidecar = true
			w.containers = append(w.containers, sidecar)
		}
	}
	w.volumes = append(w.volumes, readVolumes(s, pod)...)
	w.configs = configVolumes(s, pod)
	w.pinned = pod.get("nodeName") != nil || pod.get("nodeSelector").get("kubernetes.io/hostname") != nil
	all := s.list(pod, "containers", true)
	for _, c := range all {
		w.containers = append(w.containers, readContainer(s, c))
	}
	if len(all) == 0 && len(s.problems) == 0 {
		s.problem(pod.line, pod.column, "", "%s %s has no containers", w.kind, show(w.name))
	}
}

func readContainer(s *source, n *node) *container {
	c := &container{name: s.text(n, "name"), image: s.text(n, "image"), at: s.place(n)}
	for _, key := range []string{"command", "args"} {
		for _, item := range s.list(n, key, false) {
			c.words = append(c.words, word{item.value, s.place(item)})
		}
	}
	for _, e := range s.list(n, "env", true) {
		if v := e.get("value"); v != nil {
			c.env = append(c.env, setting{flagName(s.text(e, "name")), s.text(e, "value"), s.place(v)})
		} else {
			c.openEnv = true
			if ref := s.sub(s.sub(e, "valueFrom"), "configMapKeyRef"); ref != nil {
				c.envFrom = append(c.envFrom, envSource{s.text(ref, "name"), s.text(ref, "key"), s.text(e, "name")})
			}
		}
	}
	for _, from := range s.list(n, "envFrom", true) {
		if ref := s.sub(from, "configMapRef"); ref != nil {
			c.envFrom = append(c.envFrom, envSource{config: s.text(ref, "name")})
		}
	}
	c.openEnv = c.openEnv || n.get("envFrom") != nil
	for _, p := range s.list(n, "ports", true) {
		c.ports = append(c.ports, containerPort{s.text(p, "name"), s.number(p, "containerPort", 0), s.number(p, "hostPort", 0)})
	}
	c.readiness = readProbe(s, n, "readinessProbe")
	c.liveness = readProbe(s, n, "livenessProbe")
	c.startup = readProbe(s, n, "startupProbe")
	if hook := s.sub(s.sub(n, "lifecycle"), "preStop"); hook != nil {
		c.preStop = readPreStop(s, hook)
	}
	c.drain = drainOf(&c.program)
	return c
}

// readProbe reads a probe; nil when there is none. Zero stands for the default, as it
// does for the API server.
func readProbe(s *source, c *node, key string) *probe {
	n := s.sub(c, key)
	if n == nil {
		return nil
	}
	positive := func(key string, otherwise int) int {
		if v := s.number(n, key, otherwise); v > 0 {
			return v
		}
		return otherwise
	}
	p := &probe{
		at: s.place(n), delay: max(s.number(n, "initialDelaySeconds", 0), 0),
		period: positive("periodSeconds", defaultProbePeriod), timeout: positive("timeoutSeconds", defaultProbeTimeout),
		failure: positive("failureThreshold", defaultProbeFailure), success: positive("successThreshold", defaultProbeSuccess),
	}
	where := func(from *node, key string) place {
		if v := from.get(key); v != nil {
			return s.place(v)
		}
		return p.at
	}
	p.timeoutAt, p.successAt = where(n, "timeoutSeconds"), where(n, "successThreshold")
	for _, handler := range [][2]string{{"http", "httpGet"}, {"tcp", "tcpSocket"}, {"grpc", "grpc"}} {
		kind, key := handler[0], handler[1]
		h := s.sub(n, key)
		if h == nil {
			continue
		}
		p.kind, p.path, p.host, p.port = kind, s.text(h, "path"), s.text(h, "host"), s.text(h, "port")
		p.service = s.text(h, "service")
		p.hostAt, p.portAt = where(h, "host"), where(h, "port")
		if kind == "http" && !strings.HasPrefix(p.path, "/") {
			p.path = "/" + p.path
		}
	}
	if h := s.sub(n, "exec"); h != nil {
		p.kind = "exec"
		for _, item := range s.list(h, "command", false) {
			p.words = append(p.words, item.value)
		}
	}
	return p
}

func readService(s *source, o, spec *node, name, namespace string) *kubeService {
	v := &kubeService{name: name, namespace: namespace, at: s.place(o), selector: s.labels(s.sub(spec, "selector"))}
	v.headless = s.text(spec, "clusterIP") == "None"
	if s.text(spec, "type") == "ExternalName" {
		v.selector = nil
	}
	if s.boolean(spec, "publishNotReadyAddresses") {
		at := s.place(spec.get("publishNotReadyAddresses"))
		v.unready = &at
	}
	v.externalLocal = s.text(spec, "externalTrafficPolicy") == "Local"
	v.local = v.externalLocal || s.text(spec, "internalTrafficPolicy") == "Local"
	for _, p := range s.list(spec, "ports", true) {
		target, at := s.text(p, "targetPort"), s.place(p)
		if t := p.get("targetPort"); t != nil {
			at = s.place(t)
		} else {
			target = s.text(p, "port")
		}
		v.ports = append(v.ports, servicePort{s.text(p, "name"), target, at})
	}
	return v
}

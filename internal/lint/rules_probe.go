package lint

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bounds of probes.
const (
	longestStart     = 30 * time.Second // that liveness may be relied on to allow; the defaults allow no more
	shortestHang     = 15 * time.Second // before liveness restarts a busy instance
	shortestStartup  = 10 * time.Second
	longestReadiness = 30 * time.Second
)

var probeRules = []Rule{
	{
		ID: "k8s-no-readiness-probe", Runtime: "kubernetes", Severity: Error,
		What: "A container takes requests and has no readiness probe (a warning when a startup probe at least guards the start).",
		Why:  "Without one a container is ready when its process runs. Requests are sent to it before it listens or has what it needs, and on when it can no longer serve.",
		Fix:  "`readinessProbe: {httpGet: {path: /readyz, port: 8081}, periodSeconds: 1}`.",
		pods: noReadiness,
	},
	{
		ID: "k8s-liveness-is-readiness", Runtime: "kubernetes", Severity: Error,
		What: "The liveness probe asks what the readiness probe asks, or the health of all dependencies (`/actuator/health` of Spring, `/q/health` of Quarkus; a warning). An error when it acts no later, or when its path is one of readiness; else a warning.",
		Why:  "What makes an instance unready (a dependency that is gone, a drain, a sync) then restarts it. One outage of a shared dependency restarts the whole fleet, and all requests in flight are cut.",
		Fix:  "Liveness asks for progress alone: `/livez`, which looks at no dependency.",
		pods: livenessIsReadiness,
	},
	{
		ID: "k8s-probe-timeout", Runtime: "kubernetes", Severity: Warning,
		What: "`timeoutSeconds` of the readiness probe is longer than its `periodSeconds`; of the liveness probe where there is no readiness.",
		Why:  "The next probe waits for the one before. An instance that hangs is found out only after failureThreshold timeouts, not periods, and gets requests until then.",
		Fix:  "A timeout no longer than the period.",
		pods: probeTimeout,
	},
	{
		ID: "k8s-liveness-kills-start", Runtime: "kubernetes", Severity: Error,
		What: "Liveness leaves a start no more than 30 s (initialDelaySeconds + failureThreshold x periodSeconds, what the defaults come to) and there is no startup probe, or the startup probe leaves less than 10 s. An error when liveness kills before readiness even asks.",
		Why:  "A start that takes longer, on a busy node or after a cold cache, is killed and begins again, for ever. The capacity of that instance is missing, and a rollout hangs.",
		Fix:  "A startup probe, for example `startupProbe: {httpGet: {path: /startupz, port: 8081}, periodSeconds: 1, failureThreshold: 60}`.",
		pods: livenessKillsStart,
	},
	{
		ID: "k8s-liveness-one-strike", Runtime: "kubernetes", Severity: Warning,
		What: "One failure of the liveness probe restarts the container (`failureThreshold: 1`).",
		Why:  "A single slow answer, in a pause of the collector or on a throttled CPU, restarts an instance that serves, and cuts its requests. Load makes it more likely, and each restart adds load.",
		Fix:  "`failureThreshold: 3` or more.",
		pods: livenessOneStrike,
	},
	{
		ID: "k8s-liveness-hasty", Runtime: "kubernetes", Severity: Warning,
		What: "Liveness restarts an instance that does not answer for less than 15 s (failureThreshold x the longer of period and timeout), also once it has started.",
		Why:  "Under load, in a pause of the collector or while the CPU is throttled, answers take that long. The restart cuts the requests in flight and leaves the load to the others, which are restarted next.",
		Fix:  "`periodSeconds: 10` with `failureThreshold: 3`, and `timeoutSeconds` of a few seconds. Readiness is there to take a busy instance out soon.",
		pods: livenessHasty,
	},
	{
		ID: "k8s-exec-probe-timeout", Runtime: "kubernetes", Severity: Warning,
		What: "An exec probe has 1 s to run (the default): of liveness, or of readiness where it starts an interpreter, a virtual machine or a client of a database.",
		Why:  "Each probe starts a process within the CPU limit of the container. When that is used up the start alone takes longer, most likely under load, and the instance is taken out or restarted though it serves.",
		Fix:  "`timeoutSeconds: 5`, with a `periodSeconds` no shorter, or httpGet or grpc, which start nothing.",
		pods: execProbeTimeout,
	},
	{
		ID: "k8s-readiness-slow", Runtime: "kubernetes", Severity: Warning,
		What: "Readiness notices a failing instance only after more than 30 s (failureThreshold x the longer of period and timeout).",
		Why:  "Until then its share of the requests is sent to an instance that says it cannot serve them.",
		Fix:  "`periodSeconds: 2` with `failureThreshold: 2`.",
		pods: readinessSlow,
	},
	{
		ID: "k8s-success-threshold", Runtime: "kubernetes", Severity: Error,
		What: "A liveness or startup probe has a `successThreshold` other than 1.",
		Why:  "The API server refuses the manifest, so the rollout that was to bring the fix does not happen.",
		Fix:  "Remove it; only readiness may ask for several successes.",
		pods: successThreshold,
	},
	{
		ID: "k8s-health-on-loopback", Runtime: "kubernetes", Severity: Error,
		What: "A probe over the network asks a port that the program binds to the loopback address, or asks the loopback address itself (of the node, that is, unless the pod is on the host's network).",
		Why:  "The kubelet asks from the node, at the address of the pod. A probe that never succeeds keeps the pod out of service, or restarts it for ever, and a rollout hangs with what is left of the old pods.",
		Fix:  "Listen on `:PORT` and leave `host` out, or probe with an exec command inside the container.",
		pods: healthOnLoopback,
	},
	{
		ID: "k8s-probe-port-unknown", Runtime: "kubernetes", Severity: Error,
		What: "A probe asks a port by a name that its container does not declare (error), or by a number that no container port, argument or variable mentions, while the container has a port for its health, or one that another probe asks, or one of the same digits (warning). A gRPC probe takes no name at all (error).",
		Why:  "The probe always fails: the pod gets no requests, or is restarted for ever. A manifest that is refused brings no fix.",
		Fix:  "Declare the port under `ports`, or correct the probe.",
		pods: probePortUnknown,
	},
	{
		ID: "k8s-exec-fails", Runtime: "kubernetes", Severity: Error,
		What: "An exec probe or a preStop hook that cannot run as it is meant: the words of a shell (`||`, `&&`, `;`) where none reads them, a whole line as one word, several words after `sh -c`; or a shell or a tool in an image that by its name has none (distroless; a warning).",
		Why:  "The kubelet starts the first word as a program, with the others as its arguments. A probe that fails for that keeps the pod without requests or restarts it for ever, one that succeeds says nothing; a hook that fails gains no time, and SIGTERM follows at once.",
		Fix:  "`command: [sh, -c, 'curl -f localhost:8080/healthz || exit 1']`, the whole script one word; without a shell `httpGet`, `grpc`, or `preStop: {sleep: {seconds: 5}}` (from Kubernetes 1.30).",
		pods: execFails,
	},
	{
		ID: "k8s-readiness-blind", Runtime: "kubernetes", Severity: Error,
		What: "An exec probe of readiness does not ask whether the container can serve: it always succeeds (`|| true`; an error), or it is curl without `--fail`, to which a 503 is a success, a port that is only opened, a process that is only looked for, pg_isready or mysqladmin at the socket, wget at localhost (warnings).",
		Why:  "A pod that is ready whatever it says gets requests before it can serve them, and on when it no longer can. While an image sets its database up, a server answers at the socket that nobody else can reach. The wget of busybox asks one address of localhost alone, perhaps the one where nothing listens.",
		Fix:  "`httpGet: {path: /readyz, port: http}`, `curl --fail`, or `pg_isready -h 127.0.0.1`.",
		pods: readinessBlind,
	},
}

// probes are those of a container that are there, with their names.
func (c *container) probes() []struct {
	name string
	*probe
} {
	type named = struct {
		name string
		*probe
	}
	var out []named
	for _, p := range []named{{"readiness", c.readiness}, {"liveness", c.liveness}, {"startup", c.startup}} {
		if p.probe != nil {
			out = append(out, p)
		}
	}
	return out
}

func noReadiness(w *workload, r *reporter) {
	served, _ := w.served()
	if !served || w.gates || w.updated == managed {
		return
	}
	serving := w.serving()
	if !slices.ContainsFunc(serving, func(c *container) bool { return len(c.ports) > 0 }) &&
		slices.ContainsFunc(serving, func(c *container) bool { return c.readiness != nil }) {
		return // which one serves is not known, and a pod is ready when all are
	}
	for _, c := range serving {
		switch {
		case c.readiness != nil:
		case c.startup != nil:
			r.add(Warning, c.at, c.label()+" gets requests for as long as it runs, also when it cannot serve: only its start is probed", "add a readinessProbe, for example httpGet /readyz")
		default:
			w.lose(r, "", c.at, c.label()+" gets requests as soon as its process runs, before it can serve", "add a readinessProbe, for example httpGet /readyz")
		}
	}
}

func livenessIsReadiness(w *workload, r *reporter) {
	if served, _ := w.served(); !served {
		return
	}
	for _, c := range w.serving() {
		live, ready := c.liveness, c.readiness
		if live == nil {
			continue
		}
		fix := "let liveness ask for progress alone, for example httpGet /livez"
		switch {
		case asksReadiness(live):
			r.add(Error, live.at, c.label()+" is restarted, and its requests cut, whenever it is not ready", fix)
		case asksDependencies(live) && (ready == nil || !w.same(c, live, ready)):
			g := guess("that " + show(live.path) + " asks its dependencies too, as it does unless it is told otherwise")
			r.add(Warning, live.at, g.told(c.label()+" is restarted, and its requests cut, whenever one of its dependencies is down"), fix+", or "+strings.TrimSuffix(live.path, "/")+alone(live.path))
		case ready == nil || !w.same(c, live, ready):
		case live.detection() <= ready.detection():
			r.add(Error, live.at, fmt.Sprintf("%s is restarted, and its requests cut, as soon as it is not ready (%v)", c.label(), live.detection()), fix)
		default:
			r.add(Warning, live.at, fmt.Sprintf("%s is restarted, and its requests cut, when it is not ready for %v", c.label(), live.detection()), fix)
		}
	}
}

// asksReadiness reports whether the probe is one of readiness by its name.
func asksReadiness(p *probe) bool {
	path := strings.ToLower(p.path)
	return p.kind == "http" && (strings.Contains(path, "/ready") || strings.Contains(path, "readiness")) ||
		p.kind == "exec" && strings.Contains(strings.ReplaceAll(strings.Join(p.words, " "), "=", " "), "--probe ready")
}

// allHealth are paths at which frameworks sum up the health of all that an instance needs,
// and what they add for its own.
var allHealth = map[string]string{"/actuator/health": "/liveness", "/q/health": "/live", "/manage/health": "/liveness"}

func asksDependencies(p *probe) bool { return p.kind == "http" && alone(p.path) != "" }

// alone is what to append to a path of all health for that of the instance alone.
func alone(path string) string {
	for all, own := range allHealth {
		if strings.HasSuffix(strings.TrimSuffix(path, "/"), all) {
			return own
		}
	}
	return ""
}

// same reports whether two probes of a container ask the same thing. An open port says
// nothing of dependencies, so it counts as nothing in common.
func (w *workload) same(c *container, a, b *probe) bool {
	if a.kind != b.kind {
		return false
	}
	portA, _ := w.port(c, a.port)
	portB, _ := w.port(c, b.port)
	switch a.kind {
	case "http":
		return a.path == b.path && a.host == b.host && portA == portB && (portA != "" || a.port == b.port)
	case "grpc":
		return a.service == b.service && portA == portB
	case "exec":
		return slices.Equal(a.words, b.words) && len(a.words) > 0
	}
	return false
}

func probeTimeout(w *workload, r *reporter) {
	if served, _ := w.served(); !served {
		return
	}
	for _, c := range w.serving() {
		// Readiness ends the requests; what liveness does later costs none.
		name, p := "readiness", c.readiness
		if p == nil {
			name, p = "liveness", c.liveness
		}
		if p != nil && p.timeout > p.period {
			r.add(Warning, p.timeoutAt, fmt.Sprintf("%s, when it hangs, keeps getting requests for %v and not %v: each %s probe takes %d s", c.label(), p.detection(), time.Duration(p.failure*p.period)*time.Second, name, p.timeout),
				fmt.Sprintf("timeoutSeconds: %d", p.period))
		}
	}
}

// startBudget is how long a start may take until a probe that fails has its effect.
func startBudget(p *probe) time.Duration {
	return time.Duration(p.delay+p.failure*p.period) * time.Second
}

func livenessKillsStart(w *workload, r *reporter) {
	if served, _ := w.served(); !served {
		return
	}
	for _, c := range w.containers {
		live, ready, start := c.liveness, c.readiness, c.startup
		switch {
		case start != nil:
			if b := startBudget(start); b < shortestStartup {
				r.add(Warning, start.at, fmt.Sprintf("%s is killed when it has not started after %v, and starts again: its share of the capacity is missing", c.label(), b),
					fmt.Sprintf("failureThreshold: %d", (60+start.period-1)/start.period))
			}
		case live == nil:
		case ready != nil && time.Duration(ready.delay)*time.Second >= startBudget(live):
			r.add(Error, live.at, fmt.Sprintf("%s can be killed %v after it started, before readiness is first asked (%d s)", c.label(), startBudget(live), ready.delay),
				"add a startupProbe with failureThreshold x periodSeconds of 60 s")
		case startBudget(live) <= longestStart:
			r.add(Warning, live.at, fmt.Sprintf("%s is killed when it does not answer within %v of its start, and starts again: its share of the capacity is missing", c.label(), startBudget(live)),
				"add a startupProbe with failureThreshold x periodSeconds of 60 s")
		}
	}
}

func livenessOneStrike(w *workload, r *reporter) {
	if served, _ := w.served(); !served {
		return
	}
	for _, c := range w.serving() {
		if c.liveness != nil && c.liveness.failure == 1 {
			r.add(Warning, c.liveness.at, fmt.Sprintf("one answer slower than %d s restarts %s, and its requests are cut", c.liveness.timeout, c.label()), "failureThreshold: 3")
		}
	}
}

func livenessHasty(w *workload, r *reporter) {
	if served, _ := w.served(); !served {
		return
	}
	for _, c := range w.serving() {
		live := c.liveness
		if live == nil || live.failure == 1 || live.detection() >= shortestHang || c.startup == nil && startBudget(live) <= longestStart {
			continue // the first and the last have rules of their own
		}
		r.add(Warning, live.at, fmt.Sprintf("%s is restarted, and its requests cut, when it is too busy to answer for %v", c.label(), live.detection()), "periodSeconds: 10 and failureThreshold: 3")
	}
}

// quickCommands are commands of probes that take no time worth mentioning, slowCommands
// such that take most of a second at the best of times.
var (
	quickCommands = []string{"cat", "test", "[", "ls", "stat", "true", "find"}
	slowCommands  = []string{
		"python", "node", "java", "ruby", "php", "perl", "npm", "npx", "dotnet", "mongo", "mongosh", "rabbitmq-diagnostics", "rabbitmqctl",
		"nodetool", "cqlsh", "kafka-topics.sh", "kafka-broker-api-versions.sh", "kafka-topics", "zkServer.sh", "bin/elasticsearch", "kcadm.sh",
	}
)

func execProbeTimeout(w *workload, r *reporter) {
	if served, _ := w.served(); !served {
		return
	}
	for _, c := range w.serving() {
		for _, p := range c.probes() {
			if p.kind != "exec" || p.timeout > 1 || len(p.words) == 0 || p.name == "startup" {
				continue
			}
			run := &program{}
			for _, text := range p.words {
				run.words = append(run.words, word{text: text})
			}
			effect := "is restarted, and its requests cut,"
			switch {
			case p.name == "liveness" && run.runs(quickCommands...):
				continue
			case p.name == "readiness" && !run.runs(slowCommands...):
				continue
			case p.name == "readiness":
				effect = "gets no requests"
			}
			r.add(Warning, p.at, fmt.Sprintf("%s %s when %s takes more than 1 s to start and to answer, as under load", c.label(), effect, show(strings.Join(p.words, " "))), "timeoutSeconds: 5")
		}
	}
}

func readinessSlow(w *workload, r *reporter) {
	if served, _ := w.served(); !served {
		return
	}
	for _, c := range w.serving() {
		if c.readiness != nil && c.readiness.timeout <= c.readiness.period && c.readiness.detection() > longestReadiness {
			r.add(Warning, c.readiness.at, fmt.Sprintf("an instance that says it cannot serve gets requests for %v more", c.readiness.detection()), "periodSeconds: 2 and failureThreshold: 2")
		}
	}
}

func successThreshold(w *workload, r *reporter) {
	for _, c := range w.containers {
		for _, p := range c.probes() {
			if p.name != "readiness" && p.success != 1 {
				r.add(Error, p.successAt, "the manifest is refused, so nothing of it is rolled out: successThreshold of "+p.name+" must be 1", "remove successThreshold")
			}
		}
	}
}

func healthOnLoopback(w *workload, r *reporter) {
	for _, c := range w.containers {
		// One address can fail several probes: they share a finding.
		failed := map[place][]string{}
		detail := map[place][2]string{}
		guessed := map[place]guess{}
		var order []place
		fail := func(at place, name, cause, fix string) {
			if failed[at] == nil {
				order = append(order, at)
			}
			failed[at], detail[at] = append(failed[at], name), [2]string{cause, fix}
		}
		for _, p := range c.probes() {
			if p.kind == "exec" || p.kind == "" {
				continue
			}
			if loopback(p.host) {
				if !w.hostNetwork { // else the kubelet shares the loopback address
					fail(p.hostAt, p.name, "it is asked for at the loopback address of the node", "remove host")
				}
				continue
			}
			number, _ := w.port(c, p.port)
			if number == "" {
				continue
			}
			if b, bound := c.boundToLoopback(number); bound {
				guessed[b.at] = b.guess
				fail(b.at, p.name, show(b.value)+" cannot be reached from the node", "listen on :"+number)
			}
		}
		for _, at := range order {
			names := failed[at]
			effect := c.label() + " never gets requests"
			if served, _ := w.served(); !served {
				effect = c.label() + " is never ready"
			}
			if slices.Contains(names, "liveness") || slices.Contains(names, "startup") {
				effect = c.label() + " is restarted for ever"
			}
			g := guessed[at]
			r.add(g.severity(Error), at, g.told(fmt.Sprintf("%s, for its health (%s) never succeeds: %s", effect, strings.Join(names, ", "), detail[at][0])), detail[at][1])
		}
	}
}

// doubtful is why a probe seems to ask a port where nothing listens, or "": many programs
// answer probes at a port that no file names, so that alone says nothing.
func (w *workload) doubtful(c *container, p *probe) string {
	for _, own := range c.ports {
		if number := strconv.Itoa(own.number); misplacedDigits(p.port, number) {
			return "it has a port " + number
		}
		if name := strings.ToLower(own.name); strings.Contains(name, "health") || strings.Contains(name, "probe") {
			return "it has a port " + show(own.name)
		}
	}
	for _, other := range c.probes() {
		for _, own := range c.ports {
			if other.kind != "exec" && (other.port == strconv.Itoa(own.number) || other.port == own.name && own.name != "") {
				return fmt.Sprintf("its %s probe asks port %s", other.name, show(other.port))
			}
		}
	}
	return ""
}

// misplacedDigits reports whether a number is another one with its digits in another
// order, or with one too many or too few. One that differs by a digit may be meant: 8080
// and 8081.
func misplacedDigits(a, b string) bool {
	x, y := []byte(a), []byte(b)
	slices.Sort(x)
	slices.Sort(y)
	return a != b && string(x) == string(y) || len(a) != len(b) && distance(a, b) == 1
}

func probePortUnknown(w *workload, r *reporter) {
	for _, c := range w.containers {
		for _, p := range c.probes() {
			if p.kind == "exec" || p.kind == "" || p.port == "" {
				continue
			}
			_, declared := w.port(c, p.port)
			if _, err := strconv.Atoi(p.port); err != nil && p.kind == "grpc" {
				r.add(Error, p.portAt, fmt.Sprintf("the manifest is refused, so nothing of it is rolled out: the port of the gRPC %s probe is a name", p.name), "the number of the port")
				continue
			}
			if declared {
				continue
			}
			if _, err := strconv.Atoi(p.port); err != nil {
				r.add(Error, p.portAt, fmt.Sprintf("the %s probe of %s always fails: the container has no port named %s", p.name, c.label(), show(p.port)), "name a container port "+show(p.port))
				continue
			}
			if why := w.doubtful(c, p.probe); why != "" && !w.mentions(p.port) {
				g := guess("that nothing listens there")
				r.add(Warning, p.portAt, g.told(fmt.Sprintf("the %s probe of %s fails: nothing here mentions port %s, and %s", p.name, c.label(), p.port, why)), "declare the port, or correct it")
			}
		}
	}
}

func execFails(w *workload, r *reporter) {
	served, _ := w.served()
	for _, c := range w.containers {
		report := func(at place, words []string, effect, fix string) {
			if mistake := execMistake(words); mistake != "" {
				var g guess
				if (&healthCommand{words: words}).cannotRun().severity == Warning {
					g = guess("that " + show(path.Base(words[0])) + " refuses arguments that it does not know")
				}
				r.add(g.severity(Error), at, g.told(effect+": "+mistake), "command: [sh, -c, '...'], the whole script one word")
			} else if lacksProgram(c.image, words) {
				g := guess(fmt.Sprintf("that image %s has no %s", show(c.image), show(words[0])))
				r.add(Warning, at, g.told(effect), fix)
			}
		}
		for _, p := range c.probes() {
			report(p.at, p.words, fmt.Sprintf("the %s probe of %s cannot work as it is written", p.name, c.label()), "httpGet, tcpSocket or grpc, which need no program in the container")
		}
		if c.preStop != nil && served {
			report(c.preStop.at, c.preStop.words, fmt.Sprintf("the preStop hook of %s fails, and requests that still arrive are refused", c.label()), "preStop: {sleep: {seconds: 5}}, which needs no program in the container")
		}
	}
}

func readinessBlind(w *workload, r *reporter) {
	if served, _ := w.served(); !served {
		return
	}
	for _, c := range w.serving() {
		p := c.readiness
		if p == nil || p.kind != "exec" || execMistake(p.words) != "" {
			continue // the last is k8s-exec-fails
		}
		h := &healthCommand{at: p.at, words: p.words}
		for _, f := range []*fault{h.cannotFail(), h.cannotTell(), h.tooEarly(c.image, c.env), h.wrongAddress()} {
			if f == nil {
				continue
			}
			effect := fmt.Sprintf("the readiness probe of %s: %s", c.label(), f.effect)
			if f.severity == Error {
				w.lose(r, "", p.at, effect, f.fix)
			} else {
				r.add(f.severity, p.at, effect, f.fix)
			}
			break
		}
	}
}

package lint

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Bounds of health checks in compose files.
const (
	longestInterval  = 10 * time.Second
	longestDetection = 30 * time.Second
	shortestHealth   = 15 * time.Second // of a start, without a start_period
)

var composeRules = []Rule{
	{
		ID: "compose-no-healthcheck", Runtime: "compose", Severity: Error,
		What:    "A service that takes requests (it publishes or exposes a port, a proxy finds it by its labels, or another one waits for its health) has no health check in the file (warning: its image may have one), or the check is switched off (error).",
		Why:     "A container without health counts as good when its process runs. Balancers, `up --wait`, rolling updates and dependents send requests to it before it can serve. A dependent that waits for health which nobody checks never starts.",
		Fix:     "`healthcheck: {test: [CMD, /app, healthcheck], interval: 2s, timeout: 2s, retries: 3, start_period: 30s}`.",
		compose: composeNoHealth,
	},
	{
		ID: "compose-health-command", Runtime: "compose", Severity: Error,
		What:    "The health check cannot run as it is written: a list that does not begin with CMD, CMD-SHELL or NONE, the words of a shell (`||`) after CMD, a whole line as one word of CMD, several words after CMD-SHELL; or a variable of the container is written $VAR, which Compose fills in on the host (warning).",
		Why:     "What never succeeds is never healthy: dependents do not start, a balancer sends nothing, and Swarm starts over for ever. A file that is refused starts nothing.",
		Fix:     "`test: [CMD, program, argument]`, or `test: [CMD-SHELL, \"one line\"]`.",
		compose: healthFault(nil),
	},
	{
		ID: "compose-health-always", Runtime: "compose", Severity: Error,
		What:    "The health check cannot fail: it is `true`, or ends with `|| exit 0` or its like.",
		Why:     "A container that is always healthy gets requests before it can serve, and keeps them when it no longer can.",
		Fix:     "A check that fails when the service cannot serve: `|| exit 1`.",
		compose: healthFault(func(c *composeService) *fault { return c.health.command.cannotFail() }),
	},
	{
		ID: "compose-health-blind", Runtime: "compose", Severity: Warning,
		What:    "The health check does not see whether the service can serve: curl without `--fail`, to which a 503 is a success, a port that is only opened, a process that is only looked for.",
		Why:     "A server that says that it cannot serve, or that only listens, counts as healthy and gets requests.",
		Fix:     "`curl --fail http://127.0.0.1:PORT/readyz`, or a query that the service has to answer.",
		compose: healthFault(func(c *composeService) *fault { return c.health.command.cannotTell() }),
	},
	{
		ID: "compose-health-early", Runtime: "compose", Severity: Warning,
		What:    "The health check of a database asks its socket: pg_isready without `-h`, mysqladmin ping of localhost.",
		Why:     "On the first start the image sets the database up with a server that listens on the socket alone, and then stops it. The check succeeds meanwhile, and what depends on it is started and refused.",
		Fix:     "`pg_isready -h 127.0.0.1`, `mysqladmin ping -h 127.0.0.1`.",
		compose: healthFault(func(c *composeService) *fault { return c.health.command.tooEarly(c.image, c.env) }),
	},
	{
		ID: "compose-health-localhost", Runtime: "compose", Severity: Warning,
		What:    "The health check asks localhost with wget.",
		Why:     "The wget of busybox, which small images have, takes the first address of localhost and no other. Where that is ::1 and the server listens on IPv4 alone, a service that serves is never healthy.",
		Fix:     "127.0.0.1 in place of localhost.",
		compose: healthFault(func(c *composeService) *fault { return c.health.command.wrongAddress() }),
	},
	{
		ID: "compose-health-slow", Runtime: "compose", Severity: Warning,
		What:    "A port is published or exposed, or a proxy finds the service, and the interval of the health check (default 30s) is longer than 10s, or interval x retries is longer than 30s. Of a database, or with a start_interval, only where a proxy or Swarm goes by the health.",
		Why:     "An instance that cannot serve keeps its requests for retries intervals. And before Engine 25, which has start_interval, the first check waits for a whole interval, so each start of a container takes at least that long.",
		Fix:     "`interval: 2s`, `retries: 3`.",
		compose: composeHealthSlow,
	},
	{
		ID: "compose-health-timeout", Runtime: "compose", Severity: Warning,
		What:    "The timeout of the health check (default 30s) is longer than 10s and than the interval.",
		Why:     "The next check waits for the one before. An instance that hangs is found out only after retries timeouts, and gets requests until then.",
		Fix:     "A timeout no longer than the interval, or than a few seconds.",
		compose: composeHealthTimeout,
	},
	{
		ID: "compose-start-period", Runtime: "compose", Severity: Warning,
		What:    "The health check allows a start less than 15s (interval x retries) and has no start_period.",
		Why:     "A start that takes longer counts as unhealthy: dependents are not started, and Swarm kills the task and begins again.",
		Fix:     "`start_period: 30s`. A start that takes less is healthy at once all the same.",
		compose: composeStartPeriod,
	},
	{
		ID: "compose-stop-grace", Runtime: "compose", Severity: Error,
		What:    "`stop_grace_period` (default 10s) is shorter than the drain, or 0.",
		Why:     "When it runs out the container gets SIGKILL, and the requests in flight are cut.",
		Fix:     "`stop_grace_period` above the drain, with a few seconds to spare.",
		compose: composeStopGrace,
	},
	{
		ID: "compose-lame-duck", Runtime: "compose", Severity: Warning,
		What:    "The lame duck is known and shorter than the health check takes to notice (interval x retries).",
		Why:     "A balancer that goes by the health of the container still sends requests when the listener is gone.",
		Fix:     "A longer lame duck, or a shorter interval.",
		compose: composeLameDuck,
	},
	{
		ID: "compose-depends-on", Runtime: "compose", Severity: Warning,
		What:    "A service depends on another one being started, not healthy.",
		Why:     "Started means that the process runs. The first requests to it are refused.",
		Fix:     "`depends_on: {NAME: {condition: service_healthy}}`, and a health check there.",
		compose: composeDependsOn,
	},
	{
		ID: "compose-restart", Runtime: "compose", Severity: Warning,
		What:    "A service with a published or exposed port, or behind a proxy, has no restart policy, or `no`. Swarm restarts by default.",
		Why:     "After a crash every request is refused until somebody looks.",
		Fix:     "`restart: unless-stopped`; under Swarm, `deploy.restart_policy` with the condition any, which is the default there.",
		compose: composeRestart,
	},
	{
		ID: "compose-update-order", Runtime: "compose", Severity: Error,
		What:    "A Swarm update stops all tasks of a service with a published or exposed port before it starts one (`order: stop-first`, the default, with as many at a time as there are replicas), or a part of them without the file saying so (warning).",
		Why:     "For the length of a start there is no task, and every request fails. Where others are left, they get its share.",
		Fix:     "`update_config: {order: start-first, parallelism: 1}`.",
		compose: composeUpdateOrder,
	},
	{
		ID: "compose-published-on-loopback", Runtime: "compose", Severity: Error,
		What:    "A port is published, and the program in the container binds it to the loopback address.",
		Why:     "Requests come to the address of the container, where nothing listens: each of them is reset.",
		Fix:     "Listen on `:PORT`. To keep others out, publish `127.0.0.1:PORT:PORT`.",
		compose: composeOnLoopback,
	},
	{
		ID: "compose-stop-signal", Runtime: "compose", Severity: Error,
		What:    "`stop_signal: SIGKILL`.",
		Why:     "The program cannot catch it: nothing is drained, and every request in flight is cut.",
		Fix:     "Remove it: the default is SIGTERM, or what the image says.",
		compose: composeStopSignal,
	},
	{
		ID: "compose-shell-keeps-signal", Runtime: "compose", Severity: Warning,
		What: "A service that takes requests is started by a shell script of several commands, without exec or trap. A wait does not pass a signal on.",
		Why:  "The shell does not pass SIGTERM on. The program never hears of the stop, drains nothing, and is killed in the midst of requests when the grace period is over.",
		Fix:  "`exec` before the last command.",
		compose: func(c *composeService, r *reporter) {
			if script, kept := c.keepsShell(); kept && c.served() {
				r.add(Warning, script.at, fmt.Sprintf("the program never sees SIGTERM: requests in flight are cut after %v", c.stopGrace), "write exec before the last command of the script")
			}
		},
	},
}

// healthFault makes a rule of something that can be wrong with the command of a check:
// that it cannot run, or what find finds in one that can.
func healthFault(find func(*composeService) *fault) func(*composeService, *reporter) {
	return func(c *composeService, r *reporter) {
		if c.health == nil || c.health.disabled || c.health.command == nil {
			return
		}
		f := c.health.command.cannotRun()
		switch {
		case find == nil && f != nil && c.health.command.wrong == "" && !c.served():
			f.severity = Warning // it costs no request
		case find == nil:
		case f != nil && f.severity == Error || !c.served():
			return
		default:
			f = find(c)
		}
		if f != nil {
			r.add(f.severity, c.health.command.at, f.effect, f.fix)
		}
	}
}

func composeNoHealth(c *composeService, r *reporter) {
	if !c.served() || c.partial {
		return
	}
	switch {
	case c.health == nil:
		r.add(Warning, c.at, "unless the image has a health check, requests are sent to a container as soon as its process runs", "add a healthcheck with interval: 2s and start_period: 30s")
	case c.health.disabled && len(c.dependents("service_healthy")) > 0:
		r.add(Error, c.health.at, show(c.dependents("service_healthy")[0])+" never starts: it waits for health that nobody checks", "remove the line")
	case c.health.disabled:
		r.add(Error, c.health.at, "requests are sent to a container as soon as its process runs: the health check is switched off", "remove the line")
	}
}

// checked is the health check, nil where there is none that the file decides.
func (c *composeService) checked() *health {
	if c.health == nil || c.health.disabled || !c.served() {
		return nil
	}
	return c.health
}

func composeHealthSlow(c *composeService, r *reporter) {
	h := c.checked()
	if h == nil || h.anyInterval || !c.balanced() {
		return
	}
	detection := h.interval * time.Duration(min(h.retries, 1000))
	switch {
	case h.interval > longestInterval && !h.startInterval:
		r.add(Warning, h.intervalAt, fmt.Sprintf("an instance that cannot serve gets requests for %v more, and a new one may not count as healthy for its first %v", detection, h.interval), "interval: 2s")
	case detection > longestDetection:
		r.add(Warning, h.intervalAt, fmt.Sprintf("an instance that cannot serve gets requests for %v more", detection), "interval: 2s and retries: 3")
	}
}

func composeHealthTimeout(c *composeService, r *reporter) {
	if h := c.checked(); h != nil && c.balanced() && !h.anyTimeout && h.timeout > h.interval && h.timeout > longestInterval {
		r.add(Warning, h.timeoutAt, fmt.Sprintf("an instance that hangs gets requests for %v more: each check takes %v", (h.timeout+h.interval)*time.Duration(min(h.retries, 1000)), h.timeout), fmt.Sprintf("timeout: %v", min(max(h.interval, time.Second), 5*time.Second)))
	}
}

func composeStartPeriod(c *composeService, r *reporter) {
	h := c.checked()
	if h == nil || h.anyStart || h.startPeriod > 0 {
		return
	}
	if b := h.interval * time.Duration(min(h.retries, 1000)); b < shortestHealth {
		r.add(Warning, h.startPeriodAt, fmt.Sprintf("a start that takes longer than %v counts as unhealthy: dependents do not start, and Swarm starts over", b), "start_period: 30s")
	}
}

func composeStopGrace(c *composeService, r *reporter) {
	switch {
	case c.anyGrace:
	case c.stopGrace == 0 && c.served():
		r.add(Error, c.stopGraceAt, "each stop cuts every request in flight", "stop_grace_period: 30s")
	case c.drain.whole > c.stopGrace:
		g := c.drain.guess
		if g == "" && !c.served() {
			g = "that it takes requests"
		}
		r.add(g.severity(Error), c.stopGraceAt, g.told(fmt.Sprintf("it is killed after %v with requests in flight: the drain takes %v (%s)", c.stopGrace, c.drain.whole, show(c.drain.from))),
			fmt.Sprintf("stop_grace_period: %ds", seconds(c.drain.whole)+5))
	}
}

func composeLameDuck(c *composeService, r *reporter) {
	h := c.checked()
	if h == nil || h.anyInterval || !c.routed() || !c.drain.leadKnown || c.drain.lead == 0 || c.preStop {
		return
	}
	if notice := h.interval * time.Duration(min(h.retries, 1000)); c.drain.lead < notice {
		r.add(Warning, h.intervalAt, fmt.Sprintf("a balancer that goes by this check sends requests for %v, the program takes them for %v", notice, c.drain.lead), fmt.Sprintf("a lame duck of %ds, or a shorter interval", seconds(notice)+1))
	}
}

func composeDependsOn(c *composeService, r *reporter) {
	var names []string
	var at place
	for _, n := range c.needs {
		if n.condition == "service_started" && !n.optional {
			if names == nil {
				at = n.at
			}
			names = append(names, show(n.service))
		}
	}
	if names == nil {
		return
	}
	that := "it starts when that process runs, not when it can serve"
	if len(names) > 1 {
		that = "it starts when those processes run, not when they can serve"
	}
	r.add(Warning, at, "its first requests to "+strings.Join(names, ", ")+" are refused: "+that, "depends_on: {"+names[0]+": {condition: service_healthy}}")
}

func composeRestart(c *composeService, r *reporter) {
	if !c.routed() || c.partial && !c.restartSet {
		return
	}
	// Compose follows the policy of deploy as well, where there is no other.
	if c.bySwarm() || c.swarm != nil && c.swarm.restartSet && !c.restartSet {
		if c.swarm.restart == "none" {
			r.add(Warning, c.swarm.at, "after a crash every request is refused until somebody starts it", "restart_policy: {condition: any}")
		}
		return
	}
	if c.restart == "" && !c.restartSet || c.restart == "no" || c.restart == "false" {
		effect := "after a crash every request is refused until somebody starts it: without a policy nothing restarts it"
		if c.swarm != nil {
			effect = guess("that Compose runs it, for Swarm restarts by default").told(effect)
		}
		r.add(Warning, c.restartAt, effect, "restart: unless-stopped")
	}
}

func composeUpdateOrder(c *composeService, r *reporter) {
	d := c.swarm
	if !c.routed() || !c.bySwarm() || d.global || d.order == "start-first" || d.replicas < 1 {
		return
	}
	switch {
	case d.parallelism == 0 || d.parallelism >= d.replicas:
		r.add(Error, d.at, fmt.Sprintf("an update stops %s before a new one starts: every request fails meanwhile", replicasText(d.replicas)), "order: start-first")
	case !d.update:
		r.add(Warning, d.at, fmt.Sprintf("an update stops %d of %d replicas before a new one starts, by default: the others get all requests meanwhile", d.parallelism, d.replicas), "update_config: {order: start-first}")
	}
}

func composeOnLoopback(c *composeService, r *reporter) {
	if c.hostNetwork {
		return
	}
	ports := slices.Compact(slices.Sorted(slices.Values(c.published)))
	for _, port := range ports {
		if b, bound := c.boundToLoopback(port); bound {
			r.add(b.guess.severity(Error), b.at, b.guess.told(fmt.Sprintf("every request to the published port is reset: the program listens on %s alone", show(b.value))), "listen on :"+port)
		}
	}
}

func composeStopSignal(c *composeService, r *reporter) {
	if s := strings.ToUpper(c.stopSignal); s == "SIGKILL" || s == "KILL" || s == "9" {
		r.add(Error, c.stopAt, "each stop cuts every request in flight", "remove stop_signal")
	}
}

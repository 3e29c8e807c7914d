package lint

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// shortestStop is the TimeoutStopSec below which requests in flight are cut even if
// nothing is known of the drain.
const shortestStop = 5 * time.Second

// prefork are servers whose workers must not be sent the signal that is for their master.
var prefork = []string{"nginx", "haproxy", "apache2", "httpd", "gunicorn", "uwsgi", "unicorn", "puma", "php-fpm"}

var unitRules = []Rule{
	{
		ID: "unit-type", Runtime: "systemd", Severity: Error,
		What: "A service that takes requests is of Type simple (the default), exec or idle. An error when another unit depends on it.",
		Why:  "It counts as started when its process runs, long before it listens. Whatever waits for the start, a unit ordered after it or a rollout that goes on to the next instance, sends requests too early, and they are refused. A socket holds them back, but hands them over as early.",
		Fix:  "`Type=notify`, and READY=1 from the program when it can serve.",
		unit: unitType,
	},
	{
		ID: "unit-stop-timeout", Runtime: "systemd", Severity: Error,
		What: "`TimeoutStopSec` (default 90s) is shorter than the drain, or below 5s where the drain is not known (warning).",
		Why:  "When it runs out systemd sends SIGKILL, and the requests in flight are cut.",
		Fix:  "`TimeoutStopSec` above the drain, with a few seconds to spare.",
		unit: unitStopTimeout,
	},
	{
		ID: "unit-kill-mode", Runtime: "systemd", Severity: Error,
		What: "`KillMode=none`; `KillMode=process` on a service that takes requests (warning); or a prefork server (nginx, haproxy, gunicorn and their like) with the default `control-group` (warning).",
		Why:  "With none and process, old processes live on and hold the port or keep accepting requests of a service that is stopped. With control-group every worker gets SIGTERM at the same time as the master that is to drain it.",
		Fix:  "`KillMode=mixed`: SIGTERM for the main process, SIGKILL for what is left in the end.",
		unit: unitKillMode,
	},
	{
		ID: "unit-kill-signal", Runtime: "systemd", Severity: Error,
		What: "`KillSignal=SIGKILL`.",
		Why:  "The program cannot catch it: nothing is drained, and every request in flight is cut.",
		Fix:  "Remove it: the default is SIGTERM.",
		unit: unitKillSignal,
	},
	{
		ID: "unit-watchdog", Runtime: "systemd", Severity: Warning,
		What: "`WatchdogSec` on a service of Type simple, exec, idle or forking, without `NotifyAccess`.",
		Why:  "A program that does not speak the notification protocol sends no keep-alive, and is killed each time the watchdog runs out, in the midst of its requests.",
		Fix:  "`Type=notify` and WATCHDOG=1 from the program, or no `WatchdogSec`.",
		unit: unitWatchdog,
	},
	{
		ID: "unit-restart", Runtime: "systemd", Severity: Warning,
		What: "A service that takes requests is not restarted after every failure: `Restart` is missing, or is no, on-success, on-abort or on-watchdog. Not reported where a socket starts it again.",
		Why:  "After a crash every request is refused until somebody looks.",
		Fix:  "`Restart=on-failure` or `always`, with `RestartSec=2s`.",
		unit: unitRestart,
	},
	{
		ID: "unit-start-limit", Runtime: "systemd", Severity: Warning,
		What: "Restarts come so fast that the start limit can be hit: StartLimitBurst (default 5) x RestartSec (default 100ms) is less than StartLimitIntervalSec (default 10s).",
		Why:  "After the fifth crash within ten seconds systemd gives up for good. A dependency that is gone for a moment becomes an outage until somebody looks.",
		Fix:  "`RestartSec=2s`, or `StartLimitIntervalSec=0`.",
		unit: unitStartLimit,
	},
	{
		ID: "unit-not-ordered", Runtime: "systemd", Severity: Warning,
		What: "A unit pulls in a service (Requires, Wants, BindsTo) without being ordered After it.",
		Why:  "The two start at the same time, so the first requests to that service are refused. When both stop, the service can be gone before the one that needs it for its last requests.",
		Fix:  "Add `After=` with the same name.",
		unit: unitNotOrdered,
	},
}

func unitType(u *unitFile, r *reporter) {
	because := u.served()
	kind, at := u.kind()
	if because == "" || !slices.Contains([]string{"simple", "exec", "idle"}, kind) {
		return
	}
	severity := Warning
	if len(u.dependents) > 0 {
		severity = Error
	} else if u.socket != "" {
		r.add(Warning, at, fmt.Sprintf("requests that wait at %s are handed to a program that may not be able to serve them yet, and a rollout takes it for started: Type=%s", show(u.socket), show(kind)), "Type=notify, with READY=1 from the program")
		return
	}
	r.add(severity, at, fmt.Sprintf("requests sent as soon as it counts as started are refused: Type=%s does not wait until it can serve (%s)", show(kind), because), "Type=notify, with READY=1 from the program")
}

func unitStopTimeout(u *unitFile, r *reporter) {
	timeout, at := u.stopTimeout()
	if kind, _ := u.kind(); kind == "oneshot" {
		return
	}
	switch {
	case u.drain.whole > timeout:
		r.add(u.drain.guess.severity(Error), at, u.drain.guess.told(fmt.Sprintf("it is killed after %v with requests in flight: the drain takes %v (%s)", timeout, u.drain.whole, show(u.drain.from))),
			fmt.Sprintf("TimeoutStopSec=%ds", seconds(u.drain.whole)+5))
	case !u.drain.known && timeout < shortestStop && u.served() != "":
		r.add(Warning, at, fmt.Sprintf("requests that take longer than %v are cut when it stops", timeout), "TimeoutStopSec=30s")
	}
}

func unitKillMode(u *unitFile, r *reporter) {
	if kind, _ := u.kind(); kind == "oneshot" {
		return
	}
	o, set := u.get("Service", "KillMode")
	switch {
	case o.value == "none":
		r.add(Error, o.at, "its processes are not stopped: they hold the port, and requests go on to the old ones or the new ones are refused", "KillMode=mixed")
	case o.value == "process" && u.served() != "":
		r.add(Warning, o.at, "processes that the main one leaves behind live on: they hold the port or keep taking requests", "KillMode=mixed")
	case (!set || o.value == "control-group") && len(u.program.words) > 0 && slices.Contains(prefork, path.Base(u.program.words[0].text)):
		if _, own := u.get("Service", "ExecStop"); own {
			return // the program is asked to stop before any signal
		}
		at := o.at
		if !set {
			at = u.program.words[0].at
		}
		r.add(Warning, at, "its workers get SIGTERM together with their master and may drop the requests that it would let them finish", "KillMode=mixed")
	}
}

func unitKillSignal(u *unitFile, r *reporter) {
	if o, set := u.get("Service", "KillSignal"); set && slices.Contains([]string{"SIGKILL", "KILL", "9"}, o.value) {
		r.add(Error, o.at, "each stop cuts every request in flight", "remove KillSignal")
	}
}

func unitWatchdog(u *unitFile, r *reporter) {
	o, set := u.get("Service", "WatchdogSec")
	d, ok := span(o.value)
	kind, _ := u.kind()
	if !set || !ok || d == 0 || d == forever || !slices.Contains([]string{"simple", "exec", "idle", "forking"}, kind) {
		return
	}
	if _, spoken := u.get("Service", "NotifyAccess"); spoken {
		return // whoever wrote this knows of the protocol
	}
	r.add(Warning, o.at, fmt.Sprintf("a program that sends no WATCHDOG=1 is killed every %v, and its requests are cut; Type=%s does not suggest that it does", d, show(kind)), "Type=notify, with WATCHDOG=1 from the program, or remove WatchdogSec")
}

func unitRestart(u *unitFile, r *reporter) {
	if u.served() == "" || u.socket != "" {
		return
	}
	o, set := u.get("Service", "Restart")
	if !set {
		r.add(Warning, u.at, "after a crash every request is refused until somebody starts it: the default is Restart=no", "Restart=on-failure and RestartSec=2s")
		return
	}
	if slices.Contains([]string{"no", "on-success", "on-abort", "on-watchdog"}, o.value) {
		r.add(Warning, o.at, fmt.Sprintf("after an exit with an error every request is refused until somebody starts it: Restart=%s", o.value), "Restart=on-failure and RestartSec=2s")
	}
}

func unitStartLimit(u *unitFile, r *reporter) {
	o, set := u.get("Service", "Restart")
	if u.served() == "" || u.socket != "" || !set || !slices.Contains([]string{"always", "on-failure", "on-abnormal"}, o.value) {
		return
	}
	at := o.at
	pause, interval, burst := defaultRestartPause, defaultStartInterval, defaultStartBurst
	read := func(section, name string, to *time.Duration) {
		if o, ok := u.get(section, name); ok {
			if d, ok := span(o.value); ok {
				*to = d
			}
		}
	}
	read("Service", "RestartSec", &pause)
	if o, ok := u.get("Service", "RestartSec"); ok {
		at = o.at
	}
	// The older name and section still work.
	for _, section := range []string{"Service", "Unit"} {
		read(section, "StartLimitInterval", &interval)
		read(section, "StartLimitIntervalSec", &interval)
		if o, ok := u.get(section, "StartLimitBurst"); ok {
			if n, err := strconv.Atoi(o.value); err == nil {
				burst = n
			}
		}
	}
	if action, ok := u.get("Unit", "StartLimitAction"); ok && strings.HasPrefix(action.value, "reboot") {
		return
	}
	if interval == 0 || burst <= 0 || pause >= interval/time.Duration(burst) {
		return
	}
	r.add(Warning, at, fmt.Sprintf("%d crashes within %v end it for good: every request is refused until somebody starts it", burst, interval),
		fmt.Sprintf("RestartSec=%v, or StartLimitIntervalSec=0 under [Unit]", (interval+time.Duration(burst)-1)/time.Duration(burst)))
}

func unitNotOrdered(u *unitFile, r *reporter) {
	if kind, _ := u.kind(); kind == "oneshot" {
		return
	}
	after := u.words("Unit", "After")
	for _, name := range []string{"Requires", "Wants", "BindsTo"} {
		for _, o := range u.all("Unit", name) {
			for _, needed := range strings.Fields(o.value) {
				if !strings.HasSuffix(needed, ".service") || slices.Contains(after, needed) || slices.Contains(u.orderedBy, needed) {
					continue
				}
				r.add(Warning, o.at, "its first requests to "+show(needed)+" are refused: the two start at the same time", "After="+show(needed))
			}
		}
	}
}

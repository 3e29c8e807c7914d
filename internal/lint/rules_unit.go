package lint

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// shortestStop is the TimeoutStopSec below which requests in flight are cut even if
// nothing is known of the drain.
const shortestStop = 5 * time.Second

var unitRules = []Rule{
	{
		ID: "unit-type", Runtime: "systemd", Severity: Error,
		What: "A service that takes requests is of Type simple (the default), exec or idle. An error when another unit depends on it. What takes requests is told by a socket, a unit that needs it, an address on its command line, or the name of a known server; that it starts with the system and after the network is a guess, and said to be one.",
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
		What: "`KillSignal=SIGKILL`, or an `ExecStop` that sends it.",
		Why:  "The program cannot catch it: nothing is drained, and every request in flight is cut.",
		Fix:  "Remove it: the default is SIGTERM.",
		unit: unitKillSignal,
	},
	{
		ID: "unit-stop-returns", Runtime: "systemd", Severity: Error,
		What: "`ExecStop` only sends a signal, and not the one of `KillSignal` (default SIGTERM). An error for servers that cut their requests at SIGTERM (nginx, httpd, haproxy, php-fpm and their like).",
		Why:  "systemd goes on as soon as ExecStop has returned, and sends KillSignal to what still runs: the graceful stop that has just begun is ended by another one.",
		Fix:  "`KillSignal=SIGQUIT` with `KillMode=mixed` in place of ExecStop, or an ExecStop that returns when the stop is over.",
		unit: unitStopReturns,
	},
	{
		ID: "unit-stop-signal", Runtime: "systemd", Severity: Error,
		What: "A server that cuts its requests at SIGTERM, and finishes them at another signal (nginx, php-fpm and unicorn: SIGQUIT, httpd: SIGWINCH, haproxy: SIGUSR1, lighttpd: SIGINT), is stopped by SIGTERM.",
		Why:  "To them SIGTERM is the fast stop. Whatever is in flight is cut, however long `TimeoutStopSec` is.",
		Fix:  "`KillSignal=` with that signal, and `KillMode=mixed`.",
		unit: unitStopSignal,
	},
	{
		ID: "unit-notify-access", Runtime: "systemd", Severity: Warning,
		What: "`Type=notify` with a shell script of several commands as ExecStart, and without `NotifyAccess=all`.",
		Why:  "The program is a child of the shell, and systemd takes READY=1 from the main process alone. The start runs into its timeout, and the program that serves by then is killed. Not so where the shell replaces itself by its last command, as bash does.",
		Fix:  "`exec` before the last command, or `NotifyAccess=all`.",
		unit: func(u *unitFile, r *reporter) {
			kind, _ := u.kind()
			access, _ := u.get("Service", "NotifyAccess")
			if script, kept := u.program.keepsShell(); kept && (kind == "notify" || kind == "notify-reload") && (access.value == "" || access.value == "main") {
				r.add(Warning, script.at, "it is killed when its start times out, in the midst of requests: READY=1 comes from a child of the shell, and is not accepted", "write exec before the last command of the script")
			}
		},
	},
	{
		ID: "unit-container-health", Runtime: "systemd", Severity: Error,
		What: "The HealthCmd of a container (a Quadlet) that takes requests cannot run as it is written, cannot fail (both errors), or does not see whether it can serve, by the rules for the health checks of compose files; or HealthOnFailure acts only after more than 30s (HealthInterval x HealthRetries).",
		Why:  "Notify=healthy and HealthOnFailure go by what the check says.",
		Fix:  "`HealthCmd=curl --fail http://127.0.0.1:PORT/readyz`, or the like.",
		unit: unitContainerHealth,
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
		What: "A service that takes requests is not restarted after every failure: `Restart` is missing, or is no, on-success, on-abnormal, on-abort or on-watchdog. Not reported where a socket starts it again.",
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
	because, g := u.served()
	kind, at := u.kind()
	if because == "" || !slices.Contains([]string{"simple", "exec", "idle", "container"}, kind) {
		return
	}
	waits, fix := fmt.Sprintf("Type=%s does not wait until it can serve", show(kind)), "Type=notify, with READY=1 from the program"
	if kind == "container" {
		waits, fix = "it does when the container runs, not when it can serve", "Notify=healthy, with a HealthCmd"
	}
	severity := Warning
	if len(u.dependents) > 0 {
		severity = Error
	} else if u.socket != "" {
		r.add(Warning, at, fmt.Sprintf("requests that wait at %s are handed to a program that may not be able to serve them yet, and a rollout takes it for started: %s", show(u.socket), waits), fix)
		return
	}
	effect := "requests sent as soon as it counts as started are refused: " + waits
	if g == "" {
		effect += " (" + because + ")"
	}
	r.add(severity, at, g.told(effect), fix)
}

func unitStopTimeout(u *unitFile, r *reporter) {
	timeout, at := u.stopTimeout()
	because, g := u.served()
	if kind, _ := u.kind(); kind == "oneshot" {
		return
	}
	setting := "TimeoutStopSec"
	if u.quadlet() {
		setting = "StopTimeout"
	}
	switch {
	case u.drain.whole > timeout:
		if u.drain.guess != "" {
			g = u.drain.guess
		} else if because == "" {
			g = "that it takes requests"
		}
		r.add(g.severity(Error), at, g.told(fmt.Sprintf("it is killed after %v with requests in flight: the drain takes %v (%s)", timeout, u.drain.whole, show(u.drain.from))),
			fmt.Sprintf("%s=%ds", setting, seconds(u.drain.whole)+5))
	case !u.drain.known && timeout < shortestStop && because != "":
		r.add(Warning, at, g.told(fmt.Sprintf("requests that take longer than %v are cut when it stops", timeout)), setting+"=30s")
	}
}

func unitKillMode(u *unitFile, r *reporter) {
	if kind, _ := u.kind(); kind == "oneshot" || u.quadlet() {
		return
	}
	o, set := u.get("Service", "KillMode")
	signal, _ := u.get("Service", "KillSignal")
	because, g := u.served()
	switch {
	case o.value == "none":
		r.add(Error, o.at, "its processes are not stopped: they hold the port, and requests go on to the old ones or the new ones are refused", "KillMode=mixed")
	case o.value == "process" && because != "" && !u.program.runs(sessions...):
		r.add(Warning, o.at, g.told("processes that the main one leaves behind live on: they hold the port or keep taking requests"), "KillMode=mixed")
	case (!set || o.value == "control-group") && u.program.runs(prefork...):
		if _, own := u.get("Service", "ExecStop"); own || signalName(signal.value) != "SIGTERM" {
			return // the program is asked to stop before any signal, or by one for all
		}
		at := o.at
		if !set {
			at = u.program.words[0].at
		}
		r.add(Warning, at, "its workers get SIGTERM together with their master and may drop the requests that it would let them finish", "KillMode=mixed")
	}
}

func unitKillSignal(u *unitFile, r *reporter) {
	for _, key := range [][2]string{{"Service", "KillSignal"}, {"Container", "StopSignal"}} {
		if o, set := u.get(key[0], key[1]); set && signalName(o.value) == "SIGKILL" {
			r.add(Error, o.at, "each stop cuts every request in flight", "remove "+key[1])
		}
	}
	if o, signal := u.stopBySignal(); signal == "SIGKILL" {
		r.add(Error, o.at, "each stop cuts every request in flight", "remove ExecStop")
	}
}

// stopBySignal is the ExecStop that does nothing but send a signal.
func (u *unitFile) stopBySignal() (option, string) {
	stops := u.all("Service", "ExecStop")
	if len(stops) != 1 {
		return option{}, ""
	}
	words := splitWords(strings.TrimLeft(stops[0].value, "@-:+!|"))
	if len(words) == 3 && shells[path.Base(words[0])] && words[1] == "-c" && len(commandsOf(words[2])) == 1 {
		words = splitWords(words[2])
	}
	if len(words) < 2 {
		return option{}, ""
	}
	switch stem(words[0]) {
	case "kill", "pkill", "killall":
		signal := "SIGTERM"
		for i, w := range words[1:] {
			name, ok := strings.CutPrefix(w, "-")
			if !ok {
				continue
			}
			if rest, long := strings.CutPrefix(name, "-signal="); long {
				name = rest
			} else if (name == "s" || name == "-signal") && i+2 < len(words) {
				name = words[i+2]
			}
			if name == "w" || name == "-wait" { // killall waits
				return option{}, ""
			}
			if signals[signalName(name)] {
				signal = signalName(name)
			}
		}
		return stops[0], signal
	case "nginx", "openresty":
		if slices.Equal(words[len(words)-2:], []string{"-s", "quit"}) {
			return stops[0], "SIGQUIT"
		}
	}
	return option{}, ""
}

var signals = map[string]bool{"SIGTERM": true, "SIGKILL": true, "SIGINT": true, "SIGQUIT": true, "SIGHUP": true, "SIGUSR1": true, "SIGUSR2": true, "SIGWINCH": true}

// signalName writes a signal as SIGTERM, the default of systemd.
func signalName(text string) string {
	switch text = strings.ToUpper(text); text {
	case "", "15":
		return "SIGTERM"
	case "1":
		return "SIGHUP"
	case "2":
		return "SIGINT"
	case "3":
		return "SIGQUIT"
	case "9":
		return "SIGKILL"
	}
	return "SIG" + strings.TrimPrefix(text, "SIG")
}

// fastStop is the server that cuts its requests at SIGTERM, and the signal at which it
// does not.
func (u *unitFile) fastStop() (name, graceful string) {
	name = u.program.server(slices.Sorted(maps.Keys(gracefulSignal)))
	return name, gracefulSignal[name]
}

func unitStopReturns(u *unitFile, r *reporter) {
	o, sent := u.stopBySignal()
	kill, _ := u.get("Service", "KillSignal")
	mode, _ := u.get("Service", "KillMode")
	if sent == "" || sent == "SIGKILL" || sent == signalName(kill.value) || mode.value == "none" {
		return
	}
	name, graceful := u.fastStop()
	if name != "" && graceful == sent && signalName(kill.value) == "SIGTERM" {
		r.add(Error, o.at, fmt.Sprintf("requests in flight are cut: %s has just been told to finish them, and gets SIGTERM at once, for ExecStop does not wait", name), "KillSignal="+sent+" and KillMode=mixed in place of ExecStop")
		return
	}
	if because, g := u.served(); because != "" {
		r.add(Warning, o.at, g.told(fmt.Sprintf("requests in flight are cut if %s ends the stop that %s began: it is sent at once, for ExecStop does not wait", signalName(kill.value), sent)), "KillSignal="+sent+" in place of ExecStop")
	}
}

func unitStopSignal(u *unitFile, r *reporter) {
	name, graceful := u.fastStop()
	kill, set := u.get("Service", "KillSignal")
	if _, own := u.get("Service", "ExecStop"); name == "" || own || u.quadlet() || signalName(kill.value) != "SIGTERM" {
		return
	}
	at := kill.at
	if !set {
		at = u.program.words[0].at
	}
	r.add(Error, at, fmt.Sprintf("each stop cuts the requests in flight: to %s SIGTERM is the fast stop", name), "KillSignal="+graceful+" and KillMode=mixed")
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
	because, g := u.served()
	if because == "" || u.socket != "" {
		return
	}
	o, set := u.get("Service", "Restart")
	if !set {
		r.add(Warning, u.at, g.told("after a crash every request is refused until somebody starts it: the default is Restart=no"), "Restart=on-failure and RestartSec=2s")
		return
	}
	if slices.Contains([]string{"no", "on-success", "on-abnormal", "on-abort", "on-watchdog"}, o.value) {
		r.add(Warning, o.at, g.told(fmt.Sprintf("after an exit with an error every request is refused until somebody starts it: Restart=%s", o.value)), "Restart=on-failure and RestartSec=2s")
	}
}

func unitStartLimit(u *unitFile, r *reporter) {
	o, set := u.get("Service", "Restart")
	because, g := u.served()
	if because == "" || u.socket != "" || !set || !slices.Contains([]string{"always", "on-failure", "on-abnormal"}, o.value) {
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
	r.add(Warning, at, g.told(fmt.Sprintf("%d crashes within %v end it for good: every request is refused until somebody starts it", burst, interval)),
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

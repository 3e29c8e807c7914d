package scenarios

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

// offered is what the tests read scenarios with: the drivers that there are.
var offered = Options{Drivers: []string{"process", "docker", "systemd", "kind", "kubernetes"}}

// good is a scenario that the bad ones are made from, one change each.
const good = `name: base
about: A scenario to spoil.
vars:
  rate: 1000
target:
  refproxy:
    sessions: 30000
    sync_rate: 10000
    routes: 10
    upstream_latency: 2ms
replicas: 3
load:
  rate: ${rate}
  timeout: 1s
  streams:
    keepalive-get: 40
    keepalive-post: 40
    newconn-get: 20
  deny: 2%
phases:
  baseline: {from: 1s, to: 4s}
  window: {from: 4s, to: 24s}
action:
  kind: rollout
  timeout: 60s
rolling:
  max_surge: 1
  max_unavailable: 0
balancer:
  policy: round-robin
trials: 1
designs:
  - naive
  - name: own
    from: stack-aware
    signal:
      interval: 500ms
    lame_duck: 2s
gates:
  - design: own
    metric: success_rate
    op: ">="
    limit: 99.9%
positive_controls: [naive]
`

// limited is its gate.
const limited = "- design: own\n    metric: success_rate\n    op: \">=\"\n    limit: 99.9%"

// spoil replaces the one occurrence of old in good. A « in the replacement marks where
// the problem is; without one it is in no line.
func spoil(t *testing.T, old, new string) (text string, line, column int) {
	t.Helper()
	if n := strings.Count(good, old); n != 1 {
		t.Fatalf("%q is in the good scenario %d times", old, n)
	}
	text = strings.Replace(good, old, new, 1)
	before, after, marked := strings.Cut(text, "«")
	if !marked {
		return text, 0, 0
	}
	return before + after, strings.Count(before, "\n") + 1, utf8.RuneCountInString(before[strings.LastIndex(before, "\n")+1:]) + 1
}

// badScenarios: the change, and what is said about it. schema says that the JSON Schema
// refuses it too, so that an editor can show it.
var badScenarios = []struct {
	name          string
	old, new      string
	message, hint string
	schema        bool
}{
	// Keys and structure.
	{"unknown key", "replicas: 3", "«replcas: 4\nreplicas: 3", "unknown key replcas", "did you mean replicas?", true},
	{"unknown key far from any", "replicas: 3", "«colour: red\nreplicas: 3", "unknown key colour", "one of: name, suite, about,", true},
	{"unknown nested key", "  timeout: 1s", "  «time_out: 1s", "unknown key time_out in load", "did you mean timeout?", true},
	{"key with hostile characters", "replicas: 3", "«\"re\\ePlicas\": 4\nreplicas: 3", `unknown key "re\x1bPlicas"`, "", false},
	{"duplicate key", "replicas: 3", "replicas: 3\n«replicas: 4", "key replicas is here twice, first in line 11", "remove one of them", false},
	{"duplicate nested key", "  timeout: 1s", "  timeout: 1s\n  «timeout: 2s", "key timeout is here twice", "remove one", false},
	{"missing key", "replicas: 3\n", "", "replicas is missing", "", true},
	{"missing nested key", "    sessions: 30000\n    sync_rate", "    «sync_rate", "target.refproxy.sessions is missing", "", true},
	{"key without value", "replicas: 3", "«replicas:", "replicas has no value", "give it one, or remove the key", true},
	{"scalar for a mapping", "phases:\n  baseline: {from: 1s, to: 4s}\n  window: {from: 4s, to: 24s}", "phases: «24s", "phases must be a mapping, not 24s (text)", "indented", true},
	{"mapping for a list", "positive_controls: [naive]", "positive_controls: «{naive: true}", "positive_controls must be a list, not a mapping", "after a dash", true},
	{"list for a scalar", "replicas: 3", "replicas: «[3]", "replicas must be a whole number, not a list", "", true},
	{"tab", "  timeout: 1s", "«\ttimeout: 1s", "a tab in the indentation", "indent with spaces", false},
	{"second document", "positive_controls: [naive]\n", "positive_controls: [naive]\n«---\nname: more\n", "a second document", "a file of its own", false},
	{"anchor", "replicas: 3", "replicas: «&n 3", "anchors and aliases are not supported", "write the value out", false},
	{"alias", "replicas: 3", "replicas: «*n", "anchors and aliases are not supported", "write the value out", false},
	{"merge key", "  timeout: 1s", "  «<<: {timeout: 1s}", "anchors and aliases are not supported", "write the value out", false},
	{"tag", "replicas: 3", "replicas: «!!int 3", "tags are not supported", "remove !!int", false},
	{"no YAML", "replicas: 3\nload", "replicas: [3\n«load", "not valid YAML", "", false},
	{"control character", "A scenario to spoil.", "A «\x1b[31mred", "control character", "remove it", false},

	// Types and units.
	{"text for a number", "replicas: 3", "replicas: «three", "replicas must be a whole number, not three (text)", "", true},
	{"quoted number", "replicas: 3", "replicas: «\"3\"", "replicas must be a whole number, not 3 (text)", "remove the quotes", true},
	{"fraction for a whole number", "replicas: 3", "replicas: «2.5", "replicas must be a whole number, not 2.5", "", true},
	{"boolean for a number", "replicas: 3", "replicas: «true", "replicas must be a whole number, not true", "", true},
	{"number for text", "name: base", "name: «12", "name must be text, not 12", `put it in quotes: "12"`, true},
	{"hexadecimal", "replicas: 3", "replicas: «0x3", "replicas must be a whole number", "", false},
	{"octal", "replicas: 3", "replicas: «010", "replicas must be a whole number", "", false},
	{"out of range", "replicas: 3", "replicas: «99999999999999999999", "replicas is out of range", "", true},
	{"NaN", "    sync_rate: 10000", "    sync_rate: «.nan", "sync_rate must be a finite decimal number, not .nan", "", false},
	{"infinity", "    sync_rate: 10000", "    sync_rate: «.inf", "sync_rate must be a finite decimal number, not .inf", "", false},
	{"overflow to infinity", "    sync_rate: 10000", "    sync_rate: «1e999", "sync_rate must be a finite decimal number", "", false},
	{"grouped digits", "    sync_rate: 10000", "    sync_rate: «10,000", "sync_rate must be a finite decimal number", "write 10000", true},
	{"duration without unit", "  timeout: 1s", "  timeout: «5", "load.timeout: 5 has no unit", "say 5s", true},
	{"short duration without unit", "  timeout: 1s", "  timeout: «99", "load.timeout: 99 has no unit", "say 99s", true},
	{"long duration without unit", "  timeout: 1s", "  timeout: «400", "load.timeout: 400 has no unit", "say 400ms or 400s", true},
	{"duration with a long unit", "  timeout: 1s", "  timeout: «5 seconds", `load.timeout: "5 seconds" is not a duration`, "say 5s", true},
	{"duration that is none", "  timeout: 1s", "  timeout: «soon", "load.timeout: soon is not a duration", "such as 250ms, 5s or 2m", true},
	{"negative duration", "  timeout: 1s", "  timeout: «-1s", "load.timeout must not be negative", "", true},
	{"zero duration", "  timeout: 1s", "  timeout: «0s", "load.timeout must be longer than 0s", "such as 1s", false},
	{"endless duration", "  timeout: 60s", "  timeout: «10000h", "longer than 24h", "", false},
	{"share above a half", "deny: 2%", "deny: «60%", "load.deny must be 0..0.5, not 0.6", "such as 2%", false},
	{"share with a space", "deny: 2%", "deny: «2 %", "load.deny must be a share", "say 2%", true},

	// Load.
	{"negative rate", "rate: ${rate}", "rate: «-1000", "load.rate must be more than 0, not -1000", "requests a second", true},
	{"rate 0", "rate: ${rate}", "rate: «0", "load.rate must be more than 0, not 0", "requests a second", true},
	{"rate with a unit", "rate: ${rate}", "rate: «1000rps", "load.rate must be a finite decimal number", "write the number alone", true},
	{"rate too high", "rate: ${rate}", "rate: «100001", "load.rate must be at most 100000", "", true},
	{"too many requests", "rate: ${rate}\n  timeout: 1s\n  streams:\n    keepalive-get: 40\n    keepalive-post: 40\n    newconn-get: 20\n  deny: 2%\nphases:\n  baseline: {from: 1s, to: 4s}\n  window: {from: 4s, to: 24s}",
		"rate: «50000\nphases:\n  baseline: {from: 1s, to: 4s}\n  window: {from: 4s, to: 2h}", "more than 100000000", "lower the rate or shorten the window", false},
	{"unknown stream", "    newconn-get: 20", "    «newconn-post: 20", "unknown key newconn-post in load.streams", "did you mean newconn?", true},
	{"negative weight", "    newconn-get: 20", "    newconn-get: «-1", "load.streams.newconn-get must be 0..10000, not -1", "", true},
	{"no weight", "  streams:\n    keepalive-get: 40\n    keepalive-post: 40\n    newconn-get: 20", "  streams:\n    «keepalive-get: 0", "no stream with a weight above 0", "such as keepalive-get: 40", false},

	// Phases.
	{"overlapping phases", "window: {from: 4s, to: 24s}", "window: «{from: 3s, to: 24s}", "phases overlap: baseline lasts until 4s, window starts at 3s", "start the window at 4s or later", false},
	{"baseline after the window", "baseline: {from: 1s, to: 4s}", "baseline: «{from: 30s, to: 34s}", "phases.baseline comes after phases.window", "nothing fails before the action", false},
	{"no baseline phase", "  baseline: {from: 1s, to: 4s}\n  window", "  «window", "phases.baseline is missing", "", true},
	{"window backwards", "window: {from: 4s, to: 24s}", "window: «{from: 24s, to: 4s}", "phases.window ends at 4s, not after its start at 24s", "to: later than from:", false},
	{"empty baseline", "baseline: {from: 1s, to: 4s}", "baseline: «{from: 1s, to: 1s}", "phases.baseline ends at 1s", "", false},
	{"window too short for a request", "window: {from: 4s, to: 24s}", "window: «{from: 4000100us, to: 4000200us}", "no request in it", "make it longer", false},

	// Target, action, rolling.
	{"no sessions", "sessions: 30000", "sessions: «0", "target.refproxy.sessions must be 1..10000000, not 0", "", true},
	{"negative sync rate", "sync_rate: 10000", "sync_rate: «-5", "target.refproxy.sync_rate must be more than 0, not -5", "records a second", true},
	{"sync for days", "sync_rate: 10000", "sync_rate: «0.01", "an instance would sync for 3e+06 s", "raise sync_rate", false},
	{"upstream slower than anybody waits", "upstream_latency: 2ms", "upstream_latency: «1500ms", "target.refproxy.upstream_latency must be at most 900ms, not 1.5s", "gives it a second", false},
	{"negative replicas", "replicas: 3", "replicas: «-1", "replicas must be 1..100, not -1", "", true},
	{"unknown action", "kind: rollout", "kind: «rolout", "action.kind must be one of none, rollout, restart, scale, command, not rolout", "did you mean rollout?", true},
	{"scale to the same number", "kind: rollout", "kind: scale\n  to: «3", "action.to is 3, which is what replicas already is", "another number", false},
	{"scale to nothing said", "kind: rollout", "«kind: scale", "action.to is missing", "such as to: 5", false},
	{"scale below none", "kind: rollout", "kind: scale\n  to: «-1", "action.to must be 0..100, not -1", "", true},
	{"to of a rollout", "kind: rollout", "kind: rollout\n  «to: 5", "action.to is for kind: scale, not for rollout", "remove it", false},
	{"rolling 0/0", "  max_surge: 1", "  «max_surge: 0", "no instance can ever be replaced", "set one of them to 1", false},
	{"negative surge", "max_surge: 1", "max_surge: «-1", "rolling.max_surge must be 0..100, not -1", "", true},
	{"unknown policy", "round-robin", "«random", "balancer.policy must be one of round-robin, least-connections, not random", "", true},
	{"no trials", "trials: 1", "trials: «0", "trials must be 1..100, not 0", "", true},
	{"a number of trials in quotes", "trials: 1", "trials: «\"3\"", "trials must be a whole number", "remove the quotes", true},
	{"a range of trials by a dash", "trials: 1", "trials: «3-8", "trials must be a whole number or a range of them, not 3-8", "3..8", true},
	{"a range of trials backwards", "trials: 1", "trials: «8..3", "trials: 8..3 has its end before its start", "3..8", false},
	{"a range of trials from none", "trials: 1", "trials: «0..3", "trials must be 1..100, not 0", "", true},
	{"a range of too many trials", "trials: 1", "trials: «3..101", "trials must be 1..100, not 101", "", true},

	// Designs.
	{"unknown builtin design", "  - naive\n", "  - «niave\n", "no builtin design niave", "did you mean naive?", true},
	{"design from nowhere", "from: stack-aware", "from: «stackaware", "no builtin design stackaware", "did you mean stack-aware?", true},
	{"two designs of a name", "name: own", "name: «naive", "two designs are called naive", "rename one", false},
	{"hostile name of a design", "name: own", "name: «\"../own\"", "bad name of a design: ../own", "lower-case letters", true},
	{"design named like a flag", "name: own", "name: «--keep", "bad name of a design: --keep", "no dash first", true},
	{"hostile name of a scenario", "name: base", "name: «<b>base</b>", `bad name of a scenario: "<b>base</b>"`, "lower-case letters", true},
	{"empty name", "name: base", "name: «\"\"", `bad name of a scenario: ""`, "1 to 40", true},
	{"long name", "name: base", "name: «" + strings.Repeat("a", 41), "bad name of a scenario", "1 to 40", true},
	{"killed while draining", "    lame_duck: 2s", "    lame_duck: 4600ms\n    stop_grace: «5s", "killed while draining: stop_grace 5s, lame_duck + close_wait 5s", "such as 7s", false},
	{"unknown health", "    lame_duck: 2s", "    health: «aware", "designs[1].health must be one of none, naive, shallow, pull, stack-aware, deep-readiness, deep-liveness, not aware", "", true},
	{"signal none with an interval", "      interval: 500ms", "      kind: none\n      «interval: 500ms", "interval means nothing with kind: none", "remove it", false},
	{"hostile names in a hint", "  - naive\n  - name: own", "  - naive\n  - name: «\"o\\ewn\"", `bad name of a design: "o\x1bwn"`, "lower-case letters", false},
	{"probing too often", "interval: 500ms", "interval: «1ms", "interval must be at least 10ms, not 1ms", "", false},
	{"rise 0", "interval: 500ms", "rise: «0", "rise must be 1..1000, not 0", "answers in a row", true},
	{"path of a tcp signal", "interval: 500ms", "kind: tcp\n      «path: /readyz", "path is for kind: http", "remove it", false},
	{"path that is none", "interval: 500ms", "path: «readyz", "path must begin with /", "such as /readyz", false},
	{"no designs", "designs:\n  - naive\n  - name: own\n    from: stack-aware\n    signal:\n      interval: 500ms\n    lame_duck: 2s\ngates:\n  - design: own\n    metric: success_rate\n    op: \">=\"\n    limit: 99.9%\npositive_controls: [naive]", "designs: «[]", "designs is empty", "one of: none, naive,", true},

	// Gates and controls.
	{"gate for no design", "design: own", "design: «fail-open", "the gate is for design fail-open, which the scenario does not run", "one of: naive, own", false},
	{"unknown metric", "metric: success_rate", "metric: «sucess_rate", "no metric sucess_rate", "did you mean success_rate?", true},
	{"unknown op", `op: ">="`, `op: «">"`, `gates[0].op must be one of >=, <=, not ">"`, "", true},
	{"rate above 100 %", "limit: 99.9%", "limit: «99.9", "99.9 is more than 100 %", "say 99.9%", false},
	{"duration for a rate", "limit: 99.9%", "limit: «250ms", "must be a share, as success_rate is, not 250ms", "", false},
	{"number for a duration", "metric: success_rate\n    op: \">=\"\n    limit: 99.9%", "metric: downtime\n    op: \"<=\"\n    limit: «250", "must be a duration, as downtime is, not 250", "say 250ms or 250s", false},
	{"percentage for a count", "metric: success_rate\n    op: \">=\"\n    limit: 99.9%", "metric: breaches\n    op: \"<=\"\n    limit: «1%", "must be a whole number, as breaches is a count", "", false},
	{"negative limit", "metric: success_rate\n    op: \">=\"\n    limit: 99.9%", "metric: failed\n    op: \"<=\"\n    limit: «-1", "limit must not be negative", "", true},
	{"recovery behind the window", "metric: success_rate\n    op: \">=\"\n    limit: 99.9%", "metric: recovery\n    op: \"<=\"\n    limit: «16s", "recovery of 16s cannot be seen in a window of 20s: it must hold for 5s behind that", "phases.window.to: 25s or later, or a limit of 15s or less", false},
	{"recovery in a short window", "window: {from: 4s, to: 24s}\naction:\n  kind: rollout\n  timeout: 60s\nrolling:\n  max_surge: 1\n  max_unavailable: 0\nbalancer:\n  policy: round-robin\ntrials: 1\ndesigns:\n  - naive\n  - name: own\n    from: stack-aware\n    signal:\n      interval: 500ms\n    lame_duck: 2s\ngates:\n  - design: own\n    metric: success_rate\n    op: \">=\"\n    limit: 99.9%", "window: {from: 4s, to: 8s}\naction:\n  kind: rollout\ndesigns: [naive, none]\ngates:\n  - design: none\n    metric: recovery\n    op: \"<=\"\n    limit: «0s", "recovery of 0s cannot be seen in a window of 4s", "phases.window.to: 9s or later", false},
	{"latency recovery behind the window", "metric: success_rate\n    op: \">=\"\n    limit: 99.9%", "metric: latency_recovery\n    op: \"<=\"\n    limit: «15001ms", "latency_recovery of 15.001s cannot be seen in a window of 20s", "a limit of 15s or less", false},
	{"gate twice", "positive_controls", "  - «{design: own, metric: success_rate, op: \">=\", limit: 99%}\npositive_controls", "a second limit on success_rate >= of design own", "remove one of them", false},
	{"control that is no design", "[naive]", "[«pull]", "positive control pull is no design of the scenario", "one of: naive, own", false},
	{"control of nothing", "kind: rollout\n  timeout: 60s\nrolling:\n  max_surge: 1\n  max_unavailable: 0\nbalancer:\n  policy: round-robin\ntrials: 1\ndesigns:\n  - naive\n  - name: own\n    from: stack-aware\n    signal:\n      interval: 500ms\n    lame_duck: 2s\ngates:\n  - design: own\n    metric: success_rate\n    op: \">=\"\n    limit: 99.9%\npositive_controls: [naive]", "kind: none\ndesigns: [naive]\npositive_controls: [«naive]", "a positive control where nothing happens", "remove it, or name an action", false},
	{"control that is not good", "[naive]", "[{design: naive, «om: [process]}]", "unknown key om in positive_controls[0]", "did you mean on?", true},
	{"control on no driver", "[naive]", "[{design: naive, on: [«procss]}]", "no driver procss", "did you mean process?", true},
	{"control named by a number", "[naive]", "[«12]", "positive_controls[0] must be text, not 12", "in quotes", true},

	{"gate without a limit", limited, "- design: own\n    metric: downtime", "gates[0].limit is missing", "op and limit, or against: DESIGN or baseline", true},
	{"misspelt limit", "    limit: 99.9%", "    «limt: 99.9%", "unknown key limt", "did you mean limit?", true},
	{"limit and against", limited, "- design: own\n    metric: downtime\n    against: baseline\n    «limit: 50ms", "gates[0].limit means nothing with against", "margin says how much more is no matter", false},
	{"op and against", limited, "- design: own\n    metric: downtime\n    «op: <=\n    against: baseline", "gates[0].op means nothing with against", "margin says how much more is no matter", false},
	{"margin of a limit", "    limit: 99.9%", "    limit: 99.9%\n    «margin: 50ms", "gates[0].margin is for against", "put it into the limit", true},
	{"no margin at all", limited, "- {design: own, metric: downtime, against: baseline, margin: «0s}", "gates[0].margin must be longer than 0s", "without it, it is 50 ms", false},
	{"against nothing", limited, "- {design: own, metric: downtime, against: «nave}", "the gate is against nave, which is no design of the scenario", "did you mean naive?", false},
	{"against itself", limited, "- {design: own, metric: downtime, against: «own}", "design own is held against itself", "another design, or against: baseline", false},
	{"too few to compare", limited, "- {design: own, metric: downtime, against: «naive}", "downtime against naive cannot be decided: 1 trials of each tell nothing apart", "trials: 3 or more", false},
	{"share against", limited, "- {design: own, metric: «success_rate, against: baseline}", "success_rate cannot be compared: against is for times of which less is better", "metric: downtime", false},
	{"more is better", limited, "- {design: own, metric: «disruption_lag, against: baseline}", "disruption_lag cannot be compared: against is for times of which less is better", "metric: downtime", false},
	{"unknown level", "    limit: 99.9%", "    limit: 99.9%\n    level: «warning", "gates[0].level must be one of fail, warn, not warning", "did you mean warn?", true},
	{"unknown stream", "    limit: 99.9%", "    limit: 99.9%\n    stream: «newcon-get", "the load has no stream newcon-get", "did you mean newconn-get?", false},
	{"stream of what is of all", limited, "- {design: own, metric: recovery, op: <=, limit: 5s, stream: «newconn-get}", "recovery is known of all requests together, not of one stream", "metric: success_rate or failed or downtime", false},
	{"share of a stream that is too small", limited, "- {design: own, metric: success_rate, op: \">=\", limit: «99.95%, stream: newconn-get}", "success_rate >= 99.95% cannot be met: 4000 requests", "5990 requests would do", false},
	{"a share that is everything", limited, "- {design: own, metric: failed, op: <=, limit: «100%}", "failed <= 100% cannot be missed: it is never more than 100%", "a lower limit", false},
	{"more than all", limited, "- {design: own, metric: failed, op: <=, limit: «101%}", "101% is more than 100 %", "", false},
	{"completed twice", limited, "- {design: own, metric: completed, op: \">=\", limit: «2}", "completed is 1 or 0", "op: \">=\", limit: 1", false},
	{"the same gate twice", limited, "- {design: own, metric: downtime, against: baseline}\n  - «{design: own, metric: downtime, against: baseline, margin: 1s}", "a second limit on downtime against baseline of design own", "remove one of them", false},

	// Words that have another name now.
	{"quiet", "  baseline: {", "  «quiet: {", "unknown key quiet in phases", "it is called baseline now", true},
	{"told_of_stop", "    lame_duck: 2s", "    «told_of_stop: true", "unknown key told_of_stop in designs[1]", "it is called deregister_first now", true},
	{"close_for", "    lame_duck: 2s", "    «close_for: 1s", "unknown key close_for in designs[1]", "it is called close_wait now", true},
	{"may_outlast_window", "  timeout: 60s", "  «may_outlast_window: true", "unknown key may_outlast_window in action", "it is called allow_unfinished now", true},
	{"controls_on", "positive_controls: [naive]", "positive_controls: [naive]\n«controls_on: [process]", "unknown key controls_on", "in positive_controls: {design: naive, on: [process]}", true},
	{"lost_time", "metric: success_rate", "metric: «lost_time", "no metric lost_time", "it is called downtime now", true},
	{"down", "metric: success_rate", "metric: «down", "no metric down", "it is called bins_down now", true},
	{"degraded", "metric: success_rate", "metric: «degraded", "no metric degraded", "it is called bins_degraded now", true},

	// Variables.
	{"unknown variable", "${rate}", "«${rte}", "no variable rte in vars", "did you mean ${rate}?", false},
	{"placeholder with one dollar", "${rate}", "«${instance}", "no variable instance in vars", "write $${instance}: the lab", false},
	{"place with one dollar", "${rate}", "«${listen.data}", "no variable listen.data in vars", "write $${listen.data}: the lab", false},
	{"address with one dollar", "${rate}", "«${addr.control.api}", "no variable addr.control.api in vars", "write $${addr.control.api}: the lab", false},
	{"unclosed variable", "${rate}", "«${rate", "${ without its }", "write ${name}", true},
	{"bad name of a variable", "  rate: 1000\n", "  rate: 1000\n  «Rate-2: 1\n", "bad name of a variable: Rate-2", "a letter first", true},
	{"variable of a variable", "  rate: 1000\n", "  rate: 1000\n  twice: «${rate}0\n", "vars.twice refers to another variable", "write the value", false},
	{"structured variable", "  rate: 1000\n", "  rate: 1000\n  list: «[1]\n", "vars.list must be a default", "", true},
}

func TestParseRefusesBadScenarios(t *testing.T) {
	if _, err := Parse("good.yaml", []byte(good), offered); err != nil {
		t.Fatalf("the good scenario: %v", err)
	}
	sch := compiled(t)
	if err := sch.Validate(asJSON(t, []byte(good))); err != nil {
		t.Fatalf("the good scenario against the schema: %v", err)
	}
	for _, tt := range badScenarios {
		t.Run(tt.name, func(t *testing.T) {
			text, line, column := spoil(t, tt.old, tt.new)
			s, err := Parse("bad.yaml", []byte(text), offered)
			var problems Errors
			if !errors.As(err, &problems) || s != nil {
				t.Fatalf("got %v, %v; want problems", s, err)
			}
			first := problems[0]
			if len(problems) != 1 {
				t.Errorf("%d problems for one mistake:\n%v", len(problems), err)
			}
			if line > 0 && (first.Line != line || first.Column != column) {
				t.Errorf("got %d:%d, want %d:%d:\n%v", first.Line, first.Column, line, column, err)
			}
			if !strings.Contains(first.Message, tt.message) || !strings.Contains(first.Hint, tt.hint) {
				t.Errorf("got message %q and hint %q, want pieces %q and %q", first.Message, first.Hint, tt.message, tt.hint)
			}
			if want := fmt.Sprintf("bad.yaml:%d:%d: ", first.Line, first.Column); !strings.HasPrefix(err.Error(), want) {
				t.Errorf("the text does not begin with %q: %v", want, err)
			}
			if !strings.Contains(first.Excerpt, fmt.Sprintf("%5d | ", first.Line)) || strings.Count(first.Excerpt, "^") != 1 {
				t.Errorf("excerpt:\n%s", first.Excerpt)
			}
			if strings.ContainsAny(err.Error(), "\x1b\x00") {
				t.Errorf("control characters of the file reach the terminal: %q", err)
			}
			if tt.schema {
				if err := sch.Validate(asJSON(t, []byte(text))); err == nil {
					t.Error("the schema accepts it")
				}
			}
		})
	}
}

// Of each limit what the window and the rate can decide, and what they cannot.
func TestLimitsThatCannotBeDecided(t *testing.T) {
	for _, tt := range []struct {
		rate, metric, op, limit string
		message, hint           string // none: it can be decided
	}{
		{"1000", "recovery", "<=", "15s", "", ""},
		{"1000", "recovery", ">=", "30s", "", ""}, // what is not seen is later than any limit
		{"1", "recovery", "<=", "15s", "", ""},
		{"100", "latency_recovery", "<=", "15s", "", ""},
		{"99", "latency_recovery", "<=", "15s", "latency_recovery cannot be seen at 99 requests a second: every second must have 100", "load.rate: 100 or more"},
		{"10", "bins_down", "<=", "50ms", "", ""}, // a bin of 100 ms, as at any rate
		{"9", "bins_down", "<=", "0s", "", ""},
		{"9", "bins_down", "<=", "100ms", "bins_down of 100ms cannot be told at 9 requests a second: one lost request is a bin of 111ms", "load.rate: 10 or more, or a limit of 112ms or more"},
		{"9", "bins_down", "<=", "112ms", "", ""},
		{"2", "bins_degraded", "<=", "200ms", "bins_degraded of 200ms cannot be told at 2 requests a second: one lost request is a bin of 500ms", "load.rate: 5 or more, or a limit of 500ms or more"},
		{"5", "bins_degraded", "<=", "200ms", "", ""},
		{"2", "bins_degraded", "<=", "500ms", "", ""},

		// 20 s of a window, a timeout of 1 s and a load of 25 s; one trial.
		{"150", "success_rate", ">=", "99.9%", "", ""},
		{"149", "success_rate", ">=", "99.9%", "success_rate >= 99.9% cannot be met: 2980 requests that are all ok are 95 % sure of no more than 99.8995%", "2995 requests would do: a longer window, a higher load.rate, trials: 2; or a lower limit"},
		{"1", "success_rate", ">=", "99.9%", "success_rate >= 99.9% cannot be met: 20 requests that are all ok are 95 % sure of no more than 86.0891%", "2995 requests would do: a longer window, a higher load.rate; or a lower limit"},
		{"1000", "success_rate", ">=", "100%", "success_rate >= 100% cannot be met: 20000 requests that are all ok are 95 % sure of no more than 99.985%", "a lower limit, or metric: failed, op: <=, limit: 0"},
		{"1000", "success_rate", ">=", "0%", "success_rate >= 0% cannot be missed, not by 20000 requests of which none is ok", "a higher limit"},
		{"1000", "success_rate", ">=", "0.02%", "", ""},
		{"1000", "success_rate", "<=", "0%", "success_rate <= 0% cannot be met: 20000 requests of which none is ok are 95 % sure of no less than 0.015%", "a higher limit"},
		{"1000", "success_rate", "<=", "10%", "", ""},
		{"1000", "success_rate", "<=", "100%", "success_rate <= 100% cannot be missed, not by 20000 requests that are all ok", "a lower limit, or op: >="},
		{"100", "failed", "<=", "2099", "", ""},
		{"100", "failed", "<=", "2100", "failed <= 2100 cannot be missed: it is never more than 2100", "a lower limit"},
		{"100", "failed", ">=", "2100", "", ""},
		{"100", "failed", ">=", "2101", "failed >= 2101 cannot be met: it is never more than 2100", "a lower limit"},
		{"100", "failed", ">=", "0", "failed >= 0 cannot be missed: it is never less", "a higher limit, or op: <="},
		{"100", "failed", ">=", "1", "", ""},
		{"1000", "downtime", "<=", "20999ms", "", ""},
		{"1000", "downtime", "<=", "21s", "downtime <= 21s cannot be missed: it is never more than 21s", "a lower limit"},
		{"1000", "downtime", ">=", "22s", "downtime >= 22s cannot be met: it is never more than 21s", "a lower limit"},
		{"1000", "longest_outage", "<=", "21999ms", "", ""},
		{"1000", "longest_outage", "<=", "22s", "longest_outage <= 22s cannot be missed: it is never more than 22s", "a lower limit"},
		{"1000", "bins_down", "<=", "20s", "bins_down <= 20s cannot be missed: it is never more than 20s", "a lower limit"},
		{"1000", "intermittent", ">=", "20001ms", "intermittent >= 20.001s cannot be met: it is never more than 20s", "a lower limit"},
		{"1000", "intermittent_share", "<=", "100%", "intermittent_share <= 100% cannot be missed: it is never more than 100%", "a lower limit"},
		{"1000", "warm_up_failures", "<=", "998", "", ""},
		{"1000", "warm_up_failures", "<=", "999", "warm_up_failures <= 999 cannot be missed: it is never more than 999", "a lower limit"},
		{"1000", "convergence", "<=", "90s", "", ""}, // it may never be seen
		{"1000", "breaches", "<=", "0", "", ""},
	} {
		text := strings.Replace(good, "  rate: 1000\n", "  rate: "+tt.rate+"\n", 1)
		text = strings.Replace(text, "metric: success_rate\n    op: \">=\"\n    limit: 99.9%", "metric: "+tt.metric+"\n    op: \""+tt.op+"\"\n    limit: "+tt.limit, 1)
		_, err := Parse("bad.yaml", []byte(text), offered)
		name := strings.Join([]string{tt.metric, tt.op, tt.limit, "at", tt.rate}, " ")
		var problems Errors
		switch errors.As(err, &problems); {
		case tt.message == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case tt.message != "" && (len(problems) != 1 || !strings.Contains(problems[0].Message, tt.message) || problems[0].Hint != tt.hint || problems[0].Line == 0):
			t.Errorf("%s: %v, want %q and %q", name, err, tt.message, tt.hint)
		}
	}
}

// What never happens in a scenario decides nothing.
func TestLimitsOnWhatCannotHappen(t *testing.T) {
	gate := "metric: success_rate\n    op: \">=\"\n    limit: 99.9%"
	for _, tt := range []struct{ metric, old, new, message, hint string }{
		{"breaches", "  deny: 2%\n", "  deny: 0%\n", "nothing can be breached: no request has to be denied", "load.deny: 2%, or remove the gate"},
		{"convergence", "action:\n  kind: rollout\n  timeout: 60s\n", "action: {kind: none}\n", "with kind: none there is nothing to complete", "name an action, or remove the gate"},
	} {
		limit := map[string]string{"breaches": "0", "convergence": "9s"}[tt.metric]
		text := strings.Replace(good, gate, "metric: "+tt.metric+"\n    op: \"<=\"\n    limit: "+limit, 1)
		text = strings.Replace(text, "positive_controls: [naive]\n", "", 1)
		if _, err := Parse("good.yaml", []byte(text), offered); err != nil {
			t.Errorf("%s: %v", tt.metric, err)
		}
		text = strings.Replace(text, tt.old, tt.new, 1)
		_, err := Parse("bad.yaml", []byte(text), offered)
		var problems Errors
		if !errors.As(err, &problems) || !strings.Contains(problems[0].Message, tt.message) || problems[0].Hint != tt.hint || problems[0].Line == 0 {
			t.Errorf("%s: %v, want %q and %q", tt.metric, err, tt.message, tt.hint)
		}
	}
}

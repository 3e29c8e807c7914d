package lint

import (
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxDrain is the longest drain that is believed; past it a number has another unit.
const maxDrain = time.Hour

// drain is how a program stops.
type drain struct {
	lead      time.Duration // how long it serves on as before
	whole     time.Duration // how long the stop takes at most
	leadKnown bool
	known     bool   // whole says something
	from      string // what says so, for messages
	guess     guess
}

type stopPart int

const (
	partLead  stopPart = iota // serving on as before, or answering with Connection: close
	partClose                 // finishing what is in flight, connections being given up
	partWhole                 // all of a stop
)

// stopSetting is a setting that says how a program stops. An environment variable may
// carry a prefix: REFPROXY_LAME_DUCK.
type stopSetting struct {
	name  string
	part  stopPart
	unit  time.Duration // of a bare number; a second where it is 0
	most  time.Duration // of a bare number, past which it has another unit; 2m where it is 0
	loose bool          // with a prefix it may mean something else
}

var stopSettings = []stopSetting{
	{name: "lame-duck"}, {name: "lame-duck-duration"}, {name: "lameduck"}, {name: "drain-delay"}, {name: "pre-stop-delay"},
	{name: "kc-shutdown-delay", most: maxDrain}, {name: "quarkus-shutdown-delay"},
	{name: "shutdown-delay", loose: true}, {name: "shutdown-delay-duration", loose: true},
	{name: "requestacceptgracetimeout", most: maxDrain}, // traefik

	{name: "close-wait", part: partClose},
	{name: "gracetimeout", part: partClose, most: maxDrain}, // traefik

	{name: "stop-grace", part: partWhole}, {name: "drain-timeout", part: partWhole, loose: true}, {name: "shutdown-grace-period", part: partWhole},
	{name: "graceful-shutdown-timeout", part: partWhole},
	{name: "graceful-timeout", part: partWhole, most: maxDrain}, {name: "timeout-graceful-shutdown", part: partWhole, most: maxDrain},
	{name: "kc-shutdown-timeout", part: partWhole, most: maxDrain}, {name: "quarkus-shutdown-timeout", part: partWhole},
	{name: "timeout-per-shutdown-phase", part: partWhole, unit: time.Millisecond, most: maxDrain}, // Spring
	{name: "shutdown-timeout", part: partWhole, loose: true},
}

// otherStop are parts of names that tell of a stop for want of work, not of a drain.
var otherStop = []string{"idle", "auto", "inactive", "inactivity", "standby", "session"}

// means tells whether a setting is this one, and what is guessed when it is taken for it.
func (k *stopSetting) means(name string) (guess, bool) {
	name = strings.ReplaceAll(name, ".", "-")
	if name == k.name {
		return "", true
	}
	prefix, ok := strings.CutSuffix(name, "-"+k.name)
	if !ok || slices.ContainsFunc(strings.Split(prefix, "-"), func(part string) bool { return slices.Contains(otherStop, part) }) {
		return "", false
	}
	if k.loose {
		return guess("that " + show(name) + " is how long its stop may take"), true
	}
	return "", true
}

// value reads 5s, PT5S, and a bare number in the unit of the setting.
func (k *stopSetting) value(s string) (time.Duration, bool) {
	unit, most := k.unit, k.most
	if unit == 0 {
		unit = time.Second
	}
	if most == 0 {
		most = 2 * time.Minute
	}
	if n, err := strconv.Atoi(s); err == nil {
		return time.Duration(n) * unit, n >= 0 && n <= int(most/unit)
	}
	if isoSpan.MatchString(s) {
		s = strings.ToLower(s[2:])
	}
	d, err := time.ParseDuration(s)
	return d, err == nil && d >= 0 && d <= maxDrain
}

var isoSpan = regexp.MustCompile(`^PT[0-9HMS.]+$`)

// drainOf reads how the program stops from its settings, or knows it of the program.
func drainOf(p *program) drain {
	var d drain
	var rest time.Duration
	settings := append(p.settings(), p.config...)
	find := func(part stopPart) (time.Duration, string, guess, bool) {
		for _, s := range settings {
			for _, k := range stopSettings {
				if k.part != part {
					continue
				}
				if g, ok := k.means(s.name); ok {
					if v, ok := k.value(s.value); ok {
						return v, s.name, g, true
					}
				}
			}
		}
		return 0, "", "", false
	}
	var names []string
	if v, name, g, ok := find(partLead); ok {
		d.lead, d.leadKnown, d.known, d.guess = v, true, true, g
		names = append(names, name)
	}
	if v, name, _, ok := find(partClose); ok {
		rest, d.known = v, true
		names = append(names, name)
	}
	d.whole = d.lead + rest
	if v, name, g, ok := find(partWhole); ok {
		if v >= d.whole {
			names, d.whole, d.guess = nil, v, g
		}
		d.known = true
		names = append(names, name)
	}
	d.from = strings.Join(names, " + ")
	if !d.known {
		d.byDefault(p, settings)
	}
	return d
}

// byDefault fills in how long servers take that are known to finish requests unasked.
func (d *drain) byDefault(p *program, settings []setting) {
	switch graceful := slices.ContainsFunc(settings, func(s setting) bool { return s.name == "server-shutdown" && s.value == "graceful" }); {
	case p.runs("gunicorn"):
		d.from = "the default of gunicorn"
	case graceful || slices.ContainsFunc(settings, func(s setting) bool { return s.name == "server.shutdown" && s.value == "graceful" }):
		d.from = "the default of Spring"
	default:
		return
	}
	d.whole, d.known, d.guess = 30*time.Second, true, "that some requests take so long"
}

// runs reports whether a program is one of those named, started as it is, by an
// interpreter, or by the script of a shell. A version in its name does not count.
func (p *program) runs(names ...string) bool { return p.server(names) != "" }

// server is the first of the names that the command line starts.
func (p *program) server(names []string) string {
	for i, w := range p.words {
		if i > 0 && !starters[stem(p.words[i-1].text)] && !strings.HasPrefix(p.words[i-1].text, "-") {
			if !strings.ContainsAny(w.text, " \n") {
				break
			}
		}
		parts := []string{w.text}
		if strings.ContainsAny(w.text, " \n") {
			parts = commandsOf(w.text)
		}
		for _, part := range parts {
			if name := stem(part); slices.Contains(names, name) {
				return name
			}
		}
		if i > 5 {
			break
		}
	}
	return ""
}

// starters are programs that run the one that is named after them.
var starters = map[string]bool{
	"sh": true, "bash": true, "ash": true, "dash": true, "env": true, "exec": true, "python": true, "ruby": true, "perl": true,
	"tini": true, "dumb-init": true, "gosu": true, "su-exec": true, "nice": true, "setpriv": true, "stdbuf": true, "chpst": true,
	"poetry": true, "uv": true, "pipenv": true, "bundle": true, "run": true, "docker-entrypoint.sh": true, "entrypoint.sh": true,
}

// stem is the name of a program without its folder and its version: php-fpm8.2 is php-fpm.
func stem(command string) string {
	name := path.Base(command)
	if name == "apache2" {
		return name
	}
	return versionEnd.ReplaceAllString(name, "")
}

var versionEnd = regexp.MustCompile(`-?[0-9]+(\.[0-9]+)*$`)

// commandsOf are the names of the commands that a script runs.
func commandsOf(script string) []string {
	var out []string
	for _, command := range commandEnd.Split(redirection.ReplaceAllString(script, " "), -1) {
		for _, w := range strings.Fields(command) {
			if starters[stem(w)] || strings.HasPrefix(w, "-") || assignment.MatchString(w) {
				continue
			}
			out = append(out, w)
			break
		}
	}
	return out
}

var (
	commandEnd = regexp.MustCompile(`&&|\|\||[;\n|&]`)
	assignment = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*=`)
)

// settle fills in what was declared beside the file's flags.
func (d *drain) settle(declared *time.Duration, from string) {
	if declared == nil || d.leadKnown {
		return
	}
	d.lead, d.leadKnown, d.known = *declared, true, true
	if *declared >= d.whole {
		d.whole, d.from, d.guess = *declared, from, ""
	}
}

package lint

import (
	"net"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// maxDrain is the longest drain that is believed; past it a number has another unit.
const maxDrain = time.Hour

// word is one argument of a program, where it stands.
type word struct {
	text string
	at   place
}

// setting is what a program is told by a flag or an environment variable, the name in
// lower case with dashes.
type setting struct {
	name, value string
	at          place
}

// program is what a file says of the program that it runs.
type program struct {
	words []word    // command and arguments
	env   []setting // environment variables, names as flags are
}

// settings are the flags, in all their spellings, and the environment.
func (p *program) settings() []setting {
	out := append([]setting(nil), p.env...)
	var words []word
	for _, w := range p.words {
		words = append(words, w)
		if strings.ContainsAny(w.text, " \n") { // a script, with the program's flags in it
			for _, part := range splitWords(w.text) {
				words = append(words, word{strings.TrimRight(part, ";&|"), w.at})
			}
		}
	}
	for i, w := range words {
		if !strings.HasPrefix(w.text, "-") {
			if name, value, ok := strings.Cut(w.text, "="); ok && assigned.MatchString(name) {
				out = append(out, setting{flagName(name), value, w.at})
			}
			continue
		}
		name, value, ok := strings.Cut(strings.TrimLeft(w.text, "-"), "=")
		if !ok && i+1 < len(words) && !strings.HasPrefix(words[i+1].text, "-") {
			value = words[i+1].text
		}
		out = append(out, setting{flagName(name), value, w.at})
	}
	return out
}

var assigned = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)

func flagName(s string) string { return strings.ReplaceAll(strings.ToLower(s), "_", "-") }

// The names of settings that say how a program stops. An environment variable may carry
// a prefix: REFPROXY_LAME_DUCK.
var (
	// serving on as before, or answering with Connection: close
	leadNames = []string{"lame-duck", "lame-duck-duration", "lameduck", "shutdown-delay", "shutdown-delay-duration", "drain-delay", "pre-stop-delay"}
	// finishing what is in flight, connections being given up
	closeNames = []string{"close-wait", "close-wait"}
	// all of a stop
	wholeNames = []string{"stop-grace", "shutdown-timeout", "graceful-timeout", "timeout-graceful-shutdown", "graceful-shutdown-timeout", "drain-timeout", "shutdown-grace-period"}
)

// drain is how a program stops.
type drain struct {
	lead      time.Duration // how long it serves on as before
	whole     time.Duration // how long the stop takes at most
	leadKnown bool
	known     bool   // whole says something
	from      string // what says so, for messages
}

// drainOf reads how the program stops from its settings.
func drainOf(p *program) drain {
	var d drain
	var rest time.Duration
	find := func(names []string) (time.Duration, string, bool) {
		for _, s := range p.settings() {
			for _, name := range names {
				if s.name == name || strings.HasSuffix(s.name, "-"+name) {
					if v, ok := drainValue(name, s.value); ok {
						return v, s.name, true
					}
				}
			}
		}
		return 0, "", false
	}
	var names []string
	add := func(name string) { names = append(names, name) }
	if v, name, ok := find(leadNames); ok {
		d.lead, d.leadKnown, d.known = v, true, true
		add(name)
	}
	if v, name, ok := find(closeNames); ok {
		rest, d.known = v, true
		add(name)
	}
	d.whole = d.lead + rest
	if v, name, ok := find(wholeNames); ok {
		if v >= d.whole {
			names = nil
			d.whole = v
		}
		d.known = true
		add(name)
	}
	d.from = strings.Join(names, " + ")
	return d
}

// drainValue reads 5s, and a bare number as seconds. A large one is believed only of the
// settings that are known to be in seconds: of others it may be milliseconds.
func drainValue(name, s string) (time.Duration, bool) {
	if n, err := strconv.Atoi(s); err == nil {
		most := 120
		if name == "graceful-timeout" || name == "timeout-graceful-shutdown" {
			most = int(maxDrain / time.Second)
		}
		return time.Duration(n) * time.Second, n >= 0 && n <= most
	}
	d, err := time.ParseDuration(s)
	return d, err == nil && d >= 0 && d <= maxDrain
}

// settle fills in what was declared beside the file's flags.
func (d *drain) settle(declared *time.Duration, from string) {
	if declared == nil || d.leadKnown {
		return
	}
	d.lead, d.leadKnown, d.known = *declared, true, true
	if *declared >= d.whole {
		d.whole, d.from = *declared, from
	}
}

var hostPort = regexp.MustCompile(`^(\[[0-9A-Fa-f:.]*\]|[A-Za-z0-9.*_-]*):([0-9]{1,5})$`)

// outward are parts of names of settings that say whom to call, not where to listen.
var outward = []string{
	"upstream", "backend", "target", "control", "connect", "endpoint", "url", "uri", "remote", "peer", "dial", "forward",
	"origin", "destination", "database", "db", "redis", "broker", "collector", "exporter", "otel", "proxy-pass", "brokers", "servers", "etcd",
}

// listensOnLoopback is the place where the program is told to listen on a port of the
// loopback address. It is false when the program also listens on that port elsewhere.
func (p *program) listensOnLoopback(port string) (place, string, bool) {
	var found *setting
	value := ""
	consider := func(s setting, host, text string) bool {
		if !loopback(host) {
			return false // listens elsewhere too
		}
		if found == nil {
			found, value = &s, text
		}
		return true
	}
	all := p.settings()
	for _, s := range all {
		if pointsOut(s.name) {
			continue
		}
		if m := hostPort.FindStringSubmatch(s.value); m != nil && m[2] == port {
			if !consider(s, m[1], s.value) {
				return place{}, "", false
			}
		}
		// HEALTH_HOST=localhost beside HEALTH_PORT=8081.
		prefix, ok := strings.CutSuffix(s.name, "port")
		if !ok || s.value != port {
			continue
		}
		for _, h := range all {
			for _, suffix := range []string{"host", "addr", "address", "bind", "ip"} {
				if h.name == prefix+suffix && h.value != "" && !strings.Contains(h.value, port) && !consider(h, h.value, h.value) {
					return place{}, "", false
				}
			}
		}
	}
	if found == nil {
		return place{}, "", false
	}
	return found.at, value, true
}

func pointsOut(name string) bool {
	for _, part := range outward {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

func loopback(host string) bool {
	host = strings.Trim(host, "[]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// names reports whether any setting or argument holds a port.
func (p *program) names(port string) bool {
	for _, w := range p.words {
		if holdsNumber(w.text, port) {
			return true
		}
	}
	for _, s := range p.env {
		if holdsNumber(s.value, port) {
			return true
		}
	}
	return false
}

// holdsNumber reports whether the digits stand in the text as a number of their own.
func holdsNumber(text, digits string) bool {
	for from := 0; ; {
		i := strings.Index(text[from:], digits)
		if i < 0 {
			return false
		}
		i += from
		end := i + len(digits)
		if (i == 0 || !digit(text[i-1])) && (end == len(text) || !digit(text[end])) {
			return true
		}
		from = i + 1
	}
}

func digit(b byte) bool { return b >= '0' && b <= '9' }

var shells = map[string]bool{"sh": true, "bash": true, "ash": true, "dash": true, "zsh": true, "ksh": true}

// keepsShell is the script of a shell that stays in front of the program, so that a
// signal for the program ends at the shell. A shell replaces itself by the only command
// that it is given, and by one after exec.
func (p *program) keepsShell() (word, bool) {
	for i, w := range p.words {
		if i > 3 {
			break
		}
		if !shells[path.Base(w.text)] {
			continue
		}
		for j := i + 1; j+1 < len(p.words); j++ {
			flag := p.words[j].text
			if !strings.HasPrefix(flag, "-") {
				break
			}
			if !strings.HasSuffix(flag, "c") {
				continue
			}
			script := p.words[j+1]
			text := strings.TrimRight(script.text, " \t\n;")
			compound := strings.ContainsAny(text, ";|\n") || strings.Contains(text, "&&")
			handles := wordInScript.MatchString(text)
			return script, compound && !handles
		}
	}
	return word{}, false
}

// A script with one of these passes signals on, or may do so.
var wordInScript = regexp.MustCompile(`(^|[\s;&|(])(exec|trap|wait|tini|dumb-init|gosu|su-exec)\s`)

var sleepCommand = regexp.MustCompile(`(?:^|[\s;&|/"'])sleep\s+([0-9]+(?:\.[0-9]+)?)([smh]?)(?:$|[\s;&|"'])`)

// sleepOf is how long a command sleeps, the sum of its sleeps.
func sleepOf(words []string) time.Duration {
	var total float64
	for _, m := range sleepCommand.FindAllStringSubmatch(strings.Join(words, " "), -1) {
		n, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			continue
		}
		switch m[2] {
		case "m":
			n *= 60
		case "h":
			n *= 3600
		}
		total += n
	}
	if total > 24*3600 {
		total = 24 * 3600
	}
	return time.Duration(total * float64(time.Second))
}

// splitWords splits a command line as a shell would, quotes respected, nothing expanded.
func splitWords(s string) []string {
	var out []string
	var b strings.Builder
	var quote rune
	inWord, escaped := false, false
	for _, r := range s {
		switch {
		case escaped:
			b.WriteRune(r)
			escaped = false
		case r == '\\' && quote != '\'':
			escaped, inWord = true, true
		case quote != 0:
			if r == quote {
				quote = 0
			} else {
				b.WriteRune(r)
			}
		case r == '"' || r == '\'':
			quote, inWord = r, true
		case r == ' ' || r == '\t' || r == '\n':
			if inWord {
				out = append(out, b.String())
				b.Reset()
			}
			inWord = false
		default:
			inWord = true
			b.WriteRune(r)
		}
	}
	if inWord {
		out = append(out, b.String())
	}
	return out
}

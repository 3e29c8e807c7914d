package lint

import (
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

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
	// config is what configuration files set to a span of time. It tells how the program
	// stops, and of nothing else, for what else the names mean is not known.
	config []setting
}

// settings are the flags, in all their spellings, and the environment.
func (p *program) settings() []setting { return append(slices.Clone(p.env), p.flags()...) }

// flags are the settings on the command line, in a script there, and in an environment
// variable that holds flags: GUNICORN_CMD_ARGS, JAVA_TOOL_OPTIONS.
func (p *program) flags() []setting {
	var out []setting
	var words []word
	add := func(text string, at place) {
		for _, part := range splitWords(text) {
			words = append(words, word{strings.TrimRight(part, ";&|"), at})
		}
	}
	for _, w := range p.words {
		words = append(words, w)
		if strings.ContainsAny(w.text, " \n") { // a script, with the program's flags in it
			add(w.text, w.at)
		}
	}
	for _, s := range p.env {
		if strings.HasPrefix(s.value, "-") {
			add(s.value, s.at)
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
		if property, java := strings.CutPrefix(name, "D"); java && strings.Contains(property, ".") {
			name = property
		}
		out = append(out, setting{flagName(name), value, w.at})
	}
	return out
}

var assigned = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)

func flagName(s string) string { return strings.ReplaceAll(strings.ToLower(s), "_", "-") }

// guess is what a finding assumes and the file does not say; empty when it assumes
// nothing.
type guess string

// severity is that of a finding which rests on the guess.
func (g guess) severity(s Severity) Severity {
	if g != "" {
		return Warning
	}
	return s
}

// and is the guess with another one.
func (g guess) and(other guess) guess {
	if g == "" {
		return other
	}
	return g + ", and " + other
}

// told is the effect with the guess behind it.
func (g guess) told(effect string) string {
	if g != "" {
		return effect + "; guessed: " + string(g)
	}
	return effect
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
			text := redirection.ReplaceAllString(strings.TrimRight(script.text, " \t\n;"), " ")
			compound := strings.ContainsAny(text, ";|&\n")
			replaced := path.Base(w.text) == "bash" && !strings.Contains(flag, "l") && lastIsPlain(text)
			return script, compound && !replaced && !wordInScript.MatchString(text)
		}
	}
	return word{}, false
}

// redirection is a use of & that ends no command.
var redirection = regexp.MustCompile(`[0-9]*[<>]&[0-9-]*|&>>?`)

// A script with one of these passes signals on, or may do so. A wait without a trap does
// not: the signal ends the shell, or as process 1 it is not even delivered.
var wordInScript = regexp.MustCompile(`(^|[\s;&|(])(exec|trap)\s`)

// lastIsPlain reports whether a script ends with a command in the foreground, which bash
// replaces itself by.
func lastIsPlain(script string) bool {
	commands := commandEnd.Split(script, -1)
	last := strings.TrimSpace(commands[len(commands)-1])
	name, _, _ := strings.Cut(last, " ")
	before := strings.TrimSpace(script[:strings.LastIndex(script, last)])
	piped := strings.HasSuffix(before, "|") && !strings.HasSuffix(before, "||")
	return last != "" && !piped && !slices.Contains([]string{"fi", "done", "esac", "}", ")", "wait"}, name) && !strings.HasSuffix(last, ")")
}

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

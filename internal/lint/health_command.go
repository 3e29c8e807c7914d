package lint

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

// healthCommand is what a health check runs, in a container, to ask how it is.
type healthCommand struct {
	at    place
	words []string // without a shell
	text  string   // for a shell
	wrong string   // why it is refused, where it is
	host  string   // a variable in it whose value comes from the host
}

// fault is something that is wrong with a health check.
type fault struct {
	severity    Severity
	effect, fix string
}

// script is the command as a shell has it.
func (h *healthCommand) script() string {
	if h.text != "" {
		return h.text
	}
	if script, shell := shellScript(h.words); shell {
		return script
	}
	return ""
}

// commands are the simple commands of the check, each with what follows it: "" at the
// end, or an operator of the shell.
func (h *healthCommand) commands() []shellCommand {
	if script := h.script(); script != "" {
		return shellCommands(script)
	}
	if len(h.words) == 0 {
		return nil
	}
	return []shellCommand{{words: h.words}}
}

type shellCommand struct {
	words []string
	next  string // the operator after it
}

var shellOperator = regexp.MustCompile(`&&|\|\||[;\n|&]`)

// shellCommands splits a script at its operators, quoted ones too: enough to see which
// command decides.
func shellCommands(script string) []shellCommand {
	script = redirection.ReplaceAllString(script, " ")
	var out []shellCommand
	from := 0
	add := func(text, next string) {
		words := splitWords(strings.TrimSpace(text))
		for len(words) > 1 && (assignment.MatchString(words[0]) || slices.Contains([]string{"exec", "if", "then", "!", "do", "timeout"}, words[0])) {
			skip := 1
			if words[0] == "timeout" && len(words) > 2 {
				skip = 2
			}
			words = words[skip:]
		}
		if len(words) > 0 {
			out = append(out, shellCommand{words, next})
		}
	}
	for _, m := range shellOperator.FindAllStringIndex(script, -1) {
		add(script[from:m[0]], script[m[0]:m[1]])
		from = m[1]
	}
	add(script[from:], "")
	return out
}

// named finds the first command of one of the names.
func (h *healthCommand) named(names ...string) *shellCommand {
	for _, c := range h.commands() {
		if slices.Contains(names, path.Base(c.words[0])) {
			return &c
		}
	}
	return nil
}

// cannotRun is the fault of a check that never succeeds as it is written.
func (h *healthCommand) cannotRun() *fault {
	switch {
	case h.wrong != "":
		return &fault{Error, "the file is refused, so nothing of it is started: " + h.wrong, "test: [CMD, program, argument], or [CMD-SHELL, \"one line\"]"}
	case h.text == "":
		if mistake := execMistake(h.words); mistake != "" {
			fix := "test: [CMD-SHELL, \"one line\"]"
			if _, shell := shellScript(h.words); !shell && !strings.Contains(h.words[0], " ") && !slices.Contains(strictPrograms, path.Base(h.words[0])) {
				g := guess("that " + show(path.Base(h.words[0])) + " refuses arguments that it does not know")
				return &fault{Warning, g.told("it is never healthy: " + mistake), fix}
			}
			return &fault{Error, "it is never healthy: " + mistake, fix}
		}
	}
	if h.host != "" {
		g := guess("that the variable of the container is meant, which is written $$" + h.host)
		return &fault{Warning, g.told("the check asks with an empty word where the host has no variable " + show(h.host)), "$$" + h.host}
	}
	return nil
}

// strictPrograms fail when they are given a word too many.
var strictPrograms = []string{"curl", "wget", "pg_isready", "mysqladmin", "mariadb-admin", "nc", "test", "[", "sleep", "kill", "nginx"}

var alwaysTrue = []string{"true", ":", "echo", "printf"}

// cannotFail is the fault of a check whose last command always succeeds.
func (h *healthCommand) cannotFail() *fault {
	commands := h.commands()
	if len(commands) == 0 {
		return nil
	}
	last := commands[len(commands)-1]
	if slices.ContainsFunc(last.words, func(w string) bool { return strings.ContainsAny(w, "<>") }) {
		return nil // what it reads or writes may be absent: /dev/tcp/HOST/PORT
	}
	succeeds := slices.Contains(alwaysTrue, path.Base(last.words[0])) || slices.Equal(last.words, []string{"exit", "0"})
	decides := true
	if n := len(commands); n > 1 {
		decides = slices.Contains([]string{"||", ";", "\n"}, commands[n-2].next)
		// a && exit 0; exit 1 has another last command; with set -e a failure ends it.
		for _, c := range commands[:n-1] {
			if c.words[0] == "exit" || slices.Equal(c.words, []string{"set", "-e"}) || c.words[0] == "if" {
				decides = false
			}
		}
	}
	if last.next != "" || !succeeds || !decides {
		return nil
	}
	return &fault{Error, "it counts as healthy whatever it answers: requests are sent to it before it can serve, and when it no longer can", "a check that fails when it cannot serve"}
}

var curlFails = regexp.MustCompile(`^(--fail|--fail-with-body|-[a-zA-Z#]*f[a-zA-Z]*)$`)

// cannotTell is the fault of a check that a server passes which cannot serve.
func (h *healthCommand) cannotTell() *fault {
	script := h.script()
	if c := h.named("curl"); c != nil && c.next != "|" && !strings.ContainsAny(script, "`") && !strings.Contains(script, "$(") &&
		!strings.Contains(strings.Join(c.words, " "), "http_code") && asksWeb(c.words[1:]) && !slices.ContainsFunc(c.words, curlFails.MatchString) {
		return &fault{Warning, "a server that answers 503, or any other error, counts as healthy and gets requests: curl fails only when there is no answer", "curl --fail"}
	}
	onlyOpens := false
	for _, c := range h.commands() {
		name := path.Base(c.words[0])
		switch {
		case slices.Contains([]string{"nc", "ncat", "netcat"}, name) && slices.ContainsFunc(c.words[1:], func(w string) bool { return shortFlag(w, 'z') }):
			onlyOpens = true
		case slices.Contains([]string{"ss", "netstat", "lsof"}, name):
			onlyOpens = true
		}
	}
	if strings.Contains(script, "/dev/tcp/") && !strings.Contains(script, "HTTP") && !strings.Contains(script, "GET ") && h.named("read", "grep", "cat", "head") == nil {
		onlyOpens = true
	}
	switch {
	case onlyOpens:
		return &fault{Warning, "a server that listens and cannot serve counts as healthy and gets requests: the check only looks whether a port is open", "ask what it says of itself: GET /readyz, or a query"}
	case h.named("pgrep", "pidof") != nil && len(h.commands()) <= 2:
		return &fault{Warning, "a process that runs and cannot serve counts as healthy and gets requests: the check only looks whether there is one", "ask what it says of itself: GET /readyz, or a query"}
	}
	return nil
}

func shortFlag(w string, letter rune) bool {
	return strings.HasPrefix(w, "-") && !strings.HasPrefix(w, "--") && strings.ContainsRune(w, letter)
}

// asksWeb reports whether curl asks over HTTP, as it does unless told otherwise.
func asksWeb(words []string) bool {
	for _, w := range words {
		if scheme, _, ok := strings.Cut(w, "://"); ok {
			return scheme == "http" || scheme == "https"
		}
	}
	return true
}

// tooEarly is the fault of a check that a database passes while its image still sets it
// up: for that it runs a server which listens on a socket alone.
func (h *healthCommand) tooEarly(image string, env []setting) *fault {
	if strings.Contains(image, "bitnami") {
		return nil // sets up in another way
	}
	holds := func(parts ...string) bool {
		return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(imageName(image), part) })
	}
	if c := h.named("pg_isready"); c != nil && holds("postgres", "postgis", "pgvector", "pgvecto", "timescale") {
		host := argument(c.words, "-h", "--host")
		for _, s := range env {
			if s.name == "pghost" && host == "" {
				host = s.value
			}
		}
		if host == "" || strings.HasPrefix(host, "/") {
			return &fault{Warning, "on its first start it counts as healthy before it can be reached, and the first requests to it are refused: pg_isready asks the socket, where the server that runs the set-up answers", "pg_isready -h 127.0.0.1"}
		}
	}
	if c := h.named("mysqladmin", "mariadb-admin"); c != nil && slices.Contains(c.words, "ping") && holds("mysql", "mariadb", "percona") {
		host := argument(c.words, "-h", "--host")
		if (host == "" || host == "localhost") && !strings.EqualFold(argument(c.words, "--protocol"), "tcp") {
			return &fault{Warning, "on its first start it counts as healthy before it can be reached, and the first requests to it are refused: " + path.Base(c.words[0]) + " asks the socket, where the server that runs the set-up answers", "-h 127.0.0.1"}
		}
	}
	return nil
}

// argument is the value of a flag: -h x, -hx, --host x, --host=x.
func argument(words []string, flags ...string) string {
	for i, w := range words {
		for _, flag := range flags {
			long := strings.HasPrefix(flag, "--")
			switch {
			case w == flag && i+1 < len(words):
				return words[i+1]
			case long && strings.HasPrefix(w, flag+"="):
				return w[len(flag)+1:]
			case !long && strings.HasPrefix(w, flag):
				return w[len(flag):]
			}
		}
	}
	return ""
}

// wrongAddress is the fault of a check that may ask at the one address where nothing
// listens.
func (h *healthCommand) wrongAddress() *fault {
	c := h.named("wget")
	if c == nil || !slices.ContainsFunc(c.words[1:], func(w string) bool { return localURL.MatchString(w) }) {
		return nil
	}
	return &fault{Warning, "it is never healthy if the server listens on IPv4 alone and wget is that of busybox, which asks localhost at ::1 and nowhere else", "127.0.0.1 in place of localhost"}
}

var localURL = regexp.MustCompile(`^(https?://)?localhost([:/]|$)`)

// hostVariable is a variable that Compose fills in from the host, though the service has
// one of that name.
func hostVariable(written string, env []setting) string {
	for _, m := range hostVariablePattern.FindAllStringSubmatch(strings.ReplaceAll(written, "$$", ""), -1) {
		if slices.ContainsFunc(env, func(s setting) bool { return s.name == flagName(m[1]) && s.value != "" }) {
			return m[1]
		}
	}
	return ""
}

var hostVariablePattern = regexp.MustCompile(`\$\{?([A-Za-z_][A-Za-z0-9_]*)(?:\}|[^A-Za-z0-9_:?+{}-]|$)`)

// readCommand reads the test of a health check.
func (s *source) readCommand(test *node, env []setting) *healthCommand {
	h := &healthCommand{at: s.place(test)}
	plain := func(n *node) string {
		if n.unknown {
			h.host = hostVariable(n.written, env)
			return strings.ReplaceAll(n.written, "$$", "$")
		}
		return n.value
	}
	if test.kind == scalar {
		h.text = plain(test)
		return h
	}
	var words []string
	for _, item := range test.items {
		words = append(words, plain(item))
	}
	switch {
	case len(words) == 0 || test.items[0].unknown:
	case words[0] == "NONE":
	case words[0] == "CMD":
		h.words = words[1:]
	case words[0] == "CMD-SHELL" && len(words) == 2:
		h.text = words[1]
	case words[0] == "CMD-SHELL":
		h.words = append([]string{"sh", "-c"}, words[1:]...)
	default:
		h.wrong = "the first word of test is " + show(words[0]) + ", not CMD, CMD-SHELL or NONE"
	}
	return h
}

package lint

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
)

// preStop is the hook that runs before SIGTERM.
type preStop struct {
	at    place
	words []string      // of exec
	sleep time.Duration // all that it sleeps; 0 when unknown
	lead  time.Duration // what it sleeps while the program serves on; 0 when unknown
	vain  string        // why requests gain no time from it; "" when they do, or may
}

func readPreStop(s *source, hook *node) *preStop {
	h := &preStop{at: s.place(hook)}
	if sleep := s.sub(hook, "sleep"); sleep != nil {
		h.sleep = time.Duration(s.number(sleep, "seconds", 0)) * time.Second
		if h.lead = h.sleep; h.lead <= 0 {
			h.vain = "it sleeps for no time"
		}
	}
	if hook.get("tcpSocket") != nil {
		h.vain = "a hook cannot be a tcpSocket, so it fails"
	}
	for _, item := range s.list(s.sub(hook, "exec"), "command", false) {
		h.words = append(h.words, item.value)
	}
	if len(h.words) > 0 && execMistake(h.words) == "" {
		h.readCommand(h.words)
	}
	return h
}

// readCommand reads what an exec hook does. A command that is not known may wait as long
// as it likes.
func (h *preStop) readCommand(words []string) {
	commands := [][]string{words}
	if script, ok := shellScript(words); ok {
		commands = nil
		for _, command := range commandEnd.Split(script, -1) {
			if fields := splitWords(command); len(fields) > 0 && !strings.HasPrefix(fields[0], "#") {
				commands = append(commands, fields)
			}
		}
	}
	stopped, last, open := "", "", false
	for _, command := range commands {
		for len(command) > 1 && (command[0] == "exec" || assignment.MatchString(command[0])) {
			command = command[1:]
		}
		text := strings.Join(command, " ")
		sleeps := sleepOf(command)
		switch name := path.Base(command[0]); {
		case name == "sleep" && (sleeps > 0 || slices.Equal(command[1:], []string{"0"})):
			h.sleep += sleeps
			if stopped == "" {
				h.lead += sleeps
			}
		case stops(name, command[1:]):
			if stopped == "" {
				stopped = text
			}
		case returnsAtOnce[name]:
			last = text
		default:
			open = true // loops too, whose sleeps cannot be counted
		}
		if open {
			break
		}
	}
	if open && stopped == "" {
		h.lead = 0 // at least what it sleeps, and nobody knows how much more
		return
	}
	switch {
	case h.lead > 0:
	case stopped != "":
		h.vain = show(stopped) + " ends the listener at once"
	case last == "":
		h.vain = "it sleeps for no time"
	default:
		h.vain = show(last) + " returns at once"
	}
}

// returnsAtOnce are commands after which SIGTERM follows without delay.
var returnsAtOnce = map[string]bool{
	"echo": true, "printf": true, "touch": true, "rm": true, "true": true, ":": true, "exit": true, "mkdir": true, "cp": true,
	"mv": true, "date": true, "logger": true, "export": true, "set": true, "cat": true, "sync": true, "chmod": true,
}

// stops reports whether a command tells the server to stop, and does not wait for it.
func stops(name string, args []string) bool {
	has := func(words ...string) bool {
		return slices.ContainsFunc(args, func(a string) bool { return slices.Contains(words, a) })
	}
	switch name {
	case "nginx", "openresty", "angie":
		return has("quit", "stop")
	case "apachectl", "apache2ctl", "httpd", "apache2", "httpd-foreground":
		return has("stop", "graceful-stop")
	case "kill", "pkill", "killall":
		signal := "TERM"
		for i, a := range args {
			if m := signalFlag.FindStringSubmatch(a); m != nil {
				signal = strings.ToUpper(m[1])
			} else if (a == "-s" || a == "--signal" || a == "-n") && i+1 < len(args) {
				signal = strings.TrimPrefix(strings.ToUpper(args[i+1]), "SIG")
			}
		}
		return slices.Contains([]string{"TERM", "15", "QUIT", "3", "INT", "2", "KILL", "9", "WINCH", "28"}, signal)
	case "supervisorctl", "caddy", "systemctl", "service", "pm2", "catalina.sh", "unitd", "uwsgi":
		return has("stop", "shutdown", "kill", "--stop")
	case "redis-cli", "valkey-cli":
		return has("shutdown", "SHUTDOWN")
	}
	return false
}

var signalFlag = regexp.MustCompile(`^-(?:SIG|sig)?([A-Za-z]{3,}|[0-9]+)$`)

// shellScript is the script of a command that starts a shell for it.
func shellScript(words []string) (string, bool) {
	if len(words) < 3 || !shells[path.Base(words[0])] {
		return "", false
	}
	for i, w := range words[1 : len(words)-1] {
		if !strings.HasPrefix(w, "-") {
			break
		}
		if strings.HasSuffix(w, "c") {
			return words[i+2], true
		}
	}
	return "", false
}

// execMistake says why a command that no shell reads cannot run as it was meant, or "".
func execMistake(words []string) string {
	script, shell := shellScript(words)
	switch {
	case len(words) == 0:
		return ""
	case shell:
		if words[len(words)-1] != script && !strings.ContainsAny(script, "$ \t\n") {
			return "the shell runs " + show(script) + " alone: what it is to run has to be one word"
		}
		return ""
	case strings.ContainsAny(strings.TrimSpace(words[0]), " \t\n") && !strings.HasPrefix(words[0], "/"):
		return "no program is called " + show(strings.TrimSpace(words[0])) + ": without a shell nobody takes it apart"
	}
	for _, w := range words[1:] {
		if w == ";" && path.Base(words[0]) == "find" {
			continue
		}
		if operator, _, _ := strings.Cut(w, " "); slices.Contains([]string{"||", "&&", "|", ";", ">", ">>", "2>&1", "&"}, w) || operator == "||" || operator == "&&" {
			return show(w) + " is an argument of " + show(path.Base(words[0])) + " here: no shell reads it"
		}
	}
	return ""
}

// lacksProgram reports whether an image has neither shell nor tools, as far as its name
// tells.
func lacksProgram(image string, words []string) bool {
	if len(words) == 0 || strings.Contains(image, "debug") || strings.Contains(image, "-dev") {
		return false
	}
	bare := strings.Contains(image, "distroless") || imageName(image) == "static" && strings.Contains(image, "chainguard")
	name := path.Base(words[0])
	return bare && (shells[name] || slices.Contains([]string{"sleep", "cat", "curl", "wget", "nc", "test", "true", "kill", "ls"}, name))
}

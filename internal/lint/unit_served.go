package lint

import (
	"slices"
	"strconv"
	"strings"
)

// served tells whether the unit takes requests, what says so, and what is guessed when
// nothing says it for sure. A socket, a dependent, an address to listen on and a known
// server are facts. That a service starts with the system, after the network, is not.
func (u *unitFile) served() (because string, g guess) {
	kind, _ := u.kind()
	switch {
	case kind == "oneshot":
		return "", ""
	case u.socket != "":
		return u.socket + " activates it", ""
	case len(u.dependents) > 0:
		return u.dependents[0] + " depends on it", ""
	}
	if because := u.containerServes(); because != "" {
		return because, ""
	}
	if because := u.listens(); because != "" {
		return because, ""
	}
	if name := u.program.server(servers); name != "" {
		return name + " is a server", ""
	}
	if u.likelyServes() {
		return "it starts with the system, after the network", "that it takes requests, for it starts with the system, after the network"
	}
	return "", ""
}

// unseen reports whether the unit stays and nothing shows that it takes requests, so that
// most rules pass it over.
func (u *unitFile) unseen() bool {
	kind, _ := u.kind()
	because, _ := u.served()
	return because == "" && kind != "oneshot" && kind != "dbus"
}

// listens is where the command line says that the program listens.
func (u *unitFile) listens() string {
	if port := u.program.publishes(); port != "" {
		return "it publishes port " + show(port)
	}
	for _, s := range u.program.settings() {
		name := strings.ReplaceAll(s.name, ".", "-")
		if pointsOut(name) {
			continue
		}
		m := hostPort.FindStringSubmatch(s.value)
		if m != nil && m[2] != "0" && (listenSetting.MatchString(name) || m[1] == "") {
			return "it listens on " + show(s.value)
		}
		if n, err := strconv.Atoi(s.value); err == nil && n > 0 && (name == "port" || strings.HasSuffix(name, "-port")) {
			return "it listens on port " + s.value
		}
	}
	return ""
}

// publishes is the port that docker run, or podman run, publishes.
func (p *program) publishes() string {
	if len(p.words) < 2 || !slices.Contains([]string{"docker", "podman", "nerdctl"}, stem(p.words[0].text)) {
		return ""
	}
	for i, w := range p.words {
		for _, flag := range []string{"-p", "--publish"} {
			if w.text == flag && i+1 < len(p.words) {
				return p.words[i+1].text
			}
			if rest, ok := strings.CutPrefix(w.text, flag+"="); ok {
				return rest
			}
		}
	}
	return ""
}

func (u *unitFile) likelyServes() bool {
	if _, bus := u.get("Service", "BusName"); bus || len(u.program.words) == 0 {
		return false
	}
	name := stem(u.program.words[0].text)
	for _, end := range clients {
		if strings.HasSuffix(name, end) || strings.HasSuffix(strings.TrimSuffix(strings.TrimSuffix(u.name, ".service"), "@"), end) {
			return false
		}
	}
	started := slices.ContainsFunc(u.words("Install", "WantedBy"), func(target string) bool { return target == "multi-user.target" || target == "default.target" })
	networked := slices.ContainsFunc(u.words("Unit", "After"), func(target string) bool { return target == "network.target" || target == "network-online.target" })
	return started && networked
}

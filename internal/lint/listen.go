package lint

import (
	"net"
	"regexp"
	"slices"
	"strings"
)

var hostPort = regexp.MustCompile(`^(\[[0-9A-Fa-f:.]*\]|[A-Za-z0-9.*_-]*):([0-9]{1,5})$`)

// outward are parts of names of settings that say whom to call, not where to listen.
var outward = []string{
	"upstream", "backend", "target", "control", "connect", "endpoint", "url", "uri", "remote", "peer", "dial", "forward",
	"origin", "destination", "database", "db", "redis", "broker", "collector", "exporter", "otel", "proxy-pass", "brokers", "servers", "etcd",
	"advertise", "public", "external", "allowed", "domain", "cors",
}

func pointsOut(name string) bool {
	return slices.ContainsFunc(outward, func(part string) bool { return strings.Contains(name, part) })
}

// binding is where a program is told to listen.
type binding struct {
	at    place
	value string
	guess guess
}

// boundToLoopback is the setting that tells the program to listen on a port of the
// loopback address. It is false when the program also listens on that port elsewhere.
func (p *program) boundToLoopback(port string) (binding, bool) {
	var found []binding
	add := func(host string, b binding) bool {
		if loopback(host) {
			found = append(found, b)
			return true
		}
		return false
	}
	flags := p.flags()
	all := append(slices.Clone(p.env), flags...)
	for i, s := range all {
		flag := i >= len(p.env)
		if m := hostPort.FindStringSubmatch(s.value); m != nil && m[2] == port {
			if g, ok := bindsAddress(s.name, flag); ok && !add(m[1], binding{s.at, s.value, g}) {
				return binding{}, false
			}
		}
		// HEALTH_LISTEN_ADDRESS=127.0.0.1 beside HEALTH_PORT=8081.
		prefix, ok := strings.CutSuffix(s.name, "port")
		if !ok || s.value != port {
			continue
		}
		same := all[:len(p.env)]
		if flag {
			same = flags
		}
		for _, h := range same {
			rest, ok := strings.CutPrefix(h.name, prefix)
			if !ok || h.value == "" || strings.Contains(h.value, port) {
				continue
			}
			if g, ok := bindsHost(rest, h, prefix, flag); ok && !add(h.value, binding{h.at, h.value, g}) {
				return binding{}, false
			}
		}
	}
	slices.SortStableFunc(found, func(a, b binding) int { return len(a.guess) - len(b.guess) })
	if len(found) == 0 {
		return binding{}, false
	}
	return found[0], true
}

// saysListen finds the words of names that leave no doubt.
var saysListen = regexp.MustCompile(`(^|[-.])(listen|listener|bind|binding)($|[-.])`)

// bindsAddress tells whether the value host:port of a setting is where the program
// listens, and what is guessed when it is taken for that.
func bindsAddress(name string, flag bool) (guess, bool) {
	switch {
	case pointsOut(name):
		return "", false
	case saysListen.MatchString(name):
		return "", true
	case flag && slices.Contains([]string{"addr", "address", "http", "http-addr", "http-address", "b", "l"}, name):
		return "", true
	case strings.HasSuffix(name, "addr") || strings.HasSuffix(name, "address") || name == "http" || name == "https":
		return guess("that " + show(name) + " is where it listens"), true
	}
	return "", false
}

// bindsHost tells the same of a host beside a port of the same prefix. A host name alone
// is as often the name that the service has for others: the links in its mails begin
// with it.
func bindsHost(rest string, h setting, prefix string, flag bool) (guess, bool) {
	likely := guess("that " + show(h.name) + " is where it listens")
	name := net.ParseIP(strings.Trim(h.value, "[]")) == nil
	switch {
	case pointsOut(h.name):
		return "", false
	case saysListen.MatchString(h.name) && slices.Contains([]string{"listen", "listen-address", "listen-addr", "listen-host", "bind", "bind-address", "bind-addr", "bind-host", "addr", "address", "host"}, rest):
		return "", true
	case rest == "host" && prefix == "":
		if flag && !name {
			return "", true
		}
		return likely, true
	case slices.Contains([]string{"host", "addr", "address", "ip"}, rest):
		return likely, !name
	}
	return "", false
}

func loopback(host string) bool {
	host = strings.Trim(host, "[]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

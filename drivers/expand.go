package drivers

import (
	"fmt"
	"net"
	"strings"
)

// Places is what the placeholders of a Service stand for at one instance of it.
type Places struct {
	Instance string
	Revision string
	Listen   map[string]string            // ${listen.PORT}, host:port by port; ${port.PORT} is its number
	Addr     map[string]map[string]string // ${addr.SERVICE.PORT}, by service and port
}

// Expand fills in the placeholders of s, and of nothing that it filled in. A placeholder
// that is unknown, or that nothing is known for, is an error.
func (p Places) Expand(s string) (string, error) {
	var out strings.Builder
	for rest := s; ; {
		before, after, found := strings.Cut(rest, "${")
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		name, tail, closed := strings.Cut(after, "}")
		if !closed {
			return "", fmt.Errorf("%q: ${ without }", s)
		}
		value, err := p.lookup(name)
		if err != nil {
			return "", fmt.Errorf("%q: %w", s, err)
		}
		out.WriteString(value)
		rest = tail
	}
}

func (p Places) lookup(name string) (string, error) {
	parts := strings.Split(name, ".")
	switch {
	case name == "instance":
		return p.Instance, nil
	case name == "revision":
		return p.Revision, nil
	case parts[0] == "listen" && len(parts) == 2:
		if v, ok := p.Listen[parts[1]]; ok {
			return v, nil
		}
		return "", fmt.Errorf("${%s}: the service has no port %q", name, parts[1])
	case parts[0] == "port" && len(parts) == 2:
		at, ok := p.Listen[parts[1]]
		if !ok {
			return "", fmt.Errorf("${%s}: the service has no port %q", name, parts[1])
		}
		_, number, err := net.SplitHostPort(at)
		if err != nil {
			return "", fmt.Errorf("${%s}: %w", name, err)
		}
		return number, nil
	case parts[0] == "addr" && len(parts) == 3:
		ports, ok := p.Addr[parts[1]]
		if !ok {
			return "", fmt.Errorf("${%s}: no service %q was started before this one", name, parts[1])
		}
		if v, ok := ports[parts[2]]; ok {
			return v, nil
		}
		return "", fmt.Errorf("${%s}: service %q has no port %q", name, parts[1], parts[2])
	}
	return "", fmt.Errorf("${%s}: unknown placeholder; there are ${instance}, ${revision}, ${listen.PORT}, ${port.PORT} and ${addr.SERVICE.PORT}", name)
}

// Command returns the arguments and the environment of a service with every placeholder
// filled in.
func (p Places) Command(s Service) (args []string, env map[string]string, err error) {
	for _, a := range s.Args {
		v, err := p.Expand(a)
		if err != nil {
			return nil, nil, fmt.Errorf("argument of %s: %w", s.Name, err)
		}
		args = append(args, v)
	}
	env = make(map[string]string, len(s.Env))
	for k, a := range s.Env {
		v, err := p.Expand(a)
		if err != nil {
			return nil, nil, fmt.Errorf("variable %s of %s: %w", k, s.Name, err)
		}
		env[k] = v
	}
	return args, env, nil
}

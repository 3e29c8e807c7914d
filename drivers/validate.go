package drivers

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
)

// Validate reports what no driver could deploy: names that are empty, odd or used twice,
// ports and placeholders that do not exist, and numbers that make no sense. Drivers call
// it first in Deploy.
func (s Stack) Validate() error {
	if err := validName(s.Name); err != nil {
		return fmt.Errorf("stack: %w", err)
	}
	if s.RunID == "" {
		return errors.New("stack without a run ID: nothing could be found again after a crash")
	}
	if s.Replicas < 0 {
		return fmt.Errorf("%d replicas of %s: the number may not be negative", s.Replicas, s.Subject.Name)
	}
	if t := s.Balancer.Terminate; t != nil {
		if _, err := tls.X509KeyPair(t.Certificate, t.Key); err != nil {
			return fmt.Errorf("balancer: its certificate and key: %w", err)
		}
	}
	if s.Address != "" {
		return s.validateAddress()
	}
	limits := s.Rolling.Validate
	if s.Objects != nil {
		limits = func() error { return s.eachRevision(Stack.validateObjects) }
	}
	if err := limits(); err != nil {
		return err
	}
	places := Places{Addr: map[string]map[string]string{}}
	check := func(service Service) error {
		if _, twice := places.Addr[service.Name]; twice {
			return fmt.Errorf("two services are named %s", service.Name)
		}
		places.Listen = map[string]string{}
		for _, p := range service.Ports {
			places.Listen[p] = p + ":0"
		}
		return service.validate(places)
	}
	for _, service := range s.Dependencies {
		if err := check(service); err != nil {
			return err
		}
		places.Addr[service.Name] = places.Listen
	}
	return s.eachRevision(func(at Stack) error { return check(at.Subject) })
}

// eachRevision calls do with the stack as it is at each revision. Where there are several,
// errors name the one.
func (s Stack) eachRevision(do func(at Stack) error) error {
	for _, revision := range s.revisions() {
		at, err := s.At(revision)
		if err != nil {
			return err
		}
		if err = do(at); err != nil && s.Revisions != nil {
			return fmt.Errorf("revision %s: %w", revision, err)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// validateAddress reports what of a stack goes together with no Address.
func (s Stack) validateAddress() error {
	if len(s.Dependencies) > 0 || s.Objects != nil || s.Replicas != 0 || s.Rolling != (Rolling{}) {
		return fmt.Errorf("address %s: dependencies, objects, replicas and rolling are for what is deployed", s.Address)
	}
	if p := s.Subject; p.Image != "" || p.Exec != "" || len(p.Args)+len(p.Env)+len(p.Fixed) > 0 {
		return fmt.Errorf("address %s: what is run there is not known", s.Address)
	}
	return nil
}

// ErrNoProgress: the bounds of a change forbid every step.
var ErrNoProgress = errors.New("max surge and max unavailable are both 0: no instance could ever be replaced")

// Validate refuses bounds under which nothing could be replaced.
func (r Rolling) Validate() error {
	switch {
	case r.MaxSurge < 0 || r.MaxUnavailable < 0:
		return fmt.Errorf("max surge %d and max unavailable %d: neither may be negative", r.MaxSurge, r.MaxUnavailable)
	case r == (Rolling{}):
		return ErrNoProgress
	}
	return nil
}

func (s Service) validate(places Places) error {
	if err := validName(s.Name); err != nil {
		return fmt.Errorf("service: %w", err)
	}
	if len(s.Ports) == 0 {
		return fmt.Errorf("service %s has no port", s.Name)
	}
	if len(places.Listen) != len(s.Ports) {
		return fmt.Errorf("service %s: two of its ports %q have the same name", s.Name, s.Ports)
	}
	if s.StopGrace < 0 {
		return fmt.Errorf("service %s: stop grace %v is negative", s.Name, s.StopGrace)
	}
	if s.Image != "" && s.Exec != "" {
		return fmt.Errorf("service %s: both image %s and program %s are to run", s.Name, s.Image, s.Exec)
	}
	if err := s.Wire.Validate(); err != nil {
		return fmt.Errorf("service %s: port %s: %w", s.Name, s.Ports[0], err)
	}
	for port, number := range s.Fixed {
		if !slices.Contains(s.Ports, port) {
			return fmt.Errorf("service %s: fixed number %d: no port %q", s.Name, number, port)
		}
		if number < 1 || number > 65535 {
			return fmt.Errorf("service %s: port %s has number %d, want 1 to 65535", s.Name, port, number)
		}
	}
	if s.Watchdog < 0 || s.PreStop < 0 {
		return fmt.Errorf("service %s: watchdog %v and pre-stop %v: neither may be negative", s.Name, s.Watchdog, s.PreStop)
	}
	if s.Limits.CPUs < 0 || s.Limits.Memory < 0 {
		return fmt.Errorf("service %s: limits of %v CPUs and %d bytes: neither may be negative", s.Name, s.Limits.CPUs, s.Limits.Memory)
	}
	for what, p := range map[string]Probe{"signal": s.Signal, "serves": s.Serves, "startup": s.Startup, "liveness": s.Liveness} {
		if err := p.validate(s, what == "serves", places); err != nil {
			return fmt.Errorf("service %s: %s: %w", s.Name, what, err)
		}
	}
	_, _, err := places.Command(s)
	return err
}

// validate checks a probe of a service; one that is asked from outside knows only what
// can be asked over the network.
func (p Probe) validate(s Service, outside bool, places Places) error {
	if p.Interval < 0 || p.Timeout < 0 || p.Rise < 0 || p.Fall < 0 {
		return errors.New("interval, timeout, rise and fall may not be negative")
	}
	switch p.Kind {
	case "", ProbeNone:
		return nil
	case ProbeTCP, ProbeHTTP:
		if !slices.Contains(s.Ports, p.Port) {
			return fmt.Errorf("no port %q", p.Port)
		}
		return p.Wire.Validate()
	case ProbeCommand, ProbeImage:
		if outside {
			return fmt.Errorf("kind %q cannot be asked from outside", p.Kind)
		}
		if p.Kind == ProbeImage {
			if s.Image == "" {
				return errors.New("the health check of an image, but no image")
			}
			return nil
		}
		if len(p.Command) == 0 {
			return errors.New("no command")
		}
		for _, arg := range p.Command {
			if _, err := places.Expand(arg); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("unknown kind of probe %q", p.Kind)
}

func validName(name string) error {
	if name == "" {
		return errors.New("empty name")
	}
	for _, r := range name {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' {
			return fmt.Errorf("name %q: only letters, digits and dashes are allowed", name)
		}
	}
	return nil
}

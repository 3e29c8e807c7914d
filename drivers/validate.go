package drivers

import (
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
	if s.Rolling.MaxSurge < 0 || s.Rolling.MaxUnavailable < 0 {
		return fmt.Errorf("max surge %d and max unavailable %d: neither may be negative", s.Rolling.MaxSurge, s.Rolling.MaxUnavailable)
	}
	if s.Rolling == (Rolling{}) {
		return errors.New("max surge and max unavailable are both 0: no instance could ever be replaced")
	}
	places := Places{Addr: map[string]map[string]string{}}
	for _, service := range append(slices.Clone(s.Dependencies), s.Subject) {
		if _, twice := places.Addr[service.Name]; twice {
			return fmt.Errorf("two services are named %s", service.Name)
		}
		places.Listen = map[string]string{}
		for _, p := range service.Ports {
			places.Listen[p] = p
		}
		if err := service.validate(places); err != nil {
			return err
		}
		places.Addr[service.Name] = places.Listen
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
	for what, p := range map[string]Probe{"signal": s.Signal, "serves": s.Serves} {
		switch p.Kind {
		case "", ProbeNone:
			continue
		case ProbeTCP, ProbeHTTP:
		default:
			return fmt.Errorf("service %s: %s: unknown kind of probe %q", s.Name, what, p.Kind)
		}
		if !slices.Contains(s.Ports, p.Port) {
			return fmt.Errorf("service %s: %s: no port %q", s.Name, what, p.Port)
		}
		if p.Interval < 0 || p.Timeout < 0 || p.Rise < 0 || p.Fall < 0 {
			return fmt.Errorf("service %s: %s: interval, timeout, rise and fall may not be negative", s.Name, what)
		}
	}
	_, _, err := places.Command(s)
	return err
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

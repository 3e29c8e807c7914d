package scenarios

import (
	"fmt"
	"net/url"
	"time"
)

const (
	// Calm is how long nothing may fail behind a command before the load ends.
	Calm = 5 * time.Second

	// maxAddressRate bounds the load on what the lab has not deployed, in requests a second.
	maxAddressRate = 10_000

	// maxCommand bounds how long a command and what follows it may take together.
	maxCommand = 12 * time.Hour

	// commandSlack is how much later than planned a command may begin, and end once its time
	// is over.
	commandSlack = 10 * time.Second
)

// openWindow gives a scenario whose target is an address its window: from the start of the
// command to the latest moment at which the load may end.
func (s *Scenario) openWindow() {
	if s.Target.Address() {
		from := s.Phases.Baseline.To
		s.Phases.Window = Phase{From: from, To: from + s.Action.Timeout + s.Action.Max + commandSlack}
	}
}

// CommandOf is what is run as the action of a design, and ResetOf what takes it back.
func (s *Scenario) CommandOf(d Design) []string { return orElse(d.Run, s.Action.Run) }

// ResetOf is what is run between two trials of a design; empty means nothing.
func (s *Scenario) ResetOf(d Design) []string { return orElse(d.Reset, s.Action.Reset) }

func orElse(own, shared []string) []string {
	if len(own) > 0 {
		return own
	}
	return shared
}

// wrongAddress says what is wrong with an address that load goes to, "" where nothing is.
func wrongAddress(text string) string {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Opaque != "" || u.Scheme != "http" && u.Scheme != "https":
		return "must begin with http:// or https://"
	case u.Hostname() == "":
		return "names no host"
	case u.User != nil:
		return "must hold no password: it would be in every report"
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return "is scheme and host alone, the path is the request's (target.request.path)"
	}
	return ""
}

// checkCommand checks what goes together with a target that is an address: a command, and
// nothing else that the lab would have to know the runtime for.
func (s *Scenario) checkCommand(report report) {
	a := &s.Action
	if !s.Target.Address() {
		return
	}
	if a.Kind != Command {
		report("action.kind", "action.kind must be command for a target that is an address, not "+string(a.Kind),
			"the lab did not deploy what answers there and cannot change it: say kind: command and run: [your command]")
		return
	}
	for i, d := range s.Designs {
		if len(s.CommandOf(d)) == 0 {
			report(fmt.Sprintf("designs[%d]", i), "design "+quote(d.Name)+" has no command", "a program and its arguments: action.run for all designs, or a run of its own")
		}
	}
	switch total := a.Timeout + a.Max; {
	case a.Settle > a.Max:
		report("action.settle", fmt.Sprintf("action.settle %v is longer than action.max %v", a.Settle, a.Max), "make max longer, or settle shorter")
	case a.Max < Calm:
		report("action.max", fmt.Sprintf("action.max %v is shorter than the %v of calm that end the load", a.Max, Calm), "such as 5m")
	case total > maxCommand:
		report("action.timeout", fmt.Sprintf("action.timeout and action.max are %v together, more than %v", total, maxCommand), "shorten one of them")
	}
	if s.Load.Rate > maxAddressRate {
		report("load.rate", fmt.Sprintf("load.rate must be at most %d against an address, not %v", maxAddressRate, s.Load.Rate), "an outage is as long at 100 requests a second; what answers there may be somebody's production")
	}
}

// checkNoCommand reports what is for a command where the target is no address.
func (s *Scenario) checkNoCommand(report report) {
	if s.Target.Address() {
		return
	}
	if s.Action.Kind == Command {
		report("action.kind", "action.kind command is for a target that is an address: what the lab deploys it changes itself", "say target: {url: ...}, or kind: rollout")
	}
	for i, d := range s.Designs {
		if len(d.Run)+len(d.Reset) > 0 {
			report(fmt.Sprintf("designs[%d]", i), fmt.Sprintf("designs[%d]: run and reset are for a target that is an address", i), "remove them")
		}
	}
}

package scenarios

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// checkFaults reports what of the faults does not go together with each other or with the rest
// of the scenario.
func (s *Scenario) checkFaults(report report) {
	causes := newCauses(report)
	defer causes.end()
	for i := range s.Faults {
		f, path := &s.Faults[i], fmt.Sprintf("faults[%d]", i)
		same := func(o Fault) bool { return o.Name == f.Name && f.Name != "" }
		if slices.ContainsFunc(s.Faults[:i], same) {
			report(join(path, "name"), "two faults are called "+quote(f.Name), "rename one of them")
		}
		switch {
		case f.Kind == "": // reported already
		case s.checkVictim(f, path, causes) && s.checkFaultTarget(f, path, report):
			f.checkMode(path, report)
			f.checkToxic(path, report)
			s.checkFaultTime(f, path, report)
			s.checkOverlap(i, path, report)
		}
	}
}

// ownFaults are the kinds of which a custom target can be the victim.
var ownFaults = []FaultKind{Kill, Pause, CPU, Evict, NodeDrain, CommandFault}

// checkVictim says whether the target is one that such a fault can be done to, and notes where it
// is none.
func (s *Scenario) checkVictim(f *Fault, path string, c *causes) (fine bool) {
	at := join(path, "kind")
	switch {
	case s.Target.Address() && f.Kind != CommandFault:
		c.tell("victim", at, fmt.Sprintf("a fault of kind %s is done to what the lab has deployed, and the target is an address", f.Kind),
			"say kind: command with inject, heal and proof")
	case s.Target.Own() && slices.Contains([]FaultKind{Outage, Network}, f.Kind):
		c.tell("victim", at, fmt.Sprintf("a fault of kind %s is done to a dependency, and the target has none that the lab deploys", f.Kind),
			"use target: {refproxy: ...}, or kind: command with inject, heal and proof")
	case s.Target.Own() && !slices.Contains(ownFaults, f.Kind):
		c.tell("victim", at, fmt.Sprintf("a fault of kind %s is something that the reference proxy can be told to do, and the target is another", f.Kind),
			"a custom target can have "+wordsOf(ownFaults))
	default:
		return true
	}
	return false
}

// checkFaultTarget says whether what the fault is done to will be there, and reports where not.
func (s *Scenario) checkFaultTarget(f *Fault, path string, report report) (fine bool) {
	at := join(path, "kind")
	switch {
	case f.Kind == BadRevision && s.Action.Kind != Rollout:
		report(at, "a fault of kind revision is the revision that a rollout leads to, and the action is "+string(s.Action.Kind), "say action: {kind: rollout}")
	case f.ToInstances() && f.Selection().Which == FirstNew && s.Action.Kind != Rollout:
		report(join(path, "instances"), "first-new is the first instance of the revision that a rollout leads to, and the action is "+string(s.Action.Kind), "say oldest, newest or a number, or action: {kind: rollout}")
	case f.ToInstances() && f.Selection().N > max(s.Replicas, s.Action.To):
		report(join(path, "instances"), fmt.Sprintf("%s.instances is %d, and there are %d", path, f.Selection().N, max(s.Replicas, s.Action.To)), "fewer, or all")
	default:
		return true
	}
	return false
}

func wordsOf(kinds []FaultKind) string {
	words := make([]string, len(kinds))
	for i, k := range kinds {
		words[i] = string(k)
	}
	return strings.Join(words, ", ")
}

// modes are the words of mode, for each kind that has any.
var modes = map[FaultKind][]string{
	Outage:      {Refuse, Blackhole, KillNoBack},
	BadRevision: {NeverReady, CrashAtStart, CrashAfterReady, WrongAnswers},
}

func (f *Fault) checkMode(path string, report report) {
	words := modes[f.Kind]
	if words == nil || slices.Contains(words, f.Mode) {
		return
	}
	hint := "one of " + strings.Join(words, ", ")
	if f.Mode == "" {
		report(path, join(path, "mode")+" is missing", hint)
		return
	}
	report(join(path, "mode"), fmt.Sprintf("%s: %s is not for kind: %s", join(path, "mode"), f.Mode, f.Kind), hint)
}

// checkToxic reports the numbers of a toxic that it needs, and those that mean nothing with it.
func (f *Fault) checkToxic(path string, report report) {
	if f.Kind != Network {
		return
	}
	for _, k := range []struct {
		name, toxic, hint string
		needed, given     bool
	}{
		{"latency", "latency", "such as latency: 2s", true, f.Latency > 0},
		{"jitter", "latency", "", false, f.Jitter > 0},
		{"rate", "bandwidth", "KiB a second, such as rate: 10", true, f.Rate > 0},
	} {
		switch {
		case f.Toxic == k.toxic && k.needed && !k.given:
			report(path, join(path, k.name)+" is missing", k.hint)
		case f.Toxic != k.toxic && k.given:
			report(join(path, k.name), fmt.Sprintf("%s is for toxic: %s, not for %s", join(path, k.name), k.toxic, f.Toxic), "remove it")
		}
	}
	if f.Toxic == "latency" && f.Latency > 0 && f.Jitter > f.Latency {
		report(join(path, "jitter"), fmt.Sprintf("%s of %v is more than the latency of %v", join(path, "jitter"), f.Jitter, f.Latency), "no answer comes before its question: make it shorter")
	}
}

// checkFaultTime reports a fault that is not over when the window ends: what it costs would be
// in no number. At an address the window ends by calm, and the load goes on as long as that takes.
func (s *Scenario) checkFaultTime(f *Fault, path string, report report) {
	w := s.Phases.Window
	window := w.To - w.From
	if window <= 0 {
		return // reported already
	}
	switch end := f.At + f.For; {
	case f.At >= window:
		report(join(path, "at"), fmt.Sprintf("%s begins at %v, and the window lasts %v", path, f.At, window), "earlier, or a longer window")
	case f.For > 0 && end > window:
		report(join(path, "for"), fmt.Sprintf("%s lasts until %v of the window, which lasts %v", path, end, window), "shorter, earlier, or a longer window")
	}
}

// checkOverlap reports a fault that is done to what another one is done to, or may be, at the
// same time: nobody could tell what was whose doing.
func (s *Scenario) checkOverlap(i int, path string, report report) {
	f := &s.Faults[i]
	for j := range i {
		o := &s.Faults[j]
		if !f.meets(o, s.Replicas) || !f.during(o) {
			continue
		}
		what := f.Target()
		if f.ToInstances() && f.Selection() != o.Selection() {
			what = fmt.Sprintf("%s and %s may be the same", o.Target(), f.Target())
		}
		report(path, fmt.Sprintf("faults[%d] (%s) and %s (%s) are done to the same thing at the same time: %s", j, o.Name, path, f.Name, what),
			"one after the other, or to different things: oldest and newest are different, numbers and all are not")
		return
	}
}

// meets says whether two faults are done to the same thing, or may be.
func (f *Fault) meets(o *Fault, replicas int) bool {
	switch {
	case f.ToInstances() && o.ToInstances():
		return !apart(f, o, replicas)
	case f.dependency() != "" && o.dependency() != "":
		return f.dependency() == o.dependency()
	case f.Kind == CommandFault || o.Kind == CommandFault: // what it does only its author knows
		return false
	}
	return f.Kind == o.Kind
}

// dependency is the service whose connections a fault is about.
func (f *Fault) dependency() string {
	if f.Kind == Stall {
		return "control"
	}
	return f.Service
}

// apart says whether two selections have no instance in common, for sure. Beside a node that is
// drained nothing is: who else runs on it is not known.
func apart(f, o *Fault, replicas int) bool {
	ends := map[Which]bool{Oldest: true, Newest: true}
	a, b := f.Selection().Which, o.Selection().Which
	return a != b && ends[a] && ends[b] && replicas > 1 && f.Kind != NodeDrain && o.Kind != NodeDrain
}

// settling is how long the effects of a fault may go on that is over as soon as it has happened:
// for so long nothing else is done to the same thing.
const settling = time.Second

// during says whether two faults are there at the same time.
func (f *Fault) during(o *Fault) bool {
	end := func(f *Fault) time.Duration {
		if f.Kind == BadRevision {
			return maxDuration
		}
		return f.At + max(f.For, settling)
	}
	return f.At < end(o) && o.At < end(f)
}

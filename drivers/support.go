package drivers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Feature is something that a stack may ask for and that not every runtime can do. It is
// called as the key of a scenario that asks for it, from the design, the target or the
// scenario itself; what follows a = is one of the values of that key.
type Feature string

// feature says of a Feature what it is to people, and which stacks ask for it.
type feature struct {
	Feature
	doc  string
	asks func(stack Stack, s Service) bool
}

// features are those that there are, in the order in which tables show them.
var features = []feature{
	{"image", "an image", func(_ Stack, s Service) bool { return s.Image != "" }},
	{"exec", "a program of this machine", func(_ Stack, s Service) bool { return s.Exec != "" }},
	{"args", "arguments", func(_ Stack, s Service) bool { return len(s.Args) > 0 }},
	{"env", "environment variables", func(_ Stack, s Service) bool { return len(s.Env) > 0 }},
	{"ports", "ports with fixed numbers", func(_ Stack, s Service) bool { return len(s.Fixed) > 0 }},
	{"deployment", "a Deployment with manifests", func(t Stack, _ Service) bool { return t.Objects != nil && len(t.Objects.Manifests) > 0 }},
	{"deployment=adopted", "a Deployment that exists already", func(t Stack, _ Service) bool { return t.Objects != nil && len(t.Objects.Manifests) == 0 }},
	{"protocol", "HTTP/2", func(_ Stack, s Service) bool { return s.Wire.Multiplexed() }},
	{"tls", "TLS", func(_ Stack, s Service) bool { return s.Wire.TLS != nil }},
	{"limits.cpus", "a limit on processor time", func(_ Stack, s Service) bool { return s.Limits.CPUs > 0 }},
	{"limits.memory", "a limit on memory", func(_ Stack, s Service) bool { return s.Limits.Memory > 0 }},
	{"rolling.max_surge", "more instances meanwhile", func(t Stack, _ Service) bool { return t.Rolling.MaxSurge > 0 }},
	{"rolling.max_unavailable", "fewer instances meanwhile", func(t Stack, _ Service) bool { return t.Rolling.MaxUnavailable > 0 }},
	{"balancer.policy", "a policy of the balancer", func(t Stack, _ Service) bool { return t.Balancer.Policy != "" && t.Balancer.Policy != RoundRobin }},
	{"balancer.tls", "TLS that ends at the balancer", func(t Stack, _ Service) bool { return t.Balancer.Terminate != nil }},
	{"signal.kind=none", "no signal", signal(ProbeNone)},
	{"signal.kind=tcp", "a signal by TCP", signal(ProbeTCP)},
	{"signal.kind=http", "a signal by HTTP", signal(ProbeHTTP)},
	{"signal.kind=command", "a signal by a command", signal(ProbeCommand)},
	{"signal.kind=image", "the health check of the image as signal", signal(ProbeImage)},
	{"signal.port", "the port of the signal", func(_ Stack, s Service) bool { return s.Signal.Port != "" }},
	{"signal.path", "the path of the signal", func(_ Stack, s Service) bool { return s.Signal.Path != "" }},
	{"signal.scheme", "a signal over TLS", func(_ Stack, s Service) bool { return s.Signal.asked() && s.Signal.Wire.TLS != nil }},
	{"signal.interval", "how often it is asked", func(_ Stack, s Service) bool { return s.Signal.asked() && s.Signal.Interval > 0 }},
	{"signal.timeout", "how long an answer may take", func(_ Stack, s Service) bool { return s.Signal.asked() && s.Signal.Timeout > 0 }},
	{"signal.rise", "several good answers in a row", func(_ Stack, s Service) bool { return s.Signal.asked() && s.Signal.Rise > 1 }},
	{"signal.fall", "several bad answers in a row", func(_ Stack, s Service) bool { return s.Signal.asked() && s.Signal.Fall > 1 }},
	{"startup", "a startup probe", func(_ Stack, s Service) bool { return s.Startup.asked() }},
	{"liveness", "a liveness probe", func(_ Stack, s Service) bool { return s.Liveness.asked() }},
	{"notify", "notifications (sd_notify)", func(_ Stack, s Service) bool { return s.Notify }},
	{"watchdog", "a watchdog", func(_ Stack, s Service) bool { return s.Watchdog > 0 }},
	{"socket", "a listener that the runtime holds", func(_ Stack, s Service) bool { return s.Socket }},
	{"deregister_first", "the balancer is told of a stop", func(t Stack, _ Service) bool { return t.Balancer.DeregisterFirst }},
	{"pre_stop", "a wait before the stop", func(_ Stack, s Service) bool { return s.PreStop > 0 }},
	{"stop_grace", "a grace", func(_ Stack, s Service) bool { return s.StopGrace > 0 }},
}

func signal(kind ProbeKind) func(Stack, Service) bool {
	return func(_ Stack, s Service) bool { return s.Signal.Kind == kind }
}

// asked says whether there is a probe at all.
func (p Probe) asked() bool { return p.Kind != "" && p.Kind != ProbeNone }

// Features are all that there are, in the order of tables.
func Features() []Feature {
	out := make([]Feature, len(features))
	for i, f := range features {
		out[i] = f.Feature
	}
	return out
}

// Doc is what the feature is, for people: a few words, lower case.
func (f Feature) Doc() string {
	if i := slices.IndexFunc(features, func(is feature) bool { return is.Feature == f }); i >= 0 {
		return features[i].doc
	}
	return ""
}

// Key is the key of a scenario that asks for the feature, without its value.
func (f Feature) Key() string {
	key, _, _ := strings.Cut(string(f), "=")
	return key
}

// How is what a driver makes of a feature.
type How string

// What a driver may make of one. All but Refused deploy.
const (
	Honoured How = "honoured" // the runtime does it
	Emulated How = "emulated" // the lab does it in the runtime's place, as well as it can
	Noted    How = "noted"    // nothing does it: the report says so
	Refused  How = "refused"  // a stack that asks for it is not deployed
)

// Answer is what a driver makes of a feature, and why.
type Answer struct {
	How How
	// Why is for people, lower case, no full stop: what is done instead, or why it cannot be.
	// Several features may have the same one, and are then named together.
	Why  string
	Hint string // of a refusal: what to write instead
	// When, unless it is nil, says for which services the answer is true. For all others the
	// feature is honoured.
	When func(Service) bool
	// Told: the Env's own Notes say it, more exactly.
	Told bool
}

// Support is what a driver makes of every feature. What is not in it is honoured.
type Support map[Feature]Answer

// Supporter is an optional ability of a Driver: it says what it makes of every feature that a
// stack may ask for. Deploy of such a driver refuses what is Refused, by Support.Refuse.
type Supporter interface {
	// Support is the same at any time and needs no runtime.
	Support() Support
}

// Remark is a feature that a stack asks for and that is not simply honoured.
type Remark struct {
	Feature Feature
	Service string // that asks for it
	Answer
}

// Remarks lists the features that the stack asks for, at any of its revisions, and that are
// not honoured, in the order of Features.
func (a Support) Remarks(stack Stack) []Remark {
	var out []Remark
	if first, err := stack.At(stack.Revision); err == nil {
		stack = first // its manifests may be those of its revisions alone
	}
	for _, f := range features {
		answer, ok := a[f.Feature]
		if !ok || answer.How == Honoured {
			continue
		}
		for _, s := range stack.Services() {
			of := stack
			if s.Name != stack.Subject.Name { // what is about the stack is about its subject
				of = Stack{}
			}
			if f.asks(of, s) && (answer.When == nil || answer.When(s)) {
				out = append(out, Remark{f.Feature, s.Name, answer})
				break
			}
		}
	}
	return out
}

// Refuse is an error that wraps ErrUnsupported and names everything of the stack that the
// driver of that name refuses, with the hints, or nil when there is nothing.
func (a Support) Refuse(driver string, stack Stack) error {
	var errs []error
	for _, r := range a.Remarks(stack) {
		if r.How == Refused {
			errs = append(errs, &HintError{
				Err:  fmt.Errorf("%s: service %s: %s: %w: %s", driver, r.Service, r.Feature.Doc(), ErrUnsupported, r.Why),
				Hint: r.Hint,
			})
		}
	}
	return errors.Join(errs...)
}

// Notes are what the report of a trial has to say: what is emulated, and what nothing does.
// Features of which the same is true are named together.
func (a Support) Notes(stack Stack) []string {
	var whys []string
	keys := map[string][]string{}
	for _, r := range a.Remarks(stack) {
		if r.Told || r.How != Emulated && r.How != Noted {
			continue
		}
		why := string(r.How) + ": " + r.Why
		if keys[why] == nil {
			whys = append(whys, why)
		}
		if key := r.Feature.Key(); !slices.Contains(keys[why], key) {
			keys[why] = append(keys[why], key)
		}
	}
	for i, why := range whys {
		whys[i] = strings.Join(keys[why], ", ") + " " + why
	}
	return whys
}

// Check reports answers that are none: of features that do not exist, or without a reason.
func (a Support) Check() error {
	var errs []error
	for f, answer := range a {
		switch {
		case f.Doc() == "":
			errs = append(errs, fmt.Errorf("there is no feature %q", f))
		case !slices.Contains([]How{Honoured, Emulated, Noted, Refused}, answer.How):
			errs = append(errs, fmt.Errorf("feature %s: answer %q is none", f, answer.How))
		case answer.How != Honoured && answer.Why == "":
			errs = append(errs, fmt.Errorf("feature %s is %s, and nothing says why", f, answer.How))
		case answer.How == Refused && answer.Hint == "":
			errs = append(errs, fmt.Errorf("feature %s is refused without a hint", f))
		}
	}
	for _, f := range features {
		if _, ok := a[f.Feature]; !ok {
			errs = append(errs, fmt.Errorf("no answer for feature %s", f.Feature))
		}
	}
	return errors.Join(errs...)
}

// SupportOf is what a driver makes of the features; nil where it does not say.
func SupportOf(d Driver) Support {
	if s, ok := d.(Supporter); ok {
		return s.Support()
	}
	return nil
}

// Honours is the Support of a driver that honours the given features; what it makes of the
// others it has to add.
func Honours(all ...Feature) Support {
	a := Support{}
	for _, f := range all {
		a[f] = Answer{How: Honoured}
	}
	return a
}

// With adds the same answer for several features.
func (a Support) With(answer Answer, all ...Feature) Support {
	for _, f := range all {
		a[f] = answer
	}
	return a
}

// Finding is something that a stack needs and that is not there, or not as it has to be.
type Finding struct {
	Feature Feature // that needs it
	Message string
	Hint    string
	// Fatal: the stack could not be deployed. Otherwise it may still, and this is worth knowing.
	Fatal bool
}

// Examiner is an optional ability of a Driver: it looks, before anything is deployed, whether
// what a stack runs is there.
type Examiner interface {
	// Examine changes nothing, starts nothing, and is quick. What it cannot look at, because
	// the runtime is not there, it does not report.
	Examine(ctx context.Context, stack Stack) []Finding
}

// Exposer is an optional ability of a Driver that runs images: it knows which ports one names.
type Exposer interface {
	// Exposes are the numbers of the TCP ports that an image says it listens on, the lowest
	// first. The runtime may have to pull the image.
	Exposes(ctx context.Context, image string) ([]int, error)
}

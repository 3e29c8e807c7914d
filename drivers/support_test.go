package drivers

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// asking is a stack that asks for one feature, of each that there is.
func asking(t *testing.T, f Feature) Stack {
	t.Helper()
	s := Stack{Subject: Service{Name: "web", Ports: []string{"data"}}}
	p := &s.Subject
	key, value, _ := strings.Cut(string(f), "=")
	switch {
	case value == "adopted":
		s.Objects = &Objects{}
		return s
	case value != "":
		p.Signal.Kind = ProbeKind(value)
		return s
	case strings.HasPrefix(key, "signal."):
		p.Signal.Kind = ProbeHTTP
	}
	switch f {
	case "image":
		p.Image = "i"
	case "exec":
		p.Exec = "/x"
	case "args":
		p.Args = []string{"x"}
	case "env":
		p.Env = map[string]string{"K": "v"}
	case "ports":
		p.Fixed = map[string]int{"data": 1}
	case "deployment":
		s.Objects = &Objects{Manifests: []Manifest{{}}}
	case "protocol":
		p.Wire.Protocol = H2C
	case "tls":
		p.Wire.TLS = &TLS{}
	case "limits.cpus":
		p.Limits.CPUs = 1
	case "limits.memory":
		p.Limits.Memory = 1
	case "rolling.max_surge":
		s.Rolling.MaxSurge = 1
	case "rolling.max_unavailable":
		s.Rolling.MaxUnavailable = 1
	case "balancer.policy":
		s.Balancer.Policy = LeastConnections
	case "balancer.tls":
		s.Balancer.Terminate = &Identity{}
	case "signal.port":
		p.Signal.Port = "data"
	case "signal.path":
		p.Signal.Path = "/"
	case "signal.scheme":
		p.Signal.Wire.TLS = &TLS{}
	case "signal.interval":
		p.Signal.Interval = 1
	case "signal.timeout":
		p.Signal.Timeout = 1
	case "signal.rise":
		p.Signal.Rise = 2
	case "signal.fall":
		p.Signal.Fall = 2
	case "startup":
		p.Startup.Kind = ProbeTCP
	case "liveness":
		p.Liveness.Kind = ProbeTCP
	case "notify":
		p.Notify = true
	case "watchdog":
		p.Watchdog = 1
	case "socket":
		p.Socket = true
	case "deregister_first":
		s.Balancer.DeregisterFirst = true
	case "pre_stop":
		p.PreStop = 1
	case "stop_grace":
		p.StopGrace = 1
	default:
		t.Fatalf("no stack asks for feature %s", f)
	}
	return s
}

// A stack that asks for a feature gets the answer to it, and one that does not gets none.
func TestEveryFeatureIsAskedForByItsStack(t *testing.T) {
	all := Support{}
	for _, f := range Features() {
		all[f] = Answer{How: Refused, Why: "no", Hint: "another"}
	}
	if err := all.Check(); err != nil {
		t.Error(err)
	}
	for _, f := range Features() {
		s := asking(t, f)
		remarks := all.Remarks(s)
		if !slices.ContainsFunc(remarks, func(r Remark) bool { return r.Feature == f && r.Service == "web" }) {
			t.Errorf("%s: remarks %v do not name it", f, remarks)
		}
		for _, r := range remarks { // what a signal of some kind asks for goes with it
			if r.Feature != f && !strings.HasPrefix(string(r.Feature), "signal.kind=") {
				t.Errorf("%s: remark on %s, which nobody asked for", f, r.Feature)
			}
		}
		if err := (Support{f: all[f]}).Refuse("mine", s); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "mine: service web: "+f.Doc()) {
			t.Errorf("%s: refused with %v", f, err)
		}
		if f.Doc() == "" || f.Key() == "" {
			t.Errorf("feature %q without words", f)
		}
	}
	if got := all.Remarks(Stack{Subject: Service{Name: "web"}}); got != nil {
		t.Errorf("of a stack that asks for nothing: %v", got)
	}
}

// Each field of what a stack asks of a runtime belongs to a feature: a new one without an answer
// of each driver fails here.
func TestEveryFieldOfAStackBelongsToAFeature(t *testing.T) {
	none := map[string]string{
		"RunID": "a name", "Name": "a name", "Revision": "a name", "Subject": "its fields are", "Dependencies": "the lab's own services",
		"Replicas": "the contract itself", "Revisions": "the contract itself: the subject at each is a service like any other",
		"Objects": "deployment", "Address": "no driver deploys it", "Rolling": "its fields are", "Balancer": "its fields are",
		"Service.Name": "a name", "Service.Ports": "names", "Service.Signal": "its fields are", "Service.Limits": "its fields are", "Service.Wire": "protocol and tls",
		"Service.Serves": "asked by the lab itself", "Service.RestartOnExit": "the contract itself, no scenario says it",
		"Service.Fixed": "ports",
		"Probe.Header":  "no scenario says it", "Probe.Status": "no scenario says it", "Probe.Body": "no scenario says it", "Probe.Wire": "that of the port",
		"Probe.Method": "asked by the lab itself", "Probe.Sent": "asked by the lab itself", "Probe.Statuses": "asked by the lab itself",
		"Probe.Answer": "asked by the lab itself", "Probe.Matches": "asked by the lab itself",
		"Probe.Command":      "signal.kind=command",
		"Balancer.Terminate": "balancer.tls",
	}
	keys := map[string]bool{}
	for _, f := range Features() {
		keys[f.Key()] = true
	}
	snake := func(name string) string {
		var b strings.Builder
		for i, r := range name {
			if i > 0 && r >= 'A' && r <= 'Z' && name[i-1] >= 'a' {
				b.WriteByte('_')
			}
			b.WriteRune(r)
		}
		return strings.ToLower(b.String())
	}
	for prefix, of := range map[string]struct {
		Type reflect.Type
		key  string
	}{
		"": {reflect.TypeFor[Stack](), ""}, "Service.": {reflect.TypeFor[Service](), ""}, "Probe.": {reflect.TypeFor[Probe](), "signal."},
		"Limits.": {reflect.TypeFor[Limits](), "limits."}, "Rolling.": {reflect.TypeFor[Rolling](), "rolling."}, "Balancer.": {reflect.TypeFor[Balancer](), "balancer."},
	} {
		for i := range of.Type.NumField() {
			name := of.Type.Field(i).Name
			key := of.key + snake(strings.ReplaceAll(name, "CPUs", "Cpus"))
			if none[prefix+name] == "" && !keys[key] && !keys[snake(name)] {
				t.Errorf("field %s%s: no feature %s, and nothing says why not", prefix, name, key)
			}
		}
	}
}

func TestSupportIsChecked(t *testing.T) {
	whole := Support{}
	for _, f := range Features() {
		whole[f] = Answer{How: Honoured}
	}
	for want, change := range map[string]func(Support){
		"no answer for feature socket":          func(a Support) { delete(a, "socket") },
		`there is no feature "sockets"`:         func(a Support) { a["sockets"] = Answer{How: Honoured} },
		`answer "perhaps" is none`:              func(a Support) { a["socket"] = Answer{How: "perhaps"} },
		"is noted, and nothing says why":        func(a Support) { a["socket"] = Answer{How: Noted} },
		"feature socket is refused without a h": func(a Support) { a["socket"] = Answer{How: Refused, Why: "no"} },
	} {
		a := Support{}
		for f, answer := range whole {
			a[f] = answer
		}
		change(a)
		if err := a.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestNotesNameTogetherWhatHasOneReason(t *testing.T) {
	a := Support{}.
		With(Answer{How: Noted, Why: "nobody asks"}, "startup", "liveness").
		With(Answer{How: Emulated, Why: "the lab waits"}, "pre_stop").
		With(Answer{How: Emulated, Why: "told elsewhere", Told: true}, "stop_grace").
		With(Answer{How: Noted, Why: "only some", When: func(s Service) bool { return s.Exec == "x" }}, "exec")
	probe := Probe{Kind: ProbeTCP}
	got := a.Notes(Stack{Subject: Service{Name: "web", Startup: probe, Liveness: probe, PreStop: 1, StopGrace: 1, Exec: "y"}})
	want := []string{"startup, liveness noted: nobody asks", "pre_stop emulated: the lab waits"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

package drivers

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func validStack() Stack {
	return Stack{
		RunID: "r1", Name: "trial-1",
		Dependencies: []Service{
			{Name: "upstream", Ports: []string{"data"}},
			{Name: "control", Ports: []string{"api"}, Args: []string{"${addr.upstream.data}"}},
		},
		Subject: Service{
			Name: "proxy", Ports: []string{"data", "health"},
			Args:   []string{"${listen.data}", "${addr.control.api}", "${revision}"},
			Signal: Probe{Kind: ProbeHTTP, Port: "health"}, Serves: Probe{Kind: ProbeTCP, Port: "data"},
		},
		Replicas: 3, Rolling: Rolling{MaxSurge: 1},
	}
}

// objects makes a stack one whose subject somebody else has described, then changes it.
func objects(mutate func(*Stack)) func(*Stack) {
	return func(s *Stack) {
		*s = Stack{
			RunID: "r1", Name: "trial-1", Replicas: 3, Revision: "v1",
			Subject: Service{Name: "web", Ports: []string{"data"}, Serves: Probe{Kind: ProbeHTTP, Port: "data"}},
			Objects: &Objects{Deployment: "web", Service: "web", Manifests: []Manifest{{File: "web.yaml", Text: "kind: Deployment"}}},
		}
		mutate(s)
	}
}

func TestValidateObjects(t *testing.T) {
	var s Stack
	objects(func(*Stack) {})(&s)
	if err := s.Validate(); err != nil {
		t.Errorf("a valid stack of objects: %v", err)
	}
	if err := s.RefuseObjects("process"); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "process") {
		t.Errorf("a driver that has no objects says %v", err)
	}
	if err := validStack().RefuseObjects("process"); err != nil {
		t.Errorf("of a stack without objects: %v", err)
	}
}

func TestValidate(t *testing.T) {
	if err := validStack().Validate(); err != nil {
		t.Fatalf("a valid stack: %v", err)
	}
	for _, tt := range []struct {
		name   string
		mutate func(*Stack)
		want   string
	}{
		{"no name", func(s *Stack) { s.Name = "" }, "empty name"},
		{"odd name", func(s *Stack) { s.Name = "a b" }, "only letters"},
		{"no run", func(s *Stack) { s.RunID = "" }, "run ID"},
		{"negative replicas", func(s *Stack) { s.Replicas = -1 }, "-1 replicas"},
		{"no way to roll", func(s *Stack) { s.Rolling = Rolling{} }, "both 0"},
		{"negative surge", func(s *Stack) { s.Rolling.MaxSurge = -1 }, "negative"},
		{"two of a name", func(s *Stack) { s.Subject.Name = "control" }, "two services"},
		{"service with an odd name", func(s *Stack) { s.Subject.Name = "a/b" }, "only letters"},
		{"no ports", func(s *Stack) { s.Dependencies[0].Ports = nil }, "no port"},
		{"a port twice", func(s *Stack) { s.Subject.Ports = []string{"data", "health", "data"} }, "same name"},
		{"negative grace", func(s *Stack) { s.Subject.StopGrace = -time.Second }, "negative"},
		{"unknown kind of probe", func(s *Stack) { s.Subject.Signal.Kind = "smoke" }, "unknown kind"},
		{"signal without its port", func(s *Stack) { s.Subject.Signal.Port = "x" }, `no port "x"`},
		{"negative interval", func(s *Stack) { s.Subject.Serves.Interval = -1 }, "negative"},
		{"unknown placeholder", func(s *Stack) { s.Subject.Args = []string{"${x}"} }, "unknown placeholder"},
		{"address of one that comes later", func(s *Stack) { s.Dependencies[0].Args = []string{"${addr.control.api}"} }, `no service "control"`},
		{"address of itself", func(s *Stack) { s.Subject.Args = []string{"${addr.proxy.data}"} }, `no service "proxy"`},
		{"both an image and a program", func(s *Stack) { s.Subject.Image, s.Subject.Exec = "i", "/bin/p" }, "both image i"},
		{"fixed number of no port", func(s *Stack) { s.Subject.Fixed = map[string]int{"x": 80} }, `no port "x"`},
		{"fixed number out of range", func(s *Stack) { s.Subject.Fixed = map[string]int{"data": 70000} }, "1 to 65535"},
		{"negative watchdog", func(s *Stack) { s.Subject.Watchdog = -1 }, "negative"},
		{"negative pre-stop", func(s *Stack) { s.Subject.PreStop = -1 }, "negative"},
		{"negative limit", func(s *Stack) { s.Subject.Limits.Memory = -1 }, "negative"},
		{"command probe without a command", func(s *Stack) { s.Subject.Signal = Probe{Kind: ProbeCommand} }, "no command"},
		{"command with an unknown placeholder", func(s *Stack) { s.Subject.Signal = Probe{Kind: ProbeCommand, Command: []string{"${y}"}} }, "unknown placeholder"},
		{"truth from inside", func(s *Stack) { s.Subject.Serves = Probe{Kind: ProbeCommand, Command: []string{"true"}} }, "from outside"},
		{"health check of no image", func(s *Stack) { s.Subject.Signal = Probe{Kind: ProbeImage} }, "no image"},
		{"liveness without its port", func(s *Stack) { s.Subject.Liveness = Probe{Kind: ProbeTCP, Port: "x"} }, "liveness"},
		{"objects without a name", objects(func(s *Stack) { s.Objects.Service = "" }), "both need a name"},
		{"objects and a dependency", objects(func(s *Stack) { s.Dependencies = validStack().Dependencies[:1] }), "dependencies and rolling"},
		{"objects and rolling", objects(func(s *Stack) { s.Rolling.MaxSurge = 1 }), "dependencies and rolling"},
		{"objects and two ports", objects(func(s *Stack) { s.Subject.Ports = []string{"data", "health"} }), "want the one"},
		{"objects and an image", objects(func(s *Stack) { s.Subject.Image = "i" }), "what is run"},
		{"objects and a signal", objects(func(s *Stack) { s.Subject.Signal = Probe{Kind: ProbeTCP, Port: "data"} }), "probes belong"},
		{"objects and a grace", objects(func(s *Stack) { s.Subject.StopGrace = time.Second }), "graces"},
		{"an empty manifest", objects(func(s *Stack) { s.Objects.Manifests = []Manifest{{File: "a.yaml"}} }), "without a name or a text"},
		{"startup without its port", func(s *Stack) { s.Subject.Startup = Probe{Kind: ProbeTCP, Port: "x"} }, "startup"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := validStack()
			tt.mutate(&s)
			if err := s.Validate(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error that says %q", err, tt.want)
			}
		})
	}
}

func TestValidateIdentity(t *testing.T) {
	s := validStack()
	_, _, cert, key := certificate(t, "a", time.Now().Add(time.Hour))
	s.Balancer.Terminate = &Identity{Certificate: cert, Key: key}
	if err := s.Validate(); err != nil {
		t.Error(err)
	}
	s.Balancer.Terminate.Key = cert
	if err := s.Validate(); err == nil || !strings.Contains(err.Error(), "certificate and key") {
		t.Errorf("got %v, want an error about the certificate", err)
	}
}

package scenarios

import (
	"reflect"
	"strings"
	"testing"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// Each key by which a scenario asks something of a runtime is a feature that every driver has an
// answer to, or it is said here why it is none: a new field without an answer fails.
func TestEveryKeyIsAFeatureOrNoBusinessOfADriver(t *testing.T) {
	const (
		names    = "it only says which"
		refproxy = "an argument of the reference proxy, which every driver passes"
		load     = "the load's business"
		inner    = "its own keys are"
	)
	no := map[string]string{
		"health": refproxy, "fail_open": refproxy, "fail_closed": refproxy, "lame_duck": refproxy, "close_wait": refproxy,
		"signal": inner, "signal.kind": inner, "signal.command": "signal.kind=command",
		"service": "with deployment", "port": "with deployment", "manifests": "with deployment",
		"refproxy": "args, env and ports of the driver's own program", "on": inner, "url": "no driver deploys it",
		"request": load, "requests": load, "revisions": "each is a target of its own",
	}
	features := map[string]bool{}
	for _, f := range drivers.Features() {
		features[f.Key()] = true
	}
	known := map[string]bool{}
	for prefix, of := range map[string]reflect.Type{
		"": reflect.TypeFor[Settings](), "signal.": reflect.TypeFor[Signal](), "target ": reflect.TypeFor[Target](),
		"limits.": reflect.TypeFor[Limits](), "rolling.": reflect.TypeFor[drivers.Rolling](), "balancer.": reflect.TypeFor[Balancer](),
	} {
		for _, f := range fieldsOf(of) {
			key := strings.TrimPrefix(prefix, "target ") + f.name
			known[key] = true
			if !features[key] && no[key] == "" {
				t.Errorf("%s: no feature of drivers is called so (drivers/support.go), and nothing says why not", key)
			}
			if features[key] && no[key] != "" && no[key] != inner {
				t.Errorf("%s is a feature, and said to be none", key)
			}
		}
	}
	for key := range features {
		if !known[key] && key != "balancer.tls" {
			t.Errorf("feature %s: no scenario has such a key", key)
		}
	}
}

// What a driver refuses is shown where the scenario says it.
func TestWhereAFeatureIsAskedFor(t *testing.T) {
	text := strings.Replace(perDriver, "    signal: {kind: http, port: data, path: /ready}", `    pre_stop: 1s
    signal: {kind: http, port: data, path: /ready}
    on: {docker: {signal: {rise: 2}}}`, 1)
	text = strings.Replace(text, "replicas: 2", "limits: {cpus: 1}\nreplicas: 2", 1)
	s, err := Parse("a.yaml", []byte(text), offered)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		driver, key, path string
		line              int
	}{
		{"process", "exec", "target.on.process.exec", 7},
		{"docker", "image", "target.on.docker.image", 8},
		{"docker", "args", "target.args", 3},
		{"kind", "args", "target.on.kind.args", 11},
		{"kind", "ports", "target.ports", 4},
		{"process", "limits.cpus", "limits.cpus", 12},
		{"docker", "signal.rise", "designs[0].on.docker.signal.rise", 21},
		{"docker", "signal.kind", "designs[0].signal.kind", 20},
		{"kind", "signal.rise", "designs[0].signal.rise", 20},
		{"kind", "pre_stop", "designs[0].pre_stop", 19},
		{"kind", "rolling.max_surge", "rolling.max_surge", 1},
		{"process", "deployment", "target.deployment", 3},
	} {
		path := s.PathOf(0, tt.driver, tt.key)
		if line := s.ProblemAt(path, "", "").Line; path != tt.path || line != tt.line {
			t.Errorf("%s on %s: %s in line %d, want %s in line %d", tt.key, tt.driver, path, line, tt.path, tt.line)
		}
	}
}

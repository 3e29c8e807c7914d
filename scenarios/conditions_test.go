package scenarios

import (
	"strings"
	"testing"
)

// What trials are measured under are their conditions, and what is under test is none of them.
func TestConditions(t *testing.T) {
	base, err := Parse("base.yaml", []byte(good), offered)
	if err != nil {
		t.Fatal(err)
	}
	was := base.Conditions()
	for key, want := range map[string]string{"load.rate": "1000", "phases.window.to": "24s", "replicas": "3", "action.kind": "rollout", "target.refproxy.sessions": "30000", "load.streams.newconn-get": "20"} {
		if was[key] != want {
			t.Errorf("%s is %q, want %q", key, was[key], want)
		}
	}
	for _, tt := range []struct {
		name, old, new string
		differs        string // "": nothing
	}{
		{"another rate", "  rate: 1000\n", "  rate: 500\n", "load.rate"},
		{"another window", "window: {from: 4s, to: 24s}", "window: {from: 4s, to: 20s}", "phases.window.to"},
		{"another stream", "    newconn-get: 20", "    newconn-get: 30", "load.streams.newconn-get"},
		{"more instances", "replicas: 3", "replicas: 4", "replicas"},
		{"another action", "kind: rollout", "kind: restart", "action.kind"},
		{"another way to roll", "max_surge: 1", "max_surge: 2", "rolling.max_surge"},
		{"a slower control plane", "sync_rate: 10000", "sync_rate: 20000", "target.refproxy.sync_rate"},
		{"a limit", "replicas: 3", "limits: {memory: 64}\nreplicas: 3", "limits.memory"},
		{"another name", "name: base", "name: other", ""},
		{"another text", "about: A scenario", "about: Another scenario", ""},
		{"another design", "lame_duck: 2s", "lame_duck: 1s", ""},
		{"another gate", "limit: 99.9%", "limit: 99%", ""},
		{"more trials", "trials: 1", "trials: 5", ""},
		{"no control", "positive_controls: [naive]", "positive_controls: []", ""},
		{"another patience", "replicas: 3", "deploy_timeout: 5m\nreplicas: 3", ""},
	} {
		s, err := Parse("other.yaml", []byte(strings.Replace(good, tt.old, tt.new, 1)), offered)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		is := s.Conditions()
		var differs []string
		for key := range was {
			if is[key] != was[key] {
				differs = append(differs, key)
			}
		}
		for key := range is {
			if _, known := was[key]; !known {
				differs = append(differs, key)
			}
		}
		if got := strings.Join(differs, " "); got != tt.differs && !(tt.differs == "limits.memory" && strings.Contains(got, tt.differs)) {
			t.Errorf("%s: what differs is %q, want %q", tt.name, got, tt.differs)
		}
	}
}

// Of a custom target its program is under test, and what it is asked is not.
func TestConditionsOfACustomTarget(t *testing.T) {
	const of = "name: own\ntarget:\n  %s\n  request: {path: %s}\nreplicas: 2\nload: {rate: 50}\nphases:\n  baseline: {from: 1s, to: 2s}\n  window: {from: 2s, to: 6s}\naction: {kind: rollout}\ndesigns:\n  - name: svc\n    signal: {kind: http, port: data, path: /}\n"
	parse := func(program, path string) map[string]string {
		t.Helper()
		s, err := Parse("own.yaml", []byte(strings.NewReplacer("%s\n  request", program+"\n  request", "path: %s", "path: "+path).Replace(of)), offered)
		if err != nil {
			t.Fatal(err)
		}
		return s.Conditions()
	}
	was := parse("image: shop:v1", "/orders")
	for key := range was {
		if strings.Contains(key, "image") || strings.Contains(key, "designs") || strings.Contains(key, "ports") {
			t.Errorf("%s is a condition", key)
		}
	}
	same, asked := parse("image: shop:v2\n  env: {A: b}", "/orders"), parse("image: shop:v1", "/carts")
	for key, v := range was {
		if same[key] != v {
			t.Errorf("another image: %s is %q, was %q", key, same[key], v)
		}
	}
	if asked["target.request.path"] != "/carts" || len(same) != len(was) {
		t.Errorf("conditions %v, %v", asked, same)
	}
}

package kubernetes

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/rollout-lab/rollout-lab/drivers"
)

var update = flag.Bool("update", false, "write the goldens")

// proxy is a service that uses everything.
func proxy() drivers.Service {
	return drivers.Service{
		Name: "Proxy", Ports: []string{"data", "health"}, Fixed: map[string]int{"health": 8080},
		Args: []string{"proxy", "--listen", "${listen.data}", "--control", "http://${addr.control.api}", "--id", "${instance}", "--price", "5$ $(HOME)"},
		Env:  map[string]string{"REVISION": "${revision}", "B": "2"},
		Signal: drivers.Probe{Kind: drivers.ProbeHTTP, Port: "health", Path: "/readyz", Header: map[string]string{"X-Probe": "lab"},
			Interval: 250 * time.Millisecond, Timeout: 1500 * time.Millisecond, Rise: 2, Fall: 3},
		Startup:  drivers.Probe{Kind: drivers.ProbeCommand, Command: []string{"/program", "healthcheck", "${listen.health}"}, Rise: 2},
		Liveness: drivers.Probe{Kind: drivers.ProbeTCP, Port: "data", Interval: 10 * time.Second, Fall: 3},
		PreStop:  2500 * time.Millisecond, StopGrace: 10 * time.Second,
		Limits: drivers.Limits{CPUs: 0.5, Memory: 64 << 20},
	}
}

func testLayout() layout {
	return layout{
		namespace: "lab-suite-id", rolling: drivers.Rolling{MaxSurge: 1},
		labels: map[string]string{labelRun: "run-1", labelOwner: "1-2-ab-cd", labelDeployment: "id"},
		names:  map[string]string{"Proxy": "proxy", "control": "control"},
	}
}

var controlAt = map[string]map[string]string{"control": {"api": "10.96.0.7:8080"}}

func TestObjects(t *testing.T) {
	l := testLayout()
	full, notes, err := l.deployment(proxy(), "localhost/program:1", []string{"refproxy"}, controlAt, wanted{revision: "v2", restarted: "2026-01-02T03:04:05Z", replicas: 3})
	if err != nil {
		t.Fatal(err)
	}
	plain, none, err := l.deployment(drivers.Service{Name: "control", Ports: []string{"api"}, StopGrace: time.Second}, "image", nil, nil, wanted{replicas: 1, paused: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(none) > 0 {
		t.Errorf("notes about a service of which nothing was rounded: %q", none)
	}
	for name, object := range map[string]any{
		"deployment": full, "plain": plain, "notes": notes,
		"nodeport": l.service(proxy(), 30080), "anyport": l.service(proxy(), 0), "clusterip": l.service(proxy(), noNodePort),
		"namespace": l.namespaceObject("run 1"), "budget": l.budget("Proxy"),
	} {
		got, err := yaml.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("testdata", name+".yaml")
		if *update {
			if err := os.WriteFile(file, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", file, diff)
		}
	}
}

func TestEvictable(t *testing.T) {
	for r, want := range map[drivers.Rolling]int32{{MaxSurge: 1}: 1, {MaxUnavailable: 1}: 1, {MaxSurge: 1, MaxUnavailable: 2}: 2} {
		if got := evictable(r); got != want {
			t.Errorf("%+v: %d may be evicted, want %d", r, got, want)
		}
	}
}

// Nothing but the revision and the time of a restart may change the template: the way
// back has to lead to the template that was there before.
func TestTemplateIsStable(t *testing.T) {
	template := func(w wanted) string {
		t.Helper()
		d, _, err := testLayout().deployment(proxy(), "image", nil, controlAt, w)
		if err != nil {
			t.Fatal(err)
		}
		b, err := yaml.Marshal(d.Spec.Template)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	first := template(wanted{revision: "v1", replicas: 1})
	if got := template(wanted{revision: "v1", replicas: 7, paused: true}); got != first {
		t.Errorf("another number or a pause changes the template:\n%s", cmp.Diff(first, got))
	}
	if template(wanted{revision: "v2", replicas: 1}) == first {
		t.Error("another revision does not change the template")
	}
	if template(wanted{revision: "v1", restarted: "now", replicas: 1}) == first {
		t.Error("a restart does not change the template")
	}
}

func TestUnsupported(t *testing.T) {
	for name, change := range map[string]func(*drivers.Service){
		"the body of an answer":        func(s *drivers.Service) { s.Signal.Body = "ok" },
		"a status that is an error":    func(s *drivers.Service) { s.Signal.Status = 503 },
		"the health check of an image": func(s *drivers.Service) { s.Signal = drivers.Probe{Kind: drivers.ProbeImage} },
		"the instance in a command":    func(s *drivers.Service) { s.Startup.Command = []string{"x", "${instance}"} },
		"an unknown kind of probe":     func(s *drivers.Service) { s.Liveness.Kind = "smoke" },
	} {
		s := proxy()
		change(&s)
		if _, _, err := testLayout().deployment(s, "image", nil, controlAt, wanted{}); !errors.Is(err, drivers.ErrUnsupported) {
			t.Errorf("%s: got %v, want ErrUnsupported", name, err)
		}
	}
	s := proxy()
	s.Env = map[string]string{instanceVariable: "mine"}
	if _, _, err := testLayout().deployment(s, "image", nil, controlAt, wanted{}); err == nil {
		t.Error("a service took the driver's own variable")
	}
}

func TestPortNumbers(t *testing.T) {
	got := portNumbers(drivers.Service{Ports: []string{"a", "b", "c"}, Fixed: map[string]int{"c": 8080}})
	if diff := cmp.Diff(map[string]int32{"a": 8081, "b": 8082, "c": 8080}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestObjectNames(t *testing.T) {
	for in, want := range map[string]string{
		"Proxy": "proxy-x", "9lives": "s9lives-x", "-a-": "s-a-x", strings.Repeat("long", 20): strings.Repeat("long", 20)[:38] + "-x",
	} {
		if got := objectName(in, "-x"); got != want {
			t.Errorf("%q is called %q, want %q", in, got, want)
		}
	}
	stack := drivers.Stack{Subject: drivers.Service{Name: "a"}, Dependencies: []drivers.Service{{Name: "A"}}}
	if got, err := objectNames(stack, ""); err == nil {
		t.Errorf("two services with one name: %v", got)
	}
}

func TestRunLabel(t *testing.T) {
	if got := runLabel("20260102-abc"); got != "20260102-abc" {
		t.Errorf("a run's ID that fits is %q", got)
	}
	if a, b := runLabel("a b"), runLabel("a c"); a == b || len(a) > 63 {
		t.Errorf("two IDs that do not fit are %q and %q", a, b)
	}
}

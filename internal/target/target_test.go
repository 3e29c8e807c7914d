package target

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/load"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/scenarios"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/credential"
)

func TestEveryScenarioAndDesignMakesAStackThatDriversAccept(t *testing.T) {
	all, err := scenarios.Catalogue()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		for _, name := range []string{"none", "naive", "pull", "stack-aware", "fail-open", "shallow", "deep-readiness", "deep-liveness"} {
			d, ok := scenarios.BuiltinDesign(name)
			if !ok {
				t.Fatalf("no builtin design %s", name)
			}
			got, err := Build(s, d, "process")
			if err != nil {
				t.Errorf("%s %s: %v", s.Name, name, err)
				continue
			}
			got.Stack.RunID, got.Stack.Name = "run", "stack"
			if err := got.Stack.Validate(); err != nil {
				t.Errorf("%s %s: %v", s.Name, name, err)
			}
			plan := load.Plan{URL: "http://127.0.0.1:1", Base: time.Now(), Rate: s.Load.Rate, Hits: s.Planned(), Timeout: s.Load.Timeout, Deny: s.Load.Deny, Streams: got.Streams}
			if err := plan.Validate(); err != nil {
				t.Errorf("%s %s: %v", s.Name, name, err)
			}
		}
	}
}

func quickstart(t *testing.T) *scenarios.Scenario {
	t.Helper()
	s, err := scenarios.Load("quickstart", scenarios.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func build(t *testing.T, s *scenarios.Scenario, design string) Target {
	t.Helper()
	d, ok := scenarios.BuiltinDesign(design)
	if !ok {
		t.Fatalf("no builtin design %s", design)
	}
	got, err := Build(s, d, "process")
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// The streams that keep connections keep as many as the scenario says, and the record has
// the number.
// TestThreadsOfTheReferenceProxy: its processes have as many threads of Go code as the
// scenario says, one unless it says otherwise. A driver sets nothing of the kind.
func TestThreadsOfTheReferenceProxy(t *testing.T) {
	for procs, want := range map[int]string{1: "1", 4: "4", 0: ""} {
		s := quickstart(t)
		if s.Target.Refproxy.GoMaxProcs != 1 {
			t.Errorf("%d by default, want 1", s.Target.Refproxy.GoMaxProcs)
		}
		s.Target.Refproxy.GoMaxProcs = procs
		stack := build(t, s, "naive").Stack
		for _, service := range append(slices.Clone(stack.Dependencies), stack.Subject) {
			if got, set := service.Env["GOMAXPROCS"]; got != want || set != (want != "") {
				t.Errorf("%d: %s gets %q (%v), want %q", procs, service.Name, got, set, want)
			}
		}
	}
}

func TestStreamsKeepConnections(t *testing.T) {
	s := quickstart(t)
	streams := build(t, s, "naive").Streams
	if len(streams) != 3 {
		t.Fatalf("%d streams, want 3", len(streams))
	}
	for i, r := range (&Target{Streams: streams}).RecordStreams() {
		want := s.Connections(r.Name)
		if r.Reuse != (want > 0) || r.Connections != want || streams[i].Connections != want {
			t.Errorf("%s: %d connections, in the record %d, want %d", r.Name, streams[i].Connections, r.Connections, want)
		}
	}
}

func TestADesignReachesTheCommandLine(t *testing.T) {
	s := quickstart(t)
	for _, tc := range []struct {
		design   string
		want     []string
		failOpen bool
	}{
		{"naive", []string{"--health", "naive"}, false},
		{"stack-aware", []string{"--lame-duck", "1s"}, false},
		{"stack-aware", []string{"--close-wait", "400ms"}, false},
		{"fail-open", []string{"--health", "naive"}, true},
	} {
		args := build(t, s, tc.design).Stack.Subject.Args
		i := slices.Index(args, tc.want[0])
		if i < 0 || i+1 >= len(args) || args[i+1] != tc.want[1] {
			t.Errorf("%s: arguments %v lack %v", tc.design, args, tc.want)
		}
		if got := slices.Contains(args, "--fail-open"); got != tc.failOpen {
			t.Errorf("%s: --fail-open is %v, want %v", tc.design, got, tc.failOpen)
		}
	}
}

func TestADesignThatFailsOpenIsAskedForItsRefusal(t *testing.T) {
	s := quickstart(t)
	if got := build(t, s, "naive"); got.Truth.Expect != record.Serve || got.Stack.Subject.Serves.Status != 200 {
		t.Errorf("naive: truth %+v, serves %+v", got.Truth, got.Stack.Subject.Serves)
	}
	got := build(t, s, "fail-open")
	if got.Truth.Expect != record.Deny || got.Stack.Subject.Serves.Status != 403 {
		t.Errorf("fail-open: truth %+v, serves %+v: it would serve before it has synced", got.Truth, got.Stack.Subject.Serves)
	}
	if got.Stack.Subject.Serves.Header["Authorization"] != got.Truth.Header["Authorization"] {
		t.Error("deployment and direct probes ask for different things")
	}
}

func TestEveryTrialHasTokensOfItsOwn(t *testing.T) {
	s := quickstart(t)
	a, b := build(t, s, "naive"), build(t, s, "naive")
	if a.Truth.Header["Authorization"] == b.Truth.Header["Authorization"] {
		t.Error("two trials share a token")
	}
}

func TestRequestsThatMustBeDeniedAreOfBothKinds(t *testing.T) {
	s := quickstart(t)
	got := build(t, s, "naive")
	for _, stream := range got.Streams {
		for _, r := range stream.Requests {
			if r.Expect != record.Serve || r.WantBody == "" || r.AnyBody {
				t.Fatalf("%s: a request that must be served is not checked for its body: %+v", stream.Name, r)
			}
		}
		forbidden, revoked := 0, 0
		for _, r := range stream.Denials {
			switch {
			case r.Expect != record.Deny:
				t.Fatalf("%s: a denial expects %s", stream.Name, r.Expect)
			case strings.HasPrefix(r.Path, "/forbidden/"):
				forbidden++
			default:
				revoked++
			}
		}
		if forbidden == 0 || revoked == 0 {
			t.Errorf("%s: %d denials by policy and %d by revoked session, want some of each", stream.Name, forbidden, revoked)
		}
	}
}

func TestTheLoadUsesSessionsFromTheWholeRange(t *testing.T) {
	seed := make([]byte, 32)
	c, err := mintCredentials(seed, 30_000)
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := credential.NewIssuer(seed)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := credential.NewVerifier(issuer.Keys(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	last, err := verifier.Session(c.active[len(c.active)-1])
	if err != nil {
		t.Fatal(err)
	}
	// The last session in use lies in the last step of the range.
	var tail []string
	for n := 30_000 - 3*30_000/tokensAtMost; n < 30_000; n++ {
		tail = append(tail, credential.SessionID(n))
	}
	if !slices.Contains(tail, last) {
		t.Errorf("the last session in use is %s: sessions that are synced last are never asked for", last)
	}
}

func TestSharesAddUpToOne(t *testing.T) {
	sum := 0.0
	made := build(t, quickstart(t), "naive")
	for _, s := range made.RecordStreams() {
		sum += s.Share
	}
	if sum < 0.999999 || sum > 1.000001 {
		t.Errorf("shares add up to %v", sum)
	}
}

const ownText = `name: own
target:
  image: web:1
  args: [--id, "$${instance}"]
  env: {A: 1, B: 2}
  ports: {data: 80, health: 81}
  request: {path: /hello, expect: {status: 204}, header: {X: y}}
limits: {cpus: 0.5, memory: 64}
replicas: 2
load: {rate: 100, streams: {keepalive: 1, newconn: 1}}
phases: {baseline: {from: 1s, to: 2s}, window: {from: 2s, to: 4s}}
action: {kind: rollout}
designs:
  - name: fast
    args: [--fast]
    env: {B: 3}
    signal: {kind: command, command: [/check]}
    liveness: {kind: tcp, port: data}
    pre_stop: 1s
    on: {docker: {signal: {kind: image}}}
`

func ownScenario(t *testing.T) *scenarios.Scenario {
	t.Helper()
	s, err := scenarios.Parse("own.yaml", []byte(ownText), scenarios.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAServiceOfYourOwn(t *testing.T) {
	s := ownScenario(t)
	got, err := Build(s, s.Designs[0], "kind")
	if err != nil {
		t.Fatal(err)
	}
	subject := got.Stack.Subject
	if subject.Image != "web:1" || !slices.Equal(subject.Args, []string{"--id", "${instance}", "--fast"}) {
		t.Errorf("image %q with arguments %q", subject.Image, subject.Args)
	}
	if subject.Env["A"] != "1" || subject.Env["B"] != "3" {
		t.Errorf("environment %v: the design's comes on top", subject.Env)
	}
	if subject.Fixed["data"] != 80 || subject.Fixed["health"] != 81 || !slices.Equal(subject.Ports, []string{"data", "health"}) {
		t.Errorf("ports %v with numbers %v", subject.Ports, subject.Fixed)
	}
	if subject.Signal.Kind != drivers.ProbeCommand || subject.Liveness.Kind != drivers.ProbeTCP || subject.PreStop != time.Second {
		t.Errorf("signal %+v, liveness %+v, pre-stop %v", subject.Signal, subject.Liveness, subject.PreStop)
	}
	if subject.Limits != (drivers.Limits{CPUs: 0.5, Memory: 64 << 20}) {
		t.Errorf("limits %+v", subject.Limits)
	}
	if subject.Serves.Status != 204 || subject.Serves.Path != "/hello" || subject.Serves.Header["X"] != "y" {
		t.Errorf("serves %+v", subject.Serves)
	}
	if len(got.Streams) != 2 || got.Streams[0].Name != "keepalive" || !got.Streams[0].Reuse || got.Streams[1].Reuse {
		t.Errorf("streams %+v", got.Streams)
	}
	for _, stream := range got.Streams {
		if r := stream.Requests[0]; r.Path != "/hello" || r.Statuses[0] != 204 || !r.AnyBody || r.Header["X"] != "y" {
			t.Errorf("%s asks %+v", stream.Name, r)
		}
	}
	docker, err := Build(s, s.Designs[0], "docker")
	if err != nil {
		t.Fatal(err)
	}
	if docker.Stack.Subject.Signal.Kind != drivers.ProbeImage {
		t.Errorf("on docker the signal is %+v, want the image's", docker.Stack.Subject.Signal)
	}
	got.Stack.RunID, got.Stack.Name = "run", "stack"
	if err := got.Stack.Validate(); err != nil {
		t.Error(err)
	}
}

const deployedText = `name: web
target:
  deployment: web
  service: front
  port: 80
  manifests:
    - file: web.yaml
      text: |
        apiVersion: v1
        kind: Service
        metadata: {name: front}
        spec: {selector: {app: web}, ports: [{port: 80}]}
        ---
        apiVersion: apps/v1
        kind: Deployment
        metadata: {name: web}
        spec:
          selector: {matchLabels: {app: web}}
          template:
            metadata: {labels: {app: web}}
            spec: {containers: [{name: web, image: "web:1"}]}
  request: {path: /hello, expect: {status: 204}}
replicas: 2
load: {rate: 10}
phases: {baseline: {from: 1s, to: 2s}, window: {from: 2s, to: 4s}}
action: {kind: rollout}
designs:
  - name: bare
`

func TestADeployment(t *testing.T) {
	s, err := scenarios.Parse("web.yaml", []byte(deployedText), scenarios.Options{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := Build(s, s.Designs[0], "kind")
	if err != nil {
		t.Fatal(err)
	}
	objects := got.Stack.Objects
	if objects == nil || objects.Deployment != "web" || objects.Service != "front" || objects.Port != "80" || got.Stack.Replicas != 2 {
		t.Fatalf("objects %+v with %d replicas", objects, got.Stack.Replicas)
	}
	if len(objects.Manifests) != 1 || objects.Manifests[0].File != "web.yaml" || !strings.HasPrefix(objects.Manifests[0].Text, "apiVersion: v1\n") {
		t.Errorf("manifests %+v", objects.Manifests)
	}
	if serves := got.Stack.Subject.Serves; serves.Status != 204 || serves.Path != "/hello" || len(got.Streams) != 2 {
		t.Errorf("serves %+v, streams %+v", serves, got.Streams)
	}
	got.Stack.RunID, got.Stack.Name = "run", "stack"
	if err := got.Stack.Validate(); err != nil {
		t.Error(err)
	}
}

// What a stack runs is what the scenario says for the driver, and a program is found from the
// folder of the scenario's file.
func TestTheTargetIsThatOfTheDriver(t *testing.T) {
	const text = `name: everywhere
target:
  args: ["$${listen.data}"]
  on:
    process: {exec: bin/shop}
    docker: {image: "shop:1", ports: {data: 8080}, args: []}
replicas: 1
load: {rate: 10}
phases: {baseline: {from: 1s, to: 2s}, window: {from: 2s, to: 4s}}
action: {kind: restart}
designs:
  - {name: as-it-is, signal: {kind: tcp, port: data}}
`
	dir := t.TempDir()
	s, err := scenarios.Parse(dir+"/everywhere.yaml", []byte(text), scenarios.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for driver, want := range map[string]drivers.Service{
		"process": {Exec: dir + "/bin/shop", Args: []string{"${listen.data}"}, Fixed: map[string]int{}},
		"docker":  {Image: "shop:1", Fixed: map[string]int{"data": 8080}},
	} {
		got, err := Build(s, s.Designs[0], driver)
		if err != nil {
			t.Fatal(err)
		}
		p := got.Stack.Subject
		is := drivers.Service{Exec: p.Exec, Image: p.Image, Args: p.Args, Fixed: p.Fixed}
		if diff := cmp.Diff(want, is); diff != "" {
			t.Errorf("%s (-want +got):\n%s", driver, diff)
		}
	}
	if _, err := Build(s, s.Designs[0], "kind"); err == nil || !strings.Contains(err.Error(), "no entry for driver kind") {
		t.Errorf("a driver without an entry: %v", err)
	}
}

// TestRevisionsOfAService: what a revision runs is the target, what the revision adds and what
// the design adds, and a program is found beside the scenario's file.
func TestRevisionsOfAService(t *testing.T) {
	text := strings.Replace(strings.Replace(ownText, "    on: {docker: {signal: {kind: image}}}\n", "", 1), "  ports:", "  revisions: {before: {}, after: {name: \"2.0\", exec: ./web-2, args: [--new], env: {A: 9}}}\n  ports:", 1)
	s, err := scenarios.Parse("/etc/lab/own.yaml", []byte(text), scenarios.Options{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := Build(s, s.Designs[0], "process")
	if err != nil {
		t.Fatal(err)
	}
	stack := got.Stack
	stack.RunID, stack.Name = "run", "stack"
	if err := stack.Validate(); err != nil {
		t.Fatal(err)
	}
	before, err := stack.At("v1")
	if err != nil || stack.Revision != "v1" || before.Subject.Image != "web:1" || !slices.Equal(before.Subject.Args, []string{"--id", "${instance}", "--fast"}) {
		t.Errorf("before %+v, %v", before.Subject, err)
	}
	after, err := stack.At("2.0")
	if err != nil || after.Subject.Image != "" || after.Subject.Exec != "/etc/lab/web-2" ||
		!slices.Equal(after.Subject.Args, []string{"--id", "${instance}", "--new", "--fast"}) || after.Subject.Env["A"] != "9" || after.Subject.Env["B"] != "3" {
		t.Errorf("after %+v, %v", after.Subject, err)
	}
}

// TestRevisionsThatAreTheSame is told, as it is hardly meant.
func TestRevisionsThatAreTheSame(t *testing.T) {
	for revisions, want := range map[string]int{"": 0, "  revisions: {before: {}, after: {}}\n": 1, "  revisions: {before: {}, after: {args: [--new]}}\n": 0} {
		s, err := scenarios.Parse("own.yaml", []byte(strings.Replace(ownText, "  ports:", revisions+"  ports:", 1)), scenarios.Options{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := Build(s, s.Designs[0], "kind")
		if err != nil {
			t.Fatal(err)
		}
		told := 0
		for _, n := range got.Notes {
			if strings.Contains(n, "are the same program") {
				told++
			}
		}
		if told != want {
			t.Errorf("with %q told %d times, want %d: %q", revisions, told, want, got.Notes)
		}
	}
}

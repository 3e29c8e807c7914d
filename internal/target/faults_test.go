package target

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/load"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/scenarios"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/admin"
)

// withFaults is a target that is rolled out, with faults.
func withFaults(t *testing.T, faults ...string) Target {
	t.Helper()
	text := `
name: a
target: {refproxy: {sessions: 1000, sync_rate: 1000, max_age: 2s}}
replicas: 2
load: {rate: 10}
phases: {baseline: {from: 1s, to: 2s}, window: {from: 2s, to: 60s}}
action: {kind: rollout}
designs: [stack-aware]
`
	if len(faults) > 0 {
		text += "faults:\n  - " + strings.Join(faults, "\n  - ")
	}
	s, err := scenarios.Parse("a.yaml", []byte(text), scenarios.Options{})
	if err != nil {
		t.Fatal(err)
	}
	got := build(t, s, "stack-aware")
	got.Stack.RunID, got.Stack.Name = "run", "stack"
	if err := got.Stack.Validate(); err != nil {
		t.Error(err)
	}
	return got
}

func line(s drivers.Service) string { return strings.Join(s.Args, " ") }

// TestNothingWrongWithoutFaults: what a proxy does wrong on purpose is not even possible in a
// scenario that does not ask for it.
func TestNothingWrongWithoutFaults(t *testing.T) {
	for name, got := range map[string]Target{
		"no faults": withFaults(t), "others": withFaults(t, "{kind: kill, at: 1s}", "{kind: outage, mode: kill, service: upstream, at: 1s, for: 1s}", "{kind: stall, at: 5s, for: 1s}"),
	} {
		if n := len(got.Stack.Dependencies); n != 2 || got.Stack.Revisions != nil || got.Revocation != nil {
			t.Errorf("%s: %d dependencies, revisions %v, revocation %v", name, n, got.Stack.Revisions, got.Revocation)
		}
		for _, s := range append(slices.Clone(got.Stack.Dependencies), got.Stack.Subject) {
			if l := line(s); strings.Contains(l, "allow-faults") || strings.Contains(l, "misbehave") || strings.Contains(l, "relay") {
				t.Errorf("%s: %s is started with %s", name, s.Name, l)
			}
		}
		for _, s := range got.Streams {
			for _, r := range s.Requests {
				if r.Revocation != nil {
					t.Fatalf("%s: a session of %s can be revoked", name, s.Name)
				}
			}
		}
	}
}

// TestRelayStandsWhereItIsNeeded, and nowhere else.
func TestRelayStandsWhereItIsNeeded(t *testing.T) {
	got := withFaults(t, "{kind: outage, mode: blackhole, service: upstream, at: 1s, for: 1s}",
		"{kind: network, toxic: reset, service: upstream, at: 5s, for: 1s}", "{kind: outage, mode: kill, service: control, at: 5s, for: 1s}")
	relay := got.Stack.Dependencies[len(got.Stack.Dependencies)-1]
	if diff := cmp.Diff([]string{"admin", "upstream"}, relay.Ports); relay.Name != RelayName || diff != "" {
		t.Errorf("the last dependency is %s, ports (-want +got):\n%s", relay.Name, diff)
	}
	if want := "--link upstream=${listen.upstream}>${addr.upstream.data}"; !strings.Contains(line(relay), want) {
		t.Errorf("the relay is started with %s, want %s", line(relay), want)
	}
	if want := "--control http://${addr.control.api} --upstream http://${addr.relay.upstream}"; !strings.Contains(line(got.Stack.Subject), want) {
		t.Errorf("the proxy is started with %s, want %s", line(got.Stack.Subject), want)
	}
}

// TestOperatorsHaveATokenOfTheTrial, that no proxy and no probe is given.
func TestOperatorsHaveATokenOfTheTrial(t *testing.T) {
	const outage = "{kind: outage, mode: refuse, service: upstream, at: 1s, for: 1s}"
	stack, other := withFaults(t, outage).Stack, withFaults(t, outage).Stack
	token := AdminToken(stack, ControlName)
	if len(token) < admin.TokenSize || AdminToken(stack, RelayName) != token || AdminToken(other, ControlName) == token {
		t.Errorf("tokens %q of the control plane, %q of the relay, %q of another trial", token, AdminToken(stack, RelayName), AdminToken(other, ControlName))
	}
	if got := AdminToken(stack, UpstreamName) + AdminToken(stack, "nobody"); got != "" {
		t.Errorf("who has no operator has the token %q", got)
	}
	for _, s := range append(slices.Clone(stack.Dependencies), stack.Subject) {
		has := s.Name == ControlName || s.Name == RelayName
		probes, err := json.Marshal([]drivers.Probe{s.Serves, s.Signal, s.Liveness})
		if err != nil {
			t.Fatal(err)
		}
		if (s.Env[admin.TokenVariable] != "") != has || strings.Contains(line(s)+string(probes), token) {
			t.Errorf("%s has the environment %v and is started with %s", s.Name, s.Env, line(s))
		}
	}
}

func TestToldFaultsArePermitted(t *testing.T) {
	for _, kind := range told {
		got := withFaults(t, "{kind: "+string(kind)+", at: 1s, for: 1s}")
		for _, s := range []drivers.Service{got.Stack.Dependencies[1], got.Stack.Subject} {
			if !slices.Contains(s.Args, "--allow-faults") {
				t.Errorf("%s: %s is started with %s", kind, s.Name, line(s))
			}
		}
	}
}

// TestRevisionThatMisbehaves: the one after does, and the one before, which is what runs first,
// does not.
func TestRevisionThatMisbehaves(t *testing.T) {
	got := withFaults(t, "{kind: revision, mode: crash-at-start}").Stack
	for revision, want := range map[string]bool{"v1": false, "v2": true} {
		at, err := got.At(revision)
		if err != nil {
			t.Fatal(err)
		}
		if is := strings.HasSuffix(line(at.Subject), " --misbehave crash-at-start"); is != want {
			t.Errorf("%s is started with %s", revision, line(at.Subject))
		}
		if at.Subject.Env["GOMAXPROCS"] != "1" {
			t.Errorf("%s has the environment %v", revision, at.Subject.Env)
		}
	}
}

// TestMaximumAge: a proxy gives up what it knows before the requirement is missed, and hears
// often enough not to by chance.
func TestMaximumAge(t *testing.T) {
	got := withFaults(t)
	for service, want := range map[string]string{
		line(got.Stack.Subject):         "--heartbeat 400ms --stale-after 1.8s",
		line(got.Stack.Dependencies[1]): "--heartbeat 400ms",
	} {
		if !strings.Contains(service, want) {
			t.Errorf("started with %s, want %s", service, want)
		}
	}
	if !slices.Contains(got.Stack.Subject.Args, "--fail-closed") {
		t.Errorf("stack-aware is started with %s", line(got.Stack.Subject))
	}
	s := quickstart(t)
	if l := line(build(t, s, "naive").Stack.Subject); strings.Contains(l, "fail-closed") || !strings.Contains(l, "--heartbeat 1s --stale-after 4.5s") {
		t.Errorf("naive is started with %s", l)
	}
}

// TestRevocation: one session is there to be revoked. A share of every stream uses it, and
// nothing else does: not what must be denied, and not the question that tells the truth.
func TestRevocation(t *testing.T) {
	got := withFaults(t, "{kind: revoke, at: 1s}")
	r := got.Revocation
	if r == nil || r.MaxAge != 2*time.Second {
		t.Fatalf("revocation %+v, want one at the target's maximum age", r)
	}
	doomed := ""
	for _, s := range got.Streams {
		n := 0
		for _, q := range s.Requests {
			if q.Revocation == nil {
				continue
			}
			n++
			if q.Revocation != r || doomed != "" && q.Header["Authorization"] != doomed || q.Expect != record.Serve {
				t.Errorf("%s: %+v", s.Name, q)
			}
			doomed = q.Header["Authorization"]
		}
		if want := len(s.Requests) / everyDoomed; n != want {
			t.Errorf("%s: %d of %d requests, want %d", s.Name, n, len(s.Requests), want)
		}
	}
	for _, s := range got.Streams {
		for _, q := range append(slices.Clone(s.Denials), got.Truth) {
			if q.Header["Authorization"] == doomed || q.Revocation != nil {
				t.Errorf("%s: %s uses the session that is revoked", s.Name, q.Path)
			}
		}
		for _, q := range s.Requests {
			if q.Header["Authorization"] == doomed && q.Revocation == nil {
				t.Errorf("%s: %s uses the session that is revoked, and is judged as if it were not", s.Name, q.Path)
			}
		}
	}
	plan := load.Plan{URL: "http://127.0.0.1:1", Base: time.Now(), Rate: 10, Hits: 10, Timeout: time.Second, Deny: 0.02, Streams: got.Streams}
	if err := plan.Validate(); err != nil {
		t.Error(err)
	}
}

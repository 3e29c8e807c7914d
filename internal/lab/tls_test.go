package lab

import (
	"crypto/tls"
	"errors"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/certtest"
	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/scenarios"
)

const securedScenario = `
name: secured
target:
  exec: /bin/service
  args: ["$${listen.data}"]
  protocol: h1
  tls: {ca: ca.pem}
  requests:
    - {path: /x, weight: 3, expect: {header: {X-Served: "yes"}, body_matches: "^hel+o$"}}
    - {method: POST, path: /orders, body: "1", expect: {status: 2xx}}
replicas: 2
load: {rate: 50, timeout: 1s}
phases:
  baseline: {from: 100ms, to: 500ms}
  window: {from: 500ms, to: 1500ms}
action: {kind: rollout, timeout: 5s}
designs: [{name: svc, signal: {kind: http, port: data, path: /x}}]
gates: [{design: svc, metric: failed, op: <=, limit: 0}]
`

func secured(t *testing.T, authority *certtest.Authority, change ...string) *scenarios.Scenario {
	t.Helper()
	dir := t.TempDir()
	certtest.Write(t, dir, map[string][]byte{"ca.pem": authority.PEM})
	s, err := scenarios.Parse(filepath.Join(dir, "secured.yaml"), []byte(strings.NewReplacer(change...).Replace(securedScenario)), scenarios.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func securedDriver(t *testing.T, authority *certtest.Authority) *memoryDriver {
	return &memoryDriver{
		tls: &tls.Config{Certificates: []tls.Certificate{authority.Issue(certtest.Options{}).TLS(t)}},
		handle: func(w http.ResponseWriter, r *http.Request, _ string) {
			w.Header().Set("X-Served", "yes")
			if r.Method == http.MethodPost {
				w.WriteHeader(http.StatusCreated)
				return
			}
			_, _ = w.Write([]byte("hello"))
		},
	}
}

// A whole trial over TLS, in HTTP/1.1 and in HTTP/2: the load, the reference client and the direct
// probes agree that nothing is lost.
func TestATrialOverTLS(t *testing.T) {
	for _, protocol := range []string{"h1", "h2"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			authority := certtest.New(t)
			s := secured(t, authority, "protocol: h1", "protocol: "+protocol)
			dir, err := runLab(t, t.Context(), securedDriver(t, authority), s)
			if err != nil {
				t.Fatal(err)
			}
			trials := mustJudge(t, dir).Cells[0].Trials
			last := trials[len(trials)-1]
			skipIfBusy(t, &last)
			if last.Sent == 0 || last.Failed > 0 {
				t.Errorf("sent %d, failed %d: %v", last.Sent, last.Failed, last.Errors)
			}
			for _, r := range last.InvalidReasons {
				if slices.Contains([]judge.Kind{judge.ReferenceDisagrees, judge.ReferenceSawMore, judge.ReferenceSilent, judge.TrialError}, r.Kind) {
					t.Errorf("trial %d: %v", last.Meta.N, r)
				}
			}
		})
	}
}

// A certificate that nobody trusts is told before the load, and is no outage.
func TestNoTrustIsToldBeforeTheLoad(t *testing.T) {
	s := secured(t, certtest.New(t))
	dir, err := runLab(t, t.Context(), securedDriver(t, certtest.New(t)), s)
	var environment *EnvironmentError
	var hint *drivers.HintError
	if !errors.As(err, &environment) || !errors.As(err, &hint) || !strings.Contains(err.Error(), "unknown authority") || !strings.Contains(hint.Hint, "target.tls") {
		t.Fatalf("got %v, want an error of the environment with a hint", err)
	}
	if cells := mustJudge(t, dir).Cells; len(cells) > 0 && len(cells[0].Trials) > 0 {
		t.Errorf("%d trials went on all the same", len(cells[0].Trials))
	}
}

// What a reader would not expect of the requests is said with the trial.
func TestInsecureIsNoted(t *testing.T) {
	t.Parallel()
	authority := certtest.New(t)
	s := secured(t, authority, "tls: {ca: ca.pem}", "tls: {insecure: true}")
	dir, err := runLab(t, t.Context(), securedDriver(t, certtest.New(t)), s)
	if err != nil {
		t.Fatal(err)
	}
	meta := mustJudge(t, dir).Cells[0].Trials[0].Meta
	if !slices.ContainsFunc(meta.Notes, func(n string) bool { return strings.Contains(n, "target.tls.insecure") }) {
		t.Errorf("notes %q", meta.Notes)
	}
}

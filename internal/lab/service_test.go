package lab

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/scenarios"
)

const serviceScenario = `
name: service
target: {exec: /bin/service, args: ["$${listen.data}"], requests: [{path: /x, weight: 9}, {method: POST, path: /x}]}
replicas: 2
load: {rate: 50, timeout: 1s, streams: {keepalive: 1}}
phases:
  baseline: {from: 100ms, to: 500ms}
  window: {from: 500ms, to: 3500ms}
action: {kind: rollout, timeout: 5s}
designs: [{name: svc, signal: {kind: http, port: data, path: /x}}]
gates: [{design: svc, metric: failed, op: <=, limit: 0}]
`

// Services that answer in unusual ways and do nothing wrong, and one that is wrong in a part
// of its requests: load, reference client and direct probes must see the same of each. All of
// these were once called invalid for ever, or held the lab for ever.
func TestServicesOfAllKinds(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	for _, tt := range []struct {
		name   string
		handle func(w http.ResponseWriter, r *http.Request, revision string)
		lost   bool
	}{
		{"hints before every answer", func(w http.ResponseWriter, _ *http.Request, _ string) {
			w.Header().Set("Link", "</style.css>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
			io.WriteString(w, "hello")
		}, false},
		{"long bodies", func(w http.ResponseWriter, _ *http.Request, _ string) { io.WriteString(w, long) }, false},
		{"long headers", func(w http.ResponseWriter, _ *http.Request, _ string) { w.Header().Set("X-Long", long[:100_000]) }, false},
		{"a revision that refuses POST, a tenth of the load", func(w http.ResponseWriter, r *http.Request, revision string) {
			if revision == "v2" && r.Method == http.MethodPost {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}, true},
		{"a revision that speaks another protocol", func(w http.ResponseWriter, _ *http.Request, revision string) {
			if revision != "v2" {
				return
			}
			w.Header().Set("Connection", "Upgrade")
			w.Header().Set("Upgrade", "chat")
			w.WriteHeader(http.StatusSwitchingProtocols)
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			_, _ = io.Copy(io.Discard, conn) // until the client goes away
		}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, err := scenarios.Parse("service.yaml", []byte(serviceScenario), scenarios.Options{})
			if err != nil {
				t.Fatal(err)
			}
			dir, err := runLab(t, t.Context(), &memoryDriver{handle: tt.handle}, s)
			if err != nil {
				t.Fatal(err)
			}
			trials := mustJudge(t, dir).Cells[0].Trials
			last := trials[len(trials)-1]
			cut, _ := last.Value("in_flight_at_action") // they were due before the window
			if last.Sent != 150+uint64(cut) {
				t.Errorf("sent %d, want 150", last.Sent)
			}
			for _, e := range last.Errors {
				if e.Class == record.Other {
					t.Errorf("%d requests of the class other: %s", e.Count, e.Reason)
				}
			}
			skipIfBusy(t, &last) // nothing can be said of what was lost
			if (last.Failed > 0) != tt.lost {
				t.Errorf("failed %d; want some: %t; %v", last.Failed, tt.lost, last.Errors)
			}
			for _, r := range last.InvalidReasons {
				if slices.Contains([]judge.Kind{judge.ReferenceDisagrees, judge.ReferenceSawMore, judge.ReferenceSilent, judge.TrialError}, r.Kind) {
					t.Errorf("trial %d: %v", last.Meta.N, r)
				}
			}
		})
	}
}

//go:build e2e && linux

package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/cli"
	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/kind"
	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/lab"
	"github.com/rollout-lab/rollout-lab/internal/load"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/internal/target"
	"github.com/rollout-lab/rollout-lab/scenarios"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/admin"
)

const stuckRollout = `name: stuck-rollout
about: A new instance needs longer to sync than the rollout may take, so it never becomes ready.
target: {refproxy: {sessions: 25000, sync_rate: 1000, routes: 10, upstream_latency: 2ms}}
replicas: 3
load: {rate: 500, timeout: 2s, deny: 2%}
phases:
  baseline: {from: 1s, to: 4s}
  window: {from: 4s, to: 24s}
action: {kind: rollout, timeout: 15s}
rolling: {max_surge: 1, max_unavailable: 0}
trials: 1
designs: [stack-aware]
gates:
  - {design: stack-aware, metric: failed, op: <=, limit: 0}
`

// TestE2EKindRevisionThatIsNeverReady: the rollout stops, the old instances serve every
// request, and what is reported names the part of the new one that is not ready. It is no
// pass: what was asked for did not happen.
func TestE2EKindRevisionThatIsNeverReady(t *testing.T) {
	needDriver(t, "kind")
	file := filepath.Join(t.TempDir(), "stuck.yaml")
	if err := os.WriteFile(file, []byte(stuckRollout), 0o644); err != nil {
		t.Fatal(err)
	}
	code, _, doc := runLabBinary(t, labBinary(t), "run", file, "--driver", "kind", "--kind-cluster", kindCluster, "--kind-keep")
	if code != cli.ExitFail || doc.Verdict != judge.Fail {
		t.Errorf("exit code %d, verdict %s for a rollout that never ended, want a fail", code, doc.Verdict)
	}
	if len(doc.Cells) != 1 || len(doc.Cells[0].Trials) == 0 {
		t.Fatalf("cells %+v, want one with trials", doc.Cells)
	}
	for _, tr := range doc.Cells[0].Trials {
		why := strings.Join(tr.Failures, "\n")
		t.Logf("trial %d: %d of %d failed; %s", tr.N, failures(t, tr), tr.Planned, why)
		if failures(t, tr) != 0 || tr.Sent != tr.Planned {
			t.Errorf("trial %d: %d of %d failed, %d sent; want the old instances to serve all", tr.N, failures(t, tr), tr.Planned, tr.Sent)
		}
		for _, want := range []string{"rollout to v2", "waited for 3 ready instances of revision v2, there are 0", "/statusz", "storage"} {
			if !strings.Contains(why, want) {
				t.Errorf("trial %d: the reasons do not say %q", tr.N, want)
			}
		}
	}
}

// failing is an environment of the reference target on a real cluster, with a load on it.
type failing struct {
	*testing.T
	env   drivers.Env
	stack drivers.Stack
	plan  load.Plan
}

func deployFailing(t *testing.T, scenario, design string) *failing {
	t.Helper()
	needDriver(t, "kind")
	s, err := scenarios.Parse("failing.yaml", []byte(scenario), scenarios.Options{})
	if err != nil {
		t.Fatal(err)
	}
	d := s.Designs[slices.IndexFunc(s.Designs, func(d scenarios.Design) bool { return d.Name == design })]
	what, err := target.Build(s, d, "kind")
	if err != nil {
		t.Fatal(err)
	}
	what.Stack.RunID, what.Stack.Name = lab.NewRunID(time.Now()), "failing"
	driver := kind.New(kind.Config{
		Program: labBinary(t), Args: []string{targetCommand}, Package: mainPackage,
		Cluster: kindCluster, Keep: true, Progress: func(line string) { t.Log("kind: " + line) },
	})
	env, err := driver.Deploy(t.Context(), what.Stack)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := env.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
		if err := driver.Close(ctx); err != nil {
			t.Errorf("close the driver: %v", err)
		}
	})
	return &failing{t, env, what.Stack, load.Plan{
		URL: env.URL(), Rate: s.Load.Rate, Timeout: s.Load.Timeout, Deny: s.Load.Deny, Streams: what.Streams,
	}}
}

// begin fires the load for a time. The returned function waits for its end and demands that
// nothing of it failed.
func (f *failing) begin(length time.Duration) (end func()) {
	f.Helper()
	p := f.plan
	p.Base, p.Hits = time.Now(), uint64(p.Rate*length.Seconds())
	type ended struct {
		sum    load.Summary
		failed map[string]int
		err    error
	}
	done := make(chan ended, 1)
	go func() {
		e := ended{failed: map[string]int{}}
		e.sum, e.err = load.Run(f.Context(), p, func(s record.Sample) {
			if s.Class != record.OK {
				e.failed[fmt.Sprintf("%s %s by %s: %s", s.Stream, s.Class, s.Instance, s.Reason)]++
			}
		})
		done <- e
	}()
	return func() {
		f.Helper()
		e := <-done
		f.Logf("load: %d fired, failed: %v", e.sum.Fired, e.failed)
		if e.err != nil || e.sum.Fired != p.Hits || len(e.failed) != 0 {
			f.Errorf("load: %d of %d fired, %v, failed: %v; want all served", e.sum.Fired, p.Hits, e.err, e.failed)
		}
	}
}

// tell asks the control plane for something.
func (f *failing) tell(path string) {
	f.Helper()
	base, err := f.env.Endpoint(f.Context(), target.ControlName, "admin")
	if err != nil {
		f.Fatal(err)
	}
	req, err := http.NewRequestWithContext(f.Context(), http.MethodPost, base+path, nil)
	if err != nil {
		f.Fatal(err)
	}
	req.Header.Set("Authorization", admin.Authorization(target.AdminToken(f.stack, target.ControlName)))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		f.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		f.Fatalf("control plane: %s", resp.Status)
	}
}

// of lists the instances of a revision that are in a state.
func (f *failing) of(revision string, state drivers.State) []string {
	f.Helper()
	all, err := f.env.Instances(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	var out []string
	for _, i := range all {
		if i.Revision == revision && i.State == state {
			out = append(out, i.ID)
		}
	}
	slices.Sort(out)
	return out
}

const badGeneration = `name: bad-generation
about: The configuration that new instances are given is one that they must reject.
target: {refproxy: {sessions: 2000, sync_rate: 10000, routes: 10, upstream_latency: 2ms}}
replicas: 3
load: {rate: 400, timeout: 2s, deny: 2%}
phases:
  baseline: {from: 1s, to: 4s}
  window: {from: 4s, to: 24s}
action: {kind: rollout, timeout: 15s}
rolling: {max_surge: 1, max_unavailable: 0}
trials: 1
designs: [stack-aware]
gates:
  - {design: stack-aware, metric: failed, op: <=, limit: 0}
`

// TestE2EKindRollback: a rollout that can never end is taken back. The instances that
// served all the time are the same ones afterwards, and no request is lost on the way.
func TestE2EKindRollback(t *testing.T) {
	f := deployFailing(t, badGeneration, "stack-aware")
	old := f.of(scenarios.RevisionBefore, drivers.StateReady)
	if len(old) != 3 {
		t.Fatalf("%d instances are ready, want 3", len(old))
	}
	f.tell("/v1/generation?bad=true")
	ended := f.begin(40 * time.Second)
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	err := f.env.Rollout(ctx, scenarios.RevisionAfter)
	t.Logf("rollout: %v", err)
	for _, want := range []string{context.DeadlineExceeded.Error(), "/statusz", "config", "generation 2 rejected"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error of the rollout does not say %q", want)
		}
	}
	if got := f.of(scenarios.RevisionBefore, drivers.StateReady); !slices.Equal(got, old) {
		t.Errorf("ready after the rollout got stuck: %v, want %v", got, old)
	}
	if got := f.of(scenarios.RevisionAfter, drivers.StateReady); len(got) != 0 {
		t.Errorf("ready though they have no configuration: %v", got)
	}
	back, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	began := time.Now()
	if err := f.env.Rollout(back, scenarios.RevisionBefore); err != nil {
		t.Errorf("rollback: %v", err)
	}
	t.Logf("rollback took %v", time.Since(began).Round(100*time.Millisecond))
	all, err := f.env.Instances(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := f.of(scenarios.RevisionBefore, drivers.StateReady); !slices.Equal(got, old) || len(all) != len(old) {
		t.Errorf("after the rollback: %d instances, ready %v, want %v and no other", len(all), got, old)
	}
	ended()

	// What was wrong is mended, and the next rollout goes through.
	f.tell("/v1/generation")
	again, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := f.env.Rollout(again, scenarios.RevisionAfter); err != nil {
		t.Errorf("rollout once it was mended: %v", err)
	}
	if got := f.of(scenarios.RevisionAfter, drivers.StateReady); len(got) != 3 {
		t.Errorf("ready after that: %v, want 3", got)
	}
}

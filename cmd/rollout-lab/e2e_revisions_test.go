//go:build e2e && linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rollout-lab/rollout-lab/cli"
	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/reports"
)

// The tests of this file upgrade a service to a release that is bad in a way that no test of
// the release alone would find, and read the verdict and the cause in the words that a person
// is told.

// shopProgram builds the service, static as every image needs it.
func shopProgram(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "shop")
	build := exec.Command("go", "build", "-o", bin, "./testdata/shop")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return bin
}

// shopScenario upgrades it; %s are the program, what comes after it, and the action.
const shopScenario = `name: shop
target:
%s
  args: ["--listen", "$${listen.data}"]
  revisions:
    before: %s
    after: %s
  request: {path: /orders}
replicas: 2
load: {rate: 100}
phases: {baseline: {from: 1s, to: 3s}, window: {from: 3s, to: 18s}}
action: {kind: rollout, %s}
designs:
  - name: as-it-is
    signal: {kind: http, port: data, path: /healthz, interval: 200ms}
    stop_grace: 6s
gates:
  - {design: as-it-is, metric: failed, op: <=, limit: 0}
`

// shop runs the scenario and returns what came of it. Nothing but the release is to lose
// anything, so the one trial must be valid.
func shop(t *testing.T, driver, program, before, after, action string, flags ...string) (code int, doc reports.Document, trial reports.Trial) {
	t.Helper()
	needDriver(t, driver)
	file := filepath.Join(t.TempDir(), "shop.yaml")
	if err := os.WriteFile(file, []byte(fmt.Sprintf(shopScenario, program, before, after, action)), 0o644); err != nil {
		t.Fatal(err)
	}
	code, _, doc = runLabBinary(t, labBinary(t), append([]string{"run", file, "--driver", driver}, flags...)...)
	if len(doc.Cells) != 1 || len(doc.Cells[0].Trials) == 0 {
		t.Fatalf("cells %+v", doc.Cells)
	}
	trials := doc.Cells[0].Trials
	return code, doc, trials[len(trials)-1]
}

// wrongColumn demands what is to be said of a release that answers a fifth of the orders with
// 500: the verdict, and the cause with the request and its share.
func wrongColumn(t *testing.T, code int, doc reports.Document, trial reports.Trial) {
	t.Helper()
	if code != cli.ExitFail || doc.Verdict != judge.Fail {
		t.Errorf("exit code %d, verdict %s: %v", code, doc.Verdict, doc.Reasons)
	}
	if want := "2.0 answers 500 to "; !strings.HasPrefix(doc.Why, want) || !strings.Contains(doc.Why, " of GET /orders, and 1.9 never does") {
		t.Errorf("why %q, want %q and the request", doc.Why, want)
	}
	if len(trial.Causes) != 1 {
		t.Errorf("causes %+v, want one", trial.Causes)
	}
	aFifth(t, trial)
	lostBy(t, trial, "2.0")
}

// aFifth demands that the cause of most losses is a request that is answered wrongly now and then.
func aFifth(t *testing.T, trial reports.Trial) {
	t.Helper()
	if len(trial.Causes) == 0 || trial.Causes[0].Cause != judge.NewRevision || len(trial.Causes[0].Requests) != 1 {
		t.Fatalf("causes %+v", trial.Causes)
	}
	if r := trial.Causes[0].Requests[0]; float64(r.Wrong) < 0.15*float64(r.Answers) || float64(r.Wrong) > 0.25*float64(r.Answers) {
		t.Errorf("%d of %d wrong, want a fifth", r.Wrong, r.Answers)
	}
}

// lostBy demands that everything that was lost was sent to one revision, and returns how much
// of that was while both ran.
func lostBy(t *testing.T, trial reports.Trial, revision string) (both uint64) {
	t.Helper()
	var lost uint64
	for _, r := range trial.Revisions {
		if lost += r.Lost; r.Lost > 0 && r.Revision != revision {
			t.Errorf("%d were lost by %q: %+v", r.Lost, r.Revision, trial.Revisions)
		}
		if r.Stretch == judge.BothRan {
			both += r.Lost
		}
	}
	if lost == 0 || lost != failures(t, trial) {
		t.Errorf("%d lost by revision, of %d", lost, failures(t, trial))
	}
	return both
}

func TestE2ERevisionThatAnswersWrongly(t *testing.T) {
	program := "  exec: " + shopProgram(t)
	code, doc, trial := shop(t, "process", program, `{name: "1.9"}`, `{name: "2.0", args: [--wrong-path, /orders]}`, "timeout: 30s")
	wrongColumn(t, code, doc, trial)
}

// TestE2ERevisionThatCannotReadSessions: each release alone loses nothing. What it cannot read
// is what the other one writes, and only while both run.
func TestE2ERevisionThatCannotReadSessions(t *testing.T) {
	dir := t.TempDir()
	sessions := filepath.Join(dir, "session")
	program := "  exec: " + shopProgram(t)
	before := fmt.Sprintf(`{args: [--sessions, %s, --format, "1", --reads, "1,2"]}`, sessions)
	after := fmt.Sprintf(`{args: [--sessions, %s, --format, "2", --reads, "2"]}`, sessions)
	code, doc, trial := shop(t, "process", program, before, after, "timeout: 30s")
	if code != cli.ExitFail || doc.Verdict != judge.Fail {
		t.Errorf("exit code %d, verdict %s: %v", code, doc.Verdict, doc.Reasons)
	}
	both := lostBy(t, trial, "v2")
	if lost := failures(t, trial); both+1 < lost { // the last of the old sessions may be read after that
		t.Errorf("%d of %d were lost while both ran: %+v", both, lost, trial.Revisions)
	}
	if !strings.Contains(doc.Why, "from v2") || !strings.Contains(doc.Why, "while both ran") || !strings.Contains(doc.Do, "let v2 read what v1 writes") {
		t.Errorf("why %q and do %q do not say when, and what the two share", doc.Why, doc.Do)
	}
}

// TestE2ERevisionThatNeverStarts: the verdict names what the release says at its end, nothing
// is lost, and the rollback is done all the same.
func TestE2ERevisionThatNeverStarts(t *testing.T) {
	program := "  exec: " + shopProgram(t)
	code, doc, trial := shop(t, "process", program, `{}`, `{args: [--settings, /etc/shop-2.conf]}`, "then: rollback, timeout: 4s")
	if code != cli.ExitFail || doc.Verdict != judge.Fail || trial.Outcome != judge.OutcomeFailed {
		t.Errorf("exit code %d, verdict %s: %v", code, doc.Verdict, doc.Reasons)
	}
	if len(trial.Failures) != 1 || !strings.Contains(trial.Failures[0], "rollout to v2") || !strings.Contains(trial.Failures[0], "shop-2.conf: no such file") {
		t.Errorf("failures %q, want the rollout and what the release says", trial.Failures)
	}
	if n := failures(t, trial); n > 0 {
		t.Errorf("%d lost, want none: the old ones serve on", n)
	}
	for _, r := range trial.Revisions {
		if r.Revision != "v1" {
			t.Errorf("%+v were sent to a revision that never started", r)
		}
	}
}

func TestE2EDockerRevisionThatAnswersWrongly(t *testing.T) {
	needDriver(t, "docker")
	dir := filepath.Dir(shopProgram(t))
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM scratch\nCOPY shop /shop\nENTRYPOINT [\"/shop\"]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	image := fmt.Sprintf("rollout-lab-e2e-shop:%d", os.Getpid())
	dockerCommand(t, "build", "--quiet", "--tag", image, dir)
	t.Cleanup(func() { dockerCommand(t, "image", "rm", image) })
	code, doc, trial := shop(t, "docker", "", fmt.Sprintf(`{name: "1.9", image: %q}`, image),
		fmt.Sprintf(`{name: "2.0", image: %q, args: [--wrong-path, /orders]}`, image), "timeout: 30s")
	wrongColumn(t, code, doc, trial)
}

// TestE2EKindRevisionThatAnswersWrongly: no answer names the instance that gave it, so that the
// share is that of the time in which the new release was alone. What else is lost is kube-proxy's
// lag, which is another cause.
func TestE2EKindRevisionThatAnswersWrongly(t *testing.T) {
	program := "  exec: " + shopProgram(t)
	code, doc, trial := shop(t, "kind", program, `{name: "1.9"}`, `{name: "2.0", args: [--wrong-path, /orders]}`, "timeout: 60s", "--rate", "50", "--kind-cluster", kindCluster, "--kind-keep")
	if code != cli.ExitFail || doc.Verdict != judge.Fail {
		t.Errorf("exit code %d, verdict %s: %v", code, doc.Verdict, doc.Reasons)
	}
	if !strings.HasPrefix(doc.Why, "2.0 answers 500 to ") || !strings.Contains(doc.Why, " of GET /orders, and 1.9 never does") {
		t.Errorf("why %q, want the answer and the request", doc.Why)
	}
	aFifth(t, trial)
}

//go:build linux && e2e

package main

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/reports"
)

// measuring is a release whose program is the one that is tested, and the folder with a curl that
// fetches it.
func measuring(t *testing.T) (bin, sum string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "rollout-lab")
	if err := os.Symlink(self, program); err != nil {
		t.Fatal(err)
	}
	return fakeRelease(t, "#!/bin/sh\nexec "+program+" \"$@\"\n")
}

// shopOnGitHub is a repository with the service of docs/ci.md and its scenario on main, in a
// clone, and the remote of it.
func shopOnGitHub(t *testing.T) (origin, clone string) {
	t.Helper()
	origin, clone = shopRepository(t)
	if err := os.CopyFS(clone, os.DirFS("testdata/shop")); err != nil {
		t.Fatal(err)
	}
	script(t, filepath.Join(clone, "go.mod"), "module shop\n\ngo 1.26\n")
	script(t, filepath.Join(clone, "rollout.yaml"), blocks(t, "yaml", "")[0])
	sh(t, clone, "git add . && git commit --quiet -m shop && git push --quiet origin main")
	return origin, clone
}

// TestE2ERolloutGateOnGitHub runs the workflow of docs/ci.md as its reader would: main writes a
// baseline, a change that costs nothing passes, one that lost its drain fails with the cause in
// the summary, and one that has no baseline is inconclusive.
func TestE2ERolloutGateOnGitHub(t *testing.T) {
	bin, sum := measuring(t)
	gate := readWorkflow(t, blocks(t, "yml", sum)[0])
	origin, clone := shopOnGitHub(t)
	commit := func() string { return sh(t, clone, "git rev-parse HEAD") }
	type result struct {
		outputs         map[string]string
		summary, failed string
		job             *githubJob
	}
	run := func(name string, event map[string]string) result {
		t.Helper()
		event = maps.Clone(event)
		event["github.sha"] = commit()
		if event["github.event_name"] == "pull_request" {
			event["github.event.pull_request.head.sha"] = commit()
		}
		j := newGithubJob(t, clone, event)
		j.path = slices.Insert(j.path, 0, bin)
		outputs, summary, failed := gate.run(j)
		text, err := os.ReadFile(outputs["results-path"])
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, j.log.String())
		}
		measured := durationOf(t, text)
		t.Logf("%s: %s (%s), measured for %.1f s", name, outputs["verdict"], outputs["reason"], measured.Seconds())
		// Of what is not measuring, the processor's time: on a machine that is busy with others as
		// well, that is what the job itself takes.
		var besides time.Duration
		for _, s := range j.took {
			t.Logf("  %5.1f s, %4.1f s of a processor: %s", s.wall.Seconds(), s.cpu.Seconds(), s.name)
			if s.name != "Run" && s.name != "" { // without a name: the build of the service
				besides += s.cpu
			}
		}
		if measured > 2*time.Minute || besides > 30*time.Second {
			t.Errorf("%s: measured for %v, and %v of a processor for what is not measuring, want at most 2 min and 30 s", name, measured, besides)
		}
		return result{outputs, summary, failed, j}
	}
	expect := func(r result, verdict, failed string, says ...string) {
		t.Helper()
		if r.outputs["verdict"] != verdict || r.failed != failed {
			t.Errorf("verdict %q, the step %q failed, want %q and %q\n%s", r.outputs["verdict"], r.failed, verdict, failed, r.job.log.String())
		}
		for _, want := range says {
			if !strings.Contains(r.summary, want) {
				t.Errorf("the summary does not say %q:\n%s", want, r.summary)
			}
		}
	}

	none := run("a change before there is a baseline", pulled)
	expect(none, "inconclusive", "Run", "## ⚠️ INCONCLUSIVE", "no baseline")
	if none.outputs["baseline-sha"] != "" || none.outputs["exit-code"] != "2" {
		t.Errorf("its outputs are %v", none.outputs)
	}

	main := commit()
	first := run("main", pushed)
	expect(first, "inconclusive", "", "## ⚠️ INCONCLUSIVE")
	if got := sh(t, origin, "git log --format=%B rollout-lab-baseline"); !strings.Contains(got, "Baseline-Of: "+main) {
		t.Fatalf("no baseline of %s was pushed: %q\n%s", main, got, first.job.log.String())
	}

	sh(t, clone, "git checkout --quiet -b fine && echo '// A comment.' >>main.go && git commit --quiet -am fine")
	fine := run("a change that costs nothing", pulled)
	expect(fine, "pass", "", "## ✅ PASS")
	if fine.outputs["baseline-sha"] != main || fine.outputs["success-rate"] != "1" || fine.outputs["downtime-ms"] != "0" {
		t.Errorf("its outputs are %v", fine.outputs)
	}

	sh(t, clone, "git checkout --quiet -b lossy main && sed -i '/in which a balancer that asks/d' main.go && git commit --quiet -am 'stop at once' && ! git diff --quiet main")
	lossy := run("a change that lost its drain", pulled)
	expect(lossy, "fail", "Run", "## ❌ FAIL", "after SIGTERM", "commit: "+commit())
	if lossy.outputs["exit-code"] != "1" || !strings.Contains(lossy.job.log.String(), "::error title=rollout-lab%3A FAIL::") {
		t.Errorf("its outputs are %v\n%s", lossy.outputs, lossy.job.log.String())
	}
	for _, r := range []result{none, first, fine, lossy} {
		for _, folder := range r.job.artifacts {
			for _, file := range []string{"summary.md", "comment.json", "run/report.html", "run/junit.xml", "run/metrics.txt"} {
				if _, err := os.Stat(filepath.Join(folder, file)); err != nil {
					t.Error(err)
				}
			}
		}
		if len(r.job.artifacts) != 1 {
			t.Errorf("%d artifacts, want 1", len(r.job.artifacts))
		}
	}
}

// TestE2ERolloutGateByHand runs the blocks for a shell in docs/ci.md, one behind the other.
func TestE2ERolloutGateByHand(t *testing.T) {
	bin, sum := measuring(t)
	_, clone := shopOnGitHub(t)
	sh(t, clone, "go build -o shop .")
	t.Setenv("PATH", bin+":"+clone+":"+os.Getenv("PATH"))
	all := blocks(t, "sh", sum)
	install := all[len(all)-1]
	if !strings.HasPrefix(install, "release=") {
		t.Fatalf("the last block installs nothing:\n%s", install)
	}
	for _, text := range append([]string{install}, all[:len(all)-1]...) {
		began := time.Now()
		out := sh(t, clone, text)
		t.Logf("%.0f s:\n%s%s", time.Since(began).Seconds(), text, out)
	}
	if _, err := os.Stat(filepath.Join(clone, "summary.md")); err != nil {
		t.Error(err)
	}
}

func durationOf(t *testing.T, results []byte) time.Duration {
	t.Helper()
	var doc reports.Document
	if err := json.Unmarshal(results, &doc); err != nil || doc.DurationMS == nil {
		t.Fatalf("results.json has no duration: %v", err)
	}
	return time.Duration(*doc.DurationMS)
}

//go:build linux

package main

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/rhysd/actionlint"
)

// blocks are those of docs/ci.md in a language, with what a reader fills in filled in.
func blocks(t *testing.T, language, sum string) (all []string) {
	t.Helper()
	for _, e := range examples(t) {
		if e.file == pipelines && e.language == language {
			all = append(all, strings.NewReplacer("COMMIT\n", strings.Repeat("c", 40)+"\n", "VERSION", "v1", "SUM", sum).Replace(e.text))
		}
	}
	return all
}

// workflow is a workflow's jobs.
type workflow struct {
	Permissions map[string]string
	Jobs        map[string]struct {
		If          string
		Permissions map[string]string
		Steps       []githubStep
	}
}

// run runs the job that the event is for, with the steps that are not actions of this repository
// as a runner would, and returns what the action gives.
func (w *workflow) run(j *githubJob) (outputs map[string]string, summary, failed string) {
	j.t.Helper()
	ran := 0
	for name, job := range w.Jobs {
		if !truth(evaluate(j.t, job.If, j.event)) {
			continue
		}
		ran++
		for i, s := range job.Steps {
			action, at, _ := strings.Cut(s.Uses, "@")
			switch {
			case s.Run != "":
				s.Shell = "bash"
				if _, _, err := j.shell(&githubAction{}, i, s, j.event); err != nil {
					j.t.Fatalf("%s: %s: %v\n%s", name, s.Run, err, j.log.String())
				}
			case action == "actions/checkout" && len(at) == 40: // the test has done it
			case strings.HasPrefix(action, "rollout-lab/rollout-lab") && len(at) == 40:
				with := map[string]string{}
				for k, v := range s.With {
					with[k] = interpolate(j.t, v, j.event)
				}
				folder := strings.TrimPrefix(strings.TrimPrefix(action, "rollout-lab/rollout-lab"), "/")
				outputs, summary, failed = j.use(readAction(j.t, folder), with)
			default:
				j.t.Fatalf("%s: nobody knows the action %s", name, s.Uses)
			}
		}
	}
	if ran != 1 {
		j.t.Fatalf("%d jobs are for this event, want 1", ran)
	}
	return outputs, summary, failed
}

func readWorkflow(t *testing.T, text string) *workflow {
	t.Helper()
	w := &workflow{}
	if err := yaml.Unmarshal([]byte(text), w); err != nil {
		t.Fatal(err)
	}
	return w
}

func TestTheWorkflowsOfTheManualAreSound(t *testing.T) {
	linter, err := actionlint.NewLinter(io.Discard, &actionlint.LinterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	all := blocks(t, "yml", "SUM")
	for _, text := range all[:2] {
		errs, err := linter.Lint("rollout.yml", []byte(text), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range errs {
			t.Error(e)
		}
	}
	gate, comment := readWorkflow(t, all[0]), readWorkflow(t, all[1])
	for name, permissions := range map[string]map[string]string{"the gate": gate.Permissions, "the comment": comment.Permissions} {
		if permissions == nil || len(permissions) > 0 {
			t.Errorf("%s may do %v before its jobs ask for it, want nothing", name, permissions)
		}
	}
	if p := gate.Jobs["change"].Permissions; len(p) != 1 || p["contents"] != "read" {
		t.Errorf("the job that runs the code of a pull request may do %v", p)
	}
	for _, s := range comment.Jobs["comment"].Steps {
		if s.Run != "" || strings.HasPrefix(s.Uses, "actions/checkout") {
			t.Errorf("the job that may write runs %s%s", s.Run, s.Uses)
		}
	}
}

// What a GitLab runner would be told, on the default branch and in a merge request.
func TestThePipelineOfGitLab(t *testing.T) {
	bin, sum := fakeRelease(t, strings.ReplaceAll(fakeLab, `>>"$GITHUB_OUTPUT"`, ">/dev/null"))
	var pipeline struct {
		Rollout struct {
			Variables map[string]string
			Rules     []struct{ Variables map[string]string }
			Script    []string
		}
	}
	if err := yaml.Unmarshal([]byte(blocks(t, "yml", sum)[2]), &pipeline); err != nil {
		t.Fatal(err)
	}
	for _, line := range pipeline.Rollout.Script {
		if strings.Contains(line, "&&") {
			t.Errorf("%s: where the first part of such a line fails, the job goes on", line)
		}
	}
	origin, clone := shopRepository(t)
	script(t, filepath.Join(bin, "go"), "#!/bin/sh\n[ \"$*\" = 'build -o shop .' ]\n")
	// The remote of the job, whose address has the token in it, is the one of the test.
	run := func(branch, request string, rule int) string {
		t.Helper()
		sh(t, clone, "git clean -fdqx && git checkout --quiet "+request)
		t.Setenv("LAB_LOG", filepath.Join(t.TempDir(), "log"))
		for k, v := range map[string]string{"LAB_CODE": "0", "LAB_KILLED": "", "LAB_VERDICT": "pass", "CI_DEFAULT_BRANCH": "main", "CI_COMMIT_BRANCH": branch,
			"CI_COMMIT_SHA": "5e1f", "CI_SERVER_HOST": "gitlab.example", "CI_PROJECT_PATH": "o/r", "ROLLOUT_LAB_TOKEN": "s3cret", "PATH": bin + ":" + os.Getenv("PATH"),
			"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "url." + origin + ".insteadOf", "GIT_CONFIG_VALUE_0": "https://lab:s3cret@gitlab.example/o/r.git"} {
			t.Setenv(k, v)
		}
		for _, of := range []map[string]string{pipeline.Rollout.Variables, pipeline.Rollout.Rules[rule].Variables} {
			for k, v := range of {
				t.Setenv(k, os.ExpandEnv(v))
			}
		}
		sh(t, clone, strings.Join(pipeline.Rollout.Script, "\n"))
		log, err := os.ReadFile(os.Getenv("LAB_LOG"))
		if err != nil {
			t.Fatal(err)
		}
		return string(log)
	}
	const told = "run rollout.yaml --baseline baseline.json --out lab --label commit=5e1f --inconclusive "
	if got, want := run("main", "b", 1), told+"warn\nbaseline add baseline.json lab\n"; got != want {
		t.Errorf("on main it does\n%s, want\n%s", got, want)
	}
	if got := sh(t, origin, "git show rollout-lab-baseline:baseline.json"); got != "add lab" {
		t.Errorf("the branch has %q", got)
	}
	if got, want := run("", "c", 0), told+"fail\n"; got != want {
		t.Errorf("in a merge request it does\n%s, want\n%s", got, want)
	}
	if got := sh(t, clone, "cat baseline.json"); got != "add lab" {
		t.Errorf("it is compared with %q", got)
	}
}

// What the action takes and gives is named in the manual, and nothing else is.
func TestTheManualNamesWhatTheActionTakes(t *testing.T) {
	text, err := os.ReadFile("../../docs/ci.md")
	if err != nil {
		t.Fatal(err)
	}
	_, about, ok := strings.Cut(string(text), "### What the action takes and gives")
	if !ok {
		t.Fatal("the manual does not say what the action takes")
	}
	about, _, _ = strings.Cut(about, "\n\nIt is ")
	var named []string
	for i, word := range strings.Split(about, "`") {
		if i%2 == 1 {
			named = append(named, word)
		}
	}
	a := readAction(t, ".")
	for name := range a.Inputs {
		if !slices.Contains(named, name) {
			t.Errorf("the input %s is not in the manual", name)
		}
	}
	for name := range a.Outputs {
		if !slices.Contains(named, name) {
			t.Errorf("the output %s is not in the manual", name)
		}
	}
}

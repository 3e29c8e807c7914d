//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/rhysd/actionlint"
)

// githubAction is an action.yml.
type githubAction struct {
	folder string
	Inputs map[string]struct {
		Default  string
		Required bool
	}
	Outputs map[string]struct{ Value string }
	Runs    struct {
		Using string
		Steps []githubStep
	}
}

type githubStep struct {
	ID, Name, If, Uses, Shell, Run string
	Env, With                      map[string]string
}

func readAction(t *testing.T, folder string) *githubAction {
	t.Helper()
	abs, err := filepath.Abs(filepath.Join("../..", folder))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(abs, "action.yml"))
	if err != nil {
		t.Fatal(err)
	}
	a := &githubAction{folder: abs}
	if err := yaml.UnmarshalWithOptions(text, a); err != nil {
		t.Fatal(err)
	}
	if a.Runs.Using != "composite" || len(a.Runs.Steps) == 0 {
		t.Fatalf("%s is no composite action with steps", folder)
	}
	return a
}

// githubJob is a job on a runner that has nothing but what a test gives it.
type githubJob struct {
	t         *testing.T
	workspace string
	temp      string
	event     map[string]string // the github context, by dotted name
	env       map[string]string // of every step
	path      []string
	artifacts map[string]string // folders, by the artifact's name
	took      []stepTime
	log       bytes.Buffer
}

// stepTime is how long a step took, and how much of a processor.
type stepTime struct {
	name      string
	wall, cpu time.Duration
}

func newGithubJob(t *testing.T, workspace string, event map[string]string) *githubJob {
	return &githubJob{t: t, workspace: workspace, temp: t.TempDir(), event: event, env: map[string]string{},
		path: []string{os.Getenv("PATH")}, artifacts: map[string]string{}}
}

// use runs an action as the runner does, step by step, and returns its outputs, what the
// summaries say, and the step that failed, "" where none did.
func (j *githubJob) use(a *githubAction, with map[string]string) (outputs map[string]string, summary, failed string) {
	j.t.Helper()
	known := maps.Clone(j.event)
	known["github.action_path"] = a.folder
	for name, in := range a.Inputs {
		value, given := with[name]
		if in.Required && !given {
			j.t.Fatalf("the input %s is required", name)
		}
		if !given {
			value = in.Default
		}
		known["inputs."+name] = value
	}
	for name := range with {
		if _, ok := a.Inputs[name]; !ok {
			j.t.Fatalf("there is no input %s", name)
		}
	}
	for i, s := range a.Runs.Steps {
		always := strings.Contains(s.If, "always()")
		if failed != "" && !always || s.If != "" && !truth(evaluate(j.t, s.If, known)) {
			continue
		}
		if s.Uses != "" {
			j.third(s, known)
			continue
		}
		out, text, err := j.shell(a, i, s, known)
		summary += text
		for k, v := range out {
			known["steps."+s.ID+".outputs."+k] = v
		}
		if err != nil && failed == "" {
			failed = s.Name
		}
	}
	outputs = map[string]string{}
	for name, o := range a.Outputs {
		outputs[name] = interpolate(j.t, o.Value, known)
	}
	return outputs, summary, failed
}

// third stands for the actions of others.
func (j *githubJob) third(s githubStep, known map[string]string) {
	j.t.Helper()
	if !regexp.MustCompile(`^actions/[a-z-]+@[0-9a-f]{40}$`).MatchString(s.Uses) {
		j.t.Errorf("%s is not pinned by its commit", s.Uses)
	}
	switch name, _, _ := strings.Cut(s.Uses, "@"); name {
	case "actions/setup-go": // it is there
	case "actions/upload-artifact":
		name, folder := interpolate(j.t, s.With["name"], known), j.t.TempDir()
		if _, twice := j.artifacts[name]; twice || name == "" {
			j.t.Errorf("the artifact %q has no name of its own", name)
		}
		if err := os.CopyFS(folder, os.DirFS(interpolate(j.t, s.With["path"], known))); err != nil {
			j.t.Error(err)
		}
		j.artifacts[name] = folder
	default:
		j.t.Fatalf("nobody knows the action %s", s.Uses)
	}
}

// shell runs the script of a step.
func (j *githubJob) shell(a *githubAction, n int, s githubStep, known map[string]string) (out map[string]string, summary string, err error) {
	j.t.Helper()
	if s.Shell != "bash" || strings.Contains(s.Run, "${{") {
		j.t.Errorf("step %q: want the shell bash, and values that come in its environment and not in its text", s.Name)
	}
	file := func(name, text string) string {
		path := filepath.Join(j.t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			j.t.Fatal(err)
		}
		return path
	}
	outputs, summaries, paths := file("output", ""), file("summary", ""), file("path", "")
	ctx, cancel := context.WithCancel(j.t.Context())
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "--noprofile", "--norc", "-eo", "pipefail", file("script.sh", s.Run))
	cmd.Dir = j.workspace
	cmd.Env = []string{"HOME=" + j.temp, "PATH=" + strings.Join(j.path, ":"), "RUNNER_TEMP=" + j.temp, "GITHUB_ACTIONS=true", "GITHUB_ACTION_PATH=" + a.folder,
		"GITHUB_OUTPUT=" + outputs, "GITHUB_STEP_SUMMARY=" + summaries, "GITHUB_PATH=" + paths, "GITHUB_RUN_ATTEMPT=1", "GITHUB_RUN_ID=7",
		"GITHUB_SERVER_URL=https://github.example", "GITHUB_REPOSITORY=o/r", "GOCACHE=" + sh(j.t, ".", "go env GOCACHE")}
	for k, v := range j.env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	for k, v := range s.Env {
		cmd.Env = append(cmd.Env, k+"="+interpolate(j.t, v, known))
	}
	began := time.Now()
	text, err := cmd.CombinedOutput()
	if p := cmd.ProcessState; p != nil {
		j.took = append(j.took, stepTime{s.Name, time.Since(began), p.UserTime() + p.SystemTime()})
	}
	fmt.Fprintf(&j.log, "--- step %d %s: %v\n%s", n+1, s.Name, err, text)
	read := func(path string) string {
		text, err := os.ReadFile(path)
		if err != nil {
			j.t.Fatal(err)
		}
		return string(text)
	}
	out = map[string]string{}
	for line := range strings.Lines(read(outputs)) {
		k, v, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		if !ok {
			j.t.Errorf("step %q: %q is no output", s.Name, line)
		}
		out[k] = v
	}
	for line := range strings.Lines(read(paths)) {
		j.path = slices.Insert(j.path, 0, strings.TrimSpace(line))
	}
	return out, read(summaries), err
}

var expression = regexp.MustCompile(`\$\{\{(.*?)\}\}`)

// interpolate fills in the expressions of a text.
func interpolate(t *testing.T, text string, known map[string]string) string {
	t.Helper()
	return expression.ReplaceAllStringFunc(text, func(m string) string {
		return fmt.Sprint(evaluate(t, expression.FindStringSubmatch(m)[1], known))
	})
}

// evaluate is the value of an expression of GitHub Actions: a string or a bool. What is not known
// is an empty string, as it is there.
func evaluate(t *testing.T, text string, known map[string]string) any {
	t.Helper()
	node, err := actionlint.NewExprParser().Parse(actionlint.NewExprLexer(text + "}}"))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return exprValue(t, node, known)
}

func exprValue(t *testing.T, node actionlint.ExprNode, known map[string]string) any {
	t.Helper()
	switch n := node.(type) {
	case *actionlint.StringNode:
		return n.Value
	case *actionlint.VariableNode, *actionlint.ObjectDerefNode:
		return known[reference(t, n)]
	case *actionlint.CompareOpNode:
		equal := fmt.Sprint(exprValue(t, n.Left, known)) == fmt.Sprint(exprValue(t, n.Right, known))
		return equal == (n.Kind == actionlint.CompareOpNodeKindEq)
	case *actionlint.LogicalOpNode:
		left := exprValue(t, n.Left, known)
		if truth(left) == (n.Kind == actionlint.LogicalOpNodeKindOr) {
			return left
		}
		return exprValue(t, n.Right, known)
	case *actionlint.FuncCallNode:
		switch strings.ToLower(n.Callee) {
		case "always":
			return true
		case "fromjson": // a list stays its text
			return exprValue(t, n.Args[0], known)
		case "contains": // in a list
			return strings.Contains(fmt.Sprint(exprValue(t, n.Args[0], known)), `"`+fmt.Sprint(exprValue(t, n.Args[1], known))+`"`)
		}
	}
	t.Fatalf("nobody knows the expression %T", node)
	return nil
}

func reference(t *testing.T, node actionlint.ExprNode) string {
	t.Helper()
	switch n := node.(type) {
	case *actionlint.VariableNode:
		return n.Name
	case *actionlint.ObjectDerefNode:
		return reference(t, n.Receiver) + "." + n.Property
	}
	t.Fatalf("nobody knows the reference %T", node)
	return ""
}

func truth(v any) bool {
	b, is := v.(bool)
	return is && b || !is && v != ""
}

// script puts a program into a folder.
func script(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// sh runs a line in a folder and returns what it prints.
func sh(t *testing.T, dir, line string) string {
	t.Helper()
	cmd := exec.Command("bash", "-euo", "pipefail", "-c", line)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return strings.TrimSpace(string(out))
}

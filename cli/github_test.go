package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

// githubStep is a step with files of its own, as the runner makes them.
func githubStep(t *testing.T) (summary, output func() string) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("GITHUB_ACTIONS", "true")
	t.Setenv("GITHUB_RUN_ID", "7")
	t.Setenv("GITHUB_SERVER_URL", "https://github.example")
	t.Setenv("GITHUB_REPOSITORY", "o/r")
	read := func(variable string) func() string {
		file := filepath.Join(dir, variable)
		t.Setenv(variable, file)
		return func() string {
			t.Helper()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			return string(text)
		}
	}
	return read("GITHUB_STEP_SUMMARY"), read("GITHUB_OUTPUT")
}

var runCommandOfTest = &cobra.Command{Use: "run", Annotations: tellsOutcome}

// missed is a run that missed so many gates, with text from outside that looks like commands.
func missed(gates int) *judge.Run {
	r := &judge.Run{Verdict: judge.Fail, Record: record.Run{ID: "x", Labels: map[string]string{"commit": "1a2b\n::error::x"}}}
	for i := range gates {
		g := record.Gate{Design: "d", Metric: "failed", Op: "<="}
		r.Gates = append(r.Gates, judge.GateResult{Cell: fmt.Sprintf("s,%%0A/p:\n::error::/%d", i), Gate: g, Observed: 3, Verdict: judge.Fail})
		r.Reasons = append(r.Reasons, judge.Reason{Kind: judge.GateMissed, Cell: r.Gates[i].Cell, Gate: &r.Gates[i].Gate})
	}
	return r
}

func TestAStepIsToldOnGitHub(t *testing.T) {
	summary, output := githubStep(t)
	var lines strings.Builder
	run := missed(30)
	if code := tellGitHub(&lines, step{runCommandOfTest, &outcome{run, "out"}, &verdictError{judge.Fail}, ExitFail}); code != ExitFail {
		t.Errorf("exit code %d, want %d", code, ExitFail)
	}
	annotations := strings.Split(strings.TrimSuffix(lines.String(), "\n"), "\n")
	if len(annotations) != 10 {
		t.Errorf("%d annotations, want 10:\n%s", len(annotations), lines.String())
	}
	for _, a := range annotations {
		if !strings.HasPrefix(a, "::error title=") || strings.Count(a, "::") < 2 {
			t.Errorf("not an error with a title: %s", a)
		}
		title, _, _ := strings.Cut(strings.TrimPrefix(a, "::error title="), "::")
		if strings.ContainsAny(title, ":,\r\n") {
			t.Errorf("the title %q ends early", title)
		}
	}
	if want := "s%2C%250A/p%3A %3A%3Aerror%3A%3A/0"; !strings.Contains(lines.String(), want) {
		t.Errorf("%s\ndoes not name the cell as %s", lines.String(), want)
	}
	got := output()
	for _, want := range []string{"verdict=fail\n", "exit-code=1\n", "results-path=out/results.json\n", "report-path=out/report.html\n", "downtime-ms=\n", "reason=s,%0A/p: ::error::/0 missed failed <= 0 and 29 more gates"} {
		if !strings.Contains(got, want) {
			t.Errorf("the outputs lack %q:\n%s", want, got)
		}
	}
	if n := strings.Count(got, "\n"); n != 7 {
		t.Errorf("%d lines of outputs, want one each of 7:\n%s", n, got)
	}
	for _, want := range []string{"## ❌ FAIL: ", "(https://github.example/o/r/actions/runs/7#artifacts)"} {
		if !strings.Contains(summary(), want) {
			t.Errorf("the summary lacks %q:\n%s", want, summary())
		}
	}
}

func TestWhatEndsNoJobIsNoError(t *testing.T) {
	githubStep(t)
	for _, verdict := range []judge.Verdict{judge.Fail, judge.Inconclusive} {
		run := missed(2)
		run.Verdict = verdict
		var lines strings.Builder
		tellGitHub(&lines, step{runCommandOfTest, &outcome{run, "out"}, nil, ExitPass})
		if strings.Contains(lines.String(), "::error ") || !strings.HasPrefix(lines.String(), "::warning title=rollout-lab%3A "+strings.ToUpper(string(verdict))) {
			t.Errorf("%s: want warnings, got\n%s", verdict, lines.String())
		}
	}
	var lines strings.Builder
	tellGitHub(&lines, step{runCommandOfTest, &outcome{&judge.Run{Verdict: judge.Pass, Gates: []judge.GateResult{{Verdict: judge.Pass}}}, "out"}, nil, ExitPass})
	if !strings.HasPrefix(lines.String(), "::notice title=rollout-lab%3A PASS::") {
		t.Errorf("a pass is told as %s", lines.String())
	}
}

// GitHub shows nothing of a summary that is too long, not even what was in it before.
func TestTheSummaryOfAStepIsNeverTooLong(t *testing.T) {
	summary, _ := githubStep(t)
	for range 150 {
		run := missed(6)
		for i := range run.Gates {
			run.Gates[i].Cell = strings.Repeat("long ", 300)
		}
		if code := tellGitHub(&strings.Builder{}, step{runCommandOfTest, &outcome{run, "out"}, nil, ExitPass}); code != ExitPass {
			t.Fatalf("exit code %d", code)
		}
	}
	if n := len(summary()); n >= 1<<20 || n < 1<<19 {
		t.Errorf("the summary has %d bytes, want less than 1 MiB and not much less", n)
	}
	if !strings.Contains(summary(), "No room for one more result") {
		t.Error("nothing says that there was no room")
	}
}

func TestACommandThatCouldNotRunIsToldOnGitHub(t *testing.T) {
	summary, output := githubStep(t)
	var out, lines strings.Builder
	d := Driver{Name: "a", New: func(io.Writer) (drivers.Driver, error) { return absent{}, nil }}
	code := Main(t.Context(), []string{"run", "./missing.yaml"}, Streams{Out: &out, Err: &lines}, d)
	if code != ExitUsage || !strings.Contains(lines.String(), "::error title=rollout-lab run::") || !strings.Contains(lines.String(), "missing.yaml") {
		t.Errorf("exit code %d, %s", code, lines.String())
	}
	for _, want := range []string{"verdict=error\n", "exit-code=3\n", "missing.yaml"} {
		if !strings.Contains(output(), want) {
			t.Errorf("the outputs lack %q:\n%s", want, output())
		}
	}
	if !strings.Contains(summary(), "missing.yaml") {
		t.Errorf("the summary does not say why:\n%s", summary())
	}
}

// A gate that cannot say how it came out is not green.
func TestAnOutcomeThatCannotBeToldIsNoPass(t *testing.T) {
	githubStep(t)
	for _, variable := range []string{"GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT"} {
		t.Setenv(variable, filepath.Join(t.TempDir(), "no", "folder"))
		for code, want := range map[int]int{ExitPass: ExitEnvironment, ExitFail: ExitFail} {
			var lines strings.Builder
			if got := tellGitHub(&lines, step{runCommandOfTest, &outcome{missed(1), "out"}, nil, code}); got != want || !strings.Contains(lines.String(), "tell GitHub Actions") {
				t.Errorf("%s, code %d: got %d, want %d\n%s", variable, code, got, want, lines.String())
			}
		}
		t.Setenv(variable, "")
	}
}

func TestWhatIsPrintedForPeopleIsNoCommand(t *testing.T) {
	text := "a ::b:: c\n  ::error::x\n::add-mask::y\nz ##[error]w\nat the end :: \n"
	var plain, onGitHub strings.Builder
	if _, err := inert(&plain).Write([]byte(text)); err != nil || plain.String() != text {
		t.Errorf("elsewhere: %q, %v", plain.String(), err)
	}
	t.Setenv("GITHUB_ACTIONS", "true")
	n, err := inert(&onGitHub).Write([]byte(text))
	if err != nil || n != len(text) {
		t.Errorf("wrote %d of %d, %v", n, len(text), err)
	}
	for line := range strings.Lines(onGitHub.String()) {
		if strings.HasPrefix(strings.TrimSpace(line), "::") || strings.Contains(line, "##[") {
			t.Errorf("%q is a command", line)
		}
	}
	if got := strings.ReplaceAll(onGitHub.String(), "\u200b", ""); got != text {
		t.Errorf("got %q, want %q", got, text)
	}
	if _, err := (inertWriter{failing{}}).Write([]byte("x")); err == nil {
		t.Error("an error is swallowed")
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("no") }

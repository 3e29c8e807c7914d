package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/reports"
)

// labelFlags say what a run is a run of.
type labelFlags struct{ texts []string }

func (f *labelFlags) register(fl *pflag.FlagSet) {
	fl.StringArrayVar(&f.texts, "label", nil, "k=v, says in every report what was run, such as commit=1a2b3c4")
}

// labels turns k=v into a map.
func (f *labelFlags) labels() (map[string]string, error) {
	all := map[string]string{}
	for _, text := range f.texts {
		k, v, ok := strings.Cut(text, "=")
		if !ok || k == "" {
			return nil, &usageError{fmt.Errorf("--label %q: want k=v", text), ""}
		}
		if _, twice := all[k]; twice {
			return nil, &usageError{fmt.Errorf("--label %s is given twice", k), ""}
		}
		all[k] = v
	}
	return all, nil
}

// choice is a flag that is one of a few words.
type choice struct {
	value string
	of    []string
}

func (c *choice) String() string { return c.value }
func (c *choice) Type() string   { return strings.Join(c.of, "|") }
func (c *choice) Set(s string) error {
	if !slices.Contains(c.of, s) {
		return fmt.Errorf("want %s", strings.Join(c.of, " or "))
	}
	c.value = s
	return nil
}

// policy is which verdicts the exit code tells of. As it is made, of every one but a pass.
type policy struct{ failOn, inconclusive choice }

func (p *policy) register(fl *pflag.FlagSet) {
	p.failOn = choice{"gate", []string{"gate", "regression", "never"}}
	p.inconclusive = choice{"fail", []string{"fail", "warn"}}
	fl.Var(&p.failOn, "fail-on", "what makes the exit code 1: any gate that was missed; one against a baseline or another design (2 where none of these is decided), or a target that failed; or nothing, which lets an inconclusive run pass as well")
	fl.Var(&p.inconclusive, "inconclusive", "fail makes the exit code of an inconclusive run 2, warn makes it 0")
}

// verdictOf is the error that carries a verdict to the exit code.
func (p *policy) verdictOf(r *judge.Run) error {
	verdict := r.Verdict
	if verdict == judge.Fail && p.failOn.value == "regression" {
		verdict = regression(r)
	}
	switch {
	case verdict == judge.Pass, p.failOn.value == "never":
		return nil
	case verdict != judge.Fail && p.inconclusive.value == "warn":
		return nil
	}
	return &verdictError{verdict}
}

// regression is the verdict of a run that fails, for who asks for no more than that nothing has
// become worse: what is held against a baseline or another design, and that the target did not
// fail. A limit that was missed says nothing of that: where nothing was compared, or a comparison
// is not decided, this is not known.
func regression(r *judge.Run) judge.Verdict {
	if slices.ContainsFunc(r.Reasons, func(reason judge.Reason) bool {
		return reason.Kind == judge.TargetFailed || reason.Kind == judge.DeployFailed
	}) {
		return judge.Fail
	}
	compared, held := 0, 0
	for _, g := range r.Gates {
		if g.Verdict == judge.Fail && (g.Implicit || g.Gate.Against != "") {
			return judge.Fail
		}
		if g.Gate.Against != "" && !g.Gate.Warn {
			compared++
			if g.Verdict == judge.Pass {
				held++
			}
		}
	}
	if compared == 0 || held < compared {
		return judge.Inconclusive
	}
	return judge.Pass
}

// ending is what the exit code of a run follows from: what went wrong around it, or else its
// verdict. A fail is one whatever could not be run beside it or cleaned up behind it: who takes
// trouble with the surroundings for a reason to try again must not try again on that.
func (p *policy) ending(judged *judge.Run, runErr error) error {
	verdict := p.verdictOf(judged)
	fail, is := errors.AsType[*verdictError](verdict)
	if runErr != nil && (!is || fail.verdict != judge.Fail || errors.Is(runErr, errInterrupted)) {
		return runErr
	}
	return verdict
}

// outcomeFlags say what becomes of a result beside what is printed of it.
type outcomeFlags struct {
	policy
	summary string
}

func (f *outcomeFlags) register(fl *pflag.FlagSet) {
	f.policy.register(fl)
	fl.StringVar(&f.summary, "summary", "", "also write the result as Markdown to this file; in GitHub Actions, the job's summary has it anyway")
}

// write writes the summary.
func (f *outcomeFlags) write(r *judge.Run, dir string) error {
	if f.summary == "" {
		return nil
	}
	text, err := summaryOf(r, dir)
	if err == nil {
		err = os.WriteFile(f.summary, text, 0o644) // it may be a pipe or a terminal
	}
	if err != nil {
		return fmt.Errorf("write the summary: %w", err)
	}
	return nil
}

// summaryOf is a result as Markdown, with the address where a pipeline keeps the folder.
func summaryOf(r *judge.Run, dir string) ([]byte, error) {
	var b bytes.Buffer
	err := reports.WriteMarkdown(&b, r, reports.MarkdownOptions{Folder: dir, Link: artifacts(os.Getenv)})
	return b.Bytes(), err
}

// artifacts is the page with what the job keeps, "" where there is none.
func artifacts(getenv func(string) string) string {
	if getenv("GITHUB_ACTIONS") == "true" && getenv("GITHUB_RUN_ID") != "" {
		return fmt.Sprintf("%s/%s/actions/runs/%s#artifacts", getenv("GITHUB_SERVER_URL"), getenv("GITHUB_REPOSITORY"), getenv("GITHUB_RUN_ID"))
	}
	if job := getenv("CI_JOB_URL"); getenv("GITLAB_CI") == "true" && job != "" {
		return job + "/artifacts/browse"
	}
	return ""
}

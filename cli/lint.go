package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/lint"
)

func lintCommand(a *app) *cobra.Command {
	var asJSON, listRules bool
	var drain time.Duration
	cmd := &cobra.Command{
		Use: "lint FILE|FOLDER...", Short: "Say what in manifests, unit files and compose files loses requests",
		Long: `Reads Kubernetes manifests, systemd units and compose files (- is standard input) and
says what in them loses requests, why, and what to write instead. Files of one call are
judged together. A folder stands for all such files below it; .rolloutlabignore in it names
what to leave out, as .dockerignore does.

A program that drains by itself, without a flag here that says so: --drain 5s, or the
comment # rollout-lab:drain 5s beside it. To take a finding back, on its line or above:
# rollout-lab:ignore RULE reason. The annotations rollout-lab.dev/drain and
rollout-lab.dev/ignore of an object do the same and survive kustomize.

Exit codes: 0 no error (warnings are printed), 1 errors, 3 a file is broken, or nothing in
the files was recognised. What is not judged, a ConfigMap say, is counted and no error.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && !listRules {
				return &usageError{fmt.Errorf("%s needs a file, or - for standard input", cmd.CommandPath()), "--rules lists what it looks for"}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if listRules {
				return printRules(a.Out, args, asJSON)
			}
			var o lint.Options
			if cmd.Flags().Changed("drain") {
				if drain < 0 {
					return &usageError{fmt.Errorf("--drain %v is negative", drain), "say how long the program goes on serving after SIGTERM, or 0s"}
				}
				o.Drain = &drain
			}
			files, unread := lintFiles(args, a.In)
			report := lintReport(files, unread, o)
			write := printFindings
			if asJSON {
				write = func(out io.Writer, r *lint.Report) error { return writeJSON(out, r) }
			}
			if err := write(a.Out, report); err != nil {
				return &environmentError{fmt.Errorf("print the findings: %w", err), ""}
			}
			if err := lintErrors(report.Problems); err != nil {
				return err
			}
			if report.Count(lint.Error) > 0 {
				return &verdictError{judge.Fail}
			}
			return nil
		},
	}
	cmd.Flags().DurationVar(&drain, "drain", 0, "how long the programs go on serving after SIGTERM, where the files do not say (0s: not at all)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&listRules, "rules", false, "list the rules; with rule IDs, explain these")
	return cmd
}

// lintReport is what is said of the files; what could not be read is among its problems.
func lintReport(files []lint.File, unread []*lint.FileError, o lint.Options) *lint.Report {
	report, _ := lint.Check(files, o) // its error says what the report's problems say
	if len(files) == 0 && len(unread) > 0 {
		report.Problems = nil // that there is nothing to check follows from the others
	}
	report.Problems = append(unread, report.Problems...)
	return report
}

// lintErrors makes each problem of the linter an error with the hint that it carries.
func lintErrors(problems []*lint.FileError) error {
	var out []error
	for _, p := range problems {
		out = append(out, &usageError{p, p.Hint})
	}
	return errors.Join(out...)
}

func printFindings(out io.Writer, r *lint.Report) error {
	var b strings.Builder
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%s:%d:%d: %s: %s: %s: %s\n    why: %s\n    fix: %s\n", f.File, f.Line, f.Column, f.Severity, f.Rule, f.Subject, f.Effect, f.Why, f.Fix)
	}
	fmt.Fprintf(&b, "checked %s: %s, %s", counted(len(r.Checked), "part"), counted(r.Count(lint.Error), "error"), counted(r.Count(lint.Warning), "warning"))
	if n := len(r.Suppressed); n > 0 {
		fmt.Fprintf(&b, ", %d ignored", n)
	}
	b.WriteString("\n")
	if len(r.Skipped) > 0 {
		fmt.Fprintf(&b, "not judged: %s\n", skippedLine(r.Skipped))
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// printRules lists all rules, or explains the ones that are named.
func printRules(out io.Writer, ids []string, asJSON bool) error {
	rules := lint.Rules()
	if len(ids) > 0 {
		rules = nil
		for _, id := range ids {
			rule, ok := lint.RuleByID(id)
			if !ok {
				return &usageError{fmt.Errorf("no rule %q", id), "rollout-lab lint --rules lists them"}
			}
			rules = append(rules, rule)
		}
	}
	if asJSON {
		return writeJSON(out, rules)
	}
	var b strings.Builder
	for _, r := range rules {
		if len(ids) == 0 {
			fmt.Fprintf(&b, "%-30s %-8s %s\n", r.ID, r.Severity, r.What)
			continue
		}
		fmt.Fprintf(&b, "%s (%s, %s)\n    %s\n    why: %s\n    fix: %s\n", r.ID, r.Runtime, r.Severity, r.What, r.Why, r.Fix)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

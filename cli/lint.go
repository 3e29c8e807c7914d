package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/lint"
)

// lintFlags are what lint can be told.
type lintFlags struct {
	drain             time.Duration
	asJSON, listRules bool
	failOn            choice
	baseline, write   string
	sarif             string
}

func lintCommand(a *app) *cobra.Command {
	var f lintFlags
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

To begin with files that have many findings: --write-baseline FILE, and from then on
--baseline FILE, which tells of new ones alone.

Exit codes: 0 no error (warnings are printed), 1 errors, 3 a file is broken, or nothing in
the files was recognised. What is not judged, a ConfigMap say, is counted and no error.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && !f.listRules {
				return &usageError{fmt.Errorf("%s needs a file, or - for standard input", cmd.CommandPath()), "--rules lists what it looks for"}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.listRules {
				return printRules(a.Out, args, f.asJSON)
			}
			var o lint.Options
			if cmd.Flags().Changed("drain") {
				if f.drain < 0 {
					return &usageError{fmt.Errorf("--drain %v is negative", f.drain), "say how long the program goes on serving after SIGTERM, or 0s"}
				}
				o.Drain = &f.drain
			}
			return f.lint(a, args, o)
		},
	}
	f.failOn = choice{"error", []string{"error", "warning", "never"}}
	fl := cmd.Flags()
	fl.DurationVar(&f.drain, "drain", 0, "how long the programs go on serving after SIGTERM, where the files do not say (0s: not at all)")
	fl.BoolVar(&f.asJSON, "json", false, "print JSON")
	fl.BoolVar(&f.listRules, "rules", false, "list the rules; with rule IDs, explain these")
	fl.Var(&f.failOn, "fail-on", "what makes the exit code 1: an error; a warning as well; or nothing")
	fl.StringVar(&f.baseline, "baseline", "", "file of findings that are known, and do not count")
	fl.StringVar(&f.write, "write-baseline", "", "write the findings to this file, from which --baseline knows them; the exit code is 0")
	fl.StringVar(&f.sarif, "sarif", "", "write the findings to this file as SARIF 2.1.0, for code scanning and editors")
	return cmd
}

// lint judges the files, and tells of it in all the ways that it was asked for.
func (f *lintFlags) lint(a *app, args []string, o lint.Options) error {
	if os.Getenv("GOGC") == "" {
		// What is read is kept to the end: to look through it less often saves a quarter.
		defer debug.SetGCPercent(debug.SetGCPercent(400))
	}
	var known *lint.Baseline
	if f.baseline != "" {
		var err error
		if known, err = readKnown(f.baseline); err != nil {
			return err
		}
	}
	files, unread := lintFiles(args, a.In)
	report := lintReport(files, unread, o)
	gone := 0
	if known != nil {
		gone = report.Compare(known, files)
	}
	a.findings = report.Findings
	write := func(out io.Writer, r *lint.Report) error { return printFindings(inert(out), r, gone) }
	if f.asJSON {
		write = func(out io.Writer, r *lint.Report) error { return writeJSON(out, r) }
	}
	if err := write(a.Out, report); err != nil {
		return &environmentError{fmt.Errorf("print the findings: %w", err), ""}
	}
	if f.sarif != "" {
		if err := writeTo(f.sarif, lint.SARIF(report, tool().Version)); err != nil {
			return err
		}
	}
	if err := lintErrors(report.Problems); err != nil {
		return err
	}
	if f.write != "" {
		return writeTo(f.write, lint.NewBaseline(report))
	}
	return f.outcome(report)
}

// outcome is the error of findings that make the call fail.
func (f *lintFlags) outcome(r *lint.Report) error {
	counts := r.Count(lint.Error)
	if f.failOn.value == "warning" {
		counts += r.Count(lint.Warning)
	}
	if counts == 0 || f.failOn.value == "never" {
		return nil
	}
	return &verdictError{judge.Fail}
}

func readKnown(name string) (*lint.Baseline, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, &usageError{fmt.Errorf("read the baseline: %w", err), "rollout-lab lint --write-baseline FILE writes one"}
	}
	known, err := lint.ParseBaseline(data)
	if err != nil {
		return nil, &usageError{fmt.Errorf("read the baseline %s: %w", name, err), "rollout-lab lint --write-baseline FILE writes one"}
	}
	return known, nil
}

// writeTo writes a value to a file as JSON.
func writeTo(name string, v any) error {
	if err := writeFile(name, func(w io.Writer) error { return writeJSON(w, v) }); err != nil {
		return &environmentError{fmt.Errorf("write %s: %w", name, err), ""}
	}
	return nil
}

// lintReport is what is said of the files; what could not be read is among its problems.
func lintReport(files []lint.File, unread []*lint.FileError, o lint.Options) *lint.Report {
	report, _ := lint.Check(files, o) // its error says what the report's problems say
	if len(files) == 0 && len(unread) > 0 {
		report.Problems = nil // that there is nothing to check follows from the others
	}
	report.Problems = slices.Concat([]*lint.FileError{}, unread, report.Problems)
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

// printFindings prints each finding in a line; why a rule is one, and each fix, are said once.
// Gone is how many findings of the baseline are there no more.
func printFindings(out io.Writer, r *lint.Report, gone int) error {
	var b strings.Builder
	said := map[string]bool{}
	once := func(rule, what, text string) {
		if key := rule + "\x00" + text; !said[key] {
			said[key] = true
			fmt.Fprintf(&b, "    %s: %s\n", what, text)
		}
	}
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%s:%d:%d: %s: %s: %s: %s\n", f.File, f.Line, f.Column, f.Severity, f.Rule, subjects(f), f.Effect)
		once(f.Rule, "why", f.Why)
		once(f.Rule, "fix", f.Fix)
	}
	fmt.Fprintf(&b, "checked %s: %s, %s", counted(len(r.Checked), "part"), counted(r.Count(lint.Error), "error"), counted(r.Count(lint.Warning), "warning"))
	for _, n := range []struct {
		n    int
		what string
	}{{len(r.Suppressed), "ignored"}, {len(r.Known), "known from the baseline"}, {gone, "of the baseline gone"}} {
		if n.n > 0 {
			fmt.Fprintf(&b, ", %d %s", n.n, n.what)
		}
	}
	b.WriteString("\n")
	if len(r.Skipped) > 0 {
		fmt.Fprintf(&b, "not judged: %s\n", skippedLine(r.Skipped))
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// subjects names what a finding is of: all, if they are few.
func subjects(f lint.Finding) string {
	if n := len(f.Others); n > 3 {
		return fmt.Sprintf("%s and %d others", f.Subject, n)
	}
	return strings.Join(append([]string{f.Subject}, f.Others...), ", ")
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

package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rollout-lab/rollout-lab/internal/baseline"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/reports/format"
)

func baselineCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "baseline", Short: "Keep what good runs showed, for later ones to be held against",
		Long: `A baseline is a file with what earlier runs showed: of each design of a scenario on a
driver up to 30 valid trials, with the conditions and the machine that they were measured
on. run --baseline FILE holds a run against it where a gate asks for that. Keep it where
only the default branch writes, and add a run to it only when that run is good.`,
		Example: "  rollout-lab baseline add base.json rollout-lab-runs/RUN\n  rollout-lab run ci.yaml --baseline base.json",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(baselineAdd(a), baselineShow(a), baselineCheck(a), baselineAccept(a))
	return cmd
}

func baselineAdd(a *app) *cobra.Command {
	var anyEnvironment bool
	cmd := &cobra.Command{
		Use: "add FILE RUN...", Short: "Add the valid trials of runs",
		Long: `Adds the valid trials of runs, which are folders or their results.json, to a baseline, and
makes it where there is none. Of each cell the newest 30 are kept. A run that was measured
under other conditions or on another machine is refused, with what differs; so is one that
missed a gate against the baseline, because with it the next one would not.`,
		Args: fileAndRuns(1),
		RunE: func(_ *cobra.Command, args []string) error {
			f, err := readBaseline(args[0])
			if errors.Is(err, fs.ErrNotExist) {
				f, err = baseline.New(), nil
			}
			if err != nil {
				return err
			}
			var lines []string
			for _, name := range args[1:] {
				doc, err := readMeasured(name)
				if err != nil {
					return err
				}
				if g := worse(doc); g != nil {
					return &usageError{fmt.Errorf("%s got worse: %s: %s", name, g.Cell, g.Why), "where that is meant, rollout-lab baseline accept FILE --reason TEXT RUN begins the baseline anew with it"}
				}
				added, err := f.Add(measuredRun(doc), anyEnvironment)
				if err != nil {
					return &usageError{fmt.Errorf("%s: %w", name, err), ""}
				}
				lines = append(lines, fmt.Sprintf("%s: %s added", name, format.Plural(added, "trial", "trials")))
			}
			if err := writeBaseline(args[0], f); err != nil {
				return err
			}
			fmt.Fprintln(a.Out, strings.Join(lines, "\n"))
			return nil
		},
	}
	cmd.Flags().BoolVar(&anyEnvironment, anyEnvironmentFlag, false, "add what was measured on another machine all the same")
	return cmd
}

func baselineAccept(a *app) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: "accept FILE [RUN...]", Short: "Accept that something has changed, and begin anew",
		Long: `Accepts a shift: what the baseline has of the cells of the runs is dropped, and it goes on
with the trials of the runs. Without a run all cells are dropped. The reason stays in the
file.`,
		Example: "  rollout-lab baseline accept base.json --reason 'the new TLS library costs 80 ms' rollout-lab-runs/RUN",
		Args:    fileAndRuns(0),
		RunE: func(_ *cobra.Command, args []string) error {
			if strings.TrimSpace(reason) == "" {
				return &usageError{errors.New("accept needs --reason"), "say in a sentence why it is no regression: who reads the file later asks"}
			}
			f, err := readBaseline(args[0])
			if err != nil {
				return err
			}
			var runs []baseline.Run
			for _, name := range args[1:] {
				doc, err := readMeasured(name)
				if err != nil {
					return err
				}
				runs = append(runs, measuredRun(doc))
			}
			if err := f.Accept(strings.TrimSpace(reason), time.Now(), runs...); err != nil {
				return &usageError{err, ""}
			}
			if err := writeBaseline(args[0], f); err != nil {
				return err
			}
			made := f.Accepted[len(f.Accepted)-1]
			fmt.Fprintf(a.Out, "accepted: %s\n", format.Clean(made.Reason))
			for _, key := range made.Cells {
				fmt.Fprintf(a.Out, "  %s begins anew\n", format.Clean(key))
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why it is no regression")
	return cmd
}

func baselineShow(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "show FILE", Short: "Show what a baseline holds", Args: oneFile,
		RunE: func(_ *cobra.Command, args []string) error {
			f, err := readBaseline(args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return f.Write(a.Out)
			}
			for _, c := range f.Cells {
				fmt.Fprintf(a.Out, "%s: %s\n", format.Clean(c.Key()), strings.Join(aboutCell(c), ", "))
			}
			for _, s := range f.Accepted {
				fmt.Fprintf(a.Out, "accepted %s: %s\n", format.Clean(s.At), format.Clean(s.Reason))
			}
			if len(f.Cells) == 0 {
				fmt.Fprintln(a.Out, "nothing")
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the file as it would be written")
	return cmd
}

// aboutCell says what a baseline has of a cell.
func aboutCell(c baseline.Cell) []string {
	newest := c.Trials[len(c.Trials)-1]
	s := []string{format.Plural(len(c.Trials), "trial", "trials"), "from " + c.Trials[0].Started + " to " + newest.Started}
	if newest.Commit != "" {
		s = append(s, "commit "+format.Clean(format.Shorten(newest.Commit, 12)))
	}
	var environments []string
	for _, t := range c.Trials {
		if !slices.Contains(environments, t.Fingerprint) {
			environments = append(environments, t.Fingerprint)
		}
	}
	return append(s, "environment "+format.Clean(strings.Join(environments, " and ")))
}

func baselineCheck(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "check FILE", Short: "Say whether a baseline can decide anything",
		Long: `Checks that a file is a baseline, and that of each cell it holds enough trials to tell
three new ones apart. The exit code is 2 where one has too few.`,
		Args: oneFile,
		RunE: func(_ *cobra.Command, args []string) error {
			f, err := readBaseline(args[0])
			if err != nil {
				return err
			}
			short := len(f.Cells) == 0
			for _, c := range f.Cells {
				word := "ok"
				if len(c.Trials) < baseline.FewestTrials {
					word, short = fmt.Sprintf("too few, %d would do", baseline.FewestTrials), true
				}
				fmt.Fprintf(a.Out, "%s: %s, %s\n", format.Clean(c.Key()), format.Plural(len(c.Trials), "trial", "trials"), word)
			}
			if len(f.Cells) == 0 {
				fmt.Fprintln(a.Out, "it holds nothing")
			}
			if short {
				return &verdictError{}
			}
			return nil
		},
	}
}

// readBaseline reads a baseline; where there is none the error is fs.ErrNotExist.
func readBaseline(name string) (*baseline.File, error) {
	f, err := baseline.Read(name)
	if err != nil {
		return nil, &usageError{err, ""}
	}
	return f, nil
}

func writeBaseline(name string, f *baseline.File) error {
	if err := writeFile(name, f.Write); err != nil {
		return &environmentError{fmt.Errorf("write %s: %w", name, err), ""}
	}
	return nil
}

func oneFile(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return &usageError{fmt.Errorf("%s needs the file of one baseline", cmd.CommandPath()), "rollout-lab baseline add FILE RUN makes one"}
	}
	return nil
}

// fileAndRuns refuses a command without a file, or with fewer runs.
func fileAndRuns(runs int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return &usageError{fmt.Errorf("%s needs the file of a baseline", cmd.CommandPath()), "such as base.json"}
		case len(args) <= runs:
			return &usageError{fmt.Errorf("%s needs a run", cmd.CommandPath()), "the folder of a run, or its results.json; runs are kept in rollout-lab-runs"}
		}
		return nil
	}
}

// anyEnvironmentFlag is what has another machine's measurements compared all the same.
const anyEnvironmentFlag = "allow-different-environment"

// pastRuns is what a run is held against: of a file that is there what fits, and of one that is
// not that it is missing, which is no error: a gate that needs it is then inconclusive.
func pastRuns(name string, anyEnvironment bool) (func(record.Run) *record.Baseline, error) {
	f, err := readBaseline(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return func(record.Run) *record.Baseline {
			return &record.Baseline{File: filepath.Base(name), Missing: "no such file", AnyEnvironment: anyEnvironment, Cells: []record.PastCell{}}
		}, nil
	case err != nil:
		return nil, err
	}
	return func(run record.Run) *record.Baseline { return f.For(run, filepath.Base(name), anyEnvironment) }, nil
}

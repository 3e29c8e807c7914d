package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/lab"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/reports"
	"github.com/rollout-lab/rollout-lab/reports/format"
	"github.com/rollout-lab/rollout-lab/scenarios"
)

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return &usageError{fmt.Errorf("%s takes no argument, got %q", cmd.CommandPath(), args[0]), ""}
	}
	return nil
}

func listCommand(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List the scenarios of the catalogue", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			all, err := scenarios.Catalogue()
			if err != nil {
				return err
			}
			if asJSON {
				return listJSON(a.Out, all)
			}
			printScenarios(a.Out, all, terminalOptions(a.Out, "").Width)
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// printScenarios writes the first sentence about each scenario, suite by suite, folded at the
// width of the terminal.
func printScenarios(out io.Writer, all []*scenarios.Scenario, width int) {
	name, what := 0, 0
	for _, s := range all {
		name, what = max(name, len(s.Name)), max(what, len(happens(s)))
	}
	indent := name + what + 4
	suites, of := bySuite(all)
	for i, suite := range suites {
		if suite != "" && i > 0 {
			fmt.Fprintln(out)
		}
		if suite != "" {
			fmt.Fprintf(out, "suite %s, run with --suite %s:\n", suite, suite)
		}
		for _, s := range of[suite] {
			about, _, more := strings.Cut(strings.Join(strings.Fields(s.About), " "), ". ")
			if more {
				about += "."
			}
			for i, line := range format.Fold(about, max(width-indent, 20)) {
				if i > 0 {
					fmt.Fprintf(out, "%*s%s\n", indent, "", line)
					continue
				}
				fmt.Fprintf(out, "%-*s  %-*s  %s\n", name, s.Name, what, happens(s), line)
			}
		}
	}
}

func listJSON(out io.Writer, all []*scenarios.Scenario) error {
	type entry struct {
		Name    string            `json:"name"`
		Suite   string            `json:"suite,omitempty"`
		About   string            `json:"about"`
		Action  string            `json:"action"`
		Faults  []string          `json:"faults,omitempty"`
		Rate    float64           `json:"rate"`
		Trials  record.TrialRange `json:"trials"`
		Designs []string          `json:"designs"`
	}
	entries := []entry{}
	for _, s := range all {
		e := entry{Name: s.Name, Suite: s.Suite, About: strings.TrimSpace(s.About), Action: s.ActionName(), Rate: s.Load.Rate, Trials: s.Trials}
		for _, f := range s.Faults {
			e.Faults = append(e.Faults, string(f.Kind))
		}
		for _, d := range s.Designs {
			e.Designs = append(e.Designs, d.Name)
		}
		entries = append(entries, e)
	}
	return writeJSON(out, entries)
}

func writeJSON(out io.Writer, v any) error {
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func validateCommand(a *app) *cobra.Command {
	f := driverFlags{app: a}
	var vars []string
	cmd := &cobra.Command{
		Use: "validate SCENARIO...", Short: "Check scenarios without running them",
		Long: `Checks scenarios without running them; - is one on standard input. With --driver it also asks those drivers, each by
itself, whether they can honour what the scenarios say, whether they can do the faults, and whether
the programs and images are there; what a driver emulates or does not do is printed as a note. Nothing is started.`,
		Example: "  rollout-lab validate mine.yaml\n  rollout-lab validate mine.yaml --driver process,docker",
		Args:    needArgs("a file or the name of a scenario", "rollout-lab list shows the catalogue"),
		RunE: func(cmd *cobra.Command, args []string) error {
			values, secret, err := parseVars(vars)
			if err != nil {
				return err
			}
			var ds []drivers.Driver
			if len(f.names) > 0 {
				if ds, err = f.chosen(); err != nil {
					return err
				}
			}
			var errs error
			for _, arg := range args {
				errs = errors.Join(errs, a.validate(cmd.Context(), arg, scenarios.Options{Vars: values, Secret: secret, Drivers: a.driverNames()}, ds))
			}
			return errors.Join(errs, closeDrivers(cmd.Context(), ds))
		},
	}
	f.register(cmd.Flags(), nil, "drivers to ask (default: none)")
	cmd.Flags().StringArrayVar(&vars, "var", nil, varUsage)
	return cmd
}

// load reads a scenario; - is standard input.
func (a *app) load(arg string, o scenarios.Options) (*scenarios.Scenario, error) {
	if arg != "-" {
		return scenarios.Load(arg, o)
	}
	text, err := io.ReadAll(io.LimitReader(a.In, mostInput))
	if err != nil {
		return nil, fmt.Errorf("read standard input: %w", err)
	}
	return scenarios.Parse("standard input", text, o)
}

// mostInput bounds a scenario on standard input, in bytes: more than any may have, so that what is
// cut is refused as too large.
const mostInput = 16 << 20

// validate checks one scenario, and asks the drivers about it.
func (a *app) validate(ctx context.Context, arg string, o scenarios.Options, ds []drivers.Driver) error {
	s, err := a.load(arg, o)
	if err != nil {
		return err
	}
	a.hide(s.Secrets)
	notes, err := lab.Review(ctx, []*scenarios.Scenario{s}, ds)
	for _, n := range notes {
		fmt.Fprintf(a.Err, "note: %v\n", n)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(a.Out, "%s: ok (action %s, designs: %d, trials of each: %v, requests of each: %d)\n", arg, s.ActionName(), len(s.Designs), s.Trials, s.Planned())
	return nil
}

func schemaCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "schema [scenario|results]", Short: "Print a JSON Schema: of scenarios, or of results.json",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 || (len(args) == 1 && args[0] != "scenario" && args[0] != "results") {
				return &usageError{fmt.Errorf("%s: want scenario or results", cmd.CommandPath()), ""}
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 && args[0] == "results" {
				_, err := a.Out.Write(reports.Schema())
				return err
			}
			text, err := scenarios.Schema(scenarios.Options{Drivers: a.driverNames()})
			if err != nil {
				return err
			}
			_, err = a.Out.Write(append(text, '\n'))
			return err
		},
	}
}

// doctorRate is the highest rate that the doctor tries: more than any scenario of the catalogue
// asks for.
const doctorRate = 2000

func doctorCommand(a *app) *cobra.Command {
	f := driverFlags{app: a}
	cmd := &cobra.Command{
		Use: "doctor", Short: "Say what can run here, and what is missing", Args: noArgs,
		Long: "Says in three seconds which rate the machine holds, and of each driver whether it can run here,\nwhat it has to say about itself, which faults it can do, and what is missing. It fails when a driver that was asked for, or every driver, is not available.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ds, err := f.chosen()
			if err != nil {
				return err
			}
			t := tool()
			fmt.Fprintf(a.Out, "rollout-lab %s %s/%s, %d CPUs, %s\n", t.Version, runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version())
			p, err := lab.HeldRate(cmd.Context(), doctorRate)
			if err != nil {
				return err
			}
			fmt.Fprintf(a.Out, "load             %s\n", reports.HeldText(*p))
			var errs error
			available := 0
			for _, d := range ds {
				if err := d.Check(cmd.Context()); err != nil {
					why := strings.TrimPrefix(err.Error(), drivers.ErrUnavailable.Error()+": ")
					fmt.Fprintf(a.Out, "driver %-8s  not available: %s\n", d.Name(), why)
					for _, hint := range hints(err) {
						fmt.Fprintf(a.Out, "  hint: %s\n", hint)
					}
					errs = errors.Join(errs, &environmentError{fmt.Errorf("driver %s: %w", d.Name(), err), ""})
					continue
				}
				fmt.Fprintf(a.Out, "driver %-8s  ok\n", d.Name())
				if d, ok := d.(drivers.Describer); ok {
					for _, line := range d.Describe(cmd.Context()) {
						fmt.Fprintf(a.Out, "  %s\n", line)
					}
				}
				tellFaults(cmd.Context(), a.Out, d)
				available++
			}
			if len(f.names) == 0 && available > 0 {
				return nil
			}
			return errs
		},
	}
	f.register(cmd.Flags(), nil, "drivers to check (default: all)")
	return cmd
}

func cleanCommand(a *app) *cobra.Command {
	f := driverFlags{app: a}
	var runID string
	cmd := &cobra.Command{
		Use: "clean", Short: "Remove what killed runs left behind", Args: noArgs,
		Long: "Removes what runs left behind whose lab no longer lives, on every driver that is available.\nWith --run, what that run left behind, even when its lab is alive.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ds, err := f.chosen()
			if err != nil {
				return err
			}
			return clean(cmd.Context(), a, ds, runID, len(f.names) > 0)
		},
	}
	f.register(cmd.Flags(), nil, "drivers to clean (default: all that are available)")
	cmd.Flags().StringVar(&runID, "run", "", "ID of a run")
	return cmd
}

func clean(ctx context.Context, a *app, ds []drivers.Driver, runID string, asked bool) error {
	var errs error
	count := 0
	for _, d := range ds {
		if err := d.Check(ctx); err != nil {
			if asked {
				errs = errors.Join(errs, &environmentError{fmt.Errorf("driver %s: %w", d.Name(), err), ""})
			}
			continue
		}
		removed, err := d.Sweep(ctx, runID)
		for _, what := range removed {
			fmt.Fprintf(a.Out, "removed %s: %s\n", d.Name(), what)
		}
		count += len(removed)
		if err != nil {
			errs = errors.Join(errs, &environmentError{fmt.Errorf("clean %s: %w", d.Name(), err), ""})
		}
	}
	if count == 0 && errs == nil {
		fmt.Fprintln(a.Out, "nothing left behind")
	}
	return errs
}

func reportCommand(a *app) *cobra.Command {
	var asJSON bool
	var picture string
	var f outcomeFlags
	cmd := &cobra.Command{
		Use: "report DIR", Annotations: tellsOutcome, Short: "Judge a run's raw record again and rebuild its reports",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return &usageError{fmt.Errorf("%s needs the folder of one run", cmd.CommandPath()), "runs are kept in rollout-lab-runs"}
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			judged, err := lab.Judge(args[0])
			if err != nil {
				if errors.As(err, new(*record.FormatError)) {
					return &usageError{err, ""} // it knows better
				}
				return &usageError{err, "want a folder that rollout-lab run wrote; runs are kept in rollout-lab-runs"}
			}
			// What cannot be written can still be read.
			var writeErr error
			if err := writeReports(args[0], judged); err != nil {
				writeErr = &environmentError{err, "what is printed is judged from the record all the same"}
			}
			if picture != "" {
				draw := func(w io.Writer) error { return reports.WriteTimelineSVG(w, judged) }
				if err := writeFile(picture, draw); err != nil {
					return &environmentError{fmt.Errorf("write %s: %w", picture, err), ""}
				}
			}
			if err := errors.Join(f.write(judged, args[0]), printRun(a.Out, judged, args[0], asJSON)); err != nil {
				return &environmentError{err, ""}
			}
			a.outcome = &outcome{judged, args[0]}
			err = f.ending(judged, writeErr)
			if writeErr != nil && !errors.Is(err, writeErr) {
				complain(a.Err, writeErr)
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print results.json instead of the matrix")
	f.register(cmd.Flags())
	cmd.Flags().StringVar(&picture, "svg", "", "also write the timeline as a picture to this file")
	return cmd
}

// reportFiles are the files that are rebuilt from the record.
var reportFiles = []struct {
	name  string
	write func(io.Writer, *judge.Run) error
}{
	{"results.json", func(w io.Writer, r *judge.Run) error { return reports.WriteJSON(w, reports.Results(r)) }},
	{"report.html", reports.WriteHTML},
	{"junit.xml", reports.WriteJUnit},
	{"metrics.txt", reports.WriteMetrics},
}

// writeReports writes every report of a judged run into its folder. A file is complete
// or absent, never half.
func writeReports(dir string, r *judge.Run) error {
	for _, f := range reportFiles {
		if err := writeFile(filepath.Join(dir, f.name), func(w io.Writer) error { return f.write(w, r) }); err != nil {
			return fmt.Errorf("write %s: %w", f.name, err)
		}
	}
	return nil
}

func writeFile(name string, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if err := write(f); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := errors.Join(f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// printRun prints the result: the matrix and the verdict, or results.json.
func printRun(out io.Writer, r *judge.Run, dir string, asJSON bool) error {
	if asJSON {
		return reports.WriteJSON(out, reports.Results(r))
	}
	return reports.WriteTerminal(inert(out), r, terminalOptions(out, dir))
}

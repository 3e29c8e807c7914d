package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/lab"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/scenarios"
)

// runFlags are the flags of `run`.
type runFlags struct {
	drivers    driverFlags
	watch      watchFlags
	label      labelFlags
	outcome    outcomeFlags
	suite      string
	named      []string // scenarios that are not there for their suite alone
	baseline   baselineFlags
	designs    []string
	time       timeFlags
	rate       rateFlag
	trials     trialsFlag
	window     time.Duration
	out        string
	vars       []string
	keep, json bool
}

func runCommand(a *app) *cobra.Command {
	f := runFlags{drivers: driverFlags{app: a}, watch: watchFlags{app: a}}
	cmd := &cobra.Command{
		Use: "run SCENARIO...", Annotations: tellsOutcome,
		Short: "Run scenarios and say what they cost",
		Long: `Runs scenarios, by name from the catalogue or as FILE.yaml, and writes a folder with
results.json, report.html, junit.xml, metrics.txt and the raw record. Stdout is the result,
stderr is progress.`,
		Example: "  rollout-lab run quickstart\n  rollout-lab run --suite chaos\n  rollout-lab run rollout restart --driver process --trials 3\n  rollout-lab run ./mine.yaml --var sync_rate=5000 --design pull",
		Args:    needScenarios(&f.suite),
		RunE: func(cmd *cobra.Command, args []string) error {
			more, err := suiteScenarios(f.suite, args)
			if err != nil {
				return err
			}
			f.named = args
			ss, err := f.scenarios(cmd, slices.Concat(args, more))
			if err != nil {
				return err
			}
			return f.start(cmd, a, ss)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.suite, "suite", "", "run all scenarios of a suite, each on the drivers that can do its faults")
	f.drivers.register(fl, a.driverNames()[:1], "drivers to run on")
	fl.StringSliceVar(&f.designs, "design", nil, "designs to run (default: those of the scenario)")
	fl.Var(&f.rate, "rate", "requests a second, or auto for what this machine holds, at most the scenario's (default: the scenario's)")
	fl.Var(&f.trials, "trials", "trials of each design, such as 3, or 3..8 to go on until every gate is decided (default: the scenario's)")
	fl.DurationVar(&f.window, "window", 0, "measured time from the action's start (default: the scenario's)")
	fl.StringArrayVar(&f.vars, "var", nil, varUsage)
	fl.BoolVar(&f.keep, "keep", false, "keep the last trial's environment until Ctrl-C")
	f.baseline.register(fl)
	f.registerShared(fl)
	return cmd
}

const varUsage = "k=v, fills in ${k} of the scenario; k=@FILE or k=env:NAME takes a secret from there, which is written nowhere"

// registerShared adds the flags that whatever runs trials has.
func (f *runFlags) registerShared(fl *pflag.FlagSet) {
	fl.StringVar(&f.out, "out", "", "folder to write (default: rollout-lab-runs/RUN-ID)")
	fl.BoolVar(&f.json, "json", false, "print results.json instead of the matrix")
	f.watch.register(fl)
	f.label.register(fl)
	f.outcome.register(fl)
	f.time.register(fl)
}

// start runs scenarios on the drivers that were chosen for them.
func (f *runFlags) start(cmd *cobra.Command, a *app, ss []*scenarios.Scenario) error {
	labels, err := f.label.labels()
	if err = errors.Join(err, f.checkTime(ss)); err != nil {
		return err
	}
	past, err := f.baseline.made()
	if err != nil {
		return err
	}
	ds, err := f.drivers.chosenFor(ss, cmd.Flags().Changed("driver"))
	if err != nil {
		return err
	}
	var leftOut []record.LeftOut
	if f.suite != "" {
		if ss, leftOut, err = withoutImpossible(cmd.Context(), a.Err, ss, f.named, ds); err != nil {
			return errors.Join(err, closeDrivers(cmd.Context(), ds))
		}
	}
	if _, err := lab.Review(cmd.Context(), ss, ds); err != nil {
		return errors.Join(err, closeDrivers(cmd.Context(), ds))
	}
	watch, err := f.watch.made(a)
	if err != nil {
		return errors.Join(err, closeDrivers(cmd.Context(), ds))
	}
	f.time.began = time.Now()
	preflight, err := f.preflight(cmd.Context(), a, ss)
	if err != nil {
		return errors.Join(err, closeDrivers(cmd.Context(), ds))
	}
	runErr := f.execute(cmd.Context(), a, lab.Config{Scenarios: ss, Drivers: ds, Watch: watch, Labels: labels, Baseline: past, Preflight: preflight, LeftOut: leftOut})
	closeErr := closeDrivers(cmd.Context(), ds)
	if runErr != nil && closeErr != nil {
		// What is returned is the verdict, or that it was interrupted.
		fmt.Fprintln(a.Err, "rollout-lab: "+closeErr.Error())
	}
	return errors.Join(runErr, closeErr)
}

// needArgs refuses a command without arguments.
func needArgs(what, hint string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return &usageError{fmt.Errorf("%s needs %s", cmd.CommandPath(), what), hint}
		}
		return nil
	}
}

// parseVars turns k=v into a map. What comes from a file (k=@FILE) or from the environment
// (k=env:NAME) is a secret; k=@@v is the text @v.
func parseVars(list []string) (vars map[string]string, secret map[string]bool, err error) {
	vars, secret = map[string]string{}, map[string]bool{}
	for _, kv := range list {
		k, v, ok := strings.Cut(kv, "=")
		if !ok || k == "" {
			return nil, nil, &usageError{fmt.Errorf("--var %q: want k=v", kv), ""}
		}
		if _, twice := vars[k]; twice {
			return nil, nil, &usageError{fmt.Errorf("--var %s is given twice", k), ""}
		}
		if v, secret[k], err = secretOf(v); err != nil {
			return nil, nil, &usageError{fmt.Errorf("--var %s: %w", k, err), "k=@FILE and k=env:NAME take a secret from there; k=@@v is the text @v"}
		}
		vars[k] = v
	}
	return vars, secret, nil
}

// secretOf is the value that a --var names, and whether it is a secret.
func secretOf(v string) (value string, secret bool, err error) {
	switch name, inEnv := strings.CutPrefix(v, "env:"); {
	case strings.HasPrefix(v, "@@"):
		return v[1:], false, nil
	case strings.HasPrefix(v, "@"):
		data, err := os.ReadFile(v[1:])
		if err != nil {
			return "", true, err
		}
		if len(data) > maxSecret {
			return "", true, fmt.Errorf("%s has more than %d bytes", v[1:], maxSecret)
		}
		return strings.TrimRight(string(data), "\r\n"), true, nil
	case inEnv:
		value, known := os.LookupEnv(name)
		if !known {
			return "", true, fmt.Errorf("the environment has no %s", name)
		}
		return value, true, nil
	}
	return v, false, nil
}

// maxSecret bounds a file with a secret, in bytes.
const maxSecret = 64 << 10

// scenarios loads what the arguments name, with the flags' changes.
func (f *runFlags) scenarios(cmd *cobra.Command, args []string) ([]*scenarios.Scenario, error) {
	vars, secret, err := parseVars(f.vars)
	if err != nil {
		return nil, err
	}
	var over scenarios.Overrides
	if cmd.Flags().Changed("rate") && !f.rate.auto {
		over.Rate = &f.rate.value
	}
	if cmd.Flags().Changed("trials") {
		over.Trials = (*record.TrialRange)(&f.trials)
	}
	if cmd.Flags().Changed("window") {
		over.Window = &f.window
	}
	var out []*scenarios.Scenario
	for _, arg := range args {
		s, err := scenarios.Load(arg, scenarios.Options{Vars: vars, Secret: secret, Drivers: f.drivers.app.driverNames()})
		if err != nil {
			return nil, err
		}
		f.drivers.app.hide(s.Secrets)
		if len(f.designs) > 0 {
			if err := s.WithDesigns(f.designs); err != nil {
				return nil, err
			}
		}
		if err := s.Override(over); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(out, func(o *scenarios.Scenario) bool { return o.Name == s.Name }) {
			return nil, &usageError{fmt.Errorf("scenario %s is named twice", s.Name), "use --trials for more trials of one"}
		}
		out = append(out, s)
	}
	return out, nil
}

// execute runs what the configuration says, of which it fills in the rest.
func (f *runFlags) execute(ctx context.Context, a *app, cfg lab.Config) error {
	id := lab.NewRunID(time.Now())
	dir := f.out
	if dir == "" {
		dir = filepath.Join("rollout-lab-runs", id)
	}
	view := newProgress(a.console)
	cfg.RunID, cfg.Dir, cfg.Tool, cfg.Command = id, dir, tool(), "rollout-lab "+shellJoin(withoutOut(a.args))
	cfg.Began, cfg.MaxTime, cfg.Progress = f.time.began, f.time.max, view.update
	cfg.Begins = func(e lab.Estimate) { fmt.Fprintln(a.Err, estimateText(e)) }
	if f.keep {
		cfg.Hold = hold(a)
	}
	runErr := lab.Run(ctx, cfg)
	a.console.end()
	judged, err := lab.Judge(dir)
	if err := ownRecord(id, judged, err, runErr); err != nil {
		return err
	}
	// A full disk must not keep the result from the terminal.
	if err := errors.Join(writeReports(dir, judged), f.outcome.write(judged, dir), printRun(a.Out, judged, dir, f.json)); err != nil {
		runErr = errors.Join(runErr, &environmentError{err, ""})
	}
	a.outcome = &outcome{judged, dir}
	err = f.outcome.ending(judged, runErr)
	if runErr != nil && !errors.Is(err, runErr) {
		complain(a.Err, runErr)
	}
	return err
}

// hold keeps an environment until the run is interrupted.
func hold(a *app) func(context.Context, drivers.Env) {
	return func(ctx context.Context, env drivers.Env) {
		fmt.Fprintf(a.Err, "kept: %s\n", env.URL())
		instances, err := env.Instances(ctx)
		if err != nil {
			fmt.Fprintf(a.Err, "  its instances cannot be listed: %v\n", err)
		}
		for _, i := range instances {
			fmt.Fprintf(a.Err, "  %s  revision %s  %s\n", i.ID, i.Revision, i.Addr)
		}
		fmt.Fprintln(a.Err, "Ctrl-C ends it")
		<-ctx.Done()
	}
}

// ownRecord is nil when the record that was read back is that of the run with this ID. A
// run that failed before it began left no record, and what is in the folder, if anything,
// is another run's: then its own error is all there is to say. A run that ended well must
// have left one, and is no pass without it.
func ownRecord(id string, judged *judge.Run, readErr, runErr error) error {
	if readErr == nil && judged.Record.ID != id {
		readErr = fmt.Errorf("the folder holds the record of run %s", judged.Record.ID)
	}
	switch {
	case readErr == nil:
		return nil
	case runErr != nil:
		return runErr
	default:
		return &environmentError{fmt.Errorf("read back the record: %w", readErr), ""}
	}
}

// withoutOut leaves out where the run was written: a folder is written once, so the
// command that repeats the run must not name it.
func withoutOut(args []string) []string {
	var out []string
	for i := 0; i < len(args); i++ {
		switch {
		case args[i] == "--":
			return append(out, args[i:]...)
		case args[i] == "--out":
			i++
		case strings.HasPrefix(args[i], "--out="):
		default:
			out = append(out, args[i])
		}
	}
	return out
}

// shellJoin writes arguments so that a shell reads the same ones.
func shellJoin(args []string) string {
	quoted := make([]string, len(args))
	for i, a := range args {
		quoted[i] = a
		if a == "" || strings.ContainsFunc(a, func(r rune) bool {
			return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=+.,/:@%", r)
		}) {
			quoted[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/lab"
	"github.com/rollout-lab/rollout-lab/internal/lint"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/internal/spelling"
)

// Exit codes, an interface that others script against.
const (
	ExitPass         = 0
	ExitFail         = 1   // a gate was missed, or the target failed
	ExitInconclusive = 2   // inconclusive or invalid evidence
	ExitUsage        = 3   // usage or scenario error
	ExitEnvironment  = 4   // driver not available, the runtime did not deploy, disk full
	ExitInterrupted  = 130 // interrupted and cleaned up
)

// Streams are the program's standard streams. Out gets the result, Err the progress.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// Standard are the streams of this process.
func Standard() Streams { return Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr} }

// app is one call of the program. Its Err is the console.
type app struct {
	Streams
	console *console
	args    []string
	drivers []Driver
	outcome *outcome // of the run that was judged, nil where there is none
	// findings are those of the files that were linted.
	findings []lint.Finding
}

// hide keeps secrets out of the messages from here on. What is printed of a run comes from
// its record, which holds none.
func (a *app) hide(secrets []string) { a.console.hide(record.NewMask(secrets...)) }

// errInterrupted is the cause of a context that Ctrl-C ended.
var errInterrupted = errors.New("interrupted")

// verdictError carries a verdict that is not a pass out of a command.
type verdictError struct{ verdict judge.Verdict }

func (e *verdictError) Error() string { return "verdict: " + string(e.verdict) }

// environmentError is trouble with the surroundings, found by a command itself.
type environmentError struct {
	err  error
	hint string
}

func (e *environmentError) Error() string { return e.err.Error() }
func (e *environmentError) Unwrap() error { return e.err }

// Main is the program with everything passed in: its arguments without its name, and the
// drivers that it offers, the default one first. It returns the exit code. SIGINT and
// SIGTERM end what it does and are cleaned up after.
func Main(ctx context.Context, args []string, std Streams, ds ...Driver) int {
	lines := std.Err
	console := newConsole(inert(std.Err))
	std.Err = console
	if err := checkDrivers(ds); err != nil {
		return report(err, std.Err)
	}
	ctx, stop := interruptible(ctx, std.Err)
	defer stop()
	a := &app{Streams: std, console: console, args: args, drivers: ds}
	root := rootCommand(a)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	code := report(err, std.Err)
	if onGitHub() {
		tellFindings(lines, a.findings)
		return tellGitHub(lines, step{cmd, a.outcome, err, code})
	}
	return code
}

// patience is how long after the first signal another one is taken for the same wish:
// whoever ends a job in a pipeline sends SIGINT, and a few seconds later SIGTERM.
const patience = 10 * time.Second

// echo is how soon the same signal again is still the first one: timeout(1) and shells send
// it to the process and to its group.
const echo = 500 * time.Millisecond

// interruptible is a context that the first SIGINT, SIGTERM or SIGHUP ends. The same signal
// once more, but for an echo, ends the program at once, and so does any other that comes
// later than patience.
func interruptible(ctx context.Context, stderr io.Writer) (context.Context, func()) {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	ctx, stop := interruptedBy(ctx, signals, stderr, os.Exit)
	return ctx, func() {
		signal.Stop(signals)
		stop()
	}
}

func interruptedBy(ctx context.Context, signals <-chan os.Signal, stderr io.Writer, exit func(code int)) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		var first os.Signal
		select {
		case first = <-signals:
		case <-done:
			return
		}
		fmt.Fprintln(stderr, "rollout-lab: interrupted, cleaning up (again to quit at once)")
		cancel(errInterrupted)
		for began := time.Now(); ; {
			select {
			case next := <-signals:
				if since := time.Since(began); since < echo || next != first && since < patience {
					continue
				}
				fmt.Fprintln(stderr, "rollout-lab: quit before everything was removed\nhint: rollout-lab clean removes the rest; rollout-lab report DIR shows what was measured")
				exit(ExitInterrupted)
				return
			case <-done:
				return
			}
		}
	})
	return ctx, func() {
		close(done)
		watching.Wait()
		cancel(nil)
	}
}

// report prints an error, with its hints, and turns it into the exit code.
func report(err error, stderr io.Writer) int {
	var verdict *verdictError
	switch {
	case err == nil:
		return ExitPass
	case errors.As(err, &verdict):
		if verdict.verdict == judge.Fail {
			return ExitFail
		}
		return ExitInconclusive
	case errors.Is(err, errInterrupted):
		return ExitInterrupted
	}
	complain(stderr, err)
	var labEnv *lab.EnvironmentError
	var ownEnv *environmentError
	if errors.As(err, &labEnv) || errors.As(err, &ownEnv) || errors.Is(err, drivers.ErrUnavailable) {
		return ExitEnvironment
	}
	return ExitUsage
}

// complain prints an error with its hints.
func complain(stderr io.Writer, err error) {
	fmt.Fprintln(stderr, "rollout-lab: "+strings.TrimRight(err.Error(), "\n"))
	for _, hint := range hints(err) {
		fmt.Fprintln(stderr, "hint: "+hint)
	}
}

// hints collects the advice that errors in the tree carry, each once.
func hints(err error) []string {
	var out []string
	seen := map[string]bool{}
	add := func(h string) {
		if h != "" && !seen[h] {
			seen[h] = true
			out = append(out, h)
		}
	}
	var walk func(error)
	walk = func(err error) {
		switch e := err.(type) {
		case *drivers.HintError:
			add(e.Hint)
		case *environmentError:
			add(e.hint)
		case *usageError:
			add(e.hint)
		case interface{ Hint() string }:
			add(e.Hint())
		}
		switch e := err.(type) {
		case interface{ Unwrap() error }:
			if inner := e.Unwrap(); inner != nil {
				walk(inner)
			}
		case interface{ Unwrap() []error }:
			for _, inner := range e.Unwrap() {
				walk(inner)
			}
		}
	}
	walk(err)
	if errors.Is(err, record.ErrNotEmpty) {
		add("give --out another folder, or remove that one")
	}
	return out
}

// usageError is a mistake in the command line.
type usageError struct {
	err  error
	hint string
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// renamedFlags are flags that had another name before the first release.
var renamedFlags = map[string]string{
	"keep-cluster": "kind-keep", "node-image": "kind-node-image",
	"kubeconfig": "kubernetes-kubeconfig", "context": "kubernetes-context",
	"namespace": "kubernetes-namespace", "image": "kubernetes-image",
}

func rootCommand(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "rollout-lab",
		Short: "Does the service survive being scaled, restarted and rolled out?",
		Long: `rollout-lab deploys a service, fires an open-loop load at it, scales, restarts or
rolls it meanwhile, and says with evidence what that cost and whether the health
signals are the reason.

Exit codes: 0 pass, 1 a gate or the target failed, 2 inconclusive or invalid evidence,
3 usage or scenario error, 4 environment, 130 interrupted and cleaned up.`,
		SilenceErrors: true, SilenceUsage: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			var names []string
			for _, c := range cmd.Commands() {
				names = append(names, c.Name())
			}
			return &usageError{fmt.Errorf("unknown command %q", args[0]), didYouMean("", args[0], names, "rollout-lab --help lists the commands")}
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(a.In)
	root.SetOut(a.Out)
	root.SetErr(a.Err)
	root.Version = tool().Version
	root.SetVersionTemplate(versionLine())
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(
		runCommand(a), measureCommand(a), listCommand(a), validateCommand(a), schemaCommand(a),
		doctorCommand(a), cleanCommand(a), reportCommand(a), versionCommand(a),
		lintCommand(a), showCommand(a), initCommand(a), baselineCommand(a), compareCommand(a),
	)
	complete(root, a)
	return root
}

// flagError is a mistake in a flag, with the flag that was probably meant.
func flagError(cmd *cobra.Command, err error) error {
	hint := cmd.CommandPath() + " --help lists the flags"
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) {
		name := unknown.GetSpecifiedName()
		if is, renamed := renamedFlags[name]; renamed {
			return &usageError{err, "it is --" + is + " now"}
		}
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
		hint = didYouMean("--", name, names, hint)
	}
	return &usageError{err, hint}
}

// didYouMean is the hint for a mistyped word: what it was probably meant to be, or otherwise.
func didYouMean(before, word string, candidates []string, otherwise string) string {
	if near := spelling.Nearest(word, candidates); near != "" {
		return "did you mean " + before + near + "?"
	}
	return otherwise
}

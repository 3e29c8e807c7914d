package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/lab"
)

// Exit codes, an interface that others script against.
const (
	exitPass         = 0
	exitFail         = 1   // a gate failed
	exitInconclusive = 2   // inconclusive or invalid evidence
	exitUsage        = 3   // usage or scenario error
	exitEnvironment  = 4   // driver not available, deployment failed, disk full
	exitInterrupted  = 130 // interrupted and cleaned up
)

// streams are the program's standard streams. Stdout is the result, stderr is progress.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

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

// run is main with everything passed in; it returns the exit code.
func run(ctx context.Context, args []string, std streams) int {
	ctx, stop := interruptible(ctx, std.err)
	defer stop()
	root := rootCommand(std)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	return report(err, std.err)
}

// interruptible is a context that the first SIGINT or SIGTERM ends; the second one ends
// the program at once, and the children die with it.
func interruptible(ctx context.Context, stderr io.Writer) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		select {
		case <-signals:
		case <-done:
			return
		}
		fmt.Fprintln(stderr, "rollout-lab: interrupted, cleaning up (again to quit at once)")
		cancel(errInterrupted)
		select {
		case <-signals:
			os.Exit(exitInterrupted)
		case <-done:
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel(nil)
	}
}

// report prints an error, with its hints, and turns it into the exit code.
func report(err error, stderr io.Writer) int {
	var verdict *verdictError
	switch {
	case err == nil:
		return exitPass
	case errors.As(err, &verdict):
		if verdict.verdict == judge.Fail {
			return exitFail
		}
		return exitInconclusive
	case errors.Is(err, errInterrupted):
		return exitInterrupted
	}
	fmt.Fprintln(stderr, "rollout-lab: "+strings.TrimRight(err.Error(), "\n"))
	for _, hint := range hints(err) {
		fmt.Fprintln(stderr, "hint: "+hint)
	}
	var labEnv *lab.EnvironmentError
	var ownEnv *environmentError
	if errors.As(err, &labEnv) || errors.As(err, &ownEnv) || errors.Is(err, drivers.ErrUnavailable) {
		return exitEnvironment
	}
	return exitUsage
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
	return out
}

// usageError is a mistake in the command line.
type usageError struct {
	err  error
	hint string
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func rootCommand(std streams) *cobra.Command {
	root := &cobra.Command{
		Use:   "rollout-lab",
		Short: "Does the service survive being scaled, restarted and rolled out?",
		Long: `rollout-lab deploys a service, fires an open-loop load at it, scales, restarts or
rolls it meanwhile, and says with evidence what that cost and whether the health
signals are the reason.

Exit codes: 0 pass, 1 a gate failed, 2 inconclusive or invalid evidence,
3 usage or scenario error, 4 environment, 130 interrupted and cleaned up.`,
		SilenceErrors: true, SilenceUsage: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return &usageError{fmt.Errorf("unknown command %q", args[0]), "rollout-lab --help lists the commands"}
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(std.in)
	root.SetOut(std.out)
	root.SetErr(std.err)
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &usageError{err, cmd.CommandPath() + " --help lists the flags"}
	})
	root.AddCommand(
		runCommand(std), listCommand(std), validateCommand(std), schemaCommand(std),
		doctorCommand(std), cleanCommand(std), reportCommand(std), versionCommand(std),
		lintCommand(std),
	)
	return root
}

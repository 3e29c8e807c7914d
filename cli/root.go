package cli

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
	ExitPass         = 0
	ExitFail         = 1   // a gate failed
	ExitInconclusive = 2   // inconclusive or invalid evidence
	ExitUsage        = 3   // usage or scenario error
	ExitEnvironment  = 4   // driver not available, deployment failed, disk full
	ExitInterrupted  = 130 // interrupted and cleaned up
)

// Streams are the program's standard streams. Out gets the result, Err the progress.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// Standard are the streams of this process.
func Standard() Streams { return Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr} }

// app is one call of the program.
type app struct {
	Streams
	args    []string
	drivers []Driver
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

// Main is the program with everything passed in: its arguments without its name, and the
// drivers that it offers, the default one first. It returns the exit code. SIGINT and
// SIGTERM end what it does and are cleaned up after.
func Main(ctx context.Context, args []string, std Streams, ds ...Driver) int {
	if err := checkDrivers(ds); err != nil {
		return report(err, std.Err)
	}
	ctx, stop := interruptible(ctx, std.Err)
	defer stop()
	root := rootCommand(&app{Streams: std, args: args, drivers: ds})
	root.SetArgs(args)
	return report(root.ExecuteContext(ctx), std.Err)
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
			os.Exit(ExitInterrupted)
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
		return ExitPass
	case errors.As(err, &verdict):
		if verdict.verdict == judge.Fail {
			return ExitFail
		}
		return ExitInconclusive
	case errors.Is(err, errInterrupted):
		return ExitInterrupted
	}
	fmt.Fprintln(stderr, "rollout-lab: "+strings.TrimRight(err.Error(), "\n"))
	for _, hint := range hints(err) {
		fmt.Fprintln(stderr, "hint: "+hint)
	}
	var labEnv *lab.EnvironmentError
	var ownEnv *environmentError
	if errors.As(err, &labEnv) || errors.As(err, &ownEnv) || errors.Is(err, drivers.ErrUnavailable) {
		return ExitEnvironment
	}
	return ExitUsage
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
	root.SetIn(a.In)
	root.SetOut(a.Out)
	root.SetErr(a.Err)
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		hint := cmd.CommandPath() + " --help lists the flags"
		for was, is := range renamedFlags {
			if strings.HasSuffix(err.Error(), "unknown flag: --"+was) {
				hint = "it is --" + is + " now"
			}
		}
		return &usageError{err, hint}
	})
	root.AddCommand(
		runCommand(a), listCommand(a), validateCommand(a), schemaCommand(a),
		doctorCommand(a), cleanCommand(a), reportCommand(a), versionCommand(a),
		lintCommand(a),
	)
	return root
}

// Package refproxy is the reference zero-trust proxy as a program: its flags, its
// commands and what it says when it is called wrongly. Another binary can be the same
// program by calling Main.
package refproxy

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/rollout-lab/rollout-lab/targets/refproxy/proxy"
)

// Exit codes of Main.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
	// ExitCrash is that of a proxy that was told to crash, and of nothing else.
	ExitCrash = 70
)

// SeedVariable is the environment variable that holds the seed of the control plane's
// signing key, in hexadecimal.
const SeedVariable = "REFPROXY_SEED"

const usage = `usage: refproxy COMMAND [flags]

commands:
  proxy         serve requests that are allowed, forward them to the upstream
  control       stream routes, policy, session records and signing keys to proxies
  upstream      answer what the proxies forward
  relay         stand between them, and pass connections on badly when told to
  healthcheck   ask a proxy's health port; exit 0 when it is well

flags of a command: refproxy COMMAND --help
`

// usageError is a call that makes no sense.
type usageError struct {
	err  error
	hint string
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// hintError is an error with advice for the person who sees it.
type hintError struct {
	err  error
	hint string
}

func (e *hintError) Error() string { return e.err.Error() }
func (e *hintError) Unwrap() error { return e.err }

// program is what a command gets from outside.
type program struct {
	args           []string
	getenv         func(string) string
	stdout, stderr io.Writer
}

// Main runs the program with the arguments that follow its name and returns its exit
// code: 0 done or stopped as asked, 1 failed, 2 called wrongly. SIGTERM, SIGINT and the
// end of ctx ask it to stop; a second signal ends the process at once.
func Main(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	ctx, restore := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	defer restore()
	context.AfterFunc(ctx, restore)

	commands := map[string]func(context.Context, program) error{
		"proxy": runProxy, "control": runControl, "upstream": runUpstream, "relay": runRelay, "healthcheck": runHealthcheck,
	}
	name := ""
	if len(args) > 0 {
		name, args = args[0], args[1:]
	}
	if slices.Contains([]string{"help", "-h", "-help", "--help"}, name) {
		if _, err := io.WriteString(stdout, usage); err != nil {
			return exitFailure
		}
		return exitOK
	}
	run, ok := commands[name]
	if !ok {
		return report(stderr, "refproxy", &usageError{
			fmt.Errorf("no such command: %q", name), "use proxy, control, upstream, relay or healthcheck",
		})
	}
	err := run(ctx, program{args: args, getenv: getenv, stdout: stdout, stderr: stderr})
	return report(stderr, "refproxy "+name, err)
}

// exitError ends the program with a code and says nothing, because all was said.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit %d", int(e)) }

// report says what went wrong and returns the exit code for it. Nobody is left to tell
// when stderr itself cannot be written to.
func report(stderr io.Writer, who string, err error) int {
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return exitOK
	}
	if code, ok := errors.AsType[exitError](err); ok {
		return int(code)
	}
	text, code, hint := err.Error(), exitFailure, ""
	if errors.Is(err, proxy.ErrCrash) {
		code = ExitCrash
	} else if e, ok := errors.AsType[*usageError](err); ok {
		code, hint = exitUsage, e.hint
	} else if e, ok := errors.AsType[*hintError](err); ok {
		hint = e.hint
	}
	_, _ = fmt.Fprintf(stderr, "%s: %s\n", who, strings.TrimSpace(text))
	if hint != "" {
		_, _ = fmt.Fprintf(stderr, "hint: %s\n", hint)
	}
	return code
}

// flags parses the arguments of a command. Each of the required flags must be given.
func (p program) flags(name string, define func(*flag.FlagSet), required ...string) error {
	set := flag.NewFlagSet(name, flag.ContinueOnError)
	set.SetOutput(io.Discard)
	define(set)
	if err := set.Parse(p.args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			set.SetOutput(p.stdout)
			set.Usage()
			return err
		}
		return &usageError{err, "refproxy " + name + " --help lists the flags"}
	}
	if set.NArg() > 0 {
		return &usageError{
			fmt.Errorf("unexpected argument %q", set.Arg(0)), "refproxy " + name + " takes flags only",
		}
	}
	given := make(map[string]bool)
	set.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for _, name := range required {
		if !given[name] {
			return &usageError{
				fmt.Errorf("flag --%s is missing", name), fmt.Sprintf("--%s %s", name, set.Lookup(name).Usage),
			}
		}
	}
	return nil
}

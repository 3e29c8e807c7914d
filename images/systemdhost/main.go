// Command systemdhost makes the image of a container whose PID 1 is systemd, which the
// driver for systemd would otherwise make when it first needs one, and prints its tag.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/images/systemdhost/build"
	"github.com/rollout-lab/rollout-lab/internal/dockerengine"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the command, with the exit code 2 for bad flags and 1 for failures.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("systemdhost", flag.ContinueOnError)
	flags.SetOutput(stderr)
	alias := flags.String("tag", "", "another `name` for the image, which it gets as well")
	packages := flags.String("packages", "", "`packages` of Debian in the image beside systemd, with commas between")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	if flags.NArg() > 0 {
		_, _ = fmt.Fprintf(stderr, "systemdhost: unknown argument %q\n", flags.Arg(0))
		return 2
	}
	tag, err := ensure(ctx, build.Of(strings.FieldsFunc(*packages, func(r rune) bool { return r == ',' })...), *alias)
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "systemdhost: %v\n", err)
		if h, ok := errors.AsType[*drivers.HintError](err); ok {
			_, _ = fmt.Fprintf(stderr, "hint: %s\n", h.Hint)
		}
		return 1
	}
	_, _ = fmt.Fprintln(stdout, tag)
	return 0
}

func ensure(ctx context.Context, image build.Image, alias string) (string, error) {
	e, err := dockerengine.Dial(ctx)
	if err != nil {
		return "", err
	}
	defer e.Close()
	if err := image.Ensure(ctx, e); err != nil || alias == "" {
		return image.Tag(), err
	}
	return alias, e.ImageTag(ctx, image.Tag(), alias)
}

// Command kindnode makes the node image that kind clusters of the lab run from, where
// kindest/node cannot be pulled, and prints its tag. See images/README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/rollout-lab/rollout-lab/images/debian"
	"github.com/rollout-lab/rollout-lab/images/kindnode/build"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the command, with the exit code 2 for bad flags and 1 for failures.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	opts := build.Options{Progress: stderr}
	flags := flag.NewFlagSet("kindnode", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&opts.Tag, "tag", build.DefaultTag, "the image's `name`")
	flags.StringVar(&opts.Mirror, "mirror", debian.Mirror(), "mirror of Debian: a `URL`, or file:/DIRECTORY")
	flags.StringVar(&opts.CacheDir, "cache", "", "`directory` of finished parts (default rollout-lab/kindnode in the user's cache directory)")
	flags.StringVar(&opts.Source, "source", "", "`directory` of the module kubeall (default images/kindnode/kubeall in this or a parent directory)")
	flags.BoolVar(&opts.Rebuild, "rebuild", false, "make everything again: with the packages and the Go toolchain of today")
	out := flags.String("out", "", "also write the image to a `file`, for docker load")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	if flags.NArg() > 0 {
		_, _ = fmt.Fprintf(stderr, "kindnode: unknown argument %q\n", flags.Arg(0))
		return 2
	}
	tag, err := build.Ensure(ctx, opts)
	if err == nil && *out != "" {
		err = save(ctx, tag, *out)
	}
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "kindnode: %v\n", err)
		if hint := build.Hint(err); hint != "" {
			_, _ = fmt.Fprintf(stderr, "hint: %s\n", hint)
		}
		return 1
	}
	_, _ = fmt.Fprintln(stdout, tag)
	return 0
}

// save writes the image to path, which appears when it is complete.
func save(ctx context.Context, tag, path string) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	err = errors.Join(build.Save(ctx, tag, f), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

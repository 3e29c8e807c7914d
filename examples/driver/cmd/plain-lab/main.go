//go:build unix

// Command plain-lab is rollout-lab with the driver of this module.
package main

import (
	"context"
	"io"
	"os"

	"github.com/rollout-lab/rollout-lab/cli"
	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/targets/refproxy"

	"example.com/plain"
)

func main() {
	// The program is its own reference target, so that it needs nothing else.
	if len(os.Args) > 1 && os.Args[1] == "refproxy" {
		os.Exit(refproxy.Main(context.Background(), os.Args[2:], os.Getenv, os.Stdout, os.Stderr))
	}
	os.Exit(cli.Main(context.Background(), os.Args[1:], cli.Standard(), cli.Driver{
		Name: "plain",
		New: func(io.Writer) (drivers.Driver, error) {
			self, err := os.Executable()
			if err != nil {
				return nil, err
			}
			return plain.New(self, "refproxy"), nil
		},
	}))
}

// Command rollout-lab tells, with evidence, whether a service survives being scaled,
// restarted and rolled out, and whether its health signals are the reason. This package
// lists the drivers; the commands are package cli.
package main

import (
	"context"
	"os"

	"github.com/rollout-lab/rollout-lab/cli"
	"github.com/rollout-lab/rollout-lab/drivers/docker"
	"github.com/rollout-lab/rollout-lab/targets/refproxy"
)

func main() {
	// The lab re-executes itself as its own target, so that it needs nothing else.
	if len(os.Args) > 1 && os.Args[1] == targetCommand {
		os.Exit(refproxy.Main(context.Background(), os.Args[2:], os.Getenv, os.Stdout, os.Stderr))
	}
	// And as the health check of the containers that it runs in.
	if len(os.Args) > 1 && os.Args[1] == probeCommand {
		os.Exit(docker.ProbeMain(os.Args[2:], os.Stdout))
	}
	os.Exit(cli.Main(context.Background(), os.Args[1:], cli.Standard(), builtin()...))
}

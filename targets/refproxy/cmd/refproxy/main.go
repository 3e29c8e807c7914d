// Command refproxy is the reference zero-trust proxy on its own.
package main

import (
	"context"
	"os"

	"github.com/rollout-lab/rollout-lab/targets/refproxy"
)

func main() {
	os.Exit(refproxy.Main(context.Background(), os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}

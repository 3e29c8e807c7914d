//go:build !linux

package process

import (
	"context"
	"fmt"
	"runtime"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// Driver implements drivers.Driver. On this system it only says that it cannot run.
type Driver struct{}

// New returns a driver that runs services as Config says.
func New(Config) *Driver { return &Driver{} }

// Name implements drivers.Driver.
func (*Driver) Name() string { return "process" }

func unavailable() error {
	return &drivers.HintError{
		Err:  fmt.Errorf("%w: on %s nothing would end the child processes when the lab is killed", drivers.ErrUnavailable, runtime.GOOS),
		Hint: "run it on Linux, for example in a container or a virtual machine",
	}
}

// Check implements drivers.Driver.
func (*Driver) Check(context.Context) error { return unavailable() }

// Deploy implements drivers.Driver.
func (*Driver) Deploy(context.Context, drivers.Stack) (drivers.Env, error) { return nil, unavailable() }

// Sweep implements drivers.Driver. As nothing can be deployed here, nothing is left.
func (*Driver) Sweep(context.Context, string) ([]string, error) { return nil, nil }

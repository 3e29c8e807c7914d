// Package external is the driver of what is not the lab's: a service at an address, which
// somebody else has deployed and which a command of the user's changes. It deploys nothing,
// changes nothing and removes nothing, and it knows no instance.
package external

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// Name is the driver's name.
const Name = "external"

// New returns the driver.
func New() drivers.Driver { return driver{} }

type driver struct{}

func (driver) Name() string { return Name }

// Check finds nothing missing, because nothing is needed.
func (driver) Check(context.Context) error { return nil }

// Sweep removes nothing, because nothing was made.
func (driver) Sweep(context.Context, string) ([]string, error) { return nil, nil }

// Version says that there is no runtime that is known.
func (driver) Version(context.Context) string { return "not known: nothing is deployed" }

// Describe is for the doctor.
func (driver) Describe(context.Context) []string {
	return []string{"measures what answers at an address, around a command: rollout-lab measure"}
}

func (driver) Capabilities() drivers.Capabilities { return drivers.Capabilities{Existing: true} }

// Support refuses whatever has to be deployed for.
func (driver) Support() drivers.Support {
	return drivers.Support{}.With(drivers.Answer{How: drivers.Refused, Why: "it deploys nothing", Hint: "say target: {url: ...}, or name another driver"}, drivers.Features()...)
}

// Deploy deploys nothing: the stack must have an address.
func (d driver) Deploy(ctx context.Context, stack drivers.Stack) (drivers.Env, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	if err := stack.Validate(); err != nil {
		return nil, err
	}
	if stack.Address == "" {
		return nil, &drivers.HintError{
			Err:  fmt.Errorf("%s: a stack without an address: %w", Name, drivers.ErrUnsupported),
			Hint: "it deploys nothing; name another driver with --driver",
		}
	}
	return &environment{url: strings.TrimSuffix(stack.Address, "/"), closed: make(chan struct{})}, nil
}

// environment is what answers at an address.
type environment struct {
	url    string
	once   sync.Once
	closed chan struct{}
}

func (e *environment) URL() string { return e.url }

func (e *environment) Endpoint(_ context.Context, service, port string) (string, error) {
	return "", fmt.Errorf("port %s of %s: nothing was deployed: %w", port, service, drivers.ErrUnsupported)
}

// Instances are none that are known.
func (e *environment) Instances(context.Context) ([]drivers.Instance, error) {
	return nil, e.err()
}

func (e *environment) Scale(context.Context, int) error      { return e.refuse("scale") }
func (e *environment) Restart(context.Context) error         { return e.refuse("restart") }
func (e *environment) Rollout(context.Context, string) error { return e.refuse("rollout") }

func (e *environment) refuse(what string) error {
	return errors.Join(e.err(), fmt.Errorf("%s: what answers at %s is not the lab's: %w", what, e.url, drivers.ErrUnsupported))
}

func (e *environment) err() error {
	select {
	case <-e.closed:
		return drivers.ErrClosed
	default:
		return nil
	}
}

// Watch says nothing: what the runtime says there has to be asked of the runtime.
func (e *environment) Watch() <-chan drivers.Event {
	events := make(chan drivers.Event)
	go func() {
		<-e.closed
		close(events)
	}()
	return events
}

func (e *environment) Close(context.Context) error {
	e.once.Do(func() { close(e.closed) })
	return nil
}

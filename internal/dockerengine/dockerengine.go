// Package dockerengine is the lab's way to a Docker engine: it finds the one that the
// docker command would use, gives it images and takes them from it, runs commands in
// containers, and lists what carries the lab's labels. Whoever uses it speaks of the same
// engine. It runs no instances and knows no driver.
package dockerengine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/docker/docker/api/types/versions"
	"github.com/docker/docker/client"

	"github.com/rollout-lab/rollout-lab/drivers"
)

const (
	// dialLimit bounds the search for an engine.
	dialLimit = 5 * time.Second
	// pingLimit bounds one question whether it is there.
	pingLimit = 2 * time.Second
	// oldestAPI is that of engine 20.10.
	oldestAPI = "1.41"
)

// Engine is one Docker engine with containers of Linux, of 20.10 or later: its client, and
// what is the same for everybody who uses it. Its methods may be called concurrently.
type Engine struct {
	*client.Client
	Address Address
	Version string
	Arch    string // of its machine, by Go's name
}

// Dial finds the engine, asks it for its version and settles on that of the API. The error
// is drivers.ErrUnavailable, with a hint.
func Dial(ctx context.Context) (*Engine, error) {
	a, err := find()
	if err != nil {
		return nil, err
	}
	return a.dial(ctx)
}

// DialLocal is Dial for those who reach containers on 127.0.0.1, and so refuse an engine
// of another machine.
func DialLocal(ctx context.Context) (*Engine, error) {
	a, err := find()
	if err != nil {
		return nil, err
	}
	if err := a.onThisMachine(); err != nil {
		return nil, unavailable(err, "use an engine on this machine: the lab reaches containers on 127.0.0.1")
	}
	return a.dial(ctx)
}

func find() (Address, error) {
	a, err := Find()
	if err != nil {
		return Address{}, unavailable(err, "start a Docker engine, or name one in DOCKER_HOST")
	}
	return a, nil
}

func (a Address) dial(ctx context.Context) (*Engine, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, dialLimit, fmt.Errorf("no answer within %v", dialLimit))
	defer cancel()
	c, err := client.NewClientWithOpts(append(a.options(), client.WithAPIVersionNegotiation())...)
	if err != nil {
		return nil, unavailable(fmt.Errorf("engine at %v: %w", a, err), "correct DOCKER_HOST or the docker context")
	}
	e := &Engine{Client: c, Address: a}
	if err := e.introduce(ctx); err != nil {
		e.Close()
		return nil, err
	}
	return e, nil
}

func (e *Engine) introduce(ctx context.Context) error {
	v, err := e.ServerVersion(ctx)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		hint := "start the engine, or name another one in DOCKER_HOST"
		if e.Address.Context != "" {
			hint = "start the engine, or choose another one with docker context use"
		}
		if errors.Is(err, fs.ErrPermission) {
			hint = "become a member of the group docker, or use a rootless engine"
		}
		return unavailable(fmt.Errorf("engine at %v: %w", e.Address, err), hint)
	}
	if v.Os != "linux" {
		return unavailable(fmt.Errorf("engine at %v runs containers of %s", e.Address, v.Os), "switch it to Linux containers")
	}
	if versions.LessThan(v.APIVersion, oldestAPI) {
		return unavailable(fmt.Errorf("engine %s speaks API %s, want %s or later", v.Version, v.APIVersion, oldestAPI), "update it to 20.10 or later")
	}
	e.Version, e.Arch = v.Version, v.Arch
	return nil
}

func unavailable(err error, hint string) error {
	return &drivers.HintError{Err: fmt.Errorf("%w: %w", drivers.ErrUnavailable, err), Hint: hint}
}

// String names the engine and the version of its API that is spoken.
func (e *Engine) String() string {
	return fmt.Sprintf("engine %s, API %s", e.Version, e.ClientVersion())
}

// Alive asks whether the engine answers.
func (e *Engine) Alive(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, pingLimit, fmt.Errorf("no answer within %v", pingLimit))
	defer cancel()
	_, err := e.Ping(ctx)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return err
}

// Close closes the connections that nobody uses at present. The engine can be used on.
func (e *Engine) Close() { _ = e.Client.Close() } // it cannot fail

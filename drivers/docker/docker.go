// Package docker is the driver that runs a stack as containers of a Docker engine: one
// bridge network for each deployment, every port published on 127.0.0.1 under a number of
// its own, and drivers/fleet's balancer in front of the subject. It works with engines
// from 20.10 (API 1.41) on, which share a machine with the lab: one that is reached over
// the network publishes on a loopback interface that is not the lab's.
//
// # What is the runtime here
//
// The engine. Requests are routed by what it says in its stream of events and by nothing
// else: health_status, start, die, pause, unpause and destroy. A design without a health
// check is routed to from start to die. The engine knows no endpoint that terminates, so
// after a stop was asked for an instance is routed to until its health check fails or it
// dies, unless Balancer.DeregisterFirst says that the balancer is told.
//
// Service.Signal becomes the container's HEALTHCHECK. The engine has no word for Rise, so
// more than one success is refused. It waits Interval from the end of a check to the start
// of the next one, and before the first one too. Each check is a process started in the
// container, which took about 50 ms of processor time (daemon and containerd 11 to 15, shim
// 4, runc and the probe 31) and 100 ms to run when it was measured on two busy cores:
// every 200 ms was 3.3 checks a second and a sixth of a core for each container. An
// interval of 200 to 500 ms is sensible; a shorter one is taken as it is given, and then
// the checks are a load of their own. HTTP and TCP checks are asked by the lab's program, which is in the
// image of a service that the lab builds and is copied into a container of an image that
// it does not. They enforce Timeout themselves; the engine's limit is a little longer, as
// it includes the start of the process.
//
// When the stream of events breaks, watchers get a Lost event, the stream is opened again
// from where it broke, and every container is inspected, so that no transition stays
// unknown; one that came and went while the stream was broken may be.
//
// # Instances
//
// RestartOnExit is the engine's restart policy: the engine is the supervisor, with its own
// delays. It takes a kill through its API for the wish of its user and does not apply the
// policy, so after the fault kill the driver starts the container again. The fault pause is
// SIGSTOP to the container's process, because the engine stops asking a container that it has
// paused itself for its health, so that its signal would never say so. Where the first process has
// children, which would go on, it is the engine's own pause after all.
//
// The path of a request is the engine's published port: on most machines docker-proxy, a
// process that accepts connections for as long as the container exists and resets them
// when nothing listens behind it. A dead instance is therefore told by a reset rather than
// by a refused connection, and a TCP check from outside would learn nothing; the TCP check
// here runs inside the container.
//
// # Leaving nothing behind
//
// Containers, networks, volumes and images carry labels: the run, the deployment and the
// lab's process. Sweep finds them by these alone.
package docker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/ports"
)

// Config says what is put into the image of services that bring none.
type Config struct {
	// Program is the path of the binary to run; "" means the one that runs now.
	Program string
	// Args come before a Service's Args, such as the name of a command of Program.
	Args []string
	// Probe are arguments that make Program call ProbeMain with what follows them.
	Probe []string
	// Source is a folder or an import path to build with go build when Program is not a
	// static binary for Linux on the engine's architecture. "" means that there is none.
	Source string
}

// Driver implements drivers.Driver. Its methods may be called concurrently.
type Driver struct {
	config  Config
	ports   *ports.Pool
	running drivers.Running

	building sync.Mutex // held while the program is read or built
	program  map[string][]byte

	mu     sync.Mutex
	engine *engine // nil until one was reached
	images map[string]*builtImage
}

// New returns a driver for the engine that the docker command would use: DOCKER_HOST, the
// current context, or a socket in one of the usual places.
func New(config Config) *Driver {
	config.Args, config.Probe = slices.Clone(config.Args), slices.Clone(config.Probe)
	return &Driver{
		config:  config,
		ports:   ports.New(),
		program: map[string][]byte{},
		images:  map[string]*builtImage{},
	}
}

const driverName = "docker"

// Name implements drivers.Driver.
func (d *Driver) Name() string { return driverName }

// Capabilities implements drivers.Capable.
func (d *Driver) Capabilities() drivers.Capabilities {
	return drivers.Capabilities{
		LabBalancer: true,
		Routing:     "The balancer follows the engine's events: an instance is in once its container's health check succeeds, and out when the engine calls it unhealthy, after fall failures in a row, or says that it has ended, whichever comes first.",
	}
}

// Check implements drivers.Driver. It asks the engine for its version, and looks at the
// program without building it.
func (d *Driver) Check(ctx context.Context) error {
	e, err := d.connect(ctx)
	if err != nil {
		return err
	}
	return d.source().Check(e.Arch)
}

// Version implements drivers.Versioner: it names the engine and the version of its API that is spoken, "" when none can be
// reached.
func (d *Driver) Version(ctx context.Context) string {
	e, err := d.connect(ctx)
	if err != nil {
		return ""
	}
	return e.String()
}

// connect returns the engine, which it looks for until there is one.
func (d *Driver) connect(ctx context.Context) (*engine, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.engine != nil {
		err := d.engine.Alive(ctx)
		if err == nil {
			return d.engine, nil
		}
		// It may have come back as another version, at another place. What is deployed
		// cannot follow it there.
		if d.running.Len() > 0 {
			return nil, &drivers.HintError{
				Err:  fmt.Errorf("%w: engine at %v: %w", drivers.ErrUnavailable, d.engine.Address, err),
				Hint: "start the engine again",
			}
		}
		d.engine.Close()
		d.engine = nil
	}
	e, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	d.engine = e
	return e, nil
}

// Deploy implements drivers.Driver.
func (d *Driver) Deploy(ctx context.Context, stack drivers.Stack) (drivers.Env, error) {
	if err := stack.Validate(); err != nil {
		return nil, err
	}
	if err := d.Support().Refuse(d.Name(), stack); err != nil {
		return nil, err
	}
	engine, err := d.connect(ctx)
	if err != nil {
		return nil, err
	}
	e, err := newEnvironment(d, engine, stack)
	if err != nil {
		return nil, err
	}
	d.running.Add(e, stack.RunID)
	if err := e.prepare(ctx); err != nil {
		now, end := context.WithCancel(context.WithoutCancel(ctx))
		end()
		return nil, errors.Join(err, e.Close(now))
	}
	if err := e.Deploy(ctx); err != nil {
		return nil, err
	}
	return e, nil
}

// Prepare implements drivers.Preparer: it builds the lab's program for the engine, where it has
// to be built.
func (d *Driver) Prepare(ctx context.Context) error {
	engine, err := d.connect(ctx)
	if err != nil {
		return err
	}
	_, err = d.binary(ctx, engine.Arch)
	return err
}

func (d *Driver) forget(e *environment) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.running.Remove(e)
	if d.running.Len() == 0 && d.engine != nil {
		d.engine.Close() // connections that nobody uses; it opens others when asked to
	}
}

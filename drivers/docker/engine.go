package docker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/versions"
	"github.com/docker/docker/client"
	testcontainers "github.com/testcontainers/testcontainers-go"

	"github.com/rollout-lab/rollout-lab/drivers"
)

const (
	// dialLimit bounds the search for an engine and one question to it.
	dialLimit = 2 * time.Second
	// oldestAPI is that of engine 20.10.
	oldestAPI = "1.41"
	// startIntervalAPI is the first one in which a health check has a start interval.
	startIntervalAPI = "1.44"
)

// engine is one Docker engine. Its methods may be called concurrently.
type engine struct {
	client   *client.Client
	where    host
	version  string
	arch     string
	provider *testcontainers.DockerProvider
}

func (e *engine) String() string {
	return fmt.Sprintf("engine %s, API %s", e.version, e.client.ClientVersion())
}

// dial looks for an engine, asks it for its version and settles on that of the API.
func dial(ctx context.Context) (*engine, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, dialLimit, fmt.Errorf("no answer within %v", dialLimit))
	defer cancel()
	where, err := findHost()
	if err != nil {
		return nil, unavailable(err, "start a Docker engine, or name one in DOCKER_HOST")
	}
	if err := where.onThisMachine(); err != nil {
		return nil, unavailable(err, "use an engine on this machine: the lab reaches containers on 127.0.0.1")
	}
	c, err := client.NewClientWithOpts(append(where.options(), client.WithAPIVersionNegotiation())...)
	if err != nil {
		return nil, unavailable(fmt.Errorf("engine at %s: %w", where.host, err), "correct DOCKER_HOST or the docker context")
	}
	e := &engine{client: c, where: where}
	if err := e.introduce(ctx); err != nil {
		e.close()
		return nil, err
	}
	return e, nil
}

func (e *engine) introduce(ctx context.Context) error {
	v, err := e.client.ServerVersion(ctx)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		hint := "start the engine, or name another one in DOCKER_HOST"
		if errors.Is(err, fs.ErrPermission) {
			hint = "become a member of the group docker, or use a rootless engine"
		}
		return unavailable(fmt.Errorf("engine at %s: %w", e.where.host, err), hint)
	}
	if v.Os != "linux" {
		return unavailable(fmt.Errorf("engine at %s runs containers of %s", e.where.host, v.Os), "switch it to Linux containers")
	}
	if versions.LessThan(v.APIVersion, oldestAPI) {
		return unavailable(fmt.Errorf("engine %s speaks API %s, want %s or later", v.Version, v.APIVersion, oldestAPI), "update it to 20.10 or later")
	}
	e.version, e.arch = v.Version, v.Arch
	e.provider, err = provide(e)
	if err != nil {
		return unavailable(err, "look at the settings of testcontainers in the environment and in the home folder")
	}
	return nil
}

func unavailable(err error, hint string) error {
	return &drivers.HintError{Err: fmt.Errorf("%w: %w", drivers.ErrUnavailable, err), Hint: hint}
}

// alive asks whether the engine answers.
func (e *engine) alive(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	_, err := e.client.Ping(ctx)
	return err
}

// persist repeats a call that takes something away until it has succeeded or, from its
// first failure on, absenceLimit has passed: an engine that is being restarted is back by
// then. What is gone already is no failure.
func (e *engine) persist(ctx context.Context, call func(context.Context) error) error {
	var failing time.Time
	for wait := firstBackoff; ; wait = longer(wait) {
		once, cancel := context.WithTimeout(ctx, callLimit)
		err := call(once)
		cancel()
		if err == nil || isNotFound(err) {
			return nil
		}
		if failing.IsZero() {
			failing = time.Now()
		}
		if time.Since(failing) > absenceLimit {
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}

// startInterval says whether a health check can have one.
func (e *engine) startInterval() bool {
	return versions.GreaterThanOrEqualTo(e.client.ClientVersion(), startIntervalAPI)
}

// close closes connections that nobody uses at present.
func (e *engine) close() { _ = e.client.Close() } // it cannot fail

// shared is the engine's client as testcontainers may use it.
type shared struct{ *client.Client }

// Close does nothing: testcontainers closes the idle connections after every call, which
// are the driver's too.
func (shared) Close() error { return nil }

// NetworkList says that the default network exists, whatever it is called: testcontainers
// would create one otherwise, and every container here has a network of its own anyway.
func (shared) NetworkList(context.Context, network.ListOptions) ([]network.Summary, error) {
	return []network.Summary{{Name: testcontainers.Bridge}}, nil
}

var settingUp sync.Mutex // held while the environment of this process is changed

// provide returns the part of testcontainers that creates containers, made to use this
// engine's client.
func provide(e *engine) (p *testcontainers.DockerProvider, err error) {
	settingUp.Lock()
	defer settingUp.Unlock()
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("testcontainers: %v", r)
		}
	}()
	defer setenv("TESTCONTAINERS_RYUK_DISABLED", "true")()
	defer setenv(client.EnvOverrideHost, e.where.host)()
	if e.where.tls != "" {
		defer setenv(client.EnvOverrideCertPath, e.where.tls)()
		defer setenv(client.EnvTLSVerify, "1")()
	}
	p, err = testcontainers.NewDockerProvider(testcontainers.WithDefaultBridgeNetwork(testcontainers.Bridge), testcontainers.Generic2DockerOptions(testcontainers.WithLogger(silent{}))[0])
	if err != nil {
		return nil, fmt.Errorf("testcontainers: %w", err)
	}
	if !p.Config().Config.RyukDisabled {
		return nil, errors.New("testcontainers: it was set up before, with its reaper")
	}
	if err := p.Close(); err != nil {
		return nil, fmt.Errorf("testcontainers: %w", err)
	}
	p.SetClient(shared{e.client})
	return p, nil
}

// setenv sets a variable and returns what undoes it.
func setenv(name, value string) (undo func()) {
	old, was := os.LookupEnv(name)
	os.Setenv(name, value)
	if was {
		return func() { os.Setenv(name, old) }
	}
	return func() { os.Unsetenv(name) }
}

// silent is a logger that keeps quiet: the lab's output is its own.
type silent struct{}

// Printf does nothing.
func (silent) Printf(string, ...any) {}

// onThisMachine reports an error for an engine that is reached over the network.
func (h host) onThisMachine() error {
	u, err := url.Parse(h.host)
	if err != nil {
		return fmt.Errorf("engine at %s: %w", h.host, err)
	}
	switch u.Scheme {
	case "unix", "npipe":
		return nil
	}
	name := u.Hostname()
	if ip := net.ParseIP(name); name == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("the engine at %s is on another machine", h.host)
}

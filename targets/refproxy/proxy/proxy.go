// Package proxy is the reference zero-trust proxy: it serves a request only if its token
// verifies, its session is known and active, and the policy allows the route, and it can
// say what it lacks to decide that. How it tells others that it is ready, and how it
// stops, is a choice (Mode), so that designs can be compared on the same proxy. It does
// not balance, retry or cache.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/rollout-lab/rollout-lab/healthkit"
	"github.com/rollout-lab/rollout-lab/healthkit/sdnotify"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/feed"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/policy"
)

// Mode is how a proxy tells of its health and how it stops.
type Mode string

// The modes.
const (
	// None tells nothing: the health port answers 404. A stop closes everything at once.
	None Mode = "none"
	// Naive answers 200 from the moment that the data port listens. A stop closes
	// everything at once, requests in flight included.
	Naive Mode = "naive"
	// Pull asks the subsystems, in the background, whether they have synced. A stop
	// shuts down at once, but finishes the requests in flight.
	Pull Mode = "pull"
	// StackAware has the subsystems report what they serve and until when it counts. A
	// stop is announced, waited out, and only then carried through.
	StackAware Mode = "stack-aware"
	// DeepReadiness is StackAware, and unready whenever a dependency does not answer.
	DeepReadiness Mode = "deep-readiness"
	// DeepLiveness is StackAware, and not alive whenever a dependency does not answer.
	DeepLiveness Mode = "deep-liveness"
	// Shallow is ready and alive as long as the process answers, whatever it lacks. It stops
	// as StackAware does.
	Shallow Mode = "shallow"
)

// Modes lists the modes, the one that tells least first.
func Modes() []Mode {
	return []Mode{None, Naive, Shallow, Pull, StackAware, DeepReadiness, DeepLiveness}
}

// ParseMode returns the mode of a name.
func ParseMode(name string) (Mode, error) {
	if m := Mode(name); slices.Contains(Modes(), m) {
		return m, nil
	}
	return "", fmt.Errorf("health is %q, want one of %q", name, Modes())
}

// drains says whether a stop is announced and waited out before it is carried through.
func (m Mode) drains() bool {
	return slices.Contains([]Mode{Shallow, StackAware, DeepReadiness, DeepLiveness}, m)
}

// The defaults of Options.
const (
	DefaultLameDuck   = time.Second
	DefaultCloseWait  = 400 * time.Millisecond
	DefaultStopGrace  = 5 * time.Second
	DefaultStaleAfter = 5 * time.Second
)

// Options configure a proxy. There are no defaults but those of New.
type Options struct {
	Instance, Revision   string
	Listen, HealthListen string // host:port
	Control, Upstream    string // scheme and host
	Health               Mode
	// FailOpen serves what cannot be decided because the keys, the sessions or the
	// policy are not there yet.
	FailOpen bool

	LameDuck  time.Duration // of the modes that drain: unready but serving as before
	CloseWait time.Duration // of these too: then answering with Connection: close
	StopGrace time.Duration // Pull, and these: for all of a stop; then what is left is cut
	// StaleAfter is how long what the control plane brought counts without a sign of
	// life; it must be well above its heartbeat. 0 means DefaultStaleAfter.
	StaleAfter time.Duration
	// FailClosed serves nothing by state that counts no more, whatever the mode tells of it, and
	// whatever was served before there was any.
	FailClosed bool

	// AllowFaults has the proxy do wrong what the control plane tells it to, see feed.Fault.
	AllowFaults bool
	// Misbehave is what it does wrong anyway.
	Misbehave Misbehaviour

	// Listener is the data port's when somebody else has opened it; the proxy then does
	// not listen at Listen itself. New takes it over.
	Listener net.Listener
	// Notifier tells the service manager of the proxy's health; nil tells nobody.
	Notifier *sdnotify.Notifier

	Log *slog.Logger // nil logs nothing

	limits limits
}

// check refuses options that make no proxy.
func (o Options) check() error {
	switch {
	case o.Instance == "":
		return errors.New("instance is missing")
	case o.Revision == "":
		return errors.New("revision is missing")
	case o.LameDuck < 0 || o.CloseWait < 0 || o.StaleAfter < 0:
		return errors.New("a duration is negative")
	case o.Health.drains() && o.StopGrace <= o.LameDuck+o.CloseWait:
		return fmt.Errorf("stop grace is %v, want more than lame duck %v and close-wait %v together",
			o.StopGrace, o.LameDuck, o.CloseWait)
	case o.StopGrace <= 0:
		return fmt.Errorf("stop grace is %v, want above 0", o.StopGrace)
	}
	for name, value := range map[string]string{"instance": o.Instance, "revision": o.Revision} {
		if value != oneLine(value) {
			return fmt.Errorf("%s %q cannot go into a header", name, value)
		}
	}
	_, modeErr := ParseMode(string(o.Health))
	_, err := ParseMisbehaviour(string(o.Misbehave))
	return errors.Join(modeErr, err)
}

// parts are the subsystems that the data plane decides by.
type parts struct {
	config       *config
	storage      *storage
	authenticate *authenticate
	authorize    *authorize
}

// Proxy is one instance of the proxy.
type Proxy struct {
	options  Options
	log      *slog.Logger
	upstream *url.URL

	faults    *faults // nil where none are allowed
	parts     parts
	data      *dataPlane
	transport *http.Transport // to the upstream
	control   *http.Client

	dataListener, healthListener net.Listener
	health                       *health
}

// New returns a proxy whose ports listen already. Requests wait until Run serves them.
// The caller must Run it, which also closes the ports.
func New(o Options) (*Proxy, error) {
	if o.StaleAfter == 0 {
		o.StaleAfter = DefaultStaleAfter
	}
	o.limits = o.limits.withDefaults()
	if err := o.check(); err != nil {
		return nil, err
	}
	if o.Misbehave == CrashAtStart {
		return nil, ErrCrash
	}
	upstream, err := baseURL("upstream", o.Upstream)
	if err != nil {
		return nil, err
	}
	control, err := baseURL("control", o.Control)
	if err != nil {
		return nil, err
	}
	p := &Proxy{
		options: o, log: o.Log, upstream: upstream, transport: newTransport(),
		// A transport of its own: a stalled control plane must not touch anything else.
		control: &http.Client{Transport: &http.Transport{}},
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	if o.AllowFaults {
		p.faults = newFaults()
	}
	p.parts.storage = newStorage()
	p.parts.authenticate = newAuthenticate(p.control, control.String(), o.StaleAfter/3)
	p.parts.authorize = newAuthorize()
	p.data = newDataPlane(o, upstream, p.transport, &p.parts)
	p.parts.config = newConfig(p.adopt)
	p.data.config = &p.parts.config.subsystem

	if p.dataListener = o.Listener; p.dataListener == nil {
		if p.dataListener, err = net.Listen("tcp", o.Listen); err != nil {
			return nil, fmt.Errorf("data port: %w", err)
		}
	}
	if p.healthListener, err = net.Listen("tcp", o.HealthListen); err != nil {
		return nil, errors.Join(fmt.Errorf("health port: %w", err), p.dataListener.Close())
	}
	if p.health, err = p.newHealth(); err != nil {
		return nil, errors.Join(err, p.dataListener.Close(), p.healthListener.Close())
	}
	p.health.probes = p.faults.spoil(p.health.probes)
	p.data.faults, p.data.probes = p.faults, p.health.probes
	return p, nil
}

// baseURL parses the address of a peer: scheme and host.
func baseURL(name, text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		// What the parser says about host:port alone helps nobody.
		return nil, fmt.Errorf("%s is %q, want a URL like http://127.0.0.1:8080", name, text)
	}
	return u, nil
}

// Addr is where the data port listens.
func (p *Proxy) Addr() net.Addr { return p.dataListener.Addr() }

// HealthAddr is where the health port listens.
func (p *Proxy) HealthAddr() net.Addr { return p.healthListener.Addr() }

// Run serves until ctx ends, then stops as the mode says, and returns once everything is
// stopped. The error is nil after a stop that cut nothing that it had promised to finish.
func (p *Proxy) Run(ctx context.Context) error {
	health := p.health
	data := healthkit.Graceful(p.options.limits.server(health.wrap(p.data)))
	probes := p.options.limits.server(health.probes)

	// The subsystems outlive the request to stop: what the proxy still serves it must
	// still decide by state that is kept up to date.
	working, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	var work sync.WaitGroup
	work.Go(func() { p.follow(working, &p.parts.config.subsystem, feed.ConfigPath, p.parts.config) })
	if o := p.options; o.Misbehave != NeverReady {
		work.Go(func() { p.follow(working, &p.parts.storage.subsystem, feed.SessionsPath, p.parts.storage) })
	}
	work.Go(func() { p.parts.authenticate.run(working) })
	work.Go(func() { p.watchUpstream(working) })
	work.Go(func() { p.work(working, health.tick) })

	failed := make(chan error, 4)
	if p.faults != nil {
		work.Go(func() { p.followFaults(working) })
		work.Go(func() { failed <- p.faults.tell(working, health.told) })
	}
	if p.options.Misbehave == CrashAfterReady {
		work.Go(func() { p.crash(working, failed) })
	}
	var servers sync.WaitGroup
	serve := func(name string, s healthkit.Server, l net.Listener) {
		servers.Go(func() {
			if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("%s port: %w", name, err)
			}
		})
	}
	serve("data", data, p.dataListener)
	serve("health", probes, p.healthListener)
	p.log.Info("listening", "data", p.Addr().String(), "health", p.HealthAddr().String())
	var telling sync.WaitGroup
	telling.Go(func() { p.tell(context.WithoutCancel(ctx)) })

	var err error
	select {
	case <-ctx.Done():
		p.log.Info("asked to stop")
		err = health.stop(context.WithoutCancel(ctx), data, probes)
	case err = <-failed:
		err = errors.Join(err, data.Close(), probes.Close())
	}
	stopWork()
	work.Wait()
	servers.Wait()
	p.transport.CloseIdleConnections()
	p.control.CloseIdleConnections()
	err = errors.Join(err, health.close())
	telling.Wait() // it ends with what health has closed
	return err
}

// tell tells the service manager of the proxy's health until that is closed.
func (p *Proxy) tell(ctx context.Context) {
	if p.options.Notifier == nil {
		return
	}
	if err := p.options.Notifier.Run(ctx, p.health.told); err != nil {
		p.log.Warn("the service manager was not told of the end", "err", err)
	}
}

// adopt puts a generation of the configuration into use.
func (p *Proxy) adopt(c policy.Config) error {
	if err := p.parts.authorize.compile(c); err != nil {
		p.log.Warn("keeping the last good generation", "rejected", c.Generation, "err", err)
		return err
	}
	p.data.update(func(now status) status {
		now.generation = c.Generation
		return now
	})
	p.log.Info("serving a generation", "generation", c.Generation)
	return nil
}

// streamed is a subsystem that is fed by a stream of the control plane.
type streamed interface {
	from() feed.Position
	message(feed.Message) error
	broken(error)
}

// follow feeds a subsystem from a stream until ctx ends.
func (p *Proxy) follow(ctx context.Context, s *subsystem, stream string, into streamed) {
	last := ""
	follower := feed.Follower{
		Client: p.control, Base: p.options.Control, Path: stream, Instance: p.options.Instance,
		// A stream is given up only after its state went stale: reconnecting to a
		// control plane that hangs brings nothing.
		Silence: 2 * p.options.StaleAfter,
		From:    into.from, Message: into.message,
		Broken: func(err error, wait time.Duration) {
			into.broken(err)
			if text := err.Error(); text != last {
				last = text
				p.log.Warn("stream broken", "subsystem", s.name, "err", err, "retry", wait)
			}
		},
	}
	follower.Follow(ctx)
}

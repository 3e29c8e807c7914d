package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/rollout-lab/rollout-lab/healthkit"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/feed"
)

// health is how a proxy tells of its health and stops, in one mode.
type health struct {
	registry *healthkit.Registry // nil in the modes that know nothing
	told     *healthkit.Registry // what the service manager is told of

	probes http.Handler                         // of the health port
	wrap   func(data http.Handler) http.Handler // around the data plane
	tick   func()                               // called by the data plane's own loop
	// stop stops serving on both ports; it is called once, when the proxy was asked to.
	stop func(ctx context.Context, data *healthkit.GracefulServer, probes *http.Server) error
	// close gives up what the mode holds, after the servers have stopped.
	close func() error
}

// newHealth returns the health of the proxy's mode.
func (p *Proxy) newHealth() (*health, error) {
	h := &health{
		wrap:  func(data http.Handler) http.Handler { return data },
		tick:  func() {},
		close: func() error { return nil },
	}
	switch p.options.Health {
	case None:
		h.probes, h.stop = http.NotFoundHandler(), closeAtOnce
		return h, p.uninformed(h)
	case Naive:
		h.probes, h.stop = alwaysWell(), closeAtOnce
		return h, p.uninformed(h)
	case Shallow:
		return h, p.shallow(h)
	case Pull:
		return h, p.pull(h)
	case DeepReadiness:
		return h, p.deep(h, healthkit.Options{})
	case DeepLiveness:
		return h, p.deep(h, healthkit.Options{Optional: true, LivenessOverride: true})
	default:
		return h, p.stackAware(h)
	}
}

// uninformed has the service manager told what the modes that know nothing believe: who
// listens is ready, and who runs is alive.
func (p *Proxy) uninformed(h *health) error {
	registry := healthkit.New(healthkit.Config{})
	process, err := registry.Register("process", healthkit.Options{})
	if err != nil {
		return errors.Join(err, p.closeRegistry(registry))
	}
	process.Ready()
	h.told = registry
	h.close = func() error { return p.closeRegistry(registry) }
	return nil
}

// shallow tells everybody what uninformed tells the service manager, and drains.
func (p *Proxy) shallow(h *health) error {
	if err := p.uninformed(h); err != nil {
		return err
	}
	p.draining(h, h.told)
	return nil
}

// draining has a registry answer the probes, and a stop announced by it.
func (p *Proxy) draining(h *health, registry *healthkit.Registry) {
	h.registry, h.told, h.probes, h.wrap = registry, registry, registry.Handler(), registry.Middleware
	h.stop = func(ctx context.Context, data *healthkit.GracefulServer, probes *http.Server) error {
		return p.drain(ctx, registry, data, probes)
	}
}

// closeAtOnce is how services stop that do nothing about it: whatever is in flight is cut.
func closeAtOnce(_ context.Context, data *healthkit.GracefulServer, probes *http.Server) error {
	return errors.Join(data.Close(), probes.Close())
}

// alwaysWell answers the usual probes, whatever the truth.
func alwaysWell() http.Handler {
	mux := http.NewServeMux()
	for _, path := range []string{"/readyz", "/livez", "/startupz", "/healthz"} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			// An error here means that the prober is gone: there is nobody to tell.
			_, _ = io.WriteString(w, "ok")
		})
	}
	return mux
}

// The pull mode's checks. They are cheap, so they run often.
const (
	pullInterval = 100 * time.Millisecond
	pullTimeout  = time.Second
)

// subsystems are all subsystems in the order in which they depend on each other.
func (p *Proxy) subsystems() []*subsystem {
	return []*subsystem{
		&p.parts.config.subsystem, &p.parts.storage.subsystem, &p.parts.authenticate.subsystem,
		&p.parts.authorize.subsystem, &p.data.subsystem,
	}
}

// pull checks whether each subsystem has what it needs, and nothing about how old that
// is: that is as far as a check of a part from outside sees.
func (p *Proxy) pull(h *health) error {
	registry := healthkit.New(healthkit.Config{})
	for _, s := range p.subsystems() {
		check := func(context.Context) error {
			switch now := s.status(); now.phase {
			case ready:
				return nil
			case degraded:
				return fmt.Errorf("%w: %s", healthkit.ErrDegraded, now.reason)
			default:
				return errors.New(now.reason)
			}
		}
		_, err := registry.RegisterCheck(s.name, check, healthkit.CheckOptions{
			Interval: pullInterval, Timeout: pullTimeout,
		})
		if err != nil {
			return errors.Join(err, p.closeRegistry(registry))
		}
	}
	h.registry, h.told, h.probes = registry, registry, registry.Handler()
	h.stop = func(ctx context.Context, data *healthkit.GracefulServer, probes *http.Server) error {
		ctx, cancel := context.WithTimeout(ctx, p.options.StopGrace)
		defer cancel()
		return errors.Join(finish(ctx, data, "data"), finish(ctx, probes, "health"))
	}
	h.close = func() error { return p.closeRegistry(registry) }
	return nil
}

// generationGrace is how long the subsystems may serve different generations while they
// take up a new one.
const generationGrace = 2 * time.Second

// stackAware has every subsystem report what it is, what it serves and until when that
// counts.
func (p *Proxy) stackAware(h *health) error {
	var names []string
	for _, s := range p.subsystems() {
		names = append(names, s.name)
	}
	registry := healthkit.New(healthkit.Config{
		Expect:      names,
		Generations: healthkit.GenerationPolicy{Agree: true, Grace: generationGrace},
	})
	stale := p.options.StaleAfter
	for _, part := range []struct {
		subsystem *subsystem
		options   healthkit.Options
	}{
		{&p.parts.config.subsystem, healthkit.Options{TTL: stale, Generational: true}},
		{&p.parts.storage.subsystem, healthkit.Options{TTL: stale}},
		{&p.parts.authenticate.subsystem, healthkit.Options{TTL: stale}},
		{&p.parts.authorize.subsystem, healthkit.Options{DependsOn: []string{"config"}, Generational: true}},
		{&p.data.subsystem, healthkit.Options{DependsOn: []string{"authorize"}, Generational: true}},
	} {
		component, err := registry.Register(part.subsystem.name, part.options)
		if err != nil {
			return errors.Join(err, p.closeRegistry(registry))
		}
		part.subsystem.watch((&reporter{component: component, ttl: part.options.TTL}).report)
	}
	loop, err := registry.RegisterLoop("proxy", workLimit)
	if err != nil {
		return errors.Join(err, p.closeRegistry(registry))
	}
	h.tick = loop.Tick
	p.draining(h, registry)
	h.close = func() error {
		loop.Close()
		return p.closeRegistry(registry)
	}
	return nil
}

// deep is stackAware with one check more of each dependency: what its failure means is what
// the options say. These are what the designs are there to show, not what a service should do:
// every instance shares the dependency, so its outage takes out, or restarts, all of them.
func (p *Proxy) deep(h *health, options healthkit.Options) error {
	if err := p.stackAware(h); err != nil {
		return err
	}
	control := p.options.Control
	for name, check := range map[string]healthkit.CheckFunc{
		"upstream": p.askUpstream,
		"control": func(ctx context.Context) error {
			address, err := baseURL("control", control)
			if err != nil {
				return err
			}
			return ask(ctx, p.control.Transport, address.JoinPath(feed.KeysPath))
		},
	} {
		_, err := h.registry.RegisterCheck(name, check, healthkit.CheckOptions{
			Options: options, Interval: pullInterval, Timeout: askTimeout,
		})
		if err != nil {
			return errors.Join(err, h.close())
		}
	}
	return nil
}

// drain stops without losing a request that a balancer sends while it does not know yet,
// or on a connection that it thinks it can still use: unready but serving as before, then
// closing each connection with an answer on it, then closed for new ones. The health port
// tells of it until the end.
func (p *Proxy) drain(ctx context.Context, registry *healthkit.Registry, data *healthkit.GracefulServer, probes *http.Server) error {
	o := p.options
	ctx, cancel := context.WithTimeout(ctx, o.StopGrace)
	defer cancel()
	_, err := registry.Shutdown(ctx, healthkit.ShutdownPlan{
		Reason: "asked to stop", LameDuck: o.LameDuck, CloseWait: o.CloseWait,
		Finish:  o.StopGrace - o.LameDuck - o.CloseWait,
		Servers: []healthkit.Server{data}, Health: []healthkit.Server{probes},
	})
	return err
}

// finish shuts a server down. What is still in flight when ctx ends is cut, and the error
// says so.
func finish(ctx context.Context, s interface {
	Shutdown(context.Context) error
	io.Closer
}, name string) error {
	if err := s.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("%s port: requests in flight were cut: %w", name, err), s.Close())
	}
	return nil
}

// closeRegistry ends a registry whose checks are all quick.
func (p *Proxy) closeRegistry(r *healthkit.Registry) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*pullTimeout)
	defer cancel()
	return r.Close(ctx)
}

// reporter passes what a subsystem says on to its component.
type reporter struct {
	component *healthkit.Component
	ttl       time.Duration

	last  status
	fresh time.Time // when the subsystem last said that its state is as new as can be
}

// report is called with every status, in order.
func (r *reporter) report(now status) {
	was := r.last
	r.last = now
	if now.generation != 0 {
		r.component.Generation(uint64(now.generation))
	}
	switch {
	case now.phase == starting:
		r.component.Starting(now.reason)
	case now.phase == ready:
		r.fresh = time.Now()
		r.component.Ready()
	case !now.broken:
		r.fresh = time.Now()
		r.component.Degraded(now.reason)
	case r.ttl == 0 || !was.broken && time.Since(r.fresh) < r.ttl:
		// A report starts the time to live anew, and trouble is no news of the state.
		// So it is reported once, and not at all when the state was stale before.
		r.component.Degraded(now.reason)
	}
}

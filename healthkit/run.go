package healthkit

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"
)

// DefaultBudget is how long Run takes to shut down at most: the 30 s that
// Kubernetes grants by default, less a margin for the process to end.
const DefaultBudget = 25 * time.Second

// Endpoint is a server and where it listens.
type Endpoint struct {
	// Addr is a TCP address as of net.Listen; an empty one of an *http.Server
	// is its own Addr. Listener, if set, is used instead; Run closes it.
	Addr     string
	Listener net.Listener
	// Server serves there; it may be that of several endpoints. The Handler of an
	// *http.Server is wrapped in Registry.Middleware, unless it is already, and
	// the server is made Graceful; one with certificates in its TLSConfig serves
	// TLS, on a listener that does not do so already.
	Server Server
	// Probes has the probes (Handler) answered here too, in front of the Handler of
	// an *http.Server, for a service with one port. The port then stays open until
	// the end. Where others would be closed, it answers 503 to all but the probes,
	// which is worse than a closed port: a client may not try elsewhere. Whoever
	// can send requests sees the probes: see Config.Details and Config.DrainFrom.
	Probes bool

	tls bool
}

// Follower tells others of the registry, such as the service manager or a log:
// Notifier.Run of healthkit/sdnotify is one. Its context ends after the health server
// has closed, so that it can tell of the end, too; Run waits for it within the budget,
// and its error is one of Run's.
type Follower func(ctx context.Context, r *Registry) error

// RunPlan says what Run serves and how it ends. Of the durations, zero takes
// the default and a negative one means none. The defaults fit into any Budget;
// LameDuck and CloseWait default to none when there are no endpoints.
type RunPlan struct {
	// Endpoints take requests. A worker has none.
	Endpoints []Endpoint
	// HealthAddr is the TCP address of the health server, for example ":8081";
	// HealthListener, if set, is used instead. Without both there is none.
	HealthAddr     string
	HealthListener net.Listener
	// Health answers there: Handler by default. This is the place of metrics and
	// profiles too, in a mux with Handler at "/": what is asked here is not in
	// flight, and is answered until the end.
	Health http.Handler
	// Budget bounds the whole shutdown; DefaultBudget by default. It has to be
	// below what the runtime grants: terminationGracePeriodSeconds less the
	// preStop hook, TimeoutStopSec, the stop timeout of the container.
	Budget time.Duration
	// LameDuck, CloseWait, Finish and Stop are those of ShutdownPlan: a fifth, a
	// twenty-fifth, two fifths and a fifth of the budget by default. LameDuck
	// has to be above the time in which balancers learn of unreadiness.
	LameDuck, CloseWait, Finish, Stop time.Duration
	// StopEach and HealthLinger are those of ShutdownPlan; none by default.
	StopEach, HealthLinger time.Duration
	// Followers run beside, from when the listeners are open.
	Followers []Follower
	// Signals begin the shutdown: os.Interrupt and SIGTERM by default.
	Signals []os.Signal
}

// complete fills in the defaults and checks that the parts fit.
func (p RunPlan) complete() (RunPlan, error) {
	if p.Budget < 0 {
		return p, fmt.Errorf("%w: budget %v", ErrOptions, p.Budget)
	}
	if p.Budget == 0 {
		p.Budget = DefaultBudget
	}
	part := func(d *time.Duration, byDefault time.Duration) { *d = max(0, orDefault(*d, byDefault)) }
	if len(p.Endpoints) > 0 {
		part(&p.LameDuck, p.Budget/5)
		part(&p.CloseWait, p.Budget/25)
	}
	part(&p.LameDuck, 0)
	part(&p.CloseWait, 0)
	part(&p.Finish, 2*p.Budget/5)
	part(&p.Stop, p.Budget/5)
	part(&p.HealthLinger, 0)
	if sum := p.LameDuck + p.CloseWait + p.Finish + p.Stop + p.HealthLinger; sum > p.Budget {
		return p, fmt.Errorf("%w: lame duck %v, close wait %v, finish %v, stop %v and health linger %v do not fit into the budget of %v",
			ErrOptions, p.LameDuck, p.CloseWait, p.Finish, p.Stop, p.HealthLinger, p.Budget)
	}
	if p.Signals == nil {
		p.Signals = []os.Signal{os.Interrupt, syscall.SIGTERM}
	}
	return p, p.check()
}

// check refuses plans that contradict themselves.
func (p RunPlan) check() error {
	if p.Health != nil && p.HealthAddr == "" && p.HealthListener == nil {
		return fmt.Errorf("%w: a health handler and no address for it", ErrOptions)
	}
	for i, e := range p.Endpoints {
		if e.Server == nil {
			return fmt.Errorf("%w: endpoint %d (%s) has no server", ErrOptions, i, e.Addr)
		}
		if e.Probes && !isHTTP(e.Server) {
			return fmt.Errorf("%w: endpoint %d (%s) cannot answer probes, its server is a %T", ErrOptions, i, e.Addr, e.Server)
		}
	}
	return nil
}

func isHTTP(s Server) bool {
	switch s.(type) {
	case *http.Server, *GracefulServer:
		return true
	}
	return false
}

func orDefault(d, byDefault time.Duration) time.Duration {
	if d == 0 {
		return byDefault
	}
	return d
}

// Run serves until ctx ends, a signal comes or a server fails, and then shuts
// the process down in order, as Shutdown does, within the budget. The health
// server listens first and closes last. Run returns when that is done; the
// caller has nothing left to do but exit. A second os.Interrupt ends the
// budget at once, for a person who does not want to wait.
//
// The error says which listener could not be opened (then nothing was served
// and the registry is as before), which server failed, or what the shutdown
// cut short; it is nil after a shutdown in order. To let POST /drainz begin the
// shutdown, make Config.OnDrain the cancel function of ctx.
func (r *Registry) Run(ctx context.Context, plan RunPlan) (ShutdownReport, error) {
	plan, err := plan.complete()
	if err != nil {
		return ShutdownReport{}, fmt.Errorf("run: %w", err)
	}
	health, endpoints, err := r.open(plan)
	if err != nil {
		return ShutdownReport{}, fmt.Errorf("run: %w", err)
	}
	signals := make(chan os.Signal, 2)
	if len(plan.Signals) > 0 {
		signal.Notify(signals, plan.Signals...)
		defer signal.Stop(signals)
	}
	l := life{r: r, plan: plan, ended: make(chan error, len(endpoints)+1), shutdown: ShutdownPlan{
		LameDuck: plan.LameDuck, CloseWait: plan.CloseWait, Finish: plan.Finish,
		Stop: plan.Stop, StopEach: plan.StopEach, HealthLinger: plan.HealthLinger,
	}}
	unfollow := l.follow(ctx)
	l.begin(health, endpoints)
	l.last(ctx, signals)

	budget, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	budget, release := context.WithTimeout(budget, plan.Budget)
	defer release()
	over := make(chan struct{})
	go impatience(signals, over, cancel)
	report, err := l.end(budget)
	err = errors.Join(err, unfollow(budget))
	close(over)
	if err != nil {
		return report, fmt.Errorf("run: %w", err)
	}
	return report, nil
}

// life is one Run.
type life struct {
	r        *Registry
	plan     RunPlan
	shutdown ShutdownPlan
	serving  int
	ended    chan error // of each server that serves
	failed   error      // of the server that has ended it
}

// follow begins to tell others. What it returns ends that and waits for it.
func (l *life) follow(ctx context.Context) (unfollow func(budget context.Context) error) {
	following, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, len(l.plan.Followers))
	for _, f := range l.plan.Followers {
		go func() { ended <- f(following, l.r) }()
	}
	return func(budget context.Context) error {
		cancel()
		errs := collect(budget, ended, len(l.plan.Followers), "followers")
		return errors.Join(errs...)
	}
}

// collect waits for n results, but not much longer than ctx lasts.
func collect(ctx context.Context, results <-chan error, n int, what string) (errs []error) {
	late, stop := afterEnd(ctx)
	defer stop()
	for ; n > 0; n-- {
		select {
		case err := <-results:
			errs = append(errs, err)
		case <-late.Done():
			return append(errs, fmt.Errorf("%d %s have not ended: %w", n, what, context.Cause(ctx)))
		}
	}
	return errs
}

// begin serves, the probes first.
func (l *life) begin(health net.Listener, endpoints []Endpoint) {
	if health != nil {
		probes := l.plan.Health
		if probes == nil {
			probes = l.r.Handler()
		}
		s := &http.Server{Handler: probes, ReadHeaderTimeout: 5 * time.Second, Addr: health.Addr().String()}
		l.shutdown.Health = append(l.shutdown.Health, s)
		l.serve(Endpoint{Listener: health, Server: s})
	}
	servers, answering := l.r.prepare(endpoints)
	l.shutdown.Servers = servers
	l.shutdown.Health = append(l.shutdown.Health, answering...)
	for _, e := range endpoints {
		l.serve(e)
	}
}

func (l *life) serve(e Endpoint) {
	l.serving++
	go func() { l.ended <- e.serve() }()
}

// last waits for what ends the process.
func (l *life) last(ctx context.Context, signals <-chan os.Signal) {
	select {
	case <-ctx.Done():
		l.shutdown.Reason = context.Cause(ctx).Error()
	case s := <-signals:
		l.shutdown.Reason = "signal: " + s.String()
	case l.failed = <-l.ended:
		l.serving--
		if l.failed == nil {
			l.failed = errors.New("a server ended without being told to")
		}
		l.shutdown.Reason = l.failed.Error()
	}
}

// end shuts down and waits for the servers.
func (l *life) end(budget context.Context) (ShutdownReport, error) {
	report, err := l.r.Shutdown(budget, l.shutdown)
	errs := []error{l.failed, err}
	if errors.Is(err, ErrPhase) {
		// Someone else ended the registry; the servers end all the same.
		errs = append(errs, shutdownServers(budget, slices.Concat(l.shutdown.Servers, l.shutdown.Health), nil)...)
	}
	// A Server of the caller's may stay in Serve after Shutdown.
	errs = append(errs, collect(budget, l.ended, l.serving, "servers")...)
	return report, errors.Join(errs...)
}

var errInterrupted = errors.New("interrupted again")

// impatience ends the budget at the next interrupt. Other signals are repeated
// by machines and mean nothing new.
func impatience(signals <-chan os.Signal, over <-chan struct{}, cancel context.CancelCauseFunc) {
	for {
		select {
		case s := <-signals:
			if s == os.Interrupt {
				cancel(errInterrupted)
			}
		case <-over:
			return
		}
	}
}

// open listens everywhere, the probes first, or nowhere.
func (r *Registry) open(plan RunPlan) (health net.Listener, endpoints []Endpoint, err error) {
	var opened []net.Listener
	listen := func(l net.Listener, addr string) net.Listener {
		if err != nil {
			return nil
		}
		if l == nil {
			l, err = net.Listen("tcp", addr)
		}
		if err == nil {
			opened = append(opened, l)
		}
		return l
	}
	if plan.HealthListener != nil || plan.HealthAddr != "" {
		health = listen(plan.HealthListener, plan.HealthAddr)
	}
	endpoints = slices.Clone(plan.Endpoints)
	for i := range endpoints {
		e := &endpoints[i]
		h, isHTTP := e.Server.(*http.Server)
		if e.Addr == "" && isHTTP {
			e.Addr = h.Addr
		}
		if e.Addr == "" && e.Listener == nil && err == nil {
			err = fmt.Errorf("%w: endpoint %d has no address", ErrOptions, i)
		}
		e.Listener = listen(e.Listener, e.Addr)
	}
	if err != nil {
		for _, l := range opened {
			err = errors.Join(err, l.Close())
		}
		return nil, nil, err
	}
	return health, endpoints, nil
}

// prepare makes the servers of endpoints what Run serves, and returns each once: those
// that only take requests, and those that answer the probes as well. It is done with all
// before the first one serves: from then on they are net/http's.
func (r *Registry) prepare(endpoints []Endpoint) (servers, answering []Server) {
	known := map[*http.Server]*GracefulServer{}
	probes := map[*http.Server]bool{}
	var all []*GracefulServer
	for i := range endpoints {
		e := &endpoints[i]
		g, ok := e.Server.(*GracefulServer)
		if h, isHTTP := e.Server.(*http.Server); isHTTP {
			if g, ok = known[h], true; g == nil {
				g = Graceful(h)
			}
		}
		if !ok {
			servers = append(servers, e.Server)
			continue
		}
		e.Server, e.tls = g, hasCertificates(g.http.TLSConfig)
		probes[g.http] = probes[g.http] || e.Probes
		if known[g.http] == nil {
			known[g.http] = g
			all = append(all, g)
		}
	}
	for _, g := range all {
		counts := r.counts(g)
		if probes[g.http] {
			g.handler = probing{r.Handler(), g.handler}
			answering = append(answering, g)
		} else {
			servers = append(servers, g)
		}
		if !counts {
			g.handler = r.Middleware(g.handler)
		}
	}
	return servers, answering
}

// counts tells whether Middleware is round the handler of a server already: round what
// Graceful was given, or round all of it.
func (r *Registry) counts(g *GracefulServer) bool {
	for _, h := range []http.Handler{g.handler, g.http.Handler} {
		if c, ok := h.(*counted); ok && c.r == r {
			return true
		}
	}
	return false
}

// serve serves until the server is shut down, which is no error.
func (e Endpoint) serve() error {
	var err error
	if g, ok := e.Server.(*GracefulServer); ok && e.tls {
		err = g.ServeTLS(e.Listener, "", "")
	} else {
		err = e.Server.Serve(e.Listener)
	}
	if err == nil || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve %s: %w", e.Listener.Addr(), err)
}

func hasCertificates(c *tls.Config) bool {
	return c != nil && (len(c.Certificates) > 0 || c.GetCertificate != nil || c.GetConfigForClient != nil)
}

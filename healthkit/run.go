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
	// TLS.
	Server Server

	tls bool
}

// RunPlan says what Run serves and how it ends. Of the durations, zero takes
// the default and a negative one means none. The defaults fit into any Budget;
// LameDuck and CloseWait default to none when there are no endpoints.
type RunPlan struct {
	// Endpoints take requests. A worker has none.
	Endpoints []Endpoint
	// HealthAddr is the TCP address where the probes are answered (Handler), for
	// example ":8081"; HealthListener, if set, is used instead. Without both
	// there is no health server.
	HealthAddr     string
	HealthListener net.Listener
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
	for i, e := range p.Endpoints {
		if e.Server == nil {
			return p, fmt.Errorf("%w: endpoint %d (%s) has no server", ErrOptions, i, e.Addr)
		}
	}
	return p, nil
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

	shutdown := ShutdownPlan{
		LameDuck: plan.LameDuck, CloseWait: plan.CloseWait, Finish: plan.Finish,
		Stop: plan.Stop, StopEach: plan.StopEach, HealthLinger: plan.HealthLinger,
	}
	ended := make(chan error, len(endpoints)+1)
	serve := func(e Endpoint) {
		go func() { ended <- e.serve() }()
	}
	serving := len(endpoints)
	if health != nil {
		serving++
		shutdown.Health = &http.Server{Handler: r.Handler(), ReadHeaderTimeout: 5 * time.Second, Addr: health.Addr().String()}
		serve(Endpoint{Listener: health, Server: shutdown.Health})
	}
	shutdown.Others = r.prepare(endpoints)
	for _, e := range endpoints {
		serve(e)
	}

	var failed error
	select {
	case <-ctx.Done():
		shutdown.Reason = context.Cause(ctx).Error()
	case s := <-signals:
		shutdown.Reason = "signal: " + s.String()
	case failed = <-ended:
		serving--
		if failed == nil {
			failed = errors.New("a server ended without being told to")
		}
		shutdown.Reason = failed.Error()
	}

	budget, cancel := context.WithTimeout(context.WithoutCancel(ctx), plan.Budget)
	defer cancel()
	over := make(chan struct{})
	go impatience(signals, over, cancel)
	report, err := r.Shutdown(budget, shutdown)
	close(over)
	errs := []error{failed, err}
	if errors.Is(err, ErrPhase) {
		// Someone else ended the registry; the servers end all the same.
		servers := slices.Clone(shutdown.Others)
		if shutdown.Health != nil {
			servers = append(servers, shutdown.Health)
		}
		errs = append(errs, shutdownServers(budget, servers, nil)...)
	}
	for ; serving > 0; serving-- {
		select {
		case err := <-ended:
			errs = append(errs, err)
		case <-budget.Done():
			// A Server of the caller's that stays in Serve after Shutdown.
			errs = append(errs, fmt.Errorf("%d servers had not ended: %w", serving, context.Cause(budget)))
			serving = 1
		}
	}
	if err := errors.Join(errs...); err != nil {
		return report, fmt.Errorf("run: %w", err)
	}
	return report, nil
}

// impatience ends the budget at the next interrupt. Other signals are repeated
// by machines and mean nothing new.
func impatience(signals <-chan os.Signal, over <-chan struct{}, cancel context.CancelFunc) {
	for {
		select {
		case s := <-signals:
			if s == os.Interrupt {
				cancel()
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

// prepare makes the servers of endpoints what Run serves, and returns each once. It is
// done with all before the first one serves: from then on they are net/http's.
func (r *Registry) prepare(endpoints []Endpoint) []Server {
	var servers []Server
	known := map[*http.Server]*GracefulServer{}
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
		if known[g.http] == nil {
			known[g.http] = g
			r.count(g)
			servers = append(servers, g)
		}
	}
	return servers
}

// count puts Middleware round the handler of a server, unless it is there: round what
// Graceful was given, or round all of it by an earlier Run.
func (r *Registry) count(g *GracefulServer) {
	for _, h := range []http.Handler{g.handler, g.http.Handler} {
		if c, ok := h.(*counted); ok && c.r == r {
			return
		}
	}
	g.http.Handler = r.Middleware(g.http.Handler)
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

package refproxy

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"

	"github.com/rollout-lab/rollout-lab/healthkit"
	"github.com/rollout-lab/rollout-lab/healthkit/sdnotify"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/admin"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/control"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/credential"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/proxy"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/relay"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/upstream"
)

func runProxy(ctx context.Context, p program) error {
	o := proxy.Options{Log: slog.New(slog.NewTextHandler(p.stderr, nil))}
	mode, misbehave := "", ""
	heartbeat := control.DefaultHeartbeat
	err := p.flags("proxy", func(f *flag.FlagSet) {
		f.StringVar(&o.Instance, "instance", "", "names this instance in every answer")
		f.StringVar(&o.Revision, "revision", "", "names what it runs in every answer")
		f.StringVar(&o.Listen, "listen", "", "is the host:port for requests")
		f.StringVar(&o.HealthListen, "health-listen", "", "is the host:port for probes")
		f.StringVar(&o.Control, "control", "", "is the URL of the control plane's streams")
		f.StringVar(&o.Upstream, "upstream", "", "is the URL that requests are forwarded to")
		f.StringVar(&mode, "health", "", fmt.Sprintf("is how it tells of its health: %q", proxy.Modes()))
		f.BoolVar(&o.FailOpen, "fail-open", false, "serve what cannot be decided yet")
		f.DurationVar(&o.LameDuck, "lame-duck", proxy.DefaultLameDuck, "modes that drain: unready but serving, after SIGTERM")
		f.DurationVar(&o.CloseWait, "close-wait", proxy.DefaultCloseWait, "modes that drain: then answering with Connection: close")
		f.DurationVar(&o.StopGrace, "stop-grace", proxy.DefaultStopGrace, "for all of a stop; then requests in flight are cut")
		f.DurationVar(&o.StaleAfter, "stale-after", proxy.DefaultStaleAfter, "how long synced state counts without a sign of life")
		f.DurationVar(&heartbeat, "heartbeat", heartbeat, "how often the control plane gives one")
		f.BoolVar(&o.FailClosed, "fail-closed", false, "serve nothing by state that counts no more")
		f.BoolVar(&o.AllowFaults, "allow-faults", false, "for experiments: do wrong what the control plane says")
		f.StringVar(&misbehave, "misbehave", "", fmt.Sprintf("for experiments: be wrong from the start: %q", proxy.Misbehaviours()))
	}, "instance", "revision", "listen", "health-listen", "control", "upstream", "health")
	if err != nil {
		return err
	}
	if o.Health, err = proxy.ParseMode(mode); err != nil {
		return &usageError{err, fmt.Sprintf("--health takes one of %q", proxy.Modes())}
	}
	if o.Misbehave, err = proxy.ParseMisbehaviour(misbehave); err != nil {
		return &usageError{err, fmt.Sprintf("--misbehave takes one of %q", proxy.Misbehaviours())}
	}
	if o.StaleAfter <= heartbeat {
		return &usageError{
			fmt.Errorf("stale-after is %v, but the control plane gives a sign of life every %v",
				o.StaleAfter, heartbeat), "use a few times that",
		}
	}
	// Under a service manager, which may also have opened the port.
	if o.Notifier, err = sdnotify.New(sdnotify.Options{
		DrainBudget: o.StopGrace,
		OnError:     func(err error) { o.Log.Warn("the service manager was not told", "err", err) },
	}); err != nil {
		return err
	}
	if o.Listener, err = activated(p.getenv); err != nil {
		return err
	}
	instance, err := proxy.New(o)
	if isListenError(err) {
		return listenError(err)
	}
	if errors.Is(err, proxy.ErrCrash) {
		return err
	}
	if err != nil {
		return &usageError{err, "refproxy proxy --help lists the flags"}
	}
	return instance.Run(ctx)
}

// dataSocket is the name under which a service manager hands over the data port.
const dataSocket = "data"

// activated returns the data port's listener where a service manager has opened it, else
// nil.
func activated(getenv func(string) string) (net.Listener, error) {
	if getenv("LISTEN_FDS") == "" {
		return nil, nil
	}
	listeners, err := activation.ListenersWithNames()
	if err != nil {
		return nil, fmt.Errorf("take over the sockets: %w", err)
	}
	mine := listeners[dataSocket]
	if len(listeners) == 0 {
		return nil, nil // they are another process's
	}
	if len(mine) == 1 && len(listeners) == 1 {
		return mine[0], nil
	}
	names := slices.Sorted(maps.Keys(listeners))
	for _, l := range listeners {
		for _, one := range l {
			err = errors.Join(err, one.Close())
		}
	}
	return nil, errors.Join(&hintError{
		fmt.Errorf("handed sockets named %q, want one that is named %s", names, dataSocket),
		"set FileDescriptorName=" + dataSocket + " in the socket unit",
	}, err)
}

func runControl(ctx context.Context, p program) error {
	var listen, adminListen string
	var o control.Options
	err := p.flags("control", func(f *flag.FlagSet) {
		f.StringVar(&listen, "listen", "", "is the host:port for the streams to proxies")
		f.StringVar(&adminListen, "admin-listen", "", "is the host:port for the operator")
		f.IntVar(&o.Sessions, "sessions", 0, "is the number of session records, at least 1")
		f.Float64Var(&o.SyncRate, "sync-rate", 0, "is how many records a second each proxy is sent")
		f.IntVar(&o.Routes, "routes", 0, "is the number of routes beside /app/ and /forbidden/")
		f.DurationVar(&o.Heartbeat, "heartbeat", control.DefaultHeartbeat, "how often a stream gives a sign of life")
		f.BoolVar(&o.AllowFaults, "allow-faults", false, "for experiments: let the operator have proxies do something wrong")
	}, "listen", "admin-listen", "sessions", "sync-rate")
	if err != nil {
		return err
	}
	if text := p.getenv(SeedVariable); text != "" {
		if o.Seed, err = credential.ParseSeed(text); err != nil {
			return &usageError{
				fmt.Errorf("%s: %w", SeedVariable, err),
				fmt.Sprintf("give it %d hexadecimal digits, or unset it for a random key", 2*credential.SeedSize),
			}
		}
	} else {
		o.Seed = credential.NewSeed()
	}
	token, err := p.adminToken()
	if err != nil {
		return err
	}
	plane, err := control.New(o)
	if err != nil {
		return &usageError{err, "refproxy control --help lists the flags"}
	}
	return serve(ctx, p.stderr, []port{
		{"streams", listen, plane.Streams()}, {"admin", adminListen, plane.Admin(token)},
	})
}

func runUpstream(ctx context.Context, p program) error {
	var listen string
	var latency time.Duration
	err := p.flags("upstream", func(f *flag.FlagSet) {
		f.StringVar(&listen, "listen", "", "is the host:port for requests")
		f.DurationVar(&latency, "latency", 0, "how long an answer takes")
	}, "listen")
	if err != nil {
		return err
	}
	if latency < 0 {
		return &usageError{fmt.Errorf("latency is %v", latency), "--latency takes a duration of at least 0"}
	}
	return serve(ctx, p.stderr, []port{{"requests", listen, upstream.Handler(latency)}})
}

// runRelay passes connections on, and badly where its operator says so.
func runRelay(ctx context.Context, p program) (err error) {
	var adminListen string
	var links []relay.Link
	err = p.flags("relay", func(f *flag.FlagSet) {
		f.StringVar(&adminListen, "admin-listen", "", "is the host:port for the operator")
		f.Func("link", "is NAME=HOST:PORT>HOST:PORT: a link, where it listens and where it leads; once for each", func(text string) error {
			l, err := relay.ParseLink(text)
			links = append(links, l)
			return err
		})
	}, "admin-listen", "link")
	if err != nil {
		return err
	}
	token, err := p.adminToken()
	if err != nil {
		return err
	}
	passing, err := relay.Start(links)
	if isListenError(err) {
		return listenError(err)
	}
	if err != nil {
		return &usageError{err, "refproxy relay --help lists the flags"}
	}
	defer func() { err = errors.Join(err, passing.Close()) }()
	return serve(ctx, p.stderr, []port{{"admin", adminListen, passing.Admin(token)}})
}

// adminToken is what the operator has to show. There is no port for operators without one.
func (p program) adminToken() (string, error) {
	token := p.getenv(admin.TokenVariable)
	if len(token) < admin.TokenSize {
		// What there is of it is a secret, so the error must not repeat it.
		return "", &usageError{
			fmt.Errorf("%s has %d bytes, want at least %d", admin.TokenVariable, len(token), admin.TokenSize),
			"give it something that nobody can guess: the operator shows it as Authorization: Bearer TOKEN",
		}
	}
	return token, nil
}

// headerTimeout is how long a connection may bring no request. It is far above the time
// that a proxy keeps one to its upstream that it has dialled and not used so far.
const headerTimeout = 5 * time.Minute

// port is something to serve.
type port struct {
	name, addr string
	handler    http.Handler
}

// serve serves ports until ctx ends, and then closes them at once: those who use these
// services are told by their own side's experiment when to stop.
func serve(ctx context.Context, stderr io.Writer, ports []port) (err error) {
	logger := slog.New(slog.NewTextHandler(stderr, nil))
	servers := make([]*http.Server, 0, len(ports))
	ended := make(chan error, len(ports))
	for _, p := range ports {
		l, listenErr := net.Listen("tcp", p.addr)
		if listenErr != nil {
			err = listenError(fmt.Errorf("%s port: %w", p.name, listenErr))
			break
		}
		s := &http.Server{
			Handler: p.handler, ReadHeaderTimeout: headerTimeout, ErrorLog: log.New(io.Discard, "", 0),
		}
		servers = append(servers, s)
		go func() { ended <- s.Serve(l) }()
		logger.Info("listening", "port", p.name, "addr", l.Addr().String())
	}
	waiting := len(servers)
	if err == nil {
		select {
		case <-ctx.Done():
		case err = <-ended:
			waiting--
		}
	}
	for _, s := range servers {
		err = errors.Join(err, s.Close())
	}
	for range waiting {
		if e := <-ended; !errors.Is(e, http.ErrServerClosed) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// isListenError reports whether a port could not be listened at.
func isListenError(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "listen"
}

// listenError adds what to do about a port that could not be listened at.
func listenError(err error) error {
	hint := "give --listen and the like a host:port of this machine, such as 127.0.0.1:8080"
	if errors.Is(err, syscall.EADDRINUSE) {
		hint = "another process has the port: choose another one, or stop that process"
	}
	return &hintError{err, hint}
}

func runHealthcheck(ctx context.Context, p program) error {
	if code := healthkit.ProbeCommand(ctx, p.args, p.stdout, p.stderr); code != exitOK {
		return exitError(code)
	}
	return nil
}

package adaptertest

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/healthkit"
)

// There is no Docker engine here either: this is its HEALTHCHECK by the rules of
// the Dockerfile reference, with a clock that moves one second with each tick.

// healthcheck is the HEALTHCHECK of an image. The timeout is real time.
type healthcheck struct {
	interval, timeout, startPeriod time.Duration
	// startInterval takes the place of interval in the start period until the
	// first success; zero is an engine that does not know it.
	startInterval time.Duration
	retries       int
}

// engine watches over one container. It has nothing to restart it with: an
// unhealthy container is shown as such, and that is all.
type engine struct {
	healthcheck
	command func(ctx context.Context) (code int, output string)

	now, due time.Duration // since the container was started
	status   string        // starting, healthy or unhealthy
	streak   int           // failures in a row that count
	runs     int
	output   string // of the last run
	code     int
}

func newEngine(h healthcheck, command func(context.Context) (int, string)) *engine {
	e := &engine{healthcheck: h, command: command, status: "starting"}
	e.schedule()
	return e
}

// forgiving tells whether a failure now does not count.
func (e *engine) forgiving() bool { return e.status == "starting" && e.now < e.startPeriod }

func (e *engine) schedule() {
	e.due = e.now + e.interval
	if e.forgiving() && e.startInterval > 0 {
		e.due = e.now + e.startInterval
	}
}

// tick lets a second pass and does what is due then.
func (e *engine) tick() {
	if e.now += time.Second; e.now < e.due {
		return
	}
	e.runs++
	ctx, cancel := context.WithTimeout(context.Background(), e.timeout)
	defer cancel()
	e.code, e.output = e.command(ctx)
	switch {
	case e.code == 0 && ctx.Err() == nil:
		e.status, e.streak = "healthy", 0
	case e.forgiving():
	default:
		if e.streak++; e.streak >= e.retries {
			e.status = "unhealthy"
		}
	}
	e.schedule()
}

// settle ticks until the check had the time for all of its retries.
func (e *engine) settle() {
	for end := e.now + time.Duration(e.retries+1)*e.interval; e.now < end; {
		e.tick()
	}
}

// healthchecks are settings that people have: those of the README, the defaults,
// and one without patience on an engine without a start interval.
var healthchecks = map[string]healthcheck{
	"recommended": {interval: 2 * time.Second, timeout: answerTime, startPeriod: time.Minute, startInterval: 5 * time.Second, retries: 2},
	"defaults":    {interval: 30 * time.Second, timeout: answerTime, startInterval: 5 * time.Second, retries: 3},
	"nervous":     {interval: time.Second, timeout: answerTime, startPeriod: 2 * time.Second, retries: 1},
}

// State by state, what Docker shows is what the snapshot says, and the reason that
// it keeps is the snapshot's.
func TestDockerBelievesTheSnapshot(t *testing.T) {
	for name, check := range healthchecks {
		t.Run(name+"/with grace", func(t *testing.T) { dockerLife(t, check, time.Hour) })
		t.Run(name+"/without grace", func(t *testing.T) { dockerLife(t, check, 0) })
	}
}

func dockerLife(t *testing.T, check healthcheck, grace time.Duration) {
	p := startService(t, grace)
	e := newEngine(check, healthcheckCommand(t, p.addr))
	shown := map[string]int{}
	for _, step := range life(grace) {
		step.do(p)
		before := p.r.Snapshot()
		step.check(t, before)
		runs := e.runs
		e.settle()
		s := p.r.Snapshot()
		if s.Version != before.Version {
			t.Fatalf("%s: the registry went from version %d to %d while it was probed: nothing can be compared", step.name, before.Version, s.Version)
		}
		want := "unhealthy"
		switch {
		case s.Ready():
			want = "healthy"
		case !s.Started && e.now < check.startPeriod:
			want = "starting"
		}
		shown[want]++
		if e.runs == runs || e.status != want {
			t.Fatalf("%s: after %d runs Docker shows %q, want %q; snapshot: %s; last output: %s", step.name, e.runs-runs, e.status, want, s.Reason(), e.output)
		}
		reason, _, _ := strings.Cut(e.output, "\n")
		switch {
		case step.gone && !strings.HasPrefix(reason, "no verdict"):
			t.Errorf("%s: nobody answers, and the reason is %q", step.name, reason)
		case !step.gone && reason != s.Reason():
			t.Errorf("%s: Docker keeps the reason %q, want %q", step.name, reason, s.Reason())
		case len(e.output) > 4096:
			t.Errorf("%s: %d bytes of output, of which Docker keeps 4096", step.name, len(e.output))
		}
		for probe, is := range map[string]bool{"ready": s.Ready(), "live": s.Live(), "startup": s.Started} {
			wantCode := 1
			if is && !step.gone {
				wantCode = 0
			}
			if code, output := healthcheckCommand(t, p.addr, "--probe", probe)(t.Context()); code != wantCode {
				t.Errorf("%s: --probe %s exits %d, want %d: %s", step.name, probe, code, wantCode, output)
			}
		}
	}
	if shown["healthy"] == 0 || shown["unhealthy"] == 0 || check.startPeriod > 10*time.Second && shown["starting"] == 0 {
		t.Errorf("states shown %v: the life was not lived", shown)
	}
}

// healthcheckCommand is what a service does when it is called as its own
// HEALTHCHECK. Only 0 and 1 mean something to Docker.
func healthcheckCommand(t *testing.T, addr string, args ...string) func(context.Context) (int, string) {
	args = append([]string{"--addr", addr, "--timeout", answerTime.String()}, args...)
	return func(ctx context.Context) (int, string) {
		var stdout, stderr bytes.Buffer
		code := healthkit.ProbeCommand(ctx, args, &stdout, &stderr)
		if code != 0 && code != 1 || stderr.Len() > 0 {
			t.Errorf("healthcheck %v exits %d and writes to stderr: %q", args, code, stderr.String())
		}
		return code, stdout.String()
	}
}

// The engine itself: each rule, against a command that exits by a script. The
// trace has one letter for each second: s starting, H healthy, U unhealthy.
func TestDockerRules(t *testing.T) {
	for _, c := range []struct {
		name      string
		check     healthcheck
		exits     string // the last one stays
		want      string
		wantCount int // runs
	}{
		{"the first run is an interval after the start", healthcheck{interval: 3 * time.Second, retries: 1}, "0", "ssHHHH", 2},
		{"failures in a row", healthcheck{interval: time.Second, retries: 3}, "110111", "ssHHHU", 6},
		{"starting until enough failures", healthcheck{interval: time.Second, retries: 3}, "1", "ssUU", 4},
		{"one success is healthy, whatever was before", healthcheck{interval: time.Second, retries: 1}, "101", "UHU", 3},
		{"failures in the start period do not count", healthcheck{interval: time.Second, retries: 1, startPeriod: 4 * time.Second}, "1", "sssUU", 5},
		{"after a success in the start period they do", healthcheck{interval: time.Second, retries: 1, startPeriod: 9 * time.Second}, "101", "sHU", 3},
		{"start interval", healthcheck{interval: 4 * time.Second, retries: 1, startPeriod: 3 * time.Second, startInterval: time.Second}, "1101", "ssHHHHU", 4},
		{"no start interval in an old engine", healthcheck{interval: 4 * time.Second, retries: 1, startPeriod: 9 * time.Second}, "0", "sssHH", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			exits := c.exits
			c.check.timeout = answerTime
			e := newEngine(c.check, func(context.Context) (int, string) {
				code := int(exits[0] - '0')
				if len(exits) > 1 {
					exits = exits[1:]
				}
				return code, ""
			})
			var got strings.Builder
			for range len(c.want) {
				e.tick()
				got.WriteString(map[string]string{"starting": "s", "healthy": "H", "unhealthy": "U"}[e.status])
			}
			if got.String() != c.want || e.runs != c.wantCount {
				t.Errorf("trace %s with %d runs, want %s with %d", got.String(), e.runs, c.want, c.wantCount)
			}
		})
	}
}

// A run that takes longer than the timeout is a failure, and one that hangs does
// not hang the engine.
func TestDockerTimeout(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // nobody accepts
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	e := newEngine(healthcheck{interval: time.Second, timeout: 50 * time.Millisecond, retries: 1}, healthcheckCommand(t, l.Addr().String()))
	if e.tick(); e.status != "unhealthy" || e.code != 1 {
		t.Errorf("status %q after exit code %d, want unhealthy after 1: %s", e.status, e.code, e.output)
	}
}

var errDown = errors.New("down")

// step is one state of a life, reached by hand, and what a snapshot must say in
// it. That is written down, so that a runtime and a snapshot that are wrong
// together are found as well.
type step struct {
	name                           string
	do                             func(*service)
	started, ready, live, degraded bool
	stopping                       bool // the process ends from here on
	gone                           bool // nobody answers any more
}

func (s step) check(t *testing.T, snap *healthkit.Snapshot) {
	t.Helper()
	if snap.Started != s.started || snap.Ready() != s.ready || snap.Live() != s.live || snap.Degraded() != s.degraded {
		t.Fatalf("%s: snapshot started %v, ready %v, live %v, degraded %v; want %v, %v, %v, %v", s.name,
			snap.Started, snap.Ready(), snap.Live(), snap.Degraded(), s.started, s.ready, s.live, s.degraded)
	}
}

// life is one life through every state there is. A service that was restarted
// in the middle of it goes on with what the next step registers.
func life(grace time.Duration) []step {
	tolerated := grace > 0
	return []step{
		{name: "nothing registered", do: func(*service) {}, live: true},
		{name: "starting", do: func(p *service) { p.storage().Starting("sync") }, live: true},
		{name: "half ready", do: func(p *service) {
			p.component("keys", healthkit.Options{}).Starting("fetch")
			p.storage().Ready()
		}, live: true},
		{name: "ready", do: func(p *service) { p.component("keys", healthkit.Options{}).Ready() }, started: true, ready: true, live: true},
		{name: "degraded optional", do: func(p *service) { p.cache().Degraded("cold") }, started: true, ready: true, live: true, degraded: true},
		{name: "failed optional", do: func(p *service) { p.cache().Failed(errDown) }, started: true, ready: true, live: true, degraded: true},
		{name: "required failed", do: func(p *service) { p.cache().Ready(); p.storage().Failed(errDown) }, started: true, live: true},
		{name: "recovered", do: func(p *service) { p.storage().Ready() }, started: true, ready: true, live: true},
		{name: "stale", do: expire, started: true, live: true},
		{name: "fresh again", do: func(p *service) { p.storage().Ready() }, started: true, ready: true, live: true},
		{name: "shared dependency failed", do: func(p *service) {
			database := p.component("database", healthkit.Options{OnFailure: healthkit.FailShared})
			database.Ready()
			database.Failed(errDown)
		}, started: true, ready: true, live: true, degraded: true},
		{name: "shared dependency back", do: func(p *service) { p.components["database"].Ready() }, started: true, ready: true, live: true},
		{name: "no generation yet", do: func(p *service) { p.policy().Ready() }, started: true, live: true},
		{name: "generation met", do: func(p *service) { p.policy().Generation(1) }, started: true, ready: true, live: true},
		{name: "generation pending", do: func(p *service) { p.r.RequireGeneration(2) }, started: true, ready: tolerated, live: true, degraded: tolerated},
		{name: "generation met again", do: func(p *service) { p.policy().Generation(2) }, started: true, ready: true, live: true},
		{name: "stuck", do: (*service).stick, started: true, ready: true},
		{name: "in progress again", do: func(p *service) {
			if p.loop != nil {
				p.loop.Idle()
			}
			p.storage().Ready()
		}, started: true, ready: true, live: true},
		{name: "lame duck", do: func(p *service) { p.must(p.r.Advance(healthkit.PhaseLameDuck, "SIGTERM")) }, started: true, live: true, stopping: true},
		{name: "draining", do: func(p *service) { p.must(p.r.Advance(healthkit.PhaseDraining, "SIGTERM")) }, started: true, live: true, stopping: true},
		{name: "stopped", do: func(p *service) { p.must(p.r.Advance(healthkit.PhaseStopped, "")) }, started: true, live: true, stopping: true},
		{name: "listener closed", do: func(p *service) { p.end() }, started: true, live: true, stopping: true, gone: true},
	}
}

// expire lets a report of the storage outlive its time to live.
func expire(p *service) {
	p.t.Helper()
	p.storage().ReadyFor(time.Millisecond)
	p.await("the storage is stale", func(snap *healthkit.Snapshot) bool {
		c, ok := snap.Component("storage")
		return ok && c.State == healthkit.Stale
	})
}

// waitLimit bounds the wait for what the clock of a registry does.
const waitLimit = 20 * time.Second

// service is a process as a runtime sees it: a registry that is probed over a
// listener of its own.
type service struct {
	t          *testing.T
	r          *healthkit.Registry
	components map[string]*healthkit.Component
	loop       *healthkit.Loop
	addr       string
	end        func() // closes the listener and the registry; idempotent
}

func startService(t *testing.T, grace time.Duration) *service {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &service{
		t: t, components: map[string]*healthkit.Component{}, addr: l.Addr().String(),
		r: healthkit.New(healthkit.Config{Generations: healthkit.GenerationPolicy{Grace: grace}}),
	}
	server := &http.Server{Handler: s.r.Handler()}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	ended := false
	s.end = func() {
		if ended {
			return
		}
		ended = true
		if err := server.Close(); err != nil {
			t.Errorf("close the probe server: %v", err)
		}
		if err := <-served; err != http.ErrServerClosed {
			t.Errorf("the probe server ended with %v", err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), waitLimit)
		defer cancel()
		if err := s.r.Close(ctx); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(s.end)
	return s
}

// component returns the handle of a component and registers it before if this
// process has none: it may be a new one.
func (s *service) component(name string, opts healthkit.Options) *healthkit.Component {
	s.t.Helper()
	if s.components[name] == nil {
		c, err := s.r.Register(name, opts)
		if err != nil {
			s.t.Fatal(err)
		}
		s.components[name] = c
	}
	return s.components[name]
}

func (s *service) storage() *healthkit.Component {
	return s.component("storage", healthkit.Options{})
}

func (s *service) cache() *healthkit.Component {
	return s.component("cache", healthkit.Options{Optional: true})
}

func (s *service) policy() *healthkit.Component {
	return s.component("policy", healthkit.Options{Generational: true})
}

// stick registers a work loop that does not go round, and waits until that shows.
func (s *service) stick() {
	s.t.Helper()
	var err error
	if s.loop, err = s.r.RegisterLoop("loop", time.Millisecond); err != nil {
		s.t.Fatal(err)
	}
	s.await("a loop is stuck", func(snap *healthkit.Snapshot) bool { return !snap.Live() })
}

func (s *service) await(what string, is func(*healthkit.Snapshot) bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitLimit)
	defer cancel()
	for snap := range s.r.Watch(ctx) {
		if is(snap) {
			return
		}
	}
	s.t.Fatalf("waited %v until %s", waitLimit, what)
}

func (s *service) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

package proxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/rollout-lab/rollout-lab/healthkit"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/control"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/credential"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/feed"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestHealthPortByMode(t *testing.T) {
	for _, tt := range []struct {
		mode            Mode
		before, after   int // status of /readyz before and after the sync
		livez, nonsense int
	}{
		{None, 404, 404, 404, 404},
		{Naive, 200, 200, 200, 404},
		{Pull, 503, 200, 200, 404},
		{Shallow, 200, 200, 200, 404},
		{StackAware, 503, 200, 200, 404},
		{DeepReadiness, 503, 200, 200, 404},
		{DeepLiveness, 503, 200, 200, 404},
	} {
		t.Run(string(tt.mode), func(t *testing.T) {
			k := start(t, func(s *setup) { s.stalled, s.options.Health = true, tt.mode })
			k.await("authenticate", "ready", func(now status) bool { return now.phase == ready })
			for path, want := range map[string]int{"/readyz": tt.before, "/livez": tt.livez, "/nonsense": tt.nonsense} {
				if got := k.probe(path).status; got != want {
					t.Errorf("before the sync %s answers %d, want %d", path, got, want)
				}
			}
			k.get("/app/", 1).expect(t, "data port before the sync", 503, "storage")
			k.plane.Stall(false)
			k.synced()
			k.healthy("/readyz", tt.after)
			k.get("/app/", 1).expect(t, "data port after the sync", 200, "")
		})
	}
}

// healthy waits until the health port answers a question with a status, for what a mode learns
// by checks of its own.
func (k *stack) healthy(path string, want int) {
	k.t.Helper()
	var a answer
	for begun := time.Now(); time.Since(begun) < patience; {
		if a = k.probe(path); a.status == want {
			return
		}
	}
	k.t.Fatalf("%s answers %d %q %v, never %d", path, a.status, a.body, a.err, want)
}

// gate is a server that can go away: whoever asks it then finds its connection closed.
type gate struct {
	away atomic.Bool
	next http.Handler
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if g.away.Load() {
		panic(http.ErrAbortHandler)
	}
	g.next.ServeHTTP(w, r)
}

// TestDependencyAway: what each mode says while a dependency that every instance shares is away.
// What is to be seen is that deep readiness takes the instance out, that deep liveness has it
// started again, and that the others do neither.
func TestDependencyAway(t *testing.T) {
	for _, dependency := range []string{"upstream", "control"} {
		for _, tt := range []struct {
			mode         Mode
			readyz, live int // while it is away
		}{
			{None, 404, 404},
			{Naive, 200, 200},
			{Shallow, 200, 200},
			{Pull, 200, 200},
			{StackAware, 200, 200},
			{DeepReadiness, 503, 200},
			{DeepLiveness, 200, 503},
		} {
			t.Run(dependency+" "+string(tt.mode), func(t *testing.T) {
				t.Parallel() // most of it is waiting for the proxy to look
				gates := map[string]*gate{"upstream": {next: upstream.Handler(0)}, "control": {}}
				k := start(t, func(s *setup) {
					s.options.Health = tt.mode
					s.upstream = gates["upstream"]
					s.front = func(streams http.Handler) http.Handler {
						gates["control"].next = streams
						return gates["control"]
					}
				})
				k.synced()
				well := k.probe("/readyz").status
				if tt.mode != None {
					well = 200
				}
				k.healthy("/readyz", well)
				gates[dependency].away.Store(true)
				// Whoever looks at the dependencies by himself learns of it in his time; the others
				// are asked once the proxy itself has found out.
				part := map[string]string{"upstream": "proxy", "control": "authenticate"}[dependency]
				k.await(part, "degraded", func(now status) bool { return now.phase == degraded })
				k.healthy("/readyz", tt.readyz)
				k.healthy("/livez", tt.live)
				if got := k.probe("/readyz").status; got != tt.readyz {
					t.Errorf("/readyz answers %d, want %d", got, tt.readyz)
				}
				gates[dependency].away.Store(false)
				k.healthy("/readyz", well)
				k.healthy("/livez", well)
			})
		}
	}
}

// hold is an upstream that keeps requests to /app/hold until it is told to let go.
type hold struct {
	arrived chan struct{}
	release chan struct{}
}

func newHold() *hold { return &hold{make(chan struct{}, 10), make(chan struct{})} }

func (h *hold) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/app/hold" {
		return
	}
	// A server notices that a client is gone only once it has read the request's body.
	_, _ = io.Copy(io.Discard, r.Body)
	h.arrived <- struct{}{}
	select {
	case <-h.release:
		_, _ = io.WriteString(w, "held")
	case <-r.Context().Done():
	}
}

func TestRequestInFlightWhenAskedToStop(t *testing.T) {
	for mode, finished := range map[Mode]bool{None: false, Naive: false, Pull: true, Shallow: true, StackAware: true, DeepReadiness: true, DeepLiveness: true} {
		t.Run(string(mode), func(t *testing.T) {
			h := newHold()
			k := start(t, func(s *setup) { s.options.Health, s.upstream = mode, h })
			k.synced()
			got := make(chan answer, 1)
			authorization := "Bearer " + token(t, credential.SessionID(1), time.Hour)
			go func() { got <- k.ask("POST", "/app/hold", authorization, "body") }()
			<-h.arrived
			k.cancel()
			if !finished {
				if a := <-got; a.err == nil {
					t.Errorf("request in flight is answered %d, want it cut", a.status)
				}
				if err := k.wait(); err != nil {
					t.Errorf("Run = %v", err)
				}
				return
			}
			// The listener is closed by now or soon; the request is not.
			k.unreachable(k.proxy.Addr().String())
			close(h.release)
			if a := <-got; a.err != nil || a.body != "held" {
				t.Errorf("request in flight: %d %q %v, want it finished", a.status, a.body, a.err)
			}
			if err := k.wait(); err != nil {
				t.Errorf("Run = %v", err)
			}
		})
	}
}

// unreachable waits until nobody listens at an address any more.
func (k *stack) unreachable(addr string) {
	k.t.Helper()
	for begun := time.Now(); time.Since(begun) < patience; {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return
		}
		if err := conn.Close(); err != nil {
			k.t.Fatal(err)
		}
	}
	k.t.Fatalf("%s still listens", addr)
}

func TestStopGraceEnds(t *testing.T) {
	h := newHold()
	k := start(t, func(s *setup) {
		s.upstream = h
		s.options.LameDuck, s.options.CloseWait, s.options.StopGrace = 0, 0, 50*time.Millisecond
	})
	k.synced()
	got := make(chan answer, 1)
	authorization := "Bearer " + token(t, credential.SessionID(1), time.Hour)
	go func() { got <- k.ask("GET", "/app/hold", authorization, "") }()
	<-h.arrived
	if err := k.stop(); err == nil {
		t.Error("Run = nil, want an error that says that a request was cut")
	}
	if a := <-got; a.err == nil {
		t.Errorf("request is answered %d, want it cut", a.status)
	}
}

// sent is one request of a client that goes on while the proxy stops.
type sent struct {
	answer
	before, after healthkit.Phase
}

// closes reports whether the answer says that its connection closes.
func (s sent) closes() bool { return s.header.Get("Connection") == "close" }

// pound sends POSTs on kept connections, one after another for each client, until one
// fails or polite clients are told that their connection closes. It calls stop while the
// clients are at it.
func (k *stack) pound(clients int, polite bool, stop func()) [][]sent {
	k.t.Helper()
	authorization := "Bearer " + token(k.t, credential.SessionID(1), time.Hour)
	histories := make([][]sent, clients)
	var warm, done sync.WaitGroup
	warm.Add(clients)
	for c := range clients {
		done.Go(func() {
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			for n := 0; ; n++ {
				if n == 5 {
					warm.Done()
				}
				s := sent{before: k.phase()}
				s.answer = post(k.t, transport, "http://"+k.proxy.Addr().String()+"/app/x", authorization)
				s.after = k.phase()
				histories[c] = append(histories[c], s)
				if s.err != nil || (polite && s.closes()) {
					for ; n < 5; n++ {
						warm.Done()
					}
					return
				}
			}
		})
	}
	warm.Wait()
	stop()
	done.Wait()
	return histories
}

// phase is the phase of the health model, for the modes that have one.
func (k *stack) phase() healthkit.Phase {
	if r := k.proxy.health.registry; r != nil {
		return r.Phase()
	}
	return healthkit.PhaseServing
}

// post sends a request that net/http cannot repeat unseen: its body is had only once.
func post(t *testing.T, transport *http.Transport, url, authorization string) (a answer) {
	req, err := http.NewRequestWithContext(t.Context(), "POST", url, io.MultiReader(strings.NewReader("body")))
	if err != nil {
		return answer{err: err}
	}
	req.ContentLength = int64(len("body"))
	req.Header.Set("Authorization", authorization)
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return answer{err: err}
	}
	text, err := io.ReadAll(resp.Body)
	a = answer{resp.StatusCode, resp.Header, string(text), errors.Join(err, resp.Body.Close())}
	if resp.Close {
		// net/http takes the header away when it has acted on it.
		a.header.Set("Connection", "close")
	}
	return a
}

func TestDrainLosesNothing(t *testing.T) {
	k := start(t, func(s *setup) {
		// Long enough for every client to have its turn, however busy the machine is.
		s.options.LameDuck, s.options.CloseWait = time.Second, 2*time.Second
	})
	k.ready()
	var duck, draining int
	for c, history := range k.pound(4, true, k.cancel) {
		for _, s := range history {
			s.expect(t, fmt.Sprintf("client %d, request from %v to %v", c, s.before, s.after), 200, "")
			if s.err != nil {
				continue
			}
			if s.after <= healthkit.PhaseLameDuck && s.closes() {
				t.Errorf("answer closes the connection in phase %v", s.after)
			}
			if s.before == healthkit.PhaseDraining && !s.closes() {
				t.Errorf("answer keeps the connection in phase %v", s.before)
			}
			if s.before == healthkit.PhaseLameDuck {
				duck++
			}
		}
		if last := history[len(history)-1]; last.err == nil && last.closes() {
			draining++
		}
	}
	if duck == 0 || draining != 4 {
		t.Errorf("%d requests as a lame duck and %d of 4 clients told to go; the test tested nothing", duck, draining)
	}
	if err := k.wait(); err != nil {
		t.Errorf("Run = %v", err)
	}
}

func TestNaiveStopLosesRequests(t *testing.T) {
	// The control of the test above: the same clients do see losses when there are any.
	k := start(t, func(s *setup) { s.options.Health = Naive })
	k.synced()
	lost := 0
	// Clients that heed nothing: a server that is being closed may still tell one whose
	// answer is under way that its connection closes.
	for _, history := range k.pound(4, false, k.cancel) {
		if history[len(history)-1].err != nil {
			lost++
		}
	}
	if lost != 4 {
		t.Errorf("%d of 4 clients lost a request, want all", lost)
	}
}

func TestHealthPortClosesLast(t *testing.T) {
	h := newHold()
	k := start(t, func(s *setup) { s.upstream = h })
	k.ready()
	got := make(chan answer, 1)
	authorization := "Bearer " + token(t, credential.SessionID(1), time.Hour)
	go func() { got <- k.ask("GET", "/app/hold", authorization, "") }()
	<-h.arrived
	k.cancel()
	k.snapshot("a lame duck", func(s *healthkit.Snapshot) bool { return s.Phase >= healthkit.PhaseLameDuck })
	if a := k.probe("/readyz"); a.status != 503 {
		t.Errorf("/readyz of a lame duck answers %d %v, want 503", a.status, a.err)
	}
	k.unreachable(k.proxy.Addr().String())
	if a := k.probe("/livez"); a.status != 200 {
		t.Errorf("/livez with a closed data port answers %d %v, want 200", a.status, a.err)
	}
	if a := k.probe("/drainz"); a.status != 503 || !strings.Contains(a.body, "1 in flight") {
		t.Errorf("/drainz answers %d %q, want 503 with 1 in flight", a.status, a.body)
	}
	close(h.release)
	if a := <-got; a.err != nil {
		t.Errorf("request in flight: %v", a.err)
	}
	if err := k.wait(); err != nil {
		t.Errorf("Run = %v", err)
	}
	k.unreachable(k.proxy.HealthAddr().String())
}

func TestStalledStreamGoesStale(t *testing.T) {
	k := start(t, func(s *setup) { s.options.StaleAfter = 600 * time.Millisecond })
	k.ready()
	k.plane.Stall(true)
	for _, name := range []string{"config", "storage"} {
		k.snapshot(name+" stale", func(s *healthkit.Snapshot) bool {
			c, ok := s.Component(name)
			return ok && c.State == healthkit.Stale && !s.Ready()
		})
	}
	if c, _ := k.proxy.health.registry.Snapshot().Component("authenticate"); c.State != healthkit.Ready {
		t.Errorf("authenticate is %v: %s; the keys do not come by a stream", c.State, c.Reason)
	}
	if a := k.probe("/readyz"); a.status != 503 {
		t.Errorf("/readyz answers %d, want 503", a.status)
	}
	k.get("/app/", 1).expect(t, "request by the last good state", 200, "")
	k.plane.Stall(false)
	k.ready()
}

func TestPullDoesNotSeeAStalledStream(t *testing.T) {
	k := start(t, func(s *setup) { s.options.StaleAfter, s.options.Health = 50*time.Millisecond, Pull })
	k.ready()
	k.plane.Stall(true)
	if _, err := k.plane.Revoke(credential.SessionID(1)); err != nil {
		t.Fatal(err)
	}
	// Long past the time after which the state would be stale: the stream itself is
	// given up as silent, and followed again.
	k.await("storage", "broken", func(now status) bool { return strings.Contains(now.reason, "silent") })
	if a := k.probe("/readyz"); a.status != 200 {
		t.Errorf("/readyz answers %d, want 200", a.status)
	}
	k.get("/app/", 1).expect(t, "revoked session that the proxy has not heard of", 200, "")
}

// serveControl serves a control plane at an address.
func serveControl(t *testing.T, addr string) (plane *control.Plane, server *httptest.Server) {
	t.Helper()
	plane, err := control.New(control.Options{
		Seed: seed, Sessions: 10, SyncRate: 1e6, Heartbeat: 20 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	server = httptest.NewUnstartedServer(plane.Streams())
	if err := server.Listener.Close(); err != nil {
		t.Fatal(err)
	}
	server.Listener = l
	server.Start()
	return plane, server
}

func TestControlPlaneComesAndGoes(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	k := start(t, func(s *setup) { s.options.Control = "http://" + addr })
	k.await("config", "in trouble", func(now status) bool { return strings.HasPrefix(now.reason, "stream broken") })
	k.get("/app/", 1).expect(t, "without a control plane", 503, "authenticate: no signing keys")

	for life := range 2 {
		plane, server := serveControl(t, addr)
		epoch := plane.Status().Epoch
		for name, from := range map[string]streamed{"config": k.proxy.parts.config, "storage": k.proxy.parts.storage} {
			k.await(name, "ready", func(now status) bool { return now.phase == ready && from.from().Epoch == epoch })
		}
		k.ready()
		k.get("/app/", 1).expect(t, fmt.Sprintf("life %d", life), 200, "")
		server.CloseClientConnections()
		server.Close()
		for _, name := range []string{"config", "storage"} {
			k.await(name, "degraded", func(now status) bool { return now.phase == degraded && now.broken })
		}
		k.get("/app/", 1).expect(t, fmt.Sprintf("after life %d", life), 200, "")
	}
}

func TestTroubleDoesNotKeepStateFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ttl = 5 * time.Second
		registry := healthkit.New(healthkit.Config{})
		component, err := registry.Register("storage", healthkit.Options{TTL: ttl})
		if err != nil {
			t.Fatal(err)
		}
		s := newStorage()
		s.watch((&reporter{component: component, ttl: ttl}).report)
		for _, m := range []feed.Message{begin, first, second, end} {
			if err := s.message(m); err != nil {
				t.Fatal(err)
			}
		}
		if !registry.Ready() {
			t.Fatal("not ready after the sync")
		}
		var lost time.Duration
		for begun := time.Now(); time.Since(begun) < time.Minute; {
			time.Sleep(time.Second)
			s.broken(errors.New("gone"))
			switch ready := registry.Ready(); {
			case ready && lost != 0:
				t.Fatalf("ready again after %v, by trouble alone", time.Since(begun))
			case !ready && lost == 0:
				lost = time.Since(begun)
			}
		}
		// Trouble came one second after the last news and starts the time to live once.
		if want := time.Second + ttl; lost != want {
			t.Errorf("unready after %v, want %v", lost, want)
		}
		if err := s.message(resume); err != nil {
			t.Fatal(err)
		}
		if !registry.Ready() {
			t.Error("not ready after the stream went on")
		}
		if err := registry.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestOptionsAreChecked(t *testing.T) {
	good := Options{
		Instance: "a", Revision: "r", Listen: "127.0.0.1:0", HealthListen: "127.0.0.1:0",
		Control: "http://127.0.0.1:1", Upstream: "http://127.0.0.1:1", Health: StackAware,
		LameDuck: time.Second, CloseWait: time.Second, StopGrace: 3 * time.Second,
	}
	for name, tt := range map[string]struct {
		change func(*Options)
		says   string
	}{
		"no instance":          {func(o *Options) { o.Instance = "" }, "instance"},
		"no revision":          {func(o *Options) { o.Revision = "" }, "revision"},
		"newline in instance":  {func(o *Options) { o.Instance = "a\nb" }, "header"},
		"unknown mode":         {func(o *Options) { o.Health = "good" }, "stack-aware"},
		"no room to drain":     {func(o *Options) { o.Health, o.StopGrace = Shallow, time.Second }, "lame duck"},
		"no room to finish":    {func(o *Options) { o.StopGrace = 2 * time.Second }, "lame duck"},
		"unknown misbehaviour": {func(o *Options) { o.Misbehave = "late" }, "never-ready"},
		"no grace":             {func(o *Options) { o.Health, o.StopGrace = Pull, 0 }, "stop grace"},
		"negative":             {func(o *Options) { o.LameDuck = -1 }, "negative"},
		"control no URL":       {func(o *Options) { o.Control = "127.0.0.1:1" }, "control"},
		"upstream no URL":      {func(o *Options) { o.Upstream = "ftp://x" }, "upstream"},
		"no such port":         {func(o *Options) { o.Listen = "127.0.0.1:99999" }, "data port"},
		"no such health port":  {func(o *Options) { o.HealthListen = "127.0.0.1:99999" }, "health port"},
	} {
		o := good
		tt.change(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: error %v, want one that says %q", name, err, tt.says)
		}
	}
}

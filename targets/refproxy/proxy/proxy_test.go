package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/healthkit"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/control"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/credential"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/upstream"
)

// patience bounds every wait of these tests; none of them takes anywhere near as long.
const patience = 20 * time.Second

// seed is the seed of the tests' control plane.
var seed = make([]byte, credential.SeedSize)

// stack is a proxy with what it needs, on real ports.
type stack struct {
	t     *testing.T
	plane *control.Plane
	proxy *Proxy

	told   map[string]chan status // what each subsystem said, in order
	cancel context.CancelFunc     // asks the proxy to stop
	ended  chan error             // what Run returned
	client *http.Client

	cutControl func() // takes the control plane away for good
}

// setup is what a test may change about its stack.
type setup struct {
	options  Options
	control  control.Options
	upstream http.Handler
	front    func(streams http.Handler) http.Handler // of the control plane; nil for nothing
	stalled  bool                                    // the streams bring nothing at first
}

// start starts a stack, which ends with the test.
func start(t *testing.T, change func(*setup)) *stack {
	t.Helper()
	s := setup{
		options: Options{
			Instance: "a", Revision: "r1", Listen: "127.0.0.1:0", HealthListen: "127.0.0.1:0",
			Health: StackAware, LameDuck: 50 * time.Millisecond, CloseWait: 100 * time.Millisecond,
			StopGrace: patience,
		},
		control:  control.Options{Seed: seed, Sessions: 100, SyncRate: 1e6, Routes: 5, Heartbeat: 20 * time.Millisecond},
		upstream: upstream.Handler(0),
	}
	if change != nil {
		change(&s)
	}
	plane, err := control.New(s.control)
	if err != nil {
		t.Fatal(err)
	}
	plane.Stall(s.stalled)
	handler := plane.Streams()
	if s.front != nil {
		handler = s.front(handler)
	}
	streams := httptest.NewServer(handler)
	// Without CloseClientConnections, Close would wait for streams that never end.
	t.Cleanup(func() { streams.CloseClientConnections(); streams.Close() })
	behind := httptest.NewServer(s.upstream)
	t.Cleanup(behind.Close)
	if s.options.Control == "" {
		s.options.Control = streams.URL
	}
	if s.options.Upstream == "" {
		s.options.Upstream = behind.URL
	}
	k := run(t, plane, s.options)
	k.cutControl = func() {
		if err := streams.Listener.Close(); err != nil {
			t.Error(err)
		}
		streams.CloseClientConnections()
	}
	return k
}

// run runs a proxy.
func run(t *testing.T, plane *control.Plane, o Options) *stack {
	t.Helper()
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	k := &stack{
		t: t, plane: plane, proxy: p, ended: make(chan error, 1), told: make(map[string]chan status),
		client: &http.Client{Transport: &http.Transport{}, Timeout: patience},
	}
	for _, s := range p.subsystems() {
		told := make(chan status, 100_000)
		k.told[s.name] = told
		s.watch(func(now status) { told <- now })
	}
	ctx, cancel := context.WithCancel(t.Context())
	k.cancel = cancel
	go func() { k.ended <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		k.client.CloseIdleConnections()
		select {
		case err := <-k.ended:
			k.ended <- err
		case <-time.After(patience):
			t.Error("proxy does not stop")
		}
	})
	return k
}

// await waits until a subsystem says something, unless it does so already.
func (k *stack) await(name, what string, says func(status) bool) {
	k.t.Helper()
	for _, s := range k.proxy.subsystems() {
		if s.name == name && says(s.status()) {
			return
		}
	}
	late := time.After(patience)
	for {
		select {
		case now := <-k.told[name]:
			if says(now) {
				return
			}
		case <-late:
			k.t.Fatalf("%s is not %s", name, what)
		}
	}
}

// synced waits until every subsystem has what it needs.
func (k *stack) synced() {
	k.t.Helper()
	for _, s := range k.proxy.subsystems() {
		k.await(s.name, "ready", func(now status) bool { return now.phase == ready })
	}
}

// snapshot waits for a snapshot of the health model.
func (k *stack) snapshot(what string, is func(*healthkit.Snapshot) bool) {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(k.t.Context(), patience)
	defer cancel()
	for s := range k.proxy.health.registry.Watch(ctx) {
		if is(s) {
			return
		}
	}
	k.t.Fatalf("never %s; now: %s", what, k.proxy.health.registry.Snapshot().Reason())
}

// ready waits until the health model says so.
func (k *stack) ready() {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(k.t.Context(), patience)
	defer cancel()
	if err := k.proxy.health.registry.WaitReady(ctx); err != nil {
		k.t.Fatal(err)
	}
}

// stop asks the proxy to stop and waits for it.
func (k *stack) stop() error {
	k.t.Helper()
	k.cancel()
	return k.wait()
}

func (k *stack) wait() error {
	k.t.Helper()
	select {
	case err := <-k.ended:
		k.ended <- err
		return err
	case <-time.After(patience):
		k.t.Fatal("proxy does not stop")
		return nil
	}
}

// answer is what a request came to.
type answer struct {
	status int
	header http.Header
	body   string
	err    error
}

// token mints a token for a session of the tests' control plane. A negative time is how long ago
// it has expired.
func token(t *testing.T, session string, expires time.Duration) string {
	t.Helper()
	issuer, err := credential.NewIssuer(seed)
	if err != nil {
		t.Fatal(err)
	}
	text, err := issuer.Token(session, time.Now().Add(-time.Hour), time.Hour+expires)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// get asks the data port with the token of the n-th session.
func (k *stack) get(path string, n int) answer {
	k.t.Helper()
	return k.ask("GET", path, "Bearer "+token(k.t, credential.SessionID(n), time.Hour), "")
}

// ask asks the data port.
func (k *stack) ask(method, path, authorization, body string) answer {
	k.t.Helper()
	return do(k.t, k.client, method, "http://"+k.proxy.Addr().String()+path, authorization, body)
}

// probe asks the health port.
func (k *stack) probe(path string) answer {
	k.t.Helper()
	return do(k.t, k.client, "GET", "http://"+k.proxy.HealthAddr().String()+path, "", "")
}

func do(t *testing.T, client *http.Client, method, url, authorization, body string) (a answer) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	resp, err := client.Do(req)
	if err != nil {
		return answer{err: err}
	}
	text, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(text), errors.Join(err, resp.Body.Close())}
}

// expect checks an answer's status and reason.
func (a answer) expect(t *testing.T, what string, status int, reason string) {
	t.Helper()
	if a.err != nil {
		t.Errorf("%s: %v", what, a.err)
		return
	}
	got := a.header.Get(ReasonHeader)
	if a.status != status || !strings.Contains(got, reason) || (got == "") != (reason == "") {
		t.Errorf("%s: %d %q, want %d %q", what, a.status, got, status, reason)
	}
	if i, r := a.header.Get(InstanceHeader), a.header.Get(RevisionHeader); i != "a" || r != "r1" {
		t.Errorf("%s: answer of %q at %q, want a at r1", what, i, r)
	}
}

func TestServesWhatIsAllowed(t *testing.T) {
	k := start(t, nil)
	k.synced()
	for _, tt := range []struct{ method, path, body string }{
		{"GET", "/app/items/7", ""},
		{"GET", "/app/", ""},
		{"POST", "/app/items/7", "hello"},
		{"POST", "/app/empty", ""},
		{"PUT", "/app/large", strings.Repeat("x", 1<<20)},
		{"DELETE", "/app/items/7", ""},
	} {
		got := k.ask(tt.method, tt.path, "Bearer "+token(t, credential.SessionID(1), time.Hour), tt.body)
		got.expect(t, tt.method+" "+tt.path, http.StatusOK, "")
		if want := upstream.Answer(tt.method, tt.path, []byte(tt.body)); got.body != want {
			t.Errorf("%s %s: body %q, want %q", tt.method, tt.path, got.body, want)
		}
	}
}

func TestRefuses(t *testing.T) {
	k := start(t, nil)
	k.synced()
	good := "Bearer " + token(t, credential.SessionID(1), time.Hour)
	revoked := "Bearer " + token(t, credential.SessionID(49), time.Hour)
	for _, tt := range []struct {
		name, path, authorization string
		status                    int
		reason                    string
	}{
		{"no token", "/app/", "", 401, "authenticate: no bearer token"},
		{"other scheme", "/app/", "Basic eDp5", 401, "authenticate: no bearer token"},
		{"scheme without token", "/app/", "Bearer ", 401, "authenticate: no bearer token"},
		{"nonsense", "/app/", "Bearer nonsense", 401, "authenticate: token is malformed"},
		{"changed token", "/app/", good + "A", 401, "authenticate: token"},
		{"expired", "/app/", "Bearer " + token(t, credential.SessionID(1), -time.Minute), 401, "token is expired"},
		{"unknown session", "/app/", "Bearer " + token(t, "nobody", time.Hour), 403, "storage: unknown session"},
		{"session beyond the last", "/app/", "Bearer " + token(t, credential.SessionID(100), time.Hour), 403, "storage: unknown session"},
		{"revoked session", "/app/", revoked, 403, "storage: session is revoked"},
		{"forbidden route", "/forbidden/x", good, 403, "authorize: denied by generation 1"},
		{"revoked session on a forbidden route", "/forbidden/x", revoked, 403, "storage: session is revoked"},
		{"route of others", "/service-00001/x", good, 403, "authorize: denied by generation 1"},
		{"no route", "/nothing/x", good, 404, "authorize: no route"},
		{"out of a route", "/app/../forbidden/x", good, 400, "proxy: path"},
		{"out of a route, encoded", "/app/%2e%2e/forbidden/x", good, 400, "proxy: path"},
		{"out of a route, encoded slash", "/app/..%2fforbidden/x", good, 400, "proxy: path"},
		{"empty segment", "/app//x", good, 400, "proxy: path"},
		{"out of a route, encoded twice", "/app/%252e%252e/forbidden/0", good, 400, "proxy: path"},
		{"encoded twice, slash", "/app/..%252fforbidden/0", good, 400, "proxy: path"},
		{"out of a route, path parameter", "/app/..;/forbidden/0", good, 400, "proxy: path"},
		{"out of a route, path parameter encoded", "/app/..%3bx=y/forbidden/0", good, 400, "proxy: path"},
		{"out of a route, backslash", "/app/..%5cforbidden/0", good, 400, "proxy: path"},
		{"encoded slash", "/app%2fx", good, 400, "proxy: path"},
		{"encoded slash within a route", "/app/x%2Fy", good, 400, "proxy: path"},
		{"overlong dots", "/app/%c0%ae%c0%ae/forbidden/0", good, 400, "proxy: path"},
		{"control character", "/app/%00/x", good, 400, "proxy: path"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k.ask("GET", tt.path, tt.authorization, "").expect(t, tt.name, tt.status, tt.reason)
		})
	}
}

// TestUpstreamGetsThePathThatWasDecidedOn, in one spelling whatever the client's.
func TestUpstreamGetsThePathThatWasDecidedOn(t *testing.T) {
	asked := make(chan string, 10)
	k := start(t, func(s *setup) {
		s.upstream = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/app/") {
				asked <- r.RequestURI
			}
		})
	})
	k.synced()
	for path, want := range map[string]string{
		"/app/x":               "/app/x",
		"/app/x?a=%2e%2e/":     "/app/x?a=%2e%2e/",
		"/app/%78":             "/app/x",
		"/%61pp/%7Ex":          "/app/~x",
		"/app/a%20b%3fc":       "/app/a%20b%3Fc",
		"/app/%c3%a9!$&'()*+,": "/app/%C3%A9%21$&%27%28%29%2A+,",
	} {
		k.get(path, 1).expect(t, path, 200, "")
		if got := <-asked; got != want {
			t.Errorf("%s arrives as %s, want %s", path, got, want)
		}
	}
}

// TestUpstreamLearnsTheSessionAndNotTheToken, whatever the client says of the session or of the
// headers that are its connection's alone.
func TestUpstreamLearnsTheSessionAndNotTheToken(t *testing.T) {
	asked := make(chan http.Header, 10)
	k := start(t, func(s *setup) {
		s.upstream = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/app/" {
				asked <- r.Header
			}
		})
	})
	k.synced()
	other := credential.SessionID(2)
	for name, header := range map[string]http.Header{
		"nothing":                   {},
		"another session":           {SessionHeader: {other}},
		"in lower case":             {"rollout-lab-session": {other}},
		"with underscores":          {"Rollout_Lab_Session": {other}},
		"with some underscores":     {"ROLLOUT_LAB-SESSION": {other}},
		"the connection's":          {"Connection": {SessionHeader}},
		"the connection's, twice":   {"Connection": {"close, rollout-lab-session", SessionHeader}, SessionHeader: {other}},
		"the connection's, a token": {"Connection": {"Authorization"}},
	} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+k.proxy.Addr().String()+"/app/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header = header
		req.Header.Set("Authorization", "Bearer "+token(t, credential.SessionID(1), time.Hour))
		resp, err := k.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s, %v", name, resp.Status, err)
		}
		got := <-asked
		var told []string
		for field, values := range got {
			if strings.EqualFold(strings.ReplaceAll(field, "_", "-"), SessionHeader) {
				told = append(told, values...)
			}
		}
		if len(told) != 1 || told[0] != credential.SessionID(1) {
			t.Errorf("%s: upstream is told sessions %q, want %s", name, told, credential.SessionID(1))
		}
		if got := got.Get("Authorization"); got != "" {
			t.Errorf("%s: upstream is given the token %q", name, got)
		}
	}
}

func TestFailsClosedBeforeItHasSynced(t *testing.T) {
	k := start(t, func(s *setup) { s.stalled = true })
	k.await("authenticate", "ready", func(now status) bool { return now.phase == ready })
	k.get("/app/", 1).expect(t, "before anything synced", 503, "storage: initial sync not begun")
	k.ask("GET", "/app/", "", "").expect(t, "what can be decided", 401, "no bearer token")
	if got := k.probe("/readyz").status; got != 503 {
		t.Errorf("/readyz answers %d, want 503", got)
	}
	k.plane.Stall(false)
	k.synced()
	k.get("/app/", 1).expect(t, "after the sync", 200, "")
	k.get("/app/", 49).expect(t, "revoked session after the sync", 403, "revoked")
}

func TestSnapshotCountsOnlyWhenItIsWhole(t *testing.T) {
	k := start(t, func(s *setup) { s.control.Sessions, s.control.SyncRate = 40_000, 10_000 })
	k.await("authenticate", "ready", func(now status) bool { return now.phase == ready })
	k.await("storage", "under way", func(now status) bool {
		return strings.Contains(now.reason, "/40000") && !strings.Contains(now.reason, " 0/")
	})
	k.plane.Stall(true)
	k.get("/app/", 0).expect(t, "session that was sent", 503, "/40000")
	k.get("/app/", 39_999).expect(t, "session that was not sent", 503, "/40000")
}

func TestFailOpenLetsARevokedSessionIn(t *testing.T) {
	k := start(t, func(s *setup) { s.stalled, s.options.FailOpen = true, true })
	k.await("authenticate", "ready", func(now status) bool { return now.phase == ready })
	// This is the breach that the reference proxy is there to show.
	k.get("/app/", 49).expect(t, "revoked session before the sync", 200, "")
	k.get("/forbidden/", 1).expect(t, "forbidden route before the sync", 200, "")
	// What can be decided is decided.
	k.ask("GET", "/app/", "", "").expect(t, "no token", 401, "no bearer token")
	k.ask("GET", "/app/", "Bearer nonsense", "").expect(t, "bad token", 401, "malformed")

	k.plane.Stall(false)
	k.synced()
	k.get("/app/", 1).expect(t, "after the sync", 200, "")
	k.get("/app/", 49).expect(t, "revoked session after the sync", 403, "revoked")
	k.get("/forbidden/", 1).expect(t, "forbidden route after the sync", 403, "denied")
}

func TestFailOpenWithPolicyButWithoutSessions(t *testing.T) {
	k := start(t, func(s *setup) {
		s.options.FailOpen, s.control.Sessions, s.control.SyncRate = true, 1000, 1
	})
	k.await("authorize", "ready", func(now status) bool { return now.phase == ready })
	k.await("authenticate", "ready", func(now status) bool { return now.phase == ready })
	k.get("/app/", 49).expect(t, "revoked session", 200, "")
	k.get("/forbidden/", 1).expect(t, "route that nobody may use", 403, "denied")
	k.get("/nothing/", 1).expect(t, "no route", 404, "no route")
}

func TestRevocationArrivesAsADelta(t *testing.T) {
	k := start(t, nil)
	k.synced()
	k.get("/app/", 1).expect(t, "before", 200, "")
	version, err := k.plane.Revoke(credential.SessionID(1))
	if err != nil {
		t.Fatal(err)
	}
	k.await("storage", fmt.Sprintf("at version %d", version), func(status) bool {
		return k.proxy.parts.storage.from().Version == version
	})
	k.get("/app/", 1).expect(t, "after", 403, "storage: session is revoked")
	k.get("/app/", 2).expect(t, "another session", 200, "")
}

func TestBadGenerationKeepsTheLastGoodOne(t *testing.T) {
	k := start(t, nil)
	k.synced()
	k.plane.Publish(true)
	k.await("config", "degraded", func(now status) bool {
		return now.phase == degraded && now.generation == 1 && strings.Contains(now.reason, "generation 2 rejected")
	})
	k.get("/app/", 1).expect(t, "allowed", 200, "")
	k.get("/forbidden/", 1).expect(t, "denied", 403, "denied by generation 1")
	k.snapshot("ready and degraded", func(s *healthkit.Snapshot) bool { return s.Ready() && s.Degraded() })

	k.plane.Publish(false)
	k.await("config", "at generation 3", func(now status) bool {
		return now.phase == ready && now.generation == 3 && now.reason == ""
	})
	k.get("/forbidden/", 1).expect(t, "denied", 403, "denied by generation 3")
	k.snapshot("ready at one generation", func(s *healthkit.Snapshot) bool { return s.Ready() && !s.Degraded() })
}

func TestBadFirstGenerationIsNotServed(t *testing.T) {
	k := start(t, func(s *setup) { s.stalled = true })
	k.plane.Publish(true)
	k.plane.Stall(false)
	k.await("config", "starting", func(now status) bool {
		return now.phase == starting && strings.Contains(now.reason, "generation 2 rejected")
	})
	k.await("storage", "ready", func(now status) bool { return now.phase == ready })
	k.await("authenticate", "ready", func(now status) bool { return now.phase == ready })
	k.get("/app/", 1).expect(t, "request", 503, "authorize: no policy compiled")
	if got := k.probe("/readyz?verbose"); got.status != 503 || !strings.Contains(got.body, "generation 2 rejected") {
		t.Errorf("/readyz answers %d %q, want 503 that names the generation", got.status, got.body)
	}
}

package healthkit

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func get(t testing.TB, h http.Handler, method, target string) (status int, body string) {
	t.Helper()
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, asked(method, target, "127.0.0.1:4711"))
	return rec.Code, rec.Body.String()
}

func TestHandlerAnswers(t *testing.T) {
	healthy := func(t *testing.T) *Registry {
		r := New(Config{})
		mustRegister(t, r, "storage", Options{}).Ready()
		mustRegister(t, r, "cache", Options{Optional: true}).Ready()
		return r
	}
	broken := func(t *testing.T) *Registry {
		r := healthy(t)
		mustRegister(t, r, "config", Options{}).Failed(errors.New("no stream\n[+]forged line"))
		return r
	}
	tests := []struct {
		name   string
		make   func(*testing.T) *Registry
		method string
		target string
		status int
		body   string   // whole body, if set
		has    []string // parts
		hasNot []string
	}{
		{name: "ready is just ok", make: healthy, target: "/readyz", status: 200, body: "ok"},
		{name: "live is just ok", make: healthy, target: "/livez", status: 200, body: "ok"},
		{name: "startup is just ok", make: healthy, target: "/startupz", status: 200, body: "ok"},
		{name: "unready is brief", make: broken, target: "/readyz", status: 503, body: "not ready, see ?verbose\n"},
		{name: "a broken component is no matter of liveness", make: broken, target: "/livez", status: 200, body: "ok"},
		{name: "started stays when readiness goes", make: broken, target: "/startupz", status: 200, body: "ok"},
		{name: "verbose lists components", make: healthy, target: "/readyz?verbose", status: 200, has: []string{"ready\n", "[+]storage ready", "[+]cache ready"}},
		{name: "verbose with a value is verbose", make: healthy, target: "/readyz?verbose=1", status: 200, has: []string{"[+]storage ready"}},
		{name: "verbose says why", make: broken, target: "/readyz?verbose", status: 503, has: []string{"not ready: config failed: no stream", "[-]config failed"}, hasNot: []string{"\n[+]forged"}},
		{name: "exclude the broken one", make: broken, target: "/readyz?exclude=config", status: 200, body: "ok"},
		{name: "exclude is said in verbose", make: broken, target: "/readyz?verbose&exclude=config", status: 200, has: []string{"ready, not counting config", "[ ]config failed"}},
		{name: "unknown exclude warns and changes nothing", make: healthy, target: "/readyz?exclude=confg", status: 200, body: "ok\nwarning: exclude names no component: \"confg\"\n"},
		{name: "unknown exclude does not hide a failure", make: broken, target: "/readyz?exclude=confg", status: 503, has: []string{"not ready", "warning", "confg"}},
		{name: "unknown exclude forges no line", make: healthy, target: "/readyz?exclude=a%0Ab", status: 200, has: []string{`"a\nb"`}},
		{name: "excluding everything required is not ready", make: healthy, target: "/readyz?exclude=storage", status: 503},
		{name: "empty registry", make: func(*testing.T) *Registry { return New(Config{}) }, target: "/readyz", status: 503},
		{name: "empty registry says so", make: func(*testing.T) *Registry { return New(Config{}) }, target: "/readyz?verbose", status: 503, has: []string{"no required component"}},
		{name: "empty registry on purpose", make: func(*testing.T) *Registry { return New(Config{AllowEmpty: true}) }, target: "/readyz", status: 200, body: "ok"},
		{name: "only optional ones is empty", make: func(t *testing.T) *Registry {
			r := New(Config{})
			mustRegister(t, r, "cache", Options{Optional: true}).Ready()
			return r
		}, target: "/readyz", status: 503},
		{name: "before the first report", make: func(t *testing.T) *Registry {
			r := New(Config{})
			mustRegister(t, r, "storage", Options{})
			return r
		}, target: "/readyz", status: 503},
		{name: "not started", make: func(t *testing.T) *Registry {
			r := New(Config{})
			mustRegister(t, r, "storage", Options{}).Starting("synced 10 of 100")
			return r
		}, target: "/startupz?verbose", status: 503, has: []string{"not started", "storage starting: synced 10 of 100"}},
		{name: "expected and not there", make: func(t *testing.T) *Registry {
			r := New(Config{Expect: []string{"config", "storage"}})
			mustRegister(t, r, "storage", Options{}).Ready()
			return r
		}, target: "/readyz?verbose", status: 503, has: []string{"[-]config expected, not registered"}},
		{name: "drain while serving", make: healthy, target: "/drainz", status: 503, body: "serving, 0 in flight\n"},
		{name: "drain requests are opt-in", make: healthy, method: "POST", target: "/drainz", status: 405},
		{name: "no other method", make: healthy, method: "POST", target: "/readyz", status: 405},
		{name: "head", make: healthy, method: "HEAD", target: "/readyz", status: 200},
		{name: "unknown path", make: healthy, target: "/health", status: 404},
		{name: "verbose livez", make: healthy, target: "/livez?verbose", status: 200, body: "live\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			method := tt.method
			if method == "" {
				method = http.MethodGet
			}
			status, body := get(t, tt.make(t).Handler(), method, tt.target)
			if status != tt.status {
				t.Errorf("got status %d, want %d; body %q", status, tt.status, body)
			}
			if tt.body != "" && body != tt.body {
				t.Errorf("got body %q, want %q", body, tt.body)
			}
			for _, part := range tt.has {
				if !strings.Contains(body, part) {
					t.Errorf("body %q lacks %q", body, part)
				}
			}
			for _, part := range tt.hasNot {
				if strings.Contains(body, part) {
					t.Errorf("body %q has %q", body, part)
				}
			}
		})
	}
}

func TestOneComponent(t *testing.T) {
	r := New(Config{Expect: []string{"late", "not a name"}})
	mustRegister(t, r, "database", Options{}).Ready()
	mustRegister(t, r, "db/primary:1", Options{}).Degraded("slow")
	mustRegister(t, r, "cache", Options{Optional: true}).Failed(errors.New("refused by 10.1.2.3\n[+]forged"))
	shared := mustRegister(t, r, "shared", Options{OnFailure: FailShared})
	shared.Ready()
	shared.Failed(errors.New("refused"))
	if _, err := r.RegisterGroup("replicas", GroupOptions{AtLeast: 2}); err != nil {
		t.Fatal(err)
	}
	mustRegister(t, r, "replica-1", Options{Group: "replicas"}).Ready()
	mustRegister(t, r, "replica-2", Options{Group: "replicas"}).Failed(errors.New("gone"))
	mustRegister(t, r, "replica-3", Options{Group: "replicas"}).Ready()
	for _, tt := range []struct {
		target string
		status int
		body   string
	}{
		{"/readyz/database", 200, "ok"},
		{"/readyz/db/primary:1", 200, "ok"},
		{"/readyz/db%2Fprimary:1", 200, "ok"},
		{"/readyz/database?verbose", 200, "[+]database ready since "},
		{"/readyz/cache", 503, "failed, see ?verbose\n"},
		{"/readyz/cache?verbose", 503, "[~]cache failed: refused by 10.1.2.3 [+]forged since "},
		{"/readyz/shared", 503, "failed, see ?verbose\n"},
		{"/readyz/replicas", 200, "ok"},
		{"/readyz/replicas?verbose", 200, "[~]replicas degraded: 2 of 3 members serve, at least 2 must since "},
		{"/readyz/replicas?verbose", 200, "[~]replica-2 failed: gone since "},
		{"/readyz/replica-2", 503, "failed, see ?verbose\n"},
		{"/readyz/late", 503, "expected, not registered\n"},
		{"/readyz/databse", 404, "no component is called \"databse\" (is it database?)\n"},
		{"/readyz/", 404, "no component is called \"\"\n"},
		{"/readyz/x%0A%1B", 404, "no component is called \"x\\n\\x1b\"\n"},
		{"/readyzz", 404, "404 page not found\n"},
	} {
		status, body := get(t, r.Handler(), http.MethodGet, tt.target)
		if status != tt.status || body != tt.body && (!strings.HasSuffix(tt.body, " since ") || !strings.Contains("\n"+body, "\n"+tt.body)) {
			t.Errorf("%s: got %d %q, want %d %q", tt.target, status, body, tt.status, tt.body)
		}
	}
	rec := httptest.NewRecorder()
	r.Handler().ServeHTTP(rec, asked(http.MethodGet, "/readyz/cache?verbose", "192.0.2.1:1"))
	if body := rec.Body.String(); !strings.HasPrefix(body, "[~]cache failed: reason withheld since ") {
		t.Errorf("a stranger is told %q", body)
	}
	// The process is told to stop, its parts are not.
	if err := r.Advance(PhaseLameDuck, ""); err != nil {
		t.Fatal(err)
	}
	if status, _ := get(t, r.Handler(), http.MethodGet, "/readyz/database"); status != 200 {
		t.Errorf("as a lame duck: got %d", status)
	}
}

func TestStatuszIsJSONThatExplains(t *testing.T) {
	r := New(Config{})
	storage := mustRegister(t, r, "storage", Options{})
	mustRegister(t, r, "proxy", Options{DependsOn: []string{"storage"}}).Starting("waits")
	storage.Failed(errors.New("connection refused"))
	code, body := get(t, r.Handler(), http.MethodGet, "/statusz")
	if code != http.StatusOK {
		t.Fatalf("got status %d, want 200", code)
	}
	var got struct {
		Ready      bool
		Reason     string
		Causes     []Cause
		Components []struct {
			Name, State, Reason string
			Since               time.Time
		}
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatalf("decode %s: %v", body, err)
	}
	if got.Ready || len(got.Causes) != 1 || got.Causes[0].Component != "storage" || len(got.Causes[0].Affects) != 1 || got.Causes[0].Affects[0] != "proxy" {
		t.Errorf("got %+v, want storage as the only cause, blocking proxy", got)
	}
	if len(got.Components) != 2 || got.Components[1].State != "failed" || got.Components[1].Reason != "connection refused" || got.Components[1].Since.IsZero() {
		t.Errorf("got components %+v", got.Components)
	}
}

func TestDrainRequestRunsOnce(t *testing.T) {
	asked := make(chan struct{}, 2)
	r := New(Config{OnDrain: func() { asked <- struct{}{} }})
	for range 3 {
		if status, _ := get(t, r.Handler(), http.MethodPost, "/drainz"); status != http.StatusAccepted {
			t.Errorf("got status %d, want 202", status)
		}
	}
	<-asked
	select {
	case <-asked:
		t.Error("OnDrain ran twice")
	default:
	}
}

func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, n := range sizes {
		r, all := filled(t, n, Options{TTL: time.Hour})
		h := r.Handler()
		w := &sink{header: make(http.Header)}
		failure := errors.New("connection refused")
		request := func(target string) func() {
			req := httptest.NewRequest(http.MethodGet, target, nil)
			return func() { h.ServeHTTP(w, req) }
		}
		flips := 0
		tests := []struct {
			name string
			want float64
			do   func()
		}{
			{"Ready", 0, func() { r.Ready() }},
			{"brief probe", 0, request("/readyz")},
			{"live probe", 0, request("/livez")},
			{"startup probe", 0, request("/startupz")},
			{"verbose probe of the same version", 0, request("/readyz?verbose")},
			{"push of the same state", 0, all[0].Ready},
			{"flip", 1, func() {
				if flips++; flips%2 == 0 {
					all[0].Ready()
				} else {
					all[0].Failed(failure)
				}
			}},
			{"brief unready probe", 0, request("/readyz")},
		}
		for _, tt := range tests {
			if got := testing.AllocsPerRun(200, tt.do); got > tt.want {
				t.Errorf("n=%d, %s: got %v allocations, want at most %v", n, tt.name, got, tt.want)
			}
		}
	}
}

package healthkit

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"
)

// asked is a request of somebody at an address, with a header if there is one.
func asked(method, target, from string, header ...string) *http.Request {
	req := httptest.NewRequest(method, target, nil)
	req.RemoteAddr, req.Host = from, "127.0.0.1:8081"
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" { // as net/http does
			req.Host = header[i+1]
			continue
		}
		req.Header.Set(header[i], header[i+1])
	}
	return req
}

func TestFromLoopback(t *testing.T) {
	tests := []struct {
		name   string
		from   string
		header []string
		want   bool
	}{
		{"IPv4", "127.0.0.1:4711", nil, true},
		{"another one of 127/8", "127.0.0.6:4711", nil, true},
		{"IPv6", "[::1]:4711", nil, true},
		{"another machine", "192.0.2.1:4711", nil, false},
		{"another machine over IPv6", "[2001:db8::1]:4711", nil, false},
		{"a machine whose address begins alike", "12.7.0.1:4711", nil, false},
		{"not an address", "127.example:4711", nil, false},
		{"no port", "127.0.0.1", nil, false},
		{"no address", "", nil, false},
		{"a path without a unix socket", "/run/client", nil, false},
		{"a stranger who says that he is not one", "192.0.2.1:4711", []string{"X-Forwarded-For", "127.0.0.1"}, false},
		{"a proxy here, for a stranger", "127.0.0.1:4711", []string{"X-Forwarded-For", "192.0.2.1"}, false},
		{"a stranger behind a proxy here who says that he is not one", "127.0.0.1:4711", []string{"X-Forwarded-For", "127.0.0.1"}, false},
		{"Forwarded", "127.0.0.1:4711", []string{"Forwarded", "for=192.0.2.1"}, false},
		{"Via", "127.0.0.1:4711", []string{"via", "1.1 proxy"}, false},
		{"X-Real-IP", "127.0.0.1:4711", []string{"X-Real-IP", "192.0.2.1"}, false},
		{"the port of a proxy", "127.0.0.1:4711", []string{"X-Forwarded-Port", "443"}, false},
		{"the name of a proxy", "127.0.0.1:4711", []string{"X-Forwarded-Server", "proxy"}, false},
		{"X-Client-IP", "127.0.0.1:4711", []string{"X-Client-IP", "192.0.2.1"}, false},
		{"Envoy, at an address", "127.0.0.1:4711", []string{"x-envoy-expected-rq-timeout-ms", "15000"}, false},
		{"Linkerd, at an address", "127.0.0.1:4711", []string{"l5d-client-id", "web.default"}, false},
		{"localhost", "127.0.0.1:4711", []string{"Host", "localhost:8081"}, true},
		{"localhost without a port", "[::1]:4711", []string{"Host", "LOCALHOST"}, true},
		{"IPv6 as a host", "[::1]:4711", []string{"Host", "[::1]:8081"}, true},
		{"IPv6 as a host without a port", "[::1]:4711", []string{"Host", "[::1]"}, true},
		{"HTTP/1.0 without a host", "127.0.0.1:4711", []string{"Host", ""}, true},
		{"a page whose name was made to lead here", "127.0.0.1:4711", []string{"Host", "rebound.example:8081"}, false},
		{"a name that ends alike", "127.0.0.1:4711", []string{"Host", "notlocalhost"}, false},
		{"a page in a browser here", "127.0.0.1:4711", []string{"Origin", "https://example.com"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := FromLoopback(asked(http.MethodGet, "/statusz", tt.from, tt.header...)); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// What a server of net/http makes of a connection, and not what a test thinks it does.
func TestFromLoopbackOverSockets(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	for _, where := range [][3]string{{"tcp", "127.0.0.1:0", "localhost"}, {"unix", socket, "any.example"}} {
		l, err := net.Listen(where[0], where[1])
		if err != nil {
			t.Skip(err)
		}
		got := make(chan bool, 1)
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) { got <- FromLoopback(req) }))
		s.Listener.Close()
		s.Listener = l
		s.Start()
		client := &http.Client{Transport: &http.Transport{Dial: func(string, string) (net.Conn, error) {
			return net.Dial(where[0], l.Addr().String())
		}}}
		resp, err := client.Get("http://" + where[2] + "/")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if !<-got {
			t.Errorf("%s: a connection from this machine does not count as one", where[0])
		}
		client.CloseIdleConnections()
		s.Close()
	}
}

func TestReasonsAreShownToThoseWhoMaySeeThem(t *testing.T) {
	const secret = "hunter2"
	dsn := errors.New("dial postgres://orders:" + secret + "@10.1.2.3/orders: refused")
	everybody := func(*http.Request) bool { return true }
	nobody := func(*http.Request) bool { return false }
	here, there := "127.0.0.1:4711", "192.0.2.1:4711"
	for _, tt := range []struct {
		name    string
		details func(*http.Request) bool
		from    string
		want    bool
	}{
		{"this machine, by default", nil, here, true},
		{"a stranger, by default", nil, there, false},
		{"a stranger where everybody may", everybody, there, true},
		{"this machine where nobody may", nobody, here, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := New(Config{Details: tt.details})
			mustRegister(t, r, "database", Options{LivenessOverride: true}).Failed(dsn)
			flapping := mustRegister(t, r, "flapping", Options{Hysteresis: Hysteresis{FailCount: 3}})
			flapping.Ready()
			flapping.Failed(dsn)
			recovered := mustRegister(t, r, "recovered", Options{})
			recovered.Failed(dsn)
			recovered.Ready()
			mustRegister(t, r, "slow", Options{}).Degraded(dsn.Error())
			if _, err := r.RegisterGroup("group", GroupOptions{AtLeast: 1}); err != nil {
				t.Fatal(err)
			}
			for _, target := range []string{"/readyz?verbose", "/readyz?verbose=1", "/readyz?verbose&exclude=slow", "/livez?verbose", "/startupz?verbose", "/statusz"} {
				rec := httptest.NewRecorder()
				r.Handler().ServeHTTP(rec, asked(http.MethodGet, target, tt.from))
				body := rec.Body.String()
				if got := strings.Contains(body, secret); got != tt.want {
					t.Errorf("%s shows the password: %v, want %v:\n%s", target, got, tt.want, body)
				}
				if got := strings.Contains(body, "reason withheld"); got == tt.want {
					t.Errorf("%s says that a reason is withheld: %v:\n%s", target, got, body)
				}
				if !strings.Contains(body, "database") || !strings.Contains(body, "failed") {
					t.Errorf("%s lacks a name or a state:\n%s", target, body)
				}
				if target == "/statusz" && !strings.Contains(body, "0 of 0 members serve") {
					t.Errorf("%s lacks the registry's own reason of a group:\n%s", target, body)
				}
			}
			if err := r.Advance(PhaseLameDuck, dsn.Error()); err != nil {
				t.Fatal(err)
			}
			rec := httptest.NewRecorder()
			r.Handler().ServeHTTP(rec, asked(http.MethodGet, "/readyz?verbose", tt.from))
			headline, _, _ := strings.Cut(rec.Body.String(), "\n")
			if got := strings.Contains(headline, secret); got != tt.want || !strings.Contains(headline, "lame-duck") {
				t.Errorf("the reason of the phase shows the password: %v, want %v: %s", got, tt.want, headline)
			}
		})
	}
}

// Withholding changes texts and nothing else.
func TestWithoutReasonsJudgesTheSame(t *testing.T) {
	r := New(Config{Expect: []string{"late"}})
	mustRegister(t, r, "a", Options{}).Failed(errors.New("secret"))
	mustRegister(t, r, "b", Options{DependsOn: []string{"a"}}).Starting("secret")
	s := r.Snapshot()
	p := s.WithoutReasons()
	if p.WithoutReasons() != p || s.WithoutReasons() != p {
		t.Error("what is withheld is made more than once")
	}
	if p.Version != s.Version || p.Ready() != s.Ready() || p.Live() != s.Live() || len(p.Causes()) != len(s.Causes()) {
		t.Errorf("got %+v of %+v", p, s)
	}
	if got, want := p.Reason(), "not ready: late expected, not registered; a failed: reason withheld (blocks b)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if a, _ := s.Component("a"); a.Reason != "secret" || a.LastError != "secret" {
		t.Errorf("the snapshot itself has changed: %+v", a)
	}
}

func TestWhoseDrainRequestIsTaken(t *testing.T) {
	onDrain := func() {}
	everybody := func(*http.Request) bool { return true }
	here, there := "127.0.0.1:4711", "192.0.2.1:4711"
	for _, tt := range []struct {
		name   string
		config Config
		req    *http.Request
		want   int
	}{
		{"nobody asked for it", Config{}, asked("POST", "/drainz", here), 405},
		{"not asked for it, everybody may", Config{DrainFrom: everybody}, asked("POST", "/drainz", here), 405},
		{"from here", Config{OnDrain: onDrain}, asked("POST", "/drainz", here), 202},
		{"from there", Config{OnDrain: onDrain}, asked("POST", "/drainz", there), 403},
		{"from there, saying that it is here", Config{OnDrain: onDrain}, asked("POST", "/drainz", there, "X-Forwarded-For", "127.0.0.1"), 403},
		{"passed on", Config{OnDrain: onDrain}, asked("POST", "/drainz", here, "X-Forwarded-For", "127.0.0.1"), 403},
		{"by a page in a browser here", Config{OnDrain: onDrain}, asked("POST", "/drainz", here, "Origin", "https://example.com"), 403},
		{"from there, where everybody may", Config{OnDrain: onDrain, DrainFrom: everybody}, asked("POST", "/drainz", there), 202},
		{"who may see details may not drain for that", Config{OnDrain: onDrain, Details: everybody}, asked("POST", "/drainz", there), 403},
		{"asking how far it is", Config{OnDrain: onDrain}, asked("GET", "/drainz", there), 503},
	} {
		t.Run(tt.name, func(t *testing.T) {
			begun := make(chan struct{})
			if tt.config.OnDrain != nil {
				tt.config.OnDrain = func() { close(begun) }
			}
			rec := httptest.NewRecorder()
			New(tt.config).Handler().ServeHTTP(rec, tt.req)
			if rec.Code != tt.want {
				t.Errorf("got %d %q, want %d", rec.Code, rec.Body, tt.want)
			}
			if rec.Code == http.StatusAccepted {
				<-begun
			}
		})
	}
}

func TestReasonsAreBounded(t *testing.T) {
	long := strings.Repeat("x", 2000)
	for _, tt := range []struct{ name, reason, want string }{
		{"short", "refused", "refused"},
		{"just fits", long[:1024], long[:1024]},
		{"one byte too many", long[:1025], long[:1014] + " ... (cut)"},
		{"a rune where it is cut", long[:1013] + "é" + long, long[:1013] + " ... (cut)"},
		{"a rune before the cut", long[:1012] + "é" + long, long[:1012] + "é ... (cut)"},
		{"not UTF-8", "a\xffb", "a\uFFFDb"},
		{"grows beyond the bound when it is made UTF-8", strings.Repeat("\xffa", 500), strings.Repeat("\uFFFDa", 253) + " ... (cut)"},
		{"not UTF-8 and long", strings.Repeat("\xff\xfe", 1<<20), "\uFFFD ... (cut)"},
		{"lines stay", "a\nb", "a\nb"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := New(Config{AllowEmpty: true})
			c := mustRegister(t, r, "c", Options{})
			c.Failed(errors.New(tt.reason))
			version := r.Version()
			c.Failed(errors.New(tt.reason))
			if r.Version() != version {
				t.Error("the same report again is a change")
			}
			got, _ := r.Snapshot().Component("c")
			if got.Reason != tt.want || got.LastError != tt.want {
				t.Errorf("got %q, last error %q, want %q", got.Reason, got.LastError, tt.want)
			}
			if err := r.Advance(PhaseLameDuck, tt.reason); err != nil {
				t.Fatal(err)
			}
			if got := r.Snapshot().PhaseReason; got != tt.want {
				t.Errorf("got %q as the reason of the phase, want %q", got, tt.want)
			}
		})
	}
}

func FuzzReasonsAreCleanAndBounded(f *testing.F) {
	f.Add("\xff", 600)
	f.Add("é", 513)
	f.Add("a\xf0\x9f\x98", 400)
	f.Fuzz(func(t *testing.T, part string, n int) {
		text := strings.Repeat(part, max(0, n)%3000)
		got := clean(text)
		if len(got) > maxReason || !utf8.ValidString(got) {
			t.Errorf("%d bytes, valid: %v", len(got), utf8.ValidString(got))
		}
		if clean(got) != got {
			t.Error("what is clean changes when it is cleaned")
		}
		if len(text) <= maxReason && utf8.ValidString(text) && got != text {
			t.Error("a text in order is changed")
		}
	})
}

// Everything that a stranger can send in one request costs as much as it is long.
func TestManyExcludesCostWhatTheyAreLong(t *testing.T) {
	r := New(Config{})
	mustRegister(t, r, "a", Options{}).Ready()
	query := url.Values{"verbose": {""}}
	for i := range 9900 {
		query.Add("exclude", "name-"+strings.Repeat("x", i%7)+string(rune('a'+i%26))+string(rune('a'+i/26%26))+string(rune('a'+i/676)))
	}
	target := "/readyz?" + query.Encode()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	status, body := get(t, r.Handler(), http.MethodGet, target)
	runtime.ReadMemStats(&after)
	if status != http.StatusOK || strings.Count(body, "warning:") != 9900 {
		t.Errorf("got status %d and %d warnings", status, strings.Count(body, "warning:"))
	}
	if spent := after.TotalAlloc - before.TotalAlloc; spent > 100*uint64(len(target)) {
		t.Errorf("%d bytes for a request of %d", spent, len(target))
	}
}

func BenchmarkManyExcludes(b *testing.B) {
	r := New(Config{})
	c, err := r.Register("a", Options{})
	if err != nil {
		b.Fatal(err)
	}
	c.Ready()
	query := url.Values{}
	for i := range 9900 {
		query.Add("exclude", "name"+string(rune('a'+i%26))+string(rune('a'+i/26%26))+string(rune('a'+i/676)))
	}
	benchProbe(b, r.Handler(), "/readyz?"+query.Encode(), http.StatusOK)
}

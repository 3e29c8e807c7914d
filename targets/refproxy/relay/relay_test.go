package relay_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/targets/refproxy/admin"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/relay"
)

// patience bounds every wait of these tests.
const patience = 20 * time.Second

// aLittle is how long what hangs is waited for.
const aLittle = 300 * time.Millisecond

// answerBytes is how long an answer is: several pieces.
const answerBytes = 10 * relay.PieceBytes

// start starts a relay with one link, to a service that answers every request with answerBytes
// bytes once it has read it.
func start(t *testing.T) *relay.Relay {
	t.Helper()
	behind := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = w.Write(bytes.Repeat([]byte("x"), answerBytes))
	}))
	t.Cleanup(behind.Close)
	r, err := relay.Start([]relay.Link{{Name: "service", Listen: "127.0.0.1:0", To: behind.Listener.Addr().String()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// client is one with connections of its own.
func client(t *testing.T, timeout time.Duration) *http.Client {
	c := &http.Client{Transport: &http.Transport{}, Timeout: timeout}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// ask sends a request with a body of so many bytes.
func ask(t *testing.T, c *http.Client, r *relay.Relay, size int) (took time.Duration, err error) {
	t.Helper()
	begun := time.Now()
	resp, err := c.Post("http://"+r.Addr("service"), "text/plain", io.MultiReader(bytes.NewReader(make([]byte, size))))
	if err != nil {
		return time.Since(begun), err
	}
	n, err := io.Copy(io.Discard, resp.Body)
	if err == nil && n != answerBytes {
		t.Errorf("%d bytes, want %d", n, answerBytes)
	}
	return time.Since(begun), errors.Join(err, resp.Body.Close())
}

// fine says that a link does what it should, on a new connection.
func fine(t *testing.T, when string, r *relay.Relay) {
	t.Helper()
	if took, err := ask(t, client(t, patience), r, 100); err != nil {
		t.Errorf("%s: %v after %v", when, err, took)
	}
	if s := r.Status()["service"]; s.Trouble != nil || !s.Listening {
		t.Errorf("%s: %+v", when, s)
	}
}

func TestTrouble(t *testing.T) {
	hangs := func(_ time.Duration, err error) bool {
		var timeout net.Error
		return errors.As(err, &timeout) && timeout.Timeout()
	}
	for _, tt := range []struct {
		trouble relay.Trouble
		timeout time.Duration
		size    int
		seen    func(took time.Duration, err error) bool
	}{
		{relay.Trouble{Kind: relay.Refuse}, patience, 0, func(_ time.Duration, err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }},
		{relay.Trouble{Kind: relay.Blackhole}, aLittle, 0, hangs},
		{relay.Trouble{Kind: relay.Latency, Latency: aLittle, Jitter: 50 * time.Millisecond}, patience, 0,
			func(took time.Duration, err error) bool { return err == nil && took >= aLittle-50*time.Millisecond }},
		{relay.Trouble{Kind: relay.Bandwidth, Rate: 10}, patience, 5000,
			func(took time.Duration, err error) bool { return err == nil && took >= aLittle }},
		{relay.Trouble{Kind: relay.Reset}, patience, 0, func(_ time.Duration, err error) bool { return errors.Is(err, syscall.ECONNRESET) }},
		{relay.Trouble{Kind: relay.Slicer}, patience, 0,
			func(took time.Duration, err error) bool {
				return err == nil && took >= (answerBytes/relay.PieceBytes-1)*relay.PieceEvery
			}},
	} {
		t.Run(string(tt.trouble.Kind), func(t *testing.T) {
			r := start(t)
			fine(t, "before", r)
			kept := client(t, tt.timeout)
			if _, err := ask(t, kept, r, 0); err != nil {
				t.Fatal(err)
			}
			if err := r.Spoil(t.Context(), "service", tt.trouble); err != nil {
				t.Fatal(err)
			}
			if took, err := ask(t, client(t, tt.timeout), r, tt.size); !tt.seen(took, err) {
				t.Errorf("on a new connection: %v after %v", err, took)
			}
			// A connection that was there before has it as well, each in its own way: it is reset,
			// or closed.
			if took, err := ask(t, kept, r, tt.size); err == nil && !tt.seen(took, err) {
				t.Errorf("on a kept connection: answered after %v", took)
			}
			if got := r.Status()["service"].Trouble; got == nil || *got != tt.trouble {
				t.Errorf("status says %+v, want %+v", got, tt.trouble)
			}
			for range 2 { // the second changes nothing
				if err := r.Heal(t.Context(), "service"); err != nil {
					t.Fatal(err)
				}
			}
			fine(t, "afterwards", r)
		})
	}
}

// TestTroubleTakesThePlaceOfAnother, and one that ends while requests hang lets go of them.
func TestTroubleTakesThePlaceOfAnother(t *testing.T) {
	r := start(t)
	for _, kind := range relay.Kinds() {
		if err := r.Spoil(t.Context(), "service", relay.Trouble{Kind: kind, Latency: time.Millisecond, Rate: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Spoil(t.Context(), "service", relay.Trouble{Kind: relay.Blackhole}); err != nil {
		t.Fatal(err)
	}
	sent := r.Status()["service"].Sent.Chunks
	ended := make(chan error, 1)
	go func() {
		_, err := ask(t, client(t, patience), r, 0)
		ended <- err
	}()
	for begun := time.Now(); r.Status()["service"].Sent.Chunks == sent; {
		if time.Since(begun) > patience {
			t.Fatal("the request never came")
		}
	}
	if err := r.Heal(t.Context(), "service"); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil {
		t.Error("a request whose bytes are lost was answered")
	}
	fine(t, "afterwards", r)
}

func TestCounts(t *testing.T) {
	r := start(t)
	if _, err := ask(t, client(t, patience), r, 1000); err != nil {
		t.Fatal(err)
	}
	s := r.Status()["service"]
	if s.Sent.Bytes < 1000 || s.Answered.Bytes < answerBytes || s.Sent.Chunks == 0 || s.Answered.Chunks == 0 {
		t.Errorf("%+v after a request of 1000 bytes and an answer of %d", s, answerBytes)
	}
}

func TestAdmin(t *testing.T) {
	r := start(t)
	for _, tt := range []struct {
		method, target string
		status         int
		says           string
	}{
		{"GET", "/v1/status", 200, `"listening":true`},
		{"GET", "/v1/heal", 405, "POST"},
		{"POST", "/v1/nothing", 404, "/v1/trouble"},
		{"POST", "/v1/trouble?kind=latency&latency=1s", 400, "link"},
		{"POST", "/v1/trouble?link=service&kind=rain", 400, "blackhole"},
		{"POST", "/v1/trouble?link=service&kind=latency", 400, "at least 1ms"},
		{"POST", "/v1/trouble?link=service&kind=latency&latency=soon", 400, "latency=200ms"},
		{"POST", "/v1/trouble?link=service&kind=latency&latency=1ms&jitter=2ms", 400, "jitter"},
		{"POST", "/v1/trouble?link=service&kind=bandwidth", 400, "above 0"},
		{"POST", "/v1/trouble?link=service&kind=bandwidth&rate=x", 400, "KiB"},
		{"POST", "/v1/trouble?link=other&kind=refuse", 404, "service"},
		{"POST", "/v1/heal?link=other", 404, "service"},
		{"POST", "/v1/trouble?link=service&kind=refuse", 200, `"kind":"refuse"`},
		{"POST", "/v1/heal?link=service", 200, `"listening":true`},
	} {
		w := httptest.NewRecorder()
		req := httptest.NewRequest(tt.method, tt.target, nil)
		req.Header.Set("Authorization", admin.Authorization("operator"))
		r.Admin("operator").ServeHTTP(w, req)
		if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.says) || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s %s answers %d %s, want %d that says %q", tt.method, tt.target, w.Code, w.Body, tt.status, tt.says)
		}
	}
	fine(t, "afterwards", r)
}

func TestParseLink(t *testing.T) {
	want := relay.Link{Name: "upstream", Listen: "127.0.0.1:1", To: "upstream.svc:2"}
	if got, err := relay.ParseLink("upstream=127.0.0.1:1>upstream.svc:2"); err != nil || got != want {
		t.Errorf("ParseLink = %+v, %v", got, err)
	}
	for _, bad := range []string{"", "upstream", "=a:1>b:2", "u=a:1", "u=a>b:2", "u=a:1>b", (&url.URL{Scheme: "http", Host: "a:1"}).String()} {
		if got, err := relay.ParseLink(bad); err == nil {
			t.Errorf("ParseLink(%q) = %+v, want an error", bad, got)
		}
	}
}

func TestStartFailsWhole(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().String()
	for name, links := range map[string][]relay.Link{
		"a port that is taken":       {{Name: "a", Listen: "127.0.0.1:0", To: taken}, {Name: "b", Listen: taken, To: taken}},
		"two links of the same name": {{Name: "a", Listen: "127.0.0.1:0", To: taken}, {Name: "a", Listen: "127.0.0.1:0", To: taken}},
	} {
		if r, err := relay.Start(links); err == nil {
			t.Errorf("%s: no error", name)
			_ = r.Close()
		}
	}
	if err := start(t).Spoil(context.Background(), "nothing", relay.Trouble{Kind: relay.Refuse}); !errors.Is(err, relay.ErrNoLink) {
		t.Errorf("Spoil = %v, want ErrNoLink", err)
	}
}

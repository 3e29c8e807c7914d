package edge

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start returns a balancer that is closed, cleanly, when the test ends.
func start(t testing.TB, config Config) *Balancer {
	t.Helper()
	b, err := newTallied(t, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := b.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return b
}

// serveHTTP starts a backend and returns its address.
func serveHTTP(t testing.TB, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// newClient returns a client with connections of its own.
func newClient(t testing.TB) *http.Client {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 100, DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

// get returns a whole answer.
func get(t testing.TB, client *http.Client, url string) (*http.Response, string) {
	t.Helper()
	res, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

// deadAddr is an address that nobody listens on.
func deadAddr(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	return listener.Addr().String()
}

func TestAnswers(t *testing.T) {
	addr := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Rollout-Lab-Endpoint", "somebody else")
		w.WriteHeader(http.StatusTeapot)
		io.WriteString(w, "short and stout")
	})
	tests := []struct {
		name                   string
		route                  []Endpoint
		status                 int
		endpoint, reason, body string
	}{
		{"nothing routed", nil, 503, "", "no ready endpoint", "no ready endpoint\n"},
		{"served", []Endpoint{{"a", "v1", addr}}, 418, "a", "", "short and stout"},
		{"nobody listens", []Endpoint{{"a", "v1", deadAddr(t)}}, 502, "a", "connect refused", "connect refused\n"},
		{"no address", []Endpoint{{"a", "v1", ""}}, 502, "a", "failed", "failed\n"},
		{"impossible address", []Endpoint{{"a", "v1", "127.0.0.1:99999"}}, 502, "a", "connect failed", "connect failed\n"},
		{"replaced", []Endpoint{{"a", "v1", deadAddr(t)}, {"a", "v2", addr}}, 418, "a", "", "short and stout"},
		{"hostile name", []Endpoint{{"a\r\nSet-Cookie: x=1\x00é", "v1", addr}}, 418, "a??Set-Cookie: x=1??", "", "short and stout"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := start(t, Config{})
			for _, e := range tt.route {
				b.Route(e)
			}
			res, body := get(t, newClient(t), b.URL()+"/")
			if res.StatusCode != tt.status || body != tt.body {
				t.Errorf("got %d %q, want %d %q", res.StatusCode, body, tt.status, tt.body)
			}
			if got := strings.Join(res.Header["Rollout-Lab-Endpoint"], "|"); got != tt.endpoint {
				t.Errorf("endpoint: got %q, want %q", got, tt.endpoint)
			}
			if got := res.Header.Get("Rollout-Lab-Reason"); got != tt.reason {
				t.Errorf("reason: got %q, want %q", got, tt.reason)
			}
			if res.Close {
				t.Error("the client's connection was closed")
			}
		})
	}
}

package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/rollout-lab/rollout-lab/internal/certtest"
	"github.com/rollout-lab/rollout-lab/scenarios"
)

// TestScenarios: each scenario beside the server reads, in every protocol and both ways of the
// balancer, and what it runs is here.
func TestScenarios(t *testing.T) {
	dir := t.TempDir()
	files, err := filepath.Glob("*.yaml")
	if err != nil || len(files) != 3 {
		t.Fatalf("got %v, %v, want three scenarios", files, err)
	}
	certtest.Write(t, dir, map[string][]byte{"cert.pem": certtest.New(t).PEM})
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		certtest.Write(t, dir, map[string][]byte{name: text})
		for _, vars := range []map[string]string{nil, {"protocol": "h1"}, {"tls": "terminate"}} {
			s, err := scenarios.Load(filepath.Join(dir, name), scenarios.Options{Vars: vars})
			if err != nil {
				t.Errorf("%s with %v: %v", name, vars, err)
				continue
			}
			if _, err := os.Stat(s.Target.Exec); err != nil && s.Target.Exec != "./server" {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// TestDraining: a server that drains says so by its health, goes on answering, and asks clients
// to leave, in both protocols.
func TestDraining(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		var draining atomic.Bool
		server := httptest.NewUnstartedServer(handler(&draining))
		server.EnableHTTP2 = h2
		server.StartTLS()
		defer server.Close()
		get := func(path string) (*http.Response, string) {
			t.Helper()
			resp, err := server.Client().Get(server.URL + path)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			return resp, string(body)
		}
		for path, want := range map[string]int{"/healthz": http.StatusOK, "/": http.StatusOK} {
			if resp, _ := get(path); resp.StatusCode != want || resp.Close {
				t.Errorf("%s: status %d, close %t", path, resp.StatusCode, resp.Close)
			}
		}
		draining.Store(true)
		if resp, _ := get("/healthz"); resp.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("draining: health %d, want 503", resp.StatusCode)
		}
		resp, body := get("/")
		if resp.StatusCode != http.StatusOK || body != "hello\n" || (resp.ProtoMajor == 2) != h2 {
			t.Errorf("draining: %d %q in %s", resp.StatusCode, body, resp.Proto)
		}
		if !h2 && !resp.Close { // HTTP/2 says it by GOAWAY instead
			t.Error("draining: the client is not asked to leave")
		}
	}
}

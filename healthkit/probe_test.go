package healthkit

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestProbeCommand(t *testing.T) {
	good := New(Config{})
	mustRegister(t, good, "a", Options{}).Ready()
	bad := New(Config{})
	mustRegister(t, bad, "storage", Options{}).Failed(errors.New("connection refused"))
	_, goodURL := serve(t, good.Handler())
	_, badURL := serve(t, bad.Handler())
	goodAddr := strings.TrimPrefix(goodURL, "http://")
	_, port, err := net.SplitHostPort(goodAddr)
	if err != nil {
		t.Fatal(err)
	}
	_, otherURL := serve(t, http.NotFoundHandler())
	_, redirectURL := serve(t, http.RedirectHandler(goodURL+"/readyz", http.StatusFound))
	_, prefixURL := serve(t, http.StripPrefix("/health", good.Handler()))
	_, longURL := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		io.WriteString(w, strings.Repeat("x", 1<<20))
	}))
	stall := make(chan struct{})
	t.Cleanup(func() { close(stall) })
	_, hungURL := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		select {
		case <-stall:
		case <-req.Context().Done():
		}
	}))
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()

	tests := []struct {
		name   string
		args   []string
		exit   int
		stdout string
		stderr string
	}{
		{name: "ready", args: []string{"--addr", goodAddr}, exit: 0, stdout: "ready\n"},
		{name: "url", args: []string{"--addr", goodURL}, exit: 0, stdout: "ready\n"},
		{name: "port alone", args: []string{"--addr", ":" + port}, exit: 0, stdout: "ready\n"},
		{name: "url with a prefix", args: []string{"--addr", prefixURL + "/health"}, exit: 0, stdout: "ready\n"},
		{name: "live", args: []string{"--addr", badURL, "--probe", "live"}, exit: 0, stdout: "live"},
		{name: "startup", args: []string{"--addr", goodURL, "--probe=startup"}, exit: 0, stdout: "started"},
		{name: "not started", args: []string{"--addr", badURL, "--probe=startup"}, exit: 1, stdout: "not started, not ready: storage failed"},
		{name: "not ready says why", args: []string{"--addr", badURL}, exit: 1, stdout: "not ready: storage failed: connection refused"},
		{name: "nobody listens", args: []string{"--addr", closed.Addr().String()}, exit: 1, stdout: "no verdict from /readyz at"},
		{name: "hangs", args: []string{"--addr", hungURL, "--timeout", "50ms"}, exit: 1, stdout: "no answer within 50ms"},
		{name: "something else answers", args: []string{"--addr", otherURL}, exit: 1, stdout: "404"},
		{name: "redirect is no verdict", args: []string{"--addr", redirectURL}, exit: 1, stdout: "302"},
		{name: "no such socket", args: []string{"--addr", "unix:/nonexistent.sock"}, exit: 1, stdout: "no verdict"},
		{name: "socket without a path", args: []string{"--addr", "unix:"}, exit: 1, stdout: "no socket path"},
		{name: "no port", args: []string{"--addr", "localhost"}, exit: 1, stdout: "missing port"},
		{name: "unknown probe", args: []string{"--probe", "healthy"}, exit: 1, stderr: `unknown probe "healthy"`},
		{name: "unknown flag", args: []string{"--retry"}, exit: 1, stderr: "retry"},
		{name: "stray argument", args: []string{"ready"}, exit: 1, stderr: `unexpected argument "ready"`},
		{name: "no time", args: []string{"--timeout", "0s"}, exit: 1, stderr: "not positive"},
		{name: "long answer is cut", args: []string{"--addr", longURL}, exit: 1, stdout: "xxx"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if got := ProbeCommand(t.Context(), tt.args, &stdout, &stderr); got != tt.exit {
				t.Errorf("got exit %d, want %d", got, tt.exit)
			}
			if !strings.Contains(stdout.String(), tt.stdout) || tt.stdout == "" && stdout.Len() > 0 {
				t.Errorf("got stdout %.200q, want %q", stdout.String(), tt.stdout)
			}
			if !strings.Contains(stderr.String(), tt.stderr) || tt.stderr == "" && stderr.Len() > 0 {
				t.Errorf("got stderr %q, want %q", stderr.String(), tt.stderr)
			}
			if stdout.Len() > probeOutput {
				t.Errorf("got %d bytes, want at most %d", stdout.Len(), probeOutput)
			}
		})
	}
}

func TestProbeCommandOverUnixSocket(t *testing.T) {
	r := New(Config{})
	mustRegister(t, r, "a", Options{}).Ready()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Skipf("no unix sockets here: %v", err)
	}
	s := &http.Server{Handler: r.Handler(), ReadHeaderTimeout: time.Second}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	for _, addr := range []string{"unix:" + path, "unix://" + path} {
		var stdout, stderr bytes.Buffer
		if got := ProbeCommand(context.Background(), []string{"--addr", addr}, &stdout, &stderr); got != 0 {
			t.Errorf("%s: got exit %d, %s%s", addr, got, stdout.String(), stderr.String())
		}
	}
	s.Close()
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}

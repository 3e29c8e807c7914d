package drivers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func serve(t *testing.T, h http.HandlerFunc) (addr string) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// closedAddr is an address at which nobody listens.
func closedAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestAskHTTP(t *testing.T) {
	addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ok":
			fmt.Fprint(w, "fine\nsecond line")
		case "/header":
			if r.Header.Get("X-Token") != "secret" || r.Host != "inside" {
				w.WriteHeader(http.StatusForbidden)
			}
		case "/elsewhere":
			http.Redirect(w, r, "/ok", http.StatusFound)
		case "/cut":
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, "short")
		case "/chat":
			// net/http answers nobody with 101: whoever does owns the connection from then on.
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			_, err = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n")
			if err == nil {
				_, err = io.Copy(io.Discard, conn) // until the client goes away
			}
			_ = err
		default:
			http.Error(w, "syncing 3 of 9", http.StatusServiceUnavailable)
		}
	})
	for _, tt := range []struct {
		name   string
		probe  Probe
		answer string // part of it
		err    string // part of it; "" means none
	}{
		{"ok", Probe{Path: "/ok"}, "200 fine", ""},
		{"exact body", Probe{Path: "/ok", Body: "fine\nsecond line"}, "200 fine", ""},
		{"other body", Probe{Path: "/ok", Body: "fine"}, "200 fine", `body "fine"`},
		{"other status", Probe{Path: "/ready"}, "503 syncing 3 of 9", "503, wanted 200: syncing 3 of 9"},
		{"expected status", Probe{Path: "/ready", Status: 503}, "503", ""},
		{"headers", Probe{Path: "/header", Header: map[string]string{"X-Token": "secret", "Host": "inside"}}, "200", ""},
		{"redirects are not followed", Probe{Path: "/elsewhere"}, "302", "302, wanted 200"},
		{"another protocol", Probe{Path: "/chat"}, "status 101", "status 101, which is no answer"},
		{"another protocol, wanted", Probe{Path: "/chat", Status: 101}, "status 101", "status 101, which is no answer"},
		{"body that breaks off", Probe{Path: "/cut"}, "unexpected EOF", "unexpected EOF"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.probe.Kind = ProbeHTTP
			answer, err := tt.probe.Ask(t.Context(), addr)
			if !strings.Contains(answer, tt.answer) {
				t.Errorf("answer %q, want it to say %q", answer, tt.answer)
			}
			if (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
		})
	}
}

func TestAskTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if answer, err := (Probe{Kind: ProbeTCP}).Ask(t.Context(), l.Addr().String()); err != nil {
		t.Errorf("a port that listens: %q, %v", answer, err)
	}
	for _, kind := range []ProbeKind{ProbeTCP, ProbeHTTP} {
		if answer, err := (Probe{Kind: kind}).Ask(t.Context(), closedAddr(t)); err == nil || !strings.Contains(answer, "refused") {
			t.Errorf("%s to a port that does not listen: %q, %v, want it refused", kind, answer, err)
		}
	}
	if _, err := (Probe{}).Ask(t.Context(), closedAddr(t)); err != nil {
		t.Errorf("kind none: %v", err)
	}
	if _, err := (Probe{Kind: "smoke"}).Ask(t.Context(), closedAddr(t)); err == nil {
		t.Error("unknown kind: no error")
	}
}

func TestAskEndsAtItsTimeout(t *testing.T) {
	release := make(chan struct{})
	addr := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	defer close(release)
	answer, err := Probe{Kind: ProbeHTTP, Timeout: 20 * time.Millisecond}.Ask(t.Context(), addr)
	if err == nil || !strings.Contains(answer, "no answer within 20ms") {
		t.Errorf("got %q, %v, want the timeout by name", answer, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (Probe{Kind: ProbeHTTP}).Ask(ctx, addr); !errors.Is(err, context.Canceled) {
		t.Errorf("under an ended context: got %v, want context.Canceled", err)
	}
}

// TestAskAsksOnceOnANewConnection: a server that hangs up after each request has seen as
// many connections as probes, and no request twice.
func TestAskAsksOnceOnANewConnection(t *testing.T) {
	var connections, requests atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		conn.Close()
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	s.Start()
	defer s.Close()
	const probes = 20
	for range probes {
		if _, err := (Probe{Kind: ProbeHTTP}).Ask(t.Context(), s.Listener.Addr().String()); err == nil {
			t.Error("no error though the connection was closed without an answer")
		}
	}
	if c, r := connections.Load(), requests.Load(); c != probes || r != probes {
		t.Errorf("%d connections and %d requests for %d probes", c, r, probes)
	}
}
